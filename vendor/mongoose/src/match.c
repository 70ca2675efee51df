/* match.c: glob patterns with captures.
 *
 * A character is one of UTF-8 or a byte that belongs to none; wildcards take
 * whole characters. The rule for captures is that an earlier wildcard takes as
 * little as it can.
 *
 * The idea: which ends of the text can the rest of the pattern match? This is
 * a set of offsets, kept as bits and worked out from the last token of the
 * pattern to the first, one pass over the text each. Then walking forward needs no
 * guess: a wildcard takes up to the first offset in the set behind it. So no
 * pattern costs more than length * pattern, and nothing is recursive. */
#include "internal.h"

enum { MATCH_BITS = 64 };

struct match {
  struct mg_str s, p;
  struct mg_str *caps;
  size_t cap;
  int count;       /* wildcards met so far */
  size_t i, j;     /* how far in s and p */
  uint64_t *sets;  /* one per run wildcard from p[j] on, the last one first */
  size_t words;    /* uint64_t per set: a bit for each offset i..s.len, i at 0 */
};

static size_t match_char(struct mg_str s, size_t at) {
  size_t n = mg__utf8(s.buf + at, s.len - at);
  return n > 0 ? n : 1;
}

/* Does the one-character token of n bytes at p[j] fit the character at s[i]?
 * Its length, or 0. */
static size_t match_one(const struct match *m, size_t i, size_t j, size_t n) {
  size_t len;
  if (i == m->s.len) return 0;
  len = match_char(m->s, i);
  if (m->p.buf[j] == '?') return len;
  return len == n && memcmp(m->s.buf + i, m->p.buf + j, n) == 0 ? len : 0;
}

static bool match_is_run(char ch) {
  return ch == '*' || ch == '#';
}

static bool match_get(const uint64_t *set, size_t bit) {
  return set[bit / MATCH_BITS] >> bit % MATCH_BITS & 1;
}

static void match_put(uint64_t *set, size_t bit, bool on) {
  uint64_t mask = (uint64_t) 1 << bit % MATCH_BITS;
  set[bit / MATCH_BITS] = on ? set[bit / MATCH_BITS] | mask : set[bit / MATCH_BITS] & ~mask;
}

static void match_capture(struct match *m, size_t end) {
  if ((size_t) m->count < m->cap) {
    m->caps[m->count].buf = m->s.buf + m->i;
    m->caps[m->count].len = end - m->i;
  }
  m->count++;
}

/* Walk over the tokens that leave no choice. False: one of them does not fit. */
static bool match_fixed(struct match *m) {
  while (m->j < m->p.len && !match_is_run(m->p.buf[m->j])) {
    size_t n = match_char(m->p, m->j), len = match_one(m, m->i, m->j, n);
    if (len == 0) return false;
    if (m->p.buf[m->j] == '?') match_capture(m, m->i + len);
    m->i += len;
    m->j += n;
  }
  return true;
}

/* Length of the token that ends in front of p[end]. No two characters of
 * UTF-8 overlap, so looking backwards finds the same ones. */
static size_t match_token_before(struct mg_str p, size_t end) {
  size_t n;
  for (n = 2; n <= 4 && n <= end; n++) {
    if (mg__utf8(p.buf + end - n, n) == n) return n;
  }
  return 1;
}

/* From the offsets where the pattern behind a one-character token can go on to
 * those where it can begin. Ascending, so that what is read is still old. */
static void match_back_one(const struct match *m, uint64_t *set, size_t j, size_t n) {
  size_t i = m->i, k, len;
  while (i < m->s.len) {
    size_t step = match_char(m->s, i);
    len = match_one(m, i, j, n);
    match_put(set, i - m->i, len > 0 && match_get(set, i + len - m->i));
    for (k = 1; k < step; k++) match_put(set, i + k - m->i, false);
    i += step;
  }
  match_put(set, i - m->i, false);
}

/* The same for a run. Going by bytes here also marks offsets inside of
 * characters, but never the first such offset of a walk: where a run may reach
 * the middle of a character it may reach its start. */
static void match_back_run(const struct match *m, uint64_t *set, char wildcard) {
  size_t i = m->s.len;
  bool on = match_get(set, i - m->i);
  while (i-- > m->i) {
    if (wildcard == '*' && m->s.buf[i] == '/') on = false;
    on = on || match_get(set, i - m->i);
    match_put(set, i - m->i, on);
  }
}

/* Fill the sets; false: no match. `runs` counts the sets. */
static bool match_backwards(struct match *m, size_t *runs) {
  size_t end = m->p.len;
  uint64_t *set = m->sets;
  match_put(set, m->s.len - m->i, true);
  *runs = 0;
  while (end > m->j) {
    size_t n = match_token_before(m->p, end);
    end -= n;
    if (match_is_run(m->p.buf[end])) {
      memcpy(set + m->words, set, m->words * sizeof(*set));
      set += m->words;
      ++*runs;
      match_back_run(m, set, m->p.buf[end]);
    } else {
      match_back_one(m, set, end, n);
    }
  }
  return match_get(set, 0);
}

static void match_forwards(struct match *m, size_t runs) {
  size_t base = m->i;
  const uint64_t *set = m->sets + runs * m->words;
  while (m->j < m->p.len) {
    size_t end = m->i;
    set -= m->words;
    while (!match_get(set, end - base)) end++;
    match_capture(m, end);
    m->i = end;
    m->j++;
    match_fixed(m);
  }
}

/* How many sets does the rest of the pattern need? */
static size_t match_count_runs(struct mg_str p, size_t j) {
  size_t n = 0;
  for (; j < p.len; j++) n += match_is_run(p.buf[j]);
  return n;
}

int mg_match(const char *s, size_t len, const char *pattern, size_t pattern_len,
             struct mg_str *caps, size_t cap) {
  struct match m = {{s, len}, {pattern, pattern_len}, caps, cap, 0, 0, 0, NULL, 0};
  uint64_t small[64]; /* enough for most patterns on most paths */
  size_t runs, size;
  bool found;
  if (pattern_len > INT_MAX) return MGX_MATCH_ENOMEM; /* or the count would not fit */
  if (!match_fixed(&m)) return MGX_MATCH_NO;
  if (m.j == pattern_len) return m.i == len ? m.count : MGX_MATCH_NO;
  runs = match_count_runs(m.p, m.j);
  m.words = (len - m.i) / MATCH_BITS + 1;
  if (m.words > SIZE_MAX / sizeof(small[0]) / (runs + 1)) return MGX_MATCH_ENOMEM;
  size = m.words * (runs + 1) * sizeof(small[0]);
  m.sets = size <= sizeof(small) ? small : mg__malloc(size);
  if (m.sets == NULL) return MGX_MATCH_ENOMEM;
  memset(m.sets, 0, m.words * sizeof(small[0]));
  found = match_backwards(&m, &runs);
  if (found) match_forwards(&m, runs);
  if (m.sets != small) mg__free(m.sets);
  return found ? m.count : MGX_MATCH_NO;
}
