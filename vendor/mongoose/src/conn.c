/* conn.c: a connection's life, its queues and what the poller watches for.
 *
 * Knows no protocol and calls no system but the poller. Nothing here frees a
 * connection that somebody has on the stack (c->busy): closing marks, and
 * mg__conn_finish(), called by the loop alone, sweeps. */
#include "internal.h"

struct mg_connection *mg__conn_find(struct mg_mgr *mgr, uint64_t id) {
  struct mg_connection *c = mg__idmap_get(&mgr->by_id, id);
  return c == NULL || c->is_lingering ? NULL : c;
}

struct mg_connection *mg__conn_new(struct mg_mgr *mgr) {
  struct mg_connection *c = mg__calloc(sizeof(*c));
  if (c == NULL) return NULL;
  if (!mg__heap_reserve(&mgr->deadlines, mgr->num_conns + 1)) goto free_conn;
  if (!mg__idmap_put(&mgr->by_id, mgr->nextid + 1, c)) goto free_conn;
  c->id = ++mgr->nextid;
  c->mgr = mgr;
  c->fd = c->file = -1;
  c->interest = ~0u;
  c->linger_left = MG_LINGER_BYTES;
  c->input_result = 1;
  mg__link_init(&c->todo);
  mg__link_init(&c->dirty);
  mg__link_init(&c->polls);
  mg__link_add_tail(&mgr->conns, &c->link);
  mg__handler(mgr, 0)->refs++;
  mgr->num_conns++;
  return c;

free_conn:
  mg__free(c);
  return NULL;
}

void mg__conn_set_handler(struct mg_connection *c, int handler) {
  struct mg_handler *h = mg__handler(c->mgr, handler);
  mg__handler(c->mgr, c->handler)->refs--;
  h->refs++;
  c->handler = handler;
  c->mask = c->is_accepted ? h->accepted_mask : h->mask;
  mg__link_del(&c->polls);
  if (mg__wants(c, MG_EV_POLL)) mg__link_add_tail(&c->mgr->polls, &c->polls);
  if (c->recv.len > c->kept) mg__conn_todo(c); /* the new one may take what waits */
}

/* ---- deadlines ----------------------------------------------------------- */

uint64_t mg__conn_due(const struct mg_connection *c) {
  if (c->deadline == 0) return c->stall_at;
  if (c->stall_at == 0) return c->deadline;
  return c->deadline < c->stall_at ? c->deadline : c->stall_at;
}

/* The heap entry may be too early, never too late: touching a connection on
 * every request then costs a field, and the entry is corrected when it comes
 * up (mg__io_timeout). */
static void conn_arm(struct mg_connection *c) {
  uint64_t due = mg__conn_due(c);
  if (due == 0) return;
  if (c->timer.pos == 0 || due < c->timer.at) mg__heap_set(&c->mgr->deadlines, &c->timer, due);
}

void mg__conn_set_deadline(struct mg_connection *c, uint64_t at) {
  c->deadline = at;
  conn_arm(c);
}

/* A peer that does not take what it asked for is given up after a while. On
 * raw connections that is the handler's business, until they drain. */
void mg__conn_stalled(struct mg_connection *c) {
  uint64_t ms = c->mgr->limits.body_timeout_ms;
  if (ms == 0 || (c->proto == NULL && !c->is_draining)) return;
  mg__conn_set_stall(c, c->mgr->now + ms);
}

void mg__conn_set_stall(struct mg_connection *c, uint64_t at) {
  c->stall_at = at;
  conn_arm(c);
}

/* ---- what the poller watches for ------------------------------------------ */

uint64_t mg__conn_recv_limit(const struct mg_connection *c) {
  uint64_t limit = c->mgr->limits.recv_buffer;
  if (c->is_udp) return 1; /* one datagram that nobody has taken stops the reading */
  if (c->proto != NULL) return c->proto->recv_limit(c);
  return limit == 0 ? UINT64_MAX : limit;
}

static bool conn_is_full(const struct mg_connection *c) {
  return c->is_paused || (!c->is_listening && c->recv.len >= mg__conn_recv_limit(c));
}

static unsigned conn_interest(const struct mg_connection *c) {
  unsigned what = 0;
  if (c->is_connecting) return MG_POLL_OUT;
  if (c->is_listening && !c->is_udp) return c->is_resting || c->is_paused ? 0 : MG_POLL_IN;
  if (c->is_tls && !c->is_lingering && mg__tls_holds(c))
    return mg__tls_interest(c);
  if (!c->is_eof && (c->is_draining || c->is_lingering || !conn_is_full(c))) what |= MG_POLL_IN;
  if (mg__conn_unsent(c) > 0 && mg__link_empty(&c->dirty)) what |= MG_POLL_OUT;
  return what;
}

int mg__conn_register(struct mg_connection *c) {
  unsigned what = conn_interest(c);
  int err = c->mgr->poller_ops->add(c->mgr->poller, c->fd, c->id, what);
  if (err == 0) c->interest = what;
  return err;
}

void mg__conn_watch(struct mg_connection *c) {
  unsigned what;
  if (c->interest == ~0u || c->fd < 0) return;
  if (c->tls != NULL && mg__tls_has_more(c) && !c->is_eof && !c->is_posted &&
      (c->is_draining || !conn_is_full(c)))
    mg__conn_todo(c);
  what = conn_interest(c);
  if (what == c->interest) return;
  if (c->mgr->poller_ops->mod(c->mgr->poller, c->fd, c->id, what) == 0) c->interest = what;
  if (c->mgr->is_waiting) mg__interrupt(c->mgr); /* poll(2) waits on a snapshot */
}

/* ---- lists ------------------------------------------------------------------ */

void mg__conn_todo(struct mg_connection *c) {
  if (mg__link_empty(&c->todo)) mg__link_add_tail(&c->mgr->todo, &c->todo);
  mg__interrupt(c->mgr);
}

void mg__conn_dirty(struct mg_connection *c) {
  if (mg__link_empty(&c->dirty)) mg__link_add_tail(&c->mgr->dirty, &c->dirty);
  mg__interrupt(c->mgr);
}

/* ---- sending ------------------------------------------------------------------ */

uint64_t mg__conn_unsent(const struct mg_connection *c) {
  return c->send.len + (c->file >= 0 ? c->file_left : 0) + (c->tls != NULL ? mg__tls_unsent(c) : 0);
}

static bool backlog_full(const struct mg_connection *c, size_t len) {
  uint64_t limit = c->mgr->limits.send_backlog;
  return limit != 0 && (c->send.len > limit || len > limit - c->send.len);
}

int mg__conn_queue_reserve(struct mg_connection *c, size_t len) {
  if (backlog_full(c, len)) return MGX_ELIMIT;
  return mg__iobuf_reserve(&c->mgr->pool, &c->send, len) ? MGX_OK : MGX_ENOMEM;
}

int mg__conn_queue_exact(struct mg_connection *c, size_t len) {
  if (backlog_full(c, len)) return MGX_ELIMIT;
  return mg__iobuf_reserve_exact(&c->mgr->pool, &c->send, len) ? MGX_OK : MGX_ENOMEM;
}

/* Write what is queued and then these bytes: how many of these have left. An error
 * stays with the socket, and mg__io_flush() deals with it. */
static size_t conn_send_now(struct mg_connection *c, const char *data, size_t len) {
  size_t queued = c->send.len, room = MG_WRITE_BUDGET;
  ssize_t n;
  if (c->fd < 0 || c->is_connecting || c->is_blocked || c->file >= 0 || queued > room) return 0;
  if (len > room - queued) len = room - queued;
  if (c->is_tls) return mg__tls_send_now(c, data, len);
  n = c->mgr->os->send2(c->fd, c->send.buf, queued, data, len);
  if (n <= 0) return 0;
  c->has_sent = true;
  c->stall_at = 0;
  mg__iobuf_del(&c->send, (size_t) n < queued ? (size_t) n : queued);
  return (size_t) n < queued ? 0 : (size_t) n - queued;
}

void mg__conn_append(struct mg_connection *c, const void *data, size_t n) {
  const char *from = data;
  size_t sent = n >= MG_DIRECT_SIZE ? conn_send_now(c, from, n) : 0;
  if (n > sent) memcpy(c->send.buf + c->send.len, from + sent, n - sent);
  c->send.len += n - sent;
  if (n > 0) mg__conn_dirty(c);
}

int mg__conn_queue(struct mg_connection *c, const void *data, size_t len) {
  int err = mg__conn_queue_reserve(c, len);
  if (err == MGX_OK) mg__conn_append(c, data, len);
  return err;
}

void mg__conn_queue_file(struct mg_connection *c, int file, uint64_t ofs, uint64_t len) {
  assert(c->file < 0); /* the protocol holds back whatever would come behind a file */
  c->file = file;
  c->file_ofs = ofs;
  c->file_left = len;
  mg__conn_dirty(c);
}

static void conn_drop_file(struct mg_connection *c) {
  if (c->file >= 0) close(c->file);
  c->file = -1;
  c->file_left = 0;
}

void mg__conn_drop_queue(struct mg_connection *c) {
  conn_drop_file(c);
  mg__iobuf_free(&c->mgr->pool, &c->send);
}

/* ---- closing -------------------------------------------------------------------- */

void mg__conn_close(struct mg_connection *c) {
  if (c->is_closing) return;
  c->is_closing = true;
  mg__conn_dirty(c);
}

void mg__conn_drain(struct mg_connection *c) {
  if (c->is_closing || c->is_draining) return;
  c->is_draining = true;
  mg__conn_dirty(c); /* flushes, and closes when nothing is left */
}

static void conn_tell_error(struct mg_connection *c, const char *text, size_t len) {
  if (c->is_error) return;
  c->is_error = true;
  mg__log(c->mgr, MG_LL_ERROR, "connection %llu: %.*s", (unsigned long long) c->id, (int) len, text);
  mg__emit_data(c, MG_EV_ERROR, text, len);
}

void mg__conn_fail(struct mg_connection *c, const char *text, size_t len) {
  if (c->is_closing) return;
  mg__conn_close(c);
  conn_tell_error(c, text, len);
}

void mg__conn_abandon(struct mg_connection *c, const char *text, size_t len) {
  if (c->is_closing) return;
  mg__conn_drain(c);
  conn_tell_error(c, text, len);
}

void mg__conn_error(struct mg_connection *c, const char *fmt, ...) {
  char text[512];
  va_list ap;
  int n;
  va_start(ap, fmt);
  n = vsnprintf(text, sizeof(text), fmt, ap);
  va_end(ap);
  if (n < 0) n = 0;
  mg__conn_fail(c, text, (size_t) n < sizeof(text) ? (size_t) n : sizeof(text) - 1);
}

void mg__conn_detach(struct mg_connection *c) {
  if (c->proto != NULL && c->proto->free != NULL) c->proto->free(c);
  c->proto = NULL;
  c->proto_data = NULL;
  mg__conn_set_deadline(c, 0);
}

static void conn_close_socket(struct mg_connection *c) {
  if (c->fd < 0) return;
  if (c->interest != ~0u && !c->mgr->is_forked) c->mgr->poller_ops->del(c->mgr->poller, c->fd);
  c->interest = ~0u;
  c->mgr->os->close(c->fd);
  c->fd = -1;
  if (c->is_listening && c->name != NULL && !c->mgr->is_forked) unlink(c->name);
}

/* After our last byte the peer may still be sending; closing now would make
 * the kernel answer with a reset, which can destroy our last bytes on their
 * way. So end our direction and wait, bounded, for the peer's end. */
static bool conn_linger(struct mg_connection *c) {
  if (!c->is_draining || c->is_eof || c->is_reset || c->is_udp || c->is_listening ||
      c->is_connecting || c->fd < 0 || mg__conn_unsent(c) > 0)
    return false;
  if (c->mgr->os->shutdown_write(c->fd) < 0) return false;
  c->is_lingering = true;
  return true;
}

void mg__conn_free(struct mg_connection *c) {
  struct mg_mgr *mgr = c->mgr;
  assert(c->busy == 0);
  mg__dial_free(c);
  conn_close_socket(c);
  conn_drop_file(c);
  mg__conn_detach(c);
  mg__tls_free(c);
  mg__heap_del(&mgr->deadlines, &c->timer);
  mg__idmap_del(&mgr->by_id, c->id);
  mg__link_del(&c->link);
  mg__link_del(&c->todo);
  mg__link_del(&c->dirty);
  mg__link_del(&c->polls);
  mg__handler(mgr, c->handler)->refs--;
  mg__iobuf_free(&mgr->pool, &c->recv);
  mg__iobuf_free(&mgr->pool, &c->send);
  mg__free(c->name);
  mg__free(c->error_text);
  mgr->num_conns--;
  mg__free(c);
}

void mg__conn_finish(struct mg_connection *c) {
  bool linger;
  if (c->is_lingering) { /* MG_EV_CLOSE was fired when it began to */
    mg__conn_free(c);
    return;
  }
  c->is_closing = true;
  mg__emit_deferred(c);
  if (c->tls != NULL) mg__tls_goodbye(c);
  mg__dial_free(c);
  linger = conn_linger(c);
  c->is_lingering = false; /* still there for the handler of MG_EV_CLOSE */
  if (!linger) conn_close_socket(c);
  mg__link_del(&c->link);
  mg__link_del(&c->polls);
  mg__link_init(&c->link);
  mg__emit_close(c);
  if (!linger) {
    mg__conn_free(c);
    return;
  }
  c->is_lingering = true;
  mg__link_add_tail(&c->mgr->lingering, &c->link);
  conn_drop_file(c);
  mg__conn_detach(c);
  mg__tls_free(c);
  mg__iobuf_free(&c->mgr->pool, &c->recv);
  mg__iobuf_free(&c->mgr->pool, &c->send);
  mg__conn_set_deadline(c, c->mgr->now + MG_LINGER_MS);
  mg__link_del(&c->dirty); /* whatever the handler of MG_EV_CLOSE set going */
  mg__link_del(&c->todo);
  mg__link_del(&c->polls);
  mg__conn_watch(c);
}
