/* tls.c: TLS on a connection, whoever does it.
 *
 * A connection that is to speak TLS sends and takes no plain text: until its
 * handshake is done its queues wait (mg__tls_holds()), and when that fails what was
 * queued is dropped. Sockets are read and written by the loop, but for large bodies
 * (mg__tls_send_now()); nothing here runs twice at a time on a connection. */
#include "tls.h"

/* ---- ciphertext on its way out ------------------------------------------------------- */

bool mg__tls_put(struct mg_connection *c, const void *data, size_t len) {
  return mg__iobuf_add(&c->mgr->pool, &c->tls->out, data, len);
}

/* Write what the socket takes: 0 all has left, or -errno. */
static int tls_push(struct mg_connection *c) {
  struct mg_iobuf *out = &c->tls->out;
  ssize_t n = 0;
  while (out->len > 0) {
    n = c->mgr->os->send(c->fd, out->buf, out->len, false);
    if (n <= 0) break;
    mg__iobuf_del(out, (size_t) n);
  }
  if (n < 0 && n != -EAGAIN) mg__iobuf_del(out, out->len); /* nobody is there to read it */
  mg__iobuf_settle(&c->mgr->pool, out);
  return n < 0 ? (int) n : 0;
}

uint64_t mg__tls_unsent(const struct mg_connection *c) { return c->tls->out.len; }

bool mg__tls_is_cut(const struct mg_connection *c) { return c->tls->is_cut; }

/* ---- life ------------------------------------------------------------------------------ */

/* Its handshake, which may have been in mgr->handshakes, is over. */
static void tls_shaken(struct mg_tls *t) {
  if (mg__link_empty(&t->under_way)) return;
  mg__link_del(&t->under_way);
  t->conn->mgr->num_handshakes--;
}

static char *tls_copy_name(struct mg_str name) {
  char *copy;
  if (name.len > 1 && name.buf[0] == '[' && name.buf[name.len - 1] == ']') {
    const char *zone;
    name = (struct mg_str){name.buf + 1, name.len - 2};
    zone = memchr(name.buf, '%', name.len); /* where it is reached is no part of who it is */
    if (zone != NULL) name.len = (size_t) (zone - name.buf);
  }
  if (name.len > 1 && name.buf[name.len - 1] == '.') name.len--; /* the root, RFC 6066 section 3 */
  copy = mg__malloc(name.len + 1);
  if (copy == NULL) return NULL;
  memcpy(copy, name.buf, name.len);
  copy[name.len] = '\0';
  return copy;
}

static bool tls_name_ok(struct mg_str name) {
  return name.len <= MG_TLS_NAME + 1 && (name.len == 0 || memchr(name.buf, '\0', name.len) == NULL);
}

int mg__tls_set(struct mg_connection *c, struct mg_tls_ctx *ctx, struct mg_str name) {
  struct mg_tls *t = c->tls;
  char *copy = NULL;
  if (t != NULL && t->state != MG_TLS_IDLE) return MGX_ESTATE;
  if (!tls_name_ok(name)) return MGX_EINVAL;
  if (name.len > 0 && (copy = tls_copy_name(name)) == NULL) return MGX_ENOMEM;
  if (t == NULL) t = mg__calloc(sizeof(*t));
  if (t == NULL) {
    mg__free(copy);
    return MGX_ENOMEM;
  }
  mg__free(t->name);
  t->name = copy;
  mg__tls_ctx_ref(ctx);
  mg__tls_ctx_unref(t->ctx);
  t->ctx = ctx;
  t->socket_result = 1;
  if (t->conn == NULL) mg__link_init(&t->under_way);
  t->conn = c;
  /* Who has spoken in plain text ends that in plain text: "220 go ahead" (STARTTLS). */
  if (c->has_read && !c->is_tls) t->plain_left = c->send.len;
  c->tls = t;
  c->is_tls = true;
  return MGX_OK;
}

int mg__tls_inherit(struct mg_connection *c, const struct mg_connection *listener) {
  if (listener->tls == NULL) return MGX_OK;
  return mg__tls_set(c, listener->tls->ctx, (struct mg_str){"", 0});
}

void mg__tls_free(struct mg_connection *c) {
  struct mg_tls *t = c->tls;
  if (t == NULL) return;
  tls_shaken(t);
  if (t->engine != NULL) t->engine->free(c);
  c->tls = NULL;
  mg__tls_ctx_unref(t->ctx);
  mg__iobuf_free(&c->mgr->pool, &t->out);
  mg__iobuf_free(&c->mgr->pool, &t->plain);
  mg__free(t->name);
  mg__free(t->error);
  mg__free(t);
}

void mg__tls_error(struct mg_tls *t, const char *fmt, ...) {
  char text[512];
  va_list ap;
  size_t len;
  if (t->error != NULL) return;
  va_start(ap, fmt);
  vsnprintf(text, sizeof(text), fmt, ap);
  va_end(ap);
  len = strlen(text);
  t->error = mg__malloc(len + 1);
  if (t->error != NULL) memcpy(t->error, text, len + 1);
}

/* ---- handshake --------------------------------------------------------------------------- */

bool mg__tls_holds(const struct mg_connection *c) {
  return c->tls == NULL || c->tls->state < MG_TLS_READY;
}

unsigned mg__tls_interest(const struct mg_connection *c) {
  if (c->tls == NULL) return MG_POLL_IN;
  if (c->tls->plain_left > 0) return MG_POLL_OUT;
  return c->tls->out.len > 0 ? MG_POLL_IN | MG_POLL_OUT : MG_POLL_IN;
}

void mg__tls_flush_plain(struct mg_connection *c) {
  struct mg_tls *t = c->tls;
  while (t != NULL && t->plain_left > 0) {
    ssize_t n = c->mgr->os->send(c->fd, c->send.buf, t->plain_left, false);
    if (n == -EAGAIN) return;
    if (n <= 0) { /* reading will tell why */
      mg__conn_close(c);
      return;
    }
    mg__iobuf_del(&c->send, (size_t) n);
    t->plain_left -= (size_t) n;
    if (t->plain_left == 0) mg__conn_todo(c);
  }
}

/* What had been queued was meant for somebody else than who is there. */
static void tls_handshake_failed(struct mg_connection *c) {
  struct mg_tls *t = c->tls;
  char text[600];
  int n = snprintf(text, sizeof(text), "TLS handshake failed: %s",
                   t->error == NULL ? "out of memory" : t->error);
  t->state = MG_TLS_FAILED;
  tls_shaken(t);
  c->stall_at = 0;
  mg__conn_drop_queue(c);
  mg__conn_abandon(c, text, n < 0 ? 0 : (size_t) n < sizeof(text) ? (size_t) n : sizeof(text) - 1);
  mg__conn_watch(c);
}

static void tls_ready(struct mg_connection *c) {
  c->tls->state = MG_TLS_READY;
  tls_shaken(c->tls);
  c->stall_at = 0;
  mg__emit(c, MG_EV_TLS_HS);
  if (c->is_closing) return;
  if (mg__conn_unsent(c) > 0 || c->is_draining) mg__conn_dirty(c);
  if (c->proto != NULL && c->is_accepted && c->recv.len == 0) c->proto->on_data(c); /* its clock */
  mg__conn_watch(c);
}

static void tls_turn(struct mg_tls *t) {
  t->budget = MG_READ_BUDGET;
  t->is_drained = false;
}

static void tls_shake(struct mg_connection *c) {
  struct mg_tls *t = c->tls;
  int done;
  tls_turn(t);
  done = t->engine->handshake(c);
  tls_push(c);
  if (c->is_closing) return;
  if (done < 0)
    tls_handshake_failed(c);
  else if (done > 0)
    tls_ready(c);
  else
    mg__conn_watch(c);
}

/* Is everything there that it takes? */
static bool tls_can_begin(struct mg_connection *c) {
  struct mg_tls *t = c->tls;
  if (t->ctx == NULL)
    mg__tls_error(t, c->is_client ? "no options were given"
                                  : "there is no certificate: the listener has none, and "
                                    "tls_init() was not called in MG_EV_ACCEPT");
  else if (t->ctx->unusable != NULL)
    mg__tls_error(t, "%s", t->ctx->unusable);
  else if (c->recv.len > 0) /* it would pass for something that was protected */
    mg__tls_error(t, "%zu bytes of plain text came before it", c->recv.len);
  return t->error == NULL;
}

/* Is it time for it? */
static bool tls_is_due(const struct mg_connection *c) {
  const struct mg_tls *t = c->tls;
  return c->is_tls && (t == NULL || (t->state == MG_TLS_IDLE && t->plain_left == 0)) &&
         !c->is_closing && !c->is_listening && !c->is_connecting && c->fd >= 0 && c->deferred == 0;
}

/* Of those who never finish, the one that came first goes when another one comes. To refuse
 * the newcomer would let a few of them keep everybody else out. */
static void tls_make_room(struct mg_mgr *mgr) {
  uint64_t limit = mgr->limits.tls_handshakes;
  struct mg_tls *oldest;
  if (limit == 0 || mgr->num_handshakes < limit) return;
  oldest = MG_CONTAINER(mgr->handshakes.next, struct mg_tls, under_way);
  tls_shaken(oldest);
  mg__conn_error(oldest->conn,
                 "tls_handshakes limit: %llu TLS handshakes are under way, and this one began first",
                 (unsigned long long) limit);
}

void mg__tls_begin(struct mg_connection *c) {
  struct mg_tls *t;
  uint64_t ms = c->mgr->limits.tls_handshake_timeout_ms;
  if (!tls_is_due(c)) return;
  if (c->is_accepted) tls_make_room(c->mgr);
  if (!tls_is_due(c)) return; /* a handler has run */
  t = c->tls;
  if (t == NULL && mg__tls_set(c, NULL, (struct mg_str){"", 0}) != MGX_OK) {
    mg__conn_error(c, "TLS: out of memory");
    return;
  }
  t = c->tls;
  if (!tls_can_begin(c)) {
    tls_handshake_failed(c);
    return;
  }
  t->state = MG_TLS_HANDSHAKE;
  if (c->is_accepted) {
    mg__link_add_tail(&c->mgr->handshakes, &t->under_way);
    c->mgr->num_handshakes++;
  }
  if (c->is_client && t->name == NULL && c->name != NULL && c->name[0] != '\0') {
    struct mg_str host = {c->name, strlen(c->name)};
    t->name = tls_name_ok(host) ? tls_copy_name(host) : NULL;
  }
  if (ms != 0) mg__conn_set_stall(c, c->mgr->os->monotonic_ms() + ms);
  t->engine = t->ctx->foreign ? &mg__tls_foreign : &mg__tls_openssl;
  if (!t->engine->begin(c))
    tls_handshake_failed(c);
  else if (c->is_client)
    tls_shake(c);
  else
    mg__conn_watch(c);
}

/* ---- what the loop asks ---------------------------------------------------------------------- */

bool mg__tls_ready(struct mg_connection *c, unsigned what) {
  if (c->tls != NULL && c->tls->plain_left > 0) mg__tls_flush_plain(c);
  if (c->tls == NULL || c->tls->state == MG_TLS_IDLE) mg__tls_begin(c);
  if (c->is_closing || c->tls == NULL) return false;
  if (c->tls->state == MG_TLS_HANDSHAKE) {
    if (what & MG_POLL_OUT) {
      tls_push(c);
      mg__conn_watch(c);
    }
    /* What is left for the next turn is reported again there. */
    if ((what & (MG_POLL_IN | MG_POLL_ERR)) && c->mgr->handshakes_left-- > 0) tls_shake(c);
  }
  return !c->is_closing && c->tls->state >= MG_TLS_READY;
}

void mg__tls_todo(struct mg_connection *c) {
  if (c->tls == NULL || c->tls->state == MG_TLS_IDLE)
    mg__tls_begin(c);
  else if (c->tls->state == MG_TLS_HANDSHAKE)
    tls_shake(c);
  else if (mg__tls_has_more(c))
    mg__io_more(c);
}

bool mg__tls_has_more(const struct mg_connection *c) {
  return c->tls->has_more && c->tls->state < MG_TLS_FAILED && c->tls->out.len < MG_TLS_OUT_MAX;
}

void mg__tls_pump(struct mg_connection *c) {
  struct mg_tls *t = c->tls;
  if (t->state != MG_TLS_READY) return;
  tls_turn(t);
  if (t->engine->pump != NULL) t->engine->pump(c);
}

/* ---- data ------------------------------------------------------------------------------------------ */

ssize_t mg__tls_recv(struct mg_connection *c, char *buf, size_t len) {
  struct mg_tls *t = c->tls;
  if (t->state == MG_TLS_FAILED) return c->mgr->os->recv(c->fd, buf, len); /* to be discarded */
  return t->state == MG_TLS_READY ? t->engine->recv(c, buf, len) : -EAGAIN;
}

void mg__tls_answer(struct mg_connection *c) {
  if (c->tls->out.len > 0) tls_push(c);
}

bool mg__tls_recv_failed(struct mg_connection *c, int err) {
  struct mg_tls *t = c->tls;
  if (err == -EPROTO)
    mg__conn_error(c, "TLS: %s", t->error == NULL ? "out of memory" : t->error);
  else if (t->is_cut && c->proto == NULL && !c->is_draining)
    mg__conn_error(c, "TLS: the stream was cut off: it ended without close_notify");
  else
    return false;
  return true;
}

static ssize_t tls_send_file(struct mg_connection *c, size_t budget) {
  char block[2 * MG_TLS_RECORD];
  size_t len = c->file_left < sizeof(block) ? (size_t) c->file_left : sizeof(block);
  ssize_t n;
  if (len > budget) len = budget;
  do n = pread(c->file, block, len, (off_t) c->file_ofs);
  while (n < 0 && errno == EINTR);
  if (n < 0) return -errno;
  if (n == 0) return -ENODATA;
  n = c->tls->engine->send(c, block, (size_t) n);
  if (n > 0 && c->file >= 0) {
    c->file_ofs += (uint64_t) n;
    c->file_left -= (uint64_t) n;
  }
  return n;
}

ssize_t mg__tls_flush(struct mg_connection *c, size_t budget) {
  struct mg_tls *t = c->tls;
  size_t waiting = t->out.len, len = c->send.len < MG_TLS_BATCH ? c->send.len : MG_TLS_BATCH;
  ssize_t n;
  int err = tls_push(c);
  if (err < 0) return err;
  if (t->state != MG_TLS_READY) mg__conn_drop_queue(c);
  if (c->send.len == 0 && (c->file < 0 || c->file_left == 0))
    return (ssize_t) (waiting < 1 ? 1 : waiting < budget ? waiting : budget);
  if (len > budget) len = budget;
  if (len > 0) {
    n = t->engine->send(c, c->send.buf, len);
    if (n > 0) mg__iobuf_del(&c->send, (size_t) n);
  } else {
    n = tls_send_file(c, budget);
  }
  err = tls_push(c);
  if (n == -EPROTO && (err == -EPIPE || err == -ECONNRESET)) n = err;
  return n; /* what the socket did not take is found in t->out next time */
}

/* One batch from the front of what there is: how many bytes, 0: the rest is to wait. */
static size_t tls_send_batch(struct mg_connection *c, const char *data, size_t len) {
  struct mg_tls *t = c->tls;
  ssize_t n = t->out.len > 0 ? 0 : t->engine->send(c, data, len < MG_TLS_BATCH ? len : MG_TLS_BATCH);
  if (n <= 0) return 0; /* an error stays with the engine, and mg__io_flush() deals with it */
  tls_push(c);
  c->has_sent = true;
  c->stall_at = 0;
  return (size_t) n;
}

size_t mg__tls_send_now(struct mg_connection *c, const char *data, size_t len) {
  size_t n, sent = 0;
  /* A foreign engine would let the lock go, here in the middle of a call. */
  if (c->tls == NULL || c->tls->state != MG_TLS_READY || c->tls->engine != &mg__tls_openssl)
    return 0;
  while (c->send.len > 0) {
    n = tls_send_batch(c, c->send.buf, c->send.len);
    if (n == 0) return 0;
    mg__iobuf_del(&c->send, n);
  }
  while (sent < len && (n = tls_send_batch(c, data + sent, len - sent)) > 0) sent += n;
  return sent;
}

void mg__tls_goodbye(struct mg_connection *c) {
  struct mg_tls *t = c->tls;
  /* Behind bytes that are missing it would tell a lie. */
  if (t->state != MG_TLS_READY || t->sent_notify || c->is_error || c->is_reset || c->fd < 0 ||
      c->mgr->is_forked || c->send.len > 0 || (c->file >= 0 && c->file_left > 0))
    return;
  t->sent_notify = true;
  c->busy++;
  t->engine->shutdown(c);
  c->busy--;
  tls_push(c);
}

/* ---- API ------------------------------------------------------------------------------------------------ */

int mgx_tls_init(struct mg_mgr *mgr, uint64_t conn, int tls, const char *name, size_t len) {
  struct mg_connection *c;
  struct mg_tls_ctx *ctx;
  int result;
  mg__lock(mgr);
  c = mg__conn_find(mgr, conn);
  ctx = mg__tls_ctx(mgr, tls);
  if (c == NULL || c->is_closing)
    result = MGX_ECLOSED;
  else if (ctx == NULL)
    result = MGX_EINVAL;
  else if (c->is_udp)
    result = MGX_EKIND;
  else
    result = mg__tls_set(c, ctx, (struct mg_str){name, len});
  if (result == MGX_OK && !c->is_listening) mg__conn_todo(c);
  mg__unlock(mgr);
  return result;
}

int mgx_tls_free(struct mg_mgr *mgr, uint64_t conn) {
  struct mg_connection *c;
  mg__lock(mgr);
  c = mg__conn_find(mgr, conn);
  if (c != NULL && c->tls != NULL) {
    if (c->tls->state == MG_TLS_IDLE) {
      mg__tls_free(c);
      c->is_tls = c->is_tls_url;
    } else {
      mg__conn_drain(c);
    }
  }
  mg__unlock(mgr);
  return c == NULL ? MGX_ECLOSED : MGX_OK;
}

/* A connection and its TLS, with the lock held: 0 or an error. */
static int tls_find(struct mg_mgr *mgr, uint64_t conn, struct mg_connection **c) {
  mg__lock(mgr);
  *c = mg__conn_find(mgr, conn);
  if (*c == NULL) return MGX_ECLOSED;
  return (*c)->is_tls ? MGX_OK : MGX_EKIND;
}

static bool tls_is_known(const struct mg_connection *c) {
  return c->tls != NULL && c->tls->state == MG_TLS_READY;
}

int mgx_tls_info(struct mg_mgr *mgr, uint64_t conn, struct mgx_tls_info *info) {
  struct mg_connection *c;
  int result = tls_find(mgr, conn, &c);
  memset(info, 0, sizeof(*info));
  if (result == MGX_OK && c->tls != NULL && c->tls->ctx != NULL) info->tls = c->tls->ctx->number;
  if (result == MGX_OK && tls_is_known(c)) {
    info->is_ready = true;
    if (c->tls->ssl != NULL) mg__tls_engine_info(c->tls, info);
  }
  mg__unlock(mgr);
  return result;
}

int64_t mgx_tls_cert(struct mg_mgr *mgr, uint64_t conn, char *buf, size_t cap) {
  struct mg_connection *c;
  int64_t result = tls_find(mgr, conn, &c);
  if (result == MGX_OK && tls_is_known(c) && c->tls->ssl != NULL)
    result = mg__tls_engine_cert(c->tls, buf, cap);
  mg__unlock(mgr);
  return result;
}

int mgx_tls_output(struct mg_mgr *mgr, uint64_t conn, const char *data, size_t len) {
  struct mg_connection *c;
  int result = tls_find(mgr, conn, &c);
  if (result == MGX_EKIND || (result == MGX_OK && (c->tls == NULL || !c->tls->is_stepping)))
    result = MGX_ESTATE;
  else if (result == MGX_OK && !mg__tls_put(c, data, len))
    result = MGX_ENOMEM;
  mg__unlock(mgr);
  return result;
}
