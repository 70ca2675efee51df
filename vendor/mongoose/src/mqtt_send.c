/* mqtt_send.c: what the user sends on an MQTT connection, and the packets that
 * answer the peer's.
 *
 * A packet is checked and its length known before a byte is written: it is
 * queued whole or not at all. What a client sends before CONNACK waits, unless
 * its session is new and the version is 3.1.1, which leaves nothing to learn
 * from the answer. */
#include "mqtt.h"

/* ---- queueing ------------------------------------------------------------------- */

int mg__mqtt_room(struct mg_connection *c, size_t n, bool early) {
  struct mg_mqtt *m = mg__mqtt(c);
  uint64_t limit = c->mgr->limits.mqtt_queue;
  if (n == 0) return MGX_EINVAL;
  if (m->packet_maximum != 0 && n > m->packet_maximum) return MGX_EPEER;
  if (!early) return mg__conn_queue_reserve(c, n);
  if (limit != 0 && (m->early.len > limit || n > limit - m->early.len)) return MGX_ELIMIT;
  return mg__iobuf_reserve(&c->mgr->pool, &m->early, n) ? MGX_OK : MGX_ENOMEM;
}

void mg__mqtt_wrote(struct mg_connection *c, struct mg_iobuf *io, size_t n) {
  io->len += n;
  if (io != &c->send) {
    mg__iobuf_settle(&c->mgr->pool, io);
    return;
  }
  mg__mqtt(c)->sent_at = c->mgr->now;
  mg__conn_dirty(c);
}

static int mqtt_send_form(struct mg_connection *c, const struct mg_mqtt_form *form, bool early) {
  struct mg_iobuf *io = early ? &mg__mqtt(c)->early : &c->send;
  int err = mg__mqtt_room(c, mg__mqtt_form_length(form), early);
  if (err == MGX_OK) mg__mqtt_wrote(c, io, mg__mqtt_form_write(form, io->buf + io->len));
  return err;
}

int mg__mqtt_send(struct mg_connection *c, const struct mg_mqtt_form *form) {
  return mqtt_send_form(c, form, false);
}

int mg__mqtt_may_publish(const struct mg_connection *c, const struct mg_mqtt_publish *publish) {
  const struct mg_mqtt *m = mg__mqtt(c);
  size_t n = mg__mqtt_publish_length(publish, m->version);
  if (n == 0) return MGX_EINVAL;
  if ((m->packet_maximum != 0 && n > m->packet_maximum) ||
      (publish->flags & MG_MQTT_QOS) >> 1 > m->maximum_qos ||
      ((publish->flags & MG_MQTT_RETAIN) && !m->retain_available))
    return MGX_EPEER;
  return MGX_OK;
}

static int mqtt_send_publish(struct mg_connection *c, struct mg_mqtt_publish *publish, bool early) {
  struct mg_mqtt *m = mg__mqtt(c);
  struct mg_iobuf *io = early ? &m->early : &c->send;
  int err = mg__mqtt_may_publish(c, publish);
  if (err == MGX_OK) err = mg__mqtt_room(c, mg__mqtt_publish_length(publish, m->version), early);
  if (err == MGX_OK)
    mg__mqtt_wrote(c, io, mg__mqtt_publish_write(publish, m->version, io->buf + io->len));
  return err;
}

int mg__mqtt_send_publish(struct mg_connection *c, struct mg_mqtt_publish *publish) {
  return mqtt_send_publish(c, publish, false);
}

/* ---- what answers the peer --------------------------------------------------------- */

bool mg__mqtt_send_ack(struct mg_connection *c, int cmd, uint16_t id, int reason) {
  char head[3] = {(char) (id >> 8), (char) id, (char) reason};
  unsigned flags = cmd == MQTT_CMD_PUBREL ? 2 : 0;
  struct mg_mqtt_form form = {(uint8_t) ((unsigned) cmd << 4 | flags), false,
                              mg__mqtt_str(head, reason == 0 ? 2 : 3), {"", 0}, {"", 0}};
  int err = mg__mqtt_send(c, &form);
  if (err == MGX_OK) return true;
  mg__conn_error(c, "MQTT: an acknowledgement cannot be sent: %s",
                 err == MGX_ELIMIT ? "the peer reads nothing (send_backlog limit)"
                 : err == MGX_ENOMEM ? "out of memory" : "the peer takes no packet of that size");
  return false;
}

int mg__mqtt_send_disconnect(struct mg_connection *c, int reason, struct mg_str props) {
  struct mg_mqtt *m = mg__mqtt(c);
  char head[1] = {(char) reason};
  struct mg_mqtt_form form = {MQTT_CMD_DISCONNECT << 4, props.len > 0, mg__mqtt_str(head, 1), props, {"", 0}};
  int err = MGX_OK;
  if (m->version != 5) form.has_props = false;
  if (m->version != 5 || (reason == 0 && props.len == 0)) form.head.len = 0;
  if (c->is_client || (m->version == 5 && m->is_open)) err = mg__mqtt_send(c, &form);
  if (err != MGX_OK) return err;
  m->disconnect_sent = true;
  m->may_publish = false;
  return MGX_OK;
}

/* ---- calls: what they share ----------------------------------------------------------------- */

int mg__mqtt_enter(struct mg_mgr *mgr, uint64_t conn, unsigned side, struct mg_connection **c) {
  mg__lock(mgr);
  *c = mg__conn_find(mgr, conn);
  if (*c == NULL || (*c)->is_closing) return MGX_ECLOSED;
  if ((*c)->proto != &mg__proto_mqtt) return MGX_EKIND;
  if ((((*c)->is_client ? MG_MQTT_ON_CLIENTS : MG_MQTT_ON_SERVERS) & side) == 0) return MGX_EKIND;
  return mg__mqtt(*c)->disconnect_sent ? MGX_ECLOSED : MGX_OK;
}

bool mg__mqtt_props_ok(const struct mg_mqtt *m, int cmd, struct mg_str props) {
  const char *why;
  uint64_t seen;
  return props.len == 0 ||
         (m->version == 5 && mg__mqtt_props_check(props, cmd, &seen, &why) == MG_MQTT_OK);
}

/* ---- PUBLISH ----------------------------------------------------------------------------------- */

/* What can be known without a connection. *seen: the properties that are there. A topic
 * alias is none of a message's own: it ends with the connection. */
static bool mqtt_publish_ok(const struct mg_mqtt_publish *p, unsigned flags, uint64_t *seen) {
  const char *why;
  *seen = 0;
  if (flags > (MG_MQTT_QOS | MG_MQTT_RETAIN) || (flags & MG_MQTT_QOS) == MG_MQTT_QOS) return false;
  if (!mgx_mqtt_topic_ok(p->topic.buf, p->topic.len)) return false;
  if (mg__mqtt_publish_length(p, 5) == 0) return false;
  if (p->props.len == 0) return true;
  return mg__mqtt_props_check(p->props, MQTT_CMD_PUBLISH, seen, &why) == MG_MQTT_OK &&
         (*seen >> MG_MQTT_PROP_ALIAS & 1u) == 0;
}

static int mqtt_publish(struct mg_connection *c, struct mg_mqtt_publish *p, uint64_t seen) {
  struct mg_mqtt *m = mg__mqtt(c);
  int err = MGX_OK;
  if (c->is_client && (seen >> MG_MQTT_PROP_SUBSCRIPTION_ID & 1u)) return MGX_EINVAL;
  if (!c->is_client && !m->is_open) return MGX_ESTATE;
  if (m->is_open) err = mg__mqtt_may_publish(c, p);
  if (err != MGX_OK) return err;
  if (p->flags & MG_MQTT_QOS) return mg__mqtt_session_publish(c->mgr, m->session, p);
  return mqtt_send_publish(c, p, !m->may_publish);
}

int mgx_mqtt_pub(struct mg_mgr *mgr, uint64_t conn, const char *topic, size_t topic_len,
                 const char *data, size_t len, unsigned flags, const char *props,
                 size_t props_len) {
  struct mg_mqtt_publish p = {.topic = mg__mqtt_str(topic, topic_len),
                              .data = mg__mqtt_str(data, len),
                              .props = mg__mqtt_str(props, props_len),
                              .flags = (uint8_t) flags};
  struct mg_connection *c;
  uint64_t seen;
  bool ok = mqtt_publish_ok(&p, flags, &seen);
  int err = mg__mqtt_enter(mgr, conn, MG_MQTT_ON_CLIENTS | MG_MQTT_ON_SERVERS, &c);
  if (err == MGX_OK && (!ok || (props_len > 0 && mg__mqtt(c)->version != 5))) err = MGX_EINVAL;
  if (err == MGX_OK) err = mqtt_publish(c, &p, seen);
  return mg__mqtt_leave(mgr, err);
}

int64_t mgx_mqtt_pub_many(struct mg_mgr *mgr, const uint64_t *conns, size_t count,
                          const char *topic, size_t topic_len, const char *data, size_t len,
                          unsigned flags, const char *props, size_t props_len, int *ids) {
  const struct mg_mqtt_publish p = {.topic = mg__mqtt_str(topic, topic_len),
                                    .data = mg__mqtt_str(data, len),
                                    .props = mg__mqtt_str(props, props_len),
                                    .flags = (uint8_t) flags};
  uint64_t seen;
  int64_t taken = 0;
  if (!mqtt_publish_ok(&p, flags, &seen)) return MGX_EINVAL;
  mg__lock(mgr);
  if (mgr->is_closed) taken = MGX_ECLOSED;
  for (size_t i = 0; i < count && taken >= 0; i++) {
    struct mg_connection *c = mg__conn_find(mgr, conns[i]);
    struct mg_mqtt_publish one = p;
    int id = MGX_ECLOSED;
    if (c != NULL && !c->is_closing && c->proto != &mg__proto_mqtt)
      id = MGX_EKIND;
    else if (c != NULL && !c->is_closing && !mg__mqtt(c)->disconnect_sent)
      id = mqtt_publish(c, &one, seen);
    if (ids != NULL) ids[i] = id;
    if (id >= 0) taken++;
  }
  mg__unlock(mgr);
  return taken;
}

int mgx_mqtt_session_pub(struct mg_mgr *mgr, uint64_t session, const char *topic,
                         size_t topic_len, const char *data, size_t len, unsigned flags,
                         const char *props, size_t props_len) {
  struct mg_mqtt_publish p = {.topic = mg__mqtt_str(topic, topic_len),
                              .data = mg__mqtt_str(data, len),
                              .props = mg__mqtt_str(props, props_len),
                              .flags = (uint8_t) flags};
  struct mg_mqtt_session *s;
  struct mg_connection *c;
  uint64_t seen;
  bool ok = mqtt_publish_ok(&p, flags, &seen);
  int err;
  mg__lock(mgr);
  s = mg__mqtt_session(mgr, session);
  if (s == NULL) return mg__mqtt_leave(mgr, MGX_ECLOSED);
  if (!ok) return mg__mqtt_leave(mgr, MGX_EINVAL);
  c = s->conn;
  if (c != NULL && (c->is_closing || mg__mqtt(c)->disconnect_sent)) c = NULL;
  if (c != NULL)
    err = mqtt_publish(c, &p, seen);
  else
    err = flags & MG_MQTT_QOS ? mg__mqtt_session_publish(mgr, s, &p) : MGX_ESTATE;
  return mg__mqtt_leave(mgr, err);
}

/* ---- what clients send ------------------------------------------------------------------------- */

static int mqtt_send_filters(struct mg_mgr *mgr, uint64_t conn, int cmd, struct mg_str filters,
                             struct mg_str props) {
  struct mg_mqtt_form form = {(uint8_t) (cmd << 4 | 2), false, {NULL, 2}, props, filters};
  struct mg_connection *c;
  struct mg_mqtt *m;
  const char *why;
  char head[2];
  int id, err = mg__mqtt_enter(mgr, conn, MG_MQTT_ON_CLIENTS, &c);
  if (err != MGX_OK) return mg__mqtt_leave(mgr, err);
  m = mg__mqtt(c);
  if (!mg__mqtt_props_ok(m, cmd, props) ||
      mg__mqtt_filters_check(filters, cmd == MQTT_CMD_SUBSCRIBE, m->version, &why) != MG_MQTT_OK)
    return mg__mqtt_leave(mgr, MGX_EINVAL);
  id = mg__mqtt_session_take_id(m->session);
  if (id < 0) return mg__mqtt_leave(mgr, id);
  head[0] = (char) (id >> 8);
  head[1] = (char) id;
  form.head.buf = head;
  form.has_props = m->version == 5;
  err = mqtt_send_form(c, &form, !m->may_publish);
  if (err != MGX_OK) mg__mqtt_session_answered(m->session, (uint16_t) id);
  return mg__mqtt_leave(mgr, err == MGX_OK ? id : err);
}

int mgx_mqtt_sub(struct mg_mgr *mgr, uint64_t conn, const char *filters, size_t len,
                 const char *props, size_t props_len) {
  return mqtt_send_filters(mgr, conn, MQTT_CMD_SUBSCRIBE, mg__mqtt_str(filters, len),
                           mg__mqtt_str(props, props_len));
}

int mgx_mqtt_unsub(struct mg_mgr *mgr, uint64_t conn, const char *filters, size_t len,
                   const char *props, size_t props_len) {
  return mqtt_send_filters(mgr, conn, MQTT_CMD_UNSUBSCRIBE, mg__mqtt_str(filters, len),
                           mg__mqtt_str(props, props_len));
}

int mgx_mqtt_ping(struct mg_mgr *mgr, uint64_t conn) {
  struct mg_mqtt_form form = {MQTT_CMD_PINGREQ << 4, false, {"", 0}, {"", 0}, {"", 0}};
  struct mg_connection *c;
  int err = mg__mqtt_enter(mgr, conn, MG_MQTT_ON_CLIENTS, &c);
  if (err == MGX_OK) err = mqtt_send_form(c, &form, !mg__mqtt(c)->may_publish);
  return mg__mqtt_leave(mgr, err);
}

/* ---- what servers send --------------------------------------------------------------------------- */

int mgx_mqtt_pong(struct mg_mgr *mgr, uint64_t conn) {
  struct mg_mqtt_form form = {MQTT_CMD_PINGRESP << 4, false, {"", 0}, {"", 0}, {"", 0}};
  struct mg_connection *c;
  int err = mg__mqtt_enter(mgr, conn, MG_MQTT_ON_SERVERS, &c);
  if (err == MGX_OK) err = mg__mqtt_send(c, &form);
  return mg__mqtt_leave(mgr, err);
}

/* Sections 3.9.3 and 3.11.3; 3.1.1 has no codes in UNSUBACK, and one for all failures. */
static bool mqtt_codes_ok(int cmd, int version, const char *codes, size_t count) {
  for (size_t i = 0; i < count; i++) {
    unsigned code = (uint8_t) codes[i];
    bool ok = cmd == MQTT_CMD_SUBACK ? code <= 2 : code == 0 || code == 0x11;
    if (!ok && (code < 0x80 || (version == 4 && code > 0x80))) return false;
  }
  return count > 0;
}

int mgx_mqtt_suback(struct mg_mgr *mgr, uint64_t conn, int cmd, uint16_t id, const char *codes,
                    size_t count, const char *props, size_t props_len) {
  char head[2] = {(char) (id >> 8), (char) id};
  struct mg_mqtt_form form = {(uint8_t) (cmd << 4), false, mg__mqtt_str(head, 2),
                              mg__mqtt_str(props, props_len), mg__mqtt_str(codes, count)};
  struct mg_connection *c;
  int err = mg__mqtt_enter(mgr, conn, MG_MQTT_ON_SERVERS, &c);
  if (err != MGX_OK) return mg__mqtt_leave(mgr, err);
  if (!mg__mqtt(c)->is_open) return mg__mqtt_leave(mgr, MGX_ESTATE);
  if ((cmd != MQTT_CMD_SUBACK && cmd != MQTT_CMD_UNSUBACK) || id == 0 ||
      !mqtt_codes_ok(cmd, mg__mqtt(c)->version, codes, count) ||
      !mg__mqtt_props_ok(mg__mqtt(c), cmd, form.props))
    return mg__mqtt_leave(mgr, MGX_EINVAL);
  form.has_props = mg__mqtt(c)->version == 5;
  if (cmd == MQTT_CMD_UNSUBACK && !form.has_props) form.tail.len = 0;
  return mg__mqtt_leave(mgr, mg__mqtt_send(c, &form));
}

/* ---- what both send ------------------------------------------------------------------------------- */

int mgx_mqtt_disconnect(struct mg_mgr *mgr, uint64_t conn, int reason, const char *props,
                        size_t props_len) {
  struct mg_connection *c;
  int err = mg__mqtt_enter(mgr, conn, MG_MQTT_ON_CLIENTS | MG_MQTT_ON_SERVERS, &c);
  if (err == MGX_OK && (reason < 0 || reason > 255 ||
                        !mg__mqtt_props_ok(mg__mqtt(c), MQTT_CMD_DISCONNECT, mg__mqtt_str(props, props_len))))
    err = MGX_EINVAL;
  if (err == MGX_OK) err = mg__mqtt_send_disconnect(c, reason, mg__mqtt_str(props, props_len));
  if (err == MGX_OK) mg__conn_drain(c);
  return mg__mqtt_leave(mgr, err);
}

int mgx_mqtt_auth(struct mg_mgr *mgr, uint64_t conn, int reason, const char *props,
                  size_t props_len) {
  char head[1] = {(char) reason};
  struct mg_mqtt_form form = {(uint8_t) (MQTT_CMD_AUTH << 4), true, mg__mqtt_str(head, 1),
                              mg__mqtt_str(props, props_len), {"", 0}};
  struct mg_connection *c;
  int err = mg__mqtt_enter(mgr, conn, MG_MQTT_ON_CLIENTS | MG_MQTT_ON_SERVERS, &c);
  if (err == MGX_OK && mg__mqtt(c)->version != 5) err = MGX_EKIND;
  if (err == MGX_OK &&
      (reason < 0 || reason > 255 || !mg__mqtt_props_ok(mg__mqtt(c), MQTT_CMD_AUTH, form.props)))
    err = MGX_EINVAL;
  if (err == MGX_OK) err = mg__mqtt_send(c, &form);
  return mg__mqtt_leave(mgr, err);
}
