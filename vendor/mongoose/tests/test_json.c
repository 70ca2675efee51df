/* Finding a value by its path, unescaping strings. */
#include "../src/internal.h"

#include "../src/utf8.c"
#include "../src/http_parse.c"
#include "../src/url.c"
#include "../src/json.c"
#include "check.h"

static int64_t get(const char *json, const char *path, size_t *toklen) {
  size_t len = strlen(json), plen = strlen(path), again;
  int64_t first = mg_json_get(json, len, guarded(path, plen), plen, &again);
  int64_t second = mg_json_get(guarded(json, len), len, path, plen, toklen);
  CHECK(first == second && again == *toklen);
  return second;
}

static void found(const char *json, const char *path, int64_t at, size_t toklen) {
  size_t n;
  int64_t got = get(json, path, &n);
  if (got != at || n != toklen) {
    fprintf(stderr, "%s in %s: %ld/%zu\n", path, json, (long) got, n);
  }
  CHECK(got == at && n == toklen);
}

static void missing(const char *json, const char *path, int64_t code) {
  found(json, path, code, 0);
}

static void test_a_path_leads_to_a_value(void) {
  static const char json[] = "{\"a\":{},\"b\":7,\"c\":[[],2]}";
  found(json, "$", 0, 25);
  found(json, "$.a", 5, 2);
  found(json, "$.b", 12, 1);
  found(json, "$.c", 18, 6);
  found(json, "$.c[0]", 19, 2);
  found(json, "$.c[1]", 22, 1);
  missing(json, "$.c[3]", MG_JSON_NOT_FOUND);
  missing(json, "$.d", MG_JSON_NOT_FOUND);
  found("[1,2]", "$[1]", 3, 1);
  missing("{\"a\":1,\"b\":[1,2]}", "$.a[0]", MG_JSON_NOT_FOUND);
  missing("{\"a\":1}", "$[0]", MG_JSON_NOT_FOUND);
  missing("[1]", "$.a", MG_JSON_NOT_FOUND);
  found(" [ { \"x y\" : [ 1 , \"z\" ] } ] ", "$[0].x y[1]", 19, 3);
}

static void test_any_value_may_be_the_root(void) {
  found("12", "$", 0, 2);
  found(" true ", "$", 1, 4);
  found("false", "$", 0, 5);
  found("\"a\"", "$", 0, 3);
  found("null", "$", 0, 4);
  found("\r\n\t 19E7\n", "$", 4, 4);
  found("-0.5e+10", "$", 0, 8);
  missing("", "$", MG_JSON_NOT_FOUND);
  missing(" ", "$", MG_JSON_NOT_FOUND);
}

static void test_text_behind_the_value_is_not_looked_at(void) {
  found("{}x", "$", 0, 2);
  found("\"a\"x", "$", 0, 3);
  found("{\"a\":[1],x", "$.a", 5, 3);
}

static void test_text_before_the_value_must_be_right(void) {
  static const char *const cases[] = {
      "[1,]",          "{\"a\":1,}",  "[,1]",      "[01]",      "[-]",         "[1.]",     "[.5]",
      "[1e]",          "[1e+]",       "[+1]",      "[1x]",      "[truex]",     "[True]",   "[nul]",
      "[\"\t\"]",      "[\"\\x\"]",   "[\"\\u12g4\"]", "[\"\xff\"]", "[\"\xed\xa0\x80\"]",
      "{1:2}",         "{\"a\" 1}",   "{\"a\"::1}", "[1 2]",    "[1}",         "{\"a\":1]", "]",
      "[0x1]",         "[NaN]",       "[Infinity]", "['a']",    "[\"\\U0041\"]", "[1,,2]",
      "\xef\xbb\xbf[]",
      "{\"a\":}",      "{,}",         "[\v1]",     "[-01]",     "[2.e3]",      "{\"a\"}",  "[--1]",
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    size_t n;
    int64_t got = get(cases[i], "$", &n);
    if (got != MG_JSON_INVALID) fprintf(stderr, "%s: %ld\n", cases[i], (long) got);
    CHECK(got == MG_JSON_INVALID);
  }
}

static void test_every_cut_of_a_text_is_unfinished_but_not_invalid(void) {
  static const char json[] = "{\"a\" : [ 1.5e-3, true,\"\\u0041\\n\", null ], \"b\":{ } } ";
  for (size_t n = 0; n + 2 < sizeof(json); n++) {
    size_t toklen = 1;
    CHECK(mg_json_get(guarded(json, n), n, "$", 1, &toklen) == MG_JSON_NOT_FOUND && toklen == 0);
  }
}

static void test_paths_are_strict(void) {
  static const char *const cases[] = {
      "",        "a",     ".a",   "$a",     "$.",     "$.a.",    "$..a",     "$[",   "$[]",
      "$[a]",    "$[-1]", "$[1",  "$[1]a",  "$[01]",  "$.a[]",   "$[ 1]",    "$[1 ]", "$[+1]",
      "$.a[1",   "$.a[1]b", "$ ", "$$",     "$[1].",
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    missing("{\"a\":[1,2],\"\":{\"a\":1}}", cases[i], MG_JSON_INVALID);
  }
  missing("[1]", "$[18446744073709551616]", MG_JSON_NOT_FOUND);
  missing("[1]", "$[99999999999999999999999]", MG_JSON_NOT_FOUND);
  found("[1]", "$[0]", 1, 1);
}

static void test_the_first_of_equal_keys_counts(void) {
  found("{\"a\":1,\"a\":2}", "$.a", 5, 1);
  missing("{\"a\":{\"x\":1},\"a\":{\"y\":2}}", "$.a.y", MG_JSON_NOT_FOUND);
  missing("{\"a\":1,\"a\":{\"y\":2}}", "$.a.y", MG_JSON_NOT_FOUND);
  missing("{\"\\u0061\":1,\"a\":{\"y\":2}}", "$.a.y", MG_JSON_NOT_FOUND);
}

static void test_a_key_with_a_dot_can_be_reached(void) {
  found("{\"b.c\":1}", "$.b.c", 7, 1);
  found("{\"b\":{\"d\":1},\"b.c\":2}", "$.b.c", 19, 1);
  found("{\"b.c\":{},\"b\":{\"c\":{\"d\":3}}}", "$.b.c.d", 24, 1);
  found("{\"a[0]\":5}", "$.a[0]", 8, 1);
  found("{\"a\":[{}],\"a[0]\":{\"b\":1}}", "$.a[0].b", 22, 1);
  missing("{\"ab\":1}", "$.a", MG_JSON_NOT_FOUND);
  missing("{\"a\":1}", "$.ab", MG_JSON_NOT_FOUND);
}

static void test_a_key_fits_as_written_or_unescaped(void) {
  found("{\"\\u00e9\":1}", "$.\\u00e9", 10, 1);
  found("{\"\\u00e9\":1}", "$.\xc3\xa9", 10, 1);
  found("{\"\xc3\xa9\":1}", "$.\xc3\xa9", 6, 1);
  found("{\"a\\\"b\":1}", "$.a\"b", 8, 1);
  found("{\"\\ud83d\\ude00\":1}", "$.\xf0\x9f\x98\x80", 16, 1);
  missing("{\"\\u00e9\":1}", "$.\xc3\xaa", MG_JSON_NOT_FOUND);
}

static void test_thirty_brackets_may_be_open(void) {
  char json[64], path[128] = "$";
  size_t n;
  memset(json, '[', 31);
  memset(json + 30, ']', 30);
  CHECK(mg_json_get(json, 60, "$", 1, &n) == 0 && n == 60);
  for (int i = 0; i < 29; i++) memcpy(path + 1 + 3 * i, "[0]", 3);
  CHECK(mg_json_get(json, 60, path, 1 + 3 * 29, &n) == 29 && n == 2);
  memset(json, '[', 31);
  CHECK(mg_json_get(json, 31, "$", 1, &n) == MG_JSON_TOO_DEEP && n == 0);
}

/* Looking through all earlier keys for each one would take minutes here. */
static void test_many_equal_keys_take_linear_time(void) {
  enum { N = 200000 };
  static char json[6 * N + 32];
  size_t len = 0, toklen;
  json[len++] = '{';
  for (int i = 0; i < N; i++) {
    memcpy(json + len, i < N / 2 ? "\"x\":0," : "\"a\":0,", 6);
    len += 6;
  }
  memcpy(json + len, "\"a.b\":1}", 8);
  len += 8;
  CHECK(mg_json_get(json, len, "$.a.b", 5, &toklen) == (int64_t) len - 2 && toklen == 1);
}

static void unescaped(const char *tok, const char *want, size_t want_len) {
  size_t len = strlen(tok);
  char to[64];
  int64_t n = mg_json_unescape(guarded(tok, len), len, to, want_len);
  CHECK(n == (int64_t) want_len && memcmp(to, want, want_len) == 0);
  if (want_len > 0) {
    CHECK(mg_json_unescape(tok, len, to, want_len - 1) == MG_JSON_INVALID);
  }
}

static void test_strings_are_unescaped_to_utf8(void) {
  unescaped("\"\"", "", 0);
  unescaped("\"plain\"", "plain", 5);
  unescaped("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", 8);
  unescaped("\"\\u0048\\u00e9\\u4e16\"", "H\xc3\xa9\xe4\xb8\x96", 6);
  unescaped("\"\\u007f\\u0080\\u07ff\\u0800\"", "\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80", 8);
  unescaped("\"\\ud7ff\\ue000\\uffff\"", "\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf", 9);
  unescaped("\"\\uD83D\\uDE00\"", "\xf0\x9f\x98\x80", 4);
  unescaped("\"\\ud800\\udc00\\udbff\\udfff\"", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", 8);
  unescaped("\"a\\u0000b\"", "a\0b", 3);
  unescaped("\"\xc3\xa9\x7f \"", "\xc3\xa9\x7f ", 4);
}

static void test_a_lone_surrogate_becomes_the_replacement_character(void) {
  unescaped("\"\\ud83d\"", "\xef\xbf\xbd", 3);
  unescaped("\"\\ude00\"", "\xef\xbf\xbd", 3);
  unescaped("\"\\ud83dx\"", "\xef\xbf\xbdx", 4);
  unescaped("\"\\ud83d\\u0041\"", "\xef\xbf\xbd" "A", 4);
  unescaped("\"\\ud83d\\udbff\\ue000\"", "\xef\xbf\xbd\xef\xbf\xbd\xee\x80\x80", 9);
  unescaped("\"\\ud83d\\ud83d\\ude00\"", "\xef\xbf\xbd\xf0\x9f\x98\x80", 7);
}

static void test_what_is_no_string_is_not_unescaped(void) {
  static const char *const cases[] = {
      "",       "\"",        "12",          "\"a",      "a\"",       "\"a\"b\"", "\"\\\"",
      "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\x1f\"", "\"\xff\"", "\"\\",    "\"\xc3\"",
  };
  char to[16];
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    size_t len = strlen(cases[i]);
    CHECK(mg_json_unescape(guarded(cases[i], len), len, to, 16) == MG_JSON_INVALID);
  }
}

int main(void) {
  RUN(test_a_path_leads_to_a_value);
  RUN(test_any_value_may_be_the_root);
  RUN(test_text_behind_the_value_is_not_looked_at);
  RUN(test_text_before_the_value_must_be_right);
  RUN(test_every_cut_of_a_text_is_unfinished_but_not_invalid);
  RUN(test_paths_are_strict);
  RUN(test_the_first_of_equal_keys_counts);
  RUN(test_a_key_with_a_dot_can_be_reached);
  RUN(test_a_key_fits_as_written_or_unescaped);
  RUN(test_thirty_brackets_may_be_open);
  RUN(test_many_equal_keys_take_linear_time);
  RUN(test_strings_are_unescaped_to_utf8);
  RUN(test_a_lone_surrogate_becomes_the_replacement_character);
  RUN(test_what_is_no_string_is_not_unescaped);
  printf("%d checks\n", check_count);
  return 0;
}
