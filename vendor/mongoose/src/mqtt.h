/* mqtt.h: what the MQTT files share.
 *
 * mqtt_match.c    topic names and filters
 * mqtt_props.c    the properties of version 5.0
 * mqtt_codec.c    packets: bytes in, a verdict out, and back
 * mqtt_session.c  messages of QoS 1 and 2 on their way, what outlives a connection
 * mqtt_send.c     what the user sends, and acknowledgements
 * mqtt_open.c     how a connection comes to speak MQTT: CONNECT and CONNACK
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
  uint64_t seen;               /* properties: a bit for each identifier */
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
  uint8_t flags;
};
size_t mg__mqtt_publish_length(const struct mg_mqtt_publish *publish, int version);
size_t mg__mqtt_publish_write(const struct mg_mqtt_publish *publish, int version, char *to);

size_t mg__mqtt_connect_length(const struct mgx_mqtt_connect *fields);
size_t mg__mqtt_connect_write(const struct mgx_mqtt_connect *fields, char *to);

/* ---- mqtt_session.c ------------------------------------------------------------ */

enum { /* where a message is on its way, section 4.3 */
  MG_MQTT_WAITS,    /* not sent on this connection */
  MG_MQTT_SENT,     /* PUBLISH was sent */
  MG_MQTT_RELEASED, /* QoS 2: PUBREC has come */
  MG_MQTT_OTHER,    /* a SUBSCRIBE or UNSUBSCRIBE: holds its identifier */
};

struct mg_mqtt_out { /* what has a packet identifier of ours */
  struct mg_link link; /* in one of the session's lists */
  uint16_t id;
  uint8_t state, flags; /* flags of the PUBLISH, but for DUP */
  bool is_repeat;       /* it was sent on an earlier connection */
  bool is_kept;         /* the bytes below are there */
  uint16_t topic_len;
  uint32_t props_len, data_len;
  char bytes[]; /* topic, properties, payload */
};

struct mg_mqtt_session {
  uint64_t id;                /* 0: it belongs to its connection */
  struct mg_connection *conn; /* that has it, or NULL */
  bool is_freed;              /* to be forgotten when that ends */
  struct mg_link queue;       /* messages in order: those SENT, then those that WAIT */
  struct mg_link released;    /* messages RELEASED, in the order of that */
  struct mg_link others;
  struct mg_link *next;       /* the first in queue that WAITS, or &queue */
  struct mg_mqtt_out **by_id; /* at id & id_mask; large enough that no two collide */
  size_t id_mask;
  uint16_t last_id;
  size_t in_use;              /* identifiers */
  size_t pending;             /* messages */
  uint64_t bytes;             /* of limits.mqtt_queue */
  size_t under_way;           /* messages SENT or RELEASED: section 4.9 */
  uint8_t *received;          /* a bit for each identifier of the peer's that awaits PUBREL */
  size_t num_received;
};

void mg__mqtt_session_init(struct mg_mqtt_session *s);
/* Forget everything in it. */
void mg__mqtt_session_clear(struct mg_mqtt_session *s);
struct mg_mqtt_session *mg__mqtt_session(struct mg_mgr *mgr, uint64_t id); /* NULL: no such one */
/* The same for a connection that is to have it: NULL as well when it was freed and goes with
 * the connection it has. */
struct mg_mqtt_session *mg__mqtt_session_to_give(struct mg_mgr *mgr, uint64_t id);
/* Give it to a connection that has none but its own / take it away again. */
void mg__mqtt_session_attach(struct mg_mqtt_session *s, struct mg_connection *c);
void mg__mqtt_session_detach(struct mg_connection *c);
/* The connection is open: send what is left. `present`: the peer has kept its part too. */
void mg__mqtt_session_resume(struct mg_mqtt_session *s, bool present);
/* Send what waits, as far as the receive maximum and the send queue go. */
void mg__mqtt_session_pump(struct mg_mqtt_session *s);
/* Send a message of QoS 1 or 2, now or later. Its identifier or MGX_E... */
int mg__mqtt_session_publish(struct mg_mgr *mgr, struct mg_mqtt_session *s,
                             struct mg_mqtt_publish *publish);
/* An identifier for a SUBSCRIBE or UNSUBSCRIBE, or MGX_E...; given back by
 * mg__mqtt_session_answered(). */
int mg__mqtt_session_take_id(struct mg_mqtt_session *s);
void mg__mqtt_session_answered(struct mg_mqtt_session *s, uint16_t id);
/* PUBACK, PUBREC, PUBCOMP have come. False: no message of that identifier is at that point. */
bool mg__mqtt_session_puback(struct mg_mqtt_session *s, uint16_t id);
bool mg__mqtt_session_pubrec(struct mg_mqtt_session *s, uint16_t id, bool refused);
bool mg__mqtt_session_pubcomp(struct mg_mqtt_session *s, uint16_t id);
/* The other direction: a PUBLISH of QoS 2 has come. 1: a new one; 0: a repeated one; MGX_ENOMEM. */
int mg__mqtt_session_receive(struct mg_mqtt_session *s, uint16_t id);
bool mg__mqtt_session_release(struct mg_mqtt_session *s, uint16_t id); /* PUBREL; false: unknown */
size_t mg__mqtt_session_waiting(const struct mg_mqtt_session *s);

/* ---- a connection ---------------------------------------------------------------- */

struct mg_mqtt {
  struct mg_mqtt_session *session; /* `own`, or one that outlives the connection */
  struct mg_mqtt_session own;
  uint8_t version;    /* 0: a server connection before CONNECT; else what that says */
  bool is_open;       /* CONNACK with code 0 */
  bool may_publish;   /* ... or before it, on 3.1.1 clients whose session is empty */
  bool awaits_connack;
  bool is_clean;      /* clients: what CONNECT said */
  bool disconnect_sent;
  bool is_told;       /* of the packet in front MG_EV_MQTT_CMD is left to do */
  bool is_partial;    /* recv ends in a packet */
  bool is_held;       /* the packet in front waits for our CONNACK */
  uint16_t keepalive; /* seconds */
  /* What the peer has announced. */
  uint16_t receive_maximum, alias_maximum;
  uint8_t maximum_qos;
  bool retain_available;
  uint32_t packet_maximum; /* 0: none */
  /* What we have announced. */
  uint16_t our_receive_maximum, our_alias_maximum;
  uint32_t our_packet_maximum; /* 0: none */
  struct mg_str *aliases; /* the peer's: [our_alias_maximum + 1], NULL before the first; owned */
  size_t alias_bytes;
  uint64_t since;    /* ms: of the wait for CONNECT or CONNACK; 0: it has not begun */
  uint64_t heard_at; /* ms: when the peer last sent something, */
  uint64_t sent_at;  /* ... when we did, */
  uint64_t ping_at;  /* ... and when we asked whether it is there; 0: no question is open */
  struct mg_iobuf early; /* clients: packets that wait for CONNACK */
};
static inline struct mg_mqtt *mg__mqtt(const struct mg_connection *c) { return c->proto_data; }

static inline struct mg_str mg__mqtt_str(const char *s, size_t len) {
  return (struct mg_str){s, len};
}

/* mqtt_send.c */
/* Queue a packet. 0, MGX_EPEER (too large), MGX_ELIMIT, MGX_ENOMEM. */
int mg__mqtt_send(struct mg_connection *c, const struct mg_mqtt_form *form);
int mg__mqtt_send_publish(struct mg_connection *c, struct mg_mqtt_publish *publish);
/* What stands against publishing this: 0, MGX_EPEER, MGX_EINVAL. */
int mg__mqtt_may_publish(const struct mg_connection *c, const struct mg_mqtt_publish *publish);
/* PUBACK, PUBREC, PUBREL, PUBCOMP; a reason of 0 is left out. When it does not fit the
 * connection is failed. */
bool mg__mqtt_send_ack(struct mg_connection *c, int cmd, uint16_t id, int reason);
int mg__mqtt_send_disconnect(struct mg_connection *c, int reason, struct mg_str props);
/* Room for a packet of n bytes in the send queue or, `early`, where it waits for CONNACK;
 * then take note of it. */
int mg__mqtt_room(struct mg_connection *c, size_t n, bool early);
void mg__mqtt_wrote(struct mg_connection *c, struct mg_iobuf *io, size_t n);
bool mg__mqtt_props_ok(const struct mg_mqtt *m, int cmd, struct mg_str props);

/* How calls begin and end. The connection if it can send now what the given sides send, or
 * an error. Locks in any case. */
enum { MG_MQTT_ON_CLIENTS = 1, MG_MQTT_ON_SERVERS = 2 };
int mg__mqtt_enter(struct mg_mgr *mgr, uint64_t conn, unsigned sides, struct mg_connection **c);
static inline int mg__mqtt_leave(struct mg_mgr *mgr, int result) {
  mg__unlock(mgr);
  return result;
}

/* mqtt_open.c */
int mg__mqtt_send_connack(struct mg_connection *c, int code, bool present, struct mg_str props);
/* CONNACK with code 0 has come, or was sent: what waited for it leaves, the session goes on. */
void mg__mqtt_open(struct mg_connection *c, bool present);
/* Take note of what the peer, or this side, announces by the properties of its CONNECT or
 * CONNACK. */
void mg__mqtt_heed(struct mg_connection *c, struct mg_str props);
void mg__mqtt_announced(struct mg_mqtt *m, struct mg_str props);

/* mqtt.c */
extern const struct mg_proto mg__proto_mqtt;
/* Set the deadline that the connection's state asks for. */
void mg__mqtt_set_deadline(struct mg_connection *c);

#endif
