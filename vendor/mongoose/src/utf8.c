/* utf8.c: what counts as one character (RFC 3629).
 *
 * Strict: no overlong forms, no surrogates, nothing above U+10FFFF. It is the
 * same rule as Python's decoder, so both languages cut text alike. Left to
 * others: what to do with bytes that are no character. */
#include "internal.h"

/* Total length that a lead byte promises (0: it is none) and the range of the
 * byte behind it, which is where overlong forms and surrogates are told. */
static size_t utf8_lead(unsigned char lead, unsigned char *lo, unsigned char *hi) {
  *lo = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  *hi = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  if (lead >= 0xc2 && lead <= 0xdf) return 2;
  if (lead >= 0xe0 && lead <= 0xef) return 3;
  if (lead >= 0xf0 && lead <= 0xf4) return 4;
  return 0;
}

size_t mg__utf8(const char *s, size_t len) {
  const unsigned char *p = (const unsigned char *) s;
  unsigned char lo, hi;
  size_t i, n;
  if (len == 0) return 0;
  if (p[0] < 0x80) return 1;
  n = utf8_lead(p[0], &lo, &hi);
  if (n == 0 || len < n || p[1] < lo || p[1] > hi) return 0;
  for (i = 2; i < n; i++) {
    if ((p[i] & 0xc0) != 0x80) return 0;
  }
  return n;
}
