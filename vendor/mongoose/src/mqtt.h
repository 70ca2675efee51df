/* mqtt.h: what the MQTT files share.
 *
 * mqtt_match.c    topic names and filters
 * mqtt_props.c    the properties of version 5.0
 * mqtt_codec.c    packets: bytes in, a verdict out, and back
 * mqtt_session.c  messages of QoS 1 and 2 on their way, what outlives a connection
 * mqtt_send.c     what the user sends
 * mqtt.c          a connection: what the peer sends, and what happens by itself
 *
 * Sections are those of MQTT 5.0; what 3.1.1 has differently is said. */
#ifndef MG_MQTT_H
#define MG_MQTT_H

#include "internal.h"

enum { /* reason codes, section 2.4 */
  MG_MQTT_OK = 0x00,
  MG_MQTT_MALFORMED = 0x81,
  MG_MQTT_PROTOCOL = 0x82,
  MG_MQTT_BAD_VERSION = 0x84,
  MG_MQTT_KEEPALIVE = 0x8d,
  MG_MQTT_TAKEN_OVER = 0x8e,
  MG_MQTT_BAD_FILTER = 0x8f,
  MG_MQTT_BAD_TOPIC = 0x90,
  MG_MQTT_NO_SUCH_ID = 0x92,
  MG_MQTT_TOO_MANY = 0x93,
  MG_MQTT_BAD_ALIAS = 0x94,
  MG_MQTT_TOO_LARGE = 0x95,
  MG_MQTT_QUOTA = 0x97,
};

enum { /* first byte of PUBLISH, section 3.3.1 */
  MG_MQTT_RETAIN = 0x01,
  MG_MQTT_QOS = 0x06,
  MG_MQTT_DUP = 0x08,
};

enum { /* properties that the core looks at, section 2.2.2.2 */
  MG_MQTT_PROP_EXPIRY = 0x02,
  MG_MQTT_PROP_RESPONSE_TOPIC = 0x08,
  MG_MQTT_PROP_SUBSCRIPTION_ID = 0x0b,
  MG_MQTT_PROP_KEEPALIVE = 0x13,
  MG_MQTT_PROP_AUTH_METHOD = 0x15,
  MG_MQTT_PROP_AUTH_DATA = 0x16,
  MG_MQTT_PROP_RECEIVE_MAXIMUM = 0x21,
  MG_MQTT_PROP_ALIAS_MAXIMUM = 0x22,
  MG_MQTT_PROP_ALIAS = 0x23,
  MG_MQTT_PROP_MAXIMUM_QOS = 0x24,
  MG_MQTT_PROP_RETAIN_AVAILABLE = 0x25,
  MG_MQTT_PROP_USER = 0x26,
  MG_MQTT_PROP_PACKET_SIZE = 0x27,
};

enum {
  MG_MQTT_MAX_LENGTH = 268435455, /* what four bytes can say, section 1.5.5 */
  MG_MQTT_MAX_HEADER = 5,         /* first byte and remaining length */
};

/* Reads on from p, never behind end; `bad` once it should have. */
struct mg_mqtt_cursor {
  const uint8_t *p, *end;
  bool bad;
};
static inline size_t mg__mqtt_left(const struct mg_mqtt_cursor *in) {
  return (size_t) (in->end - in->p);
}
uint32_t mg__mqtt_take(struct mg_mqtt_cursor *in, size_t bytes); /* big-endian, 1, 2 or 4 */
uint32_t mg__mqtt_take_varint(struct mg_mqtt_cursor *in);        /* strictly the shortest form */
struct mg_str mg__mqtt_take_bytes(struct mg_mqtt_cursor *in, size_t len);
struct mg_str mg__mqtt_take_text(struct mg_mqtt_cursor *in); /* two bytes of length, then that */

/* ---- mqtt_match.c --------------------------------------------------------- */

bool mg__mqtt_text_ok(struct mg_str s);         /* UTF-8 without U+0000, section 1.5.4 */
bool mg__mqtt_is_shared(struct mg_str filter);  /* $share/name/... */

/* ---- mqtt_props.c ----------------------------------------------------------- */

enum { MG_MQTT_WILL = 0 }; /* beside MQTT_CMD_...: where a property may stand */

/* Are these the properties of a packet of that kind? 0, or a reason code and what is wrong
 * in *why. *seen gets a bit for each identifier that is there. */
int mg__mqtt_props_check(struct mg_str props, int where, uint64_t *seen, const char **why);
/* The number that property id has, or `otherwise`. */
uint32_t mg__mqtt_prop_number(struct mg_str props, uint8_t id, uint32_t otherwise);

/* ---- mqtt_codec.c ------------------------------------------------------------ */

struct mg_mqtt_packet {
  struct mgx_mqtt_event event; /* but for `wanted`, and an alias is not resolved */
  uint16_t alias;              /* of a PUBLISH; 0: none */
};

/* Parse the packet at the start of buf[0..len). `version`: 4, 5, or 0 when only a CONNECT
 * may come; `max`: bytes of the largest packet that is taken, 0: any. > 0: its length; 0:
 * more is needed; < 0: never legal, the negative of a reason code, and *why. *packet is
 * written on success only. A CONNECT of a version that is neither 4 nor 5 is looked at no
 * further than that. */
int64_t mg__mqtt_parse(const char *buf, size_t len, int version, uint64_t max,
                       struct mg_mqtt_packet *packet, const char **why);
/* How long is the packet that begins here? As mg__mqtt_parse(), but it need not be there. */
int64_t mg__mqtt_length(const char *buf, size_t len, int version, const char **why);
/* Are these the filters of a SUBSCRIBE (or else of an UNSUBSCRIBE)? 0, or a reason code. */
int mg__mqtt_filters_check(struct mg_str filters, bool subscribe, int version, const char **why);
/* 0, or a reason code, for what a CONNECT says. */
int mg__mqtt_connect_check(const struct mgx_mqtt_connect *fields, const char **why);

/* Writing: the length comes first, so that nothing is written that does not fit. A length
 * of 0: more than a packet can hold. */
struct mg_mqtt_form { /* every packet but CONNECT and PUBLISH */
  uint8_t first;
  bool has_props;
  struct mg_str head, props, tail; /* before and behind the properties */
};
size_t mg__mqtt_form_length(const struct mg_mqtt_form *form);
size_t mg__mqtt_form_write(const struct mg_mqtt_form *form, char *to);

struct mg_mqtt_publish {
  struct mg_str topic, data, props;
  uint16_t id; /* 0: QoS 0 */
  uint16_t alias; /* in front of the other properties; 0: none */
  uint8_t flags;
};
size_t mg__mqtt_publish_length(const struct mg_mqtt_publish *publish, int version);
size_t mg__mqtt_publish_write(const struct mg_mqtt_publish *publish, int version, char *to);

size_t mg__mqtt_connect_length(const struct mgx_mqtt_connect *fields);
size_t mg__mqtt_connect_write(const struct mgx_mqtt_connect *fields, char *to);

#endif
