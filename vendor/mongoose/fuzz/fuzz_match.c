/* fuzz_match.c: any pattern against any text.
 *
 * Beyond what the sanitizers see: the verdict is that of a plain table filled
 * forwards; there is a capture per wildcard, and put into the pattern they
 * give the text; and no capture could have been shorter. */
#include "../src/internal.h"

#include "../src/iobuf.c"
#include "../src/match.c"
#include "../src/utf8.c"

#define MUST(cond) ((cond) ? (void) 0 : abort())
enum { MOST = 160 };

static size_t step(const char *s, size_t len) {
  size_t n = mg__utf8(s, len);
  return n > 0 ? n : 1;
}

/* reach[i]: the tokens so far can match s[0..i). */
static bool plain_match(const char *s, size_t len, const char *p, size_t plen) {
  bool reach[MOST + 1] = {true}, next[MOST + 1];
  for (size_t j = 0, n; j < plen; j += n) {
    n = step(p + j, plen - j);
    memset(next, 0, sizeof(next));
    for (size_t i = 0, k; i <= len; i += k) {
      k = i < len ? step(s + i, len - i) : 1;
      if (p[j] == '*' || p[j] == '#') {
        next[i] |= reach[i];
        if (i < len && next[i] && (p[j] == '#' || s[i] != '/')) next[i + k] = true;
      } else if (i < len && reach[i]) {
        if (p[j] == '?' || (k == n && memcmp(s + i, p + j, n) == 0)) next[i + k] = true;
      }
    }
    memcpy(reach, next, sizeof(reach));
  }
  return reach[len];
}

static void check_captures(const char *s, size_t len, const char *p, size_t plen,
                           const struct mg_str *caps, int count) {
  size_t i = 0, j, n;
  int c = 0;
  for (j = 0; j < plen; j += n) {
    n = step(p + j, plen - j);
    if (p[j] != '?' && p[j] != '*' && p[j] != '#') {
      MUST(len - i >= n && memcmp(s + i, p + j, n) == 0);
      i += n;
      continue;
    }
    MUST(c < count && caps[c].buf == s + i && caps[c].len <= len - i);
    if (p[j] == '?') MUST(caps[c].len == step(s + i, len - i));
    if (p[j] == '*') MUST(memchr(s + i, '/', caps[c].len) == NULL);
    for (size_t k = 0; p[j] != '?' && k < caps[c].len; k += step(s + i + k, len - i - k)) {
      MUST(!plain_match(s + i + k, len - i - k, p + j + 1, plen - j - 1));
    }
    i += caps[c++].len;
  }
  MUST(i == len && c == count);
}

/* The first byte says where the pattern ends. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct mg_str caps[MOST];
  size_t plen, len;
  char *p, *s;
  int count;
  if (size == 0 || size > MOST) return 0;
  plen = data[0] < size - 1 ? data[0] : size - 1;
  len = size - 1 - plen;
  p = malloc(plen); /* both end where their memory ends */
  s = malloc(len);
  memcpy(p, data + 1, plen);
  memcpy(s, data + 1 + plen, len);
  count = mg_match(s, len, p, plen, caps, MOST);
  MUST((count >= 0) == plain_match(s, len, p, plen));
  if (count >= 0) check_captures(s, len, p, plen, caps, count);
  free(p);
  free(s);
  return 0;
}
