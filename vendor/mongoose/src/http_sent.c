/* http_sent.c: HTTP that a handler writes by hand: whole heads, bodies, chunks, by
 * mgx_send() in pieces of any size.
 *
 * Bytes go out as they are; what is read here is where a message begins and ends, by the
 * parsers that read the peer's. On a server that tells when the answer is complete, on a
 * client how the response to each request is framed. */
#include "http.h"

enum { MG_HAND_WRITTEN_HEAD = 65536 }; /* longer than this it is taken for something else */

/* ---- server ---------------------------------------------------------------------- */

/* The bytes behind a hand-written head, or the next piece of its body. */
static int sent_body(struct mg_connection *c, struct mg_http *h, const char *data, size_t len) {
  struct mg_chunked d = h->answer_chunked;
  switch (h->answer) {
    case MG_ANSWER_LENGTH:
      if (len > h->answer_left) return MGX_ELENGTH;
      h->answer_left -= len;
      if (h->answer_left == 0) mg__http_answer_done(c, h);
      return MGX_OK;
    case MG_ANSWER_CHUNKED:
      while (len > 0) {
        size_t used;
        struct mg_str piece;
        int what = mg__chunked_feed(&d, &c->mgr->limits, data, len, &used, &piece);
        if (what < 0 || (what == MG_CHUNK_END && used < len)) return MGX_ELENGTH;
        data += used;
        len -= used;
        if (what == MG_CHUNK_END) {
          mg__http_answer_done(c, h);
          return MGX_OK;
        }
      }
      h->answer_chunked = d;
      return MGX_OK;
    case MG_ANSWER_TO_END: return MGX_OK;
    default: return len == 0 ? MGX_OK : MGX_EANSWERED;
  }
}

static void answer_framed(struct mg_connection *c, struct mg_http *h,
                          const struct mg_http_framing *f) {
  h->keep_alive = h->keep_alive && f->keep_alive;
  mg__chunked_init(&h->answer_chunked);
  if (f->kind == MG_BODY_TO_END) {
    h->answer = MG_ANSWER_TO_END;
  } else if (f->kind == MG_BODY_CHUNKED) {
    h->answer = MG_ANSWER_CHUNKED;
  } else if (f->kind == MG_BODY_LENGTH && f->length > 0) {
    h->answer = MG_ANSWER_LENGTH;
    h->answer_left = f->length;
  } else {
    mg__http_answer_done(c, h);
  }
}

static bool is_tunnel(const struct mg_http *h, int status) {
  return status == 101 || (h->to_connect && status / 100 == 2);
}

/* Look at the hand-written head in io: its length, 0 when it is not whole, or
 * -1 when it is no head of an answer. */
static int look_at_answer(const struct mg_http *h, const struct mg_iobuf *io,
                          struct mg_http_framing *f) {
  static const struct mgx_limits unlimited;
  struct mg_http_header headers[128];
  struct mg_http_message msg;
  int n = mg__http_parse(io->buf, io->len, &unlimited, &msg, headers, 128);
  if (n == 0) return 0;
  if (n < 0 || msg.method.len < 5 || memcmp(msg.method.buf, "HTTP/", 5) != 0) return -1;
  return mg__http_framing_response(&msg, h->to_head, h->to_connect, f) < 0 ? -1 : n;
}

static bool fits_framing(const struct mg_http_framing *f, size_t rest) {
  if (f->kind == MG_BODY_NONE) return rest == 0;
  return f->kind != MG_BODY_LENGTH || rest <= f->length;
}

/* A hand-written head counts when it parses; what is not HTTP at all goes out
 * as it is and ends with the connection. */
static int sent_head(struct mg_connection *c, struct mg_http *h, const char *data, size_t len) {
  struct mg_iobuf *io = &h->answer_head;
  struct mg_http_framing f;
  size_t before = io->len;
  int n, err = MGX_OK;
  if (!mg__iobuf_add(&c->mgr->pool, io, data, len)) return MGX_ENOMEM;
  while ((n = look_at_answer(h, io, &f)) > 0 && f.status < 200 && !is_tunnel(h, f.status)) {
    mg__iobuf_del(io, (size_t) n); /* an interim answer: the real one follows */
    before = before > (size_t) n ? before - (size_t) n : 0;
  }
  if (n == 0 && io->len <= MG_HAND_WRITTEN_HEAD) {
    h->answer = io->len > 0 ? MG_ANSWER_HEAD : MG_ANSWER_AWAITED;
  } else if (n <= 0) {
    h->answer = MG_ANSWER_TO_END;
    h->keep_alive = false;
  } else if (is_tunnel(h, f.status)) {
    mg__conn_detach(c); /* frees h */
    return MGX_OK;
  } else if (!fits_framing(&f, io->len - (size_t) n)) {
    err = MGX_ELENGTH;
  } else {
    answer_framed(c, h, &f);
    if (io->len > (size_t) n) err = sent_body(c, h, io->buf + n, io->len - (size_t) n);
    if (err != MGX_OK) h->answer = before > 0 ? MG_ANSWER_HEAD : MG_ANSWER_AWAITED;
  }
  if (err != MGX_OK)
    io->len = before; /* nothing is sent: as if never asked */
  else if (h->answer != MG_ANSWER_HEAD)
    mg__iobuf_free(&c->mgr->pool, io);
  mg__iobuf_settle(&c->mgr->pool, io);
  return err;
}

/* ---- client ---------------------------------------------------------------------- */

/* On a client `answer` says how far the request is that is being sent: in its
 * head, or in a body that the head announced. */

/* A request has begun: its method says how the response is framed. */
static int request_begun(struct mg_http *h, struct mg_str method) {
  uint64_t bit;
  if (h->under_way >= MG_HTTP_MAX_PIPELINED) return MGX_ELIMIT;
  bit = (uint64_t) 1 << h->under_way++;
  if (method.len == 4 && memcmp(method.buf, "HEAD", 4) == 0) h->heads |= bit;
  if (method.len == 7 && memcmp(method.buf, "CONNECT", 7) == 0) h->connects |= bit;
  return MGX_OK;
}

/* What does not parse goes out as it is; the peer may still take it for a request. */
static int follow_unknown(struct mg_http *h, const char *data, size_t len, size_t *used) {
  const char *blank = memchr(data, ' ', len < 32 ? len : 32);
  *used = len;
  if (blank == NULL || blank == data) return MGX_OK;
  for (const char *p = data; p < blank; p++)
    if (*p < 'A' || *p > 'Z') return MGX_OK;
  return request_begun(h, (struct mg_str){data, (size_t) (blank - data)});
}

/* *used: its length, or 0 when the head is not whole. */
static int follow_head(struct mg_http *h, const char *data, size_t len, size_t *used) {
  static const struct mgx_limits unlimited;
  struct mg_http_header headers[128];
  struct mg_http_message msg;
  struct mg_http_framing f;
  int n = mg__http_parse(data, len, &unlimited, &msg, headers, 128);
  h->answer = MG_ANSWER_NONE;
  *used = 0;
  if (n == 0 && len <= MG_HAND_WRITTEN_HEAD) {
    h->answer = MG_ANSWER_HEAD;
    return MGX_OK;
  }
  if (n <= 0 || mg__http_framing_request(&msg, &f) < 0) return follow_unknown(h, data, len, used);
  *used = (size_t) n;
  if (f.kind == MG_BODY_CHUNKED) {
    h->answer = MG_ANSWER_CHUNKED;
    mg__chunked_init(&h->answer_chunked);
  } else if (f.kind == MG_BODY_LENGTH && f.length > 0) {
    h->answer = MG_ANSWER_LENGTH;
    h->answer_left = f.length;
  }
  return request_begun(h, msg.method);
}

static size_t follow_body(struct mg_connection *c, struct mg_http *h, const char *data,
                          size_t len) {
  struct mg_str piece;
  size_t used;
  int what;
  if (h->answer == MG_ANSWER_LENGTH) {
    used = len < h->answer_left ? len : (size_t) h->answer_left;
    h->answer_left -= used;
    if (h->answer_left == 0) h->answer = MG_ANSWER_NONE;
    return used;
  }
  what = mg__chunked_feed(&h->answer_chunked, &c->mgr->limits, data, len, &used, &piece);
  if (what < 0 || what == MG_CHUNK_END) h->answer = MG_ANSWER_NONE;
  return what < 0 ? len : used;
}

/* Go through data; *rest: bytes at its end that are a part of a head. */
static int follow(struct mg_connection *c, struct mg_http *h, const char *data, size_t len,
                  size_t *rest) {
  for (*rest = len; *rest > 0;) {
    const char *p = data + (len - *rest);
    size_t used;
    if (h->answer == MG_ANSWER_LENGTH || h->answer == MG_ANSWER_CHUNKED) {
      used = follow_body(c, h, p, *rest);
    } else {
      int err = follow_head(h, p, *rest, &used);
      if (err != MGX_OK || used == 0) return err;
    }
    *rest -= used;
  }
  return MGX_OK;
}

/* All or nothing: the state is worked out on a copy. */
static int requests_sent(struct mg_connection *c, const char *data, size_t len) {
  struct mg_http *h = mg__http(c), next = *h;
  struct mg_iobuf *io = &h->answer_head;
  size_t before = io->len, rest;
  bool joined = before > 0;
  int err;
  if (joined && !mg__iobuf_add(&c->mgr->pool, io, data, len)) return MGX_ENOMEM;
  err = joined ? follow(c, &next, io->buf, io->len, &rest) : follow(c, &next, data, len, &rest);
  if (err == MGX_OK && !joined && rest > 0 &&
      !mg__iobuf_add(&c->mgr->pool, io, data + (len - rest), rest))
    err = MGX_ENOMEM;
  if (err != MGX_OK) {
    io->len = before;
    return err;
  }
  if (joined) mg__iobuf_del(io, io->len - rest);
  mg__iobuf_settle(&c->mgr->pool, io);
  next.answer_head = *io;
  next.has_sent = true;
  *h = next;
  return MGX_OK;
}

/* ---- both -------------------------------------------------------------------------- */

int mg__http_on_send(struct mg_connection *c, const char *data, size_t len) {
  struct mg_http *h = mg__http(c);
  if (len == 0) return MGX_OK;
  if (c->is_client) return requests_sent(c, data, len);
  if (h->answer == MG_ANSWER_AWAITED || h->answer == MG_ANSWER_HEAD)
    return sent_head(c, h, data, len);
  return sent_body(c, h, data, len);
}

int mgx_http_request(struct mg_mgr *mgr, uint64_t conn, const char *data, size_t len,
                     bool no_body) {
  struct mg_connection *c;
  int err;
  mg__lock(mgr);
  c = mg__conn_find(mgr, conn);
  if (c == NULL || c->is_closing)
    err = MGX_ECLOSED;
  else if (c->proto != &mg__proto_http || !c->is_client)
    err = MGX_EKIND;
  else if ((err = mg__conn_queue_reserve(c, len)) == MGX_OK &&
           (err = requests_sent(c, data, len)) == MGX_OK) {
    struct mg_http *h = mg__http(c);
    if (no_body && h->under_way > 0) h->heads |= (uint64_t) 1 << (h->under_way - 1);
    err = mg__conn_queue(c, data, len);
  }
  mg__unlock(mgr);
  return err;
}
