/* fuzz_http_parse.c: any bytes as the head of a request and of a response.
 *
 * Beyond what the sanitizers see: the views lie inside the input and obey the
 * grammar; no prefix of a head that is accepted is refused, and a refusal
 * stands for whatever follows; an accepted head written again is read the
 * same; and framing agrees with a plain count of the header lines. */
#include <strings.h>

#include "../src/http_parse.c"

#define MUST(cond) ((cond) ? (void) 0 : abort())
enum { CAP = 64 };

struct verdict {
  int head, request, response;
  struct mg_http_framing as_request, as_response;
};

static const struct mgx_limits limits_of[] = {
    {.header_bytes = 65536, .header_count = 100, .request_line = 8192},
    {.header_bytes = 200, .header_count = 5, .request_line = 40},
    {0},
};

/* Parse a copy that ends where its memory ends. The caller frees *copy. */
static int parse_copy(const char *data, size_t len, const struct mgx_limits *limits,
                      struct mg_http_message *msg, struct mg_http_header *headers, char **copy) {
  *copy = malloc(len);
  if (len > 0) memcpy(*copy, data, len);
  return mg__http_parse(*copy, len, limits, msg, headers, CAP);
}

static void check_view(struct mg_str s, struct mg_str head, unsigned cls) {
  MUST(s.buf >= head.buf && s.buf + s.len <= head.buf + head.len);
  for (size_t i = 0; i < s.len; i++) MUST(mg__http_is(s.buf[i], cls));
}

static void check_views(const struct mg_http_message *msg) {
  bool response = memchr(msg->method.buf, '/', msg->method.len) != NULL;
  check_view(msg->method, msg->head, response ? MG_HTTP_PATH : MG_HTTP_TOKEN);
  check_view(msg->uri, msg->head, MG_HTTP_PATH);
  check_view(msg->query, msg->head, MG_HTTP_QUERY);
  check_view(msg->proto, msg->head, MG_HTTP_TEXT);
  MUST(msg->num_headers <= CAP && msg->method.len > 0 && msg->uri.len > 0);
  MUST(msg->body.len == 0 && msg->body.buf == msg->head.buf + msg->head.len);
  for (size_t i = 0; i < msg->num_headers; i++) {
    struct mg_str name = msg->headers[i].name, value = msg->headers[i].value;
    check_view(name, msg->head, MG_HTTP_TOKEN);
    check_view(value, msg->head, MG_HTTP_TEXT);
    MUST(name.len > 0);
    if (value.len == 0) continue;
    MUST(value.buf[0] > ' ' || value.buf[0] < 0);
    MUST(value.buf[value.len - 1] > ' ' || value.buf[value.len - 1] < 0);
  }
}

static size_t count(const struct mg_http_message *msg, const char *name) {
  size_t n = 0;
  for (size_t i = 0; i < msg->num_headers; i++) {
    struct mg_str s = msg->headers[i].name;
    if (s.len == strlen(name) && strncasecmp(s.buf, name, s.len) == 0) n++;
  }
  return n;
}

static void check_framing(const struct mg_http_message *msg, const struct mg_http_framing *f) {
  size_t lengths = count(msg, "content-length"), codings = count(msg, "transfer-encoding");
  MUST(f->length <= INT64_MAX && (f->length == 0 || f->kind == MG_BODY_LENGTH));
  if (f->kind == MG_BODY_LENGTH) MUST(lengths == 1 && codings == 0);
  if (f->kind == MG_BODY_CHUNKED) MUST(lengths == 0 && codings == 1 && !f->http10);
  if (f->kind == MG_BODY_TO_END) MUST(lengths == 0 && codings == 0 && !f->keep_alive);
  if (mg__http_has_token(msg, "connection", "close")) MUST(!f->keep_alive);
  MUST(f->keep_alive_token == mg__http_has_token(msg, "connection", "keep-alive"));
}

static void judge(const struct mg_http_message *msg, struct verdict *v) {
  memset(v, 0, sizeof(*v));
  v->request = mg__http_framing_request(msg, &v->as_request);
  v->response = mg__http_framing_response(msg, false, false, &v->as_response);
  MUST(v->request < 0 || v->response < 0);
  if (v->request == 0) {
    check_framing(msg, &v->as_request);
    MUST(v->as_request.kind != MG_BODY_TO_END);
    MUST(v->as_request.kind != MG_BODY_NONE ||
         count(msg, "content-length") + count(msg, "transfer-encoding") == 0);
    MUST(count(msg, "host") == 1 || (v->as_request.http10 && count(msg, "host") == 0));
  }
  if (v->response == 0) check_framing(msg, &v->as_response);
}

static size_t put(char *out, size_t at, struct mg_str s, const char *then) {
  memcpy(out + at, s.buf, s.len);
  memcpy(out + at + s.len, then, strlen(then));
  return at + s.len + strlen(then);
}

/* Without the blanks around values; otherwise the same head. */
static size_t rewrite(const struct mg_http_message *msg, char *out) {
  bool query = msg->query.buf != msg->uri.buf + msg->uri.len;
  size_t len = put(out, 0, msg->method, " ");
  len = put(out, len, msg->uri, query ? "?" : " ");
  if (query) len = put(out, len, msg->query, " ");
  len = put(out, len, msg->proto, "\r\n");
  for (size_t i = 0; i < msg->num_headers; i++) {
    len = put(out, len, msg->headers[i].name, ":");
    len = put(out, len, msg->headers[i].value, "\r\n");
  }
  memcpy(out + len, "\r\n", 2);
  return len + 2;
}

static void check_rewritten(const struct mg_http_message *msg, const struct verdict *v) {
  static const struct mgx_limits none;
  struct mg_http_message again;
  struct mg_http_header headers[CAP];
  struct verdict w;
  char *out = malloc(msg->head.len + 1), *copy; /* + 1: a reason's missing blank */
  size_t len = rewrite(msg, out);
  MUST(parse_copy(out, len, &none, &again, headers, &copy) == (int) len);
  MUST(again.num_headers == msg->num_headers);
  judge(&again, &w);
  MUST(v->request == w.request && v->response == w.response);
  MUST(memcmp(&v->as_request, &w.as_request, sizeof(w.as_request)) == 0);
  MUST(memcmp(&v->as_response, &w.as_response, sizeof(w.as_response)) == 0);
  free(copy);
  free(out);
}

static void check_prefixes(const char *data, size_t len, const struct mgx_limits *limits, int whole) {
  struct mg_http_message msg;
  struct mg_http_header headers[CAP];
  size_t most = whole > 0 ? (size_t) whole : len, step = most / 100 + 1;
  int known = 0;
  for (size_t n = 0; n < most; n += step) {
    char *copy;
    int r = parse_copy(data, n, limits, &msg, headers, &copy);
    free(copy);
    MUST(r == 0 || (r == whole && r < 0));
    MUST(known == 0 || r == known);
    known = r;
  }
}

static void check(const char *data, size_t len, const struct mgx_limits *limits) {
  struct mg_http_message msg;
  struct mg_http_header headers[CAP];
  struct verdict v;
  char *copy;
  int r = parse_copy(data, len, limits, &msg, headers, &copy);
  MUST(r <= (int) len);
  MUST(r >= 0 || r == -400 || r == -414 || r == -431 || r == -505);
  check_prefixes(data, len, limits, r);
  if (r > 0) {
    MUST(limits->header_bytes == 0 || msg.head.len <= limits->header_bytes);
    MUST(limits->header_count == 0 || msg.num_headers <= limits->header_count);
    check_views(&msg);
    judge(&msg, &v);
    check_rewritten(&msg, &v);
  }
  free(copy);
}

/* The first byte chooses the limits and what stands in front of the rest, to
 * spare the fuzzer the way to a legal start line. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const starts[] = {
      "",
      "POST / HTTP/1.1\r\nHost: a\r\n",
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n",
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n",
      "POST / HTTP/1.0\r\n",
      "HTTP/1.1 200 OK\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
  };
  const char *start;
  char *wire;
  size_t n;
  if (size == 0) return 0;
  start = starts[data[0] & 7];
  n = strlen(start);
  wire = malloc(n + size - 1);
  if (n > 0) memcpy(wire, start, n);
  if (size > 1) memcpy(wire + n, data + 1, size - 1);
  check(wire, n + size - 1, &limits_of[(data[0] >> 3) % 3]);
  free(wire);
  return 0;
}
