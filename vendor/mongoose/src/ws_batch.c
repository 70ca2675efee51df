/* ws_batch.c: short WebSocket messages of a turn, delivered together.
 *
 * To enter a language costs as much as to handle a short message, so those that are
 * whole in the receive buffer are copied into one text, unmasked on the way, and handed
 * over in one call. The frames stay in recv until that has been: what a handler
 * puts off is parsed again. A frame that needs more than a copy (a control frame, a
 * fragment, a long or compressed one, one that breaks a rule) is left to ws.c, which
 * sees it when the messages before it are delivered. */
#include "ws.h"

enum {
  BATCH_MESSAGES = 256,
  BATCH_BYTES = 32 * 1024,
  BATCH_SHORT = 1024, /* longer ones are delivered where they were received */
};

struct mg_ws_batch {
  size_t count;
  uint32_t bytes; /* of text */
  struct mg_connection *conns[BATCH_MESSAGES]; /* busy once for each run of messages */
  uint64_t ids[BATCH_MESSAGES];
  uint32_t ends[BATCH_MESSAGES]; /* offsets in text */
  uint32_t wire[BATCH_MESSAGES]; /* bytes of the frame */
  uint8_t firsts[BATCH_MESSAGES];
  char text[BATCH_BYTES];
};

static bool ws_batch_full(const struct mg_ws_batch *b) {
  return b->count == BATCH_MESSAGES || b->bytes > BATCH_BYTES - BATCH_SHORT;
}

bool mg__ws_is_posted(const struct mg_mgr *mgr) {
  return mgr->ws_batch != NULL && mgr->ws_batch->count > 0;
}

bool mg__ws_posted_full(const struct mg_mgr *mgr) {
  return mgr->ws_batch != NULL && ws_batch_full(mgr->ws_batch);
}

/* ---- collecting -------------------------------------------------------------------- */

/* Take the message at recv[at..): bytes of its frame, or 0 when it is none for here. */
static size_t ws_batch_take(struct mg_ws_batch *b, struct mg_connection *c, size_t at) {
  const struct mg_ws *w = mg__ws(c);
  uint64_t limit = c->mgr->limits.ws_message;
  struct mg_ws_utf8 u = {0, 0, 0};
  struct mg_ws_frame f;
  const char *why, *from = c->recv.buf + at;
  char *to = b->text + b->bytes;
  int header = mg__ws_parse(from, c->recv.len - at, &f, &why);
  size_t len;
  bool is_text;
  if (header <= 0 || f.len > BATCH_SHORT || (limit != 0 && f.len > limit)) return 0;
  is_text = f.first == (MG_WS_FIN | WEBSOCKET_OP_TEXT);
  if (!is_text && f.first != (MG_WS_FIN | WEBSOCKET_OP_BINARY)) return 0;
  len = (size_t) f.len;
  if (c->recv.len - at - (size_t) header < len || mg__ws_frame_wrong(c, w, &f) != NULL) return 0;
  if (f.is_masked)
    mg__ws_mask(to, from + header, len, f.key, 0);
  else if (len > 0)
    memcpy(to, from + header, len);
  if (is_text && (!mg__ws_utf8(&u, to, len) || u.need > 0)) return 0;
  b->bytes += (uint32_t) len;
  b->conns[b->count] = c;
  b->ids[b->count] = c->id;
  b->ends[b->count] = b->bytes;
  b->firsts[b->count] = f.first;
  b->wire[b->count++] = (uint32_t) header + (uint32_t) len;
  return (size_t) header + len;
}

bool mg__ws_post(struct mg_connection *c) {
  struct mg_mgr *mgr = c->mgr;
  struct mg_ws_batch *b = mgr->ws_batch;
  size_t before, at = 0, n;
  if (mgr->cb->on_ws_batch == NULL) return false;
  if (b == NULL) {
    b = mgr->ws_batch = mg__malloc(sizeof(*b));
    if (b == NULL) return false;
    b->count = b->bytes = 0;
  }
  before = b->count;
  while (at < c->recv.len && !ws_batch_full(b) && (n = ws_batch_take(b, c, at)) > 0) at += n;
  if (b->count == before) return false;
  c->is_posted = true;
  c->busy++;
  return true;
}

/* ---- delivering ---------------------------------------------------------------------- */

static size_t ws_batch_emit(struct mg_mgr *mgr, struct mg_ws_batch *b, size_t at) {
  uint32_t from = at == 0 ? 0 : b->ends[at - 1];
  size_t n = b->count - at;
  if (n == 1) {
    struct mg_connection *c = b->conns[at];
    if (c->is_paused) return 0;
    if (!c->is_closing)
      mg__emit_ws(c, MG_EV_WS_MSG, b->firsts[at], b->text + from, b->ends[at] - from);
    return 1;
  }
  for (size_t i = at; i < b->count && from > 0; i++) b->ends[i] -= from;
  n = mg__emit_ws_batch(mgr, b->conns + at, b->ids + at, b->firsts + at, b->ends + at,
                        b->text + from, n);
  for (size_t i = at; i < b->count && from > 0; i++) b->ends[i] += from;
  return n;
}

static size_t ws_batch_end_of_run(const struct mg_ws_batch *b, size_t at) {
  const struct mg_connection *c = b->conns[at];
  while (at < b->count && b->conns[at] == c) at++;
  return at;
}

/* Those that were not delivered have no bytes to drop. */
static void ws_batch_deliver(struct mg_mgr *mgr, struct mg_ws_batch *b) {
  size_t at = 0;
  while (at < b->count && !mgr->leave) {
    size_t next;
    at += ws_batch_emit(mgr, b, at);
    if (at >= b->count || mgr->leave) break;
    next = ws_batch_end_of_run(b, at);
    for (; at < next; at++) b->wire[at] = 0; /* it was paused */
  }
  for (; at < b->count; at++) b->wire[at] = 0;
}

void mg__ws_run_posted(struct mg_mgr *mgr) {
  struct mg_connection *conns[BATCH_MESSAGES]; /* copies: going on with one posts again */
  size_t used[BATCH_MESSAGES];
  struct mg_ws_batch *b = mgr->ws_batch;
  while (b->count > 0) {
    size_t runs = 0;
    ws_batch_deliver(mgr, b);
    for (size_t at = 0; at < b->count; runs++) {
      size_t next = ws_batch_end_of_run(b, at);
      conns[runs] = b->conns[at];
      for (used[runs] = 0; at < next; at++) used[runs] += b->wire[at];
    }
    b->count = b->bytes = 0;
    for (size_t i = 0; i < runs; i++) {
      struct mg_connection *c = conns[i];
      mg__iobuf_del(&c->recv, used[i]);
      mg__io_resume(c);
      c->busy--;
    }
  }
}
