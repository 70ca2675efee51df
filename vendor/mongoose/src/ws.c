/* ws.c: a WebSocket after its handshake, RFC 6455, as a server and as a client.
 *
 * The receive buffer holds the message being put together (struct mg_ws in
 * ws.h), so a message is delivered where it was received. Text is checked as
 * it arrives, a size before it is stored. Left to others: how the connection
 * became a WebSocket (ws_handshake.c) and what is inside a compressed message,
 * which is delivered as it came. */
#include "ws.h"

enum { WS_READ_AHEAD = 64 * 1024 };   /* at most so much is read at once for a frame's sake */
enum { WS_PONG_BACKLOG = 64 * 1024 }; /* unsent bytes above which only the last ping is answered */

/* ---- sending ------------------------------------------------------------------- */

/* Keys come from the system's generator, 64 at a time, and none is used twice. */
static bool ws_next_key(struct mg_mgr *mgr, uint8_t key[4]) {
  if (mgr->entropy_left == 0) {
    if (!mgr->os->random(mgr->entropy, sizeof(mgr->entropy))) return false;
    mgr->entropy_left = sizeof(mgr->entropy);
  }
  mgr->entropy_left -= 4;
  memcpy(key, mgr->entropy + mgr->entropy_left, 4);
  return true;
}

static int ws_queue(struct mg_connection *c, uint8_t first, const char *data, size_t len) {
  uint8_t key[4];
  char *to;
  size_t n;
  int err = len > SIZE_MAX - MG_WS_MAX_HEADER ? MGX_ENOMEM
                                              : mg__conn_queue_reserve(c, MG_WS_MAX_HEADER + len);
  if (err != MGX_OK) return err;
  if (c->is_client && !ws_next_key(c->mgr, key)) {
    mg__conn_error(c, "WebSocket: the system has no random bytes for a mask");
    return MGX_ECLOSED;
  }
  to = c->send.buf + c->send.len;
  n = mg__ws_header(to, first, len, c->is_client ? key : NULL);
  c->send.len += n;
  if (c->is_client) {
    mg__ws_mask(to + n, data, len, key, 0);
    c->send.len += len;
  } else {
    mg__conn_append(c, data, len);
  }
  mg__conn_dirty(c);
  return MGX_OK;
}

/* Both sides have said that they are done. The server ends the connection, for
 * whoever ends it keeps a port busy for a while; the client waits for that. */
static void ws_closed_both_ways(struct mg_connection *c) {
  if (!c->is_client) mg__conn_drain(c);
}

static int ws_send_close(struct mg_connection *c, const char *data, size_t len) {
  struct mg_ws *w = mg__ws(c);
  int err = ws_queue(c, MG_WS_FIN | WEBSOCKET_OP_CLOSE, data, len);
  if (err != MGX_OK) return err;
  w->close_sent = true;
  mg__ws_set_deadline(c);
  if (w->close_received) ws_closed_both_ways(c);
  return MGX_OK;
}

static bool ws_is_utf8(const char *data, size_t len) {
  struct mg_ws_utf8 u = {0, 0, 0};
  return mg__ws_utf8(&u, data, len) && u.need == 0;
}

/* What a caller asks for, before anything is done about it. */
static int ws_check_send(const struct mg_ws *w, const char *data, size_t len, int op,
                         unsigned how) {
  if (op < 0 || op > WEBSOCKET_OP_PONG || (op > WEBSOCKET_OP_BINARY && op < WEBSOCKET_OP_CLOSE))
    return MGX_EINVAL;
  if (w->close_sent) return MGX_ECLOSED;
  if (op & MG_WS_CONTROL) {
    if (len > MG_WS_MAX_CONTROL || how != 0) return MGX_EINVAL;
    return op == WEBSOCKET_OP_CLOSE && mg__ws_check_close(data, len) != 0 ? MGX_EINVAL : MGX_OK;
  }
  if ((op == WEBSOCKET_OP_CONTINUE) != w->in_sending) return MGX_ESTATE;
  if (how & MGX_WS_DEFLATED)
    return op == WEBSOCKET_OP_CONTINUE || !w->may_deflate ? MGX_EINVAL : MGX_OK;
  return op != WEBSOCKET_OP_TEXT || how != 0 || ws_is_utf8(data, len) ? MGX_OK : MGX_EINVAL;
}

static bool ws_is_open(const struct mg_connection *c) {
  return c->proto == &mg__proto_ws && mg__ws(c)->handshake == NULL;
}

static int ws_send_locked(struct mg_connection *c, const char *data, size_t len, int op,
                       unsigned how) {
  struct mg_ws *w = mg__ws(c);
  unsigned first;
  int err;
  if (c->is_closing) return MGX_ECLOSED;
  if (!ws_is_open(c)) return MGX_EKIND;
  err = ws_check_send(w, data, len, op, how);
  if (err != MGX_OK) return err;
  if (op == WEBSOCKET_OP_CLOSE) return ws_send_close(c, data, len);
  first = (unsigned) op | (how & MGX_WS_MORE ? 0 : MG_WS_FIN) |
          (how & MGX_WS_DEFLATED ? MG_WS_RSV1 : 0);
  err = ws_queue(c, (uint8_t) first, data, len);
  if (err == MGX_OK && (op & MG_WS_CONTROL) == 0) w->in_sending = (how & MGX_WS_MORE) != 0;
  return err;
}

int mgx_ws_send(struct mg_mgr *mgr, uint64_t conn, const char *data, size_t len, int op,
                unsigned how) {
  struct mg_connection *c;
  int err;
  mg__lock(mgr);
  c = mg__conn_find(mgr, conn);
  err = c == NULL ? MGX_ECLOSED : ws_send_locked(c, data, len, op, how);
  mg__unlock(mgr);
  return err;
}

/* The same frame for everybody is made once; clients need a mask of their own. */
static int ws_broadcast_one(struct mg_connection *c, const char *head, size_t head_len,
                         const char *data, size_t len, int op) {
  int err;
  if (c == NULL) return MGX_ECLOSED;
  if (c->is_client || !ws_is_open(c) || c->is_closing) return ws_send_locked(c, data, len, op, 0);
  err = ws_check_send(mg__ws(c), data, len, op, 0);
  if (err == MGX_OK) err = mg__conn_queue_exact(c, head_len + len);
  if (err != MGX_OK) return err;
  mg__conn_append(c, head, head_len);
  mg__conn_append(c, data, len);
  return MGX_OK;
}

int64_t mgx_ws_broadcast(struct mg_mgr *mgr, const uint64_t *conns, size_t count,
                         const char *data, size_t len, int op) {
  char head[MG_WS_MAX_HEADER];
  struct mg_ws nobody = {.handshake = NULL};
  int64_t sent = 0;
  size_t n;
  if (op == WEBSOCKET_OP_CLOSE || op == WEBSOCKET_OP_CONTINUE ||
      ws_check_send(&nobody, data, len, op, 0) != MGX_OK)
    return MGX_EINVAL;
  if (len > SIZE_MAX - MG_WS_MAX_HEADER) return MGX_ENOMEM;
  n = mg__ws_header(head, (uint8_t) (MG_WS_FIN | op), len, NULL);
  mg__lock(mgr);
  if (mgr->is_closed) sent = MGX_ECLOSED;
  for (size_t i = 0; i < count && sent >= 0; i++)
    sent += ws_broadcast_one(mg__conn_find(mgr, conns[i]), head, n, data, len, op) == MGX_OK;
  mg__unlock(mgr);
  return sent;
}

/* Raw bytes would break the frames around them. */
static int ws_on_send(struct mg_connection *c, const char *data, size_t len) {
  (void) c, (void) data, (void) len;
  return MGX_EKIND;
}

/* ---- failing: RFC 6455 section 7.1.7 ----------------------------------------------- */

static bool ws_fail(struct mg_connection *c, int code, const char *why, size_t why_len) {
  struct mg_ws *w = mg__ws(c);
  const char payload[2] = {(char) (code >> 8), (char) code};
  char text[160];
  int shown = why_len < 120 ? (int) why_len : 120;
  int n = snprintf(text, sizeof(text), "WebSocket: %.*s (%d)", shown, why, code);
  if (!w->close_sent) ws_queue(c, MG_WS_FIN | WEBSOCKET_OP_CLOSE, payload, sizeof(payload));
  w->close_sent = w->close_received = true;
  mg__ws_set_deadline(c);
  mg__conn_abandon(c, text, (size_t) n);
  return false;
}

static bool ws_bad(struct mg_connection *c, int code, const char *why) {
  return ws_fail(c, code, why, strlen(why));
}

int mgx_ws_fail(struct mg_mgr *mgr, uint64_t conn, int code, const char *why, size_t len) {
  struct mg_connection *c;
  int err = MGX_OK;
  mg__lock(mgr);
  c = mg__conn_find(mgr, conn);
  if (c == NULL || c->is_closing)
    err = MGX_ECLOSED;
  else if (!ws_is_open(c))
    err = MGX_EKIND;
  else if (!mg__ws_code_ok((unsigned) code))
    err = MGX_EINVAL;
  if (err == MGX_OK) {
    c->busy++;
    ws_fail(c, code, why, len);
    c->busy--;
  }
  mg__unlock(mgr);
  return err;
}

/* ---- receiving ------------------------------------------------------------------------ */

/* Drop what was read up to `at`; what belongs to an unfinished message stays. */
static void ws_consume(struct mg_connection *c, struct mg_ws *w) {
  if (w->msg_len > 0) return;
  mg__iobuf_del(&c->recv, w->at);
  w->at = 0;
}

static bool ws_goes_on(const struct mg_connection *c) {
  return c->proto == &mg__proto_ws && !c->is_closing;
}

static bool ws_message_done(struct mg_connection *c, struct mg_ws *w) {
  size_t len = w->msg_len;
  w->in_message = false;
  if (mg__wants(c, MG_EV_WS_MSG)) mg__emit_ws(c, MG_EV_WS_MSG, w->first, c->recv.buf, len);
  if (c->proto != &mg__proto_ws) return false;
  w->msg_len = 0;
  ws_consume(c, w);
  return !c->is_closing;
}

/* Take what has come of a data frame's payload. */
static bool ws_payload(struct mg_connection *c, struct mg_ws *w) {
  size_t there = c->recv.len - w->at, n = there < w->left ? there : (size_t) w->left;
  if (n > 0) { /* else there may be no buffer at all */
    char *to = c->recv.buf + w->msg_len, *from = c->recv.buf + w->at;
    if (w->is_masked)
      mg__ws_mask(to, from, n, w->key, w->phase);
    else if (to != from)
      memmove(to, from, n);
    if (w->check_utf8 && !mg__ws_utf8(&w->utf8, to, n))
      return ws_bad(c, MG_WS_BAD_DATA, "text that is not UTF-8");
  }
  w->phase = (uint8_t) ((w->phase + n) & 3);
  w->msg_len += n;
  w->at += n;
  w->left -= n;
  if (w->left > 0) return false;
  w->in_payload = false;
  if (!w->is_fin) return true;
  if (w->check_utf8 && w->utf8.need > 0)
    return ws_bad(c, MG_WS_BAD_DATA, "text that ends inside a character");
  return ws_message_done(c, w);
}

const char *mg__ws_frame_wrong(const struct mg_connection *c, const struct mg_ws *w,
                               const struct mg_ws_frame *f) {
  unsigned op = f->first & MG_WS_OP;
  bool begins = op == WEBSOCKET_OP_TEXT || op == WEBSOCKET_OP_BINARY;
  unsigned reserved = w->may_deflate && begins ? MG_WS_RSV & ~MG_WS_RSV1 : MG_WS_RSV;
  if (f->first & reserved) return "a reserved bit";
  if (f->is_masked == c->is_client) return c->is_client ? "a masked frame" : "an unmasked frame";
  if (begins && w->in_message) return "a message inside another";
  if (op == WEBSOCKET_OP_CONTINUE && !w->in_message) return "a continuation of nothing";
  return NULL;
}

static bool ws_begin_data(struct mg_connection *c, struct mg_ws *w, const struct mg_ws_frame *f,
                       size_t header_len) {
  uint64_t limit = c->mgr->limits.ws_message;
  if (limit != 0 && (w->msg_len > limit || f->len > limit - w->msg_len))
    return ws_bad(c, MG_WS_TOO_BIG, "a message above the ws_message limit");
  if (f->len > SIZE_MAX / 2 - w->msg_len)
    return ws_bad(c, MG_WS_TOO_BIG, "a message above all memory");
  if (!w->in_message) {
    w->in_message = true;
    w->first = f->first;
    w->check_utf8 = (f->first & (MG_WS_OP | MG_WS_RSV1)) == WEBSOCKET_OP_TEXT;
    memset(&w->utf8, 0, sizeof(w->utf8));
  }
  /* The next message is likely to be as large: one read takes it whole. */
  c->expect = f->len < WS_READ_AHEAD ? (size_t) f->len + 2 * MG_WS_MAX_HEADER : WS_READ_AHEAD;
  w->is_fin = (f->first & MG_WS_FIN) != 0;
  w->is_masked = f->is_masked;
  memcpy(w->key, f->key, sizeof(w->key));
  w->phase = 0;
  w->left = f->len;
  w->in_payload = true;
  w->at += header_len;
  ws_consume(c, w);
  return true;
}

/* Answer a ping. A peer that sends pings and reads nothing gets only the last
 * one answered, which is all that section 5.5.3 asks for. */
static void ws_answer_ping(struct mg_connection *c, struct mg_ws *w, const char *data, size_t len) {
  if (w->close_sent) return;
  w->pong_len = -1;
  if (mg__conn_unsent(c) <= WS_PONG_BACKLOG &&
      ws_queue(c, MG_WS_FIN | WEBSOCKET_OP_PONG, data, len) == MGX_OK)
    return;
  memcpy(w->pong, data, len);
  w->pong_len = (int) len;
}

/* The status code goes back as it came, the reason need not. */
static void ws_answer_close(struct mg_connection *c, struct mg_ws *w, const char *data,
                            size_t len) {
  if (w->close_sent)
    ws_closed_both_ways(c);
  else if (ws_send_close(c, data, len < 2 ? 0 : 2) != MGX_OK)
    mg__conn_close(c);
}

static bool ws_control(struct mg_connection *c, struct mg_ws *w, const struct mg_ws_frame *f,
                         size_t header_len) {
  size_t len = (size_t) f->len;
  char *data = c->recv.buf + w->at + header_len;
  unsigned op = f->first & MG_WS_OP;
  int bad;
  if (c->recv.len - w->at < header_len + len) return false;
  if (f->is_masked) mg__ws_mask(data, data, len, f->key, 0);
  bad = op == WEBSOCKET_OP_CLOSE ? mg__ws_check_close(data, len) : 0;
  if (bad != 0) return ws_bad(c, bad, "a malformed close frame");
  if (op == WEBSOCKET_OP_CLOSE) w->close_received = true;
  if (op == WEBSOCKET_OP_PING) ws_answer_ping(c, w, data, len);
  if (mg__wants(c, MG_EV_WS_CTL)) mg__emit_ws(c, MG_EV_WS_CTL, f->first, data, len);
  if (!ws_goes_on(c)) return false;
  if (op == WEBSOCKET_OP_CLOSE) ws_answer_close(c, w, data, len);
  w->at += header_len + len;
  ws_consume(c, w);
  return true;
}

static bool ws_frame(struct mg_connection *c, struct mg_ws *w) {
  struct mg_ws_frame f = {.first = 0};
  const char *why = NULL;
  int n;
  if (c->recv.len == w->at) return false; /* there may be no buffer at all */
  n = mg__ws_parse(c->recv.buf + w->at, c->recv.len - w->at, &f, &why);
  if (n == 0) return false;
  if (n > 0) why = mg__ws_frame_wrong(c, w, &f);
  if (why != NULL) return ws_bad(c, MG_WS_PROTOCOL, why);
  if (f.first & MG_WS_CONTROL) return ws_control(c, w, &f, (size_t) n);
  return ws_begin_data(c, w, &f, (size_t) n);
}

/* A message in pieces leaves the headers of its frames between the pieces. */
static void ws_close_gap(struct mg_connection *c, struct mg_ws *w) {
  size_t rest = c->recv.len - w->at;
  if (w->at == w->msg_len) return;
  memmove(c->recv.buf + w->msg_len, c->recv.buf + w->at, rest);
  c->recv.len = w->msg_len + rest;
  w->at = w->msg_len;
}

static bool ws_may_go_on(const struct mg_connection *c, const struct mg_ws *w) {
  return !c->is_closing && !c->is_draining && !c->is_paused && !c->mgr->leave &&
         !w->close_received;
}

static void ws_on_eof(struct mg_connection *c);

static void ws_on_data(struct mg_connection *c) {
  struct mg_ws *w = mg__ws(c);
  if (w->handshake != NULL && !mg__ws_handshake_data(c)) {
    if (c->is_eof && ws_may_go_on(c, w)) ws_on_eof(c);
    return;
  }
  w->heard_at = c->mgr->now;
  w->is_pinged = false;
  if (w->at == 0 && !w->in_message && ws_may_go_on(c, w) && mg__wants(c, MG_EV_WS_MSG) &&
      mg__ws_post(c))
    return;
  while (ws_may_go_on(c, w)) {
    if (!(w->in_payload ? ws_payload(c, w) : ws_frame(c, w))) break;
  }
  if (!ws_goes_on(c)) return;
  if (w->close_received) { /* section 1.4: what comes behind a close frame is discarded */
    mg__iobuf_del(&c->recv, c->recv.len);
    w->msg_len = w->at = 0;
  }
  ws_close_gap(c, w);
  if (c->is_eof && !c->mgr->leave) ws_on_eof(c);
}

/* ---- the end, and what happens by itself ------------------------------------------------- */

static void ws_on_eof(struct mg_connection *c) {
  if (c->is_paused || !mg__link_empty(&c->todo)) return; /* on_data will look once more */
  if (mg__ws(c)->handshake != NULL)
    mg__ws_handshake_failed(c, "the connection ended before the answer");
  else
    mg__conn_drain(c);
}

static void ws_on_sent(struct mg_connection *c) {
  struct mg_ws *w = mg__ws(c);
  int len = w->pong_len;
  if (w->handshake != NULL) {
    mg__ws_set_deadline(c); /* the request has left: the answer's time begins */
  } else if (len >= 0 && !w->close_sent) {
    w->pong_len = -1;
    ws_queue(c, MG_WS_FIN | WEBSOCKET_OP_PONG, w->pong, (size_t) len);
  }
}

void mg__ws_set_deadline(struct mg_connection *c) {
  const struct mgx_limits *limits = &c->mgr->limits;
  const struct mg_ws *w = mg__ws(c);
  uint64_t from = c->mgr->now, ms = 0;
  if (w->handshake != NULL) {
    ms = limits->header_timeout_ms;
  } else if (w->close_sent || w->close_received) {
    ms = limits->ws_close_timeout_ms;
  } else if (limits->ws_idle_timeout_ms != 0) {
    from = w->is_pinged ? c->mgr->now : w->heard_at;
    ms = w->is_pinged ? limits->ws_pong_timeout_ms : limits->ws_idle_timeout_ms;
  }
  mg__conn_set_deadline(c, ms == 0 ? 0 : from + ms);
}

/* Nothing was heard for a while: ask, then give up. */
static void ws_silence(struct mg_connection *c, struct mg_ws *w) {
  const struct mgx_limits *limits = &c->mgr->limits;
  if (c->is_paused) w->heard_at = c->mgr->now; /* it is us who do not listen */
  if (c->mgr->now - w->heard_at < limits->ws_idle_timeout_ms) {
    w->is_pinged = false;
  } else if (w->is_pinged) {
    mg__conn_error(c, "WebSocket: no answer to a ping for %llu ms (ws_pong_timeout)",
                   (unsigned long long) limits->ws_pong_timeout_ms);
    return;
  } else {
    ws_queue(c, MG_WS_FIN | WEBSOCKET_OP_PING, "", 0);
    w->is_pinged = true;
  }
  mg__ws_set_deadline(c);
}

static void ws_on_timeout(struct mg_connection *c) {
  struct mg_ws *w = mg__ws(c);
  if (w->handshake != NULL)
    mg__ws_handshake_failed(c, "no answer within header_timeout");
  else if (w->close_sent || w->close_received)
    mg__conn_close(c); /* the other side had its time to close */
  else
    ws_silence(c, w);
}

/* Everything is taken as it comes, so only a pause makes bytes wait. */
static uint64_t ws_recv_limit(const struct mg_connection *c) {
  (void) c;
  return UINT64_MAX;
}

static void ws_free(struct mg_connection *c) {
  mg__free(mg__ws(c)->handshake);
  mg__free(c->proto_data);
}

const struct mg_proto mg__proto_ws = {
    .name = "ws",
    .on_data = ws_on_data,
    .on_eof = ws_on_eof,
    .on_sent = ws_on_sent,
    .on_timeout = ws_on_timeout,
    .on_send = ws_on_send,
    .recv_limit = ws_recv_limit,
    .free = ws_free,
};

struct mg_ws *mg__ws_new(void) {
  struct mg_ws *w = mg__calloc(sizeof(*w));
  if (w != NULL) w->pong_len = -1;
  return w;
}

void mg__ws_attach(struct mg_connection *c, struct mg_ws *w) {
  assert(c->proto == NULL);
  c->proto = &mg__proto_ws;
  c->proto_data = w;
}

void mg__ws_open(struct mg_connection *c, struct mg_http_message *msg) {
  struct mgx_http_event event = mg__http_event(c, msg);
  struct mg_ws *w = mg__ws(c);
  mg__free(w->handshake);
  w->handshake = NULL;
  w->heard_at = c->mgr->now;
  c->is_websocket = true;
  mg__ws_set_deadline(c);
  if (mg__wants(c, MG_EV_WS_OPEN)) mg__emit_ws_open(c, &event);
}
