/* test_http_parse.c: heads, RFC 9112 sections 2 to 5: their parts, their limits, and what
 * is no head. How bodies are framed is test_http_framing.c's. */
#include "check.h"

#include "../src/http_parse.c"

#include "http_heads.h"

/* ---- parts ------------------------------------------------------------------ */

static void test_garbage_is_refused_at_its_first_byte(void) {
  /* All but the last byte begins a legal head. */
  static const struct row starts[] = {
      ROW(-400, "\x16"),
      ROW(-400, "\n"),
      ROW(-400, "\x80"),
      ROW(-400, "\r\r"),
      ROW(-400, "\r\n\r"),
      ROW(-400, "GET\t"),
      ROW(-400, "GET  "),
      ROW(-400, "GET #"),
      ROW(-400, "GET /\r"),
      ROW(-400, "GET / G"),
      ROW(-400, "GET / HTt"),
      ROW(-400, "GET / HTTP/x"),
      ROW(-400, "GET / HTTP/1.1\n"),
      ROW(-400, "GET / HTTP/1.1\r\r"),
      ROW(-400, GET " "),
      ROW(-400, GET "X\r"),
      ROW(-400, GET "X "),
      ROW(-400, GET "X: a\n"),
      ROW(-400, GET "\r\r"),
      ROW(-400, "HTTP/1.1\r"),
      ROW(-400, "HTTP/1.1 0"),
      ROW(-400, "HTTP/1.1 20\r"),
      ROW(-400, "HTTP/1.1 200x"),
  };
  for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
    CHECK(judge(starts[i].wire, starts[i].len - 1) == WAIT);
    CHECK(judge(starts[i].wire, starts[i].len) == starts[i].want);
  }
}

static void test_the_parts_of_a_request_are_found(void) {
  static const char wire[] =
      "\r\nPUT /a%20b?c=d?e HTTP/1.1\r\nHost:h\r\nX-Empty:\r\nX-Two: \t a \t b \t\r\n\r\nbody";
  struct mg_http_message msg;
  CHECK(parse(wire, sizeof(wire) - 1, &msg) == (int) sizeof(wire) - 5);
  CHECK(is(msg.method, "PUT") && is(msg.uri, "/a%20b") && is(msg.query, "c=d?e"));
  CHECK(is(msg.proto, "HTTP/1.1"));
  CHECK(msg.num_headers == 3 && msg.headers == slots);
  CHECK(is(slots[0].name, "Host") && is(slots[0].value, "h"));
  CHECK(is(slots[1].name, "X-Empty") && is(slots[1].value, ""));
  CHECK(is(slots[2].name, "X-Two") && is(slots[2].value, "a \t b"));
  CHECK(msg.head.len == sizeof(wire) - 7 && memcmp(msg.head.buf, "PUT", 3) == 0);
  CHECK(msg.body.len == 0 && msg.body.buf == msg.head.buf + msg.head.len);
}

static void test_uri_keeps_the_whole_target_up_to_the_query(void) {
  static const char *const targets[][3] = {
      {"GET", "http://h:1/p", "q"}, {"GET", "http://h", "/?"}, {"GET", "/", ""},
      {"CONNECT", "h:1", ""},       {"OPTIONS", "*", ""},
  };
  for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
    char wire[128];
    struct mg_http_message msg;
    const char *query = targets[i][2];
    int n = snprintf(wire, sizeof(wire), "%s %s%s%s HTTP/1.1\r\nHost:\r\n\r\n", targets[i][0],
                     targets[i][1], *query ? "?" : "", query);
    CHECK(parse(wire, (size_t) n, &msg) == n);
    CHECK(is(msg.uri, targets[i][1]) && is(msg.query, query));
  }
}

static void test_the_parts_of_a_response_are_found(void) {
  static const char *const wires[] = {"HTTP/1.0 404\r\n\r\n", "HTTP/1.0 404 \r\n\r\n",
                                      "HTTP/1.0 404 Not  there\r\n\r\n"};
  for (int i = 0; i < 3; i++) {
    struct mg_http_message msg;
    struct mg_http_framing framing;
    CHECK(parse(wires[i], strlen(wires[i]), &msg) == (int) strlen(wires[i]));
    CHECK(is(msg.method, "HTTP/1.0") && is(msg.uri, "404") && is(msg.query, ""));
    CHECK(is(msg.proto, i == 2 ? "Not  there" : ""));
    CHECK(mg__http_framing_response(&msg, false, false, &framing) == 0);
    CHECK(framing.status == 404 && framing.http10 && !framing.keep_alive);
  }
}

/* ---- limits ---------------------------------------------------------------- */

static char big[300000];

/* A request with n headers, the last one a Content-Length. */
static size_t with_headers(unsigned n) {
  size_t len = (size_t) sprintf(big, "PATCH / HTTP/1.1\r\nHost: a\r\n");
  for (unsigned i = 2; i < n; i++) len += (size_t) sprintf(big + len, "X%u: %u\r\n", i, i);
  return len + (size_t) sprintf(big + len, "Content-Length: 5\r\n\r\n");
}

static void test_every_header_up_to_the_limit_counts_and_none_is_dropped(void) {
  static const unsigned counts[] = {2, 3, 29, 30, 31, 32, 40, 99, 100};
  for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
    struct mg_http_message msg;
    struct mg_http_framing framing;
    CHECK(parse(big, with_headers(counts[i]), &msg) > 0);
    CHECK(msg.num_headers == counts[i]);
    CHECK(mg__http_framing_request(&msg, &framing) == 0);
    CHECK(framing.kind == MG_BODY_LENGTH && framing.length == 5);
  }
  CHECK(judge(big, with_headers(101)) == -431);
  CHECK(judge(big, with_headers(500)) == -431);
}

static void test_one_header_too_many_is_refused_at_its_first_byte(void) {
  struct mg_http_message msg;
  size_t last, len = with_headers(101);
  for (last = len - 4; big[last - 1] != '\n'; last--) continue;
  CHECK(parse(big, last, &msg) == 0);
  CHECK(parse(big, last + 1, &msg) == -431);
}

static void test_the_room_for_headers_is_never_exceeded(void) {
  struct mg_http_message msg;
  struct mgx_limits none = {0};
  struct mg_http_header three[3]; /* the sanitizer watches its end */
  size_t len = with_headers(4);
  CHECK(mg__http_parse(guarded(big, len), len, &none, &msg, three, 3) == -431);
  len = with_headers(3);
  CHECK(mg__http_parse(guarded(big, len), len, &none, &msg, three, 3) == (int) len);
  CHECK(mg__http_parse(guarded(big, len), len, &none, &msg, NULL, 0) == -431);
}

/* line bytes in the start line, CR LF included; head bytes in all. */
static size_t sized_request(size_t line, size_t head) {
  size_t len = (size_t) sprintf(big, "GET /");
  CHECK(line >= len + 11);
  memset(big + len, 'a', line - len - 11);
  len = line - 11;
  len += (size_t) sprintf(big + len, " HTTP/1.1\r\nHost:\r\nX:");
  CHECK(head >= len + 4);
  memset(big + len, 'a', head - len - 4);
  memcpy(big + head - 4, "\r\n\r\n", 4);
  return head;
}

static void check_first_verdict(size_t len, size_t at, int want) {
  struct mg_http_message msg;
  CHECK(parse(big, at - 1, &msg) == 0);
  CHECK(parse(big, at, &msg) == want);
  CHECK(parse(big, len, &msg) == want);
}

static void test_a_start_line_above_its_limit_is_a_414(void) {
  CHECK(judge(big, sized_request(8191, 9000)) == MG_BODY_NONE);
  CHECK(judge(big, sized_request(8192, 9000)) == MG_BODY_NONE);
  check_first_verdict(sized_request(8193, 9000), 8192, -414);
  check_first_verdict(sized_request(20000, 40000), 8192, -414);
  memset(big, 'A', 100000);
  check_first_verdict(100000, 8192, -414);
}

static void test_a_head_above_its_limit_is_a_431(void) {
  CHECK(judge(big, sized_request(100, 65535)) == MG_BODY_NONE);
  CHECK(judge(big, sized_request(100, 65536)) == MG_BODY_NONE);
  check_first_verdict(sized_request(100, 65537), 65536, -431);
  check_first_verdict(sized_request(100, 200000), 65536, -431);
}

static void test_an_empty_line_in_front_counts_against_no_limit(void) {
  struct mg_http_message msg;
  size_t len = sized_request(8192, 65536);
  memmove(big + 2, big, len);
  memcpy(big, "\r\n", 2);
  CHECK(parse(big, len + 2, &msg) == (int) len + 2);
  CHECK(msg.head.len == len);
}

static void test_limits_of_zero_are_none(void) {
  struct mgx_limits none = {0};
  struct mg_http_message msg;
  size_t len = sized_request(100000, 250000);
  CHECK(mg__http_parse(guarded(big, len), len, &none, &msg, slots, CAP) == (int) len);
  CHECK(msg.uri.len == 100000 - 15 && msg.headers[1].value.len > 149000);
}

/* ---- look-ups --------------------------------------------------------------- */

static void test_a_header_is_found_by_any_spelling_of_its_name(void) {
  static const char wire[] = GET "X-Ab[: 0\r\n";
  static const char good[] = GET "X-Ab: 1\r\nx-aB: 2\r\n\r\n";
  struct mg_http_message msg;
  const struct mg_str *value;
  CHECK(parse(wire, sizeof(wire) - 1, &msg) == -400);
  CHECK(parse(good, sizeof(good) - 1, &msg) > 0);
  value = mg_http_get_header(&msg, "x-AB", 4);
  CHECK(value != NULL && is(*value, "1"));
  CHECK(mg_http_get_header(&msg, "x-A", 3) == NULL);
  CHECK(mg_http_get_header(&msg, "x-ABc", 5) == NULL);
  CHECK(mg_http_get_header(&msg, "", 0) == NULL);
  CHECK(mg_http_get_header(&msg, "x\rab", 4) == NULL); /* '-' but for bit 5 */
}

static void test_a_token_is_found_in_any_line_of_its_header(void) {
  static const char wire[] = GET "A: b c, d\r\nB: e\r\na: ,, F ,g\t\r\nA:\r\n\r\n";
  struct mg_http_message msg;
  CHECK(parse(wire, sizeof(wire) - 1, &msg) > 0);
  CHECK(mg__http_has_token(&msg, "a", "d") && mg__http_has_token(&msg, "A", "D"));
  CHECK(mg__http_has_token(&msg, "a", "f") && mg__http_has_token(&msg, "a", "g"));
  CHECK(mg__http_has_token(&msg, "a", "b c"));
  CHECK(!mg__http_has_token(&msg, "a", "b") && !mg__http_has_token(&msg, "a", "e"));
  CHECK(!mg__http_has_token(&msg, "c", "d"));
}

static void test_only_ascii_letters_have_two_cases(void) {
  for (int a = 0; a < 256; a++) {
    for (int b = 1; b < 256; b++) {
      char x = (char) a, y[2] = {(char) b, '\0'};
      bool letters = (a | 0x20) == (b | 0x20) && (a | 0x20) >= 'a' && (a | 0x20) <= 'z';
      CHECK(mg__streq_nocase((struct mg_str){&x, 1}, y) == (a == b || letters));
    }
  }
}

/* ---- the scanners against their plain twins ---------------------------------- */

static bool plain_is(int ch, unsigned cls) {
  bool alnum = (ch >= '0' && ch <= '9') || ((ch | 0x20) >= 'a' && (ch | 0x20) <= 'z');
  bool visible = ch > 0x20 && ch < 0x7f;
  if (cls == MG_HTTP_TOKEN) return alnum || (ch != 0 && strchr("!#$%&'*+-.^_`|~", ch) != NULL);
  if (cls == MG_HTTP_PATH) return visible && ch != '#' && ch != '?';
  if (cls == MG_HTTP_QUERY) return visible && ch != '#';
  if (cls == MG_HTTP_TEXT) return visible || ch == ' ' || ch == '\t' || ch > 0x7f;
  return alnum || (ch != 0 && strchr("-._~!$&'()*+,;=", ch) != NULL);
}

static void test_the_table_of_bytes_says_what_the_grammar_says(void) {
  for (int ch = 0; ch < 256; ch++) {
    for (unsigned cls = MG_HTTP_TOKEN; cls <= MG_HTTP_HOST; cls <<= 1) {
      CHECK(mg__http_is((char) ch, cls) == plain_is(ch, cls));
    }
  }
}

static void test_text_is_scanned_by_eight_as_by_one(void) {
  static const char around[] = "\x80\x9f\xa0\xff\xfe\x7e\x20\x21\t\t";
  for (int round = 0; round < 200000; round++) {
    char text[40];
    size_t len = random_below(sizeof(text)), i = 0;
    struct head_cursor c;
    for (size_t k = 0; k < len; k++) text[k] = around[random_below(10)];
    if (len > 0) text[random_below((unsigned) len)] = (char) random_below(256);
    if (len > 0) text[random_below((unsigned) len)] = (char) random_below(256);
    c.p = guarded(text, len);
    c.end = c.p + len;
    head_skip_text(&c);
    while (i < len && plain_is((unsigned char) text[i], MG_HTTP_TEXT)) i++;
    CHECK((size_t) (c.end - c.p) == len - i);
  }
}

/* ---- random messages ---------------------------------------------------------- */

static size_t random_text(char *out, size_t most, unsigned cls) {
  size_t len = random_below((unsigned) most) + 1, i = 0;
  while (i < len) {
    char ch = (char) random_below(256);
    if (mg__http_is(ch, cls)) out[i++] = ch;
  }
  return len;
}

static size_t random_request(char *out, unsigned headers) {
  size_t len = random_text(out, 10, MG_HTTP_TOKEN);
  out[len++] = ' ';
  len += random_text(out + len, 30, MG_HTTP_PATH);
  if (random_below(2) == 0) {
    out[len++] = '?';
    len += random_text(out + len, 30, MG_HTTP_QUERY);
  }
  len += (size_t) sprintf(out + len, " HTTP/1.%u\r\n", random_below(10));
  for (unsigned i = 0; i < headers; i++) {
    len += random_text(out + len, 20, MG_HTTP_TOKEN);
    out[len++] = ':';
    len += random_text(out + len, 50, MG_HTTP_TEXT);
    memcpy(out + len, "\r\n", 2);
    len += 2;
  }
  memcpy(out + len, "\r\n", 2);
  return len + 2;
}

/* Write the parts of msg again, with the same blanks left out. */
static size_t rewrite(const struct mg_http_message *msg, char *out) {
  size_t len = (size_t) sprintf(out, "%.*s %.*s", (int) msg->method.len, msg->method.buf,
                                (int) msg->uri.len, msg->uri.buf);
  if (msg->query.buf != msg->uri.buf + msg->uri.len) {
    len += (size_t) sprintf(out + len, "?%.*s", (int) msg->query.len, msg->query.buf);
  }
  len += (size_t) sprintf(out + len, " %.*s\r\n", (int) msg->proto.len, msg->proto.buf);
  for (size_t i = 0; i < msg->num_headers; i++) {
    const struct mg_http_header *h = &msg->headers[i];
    len += (size_t) sprintf(out + len, "%.*s:%.*s\r\n", (int) h->name.len, h->name.buf,
                            (int) h->value.len, h->value.buf);
  }
  return len + (size_t) sprintf(out + len, "\r\n");
}

static void test_any_legal_request_is_parsed_and_written_again_the_same(void) {
  for (int round = 0; round < 300; round++) {
    char wire[4096], once[4096], twice[4096];
    struct mg_http_message msg;
    unsigned headers = random_below(12);
    size_t len = random_request(wire, headers), len1, len2;
    CHECK(parse(wire, len, &msg) == (int) len);
    CHECK(msg.num_headers == headers);
    len1 = rewrite(&msg, once);
    CHECK(parse(once, len1, &msg) == (int) len1);
    len2 = rewrite(&msg, twice);
    CHECK(len1 == len2 && memcmp(once, twice, len1) == 0);
    check_laws(wire, len);
  }
}

static void test_any_damage_leaves_the_laws_intact(void) {
  for (int round = 0; round < 3000; round++) {
    char wire[4096];
    size_t len = random_request(wire, random_below(4));
    for (unsigned hits = random_below(3) + 1; hits > 0; hits--) {
      wire[random_below((unsigned) len)] = (char) random_below(256);
    }
    check_laws(wire, len);
    (void) judge(wire, len);
  }
}

int main(void) {
  RUN(test_garbage_is_refused_at_its_first_byte);
  RUN(test_the_parts_of_a_request_are_found);
  RUN(test_uri_keeps_the_whole_target_up_to_the_query);
  RUN(test_the_parts_of_a_response_are_found);
  RUN(test_every_header_up_to_the_limit_counts_and_none_is_dropped);
  RUN(test_one_header_too_many_is_refused_at_its_first_byte);
  RUN(test_the_room_for_headers_is_never_exceeded);
  RUN(test_a_start_line_above_its_limit_is_a_414);
  RUN(test_a_head_above_its_limit_is_a_431);
  RUN(test_an_empty_line_in_front_counts_against_no_limit);
  RUN(test_limits_of_zero_are_none);
  RUN(test_a_header_is_found_by_any_spelling_of_its_name);
  RUN(test_a_token_is_found_in_any_line_of_its_header);
  RUN(test_only_ascii_letters_have_two_cases);
  RUN(test_the_table_of_bytes_says_what_the_grammar_says);
  RUN(test_text_is_scanned_by_eight_as_by_one);
  RUN(test_any_legal_request_is_parsed_and_written_again_the_same);
  RUN(test_any_damage_leaves_the_laws_intact);
  printf("%d checks\n", check_count);
  return 0;
}
