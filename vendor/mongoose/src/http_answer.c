/* http_answer.c: writing HTTP/1.1: the answers of a server.
 *
 * The one idea: every byte a handler sends on a server connection belongs to
 * the answer to one request, and how far that answer is (struct mg_http,
 * `answer`) decides what may follow and when the next request is read. Whether
 * the library wrote the head or the handler did by hand (http_sent.c) makes no
 * difference. */
#include "http.h"

/* ---- the end of an answer ------------------------------------------------------ */

void mg__http_answer_done(struct mg_connection *c, struct mg_http *h) {
  h->answer = MG_ANSWER_NONE;
  if (c->is_client) return; /* a request is whole, not an answer */
  if (!h->keep_alive)
    mg__conn_drain(c);
  else if (!h->in_loop)
    mg__conn_todo(c); /* the next request may be waiting in the buffer */
}

void mg__http_on_sent(struct mg_connection *c) {
  struct mg_http *h = mg__http(c);
  if (h->answer == MG_ANSWER_QUEUED)
    mg__http_answer_done(c, h);
  else if (h->answer == MG_ANSWER_NONE && !c->is_client && (c->recv.len > 0 || c->is_eof))
    mg__conn_todo(c); /* unsent answers held it back */
}

static bool status_has_no_body(int status) {
  return status < 200 || status == 204 || status == 304;
}

/* ---- heads that a caller wrote ------------------------------------------------- */

struct head_facts { /* what the header lines of an answer say */
  bool has_type, has_date, is_chunked, is_stream, closes, has_length, bad_coding;
  struct mg_str connection, coding, length; /* whole lines, with CR LF */
  uint64_t length_value;
};

static struct mg_str line_value(struct mg_str line, size_t name_len) {
  struct mg_str v = {line.buf + name_len + 1, line.len - name_len - 3};
  while (v.len > 0 && (*v.buf == ' ' || *v.buf == '\t')) v.buf++, v.len--;
  while (v.len > 0 && (v.buf[v.len - 1] == ' ' || v.buf[v.len - 1] == '\t')) v.len--;
  return v;
}

static bool parse_length(struct mg_str v, uint64_t *out) {
  uint64_t n = 0;
  if (v.len == 0 || v.len > 19) return false;
  for (size_t i = 0; i < v.len; i++) {
    if (v.buf[i] < '0' || v.buf[i] > '9') return false;
    n = n * 10 + (uint64_t) (v.buf[i] - '0');
  }
  *out = n;
  return true;
}

/* Does a comma list hold this token? */
static bool list_has(struct mg_str list, const char *token) {
  while (list.len > 0) {
    const char *comma = memchr(list.buf, ',', list.len);
    size_t n = comma == NULL ? list.len : (size_t) (comma - list.buf);
    struct mg_str item = {list.buf, n};
    while (item.len > 0 && (*item.buf == ' ' || *item.buf == '\t')) item.buf++, item.len--;
    while (item.len > 0 && (item.buf[item.len - 1] == ' ' || item.buf[item.len - 1] == '\t'))
      item.len--;
    if (mg__streq_nocase(item, token)) return true;
    list.buf += comma == NULL ? n : n + 1;
    list.len -= comma == NULL ? n : n + 1;
  }
  return false;
}

static void look_at_line(struct head_facts *f, struct mg_str line) {
  const char *colon = memchr(line.buf, ':', line.len);
  struct mg_str name, value;
  if (colon == NULL || line.len < 3) return;
  name = (struct mg_str){line.buf, (size_t) (colon - line.buf)};
  value = line_value(line, name.len);
  switch (name.len) { /* different for each that matters: one comparison at most */
    case 4:
      if (http_same(name.buf, "date", 4)) f->has_date = true;
      break;
    case 10:
      if (!http_same(name.buf, "connection", 10)) break;
      f->connection = line;
      f->closes = f->closes || list_has(value, "close");
      break;
    case 12:
      if (http_same(name.buf, "content-type", 12))
        f->is_stream = value.len >= 17 && http_same(value.buf, "text/event-stream", 17);
      break;
    case 14:
      if (!http_same(name.buf, "content-length", 14)) break;
      f->length = line;
      f->has_length = true;
      f->bad_coding = f->bad_coding || !parse_length(value, &f->length_value);
      break;
    case 17:
      if (!http_same(name.buf, "transfer-encoding", 17)) break;
      f->coding = line;
      f->is_chunked = mg__streq_nocase(value, "chunked");
      f->bad_coding = !f->is_chunked;
      break;
    default: break;
  }
}

static void look_at_head(struct head_facts *f, const char *headers, size_t len) {
  memset(f, 0, sizeof(*f));
  while (len > 0) {
    const char *end = memchr(headers, '\n', len);
    size_t n = end == NULL ? len : (size_t) (end - headers) + 1;
    look_at_line(f, (struct mg_str){headers, n});
    headers += n;
    len -= n;
  }
}

/* ---- putting bytes behind each other, room checked before ------------------------ */

struct writer {
  char *p;
};

static void put(struct writer *w, const char *s, size_t n) {
  if (n > 0) memcpy(w->p, s, n);
  w->p += n;
}
#define PUT_TEXT(w, text) put((w), (text), sizeof(text) - 1)

static void put_number(struct writer *w, uint64_t n) {
  char digits[20];
  size_t i = sizeof(digits);
  do digits[--i] = (char) ('0' + n % 10);
  while ((n /= 10) > 0);
  put(w, digits + i, sizeof(digits) - i);
}

static void put_chunk_size(struct writer *w, size_t n) {
  char digits[16];
  size_t i = sizeof(digits);
  do digits[--i] = "0123456789abcdef"[n & 15];
  while ((n >>= 4) > 0);
  put(w, digits + i, sizeof(digits) - i);
  PUT_TEXT(w, "\r\n");
}

static void put_status(struct writer *w, int status) {
  const char *reason;
  if (status == 200) {
    PUT_TEXT(w, "HTTP/1.1 200 OK\r\n");
    return;
  }
  reason = mg__http_reason(status);
  PUT_TEXT(w, "HTTP/1.1 ");
  put_number(w, (uint64_t) status);
  PUT_TEXT(w, " ");
  put(w, reason, strlen(reason));
  PUT_TEXT(w, "\r\n");
}

/* The caller's lines without those whose job the library does. */
static void put_lines(struct writer *w, const char *headers, size_t len, struct mg_str drop1,
                      struct mg_str drop2) {
  const char *end = headers + len;
  if (drop1.buf == NULL || (drop2.buf != NULL && drop2.buf < drop1.buf)) {
    struct mg_str swap = drop1;
    drop1 = drop2;
    drop2 = swap;
  }
  if (drop1.buf != NULL) {
    put(w, headers, (size_t) (drop1.buf - headers));
    headers = drop1.buf + drop1.len;
  }
  if (drop2.buf != NULL) {
    put(w, headers, (size_t) (drop2.buf - headers));
    headers = drop2.buf + drop2.len;
  }
  put(w, headers, (size_t) (end - headers));
}

enum { HEAD_ROOM = 256 }; /* status line, Date, Connection, framing, a chunk's frame */

static void put_common(struct writer *w, struct mg_connection *c, const struct head_facts *f,
                       bool keep_alive, bool say_keep_alive) {
  if (!f->has_date) {
    struct mg_str date = mg__date_line(c->mgr);
    put(w, date.buf, date.len);
  }
  if (!keep_alive && !f->closes)
    PUT_TEXT(w, "Connection: close\r\n");
  else if (keep_alive && say_keep_alive && f->connection.buf == NULL)
    PUT_TEXT(w, "Connection: keep-alive\r\n");
}

static struct writer write_at(struct mg_connection *c) {
  struct writer w = {c->send.buf + c->send.len};
  return w;
}

static void written(struct mg_connection *c, const struct writer *w) {
  c->send.len = (size_t) (w->p - c->send.buf);
  assert(c->send.len <= c->send.size);
  mg__conn_dirty(c);
}

/* ---- mgx_http_reply ---------------------------------------------------------------- */

struct plan { /* how an answer will be framed */
  bool no_body, chunked, to_end, with_length, keep_alive, interim;
  uint64_t length;
};

static int plan_reply(const struct mg_http *h, int status, const struct head_facts *f,
                      size_t body_len, struct plan *p) {
  memset(p, 0, sizeof(*p));
  if (f->bad_coding || (f->is_chunked && f->has_length)) return MGX_EINVAL;
  p->no_body = h->to_head || status_has_no_body(status) || (h->to_connect && status / 100 == 2);
  p->interim = status < 200 && status != 101;
  p->keep_alive = h->keep_alive && !f->closes;
  if (f->is_chunked || (f->is_stream && !f->has_length)) {
    p->chunked = !h->is_http10 && !status_has_no_body(status);
    p->to_end = h->is_http10 && !status_has_no_body(status);
    if (p->to_end) p->keep_alive = false;
    return MGX_OK;
  }
  p->length = body_len;
  p->with_length = status >= 200 && status != 204 && !(h->to_connect && status / 100 == 2);
  if (status == 304) p->with_length = f->has_length;
  if (f->has_length && (p->no_body ? body_len == 0 : false))
    p->length = f->length_value; /* HEAD and 304 tell what a GET would give */
  else if (f->has_length && f->length_value != body_len)
    return MGX_ELENGTH;
  return MGX_OK;
}

/* A large body may leave at once, and what was written before it as well. */
static void put_body(struct writer *w, struct mg_connection *c, const char *body, size_t len) {
  if (len < MG_DIRECT_SIZE) {
    put(w, body, len);
  } else {
    written(c, w);
    mg__conn_append(c, body, len);
    *w = write_at(c);
  }
}

static void put_reply(struct writer *w, struct mg_connection *c, const struct mg_http *h,
                      int status, const char *headers, size_t headers_len,
                      const struct head_facts *f, const struct plan *p, const char *body,
                      size_t body_len) {
  put_status(w, status);
  put_lines(w, headers, headers_len, f->length, f->coding);
  if (!p->interim) put_common(w, c, f, p->keep_alive, h->keep_alive_10);
  if (p->chunked) PUT_TEXT(w, "Transfer-Encoding: chunked\r\n");
  if (p->with_length) {
    PUT_TEXT(w, "Content-Length: ");
    put_number(w, p->length);
    PUT_TEXT(w, "\r\n");
  }
  PUT_TEXT(w, "\r\n");
  if (p->no_body || body_len == 0) return;
  if (p->chunked) put_chunk_size(w, body_len);
  put_body(w, c, body, body_len);
  if (p->chunked) PUT_TEXT(w, "\r\n");
}

static void answer_begun(struct mg_connection *c, struct mg_http *h, int status,
                         const struct plan *p, bool is_stream) {
  if (p->interim) return;
  h->keep_alive = p->keep_alive;
  if (status == 101 || (h->to_connect && status / 100 == 2)) {
    h->answer = MG_ANSWER_NONE;
    mg__conn_detach(c); /* what follows is no longer HTTP */
  } else if (p->chunked || p->to_end) {
    h->answer = p->chunked ? MG_ANSWER_CHUNKED : MG_ANSWER_TO_END;
    h->is_stream = is_stream;
    mg__chunked_init(&h->answer_chunked);
  } else {
    mg__http_answer_done(c, h);
  }
}

static int reply_http(struct mg_connection *c, int status, const char *headers,
                      size_t headers_len, const char *body, size_t body_len) {
  struct mg_http *h = mg__http(c);
  struct head_facts f;
  struct plan p;
  struct writer w;
  int err;
  if (h->answer != MG_ANSWER_AWAITED) return MGX_EANSWERED;
  look_at_head(&f, headers, headers_len);
  err = plan_reply(h, status, &f, body_len, &p);
  if (err != MGX_OK) return err;
  /* A whole answer before the body is there: the rest of it will not be read. */
  if (!p.chunked && !p.interim && !mg__http_body_has_arrived(c)) p.keep_alive = false;
  if (body_len > SIZE_MAX - headers_len - HEAD_ROOM) return MGX_ENOMEM;
  err = mg__conn_queue_reserve(c, HEAD_ROOM + headers_len + (p.no_body ? 0 : body_len));
  if (err != MGX_OK) return err;
  w = write_at(c);
  put_reply(&w, c, h, status, headers, headers_len, &f, &p, body, body_len);
  written(c, &w);
  answer_begun(c, h, status, &p, f.is_stream);
  return MGX_OK;
}

/* On a raw connection there is no request to look at: a whole answer, framed
 * by its length, unless the headers begin a stream. */
static int reply_raw(struct mg_connection *c, int status, const char *headers, size_t headers_len,
                     const char *body, size_t body_len) {
  struct mg_http h = {.keep_alive = true};
  struct head_facts f;
  struct plan p;
  struct writer w;
  int err;
  look_at_head(&f, headers, headers_len);
  err = plan_reply(&h, status, &f, body_len, &p);
  if (err != MGX_OK) return err;
  if (body_len > SIZE_MAX - headers_len - HEAD_ROOM) return MGX_ENOMEM;
  err = mg__conn_queue_reserve(c, HEAD_ROOM + headers_len + body_len);
  if (err != MGX_OK) return err;
  w = write_at(c);
  put_reply(&w, c, &h, status, headers, headers_len, &f, &p, body, body_len);
  written(c, &w);
  return MGX_OK;
}

int mgx_http_reply(struct mg_mgr *mgr, uint64_t conn, int status, const char *headers,
                   size_t headers_len, const char *body, size_t body_len) {
  struct mg_connection *c;
  int err;
  mg__lock(mgr);
  c = mg__conn_find(mgr, conn);
  if (c == NULL || c->is_closing)
    err = MGX_ECLOSED;
  else if (status < 100 || status > 999)
    err = MGX_EINVAL;
  else if (c->is_listening)
    err = MGX_OK; /* nobody to answer */
  else if (c->is_udp || c->is_websocket || (c->proto != NULL && c->is_client))
    err = MGX_EKIND;
  else if (c->proto == &mg__proto_http)
    err = reply_http(c, status, headers, headers_len, body, body_len);
  else
    err = reply_raw(c, status, headers, headers_len, body, body_len);
  mg__unlock(mgr);
  return err;
}

/* ---- answers in pieces --------------------------------------------------------------- */

static int queue_chunk(struct mg_connection *c, const char *data, size_t len) {
  struct writer w;
  int err;
  if (len > SIZE_MAX - HEAD_ROOM) return MGX_ENOMEM;
  err = mg__conn_queue_reserve(c, HEAD_ROOM + len);
  if (err != MGX_OK) return err;
  w = write_at(c);
  put_chunk_size(&w, len);
  put_body(&w, c, data, len);
  PUT_TEXT(&w, "\r\n");
  written(c, &w);
  return MGX_OK;
}

/* A piece of an answer whose head said Content-Length. */
static int queue_counted(struct mg_connection *c, struct mg_http *h, const char *data,
                         size_t len) {
  int err;
  if (len > h->answer_left) return MGX_ELENGTH;
  err = mg__conn_queue(c, data, len);
  if (err != MGX_OK) return err;
  h->answer_left -= len;
  if (h->answer_left == 0) mg__http_answer_done(c, h);
  return MGX_OK;
}

static int chunk_http(struct mg_connection *c, const char *data, size_t len) {
  struct mg_http *h = mg__http(c);
  int err = MGX_OK;
  switch (h->answer) {
    case MG_ANSWER_CHUNKED:
      if (h->answer_chunked.state != 0) return MGX_ESTATE; /* inside a hand-written chunk */
      if (!h->to_head) err = queue_chunk(c, data, len);
      if (err == MGX_OK && len == 0) mg__http_answer_done(c, h);
      return err;
    case MG_ANSWER_TO_END:
      if (!h->to_head) err = mg__conn_queue(c, data, len);
      if (err == MGX_OK && len == 0) mg__http_answer_done(c, h); /* drains: can't be kept alive */
      return err;
    case MG_ANSWER_LENGTH: return queue_counted(c, h, data, len);
    default: return MGX_EANSWERED;
  }
}

int mgx_http_chunk(struct mg_mgr *mgr, uint64_t conn, const char *data, size_t len) {
  struct mg_connection *c;
  int err;
  mg__lock(mgr);
  c = mg__conn_find(mgr, conn);
  if (c == NULL || c->is_closing)
    err = MGX_ECLOSED;
  else if (c->is_listening || c->is_udp || (c->proto != NULL && c->proto != &mg__proto_http))
    err = MGX_EKIND;
  else if (c->proto == &mg__proto_http)
    err = chunk_http(c, data, len);
  else
    err = queue_chunk(c, data, len);
  mg__unlock(mgr);
  return err;
}

int64_t mgx_http_chunk_many(struct mg_mgr *mgr, const uint64_t *conns, size_t count,
                            const char *data, size_t len) {
  int64_t sent = 0;
  if (len == 0) return MGX_EINVAL;
  mg__lock(mgr);
  if (mgr->is_closed) sent = MGX_ECLOSED;
  for (size_t i = 0; i < count && sent >= 0; i++) {
    struct mg_connection *c = mg__conn_find(mgr, conns[i]);
    if (c != NULL && !c->is_closing && c->proto == &mg__proto_http && !c->is_client &&
        !c->is_listening)
      sent += chunk_http(c, data, len) == MGX_OK;
  }
  mg__unlock(mgr);
  return sent;
}

int mg__http_answer(struct mg_connection *c, int status, const char *head, size_t head_len,
                    const char *body, size_t body_len) {
  struct mg_http *h = mg__http(c);
  struct head_facts f;
  struct writer w;
  int err;
  if (c->is_closing) return MGX_ECLOSED;
  if (h->answer != MG_ANSWER_AWAITED) return MGX_EANSWERED;
  look_at_head(&f, head, head_len);
  if (body == NULL || h->to_head) body_len = 0;
  if (body_len > SIZE_MAX - head_len - HEAD_ROOM) return MGX_ENOMEM;
  err = mg__conn_queue_reserve(c, HEAD_ROOM + head_len + body_len);
  if (err != MGX_OK) return err;
  h->keep_alive = h->keep_alive && !f.closes && mg__http_body_has_arrived(c);
  w = write_at(c);
  put_status(&w, status);
  put(&w, head, head_len);
  put_common(&w, c, &f, h->keep_alive, h->keep_alive_10);
  PUT_TEXT(&w, "\r\n");
  put(&w, body, body_len);
  written(c, &w);
  h->answer = MG_ANSWER_QUEUED;
  return MGX_OK;
}

/* ---- answers nobody wrote ------------------------------------------------------------------ */

void mg__http_refuse(struct mg_connection *c, int status) {
  struct mg_http *h = mg__http(c);
  static const char head[] = "Content-Length: 0\r\nConnection: close\r\n";
  if (h->answer != MG_ANSWER_NONE && h->answer != MG_ANSWER_AWAITED) {
    c->is_reset = true; /* an answer is half sent: only its cut can tell, so no close_notify */
    mg__conn_close(c);
    return;
  }
  h->answer = MG_ANSWER_AWAITED;
  h->keep_alive = false;
  if (mg__http_answer(c, status, head, sizeof(head) - 1, NULL, 0) != MGX_OK) mg__conn_close(c);
  mg__conn_drain(c);
}

static void finish_http(struct mg_connection *c) {
  struct mg_http *h = mg__http(c);
  bool is_idle = h->answer == MG_ANSWER_NONE && h->reading == MG_HTTP_HEAD && c->recv.len == 0;
  h->is_last = true;
  h->keep_alive = false;
  if (h->is_stream && h->answer == MG_ANSWER_CHUNKED)
    chunk_http(c, NULL, 0); /* refused: inside of a hand-written chunk, or no memory */
  else if (is_idle || (h->is_stream && h->answer == MG_ANSWER_TO_END))
    mg__conn_drain(c);
}

int mgx_http_finish(struct mg_mgr *mgr, uint64_t conn) {
  struct mg_connection *c;
  int err = MGX_OK;
  mg__lock(mgr);
  c = mg__conn_find(mgr, conn);
  if (c == NULL || c->is_closing)
    err = MGX_ECLOSED;
  else if (c->proto != &mg__proto_http || c->is_client || c->is_listening)
    err = MGX_EKIND;
  else
    finish_http(c);
  mg__unlock(mgr);
  return err;
}

int mgx_http_fail(struct mg_mgr *mgr, uint64_t conn) {
  struct mg_connection *c;
  int err = MGX_OK;
  mg__lock(mgr);
  c = mg__conn_find(mgr, conn);
  if (c == NULL || c->is_closing)
    err = MGX_ECLOSED;
  else if (c->proto != &mg__proto_http || c->is_client)
    err = MGX_EKIND;
  else if (mg__http(c)->answer == MG_ANSWER_NONE)
    mg__conn_drain(c); /* fully answered before it failed */
  else
    mg__http_refuse(c, 500);
  mg__unlock(mgr);
  return err;
}
