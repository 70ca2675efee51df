/* fuzz_url.c: any bytes as a URL, and as text to be encoded and decoded.
 *
 * Beyond what the sanitizers see: the parts stand in the input in their order
 * and leave out nothing but delimiters; encoding can be undone; what decodes
 * was no longer before, and decodes the same in place. */
#include "../src/internal.h"

#include "../src/http_parse.c"
#include "../src/url.c"
#include "../src/utf8.c"

#define MUST(cond) ((cond) ? (void) 0 : abort())

/* How much of the input lies between *at and the part; moves *at behind it. */
static size_t gap(const char **at, struct mg_str part) {
  size_t n;
  MUST(part.buf >= *at);
  n = (size_t) (part.buf - *at);
  *at = part.buf + part.len;
  return n;
}

static bool inside(struct mg_str part, const char *s, size_t len) {
  return part.buf >= s && part.buf + part.len <= s + len;
}

static void check_parse(const char *s, size_t len) {
  const char *at = s;
  struct mgx_url u;
  mgx_url_parse(s, len, &u);
  MUST(u.port >= -1 && u.port <= 65535);
  MUST(u.scheme.len == 0 || gap(&at, u.scheme) == 0);
  if (inside(u.user, s, len) && u.user.len > 0) MUST(gap(&at, u.user) <= 3);
  if (inside(u.pass, s, len) && u.pass.len > 0) MUST(gap(&at, u.pass) <= 4);
  if (inside(u.host, s, len) && u.host.len > 0) MUST(gap(&at, u.host) <= 5);
  if (inside(u.uri, s, len)) {
    MUST(at <= u.uri.buf && u.uri.buf + u.uri.len == s + len);
  } else {
    MUST(u.uri.len == 1 && u.uri.buf[0] == '/');
  }
  MUST(u.has_port || u.port <= 8883);
  for (size_t i = 0; i < u.host.len; i++) {
    MUST(memchr("/?#@", u.host.buf[i], 4) == NULL);
  }
}

static void check_coding(const char *s, size_t len) {
  char *coded = malloc(3 * len + 1), *back = malloc(3 * len + 1);
  size_t n = mg_url_encode(s, len, coded, 3 * len);
  int64_t plain;
  MUST(n >= len && n <= 3 * len && mg_url_encode(s, len, NULL, 0) == n);
  MUST(mg_url_decode(coded, n, back, len, true) == (int64_t) len);
  MUST(len == 0 || memcmp(back, s, len) == 0);
  plain = mg_url_decode(s, len, back, len, true);
  MUST(plain <= (int64_t) len);
  memcpy(coded, s, len);
  MUST(mg_url_decode(coded, len, coded, len, true) == plain);
  if (plain > 0) {
    MUST(memcmp(coded, back, (size_t) plain) == 0);
    MUST(mg_url_decode(s, len, back, (size_t) plain - 1, true) == MGX_EINVAL);
  }
  free(coded);
  free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *s = malloc(size > 0 ? size : 1);
  if (size > 0) memcpy(s, data, size);
  check_parse(s, size);
  check_coding(s, size);
  free(s);
  return 0;
}
