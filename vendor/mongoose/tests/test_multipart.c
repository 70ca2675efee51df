/* The parts of a multipart body. */
#include "../src/internal.h"

#include "../src/multipart.c"
#include "check.h"

#define HEAD "Content-Disposition: form-data; name=\"a\"\r\n"

static size_t next(const char *body, size_t ofs, const char *boundary, struct mg_http_part *part) {
  size_t len = strlen(body);
  memset(part, 0, sizeof(*part));
  return mg_http_next_multipart(guarded(body, len), len, ofs, boundary,
                                boundary != NULL ? strlen(boundary) : 0, part);
}

static bool is(struct mg_str s, const char *text) {
  return s.len == strlen(text) && memcmp(s.buf, text, s.len) == 0;
}

static void test_parts_come_one_after_the_other(void) {
  static const char body[] =
      "--xyz\r\nContent-Disposition: form-data; name=\"val\"\r\n\r\nabc\r\ndef\r\n"
      "--xyz\r\nContent-Disposition: form-data; name=\"foo\"; filename=\"a b.txt\"\r\n"
      "Content-Type: text/plain\r\n\r\nhello world\r\n\r\n--xyz--\r\n";
  static const char *const boundaries[] = {NULL, "xyz"};
  for (int i = 0; i < 2; i++) {
    struct mg_http_part part;
    size_t ofs = next(body, 0, boundaries[i], &part);
    CHECK(ofs > 0 && is(part.body, "abc\r\ndef"));
    CHECK(is(part.head, "Content-Disposition: form-data; name=\"val\"\r\n"));
    CHECK(memcmp(body + ofs, "--xyz\r\n", 7) == 0);
    ofs = next(body, ofs, boundaries[i], &part);
    CHECK(ofs > 0 && is(part.body, "hello world\r\n"));
    CHECK(memcmp(body + ofs, "--xyz--", 7) == 0);
    CHECK(next(body, ofs, boundaries[i], &part) == 0);
  }
}

static void test_parts_may_be_counted_without_a_place_for_them(void) {
  static const char body[] = "--b\r\n" HEAD "\r\n1\r\n--b\r\n" HEAD "\r\n2\r\n--b--";
  size_t ofs = 0, n = 0;
  while ((ofs = mg_http_next_multipart(body, sizeof(body) - 1, ofs, NULL, 0, NULL)) > 0) n++;
  CHECK(n == 2);
}

static void test_a_part_may_be_empty(void) {
  struct mg_http_part part;
  CHECK(next("--b\r\n" HEAD "\r\n\r\n--b--", 0, NULL, &part) > 0);
  CHECK(is(part.head, HEAD) && part.body.len == 0);
  CHECK(next("--b\r\n" HEAD "\r\n--b--", 0, NULL, &part) > 0); /* RFC 2046: no empty line needed */
  CHECK(is(part.head, HEAD) && part.body.len == 0);
}

static void test_only_an_exact_delimiter_ends_a_part(void) {
  static const char *const contents[] = {
      "--bb",   "\r\n--bb", "\r\n--b \r\n", "\r\n--b\r", "\r\n--b-",   "\n--b--",  "\r--b--",
      "\r\n-b", "\r\n--B--", "\r\n --b--", "\r\n--b\n", "\r",         "\r\n",     "\r\n\r\n",
      "\r\r\n-", "--b -",    "\r\n--",      "\r\n\r\n--bc--", "--b-\r\n--bx",
  };
  for (size_t i = 0; i < sizeof(contents) / sizeof(contents[0]); i++) {
    struct mg_http_part part;
    char body[256];
    snprintf(body, sizeof(body), "--b\r\n" HEAD "\r\n%s\r\n--b--\r\n", contents[i]);
    CHECK(next(body, 0, NULL, &part) > 0 && is(part.body, contents[i]));
    CHECK(next(body, 0, "b", &part) > 0 && is(part.body, contents[i]));
  }
}

static void test_a_part_without_its_end_is_none(void) {
  static const char body[] = "--bnd\r\n" HEAD "\r\ncontent\r\n--bnd--";
  for (size_t n = 0; n < sizeof(body) - 1; n++) {
    struct mg_http_part part;
    CHECK(mg_http_next_multipart(guarded(body, n), n, 0, NULL, 0, &part) == 0);
    CHECK(mg_http_next_multipart(guarded(body, n), n, 0, "bnd", 3, &part) == 0);
  }
}

static void test_parts_with_malformed_headers_are_passed_over(void) {
  static const char *const heads[] = {
      "",           "no colon\r\n", ": no name\r\n", "Bad name: x\r\n", " folded: first\r\n",
      "A: b\nc\r\n", "A: b\r\nB\r\n", "\x80: x\r\n", "\x7f: x\r\n",
  };
  for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
    struct mg_http_part part;
    char body[256];
    snprintf(body, sizeof(body), "--b\r\n%s\r\nbad\r\n--b\r\n" HEAD "\r\ngood\r\n--b--", heads[i]);
    CHECK(next(body, 0, NULL, &part) > 0 && is(part.body, "good"));
  }
  struct mg_http_part part;
  static const char nul[] = "--b\r\nA: \0\r\n\r\nbad\r\n--b\r\n" HEAD "\r\ngood\r\n--b--";
  CHECK(mg_http_next_multipart(nul, sizeof(nul) - 1, 0, NULL, 0, &part) > 0);
  CHECK(is(part.body, "good"));
  CHECK(next("--b\r\n--b\r\n" HEAD "\r\ngood\r\n--b--", 0, NULL, &part) > 0);
  CHECK(is(part.body, "good"));
}

static void test_lone_crs_and_folded_lines_are_kept(void) {
  struct mg_http_part part;
  CHECK(next("--b\r\nA: x\ry\r\n\tz\r\n 1\r\n\r\n\r\r\r\n--b--", 0, NULL, &part) > 0);
  CHECK(is(part.head, "A: x\ry\r\n\tz\r\n 1\r\n") && is(part.body, "\r\r"));
}

static void test_a_given_boundary_wins_over_the_first_line(void) {
  struct mg_http_part part;
  CHECK(next("--x\r\npreamble\r\n--b\r\n" HEAD "\r\n1\r\n--b--", 0, "b", &part) > 0);
  CHECK(is(part.body, "1"));
  CHECK(next("--b\r\n" HEAD "\r\n1\r\n--b--", 0, "other", &part) == 0);
  CHECK(next("--b\r\n" HEAD "\r\n1\r\n--b--", 0, "", &part) == 0);
  CHECK(next("--\r\n" HEAD "\r\n1\r\n----", 0, NULL, &part) == 0);
  CHECK(next("--a\nb\r\n" HEAD "\r\n1\r\n--a\nb--", 0, NULL, &part) == 0);
  CHECK(next("--\r\n\r\n" HEAD "\r\n1\r\n--\r\n--", 0, "\r\n", &part) == 0);
}

static void test_nothing_behind_the_closing_delimiter_is_a_part(void) {
  static const char body[] = "--b\r\n" HEAD "\r\n1\r\n--b--\r\n" HEAD "\r\n2\r\n--b--\r\n--b--";
  struct mg_http_part part;
  size_t ofs = next(body, 0, NULL, &part);
  CHECK(ofs > 0 && is(part.body, "1"));
  CHECK(next(body, ofs, NULL, &part) == 0);
  CHECK(next(body, ofs, "b", &part) == 0);
}

static void test_any_offset_and_any_text_is_safe(void) {
  static const char body[] = "--b\r\n" HEAD "\r\n1\r\n--b\r\n" HEAD "\r\n2\r\n--b--\r\n";
  struct mg_http_part part;
  for (size_t ofs = 0; ofs < sizeof(body) + 3; ofs++) next(body, ofs, NULL, &part);
  CHECK(next(body, 10, NULL, &part) > 0 && is(part.body, "2"));
  CHECK(next(body, SIZE_MAX, NULL, &part) == 0);
  CHECK(next("xyz--b\r\n" HEAD "\r\n1\r\n--b--", 3, "b", &part) == 0);
  CHECK(next("\r\n--b\r\n" HEAD "\r\n1\r\n--b--", 2, "b", &part) > 0);
  CHECK(mg_http_next_multipart(NULL, 0, 0, NULL, 0, &part) == 0);
  CHECK(next("plain text", 0, NULL, &part) == 0);
  CHECK(next("--b--\r\n", 0, NULL, &part) == 0);
}

/* Looking again at what was compared would take minutes here. */
static void test_near_delimiters_take_linear_time(void) {
  enum { N = 500000 };
  static char body[2 * N];
  struct mg_http_part part;
  for (size_t i = 0; i < sizeof(body); i += 4) memcpy(body + i, "\r\n--", 4);
  memset(body, '-', N);
  memcpy(body + N - 2, "\r\n", 2);
  CHECK(mg_http_next_multipart(body, sizeof(body), 0, NULL, 0, &part) == 0);
  CHECK(mg_http_next_multipart(body, sizeof(body), 0, "-", 1, &part) == 0);
}

int main(void) {
  RUN(test_parts_come_one_after_the_other);
  RUN(test_parts_may_be_counted_without_a_place_for_them);
  RUN(test_a_part_may_be_empty);
  RUN(test_only_an_exact_delimiter_ends_a_part);
  RUN(test_a_part_without_its_end_is_none);
  RUN(test_parts_with_malformed_headers_are_passed_over);
  RUN(test_lone_crs_and_folded_lines_are_kept);
  RUN(test_a_given_boundary_wins_over_the_first_line);
  RUN(test_nothing_behind_the_closing_delimiter_is_a_part);
  RUN(test_any_offset_and_any_text_is_safe);
  RUN(test_near_delimiters_take_linear_time);
  printf("%d checks\n", check_count);
  return 0;
}
