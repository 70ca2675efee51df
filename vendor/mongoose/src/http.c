/* http.c: reading HTTP/1.1 on a connection, as a server and as a client.
 *
 * The receive buffer starts with the message being read: its head, then its
 * body as far as it has come, decoded in place. Messages are parsed afresh
 * when their event is due, so that nothing has to be kept between reads but
 * lengths. A server reads the next request when the last one is answered. */
#include "http.h"

enum {
  HTTP_WAITING_BYTES = 64 * 1024,  /* may wait in recv while an answer is pending */
  HTTP_STREAM_BYTES = 256 * 1024,  /* may wait in recv of a streamed body */
  HTTP_UNSENT_BYTES = 1024 * 1024, /* of answers: then no further request is read */
};

enum {
  HTTP_BATCH = 64,                  /* messages held back to be delivered together */
  HTTP_BATCH_HEADERS = 32 * HTTP_BATCH /* lines of all of them, if they are ordinary ones */
};

struct scratch { /* one per manager: only the polling thread parses */
  size_t headers_used;
  struct mg_connection *conns[HTTP_BATCH]; /* with a message held back: mgr->posted of them */
  uint64_t ids[HTTP_BATCH];
  size_t used[HTTP_BATCH]; /* where each message ends */
  struct mgx_http_event events[HTTP_BATCH];
  struct mg_http_message msgs[HTTP_BATCH]; /* the next one is being looked at */
  struct mg_http_header headers[HTTP_BATCH_HEADERS + MG_MAX_HEADERS];
};

static struct mg_http_message *current_message(struct mg_mgr *mgr) {
  return &((struct scratch *) mgr->http_scratch)->msgs[mgr->posted];
}

static void run_posted_messages(struct mg_mgr *mgr);

struct mg_http_message *mg__http_running(struct mg_connection *c) {
  return c->proto == &mg__proto_http ? mg__http(c)->running : NULL;
}

static uint64_t http_recv_limit(const struct mg_connection *c) {
  const struct mg_http *h = mg__http(c);
  uint64_t limit = c->mgr->limits.recv_buffer;
  if (limit == 0) limit = UINT64_MAX;
  if (h->reading == MG_HTTP_BODY)
    return h->is_streamed ? h->head_len + HTTP_STREAM_BYTES : limit;
  return !c->is_client && h->answer != MG_ANSWER_NONE ? HTTP_WAITING_BYTES : limit;
}

static void set_timeout(struct mg_connection *c, uint64_t ms) {
  mg__conn_set_deadline(c, ms == 0 ? 0 : c->mgr->now + ms);
}

/* The peer broke the protocol. */
static bool http_bad(struct mg_connection *c, int status, const char *what) {
  mg__log(c->mgr, MG_LL_INFO, "connection %llu: %s, %d", (unsigned long long) c->id, what, status);
  if (c->is_client)
    mg__conn_error(c, "bad HTTP response: %s", what);
  else
    mg__http_refuse(c, status);
  return false;
}

/* ---- parsing ----------------------------------------------------------------- */

static int parse_head(struct mg_connection *c, size_t len) {
  struct scratch *s = c->mgr->http_scratch;
  uint64_t count = c->mgr->limits.header_count;
  size_t cap = count == 0 || count > MG_MAX_HEADERS ? MG_MAX_HEADERS : (size_t) count;
  if (s == NULL) {
    s = c->mgr->http_scratch = mg__malloc(sizeof(*s));
    if (s == NULL) return -503;
    s->headers_used = 0;
  }
  return mg__http_parse(c->recv.buf, len, &c->mgr->limits, &s->msgs[c->mgr->posted],
                        s->headers + s->headers_used, cap);
}

int mg__http_parse_head(struct mg_connection *c, size_t len, struct mg_http_message **msg) {
  int n = parse_head(c, len);
  *msg = c->mgr->http_scratch == NULL ? NULL : current_message(c->mgr);
  return n;
}

static bool passed(size_t before, size_t now, uint64_t limit) {
  return limit != 0 && before < limit && now >= limit;
}

/* Is it worth parsing again? When a line has ended in the new bytes, when they
 * pass a limit, and at the end of the stream: so the verdict on a line does not
 * wait for more, and a slow sender costs a parse per line at most. */
static bool head_has_news(struct mg_connection *c, struct mg_http *h) {
  const struct mgx_limits *limits = &c->mgr->limits;
  size_t from = h->looked_at, len = c->recv.len;
  h->looked_at = len;
  if (len > from && memchr(c->recv.buf + from, '\n', len - from) != NULL) return true;
  if (c->is_eof || len >= http_recv_limit(c)) return true;
  return passed(h->tried_at, len, limits->request_line + 2) ||
         passed(h->tried_at, len, limits->header_bytes + 2);
}

/* ---- events -------------------------------------------------------------------- */

struct mgx_http_event mg__http_event(const struct mg_connection *c, struct mg_http_message *msg) {
  struct mgx_http_event event = {c->id,         msg,           msg->head.buf,
                                 msg->body.buf, msg->head.len, msg->body.len};
  return event;
}

/* Fire an event with a message; false: the connection is not ours to go on with. */
static bool http_emit(struct mg_connection *c, int ev, struct mg_http_message *msg) {
  struct mg_http *h = mg__http(c);
  struct mgx_http_event event = mg__http_event(c, msg);
  if (!mg__wants(c, ev)) return !c->is_closing;
  h->running = msg;
  h->in_headers = ev == MG_EV_HTTP_HDRS;
  mg__emit_http(c, ev, &event);
  if (c->proto != &mg__proto_http) return false;
  h->running = NULL;
  h->in_headers = false;
  return !c->is_closing && !c->is_draining;
}

int mgx_http_stream_body(struct mg_mgr *mgr, uint64_t conn) {
  struct mg_connection *c;
  int result = MGX_ECLOSED;
  mg__lock(mgr);
  c = mg__conn_find(mgr, conn);
  if (c != NULL && mg__http_running(c) != NULL && mg__http(c)->in_headers) {
    mg__http(c)->is_streamed = true;
    result = MGX_OK;
  } else if (c != NULL) {
    result = MGX_ESTATE;
  }
  mg__unlock(mgr);
  return result;
}

/* ---- heads ----------------------------------------------------------------------- */

static bool request_head(struct mg_connection *c, struct mg_http *h, struct mg_http_message *msg) {
  int err = mg__http_framing_request(msg, &h->framing);
  if (err < 0) return http_bad(c, -err, "request framing");
  h->answer = MG_ANSWER_AWAITED;
  h->keep_alive = h->framing.keep_alive && !h->is_last;
  h->is_stream = false;
  h->is_http10 = h->framing.http10;
  h->keep_alive_10 = h->is_http10 && h->keep_alive;
  h->to_head = msg->method.len == 4 && memcmp(msg->method.buf, "HEAD", 4) == 0;
  h->to_connect = msg->method.len == 7 && memcmp(msg->method.buf, "CONNECT", 7) == 0;
  return true;
}

static bool response_head(struct mg_connection *c, struct mg_http *h, struct mg_http_message *msg) {
  bool to_head = (h->heads & 1) != 0, to_connect = (h->connects & 1) != 0;
  if (!h->has_sent && h->under_way == 0)
    return http_bad(c, 502, "a response that nobody asked for");
  return mg__http_framing_response(msg, to_head, to_connect, &h->framing) >= 0 ||
         http_bad(c, 502, "response framing");
}

static void message_begin(struct mg_connection *c, struct mg_http *h, size_t head_len,
                          struct mg_http_message *msg) {
  size_t arrived = c->recv.len - head_len;
  h->reading = MG_HTTP_BODY;
  h->head_len = head_len;
  h->body_len = 0;
  h->body_left = h->framing.kind == MG_BODY_LENGTH ? h->framing.length : 0;
  h->looked_at = h->tried_at = 0;
  h->head_timed = h->is_streamed = false;
  mg__chunked_init(&h->chunked);
  msg->body.buf = c->recv.buf + head_len;
  msg->body.len = 0;
  if (h->framing.kind == MG_BODY_LENGTH)
    msg->body.len = arrived < h->body_left ? arrived : (size_t) h->body_left;
  else if (h->framing.kind == MG_BODY_TO_END)
    msg->body.len = arrived;
}

bool mg__http_body_has_arrived(const struct mg_connection *c) {
  const struct mg_http *h = mg__http(c);
  if (h->reading == MG_HTTP_HEAD || h->framing.kind == MG_BODY_NONE) return true;
  return h->framing.kind == MG_BODY_LENGTH && c->recv.len - h->head_len >= h->body_left;
}

/* An answer that is already on its way while the body is still coming: read no
 * further, the peer will see the answer and the end. */
static bool answered_early(struct mg_connection *c, struct mg_http *h) {
  if (c->is_client || h->answer != MG_ANSWER_NONE || mg__http_body_has_arrived(c)) return false;
  mg__conn_drain(c);
  return true;
}

static bool body_fits(struct mg_connection *c, const struct mg_http *h) {
  uint64_t limit = c->mgr->limits.recv_buffer;
  if (limit == 0 || h->is_streamed || h->framing.kind != MG_BODY_LENGTH) return true;
  return h->head_len <= limit && h->framing.length <= limit - h->head_len;
}

static bool headers_event(struct mg_connection *c, struct mg_http *h, struct mg_http_message *msg) {
  static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
  if (!http_emit(c, MG_EV_HTTP_HDRS, msg) || answered_early(c, h)) return false;
  if (!body_fits(c, h)) return http_bad(c, 413, "body above the recv_buffer limit");
  if (!c->is_client && h->framing.expect_continue && h->answer == MG_ANSWER_AWAITED &&
      !mg__http_body_has_arrived(c) && c->recv.len == h->head_len)
    mg__conn_queue(c, go_on, sizeof(go_on) - 1);
  return true;
}

static void skip_interim(struct mg_connection *c, struct mg_http *h, size_t len) {
  mg__iobuf_del(&c->recv, len);
  h->looked_at = h->tried_at = 0;
  h->head_timed = false;
}

/* Read a head. true: something was done, go on; false: wait for more. */
static bool read_head(struct mg_connection *c, struct mg_http *h, bool *parsed) {
  const struct mgx_limits *limits = &c->mgr->limits;
  struct mg_http_message *msg;
  int n;
  if (c->recv.len == 0) {
    h->head_timed = false;
    set_timeout(c, c->is_client ? 0 : limits->keepalive_timeout_ms);
    return false;
  }
  if (h->tried_at > 0 && !head_has_news(c, h)) return false;
  n = parse_head(c, c->recv.len);
  if (n == 0) {
    h->looked_at = h->tried_at = c->recv.len;
    if (!h->head_timed) set_timeout(c, limits->header_timeout_ms);
    h->head_timed = true;
    if (c->recv.len >= http_recv_limit(c)) return http_bad(c, 431, "head above the recv_buffer limit");
    return false;
  }
  if (n < 0) return http_bad(c, -n, c->is_client ? "malformed head" : "request head");
  msg = current_message(c->mgr);
  if (c->is_client ? msg->method.len < 5 || memcmp(msg->method.buf, "HTTP/", 5) != 0
                   : msg->method.len >= 5 && memcmp(msg->method.buf, "HTTP/", 5) == 0)
    return http_bad(c, 400, c->is_client ? "a request" : "a response");
  if (c->is_client ? !response_head(c, h, msg) : !request_head(c, h, msg)) return false;
  if (c->is_client && h->framing.status < 200 && h->framing.status != 101) {
    skip_interim(c, h, (size_t) n);
    return true;
  }
  mg__conn_set_deadline(c, 0);
  message_begin(c, h, (size_t) n, msg);
  *parsed = true;
  if (headers_event(c, h, msg)) return true;
  if (c->proto != &mg__proto_http) mg__iobuf_del(&c->recv, (size_t) n); /* a tunnel: now raw */
  return false;
}

/* ---- the end of a message ------------------------------------------------------------ */

/* Client: the response to the oldest request is whole. */
static void response_done(struct mg_connection *c, struct mg_http *h) {
  if (h->under_way > 0) h->under_way--;
  h->heads >>= 1;
  h->connects >>= 1;
  if (h->under_way == 0) h->has_sent = h->answer == MG_ANSWER_HEAD;
  if (!h->framing.keep_alive) mg__conn_drain(c);
}

/* The event was delivered, or nobody wants it: drop recv[0..used) and see
 * whether to go on with what is behind it. */
static bool message_over(struct mg_connection *c, struct mg_http *h, size_t used) {
  bool tunnel;
  if (c->proto != &mg__proto_http) { /* the handler made it a tunnel: what follows is raw */
    mg__iobuf_del(&c->recv, used);
    return false;
  }
  tunnel = c->is_client && (h->framing.status == 101 ||
                            ((h->connects & 1) && h->framing.status / 100 == 2));
  mg__iobuf_del(&c->recv, used);
  if (c->is_client) response_done(c, h);
  if (c->is_closing || c->is_draining) return false;
  if (tunnel) {
    mg__conn_detach(c);
    return false;
  }
  if (h->answer == MG_ANSWER_AWAITED && !mg__wants(c, MG_EV_HTTP_MSG) &&
      !mg__wants(c, MG_EV_HTTP_HDRS))
    set_timeout(c, c->mgr->limits.keepalive_timeout_ms); /* nobody listens, nobody will answer */
  return true;
}

/* Hold the event back, to be delivered together with others of this turn.
 * The message stays where it is, for nothing is read meanwhile. */
static void post(struct mg_connection *c, struct mg_http *h, size_t used) {
  struct mg_mgr *mgr = c->mgr;
  struct scratch *s = mgr->http_scratch;
  struct mg_http_message *msg = current_message(mgr);
  s->conns[mgr->posted] = c;
  s->ids[mgr->posted] = c->id;
  s->used[mgr->posted] = used;
  s->events[mgr->posted] = mg__http_event(c, msg);
  s->headers_used += msg->num_headers;
  mgr->posted++;
  mgr->posted_full = mgr->posted == HTTP_BATCH || s->headers_used > HTTP_BATCH_HEADERS;
  mgr->run_posted = run_posted_messages;
  h->running = msg;
  h->is_whole = true;
  h->whole_used = used;
  c->is_posted = true;
  c->busy++;
}

/* A whole message is at recv[0..used): fire MG_EV_HTTP_MSG. */
static bool message_done(struct mg_connection *c, struct mg_http *h, size_t used, bool parsed) {
  struct mg_http_message *msg;
  if (!parsed && parse_head(c, h->head_len) <= 0) return http_bad(c, 503, "out of memory");
  msg = current_message(c->mgr);
  msg->body = (struct mg_str){c->recv.buf + h->head_len, h->is_streamed ? 0 : h->body_len};
  mg__conn_set_deadline(c, 0);
  h->reading = MG_HTTP_HEAD; /* the answer may rely on it: all of the request is there */
  if (!c->is_client && h->answer != MG_ANSWER_NONE && mg__wants(c, MG_EV_HTTP_MSG) &&
      c->mgr->cb->on_http_batch != NULL) {
    post(c, h, used);
    return false;
  }
  h->is_whole = false;
  if (c->is_client || h->answer != MG_ANSWER_NONE) /* else answered in MG_EV_HTTP_HDRS */
    http_emit(c, MG_EV_HTTP_MSG, msg);
  return message_over(c, h, used);
}

/* One connection of a batch: its event was delivered, or it is still due. */
static void posted_over(struct mg_connection *c, size_t used, bool is_done) {
  struct mg_http *h = mg__http(c);
  if (c->proto == &mg__proto_http) {
    h->running = NULL;
    h->in_loop = is_done;
    h->is_whole = !is_done;
    h->reading = is_done ? MG_HTTP_HEAD : MG_HTTP_BODY;
  }
  if (is_done) {
    message_over(c, h, used);
    mg__io_resume(c);
  } else {
    c->is_posted = false;
    mg__conn_todo(c);
  }
  c->busy--;
}

static size_t deliver_posted(struct mg_mgr *mgr, const struct scratch *s, size_t count) {
  if (mgr->leave) return 0;
  if (count > 1) return mg__emit_http_batch(mgr, s->conns, s->ids, s->events, count);
  mg__emit_http(s->conns[0], MG_EV_HTTP_MSG, &s->events[0]);
  return 1;
}

/* Until nothing is held back: going on with a connection may post its next
 * request. There are only as many as have been read before. */
static void run_posted_messages(struct mg_mgr *mgr) {
  struct scratch *s = mgr->http_scratch;
  while (mgr->posted > 0) {
    struct mg_connection *conns[HTTP_BATCH]; /* copies: going on with one fills s again */
    size_t used[HTTP_BATCH], count = mgr->posted, done = deliver_posted(mgr, s, count);
    memcpy(conns, s->conns, count * sizeof(conns[0]));
    memcpy(used, s->used, count * sizeof(used[0]));
    mgr->posted = s->headers_used = 0;
    mgr->posted_full = false;
    for (size_t i = 0; i < count; i++) posted_over(conns[i], used[i], i < done);
  }
}

/* ---- bodies, collected ------------------------------------------------------------------- */

static bool wait_for_body(struct mg_connection *c) {
  set_timeout(c, c->mgr->limits.body_timeout_ms);
  return false;
}

static bool collect_length(struct mg_connection *c, struct mg_http *h, bool parsed) {
  if (c->recv.len - h->head_len < h->body_left) return wait_for_body(c);
  h->body_len = (size_t) h->body_left;
  return message_done(c, h, h->head_len + h->body_len, parsed);
}

/* Decode what has come: data moves to the end of the decoded body. */
static bool collect_chunked(struct mg_connection *c, struct mg_http *h, bool parsed) {
  size_t at = h->head_len + h->body_len, used;
  for (;;) {
    struct mg_str data;
    int what = mg__chunked_feed(&h->chunked, &c->mgr->limits, c->recv.buf + at, c->recv.len - at,
                                &used, &data);
    if (what < 0) return http_bad(c, -what, "chunked coding");
    if (what == MG_CHUNK_DATA) {
      memmove(c->recv.buf + h->head_len + h->body_len, data.buf, data.len);
      h->body_len += data.len;
    }
    at += used;
    if (what == MG_CHUNK_END) return message_done(c, h, at, parsed);
    if (what == MG_CHUNK_MORE) break;
  }
  c->recv.len = h->head_len + h->body_len; /* everything behind it was taken */
  if (c->recv.len >= http_recv_limit(c))
    return http_bad(c, 413, "body above the recv_buffer limit");
  return wait_for_body(c);
}

static bool collect_to_end(struct mg_connection *c, struct mg_http *h) {
  h->body_len = c->recv.len - h->head_len;
  if (c->recv.len >= http_recv_limit(c))
    return http_bad(c, 413, "body above the recv_buffer limit");
  return wait_for_body(c);
}

/* ---- bodies, streamed ----------------------------------------------------------------------- */

static bool stream_piece(struct mg_connection *c, const char *data, size_t len) {
  if (len == 0 || !mg__wants(c, MG_EV_READ)) return !c->is_closing;
  c->quiet_read = true;
  c->in_read = true;
  mg__emit_data(c, MG_EV_READ, data, len);
  c->in_read = false;
  return c->proto == &mg__proto_http && !c->is_closing && !c->is_draining;
}

/* Take `used` bytes out from behind the head. Whatever follows is the start
 * of the next message at most. */
static void stream_drop(struct mg_connection *c, const struct mg_http *h, size_t used) {
  char *body = c->recv.buf + h->head_len;
  size_t rest = c->recv.len - h->head_len - used;
  if (rest > 0) memmove(body, body + used, rest);
  c->recv.len = h->head_len + rest;
}

static bool stream_body(struct mg_connection *c, struct mg_http *h) {
  size_t there = c->recv.len - h->head_len, at = 0, used = there;
  bool is_end = h->framing.kind == MG_BODY_NONE, go_on = true;
  const char *body = c->recv.buf + h->head_len;
  if (h->framing.kind == MG_BODY_CHUNKED) {
    int what = MG_CHUNK_DATA;
    while (what == MG_CHUNK_DATA && go_on) {
      struct mg_str data;
      what = mg__chunked_feed(&h->chunked, &c->mgr->limits, body + at, there - at, &used, &data);
      if (what < 0) return http_bad(c, -what, "chunked coding");
      at += used;
      if (what == MG_CHUNK_DATA) go_on = stream_piece(c, data.buf, data.len);
      if (go_on && what == MG_CHUNK_DATA && (c->is_paused || c->mgr->leave)) break;
    }
    is_end = what == MG_CHUNK_END;
    used = at;
  } else if (h->framing.kind != MG_BODY_NONE) {
    if (h->framing.kind == MG_BODY_LENGTH && used > h->body_left) used = (size_t) h->body_left;
    go_on = stream_piece(c, body, used);
    h->body_left -= h->framing.kind == MG_BODY_LENGTH ? used : 0;
    is_end = h->framing.kind == MG_BODY_LENGTH && h->body_left == 0;
  } else {
    used = 0;
  }
  if (!go_on) return false;
  if (!is_end && !c->is_client && h->answer == MG_ANSWER_NONE) {
    mg__conn_drain(c); /* answered early */
    return false;
  }
  stream_drop(c, h, used);
  if (!is_end) return wait_for_body(c);
  if (c->is_paused || c->mgr->leave) return false; /* the message comes when it goes on */
  return message_done(c, h, h->head_len, false);
}

/* ---- the protocol's entry points ---------------------------------------------------------------- */

static bool may_go_on(const struct mg_connection *c, const struct mg_http *h) {
  if (c->is_closing || c->is_draining || c->is_paused || c->mgr->leave) return false;
  if (c->is_client || h->reading == MG_HTTP_BODY) return true;
  return h->answer == MG_ANSWER_NONE && mg__conn_unsent(c) < HTTP_UNSENT_BYTES;
}

static bool read_body(struct mg_connection *c, struct mg_http *h, bool parsed) {
  if (h->is_whole) return message_done(c, h, h->whole_used, parsed);
  if (h->is_streamed) return stream_body(c, h);
  switch (h->framing.kind) {
    case MG_BODY_LENGTH: return collect_length(c, h, parsed);
    case MG_BODY_CHUNKED: return collect_chunked(c, h, parsed);
    case MG_BODY_TO_END: return collect_to_end(c, h);
    default: return message_done(c, h, h->head_len, parsed);
  }
}

static void http_on_eof(struct mg_connection *c);

static void http_on_data(struct mg_connection *c) {
  struct mg_http *h = mg__http(c);
  bool parsed = false;
  h->in_loop = true;
  while (may_go_on(c, h)) {
    if (h->reading == MG_HTTP_HEAD) {
      parsed = false;
      if (!read_head(c, h, &parsed)) break;
    } else if (!read_body(c, h, parsed)) {
      break;
    } else {
      parsed = false;
    }
  }
  if (c->proto != &mg__proto_http || c->is_posted) return;
  h->in_loop = false;
  if (c->is_eof && !c->is_closing && !c->is_paused && !c->mgr->leave) http_on_eof(c);
}

static void truncated(struct mg_connection *c) {
  const char *where = "before it answered";
  if (mg__http(c)->reading == MG_HTTP_BODY)
    where = "inside a body";
  else if (c->recv.len > 0)
    where = "inside a head";
  if (c->tls != NULL && mg__tls_is_cut(c)) where = "without close_notify";
  mg__conn_error(c, "truncated HTTP message: the peer ended the connection %s", where);
}

/* The peer sends no more. What it asked for is still answered. */
static void http_on_eof(struct mg_connection *c) {
  struct mg_http *h = mg__http(c);
  if (c->is_paused) return;
  if (h->reading == MG_HTTP_BODY) {
    if (h->framing.kind != MG_BODY_TO_END || c->is_reset)
      truncated(c);
    else if (!c->is_draining)
      message_done(c, h, h->is_streamed ? h->head_len : c->recv.len, false);
    if (c->proto == &mg__proto_http) mg__conn_drain(c);
  } else if (c->is_client) {
    if (c->recv.len > 0 || h->under_way > 0) truncated(c);
    mg__conn_drain(c);
  } else if (h->answer == MG_ANSWER_NONE && (c->recv.len == 0 || h->tried_at == c->recv.len)) {
    mg__conn_drain(c);
  } else if (h->answer == MG_ANSWER_NONE && mg__conn_unsent(c) < HTTP_UNSENT_BYTES) {
    mg__conn_todo(c); /* a last look at what is there */
  } /* else an answer is pending, or unsent ones hold requests back: on_sent goes on */
}

static void http_on_timeout(struct mg_connection *c) {
  struct mg_http *h = mg__http(c);
  if (c->is_paused) { /* no progress, but it is us who do not read */
    wait_for_body(c);
  } else if (h->reading == MG_HTTP_BODY || h->head_timed) {
    if (c->is_client)
      mg__conn_error(c, "%s: no progress in the response",
                     h->head_timed ? "header_timeout" : "body_timeout");
    else
      mg__http_refuse(c, 408);
  } else {
    mg__conn_drain(c); /* idle between two requests */
  }
}

static void http_free(struct mg_connection *c) {
  struct mg_http *h = mg__http(c);
  mg__iobuf_free(&c->mgr->pool, &h->answer_head);
  mg__free(h);
}

const struct mg_proto mg__proto_http = {
    .name = "http",
    .on_data = http_on_data,
    .on_eof = http_on_eof,
    .on_sent = mg__http_on_sent,
    .on_timeout = http_on_timeout,
    .on_send = mg__http_on_send,
    .recv_limit = http_recv_limit,
    .free = http_free,
};

bool mg__http_attach(struct mg_connection *c) {
  struct mg_http *h = mg__calloc(sizeof(*h));
  if (h == NULL) return false;
  c->proto = &mg__proto_http;
  c->proto_data = h;
  return true;
}
