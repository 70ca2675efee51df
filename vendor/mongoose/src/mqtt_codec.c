/* mqtt_codec.c: the packets of MQTT 3.1.1 and 5.0, apart from any connection.
 *
 * Strict both ways: what is read is one packet that the standard allows, to
 * its last byte, or none; what is written has its length worked out first.
 * Left to others: which packet may come now, and what to do about it. */
#include "mqtt.h"

static int mqtt_bad(const char **why, int reason, const char *what) {
  *why = what;
  return reason;
}

static struct mg_mqtt_cursor mqtt_at(const char *p, size_t len) {
  return (struct mg_mqtt_cursor){(const uint8_t *) p, (const uint8_t *) p + len, false};
}

/* ---- the fixed header, section 2.1 ------------------------------------------------ */

static const char *mqtt_first_wrong(uint8_t first, int version) {
  static const uint16_t with_flags_2 =
      1 << MQTT_CMD_PUBREL | 1 << MQTT_CMD_SUBSCRIBE | 1 << MQTT_CMD_UNSUBSCRIBE;
  unsigned cmd = first >> 4, flags = first & 15u;
  if (cmd == 0 || (cmd == MQTT_CMD_AUTH && version == 4)) return "a reserved packet type";
  if (cmd != MQTT_CMD_PUBLISH)
    return flags == (with_flags_2 >> cmd & 1u ? 2 : 0) ? NULL : "wrong flags";
  if ((flags & MG_MQTT_QOS) == MG_MQTT_QOS) return "a PUBLISH with QoS 3";
  if ((flags & MG_MQTT_DUP) && (flags & MG_MQTT_QOS) == 0) return "a PUBLISH with DUP and QoS 0";
  return NULL;
}

/* > 0: the header's length; 0: more is needed; < 0: never legal. */
static int mqtt_header(const char *buf, size_t len, int version, uint32_t *remaining,
                       const char **why) {
  const uint8_t *p = (const uint8_t *) buf;
  uint32_t value = 0;
  if (len == 0) return 0;
  *why = mqtt_first_wrong(p[0], version);
  if (*why != NULL) return -MG_MQTT_MALFORMED;
  for (size_t i = 1; i < MG_MQTT_MAX_HEADER; i++) {
    if (i >= len) return 0;
    value |= (uint32_t) (p[i] & 0x7f) << 7 * (i - 1);
    if (p[i] & 0x80) continue;
    if (p[i] == 0 && i > 1 && version == 5)
      return -mqtt_bad(why, MG_MQTT_MALFORMED, "a length in more bytes than needed");
    *remaining = value;
    return (int) i + 1;
  }
  return -mqtt_bad(why, MG_MQTT_MALFORMED, "a length of more than four bytes");
}

int64_t mg__mqtt_length(const char *buf, size_t len, int version, const char **why) {
  uint32_t remaining;
  int n = mqtt_header(buf, len, version, &remaining, why);
  return n <= 0 ? n : (int64_t) n + remaining;
}

/* ---- parts ---------------------------------------------------------------------------- */

struct mqtt_reading {
  struct mg_mqtt_cursor in;
  struct mgx_mqtt_event *event;
  uint64_t seen; /* properties */
  const char **why;
};

static int mqtt_read_props_of(struct mqtt_reading *r, int where, struct mg_str *props) {
  uint32_t len = mg__mqtt_take_varint(&r->in);
  *props = mg__mqtt_take_bytes(&r->in, len);
  if (r->in.bad) return mqtt_bad(r->why, MG_MQTT_MALFORMED, "properties beyond the packet");
  return mg__mqtt_props_check(*props, where, &r->seen, r->why);
}

static int mqtt_read_props(struct mqtt_reading *r) {
  struct mg_str props = {"", 0};
  int reason;
  if (r->event->version != 5) return MG_MQTT_OK;
  reason = mqtt_read_props_of(r, r->event->cmd, &props);
  r->event->props = props.buf;
  r->event->props_len = props.len;
  return reason;
}

static int mqtt_read_id(struct mqtt_reading *r) {
  r->event->id = (uint16_t) mg__mqtt_take(&r->in, 2);
  if (r->in.bad) return mqtt_bad(r->why, MG_MQTT_MALFORMED, "a packet without its identifier");
  return r->event->id != 0 ? MG_MQTT_OK
                           : mqtt_bad(r->why, MG_MQTT_MALFORMED, "packet identifier 0");
}

static void mqtt_read_rest(struct mqtt_reading *r) {
  r->event->data = (const char *) r->in.p;
  r->event->data_len = mg__mqtt_left(&r->in);
  r->in.p = r->in.end;
}

/* ---- CONNECT, section 3.1 --------------------------------------------------------------- */

enum { /* its flags */
  MQTT_C_CLEAN = 0x02,
  MQTT_C_WILL = 0x04,
  MQTT_C_WILL_QOS = 0x18,
  MQTT_C_WILL_RETAIN = 0x20,
  MQTT_C_PASSWORD = 0x40,
  MQTT_C_USER = 0x80,
};

/* A text that goes behind two bytes of length. */
static int mqtt_text_check(struct mg_str s, const char **why) {
  if (s.len > UINT16_MAX) return mqtt_bad(why, MG_MQTT_MALFORMED, "a text above 65535 bytes");
  return mg__mqtt_text_ok(s) ? MG_MQTT_OK
                             : mqtt_bad(why, MG_MQTT_MALFORMED, "a text that is not UTF-8");
}

static int mqtt_will_check(const struct mgx_mqtt_connect *f, uint64_t *seen, const char **why) {
  if (!f->has_will)
    return f->will_qos == 0 && !f->will_retain
               ? MG_MQTT_OK
               : mqtt_bad(why, MG_MQTT_MALFORMED, "flags of a will that is not there");
  if (f->will_qos > 2) return mqtt_bad(why, MG_MQTT_MALFORMED, "a will with QoS 3");
  if (!mgx_mqtt_topic_ok(f->will_topic.buf, f->will_topic.len))
    return mqtt_bad(why, MG_MQTT_BAD_TOPIC, "a will's topic that is none");
  if (f->will_data.len > UINT16_MAX)
    return mqtt_bad(why, MG_MQTT_MALFORMED, "a will above 65535 bytes");
  return mg__mqtt_props_check(f->will_props, MG_MQTT_WILL, seen, why);
}

int mg__mqtt_connect_check(const struct mgx_mqtt_connect *f, const char **why) {
  uint64_t seen;
  int reason;
  if (f->version != 4 && f->version != 5)
    return mqtt_bad(why, MG_MQTT_BAD_VERSION, "a version that is neither 3.1.1 nor 5.0");
  if (f->version == 4 && f->props.len + f->will_props.len > 0)
    return mqtt_bad(why, MG_MQTT_MALFORMED, "properties in 3.1.1");
  if (f->version == 4 && f->has_pass && !f->has_user)
    return mqtt_bad(why, MG_MQTT_MALFORMED, "a password without a user name");
  if (f->pass.len > UINT16_MAX)
    return mqtt_bad(why, MG_MQTT_MALFORMED, "a password above 65535 bytes");
  reason = mg__mqtt_props_check(f->props, MQTT_CMD_CONNECT, &seen, why);
  if (reason == MG_MQTT_OK) reason = mqtt_text_check(f->client_id, why);
  if (reason == MG_MQTT_OK) reason = mqtt_text_check(f->user, why);
  return reason == MG_MQTT_OK ? mqtt_will_check(f, &seen, why) : reason;
}

static struct mg_str mqtt_take_props(struct mg_mqtt_cursor *in, int version) {
  return version == 5 ? mg__mqtt_take_bytes(in, mg__mqtt_take_varint(in)) : (struct mg_str){"", 0};
}

static bool mqtt_is(struct mg_str s, const char *name) {
  return s.len == strlen(name) && memcmp(s.buf, name, s.len) == 0;
}

/* Read what stands behind the fixed header; of another version only which one it is. */
static int mqtt_take_connect(struct mg_mqtt_cursor *in, struct mgx_mqtt_connect *f,
                             const char **why) {
  struct mg_str name = mg__mqtt_take_text(in);
  unsigned flags;
  f->version = (uint8_t) mg__mqtt_take(in, 1);
  if (in->bad || (!mqtt_is(name, "MQTT") && !mqtt_is(name, "MQIsdp")))
    return mqtt_bad(why, MG_MQTT_BAD_VERSION, "a CONNECT of another protocol");
  if (mqtt_is(name, "MQIsdp") && (f->version == 4 || f->version == 5))
    return mqtt_bad(why, MG_MQTT_BAD_VERSION, "a CONNECT whose name and version differ");
  if (f->version != 4 && f->version != 5) return MG_MQTT_OK;
  flags = mg__mqtt_take(in, 1);
  if (flags & 1) return mqtt_bad(why, MG_MQTT_MALFORMED, "a CONNECT with its reserved flag");
  f->clean = (flags & MQTT_C_CLEAN) != 0;
  f->has_will = (flags & MQTT_C_WILL) != 0;
  f->will_qos = (uint8_t) ((flags & MQTT_C_WILL_QOS) >> 3);
  f->will_retain = (flags & MQTT_C_WILL_RETAIN) != 0;
  f->has_pass = (flags & MQTT_C_PASSWORD) != 0;
  f->has_user = (flags & MQTT_C_USER) != 0;
  f->keepalive = (uint16_t) mg__mqtt_take(in, 2);
  f->props = mqtt_take_props(in, f->version);
  f->client_id = mg__mqtt_take_text(in);
  if (f->has_will) {
    f->will_props = mqtt_take_props(in, f->version);
    f->will_topic = mg__mqtt_take_text(in);
    f->will_data = mg__mqtt_take_text(in);
  }
  if (f->has_user) f->user = mg__mqtt_take_text(in);
  if (f->has_pass) f->pass = mg__mqtt_take_text(in);
  if (in->bad || mg__mqtt_left(in) > 0)
    return mqtt_bad(why, MG_MQTT_MALFORMED, "a CONNECT of another length than it says");
  return mg__mqtt_connect_check(f, why);
}

static const struct mgx_mqtt_connect mqtt_no_connect = {
    .client_id = {"", 0}, .user = {"", 0}, .pass = {"", 0}, .props = {"", 0},
    .will_topic = {"", 0}, .will_data = {"", 0}, .will_props = {"", 0}};

static int mqtt_read_connect(struct mqtt_reading *r) {
  struct mgx_mqtt_connect f = mqtt_no_connect;
  int reason = mqtt_take_connect(&r->in, &f, r->why);
  r->event->version = f.version;
  r->event->props = f.props.buf;
  r->event->props_len = f.props.len;
  return reason;
}

int mgx_mqtt_connect_fields(const char *packet, size_t len, struct mgx_mqtt_connect *fields) {
  struct mgx_mqtt_connect f = mqtt_no_connect;
  struct mg_mqtt_cursor in;
  const char *why = NULL;
  uint32_t remaining = 0;
  int n = mqtt_header(packet, len, 0, &remaining, &why);
  if (n <= 0 || (uint8_t) packet[0] >> 4 != MQTT_CMD_CONNECT || len - (size_t) n != remaining)
    return MGX_EINVAL;
  in = mqtt_at(packet + n, remaining);
  if (mqtt_take_connect(&in, &f, &why) != MG_MQTT_OK || (f.version != 4 && f.version != 5))
    return MGX_EINVAL;
  *fields = f;
  return MGX_OK;
}

/* ---- the others --------------------------------------------------------------------------- */

/* Section 3.2. */
static int mqtt_read_connack(struct mqtt_reading *r) {
  unsigned flags = mg__mqtt_take(&r->in, 1);
  r->event->ack = (uint8_t) mg__mqtt_take(&r->in, 1);
  r->event->session_present = (flags & 1u) != 0 && r->event->ack == 0;
  if (flags > 1) return mqtt_bad(r->why, MG_MQTT_MALFORMED, "a CONNACK with reserved flags");
  return r->in.bad ? MG_MQTT_OK : mqtt_read_props(r); /* what is missing is told in the end */
}

/* Section 3.3. */
static int mqtt_read_publish(struct mqtt_reading *r, uint16_t *alias) {
  struct mg_str topic = mg__mqtt_take_text(&r->in);
  int reason = MG_MQTT_OK;
  if (r->in.bad) return mqtt_bad(r->why, MG_MQTT_MALFORMED, "a topic beyond the packet");
  if (r->event->first & MG_MQTT_QOS) reason = mqtt_read_id(r);
  if (reason == MG_MQTT_OK) reason = mqtt_read_props(r);
  if (reason != MG_MQTT_OK) return reason;
  if (r->seen >> MG_MQTT_PROP_ALIAS & 1u)
    *alias = (uint16_t) mg__mqtt_prop_number((struct mg_str){r->event->props, r->event->props_len},
                                             MG_MQTT_PROP_ALIAS, 0);
  if ((topic.len > 0 || *alias == 0) && !mgx_mqtt_topic_ok(topic.buf, topic.len))
    return mqtt_bad(r->why, mg__mqtt_text_ok(topic) ? MG_MQTT_BAD_TOPIC : MG_MQTT_MALFORMED,
                    "a topic that is none");
  r->event->topic = topic.buf;
  r->event->topic_len = topic.len;
  mqtt_read_rest(r);
  return MG_MQTT_OK;
}

/* PUBACK, PUBREC, PUBREL, PUBCOMP, sections 3.4 to 3.7; DISCONNECT and AUTH behind their
 * identifier, which they have not. What is 0 and empty may be left out. */
static int mqtt_read_reason(struct mqtt_reading *r) {
  if (r->event->version != 5 || mg__mqtt_left(&r->in) == 0) return MG_MQTT_OK;
  r->event->ack = (uint8_t) mg__mqtt_take(&r->in, 1);
  return mg__mqtt_left(&r->in) == 0 ? MG_MQTT_OK : mqtt_read_props(r);
}

static int mqtt_read_ack(struct mqtt_reading *r) {
  int reason = mqtt_read_id(r);
  return reason == MG_MQTT_OK ? mqtt_read_reason(r) : reason;
}

/* SUBSCRIBE and UNSUBSCRIBE, sections 3.8 and 3.10. */
static int mqtt_read_filters(struct mqtt_reading *r) {
  struct mgx_mqtt_event *e = r->event;
  int reason = mqtt_read_id(r);
  if (reason == MG_MQTT_OK) reason = mqtt_read_props(r);
  if (reason != MG_MQTT_OK) return reason;
  mqtt_read_rest(r);
  return mg__mqtt_filters_check((struct mg_str){e->data, e->data_len},
                                e->cmd == MQTT_CMD_SUBSCRIBE, e->version, r->why);
}

/* SUBACK and UNSUBACK, sections 3.9 and 3.11. */
static int mqtt_read_codes(struct mqtt_reading *r) {
  int reason = mqtt_read_id(r);
  if (reason == MG_MQTT_OK) reason = mqtt_read_props(r);
  if (reason != MG_MQTT_OK) return reason;
  if (r->event->cmd == MQTT_CMD_UNSUBACK && r->event->version == 4) return MG_MQTT_OK;
  mqtt_read_rest(r);
  if (r->event->data_len == 0)
    return mqtt_bad(r->why, MG_MQTT_PROTOCOL, "an acknowledgement without reason codes");
  r->event->ack = (uint8_t) r->event->data[0];
  return MG_MQTT_OK;
}

static int mqtt_read_body(struct mqtt_reading *r, uint16_t *alias) {
  switch (r->event->cmd) {
    case MQTT_CMD_CONNECT: return mqtt_read_connect(r);
    case MQTT_CMD_CONNACK: return mqtt_read_connack(r);
    case MQTT_CMD_PUBLISH: return mqtt_read_publish(r, alias);
    case MQTT_CMD_PUBACK:
    case MQTT_CMD_PUBREC:
    case MQTT_CMD_PUBREL:
    case MQTT_CMD_PUBCOMP: return mqtt_read_ack(r);
    case MQTT_CMD_SUBSCRIBE:
    case MQTT_CMD_UNSUBSCRIBE: return mqtt_read_filters(r);
    case MQTT_CMD_SUBACK:
    case MQTT_CMD_UNSUBACK: return mqtt_read_codes(r);
    case MQTT_CMD_DISCONNECT:
    case MQTT_CMD_AUTH: return mqtt_read_reason(r);
    default: return MG_MQTT_OK; /* PINGREQ, PINGRESP */
  }
}

/* Nobody looks further into a CONNECT of a version that is not known. */
static bool mqtt_is_other_version(const struct mgx_mqtt_event *e) {
  return e->cmd == MQTT_CMD_CONNECT && e->version != 4 && e->version != 5;
}

int64_t mg__mqtt_parse(const char *buf, size_t len, int version, uint64_t max,
                       struct mg_mqtt_packet *packet, const char **why) {
  struct mg_mqtt_packet it = {.event = {.topic = "", .data = "", .props = ""}};
  struct mqtt_reading r = {.event = &it.event, .why = why};
  uint32_t remaining = 0;
  int n = mqtt_header(buf, len, version, &remaining, why), reason;
  if (n <= 0) return n;
  if (max != 0 && (uint64_t) n + remaining > max)
    return -mqtt_bad(why, MG_MQTT_TOO_LARGE, "a packet above the mqtt_packet limit");
  if (version == 0 && (uint8_t) buf[0] >> 4 != MQTT_CMD_CONNECT)
    return -mqtt_bad(why, MG_MQTT_PROTOCOL, "another packet than CONNECT first");
  if (len - (size_t) n < remaining) return 0;
  it.event.packet = buf;
  it.event.packet_len = (size_t) n + remaining;
  it.event.first = (uint8_t) buf[0];
  it.event.cmd = it.event.first >> 4;
  it.event.version = (uint8_t) version;
  r.in = mqtt_at(buf + n, remaining);
  reason = mqtt_read_body(&r, &it.alias);
  if (reason == MG_MQTT_OK && !mqtt_is_other_version(&it.event) &&
      (r.in.bad || mg__mqtt_left(&r.in) > 0))
    reason = mqtt_bad(why, MG_MQTT_MALFORMED, "a packet of another length than it says");
  if (reason != MG_MQTT_OK) return -reason;
  it.seen = r.seen;
  *packet = it;
  return (int64_t) it.event.packet_len;
}

/* ---- filters ------------------------------------------------------------------------------- */

size_t mg_mqtt_next_filter(const char *data, size_t len, size_t ofs, struct mg_str *filter,
                           uint8_t *options) {
  struct mg_mqtt_cursor in;
  struct mg_str text;
  uint8_t byte = 0;
  if (ofs >= len) return 0;
  in = mqtt_at(data + ofs, len - ofs);
  text = mg__mqtt_take_text(&in);
  if (options != NULL) byte = (uint8_t) mg__mqtt_take(&in, 1);
  if (in.bad) return 0;
  *filter = text;
  if (options != NULL) *options = byte;
  return len - mg__mqtt_left(&in);
}

enum { /* options of a subscription, section 3.8.3.1 */
  MQTT_SUB_QOS = 0x03,
  MQTT_SUB_NO_LOCAL = 0x04,
  MQTT_SUB_RETAIN = 0x30,
};

static int mqtt_options_check(struct mg_str filter, unsigned options, int version,
                              const char **why) {
  unsigned known = version == 5 ? 0x3f : MQTT_SUB_QOS;
  if ((options & ~known) != 0 || (options & MQTT_SUB_QOS) == MQTT_SUB_QOS ||
      (options & MQTT_SUB_RETAIN) == MQTT_SUB_RETAIN)
    return mqtt_bad(why, MG_MQTT_MALFORMED, "reserved options of a subscription");
  if ((options & MQTT_SUB_NO_LOCAL) && mg__mqtt_is_shared(filter))
    return mqtt_bad(why, MG_MQTT_PROTOCOL, "a shared subscription with No Local");
  return MG_MQTT_OK;
}

int mg__mqtt_filters_check(struct mg_str filters, bool subscribe, int version, const char **why) {
  size_t ofs = 0;
  if (filters.len == 0) return mqtt_bad(why, MG_MQTT_PROTOCOL, "no topic filter");
  while (ofs < filters.len) {
    struct mg_str filter = {"", 0};
    uint8_t options = 0;
    int reason = MG_MQTT_OK;
    ofs = mg_mqtt_next_filter(filters.buf, filters.len, ofs, &filter, subscribe ? &options : NULL);
    if (ofs == 0) return mqtt_bad(why, MG_MQTT_MALFORMED, "a topic filter beyond the packet");
    if (!mgx_mqtt_filter_ok(filter.buf, filter.len))
      return mqtt_bad(why, mg__mqtt_text_ok(filter) ? MG_MQTT_BAD_FILTER : MG_MQTT_MALFORMED,
                      "a topic filter that is none");
    if (subscribe) reason = mqtt_options_check(filter, options, version, why);
    if (reason != MG_MQTT_OK) return reason;
  }
  return MG_MQTT_OK;
}

/* ---- writing --------------------------------------------------------------------------------- */

static size_t mqtt_varint_length(size_t n) {
  return n < 128 ? 1 : n < 16384 ? 2 : n < 2097152 ? 3 : 4;
}

static char *mqtt_put_varint(char *to, size_t n) {
  for (; n > 127; n >>= 7) *to++ = (char) (n & 0x7f) | (char) 0x80;
  *to++ = (char) n;
  return to;
}

static char *mqtt_put_bytes(char *to, struct mg_str s) {
  if (s.len > 0) memcpy(to, s.buf, s.len);
  return to + s.len;
}

static char *mqtt_put_short(char *to, size_t n) {
  to[0] = (char) (n >> 8);
  to[1] = (char) n;
  return to + 2;
}

static char *mqtt_put_text(char *to, struct mg_str s) {
  return mqtt_put_bytes(mqtt_put_short(to, s.len), s);
}

/* The whole packet's length, or 0. Each part is far below SIZE_MAX / 8. */
static size_t mqtt_whole(size_t remaining) {
  return remaining > MG_MQTT_MAX_LENGTH ? 0 : 1 + mqtt_varint_length(remaining) + remaining;
}

static bool mqtt_is_huge(struct mg_str s) { return s.len > MG_MQTT_MAX_LENGTH; }

static size_t mqtt_form_remaining(const struct mg_mqtt_form *form) {
  size_t props = form->has_props ? mqtt_varint_length(form->props.len) + form->props.len : 0;
  return form->head.len + props + form->tail.len;
}

size_t mg__mqtt_form_length(const struct mg_mqtt_form *form) {
  if (mqtt_is_huge(form->head) || mqtt_is_huge(form->props) || mqtt_is_huge(form->tail)) return 0;
  return mqtt_whole(mqtt_form_remaining(form));
}

size_t mg__mqtt_form_write(const struct mg_mqtt_form *form, char *to) {
  char *start = to;
  *to++ = (char) form->first;
  to = mqtt_put_varint(to, mqtt_form_remaining(form));
  to = mqtt_put_bytes(to, form->head);
  if (form->has_props) {
    to = mqtt_put_varint(to, form->props.len);
    to = mqtt_put_bytes(to, form->props);
  }
  to = mqtt_put_bytes(to, form->tail);
  return (size_t) (to - start);
}

static size_t mqtt_publish_remaining(const struct mg_mqtt_publish *p, int version) {
  size_t n = 2 + p->topic.len + (p->flags & MG_MQTT_QOS ? 2 : 0) + p->data.len;
  return version == 5 ? n + mqtt_varint_length(p->props.len) + p->props.len : n;
}

size_t mg__mqtt_publish_length(const struct mg_mqtt_publish *p, int version) {
  if (mqtt_is_huge(p->data) || mqtt_is_huge(p->props)) return 0;
  return mqtt_whole(mqtt_publish_remaining(p, version));
}

size_t mg__mqtt_publish_write(const struct mg_mqtt_publish *p, int version, char *to) {
  char *start = to;
  *to++ = (char) (MQTT_CMD_PUBLISH << 4 | p->flags);
  to = mqtt_put_varint(to, mqtt_publish_remaining(p, version));
  to = mqtt_put_text(to, p->topic);
  if (p->flags & MG_MQTT_QOS) to = mqtt_put_short(to, p->id);
  if (version == 5) {
    to = mqtt_put_varint(to, p->props.len);
    to = mqtt_put_bytes(to, p->props);
  }
  to = mqtt_put_bytes(to, p->data);
  return (size_t) (to - start);
}

static size_t mqtt_props_length(const struct mgx_mqtt_connect *f, struct mg_str props) {
  return f->version == 5 ? mqtt_varint_length(props.len) + props.len : 0;
}

static size_t mqtt_connect_remaining(const struct mgx_mqtt_connect *f) {
  size_t n = 10 + mqtt_props_length(f, f->props) + 2 + f->client_id.len;
  if (f->has_will)
    n += mqtt_props_length(f, f->will_props) + 4 + f->will_topic.len + f->will_data.len;
  if (f->has_user) n += 2 + f->user.len;
  if (f->has_pass) n += 2 + f->pass.len;
  return n;
}

size_t mg__mqtt_connect_length(const struct mgx_mqtt_connect *f) {
  if (mqtt_is_huge(f->props) || mqtt_is_huge(f->will_props)) return 0;
  return mqtt_whole(mqtt_connect_remaining(f));
}

static char *mqtt_put_props(char *to, const struct mgx_mqtt_connect *f, struct mg_str props) {
  return f->version == 5 ? mqtt_put_bytes(mqtt_put_varint(to, props.len), props) : to;
}

size_t mg__mqtt_connect_write(const struct mgx_mqtt_connect *f, char *to) {
  unsigned flags = (f->clean ? MQTT_C_CLEAN : 0u) | (f->has_will ? MQTT_C_WILL : 0u) |
                   (unsigned) f->will_qos << 3 | (f->will_retain ? MQTT_C_WILL_RETAIN : 0u) |
                   (f->has_pass ? MQTT_C_PASSWORD : 0u) | (f->has_user ? MQTT_C_USER : 0u);
  char *start = to;
  *to++ = MQTT_CMD_CONNECT << 4;
  to = mqtt_put_varint(to, mqtt_connect_remaining(f));
  to = mqtt_put_text(to, (struct mg_str){"MQTT", 4});
  *to++ = (char) f->version;
  *to++ = (char) flags;
  to = mqtt_put_short(to, f->keepalive);
  to = mqtt_put_props(to, f, f->props);
  to = mqtt_put_text(to, f->client_id);
  if (f->has_will) {
    to = mqtt_put_props(to, f, f->will_props);
    to = mqtt_put_text(to, f->will_topic);
    to = mqtt_put_text(to, f->will_data);
  }
  if (f->has_user) to = mqtt_put_text(to, f->user);
  if (f->has_pass) to = mqtt_put_text(to, f->pass);
  return (size_t) (to - start);
}
