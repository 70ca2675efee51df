/* http_heads.h: heads of HTTP messages, how they are judged, and the laws that hold for
 * all of them: a prefix of a legal head asks for more; what follows a head does not change
 * it; and a verdict against a prefix stands for all that begins with it. Include
 * http_parse.c before it. */
#ifndef MG_TESTS_HTTP_HEADS_H
#define MG_TESTS_HTTP_HEADS_H

enum { CAP = 200, WAIT = 1000 };

static struct mgx_limits limits = {.header_bytes = 65536, .header_count = 100, .request_line = 8192};
static struct mg_http_header slots[CAP];

static int parse(const char *wire, size_t len, struct mg_http_message *msg) {
  return mg__http_parse(guarded(wire, len), len, &limits, msg, slots, CAP);
}

static inline bool is(struct mg_str s, const char *text) {
  return s.len == strlen(text) && memcmp(s.buf, text, s.len) == 0;
}

static unsigned random_state = 12345;
static inline unsigned random_below(unsigned n) {
  random_state = random_state * 1664525u + 1013904223u;
  return (random_state >> 8) % n;
}

static void check_laws(const char *wire, size_t len) {
  struct mg_http_message msg;
  char longer[70000];
  int whole = parse(wire, len, &msg), verdict = 0;
  size_t head = whole > 0 ? (size_t) whole : len;
  for (size_t n = 0; n < head; n++) {
    int r = parse(wire, n, &msg);
    CHECK(whole > 0 ? r == 0 : r <= 0);
    CHECK(verdict == 0 || r == verdict);
    verdict = r;
  }
  CHECK(verdict == 0 || whole == verdict);
  if (whole == 0) return;
  memcpy(longer, wire, len);
  memcpy(longer + len, "\n\0\r\n \xff", 6);
  CHECK(parse(longer, len + 6, &msg) == whole);
}

struct row {
  const char *wire;
  size_t len;
  int want; /* how the body is framed, WAIT, or -status */
};
#define ROW(want, wire) {wire, sizeof(wire) - 1, want}
#define GET "GET / HTTP/1.1\r\nHost: a\r\n"
#define POST "POST / HTTP/1.1\r\nHost: a\r\n"
#define TARGET(t) "GET " t " HTTP/1.1\r\nHost: a\r\n\r\n"
#define HOST(h) "GET / HTTP/1.1\r\nHost:" h "\r\n\r\n"
#define TE(v) POST "Transfer-Encoding:" v "\r\n\r\n"
#define CL(v) POST "Content-Length:" v "\r\n\r\n"

static int judge(const char *wire, size_t len) {
  struct mg_http_message msg;
  struct mg_http_framing framing;
  int r = parse(wire, len, &msg);
  if (r <= 0) return r == 0 ? WAIT : r;
  r = mg__http_framing_request(&msg, &framing);
  return r == 0 ? framing.kind : r;
}

#endif
