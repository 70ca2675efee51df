/* api.c: the public calls on one connection. Each takes the lock, finds the
 * connection by its number, does its work and lets go; so each is safe from
 * any thread and inside any callback. */
#include "internal.h"

/* Lock, and the connection of that number, or NULL. */
static struct mg_connection *enter(struct mg_mgr *mgr, uint64_t conn) {
  mg__lock(mgr);
  return mg__conn_find(mgr, conn);
}

static int leave(struct mg_mgr *mgr, int result) {
  mg__unlock(mgr);
  return result;
}

static uint32_t conn_flags(const struct mg_connection *c) {
  uint32_t flags = 0;
  bool is_full = !c->is_closing && (c->is_paused || (!c->is_listening && !c->is_udp &&
                                                     c->recv.len >= mg__conn_recv_limit(c)));
  if (c->is_listening) flags |= MGX_IS_LISTENING;
  if (c->is_client) flags |= MGX_IS_CLIENT;
  if (c->is_accepted) flags |= MGX_IS_ACCEPTED;
  if (c->is_tls) flags |= MGX_IS_TLS;
  if (c->is_udp) flags |= MGX_IS_UDP;
  if (c->is_websocket) flags |= MGX_IS_WEBSOCKET;
  if (c->is_readable) flags |= MGX_IS_READABLE;
  if (c->is_writable) flags |= MGX_IS_WRITABLE;
  if (c->is_closing) flags |= MGX_IS_CLOSING;
  if (is_full) flags |= MGX_IS_FULL;
  if (c->is_draining) flags |= MGX_IS_DRAINING;
  if (c->proto == &mg__proto_http || c->accept_http) flags |= MGX_IS_HTTP;
  if (c->is_connecting) flags |= MGX_IS_CONNECTING;
  if (c->proto == &mg__proto_mqtt || c->accept_mqtt) flags |= MGX_IS_MQTT;
  return flags;
}

int mgx_conn_flags(struct mg_mgr *mgr, uint64_t conn) {
  struct mg_connection *c = enter(mgr, conn);
  if (c == NULL) return leave(mgr, MGX_ECLOSED);
  c->is_known = true;
  return leave(mgr, (int) conn_flags(c));
}

static void conn_local_address(struct mg_connection *c) {
  if (c->loc.len != 0 || c->fd < 0 || c->is_connecting) return;
  c->loc.len = sizeof(c->loc.u);
  if (c->mgr->os->getsockname(c->fd, &c->loc.u.sa, &c->loc.len) < 0) c->loc.len = 0;
}

int mgx_conn_info(struct mg_mgr *mgr, uint64_t conn, struct mgx_conn_info *info) {
  struct mg_connection *c = enter(mgr, conn);
  if (c == NULL) return leave(mgr, MGX_ECLOSED);
  memset(info, 0, sizeof(*info));
  conn_local_address(c);
  info->flags = conn_flags(c);
  info->handler = c->handler;
  info->recv_len = c->recv.len;
  info->recv_size = c->recv.size;
  info->send_len = mg__conn_unsent(c);
  info->send_size = c->send.size;
  info->has_loc = c->loc.len > 0;
  info->has_rem = c->rem.len > 0;
  if (info->has_loc) mg__addr_text(&c->loc, &info->loc);
  if (info->has_rem) mg__addr_text(&c->rem, &info->rem);
  return leave(mgr, MGX_OK);
}

int mgx_conn_handler(struct mg_mgr *mgr, uint64_t conn) {
  struct mg_connection *c = enter(mgr, conn);
  if (c == NULL) return leave(mgr, MGX_ECLOSED);
  c->is_known = true;
  return leave(mgr, c->handler);
}

int mgx_conn_set_handler(struct mg_mgr *mgr, uint64_t conn, int h) {
  struct mg_connection *c = enter(mgr, conn);
  if (c == NULL) return leave(mgr, MGX_ECLOSED);
  if (mg__handler(mgr, h) == NULL) return leave(mgr, MGX_EINVAL);
  mg__conn_set_handler(c, h);
  return leave(mgr, MGX_OK);
}

static int send_locked(struct mg_connection *c, const char *data, size_t len,
                       struct mgx_error *err) {
  int result;
  if (c->is_closing) return MGX_ECLOSED;
  if (c->is_udp && c->proto != NULL) return c->proto->on_send(c, data, len);
  if (c->is_udp && mg__dial_holds(c)) return mg__dial_queue(c, data, len);
  if (c->is_udp) {
    c->busy++;
    result = mg__io_send_datagram(c, data, len, err);
    c->busy--;
    return result;
  }
  if (c->is_listening) return MGX_EKIND;
  result = mg__conn_queue_reserve(c, len);
  if (result == MGX_OK && c->proto != NULL && c->proto->on_send != NULL)
    result = c->proto->on_send(c, data, len);
  return result == MGX_OK ? mg__conn_queue(c, data, len) : result;
}

int mgx_send(struct mg_mgr *mgr, uint64_t conn, const char *data, size_t len,
             struct mgx_error *err) {
  struct mg_connection *c = enter(mgr, conn);
  if (c == NULL) return leave(mgr, MGX_ECLOSED);
  return leave(mgr, send_locked(c, data, len, err));
}

int mgx_close(struct mg_mgr *mgr, uint64_t conn) {
  struct mg_connection *c = enter(mgr, conn);
  if (c == NULL) return leave(mgr, MGX_ECLOSED);
  mg__conn_close(c);
  return leave(mgr, MGX_OK);
}

int mgx_drain(struct mg_mgr *mgr, uint64_t conn) {
  struct mg_connection *c = enter(mgr, conn);
  if (c == NULL) return leave(mgr, MGX_ECLOSED);
  mg__conn_drain(c);
  return leave(mgr, MGX_OK);
}

int mgx_pause(struct mg_mgr *mgr, uint64_t conn, bool on) {
  struct mg_connection *c = enter(mgr, conn);
  if (c == NULL || c->is_closing) return leave(mgr, MGX_ECLOSED);
  c->is_paused = on;
  if (!on) mg__conn_todo(c); /* what waits in the buffer comes before new bytes */
  mg__conn_watch(c);
  return leave(mgr, MGX_OK);
}

int mgx_conn_error(struct mg_mgr *mgr, uint64_t conn, const char *text, size_t len) {
  struct mg_connection *c = enter(mgr, conn);
  if (c == NULL || c->is_closed) return leave(mgr, MGX_ECLOSED);
  c->busy++;
  mg__conn_fail(c, text, len);
  c->busy--;
  return leave(mgr, MGX_OK);
}

static int64_t copy_front(const struct mg_iobuf *io, char *buf, size_t cap) {
  size_t n = io->len < cap ? io->len : cap;
  if (n > 0) memcpy(buf, io->buf, n);
  return (int64_t) n;
}

int64_t mgx_recv_data(struct mg_mgr *mgr, uint64_t conn, char *buf, size_t cap) {
  struct mg_connection *c = enter(mgr, conn);
  int64_t n = c == NULL ? MGX_ECLOSED : copy_front(&c->recv, buf, cap);
  mg__unlock(mgr);
  return n;
}

int64_t mgx_send_data(struct mg_mgr *mgr, uint64_t conn, char *buf, size_t cap) {
  struct mg_connection *c = enter(mgr, conn);
  int64_t n = c == NULL ? MGX_ECLOSED : copy_front(&c->send, buf, cap);
  mg__unlock(mgr);
  return n;
}

int mgx_recv_keep(struct mg_mgr *mgr, uint64_t conn, size_t n) {
  struct mg_connection *c = enter(mgr, conn);
  if (c == NULL) return leave(mgr, MGX_ECLOSED);
  if (!c->in_read || c->is_udp || c->proto != NULL) return leave(mgr, MGX_ESTATE);
  if (n > c->event_len) return leave(mgr, MGX_EINVAL);
  c->keep = n;
  return leave(mgr, MGX_OK);
}

int mgx_recv_consume(struct mg_mgr *mgr, uint64_t conn, size_t n) {
  struct mg_connection *c = enter(mgr, conn);
  if (c == NULL) return leave(mgr, MGX_ECLOSED);
  if (c->in_read || c->proto != NULL || c->is_closed) return leave(mgr, MGX_ESTATE);
  if (n > c->recv.len) return leave(mgr, MGX_EINVAL);
  if (c->is_udp) n = c->recv.len; /* a datagram is taken whole */
  mg__iobuf_del(&c->recv, n);
  c->kept = n < c->kept ? c->kept - n : 0;
  mg__iobuf_settle(&mgr->pool, &c->recv);
  mg__conn_watch(c);
  return leave(mgr, MGX_OK);
}
