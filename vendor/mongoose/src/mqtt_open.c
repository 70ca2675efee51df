/* mqtt_open.c: how a connection comes to speak MQTT: CONNECT and CONNACK, MQTT
 * 5.0 sections 3.1 and 3.2, and what either side announces by them.
 *
 * A client's CONNECT is queued before it is connected. A server waits for one,
 * and its user answers it. Then the session goes on. */
#include "mqtt.h"

/* ---- CONNACK ------------------------------------------------------------------------- */

/* Say how large a packet may be unless the user did. *owned is to be freed. */
static bool mqtt_say_maximum(const struct mg_mgr *mgr, struct mg_str *props, char **owned) {
  uint64_t max = mgr->limits.mqtt_packet;
  char *to;
  *owned = NULL;
  if (max == 0 || max > UINT32_MAX ||
      mg__mqtt_prop_number(*props, MG_MQTT_PROP_PACKET_SIZE, 0) != 0)
    return true;
  *owned = to = mg__malloc(props->len + 5);
  if (to == NULL) return false;
  if (props->len > 0) memcpy(to, props->buf, props->len);
  to += props->len;
  to[0] = MG_MQTT_PROP_PACKET_SIZE;
  for (int i = 0; i < 4; i++) to[1 + i] = (char) (max >> (24 - 8 * i));
  *props = mg__mqtt_str(*owned, props->len + 5);
  return true;
}

int mg__mqtt_send_connack(struct mg_connection *c, int code, bool present, struct mg_str props) {
  struct mg_mqtt *m = mg__mqtt(c);
  char head[2] = {present, (char) code}, *owned = NULL;
  struct mg_mqtt_form form = {MQTT_CMD_CONNACK << 4, m->version >= 5, mg__mqtt_str(head, 2), props, {"", 0}};
  int err;
  if (m->version == 5 && code == 0 && !mqtt_say_maximum(c->mgr, &form.props, &owned))
    return MGX_ENOMEM;
  err = mg__mqtt_send(c, &form);
  mg__free(owned);
  if (err == MGX_OK) m->awaits_connack = false;
  return err;
}

/* ---- what is announced --------------------------------------------------------------- */

/* How many messages of QoS 1 and 2 a peer takes that has said nothing about it. */
static uint16_t mqtt_window(const struct mg_connection *c) {
  uint64_t limit = c->mgr->limits.mqtt_inflight;
  if (!c->is_client || mg__mqtt(c)->version != 4 || limit == 0 || limit > UINT16_MAX)
    return UINT16_MAX;
  return (uint16_t) limit;
}

void mg__mqtt_heed(struct mg_connection *c, struct mg_str props) {
  struct mg_mqtt *m = mg__mqtt(c);
  m->receive_maximum =
      (uint16_t) mg__mqtt_prop_number(props, MG_MQTT_PROP_RECEIVE_MAXIMUM, mqtt_window(c));
  m->alias_maximum = (uint16_t) mg__mqtt_prop_number(props, MG_MQTT_PROP_ALIAS_MAXIMUM, 0);
  m->maximum_qos = (uint8_t) mg__mqtt_prop_number(props, MG_MQTT_PROP_MAXIMUM_QOS, 2);
  m->retain_available = mg__mqtt_prop_number(props, MG_MQTT_PROP_RETAIN_AVAILABLE, 1) != 0;
  m->packet_maximum = mg__mqtt_prop_number(props, MG_MQTT_PROP_PACKET_SIZE, 0);
  m->keepalive = (uint16_t) mg__mqtt_prop_number(props, MG_MQTT_PROP_KEEPALIVE, m->keepalive);
}

void mg__mqtt_announced(struct mg_mqtt *m, struct mg_str props) {
  m->our_receive_maximum =
      (uint16_t) mg__mqtt_prop_number(props, MG_MQTT_PROP_RECEIVE_MAXIMUM, UINT16_MAX);
  m->our_alias_maximum = (uint16_t) mg__mqtt_prop_number(props, MG_MQTT_PROP_ALIAS_MAXIMUM, 0);
  m->our_packet_maximum = mg__mqtt_prop_number(props, MG_MQTT_PROP_PACKET_SIZE, 0);
  m->keepalive = (uint16_t) mg__mqtt_prop_number(props, MG_MQTT_PROP_KEEPALIVE, m->keepalive);
}

/* ---- clients  ---------------------------------------------------------------------- */

const char *mg__mqtt_connect_wrong(const struct mgx_mqtt_connect *connect) {
  const char *why = NULL;
  if (mg__mqtt_connect_check(connect, &why) != MG_MQTT_OK) return why;
  if (connect->version == 4 && connect->client_id.len == 0 && !connect->clean)
    return "an empty client id needs a clean session";
  return mg__mqtt_connect_length(connect) == 0 ? "properties above 268435455 bytes" : NULL;
}

int mg__mqtt_begin(struct mg_connection *c, const struct mgx_mqtt_connect *connect) {
  struct mgx_mqtt_connect with = *connect;
  struct mg_mqtt_session *s = NULL;
  struct mg_mqtt *m;
  char *owned = NULL;
  int err = MGX_ENOMEM;
  if (connect->session != 0) {
    s = mg__mqtt_session_to_give(c->mgr, connect->session);
    if (s == NULL) return MGX_ECLOSED;
    if (s->conn != NULL && !s->conn->is_closing && !mg__mqtt(s->conn)->disconnect_sent)
      return MGX_EBUSY;
  }
  if (!mg__mqtt_attach(c)) return MGX_ENOMEM;
  m = mg__mqtt(c);
  m->version = connect->version;
  m->is_clean = connect->clean;
  m->keepalive = connect->keepalive;
  mg__mqtt_heed(c, mg__mqtt_str("", 0));
  mg__mqtt_announced(m, connect->props);
  if (connect->version == 4 || mqtt_say_maximum(c->mgr, &with.props, &owned))
    err = mg__mqtt_room(c, mg__mqtt_connect_length(&with), false);
  if (err == MGX_OK)
    mg__mqtt_wrote(c, &c->send, mg__mqtt_connect_write(&with, c->send.buf + c->send.len));
  mg__free(owned);
  if (err != MGX_OK) return err;
  if (s != NULL && s->conn != NULL) mg__mqtt_session_detach(s->conn); /* that one is through */
  if (s != NULL) mg__mqtt_session_attach(s, c);
  m->may_publish = m->version == 4 && m->session->pending == 0;
  return MGX_OK;
}

/* Each of these was checked when it came in, but for what CONNACK tells. */
static bool mqtt_may_send_early(const struct mg_mqtt *m, const char *packet, size_t len) {
  unsigned first = (uint8_t) packet[0];
  if (m->packet_maximum != 0 && len > m->packet_maximum) return false;
  return first >> 4 != MQTT_CMD_PUBLISH || (first & MG_MQTT_RETAIN) == 0 || m->retain_available;
}

/* What waited for CONNACK leaves. */
static void mqtt_send_early(struct mg_connection *c) {
  struct mg_mqtt *m = mg__mqtt(c);
  const char *why = NULL;
  int err = MGX_OK;
  for (size_t at = 0, len; at < m->early.len && err == MGX_OK; at += len) {
    const char *packet = m->early.buf + at;
    len = (size_t) mg__mqtt_length(packet, m->early.len - at, m->version, &why);
    if (mqtt_may_send_early(m, packet, len))
      err = mg__conn_queue(c, packet, len);
    else
      mg__log(c->mgr, MG_LL_ERROR,
              "connection %llu: an MQTT packet dropped: larger than the server takes, or a RETAIN "
              "it does not",
              (unsigned long long) c->id);
  }
  mg__iobuf_free(&c->mgr->pool, &m->early);
  if (err != MGX_OK)
    mg__conn_error(c, "MQTT: what waited for CONNACK does not fit the send queue");
}

void mg__mqtt_open(struct mg_connection *c, bool present) {
  struct mg_mqtt *m = mg__mqtt(c);
  m->is_open = m->may_publish = true;
  if (c->is_client) mqtt_send_early(c); /* a SUBSCRIBE goes before messages that it may fit */
  if (!c->is_closing) mg__mqtt_session_resume(m->session, present);
  mg__mqtt_set_deadline(c);
}

/* ---- answering CONNECT ------------------------------------------------------------------ */

/* A client that was taken for lost is back: its old connection ends. */
static void mqtt_take_over(struct mg_mqtt_session *s) {
  struct mg_connection *old = s->conn;
  mg__mqtt_session_detach(old);
  if (old->is_closing) return;
  if (!mg__mqtt(old)->disconnect_sent)
    mg__mqtt_send_disconnect(old, MG_MQTT_TAKEN_OVER, mg__mqtt_str("", 0));
  mg__conn_drain(old);
}

static int mqtt_connack(struct mg_connection *c, int code, bool present, struct mg_str props,
                        uint64_t session) {
  struct mg_mqtt *m = mg__mqtt(c);
  struct mg_mqtt_session *s = mg__mqtt_session_to_give(c->mgr, session);
  bool known = m->version == 4 || m->version == 5;
  int most = m->version >= 5 ? 255 : 5, least_bad = m->version >= 5 ? 0x80 : 1;
  int err;
  if (!m->awaits_connack) return MGX_ESTATE;
  if (code < 0 || code > most || (code > 0 && code < least_bad) || (code != 0 && (present || session != 0)) ||
      (session != 0 && s == NULL) || (code == 0 && !known) ||
      !mg__mqtt_props_ok(m, MQTT_CMD_CONNACK, props))
    return MGX_EINVAL;
  err = mg__mqtt_send_connack(c, code, present, props);
  if (err != MGX_OK) return err;
  if (code != 0) {
    mg__conn_drain(c);
    return MGX_OK;
  }
  mg__mqtt_announced(m, props);
  if (s != NULL) {
    if (s->conn != NULL) mqtt_take_over(s);
    if (!present) mg__mqtt_session_clear(s);
    mg__mqtt_session_attach(s, c);
  }
  mg__mqtt_open(c, present);
  return MGX_OK;
}

int mgx_mqtt_connack(struct mg_mgr *mgr, uint64_t conn, int code, bool present,
                     const char *props, size_t props_len, uint64_t session) {
  struct mg_connection *c;
  int err = mg__mqtt_enter(mgr, conn, MG_MQTT_ON_SERVERS, &c);
  if (err == MGX_OK) {
    c->busy++; /* what is left in the session may fail to be sent */
    err = mqtt_connack(c, code, present, mg__mqtt_str(props, props_len), session);
    c->busy--;
  }
  return mg__mqtt_leave(mgr, err);
}

/* ---- looking at it ------------------------------------------------------------------------ */

int mgx_mqtt_conn_info(struct mg_mgr *mgr, uint64_t conn, struct mgx_mqtt_info *info) {
  struct mg_connection *c;
  int err = MGX_OK;
  mg__lock(mgr);
  c = mg__conn_find(mgr, conn);
  if (c == NULL) err = MGX_ECLOSED;
  if (c != NULL && c->proto != &mg__proto_mqtt) err = MGX_EKIND;
  if (err == MGX_OK) {
    const struct mg_mqtt *m = mg__mqtt(c);
    *info = (struct mgx_mqtt_info){.version = m->version,
                                   .is_open = m->is_open,
                                   .keepalive = m->keepalive,
                                   .receive_maximum = m->receive_maximum,
                                   .topic_alias_maximum = m->alias_maximum,
                                   .maximum_qos = m->maximum_qos,
                                   .retain_available = m->retain_available,
                                   .maximum_packet_size = m->packet_maximum,
                                   .session = m->session->id,
                                   .pending = m->session->pending,
                                   .waiting = mg__mqtt_session_waiting(m->session)};
  }
  return mg__mqtt_leave(mgr, err);
}
