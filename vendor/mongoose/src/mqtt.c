/* mqtt.c: an MQTT connection, version 3.1.1 or 5.0, as a server and as a client.
 *
 * What the peer sends is taken packet by packet where it was received:
 * answered as far as the protocol alone knows the answer, then delivered. And
 * what happens by itself: keep-alive, time-outs, the end. */
#include "mqtt.h"

enum { MQTT_READ_AHEAD = 64 * 1024 }; /* at most so much is read at once for a packet's sake */

/* ---- failing: section 4.13 ----------------------------------------------------------- */

static uint64_t mqtt_largest(const struct mg_connection *c, const struct mg_mqtt *m) {
  uint64_t limit = c->mgr->limits.mqtt_packet;
  if (m->our_packet_maximum == 0) return limit;
  return limit == 0 || m->our_packet_maximum < limit ? m->our_packet_maximum : limit;
}

/* Is it a CONNECT, refused for what is in it, whose version can be told all the same? One
 * that is not whole, or will not be read, tells nothing, wherever the reads ended. */
static bool mqtt_was_v5(const struct mg_connection *c) {
  static const char begin[] = {0, 4, 'M', 'Q', 'T', 'T', 5};
  const char *p = c->recv.buf, *why = NULL;
  int64_t whole = c->recv.len == 0 ? 0 : mg__mqtt_length(p, c->recv.len, 0, &why);
  uint64_t largest = mqtt_largest(c, mg__mqtt(c));
  if (whole <= 0 || (uint64_t) whole > c->recv.len || (largest != 0 && (uint64_t) whole > largest))
    return false;
  if ((uint8_t) *p >> 4 != MQTT_CMD_CONNECT) return false;
  for (p++; *p & 0x80; p++) continue;
  p++;
  return c->recv.buf + whole - p > (ptrdiff_t) sizeof(begin) && memcmp(p, begin, sizeof(begin)) == 0;
}

/* Tell the peer, if its version can be told, and the user; then the connection ends. */
static bool mqtt_fail(struct mg_connection *c, int reason, const char *why) {
  struct mg_mqtt *m = mg__mqtt(c);
  char text[160];
  int n = snprintf(text, sizeof(text), "MQTT: %.120s (0x%02x)", why, (unsigned) reason);
  if (!c->is_client && m->version == 0 && mqtt_was_v5(c)) {
    m->version = 5;
    m->awaits_connack = true;
  }
  if (m->version == 5 && m->awaits_connack)
    mg__mqtt_send_connack(c, reason, false, mg__mqtt_str("", 0));
  else if (m->version == 5 && !m->disconnect_sent)
    mg__mqtt_send_disconnect(c, reason == MG_MQTT_BAD_VERSION ? MG_MQTT_PROTOCOL : reason,
                             mg__mqtt_str("", 0));
  m->disconnect_sent = true;
  m->may_publish = false;
  mg__conn_abandon(c, text, (size_t) n);
  return false;
}

/* ---- topic aliases, section 3.3.2.3.4 ---------------------------------------------------- */

static void mqtt_aliases_free(struct mg_mqtt *m) {
  for (size_t i = 0; m->aliases != NULL && i <= m->our_alias_maximum; i++)
    mg__free((char *) m->aliases[i].buf);
  mg__free(m->aliases);
}

/* 0, or a reason code. Topics of aliases are bounded together, as a buffer is. */
static int mqtt_alias_set(struct mg_connection *c, struct mg_mqtt *m, const struct mg_mqtt_packet *p,
                          const char **why) {
  uint64_t limit = c->mgr->limits.recv_buffer;
  size_t len = p->event.topic_len;
  struct mg_str *alias;
  char *copy;
  if (m->aliases == NULL) m->aliases = mg__calloc(sizeof(*alias) * (m->our_alias_maximum + 1u));
  copy = m->aliases == NULL ? NULL : mg__malloc(len);
  *why = "out of memory";
  if (copy == NULL) return MG_MQTT_QUOTA;
  alias = &m->aliases[p->alias];
  m->alias_bytes = m->alias_bytes - alias->len + len;
  mg__free((char *) alias->buf);
  memcpy(copy, p->event.topic, len);
  *alias = mg__mqtt_str(copy, len);
  *why = "topic aliases above the recv_buffer limit";
  return limit != 0 && m->alias_bytes > limit ? MG_MQTT_QUOTA : MG_MQTT_OK;
}

static bool mqtt_alias(struct mg_connection *c, struct mg_mqtt *m, struct mg_mqtt_packet *p) {
  const char *why = NULL;
  int reason;
  if (p->alias == 0) return true;
  if (p->alias > m->our_alias_maximum)
    return mqtt_fail(c, MG_MQTT_BAD_ALIAS, "a topic alias that was not offered");
  if (p->event.topic_len == 0) {
    if (m->aliases == NULL || m->aliases[p->alias].len == 0)
      return mqtt_fail(c, MG_MQTT_PROTOCOL, "a topic alias without its topic");
    p->event.topic = m->aliases[p->alias].buf;
    p->event.topic_len = m->aliases[p->alias].len;
    return true;
  }
  if (m->is_told) return true; /* done when the packet was looked at first */
  reason = mqtt_alias_set(c, m, p, &why);
  return reason == MG_MQTT_OK || mqtt_fail(c, reason, why);
}

/* ---- taking packets -------------------------------------------------------------------------- */

enum { MQTT_STOP, MQTT_SKIP, MQTT_DELIVER }; /* what is to be done about a packet */

static int mqtt_wrong(struct mg_connection *c, int reason, const char *why) {
  mqtt_fail(c, reason, why);
  return MQTT_STOP;
}

/* Section 3.1. */
static int mqtt_take_connect_packet(struct mg_connection *c, struct mg_mqtt *m,
                                    const struct mgx_mqtt_event *e) {
  struct mgx_mqtt_connect fields;
  if (m->version != 0) return mqtt_wrong(c, MG_MQTT_PROTOCOL, "a second CONNECT");
  m->version = e->version;
  m->awaits_connack = true;
  if (mgx_mqtt_connect_fields(e->packet, e->packet_len, &fields) == MGX_OK) {
    m->keepalive = fields.keepalive;
    mg__mqtt_heed(c, fields.props);
  }
  return MQTT_DELIVER;
}

/* Section 3.2. */
static int mqtt_take_connack(struct mg_connection *c, struct mg_mqtt *m,
                             const struct mgx_mqtt_event *e) {
  if (e->ack != 0) return MQTT_DELIVER;
  if (e->session_present && m->is_clean)
    return mqtt_wrong(c, MG_MQTT_PROTOCOL, "a session that was to be new");
  mg__mqtt_heed(c, mg__mqtt_str(e->props, e->props_len));
  m->is_open = true; /* goes on when the handler knows: see mqtt_packet() */
  return MQTT_DELIVER;
}

/* Sections 3.3 and 4.3: the answer is queued before the message is delivered, but leaves
 * behind it, at the end of the turn. */
static int mqtt_take_publish(struct mg_connection *c, struct mg_mqtt *m, struct mg_mqtt_packet *p) {
  const struct mgx_mqtt_event *e = &p->event;
  unsigned qos = (e->first & MG_MQTT_QOS) >> 1;
  int is_new;
  if (!c->is_client && (p->seen >> MG_MQTT_PROP_SUBSCRIPTION_ID & 1u))
    return mqtt_wrong(c, MG_MQTT_PROTOCOL, "a client's PUBLISH with a subscription identifier");
  if (!mqtt_alias(c, m, p)) return MQTT_STOP;
  if (qos == 0) return MQTT_DELIVER;
  if (qos == 1)
    return mg__mqtt_send_ack(c, MQTT_CMD_PUBACK, e->id, 0) ? MQTT_DELIVER : MQTT_STOP;
  is_new = mg__mqtt_session_receive(m->session, e->id);
  if (is_new < 0) return mqtt_wrong(c, MG_MQTT_QUOTA, "out of memory");
  if (is_new && m->session->num_received > m->our_receive_maximum) {
    mg__mqtt_session_release(m->session, e->id);
    return mqtt_wrong(c, MG_MQTT_TOO_MANY, "more messages than the receive maximum");
  }
  if (!mg__mqtt_send_ack(c, MQTT_CMD_PUBREC, e->id, 0)) {
    /* it comes again, on the next connection */
    if (is_new && c->proto == &mg__proto_mqtt) mg__mqtt_session_release(m->session, e->id);
    return MQTT_STOP;
  }
  return is_new ? MQTT_DELIVER : MQTT_SKIP;
}

static int mqtt_take_pubrec(struct mg_connection *c, struct mg_mqtt *m,
                            const struct mgx_mqtt_event *e) {
  bool refused = e->ack >= 0x80, known = mg__mqtt_session_pubrec(m->session, e->id, refused);
  int reason = known || m->version == 4 ? 0 : MG_MQTT_NO_SUCH_ID;
  if (refused) return MQTT_DELIVER; /* section 4.3.3: that ends it */
  return mg__mqtt_send_ack(c, MQTT_CMD_PUBREL, e->id, reason) ? MQTT_DELIVER : MQTT_STOP;
}

static int mqtt_take_pubrel(struct mg_connection *c, struct mg_mqtt *m,
                            const struct mgx_mqtt_event *e) {
  bool known = mg__mqtt_session_release(m->session, e->id);
  int reason = known || m->version == 4 ? 0 : MG_MQTT_NO_SUCH_ID;
  return mg__mqtt_send_ack(c, MQTT_CMD_PUBCOMP, e->id, reason) ? MQTT_DELIVER : MQTT_STOP;
}

/* May this packet come from that side, and now? NULL: yes. */
static const char *mqtt_not_now(const struct mg_connection *c, const struct mg_mqtt *m, int cmd) {
  static const unsigned both = 1u << MQTT_CMD_PUBLISH | 1u << MQTT_CMD_PUBACK |
                               1u << MQTT_CMD_PUBREC | 1u << MQTT_CMD_PUBREL |
                               1u << MQTT_CMD_PUBCOMP | 1u << MQTT_CMD_AUTH;
  static const unsigned client = both | 1u << MQTT_CMD_CONNECT | 1u << MQTT_CMD_SUBSCRIBE |
                                 1u << MQTT_CMD_UNSUBSCRIBE | 1u << MQTT_CMD_PINGREQ |
                                 1u << MQTT_CMD_DISCONNECT;
  static const unsigned server = both | 1u << MQTT_CMD_CONNACK | 1u << MQTT_CMD_SUBACK |
                                 1u << MQTT_CMD_UNSUBACK | 1u << MQTT_CMD_PINGRESP;
  unsigned may = !c->is_client ? client : server;
  if (c->is_client && m->version == 5) may |= 1u << MQTT_CMD_DISCONNECT;
  if ((may >> cmd & 1u) == 0) return "a packet that the other side sends";
  if (!c->is_client || m->is_open)
    return m->is_open && cmd == MQTT_CMD_CONNACK ? "a second CONNACK" : NULL;
  return cmd == MQTT_CMD_CONNACK || cmd == MQTT_CMD_AUTH ? NULL : "another packet than CONNACK first";
}

static int mqtt_take(struct mg_connection *c, struct mg_mqtt *m, struct mg_mqtt_packet *p) {
  const struct mgx_mqtt_event *e = &p->event;
  const char *why = mqtt_not_now(c, m, e->cmd);
  if (why != NULL) return mqtt_wrong(c, MG_MQTT_PROTOCOL, why);
  switch (e->cmd) {
    case MQTT_CMD_CONNECT: return mqtt_take_connect_packet(c, m, e);
    case MQTT_CMD_CONNACK: return mqtt_take_connack(c, m, e);
    case MQTT_CMD_PUBLISH: return mqtt_take_publish(c, m, p);
    case MQTT_CMD_PUBREC: return mqtt_take_pubrec(c, m, e);
    case MQTT_CMD_PUBREL: return mqtt_take_pubrel(c, m, e);
    case MQTT_CMD_PUBACK: mg__mqtt_session_puback(m->session, e->id); break;
    case MQTT_CMD_PUBCOMP: mg__mqtt_session_pubcomp(m->session, e->id); break;
    case MQTT_CMD_SUBACK:
    case MQTT_CMD_UNSUBACK: mg__mqtt_session_answered(m->session, e->id); break;
    default: break;
  }
  return MQTT_DELIVER;
}

/* ---- delivering ----------------------------------------------------------------------------------- */

static bool mqtt_goes_on(const struct mg_connection *c) {
  return c->proto == &mg__proto_mqtt && !c->is_closing;
}

/* Is there an MG_EV_MQTT_CMD of this packet? */
static bool mqtt_tells_cmd(const struct mg_connection *c, struct mgx_mqtt_event *e) {
  e->wanted = mg__wants(c, MG_EV_MQTT_CMD);
  if (e->cmd == MQTT_CMD_PUBLISH && mg__wants(c, MGX_MQTT_NO_PUBLISH_CMD_SHIFT)) return false;
  return e->wanted ||
         (c->is_client && (e->cmd == MQTT_CMD_SUBACK || e->cmd == MQTT_CMD_UNSUBACK));
}

/* The event that only this packet has. */
static void mqtt_tell_own(struct mg_connection *c, struct mgx_mqtt_event *e) {
  if (e->cmd == MQTT_CMD_PUBLISH) {
    e->wanted = mg__wants(c, MG_EV_MQTT_MSG);
    if (e->wanted) mg__emit_mqtt(c, MG_EV_MQTT_MSG, e);
  } else if (e->cmd == MQTT_CMD_CONNACK) {
    e->wanted = mg__wants(c, MG_EV_MQTT_OPEN);
    mg__emit_mqtt(c, MG_EV_MQTT_OPEN, e);
  }
}

static const char *mqtt_reason(int code) {
  static const struct {
    uint8_t code;
    const char *text;
  } known[] = {
      {0x80, "unspecified error"}, {0x81, "malformed packet"}, {0x82, "protocol error"},
      {0x83, "implementation specific error"}, {0x87, "not authorized"}, {0x89, "server busy"},
      {0x8b, "server shutting down"}, {0x8d, "keep-alive time-out"}, {0x8e, "session taken over"},
      {0x8f, "topic filter invalid"}, {0x90, "topic name invalid"},
      {0x93, "receive maximum exceeded"}, {0x94, "topic alias invalid"},
      {0x95, "packet too large"}, {0x96, "message rate too high"}, {0x97, "quota exceeded"},
      {0x98, "administrative action"}, {0x99, "payload format invalid"},
      {0x9a, "retain not supported"}, {0x9b, "QoS not supported"}, {0x9c, "use another server"},
      {0x9d, "server moved"}, {0x9e, "shared subscriptions not supported"},
      {0x9f, "connection rate exceeded"}, {0xa0, "maximum connect time"},
      {0xa1, "subscription identifiers not supported"},
      {0xa2, "wildcard subscriptions not supported"},
  };
  for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
    if (known[i].code == code) return known[i].text;
  return "unknown reason";
}

/* What follows from a packet once it was delivered; false: nothing more is read. */
static bool mqtt_follow(struct mg_connection *c, struct mg_mqtt *m, const struct mgx_mqtt_event *e) {
  bool ends = e->cmd == MQTT_CMD_DISCONNECT || (e->cmd == MQTT_CMD_CONNACK && e->ack != 0);
  if (e->cmd == MQTT_CMD_CONNECT && m->awaits_connack && e->version != 4 && e->version != 5) {
    mg__mqtt_send_connack(c, e->version > 5 ? MG_MQTT_BAD_VERSION : 1, false, mg__mqtt_str("", 0));
    ends = true;
  }
  if (!ends) return true;
  m->disconnect_sent = true; /* or need not be */
  m->may_publish = false;
  if (c->is_client && e->cmd == MQTT_CMD_DISCONNECT && e->ack >= 0x80)
    mg__conn_error(c, "MQTT: the server ended the connection: %s (0x%02x)", mqtt_reason(e->ack),
                   (unsigned) e->ack);
  mg__conn_drain(c);
  return false;
}

/* False: the packet stays where it is, or the connection ends. */
static bool mqtt_packet(struct mg_connection *c, struct mg_mqtt *m, struct mg_mqtt_packet *p) {
  if (!m->is_told) {
    int what = mqtt_take(c, m, p);
    if (what != MQTT_DELIVER) return what == MQTT_SKIP;
    mqtt_tell_own(c, &p->event);
    if (!mqtt_goes_on(c)) return false;
    /* A SUBSCRIBE that the handler sends now goes before the messages that wait. */
    if (p->event.cmd == MQTT_CMD_CONNACK && p->event.ack == 0 && !m->disconnect_sent)
      mg__mqtt_open(c, p->event.session_present);
    if (!mqtt_goes_on(c)) return false;
  } else if (p->event.cmd == MQTT_CMD_PUBLISH && !mqtt_alias(c, m, p)) {
    return false;
  }
  m->is_told = false;
  if (mqtt_tells_cmd(c, &p->event)) {
    if (c->mgr->leave) { /* the rest of it comes in the next turn */
      m->is_told = true;
      return false;
    }
    mg__emit_mqtt(c, MG_EV_MQTT_CMD, &p->event);
    if (!mqtt_goes_on(c)) return false;
  }
  return mqtt_follow(c, m, &p->event);
}

/* ---- reading ------------------------------------------------------------------------------------------ */

static bool mqtt_may_go_on(const struct mg_connection *c, const struct mg_mqtt *m) {
  return !c->is_closing && !c->is_draining && !c->is_paused && !c->mgr->leave &&
         !m->disconnect_sent;
}

/* A server's first packet is CONNACK, so what the core would answer waits for that. */
static bool mqtt_must_wait(const struct mg_mqtt *m, const struct mgx_mqtt_event *e) {
  return m->awaits_connack && (e->cmd == MQTT_CMD_PUBREL || e->cmd == MQTT_CMD_PUBREC ||
                               (e->cmd == MQTT_CMD_PUBLISH && (e->first & MG_MQTT_QOS)));
}

/* The packet in front is not whole yet: the next read takes as much of it as it can. */
static void mqtt_expect(struct mg_connection *c, const struct mg_mqtt *m) {
  const char *why = NULL;
  int64_t whole = mg__mqtt_length(c->recv.buf, c->recv.len, m->version, &why);
  int64_t left = whole - (int64_t) c->recv.len;
  c->expect = left < 0 ? 0 : left < MQTT_READ_AHEAD ? (size_t) left : MQTT_READ_AHEAD;
}

static bool mqtt_next(struct mg_connection *c, struct mg_mqtt *m) {
  struct mg_mqtt_packet packet;
  const char *why = NULL;
  int64_t n;
  m->is_partial = m->is_held = false;
  if (c->recv.len == 0) return false;
  n = mg__mqtt_parse(c->recv.buf, c->recv.len, m->version, mqtt_largest(c, m), &packet, &why);
  if (n < 0) return mqtt_fail(c, (int) -n, why);
  m->is_partial = n == 0;
  if (n == 0) mqtt_expect(c, m);
  if (n == 0) return false;
  m->is_held = mqtt_must_wait(m, &packet.event);
  if (m->is_held || !mqtt_packet(c, m, &packet)) return false;
  mg__iobuf_del(&c->recv, (size_t) n);
  return true;
}

static void mqtt_on_eof(struct mg_connection *c);

static void mqtt_on_data(struct mg_connection *c) {
  struct mg_mqtt *m = mg__mqtt(c);
  m->heard_at = c->mgr->now;
  m->ping_at = 0;
  while (mqtt_may_go_on(c, m) && mqtt_next(c, m)) continue;
  if (!mqtt_goes_on(c)) return;
  mg__mqtt_session_pump(m->session);
  mg__mqtt_set_deadline(c);
  if (c->is_eof && !c->mgr->leave) mqtt_on_eof(c);
}

/* ---- the end, and what happens by itself ---------------------------------------------------------------- */

static void mqtt_on_eof(struct mg_connection *c) {
  const struct mg_mqtt *m = mg__mqtt(c);
  if (c->is_paused || !mg__link_empty(&c->todo)) return; /* on_data will look once more */
  if (c->is_client && !m->is_open && !m->disconnect_sent)
    mg__conn_error(c, "MQTT: the connection ended before CONNACK");
  else
    mg__conn_drain(c);
}

static void mqtt_on_sent(struct mg_connection *c) {
  struct mg_mqtt *m = mg__mqtt(c);
  if (c->is_client && m->since == 0) { /* CONNECT has left: the answer's time begins */
    m->since = c->mgr->now;
    mg__mqtt_set_deadline(c);
  }
  mg__mqtt_session_pump(m->session);
}

/* Waiting for CONNECT, or for its answer. */
static bool mqtt_is_opening(const struct mg_connection *c, const struct mg_mqtt *m) {
  return c->is_client ? !m->is_open : m->version == 0 || m->is_held;
}

/* Of silence, until we ask (clients) or give up (servers). */
static uint64_t mqtt_patience(const struct mg_connection *c, const struct mg_mqtt *m) {
  return (uint64_t) m->keepalive * (c->is_client ? 750 : 1500);
}

/* Both directions count: a client has to be heard, and wants to know that it is. */
static uint64_t mqtt_silent_since(const struct mg_connection *c, const struct mg_mqtt *m) {
  if (m->ping_at != 0) return m->ping_at;
  return c->is_client && m->sent_at < m->heard_at ? m->sent_at : m->heard_at;
}

/* When on_timeout() has something to do; 0: never. */
static uint64_t mqtt_due(const struct mg_connection *c) {
  const struct mgx_limits *limits = &c->mgr->limits;
  const struct mg_mqtt *m = mg__mqtt(c);
  uint64_t at = 0, patience = mqtt_patience(c, m);
  if (mqtt_is_opening(c, m)) {
    if (m->since != 0 && limits->mqtt_connect_timeout_ms != 0)
      at = m->since + limits->mqtt_connect_timeout_ms;
  } else if (patience != 0) {
    at = mqtt_silent_since(c, m) + patience;
  }
  if (m->is_partial && limits->body_timeout_ms != 0 &&
      (at == 0 || m->heard_at + limits->body_timeout_ms < at))
    at = m->heard_at + limits->body_timeout_ms;
  return c->is_draining ? 0 : at; /* the end has time-outs of its own */
}

void mg__mqtt_set_deadline(struct mg_connection *c) { mg__conn_set_deadline(c, mqtt_due(c)); }

static void mqtt_too_silent(struct mg_connection *c, struct mg_mqtt *m) {
  struct mg_mqtt_form ping = {MQTT_CMD_PINGREQ << 4, false, {"", 0}, {"", 0}, {"", 0}};
  if (!c->is_client) {
    mqtt_fail(c, MG_MQTT_KEEPALIVE, "keep-alive: nothing was heard for one and a half times of it");
  } else if (m->ping_at != 0) {
    mg__conn_error(c, "MQTT: no answer to a PINGREQ for %llu ms (keep-alive)",
                   (unsigned long long) mqtt_patience(c, m));
  } else {
    mg__mqtt_send(c, &ping);
    m->ping_at = c->mgr->now;
    mg__mqtt_set_deadline(c);
  }
}

static void mqtt_on_timeout(struct mg_connection *c) {
  const struct mgx_limits *limits = &c->mgr->limits;
  struct mg_mqtt *m = mg__mqtt(c);
  uint64_t now = c->mgr->now, due;
  if (c->is_paused || m->is_held) m->heard_at = now; /* it is us who do not listen */
  due = mqtt_due(c);
  if (due == 0 || due > now)
    mg__conn_set_deadline(c, due);
  else if (mqtt_is_opening(c, m) && now - m->since >= limits->mqtt_connect_timeout_ms)
    mg__conn_error(c, "MQTT: no %s for %llu ms (mqtt_connect_timeout)",
                   c->is_client || m->version != 0 ? "CONNACK" : "CONNECT",
                   (unsigned long long) limits->mqtt_connect_timeout_ms);
  else if (m->is_partial && now - m->heard_at >= limits->body_timeout_ms)
    mg__conn_error(c, "body_timeout: no more of a packet for %llu ms",
                   (unsigned long long) limits->body_timeout_ms);
  else
    mqtt_too_silent(c, m);
}

/* Raw bytes pass as they are; by a CONNACK among them CONNECT is answered. */
static int mqtt_on_send(struct mg_connection *c, const char *data, size_t len) {
  struct mg_mqtt *m = mg__mqtt(c);
  struct mg_mqtt_packet packet;
  const char *why;
  m->sent_at = c->mgr->now;
  if (!m->awaits_connack || mg__mqtt_parse(data, len, m->version, 0, &packet, &why) <= 0 ||
      packet.event.cmd != MQTT_CMD_CONNACK)
    return MGX_OK;
  m->awaits_connack = false;
  if (packet.event.ack != 0) return MGX_OK;
  mg__mqtt_announced(m, mg__mqtt_str(packet.event.props, packet.event.props_len));
  m->is_open = m->may_publish = true;
  mg__conn_todo(c); /* what waited for it */
  return MGX_OK;
}

/* Everything is taken as it comes, so bytes wait while they are held back, or in a pause. */
static uint64_t mqtt_recv_limit(const struct mg_connection *c) {
  return mg__mqtt(c)->is_held ? 1 : UINT64_MAX;
}

static void mqtt_free(struct mg_connection *c) {
  struct mg_mqtt *m = mg__mqtt(c);
  mg__mqtt_session_detach(c);
  mg__mqtt_session_clear(&m->own);
  mqtt_aliases_free(m);
  mg__iobuf_free(&c->mgr->pool, &m->early);
  mg__free(m);
}

const struct mg_proto mg__proto_mqtt = {
    .name = "mqtt",
    .on_data = mqtt_on_data,
    .on_eof = mqtt_on_eof,
    .on_sent = mqtt_on_sent,
    .on_timeout = mqtt_on_timeout,
    .on_send = mqtt_on_send,
    .recv_limit = mqtt_recv_limit,
    .free = mqtt_free,
};

bool mg__mqtt_attach(struct mg_connection *c) {
  struct mg_mqtt *m = mg__calloc(sizeof(*m));
  if (m == NULL) return false;
  assert(c->proto == NULL);
  c->proto = &mg__proto_mqtt;
  c->proto_data = m;
  mg__mqtt_session_init(&m->own);
  m->own.conn = c;
  m->session = &m->own;
  mg__mqtt_heed(c, mg__mqtt_str("", 0));
  m->our_receive_maximum = UINT16_MAX;
  m->since = c->is_client ? 0 : c->mgr->now;
  m->heard_at = m->sent_at = c->mgr->now;
  return true;
}
