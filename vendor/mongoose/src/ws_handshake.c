/* ws_handshake.c: how a connection becomes a WebSocket, RFC 6455 section 4.
 *
 * A server answers the request whose event is running; a client sends its
 * request as soon as it is connected and reads the answer here, without the
 * HTTP protocol. Left to the binding: the nonce and its hash, which it has
 * better at hand, and the wording of the client's request. */
#include "http.h"
#include "ws.h"

struct mg_ws_handshake { /* what a client has to remember of its request */
  size_t looked_at;      /* bytes of recv that were searched for the end of a line */
  bool offers_deflate;
  char accept[MG_WS_ACCEPT];
  size_t protocols_len;
  char protocols[]; /* offered, comma-separated */
};

/* ---- header fields ----------------------------------------------------------------- */

/* The only header of that name: how many there are, *value is the last. */
static size_t ws_field(const struct mg_http_message *msg, const char *name,
                         struct mg_str *value) {
  size_t count = 0;
  for (size_t i = 0; i < msg->num_headers; i++) {
    if (!mg__streq_nocase(msg->headers[i].name, name)) continue;
    *value = msg->headers[i].value;
    count++;
  }
  return count;
}

static bool ws_is(struct mg_str s, const char *text) {
  return s.len == strlen(text) && memcmp(s.buf, text, s.len) == 0;
}

static bool ws_is_base64(char ch) {
  return (ch >= 'A' && ch <= 'Z') || (ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') ||
         ch == '+' || ch == '/';
}

/* 16 bytes in base64: 22 characters and two of padding. */
static bool ws_key_ok(struct mg_str key) {
  if (key.len != 24 || key.buf[22] != '=' || key.buf[23] != '=') return false;
  for (size_t i = 0; i < 22; i++)
    if (!ws_is_base64(key.buf[i])) return false;
  return true;
}

/* ---- server -------------------------------------------------------------------------- */

/* The status to refuse a request with, or 0; section 4.2.1. */
static int request_refusal(const struct mg_http_message *msg) {
  struct mg_str value = {NULL, 0};
  if (!ws_is(msg->method, "GET") || !ws_is(msg->proto, "HTTP/1.1")) return 400;
  if (!mg__http_has_token(msg, "upgrade", "websocket")) return 426;
  if (!mg__http_has_token(msg, "connection", "upgrade")) return 400;
  if (ws_field(msg, "sec-websocket-version", &value) != 1 || !ws_is(value, "13")) return 426;
  return ws_field(msg, "sec-websocket-key", &value) == 1 && ws_key_ok(value) ? 0 : 400;
}

static int refuse_request(struct mg_connection *c, int status) {
  static const char required[] =
      "Upgrade: websocket\r\nConnection: Upgrade, close\r\nSec-WebSocket-Version: 13\r\n"
      "Content-Type: text/plain\r\nContent-Length: 31\r\n";
  static const char bad[] =
      "Connection: close\r\nContent-Type: text/plain\r\nContent-Length: 31\r\n";
  static const char forbidden[] =
      "Connection: close\r\nContent-Type: text/plain\r\nContent-Length: 23\r\n";
  if (status == 426)
    return mg__http_answer(c, status, required, sizeof(required) - 1,
                           "WebSocket version 13 is needed\n", 31);
  if (status == 403)
    return mg__http_answer(c, status, forbidden, sizeof(forbidden) - 1,
                           "Not from this web page\n", 23);
  return mg__http_answer(c, status, bad, sizeof(bad) - 1, "Malformed WebSocket handshake.\n", 31);
}

static int queue_101(struct mg_connection *c, const char *accept, const char *headers,
                     size_t len) {
  static const char head[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                             "Connection: Upgrade\r\nSec-WebSocket-Accept: ";
  int err = len > SIZE_MAX / 2 ? MGX_ENOMEM
                               : mg__conn_queue_reserve(c, sizeof(head) + MG_WS_ACCEPT + len + 4);
  if (err != MGX_OK) return err;
  mg__conn_queue(c, head, sizeof(head) - 1); /* room was made: none of these fails */
  mg__conn_queue(c, accept, MG_WS_ACCEPT);
  mg__conn_queue(c, "\r\n", 2);
  mg__conn_queue(c, headers, len);
  mg__conn_queue(c, "\r\n", 2);
  return MGX_OK;
}

static int ws_upgrade_locked(struct mg_connection *c, const char *accept, const char *headers,
                          size_t len, bool deflate, bool forbidden) {
  struct mg_http_message *msg = mg__http_running(c);
  struct mg_ws *w;
  int status, err;
  if (c->is_closing || c->is_draining) return MGX_ECLOSED;
  if (msg == NULL || c->is_client || !mg__may_emit(c->mgr)) return MGX_ESTATE;
  if (mg__http(c)->answer != MG_ANSWER_AWAITED) return MGX_EANSWERED;
  status = request_refusal(msg);
  /* A body that is still to come would be taken for frames. */
  if (mg__http(c)->in_headers && mg__http(c)->framing.kind != MG_BODY_NONE) status = 400;
  if (status == 0 && forbidden) status = 403;
  if (status != 0) {
    err = refuse_request(c, status);
    return err == MGX_OK ? 0 : err;
  }
  w = mg__ws_new();
  if (w == NULL) return MGX_ENOMEM;
  err = queue_101(c, accept, headers, len);
  if (err != MGX_OK) {
    mg__free(w);
    return err;
  }
  mg__conn_detach(c);
  mg__ws_attach(c, w);
  w->may_deflate = deflate;
  mg__conn_todo(c); /* frames may stand right behind the request */
  mg__ws_open(c, msg);
  return 1;
}

int mgx_ws_upgrade(struct mg_mgr *mgr, uint64_t conn, const char *accept, const char *headers,
                   size_t len, bool deflate, bool forbidden) {
  struct mg_connection *c;
  int result;
  mg__lock(mgr);
  c = mg__conn_find(mgr, conn);
  result = c == NULL ? MGX_ECLOSED : ws_upgrade_locked(c, accept, headers, len, deflate, forbidden);
  mg__unlock(mgr);
  return result;
}

/* ---- client ---------------------------------------------------------------------------- */

bool mg__ws_begin(struct mg_connection *c, const struct mgx_ws_request *request) {
  struct mg_ws_handshake *h = mg__calloc(sizeof(*h) + request->protocols.len);
  struct mg_ws *w = h == NULL ? NULL : mg__ws_new();
  if (w == NULL) {
    mg__free(h);
    return false;
  }
  assert(request->accept.len == MG_WS_ACCEPT);
  memcpy(h->accept, request->accept.buf, MG_WS_ACCEPT);
  h->protocols_len = request->protocols.len;
  if (h->protocols_len > 0) memcpy(h->protocols, request->protocols.buf, h->protocols_len);
  h->offers_deflate = request->deflate;
  w->handshake = h;
  mg__ws_attach(c, w);
  return mg__conn_queue(c, request->head.buf, request->head.len) == MGX_OK;
}

void mg__ws_handshake_failed(struct mg_connection *c, const char *why) {
  mg__conn_error(c, "WebSocket handshake failed: %s", why);
}

static bool was_offered(const struct mg_ws_handshake *h, struct mg_str name) {
  const char *p = h->protocols, *end = p + h->protocols_len;
  while (p < end) {
    const char *comma = memchr(p, ',', (size_t) (end - p));
    size_t n = (size_t) ((comma == NULL ? end : comma) - p);
    if (n == name.len && memcmp(p, name.buf, n) == 0) return true;
    p += n + 1;
  }
  return false;
}

/* What is wrong with a 101, or NULL; section 4.1, the last list. */
static const char *response_wrong(const struct mg_ws_handshake *h,
                                  const struct mg_http_message *msg, bool *deflate) {
  struct mg_str value = {NULL, 0};
  size_t count;
  if (!mg__http_has_token(msg, "upgrade", "websocket")) return "no Upgrade: websocket";
  if (!mg__http_has_token(msg, "connection", "upgrade")) return "no Connection: Upgrade";
  if (ws_field(msg, "sec-websocket-accept", &value) != 1 || value.len != MG_WS_ACCEPT ||
      memcmp(value.buf, h->accept, MG_WS_ACCEPT) != 0)
    return "Sec-WebSocket-Accept does not fit the key";
  count = ws_field(msg, "sec-websocket-protocol", &value);
  if (count > 1 || (count == 1 && !was_offered(h, value))) return "a subprotocol nobody offered";
  *deflate = ws_field(msg, "sec-websocket-extensions", &value) > 0;
  return *deflate && !h->offers_deflate ? "an extension nobody offered" : NULL;
}

/* The next head in recv, interim ones (1xx) skipped: its length, 0: more is
 * needed, -1: it has failed. */
static int next_response(struct mg_connection *c, struct mg_ws_handshake *h,
                         struct mg_http_message **msg) {
  size_t from = h->looked_at;
  int n;
  h->looked_at = c->recv.len;
  if (c->recv.len == from || memchr(c->recv.buf + from, '\n', c->recv.len - from) == NULL) {
    uint64_t limit = c->mgr->limits.header_bytes;
    if (limit == 0 || c->recv.len <= limit) return 0;
  }
  while ((n = mg__http_parse_head(c, c->recv.len, msg)) > 0) {
    struct mg_str version = (*msg)->method, status = (*msg)->uri;
    if (version.len < 5 || memcmp(version.buf, "HTTP/", 5) != 0) break;
    if (status.buf[0] != '1' || ws_is(status, "101")) return n;
    mg__iobuf_del(&c->recv, (size_t) n);
    h->looked_at = c->recv.len;
  }
  if (n == 0) return 0;
  mg__ws_handshake_failed(c, "the answer is not HTTP");
  return -1;
}

bool mg__ws_handshake_data(struct mg_connection *c) {
  struct mg_ws *w = mg__ws(c);
  struct mg_http_message *msg;
  const char *why;
  int n;
  if (c->is_paused || c->is_closing || c->mgr->leave) return false;
  n = next_response(c, w->handshake, &msg);
  if (n <= 0) return false;
  if (!ws_is(msg->uri, "101")) {
    mg__conn_error(c, "WebSocket handshake failed: the answer is %.*s %.*s", (int) msg->uri.len,
                   msg->uri.buf, (int) (msg->proto.len < 200 ? msg->proto.len : 200),
                   msg->proto.buf);
    return false;
  }
  why = response_wrong(w->handshake, msg, &w->may_deflate);
  if (why != NULL) {
    mg__ws_handshake_failed(c, why);
    return false;
  }
  mg__ws_open(c, msg);
  mg__iobuf_del(&c->recv, (size_t) n);
  return !c->is_closing;
}
