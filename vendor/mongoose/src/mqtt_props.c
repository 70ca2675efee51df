/* mqtt_props.c: properties, MQTT 5.0 section 2.2.2.
 *
 * Which there are, how each is written, which packet may have it and what it
 * may say: one table. Properties are checked before anybody looks at them, so
 * whoever does need not doubt them. */
#include "mqtt.h"

/* ---- reading ------------------------------------------------------------------ */

uint32_t mg__mqtt_take(struct mg_mqtt_cursor *in, size_t bytes) {
  uint32_t value = 0;
  if (mg__mqtt_left(in) < bytes) {
    in->bad = true;
    in->p = in->end;
    return 0;
  }
  while (bytes-- > 0) value = value << 8 | *in->p++;
  return value;
}

uint32_t mg__mqtt_take_varint(struct mg_mqtt_cursor *in) {
  uint32_t value = 0;
  for (unsigned shift = 0; shift < 28; shift += 7) {
    uint32_t byte = mg__mqtt_take(in, 1);
    value |= (byte & 0x7f) << shift;
    if (byte & 0x80) continue;
    if (byte == 0 && shift > 0) in->bad = true; /* one byte less would do */
    return value;
  }
  in->bad = true;
  return 0;
}

struct mg_str mg__mqtt_take_bytes(struct mg_mqtt_cursor *in, size_t len) {
  struct mg_str s = {(const char *) in->p, len};
  if (mg__mqtt_left(in) < len) {
    in->bad = true;
    in->p = in->end;
    return (struct mg_str){"", 0};
  }
  in->p += len;
  return s;
}

struct mg_str mg__mqtt_take_text(struct mg_mqtt_cursor *in) {
  return mg__mqtt_take_bytes(in, mg__mqtt_take(in, 2));
}

/* ---- the table ------------------------------------------------------------------ */

enum { BE_NOT_ZERO = 1, BE_FLAG = 2, BE_TOPIC = 4 }; /* what the value has to be */

enum { /* where: a bit for each MQTT_CMD_..., the lowest one for wills */
  IN_WILL = 1 << MG_MQTT_WILL,
  IN_CONNECT = 1 << MQTT_CMD_CONNECT,
  IN_CONNACK = 1 << MQTT_CMD_CONNACK,
  IN_PUBLISH = 1 << MQTT_CMD_PUBLISH,
  IN_SUBSCRIBE = 1 << MQTT_CMD_SUBSCRIBE,
  IN_DISCONNECT = 1 << MQTT_CMD_DISCONNECT,
  IN_AUTH = 1 << MQTT_CMD_AUTH,
  IN_ACKS = 1 << MQTT_CMD_PUBACK | 1 << MQTT_CMD_PUBREC | 1 << MQTT_CMD_PUBREL |
            1 << MQTT_CMD_PUBCOMP | 1 << MQTT_CMD_SUBACK | 1 << MQTT_CMD_UNSUBACK,
  IN_ANY = IN_WILL | IN_CONNECT | IN_CONNACK | IN_PUBLISH | IN_ACKS | IN_SUBSCRIBE |
           1 << MQTT_CMD_UNSUBSCRIBE | IN_DISCONNECT | IN_AUTH,
};

enum {
  AS_BYTE = MQTT_PROP_TYPE_BYTE,
  AS_STRING = MQTT_PROP_TYPE_STRING,
  AS_PAIR = MQTT_PROP_TYPE_STRING_PAIR,
  AS_BINARY = MQTT_PROP_TYPE_BINARY_DATA,
  AS_VARINT = MQTT_PROP_TYPE_VARIABLE_INT,
  AS_INT = MQTT_PROP_TYPE_INT,
  AS_SHORT = MQTT_PROP_TYPE_SHORT,
};

static const struct mqtt_prop_rule {
  uint16_t where; /* 0: there is no such property */
  uint8_t type, must;
} mqtt_prop_rules[] = {
    [0x01] = {IN_PUBLISH | IN_WILL, AS_BYTE, BE_FLAG},   /* payload format indicator */
    [0x02] = {IN_PUBLISH | IN_WILL, AS_INT, 0},          /* message expiry interval */
    [0x03] = {IN_PUBLISH | IN_WILL, AS_STRING, 0},       /* content type */
    [0x08] = {IN_PUBLISH | IN_WILL, AS_STRING, BE_TOPIC}, /* response topic */
    [0x09] = {IN_PUBLISH | IN_WILL, AS_BINARY, 0},       /* correlation data */
    [0x0b] = {IN_PUBLISH | IN_SUBSCRIBE, AS_VARINT, BE_NOT_ZERO}, /* subscription identifier */
    [0x11] = {IN_CONNECT | IN_CONNACK | IN_DISCONNECT, AS_INT, 0}, /* session expiry interval */
    [0x12] = {IN_CONNACK, AS_STRING, 0},                 /* assigned client identifier */
    [0x13] = {IN_CONNACK, AS_SHORT, 0},                  /* server keep alive */
    [0x15] = {IN_CONNECT | IN_CONNACK | IN_AUTH, AS_STRING, 0}, /* authentication method */
    [0x16] = {IN_CONNECT | IN_CONNACK | IN_AUTH, AS_BINARY, 0}, /* authentication data */
    [0x17] = {IN_CONNECT, AS_BYTE, BE_FLAG},             /* request problem information */
    [0x18] = {IN_WILL, AS_INT, 0},                       /* will delay interval */
    [0x19] = {IN_CONNECT, AS_BYTE, BE_FLAG},             /* request response information */
    [0x1a] = {IN_CONNACK, AS_STRING, 0},                 /* response information */
    [0x1c] = {IN_CONNACK | IN_DISCONNECT, AS_STRING, 0}, /* server reference */
    [0x1f] = {IN_CONNACK | IN_ACKS | IN_DISCONNECT | IN_AUTH, AS_STRING, 0}, /* reason string */
    [0x21] = {IN_CONNECT | IN_CONNACK, AS_SHORT, BE_NOT_ZERO}, /* receive maximum */
    [0x22] = {IN_CONNECT | IN_CONNACK, AS_SHORT, 0},     /* topic alias maximum */
    [0x23] = {IN_PUBLISH, AS_SHORT, 0},                  /* topic alias; 0 has a code of its own */
    [0x24] = {IN_CONNACK, AS_BYTE, BE_FLAG},             /* maximum QoS */
    [0x25] = {IN_CONNACK, AS_BYTE, BE_FLAG},             /* retain available */
    [0x26] = {IN_ANY, AS_PAIR, 0},                       /* user property */
    [0x27] = {IN_CONNECT | IN_CONNACK, AS_INT, BE_NOT_ZERO}, /* maximum packet size */
    [0x28] = {IN_CONNACK, AS_BYTE, BE_FLAG},             /* wildcard subscription available */
    [0x29] = {IN_CONNACK, AS_BYTE, BE_FLAG},             /* subscription identifier available */
    [0x2a] = {IN_CONNACK, AS_BYTE, BE_FLAG},             /* shared subscription available */
};
enum { MQTT_PROP_IDS = sizeof(mqtt_prop_rules) / sizeof(mqtt_prop_rules[0]) };

/* ---- one by one ------------------------------------------------------------------- */

/* NULL: there is no such property. */
static const struct mqtt_prop_rule *mqtt_prop_take(struct mg_mqtt_cursor *in,
                                                   struct mg_mqtt_prop *prop) {
  static const size_t width[] = {[AS_BYTE] = 1, [AS_SHORT] = 2, [AS_INT] = 4};
  uint32_t id = mg__mqtt_take(in, 1);
  const struct mqtt_prop_rule *rule = id < MQTT_PROP_IDS ? &mqtt_prop_rules[id] : NULL;
  if (rule == NULL || rule->where == 0) return NULL;
  *prop = (struct mg_mqtt_prop){(uint8_t) id, rule->type, 0, {"", 0}, {"", 0}};
  switch (rule->type) {
    case AS_PAIR:
      prop->key = mg__mqtt_take_text(in);
      prop->val = mg__mqtt_take_text(in);
      break;
    case AS_STRING:
    case AS_BINARY:
      prop->val = mg__mqtt_take_text(in);
      break;
    case AS_VARINT:
      prop->iv = mg__mqtt_take_varint(in);
      break;
    default:
      prop->iv = mg__mqtt_take(in, width[rule->type]);
  }
  return rule;
}

static struct mg_mqtt_cursor mqtt_cursor(struct mg_str s, size_t ofs) {
  const uint8_t *p = (const uint8_t *) (s.len > 0 ? s.buf : ""); /* may be NULL */
  return (struct mg_mqtt_cursor){p + ofs, p + s.len, false};
}

size_t mg_mqtt_next_prop(const char *props, size_t len, size_t ofs, struct mg_mqtt_prop *prop) {
  struct mg_mqtt_cursor in;
  if (ofs >= len) return 0;
  in = mqtt_cursor((struct mg_str){props, len}, ofs);
  if (mqtt_prop_take(&in, prop) == NULL || in.bad) return 0;
  return len - mg__mqtt_left(&in);
}

uint32_t mg__mqtt_prop_number(struct mg_str props, uint8_t id, uint32_t otherwise) {
  struct mg_mqtt_prop prop;
  size_t ofs = 0;
  while ((ofs = mg_mqtt_next_prop(props.buf, props.len, ofs, &prop)) > 0)
    if (prop.id == id) return prop.iv;
  return otherwise;
}

/* ---- checking ----------------------------------------------------------------------- */

static int mqtt_prop_bad(const char **why, int reason, const char *what) {
  *why = what;
  return reason;
}

static int mqtt_prop_check(const struct mg_mqtt_prop *prop, const struct mqtt_prop_rule *rule,
                      const char **why) {
  if (rule->type == AS_STRING || rule->type == AS_PAIR) {
    if (!mg__mqtt_text_ok(prop->key) || !mg__mqtt_text_ok(prop->val))
      return mqtt_prop_bad(why, MG_MQTT_MALFORMED, "a property that is not UTF-8");
    if ((rule->must & BE_TOPIC) && !mgx_mqtt_topic_ok(prop->val.buf, prop->val.len))
      return mqtt_prop_bad(why, MG_MQTT_PROTOCOL, "a response topic that is none");
  }
  if (((rule->must & BE_NOT_ZERO) && prop->iv == 0) || ((rule->must & BE_FLAG) && prop->iv > 1))
    return mqtt_prop_bad(why, MG_MQTT_PROTOCOL, "a property out of its range");
  if (prop->id == MG_MQTT_PROP_ALIAS && prop->iv == 0)
    return mqtt_prop_bad(why, MG_MQTT_BAD_ALIAS, "topic alias 0");
  return MG_MQTT_OK;
}

/* Those that may come more than once. */
static bool mqtt_may_repeat(uint8_t id, int where) {
  return id == MG_MQTT_PROP_USER ||
         (id == MG_MQTT_PROP_SUBSCRIPTION_ID && where == MQTT_CMD_PUBLISH);
}

int mg__mqtt_props_check(struct mg_str props, int where, uint64_t *seen, const char **why) {
  struct mg_mqtt_cursor in = mqtt_cursor(props, 0);
  uint64_t there = 0;
  while (mg__mqtt_left(&in) > 0) {
    struct mg_mqtt_prop prop = {.id = 0};
    const struct mqtt_prop_rule *rule = mqtt_prop_take(&in, &prop);
    int reason;
    if (rule == NULL || in.bad)
      return mqtt_prop_bad(why, MG_MQTT_MALFORMED, "a malformed property");
    if ((rule->where >> where & 1u) == 0)
      return mqtt_prop_bad(why, MG_MQTT_MALFORMED, "a property that this packet may not have");
    if ((there >> prop.id & 1u) != 0 && !mqtt_may_repeat(prop.id, where))
      return mqtt_prop_bad(why, MG_MQTT_PROTOCOL, "the same property twice");
    reason = mqtt_prop_check(&prop, rule, why);
    if (reason != MG_MQTT_OK) return reason;
    there |= (uint64_t) 1 << prop.id;
  }
  if ((there >> MG_MQTT_PROP_AUTH_DATA & 1u) && (there >> MG_MQTT_PROP_AUTH_METHOD & 1u) == 0)
    return mqtt_prop_bad(why, MG_MQTT_PROTOCOL, "authentication data without a method");
  *seen = there;
  return MG_MQTT_OK;
}
