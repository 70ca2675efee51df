/* Glob patterns and their captures. */
#include "../src/internal.h"

#include "../src/iobuf.c"
#include "../src/utf8.c"
#include "../src/match.c"
#include "check.h"

enum { CAPS = 8 };

/* Both texts end at an unreadable page: the pattern in one run, the text in another. */
static int match(const char *s, const char *pattern, struct mg_str *caps) {
  size_t len = strlen(s), plen = strlen(pattern);
  struct mg_str again[CAPS];
  int first = mg_match(s, len, guarded(pattern, plen), plen, again, CAPS);
  int second = mg_match(guarded(s, len), len, pattern, plen, caps, CAPS);
  CHECK(first == second);
  return second;
}

/* want: the captures, each ended by '|'; NULL: no match. */
static void expect(const char *s, const char *pattern, const char *want) {
  struct mg_str caps[CAPS];
  char got[256];
  size_t n = 0;
  int count = match(s, pattern, caps);
  if (want == NULL) {
    CHECK(count == MGX_MATCH_NO);
    return;
  }
  CHECK(count >= 0 && count <= CAPS);
  for (int i = 0; i < count; i++) {
    memcpy(got + n, caps[i].buf, caps[i].len);
    n += caps[i].len;
    got[n++] = '|';
  }
  if (n != strlen(want) || memcmp(got, want, n) != 0) {
    fprintf(stderr, "%s on %s: %.*s, not %s\n", pattern, s, (int) n, got, want);
  }
  CHECK(n == strlen(want) && memcmp(got, want, n) == 0);
}

static void test_an_earlier_wildcard_takes_as_little_as_it_can(void) {
  expect("a__b_c", "a*b*c", "__|_|");
  expect("a_b_c__c", "a*b*c", "_|_c__|");
  expect(".aa..b...b", "#a#b", ".|a..b...|");
  expect("caabba", "#aa#bb#", "c||a|");
  expect("ab", "*?", "a|b|");
  expect("ab", "?*", "a|b|");
  expect("abc", "**", "|abc|");
  expect("a/c", "*#", "|a/c|");
  expect("a/c", "#*", "a/|c|");
  expect("/api/users/42", "/api/*/\?\?", "users|4|2|");
  expect("/a/b/c.txt", "#.txt", "/a/b/c|");
}

static void test_a_star_stops_at_a_slash_and_a_hash_does_not(void) {
  expect("/foo/", "/*/*", "foo||");
  expect("/ab/", "/*", NULL);
  expect("/", "/*", "|");
  expect("/.c", "#.c", "/|");
  expect("/x//y", "/x/*/y", "|");
  expect("/x/a/b/y", "/x/*/y", NULL);
  expect("/x/a/b/y", "/x/#/y", "a/b|");
}

static void test_a_question_mark_takes_a_slash_so_stars_must_go_back(void) {
  expect("a/b", "*?*b", "a|/||");
  expect("a/b/c", "*?*?*c", "a|/|b|/||");
  expect("x/ab", "#?*b", "x|/|a|");
}

static void test_both_texts_must_be_used_up(void) {
  expect("", "", "");
  expect("a", "", NULL);
  expect("", "a", NULL);
  expect("", "?", NULL);
  expect("", "*", "|");
  expect("ab", "a", NULL);
  expect("a", "ab", NULL);
  expect("ab", "a*c", NULL);
  expect("abc", "a?c", "b|");
  expect("A", "a", NULL);
}

static void test_wildcards_take_whole_characters(void) {
  expect("\xc3\xa9", "?", "\xc3\xa9|");
  expect("\xc3\xa9", "\?\?", NULL);
  expect("\xf0\x9f\x90\x98x", "?x", "\xf0\x9f\x90\x98|");
  expect("\xc3\xa9", "#\xa9", NULL);
  expect("\xc3\xa9", "\xc3?", NULL);
  expect("\xff\xc3", "\?\?", "\xff|\xc3|");
  expect("\xe2\x82", "\?\?", "\xe2|\x82|");
  expect("h\xc3\xa9llo", "**llo", "|h\xc3\xa9|");
  expect("\xc3\xa9\xc3\xa9", "#?", "\xc3\xa9|\xc3\xa9|");
}

static void test_captures_beyond_the_room_are_counted_only(void) {
  struct mg_str cap = {NULL, 0};
  CHECK(mg_match("abc", 3, "?*?", 3, &cap, 1) == 3);
  CHECK(cap.len == 1 && cap.buf[0] == 'a');
  CHECK(mg_match("abc", 3, "?*?", 3, NULL, 0) == 3);
  CHECK(mg_match(NULL, 0, NULL, 0, NULL, 0) == 0);
}

/* Exponential or cubic work would take minutes here. */
static void test_hostile_patterns_take_a_bounded_time(void) {
  enum { N = 4000, P = 2000 };
  static char text[N], pattern[P];
  memset(text, 'a', N);
  memset(pattern, '*', P);
  CHECK(mg_match(text, N, pattern, P, NULL, 0) == P);
  pattern[P - 1] = 'b';
  CHECK(mg_match(text, N, pattern, P, NULL, 0) == MGX_MATCH_NO);
  for (size_t i = 0; i < P; i++) pattern[i] = i % 2 != 0 ? 'a' : '#';
  CHECK(mg_match(text, N, pattern, P, NULL, 0) == P / 2);
  pattern[P - 1] = 'b';
  CHECK(mg_match(text, N, pattern, P, NULL, 0) == MGX_MATCH_NO);
  for (size_t i = 0; i < P; i++) pattern[i] = "#?*a"[i % 4];
  CHECK(mg_match(text, N, pattern, P, NULL, 0) == P / 4 * 3);
}

static void test_lack_of_memory_is_told_and_leaves_nothing_behind(void) {
  char text[8192];
  memset(text, 'a', sizeof(text));
  mg__fail_at = 0;
  CHECK(mg_match(text, sizeof(text), "*a", 2, NULL, 0) == MGX_MATCH_ENOMEM);
  CHECK(mg_match(text, sizeof(text), "*a", 2, NULL, 0) == 1);
  CHECK(mg_match(text, sizeof(text), "*a", (size_t) INT_MAX + 1, NULL, 0) == MGX_MATCH_ENOMEM);
}

int main(void) {
  RUN(test_an_earlier_wildcard_takes_as_little_as_it_can);
  RUN(test_a_star_stops_at_a_slash_and_a_hash_does_not);
  RUN(test_a_question_mark_takes_a_slash_so_stars_must_go_back);
  RUN(test_both_texts_must_be_used_up);
  RUN(test_wildcards_take_whole_characters);
  RUN(test_captures_beyond_the_room_are_counted_only);
  RUN(test_hostile_patterns_take_a_bounded_time);
  RUN(test_lack_of_memory_is_told_and_leaves_nothing_behind);
  printf("%d checks\n", check_count);
  return 0;
}
