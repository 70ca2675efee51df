/* Cutting URLs into pieces, percent-encoding. */
#include "../src/internal.h"

#include "../src/utf8.c"
#include "../src/url.c"
#include "../src/http_parse.c"
#include "check.h"

static struct mgx_url parse(const char *text) {
  size_t len = strlen(text);
  struct mgx_url u;
  mgx_url_parse(guarded(text, len), len, &u);
  return u;
}

static bool is(struct mg_str s, const char *text) {
  return s.len == strlen(text) && memcmp(s.buf, text, s.len) == 0;
}

static void test_a_url_is_cut_into_its_parts(void) {
  static const struct {
    const char *url, *scheme, *user, *pass, *host, *uri;
    int port;
    bool has_port;
  } cases[] = {
      {"mqtt://joe:pw@[fd00::7]:2883/x", "mqtt", "joe", "pw", "[fd00::7]", "/x", 2883, true},
      {"http://h1:81/k:9", "http", "", "", "h1", "/k:9", 81, true},
      {"http://h1//k//", "http", "", "", "h1", "//k//", 80, false},
      {"http://:pw@h1", "http", "", "pw", "h1", "/", 80, false},
      {"p://foo/q?mail=a@b.c", "p", "", "", "foo", "/q?mail=a@b.c", 0, false},
      {"http://h?x=1", "http", "", "", "h", "?x=1", 80, false},
      {"http://h#top", "http", "", "", "h", "#top", 80, false},
      {"http://u@h", "http", "u", "", "h", "/", 80, false},
      {"http://u:a:b@h", "http", "u", "a:b", "h", "/", 80, false},
      {"http://u:a@evil@h:1", "http", "u", "a@evil", "h", "/", 1, true},
      {"http://h/a?b/c", "http", "", "", "h", "/a?b/c", 80, false},
      {"http://h:", "http", "", "", "h", "/", 80, false},
      {"unix:///tmp/a.sock", "unix", "", "", "", "/tmp/a.sock", 0, false},
      {"foo", "", "", "", "foo", "/", 0, false},
      {"//foo", "", "", "", "foo", "/", 0, false},
      {"foo:1234", "", "", "", "foo", "/", 1234, true},
      {":1234", "", "", "", "", "/", 1234, true},
      {"[::1]:0", "", "", "", "[::1]", "/", 0, true},
      {"a+b-c.1://h", "a+b-c.1", "", "", "h", "/", 0, false},
      {"zZ9://", "zZ9", "", "", "", "/", 0, false},
      {"//", "", "", "", "", "/", 0, false},
      {"1a://h", "", "", "", "1a", "//h", 0, false},
      {"", "", "", "", "", "/", 0, false},
      {"/", "", "", "", "", "/", 0, false},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    struct mgx_url u = parse(cases[i].url);
    CHECK(is(u.scheme, cases[i].scheme));
    CHECK(is(u.user, cases[i].user));
    CHECK(is(u.pass, cases[i].pass));
    CHECK(is(u.host, cases[i].host));
    CHECK(is(u.uri, cases[i].uri));
    CHECK(u.port == cases[i].port);
    CHECK(u.has_port == cases[i].has_port);
  }
}

static void test_a_url_may_be_no_text_at_all(void) {
  struct mgx_url u;
  mgx_url_parse(NULL, 0, &u);
  CHECK(is(u.host, "") && is(u.uri, "/") && u.port == 0);
}

static void test_a_malformed_port_is_told(void) {
  static const char *const cases[] = {
      "http://h:65536", "http://h:99999999999999999999", "http://h:80x",
      "http://h:x",     "http://h:-1",                   "http://h:+1",
      "http://h: 1",    "http://::1",                    "http://[::1",
      "http://[::1]x",  "http://[::1]80",                "http://[::1]x:80",
      "http://h:1:2",
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) CHECK(parse(cases[i]).port == -1);
  CHECK(parse("http://h:65535").port == 65535);
  CHECK(parse("http://h:00080").port == 80);
}

static void test_the_scheme_decides_port_and_tls_in_any_case(void) {
  static const struct {
    const char *url;
    int port;
    bool tls;
  } cases[] = {
      {"http://h", 80, false},    {"HTTPS://h", 443, true}, {"ws://h", 80, false},
      {"Wss://h", 443, true},     {"mqtt://h", 1883, false}, {"MQTTS://h", 8883, true},
      {"ssl://h", 0, true},       {"tls://h", 0, true},     {"tcps://h", 0, true},
      {"tcp://h", 0, false},      {"https:h", -1, false},   {"httpss://h", 0, false},
      {"https://h:1", 1, true},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    CHECK(parse(cases[i].url).port == cases[i].port);
    CHECK(parse(cases[i].url).is_tls == cases[i].tls);
  }
}

static void test_encoding_leaves_unreserved_characters_alone(void) {
  static const char free_of[] = "AZaz09-._~";
  char to[64];
  CHECK(mg_url_encode(free_of, 10, to, 10) == 10 && memcmp(to, free_of, 10) == 0);
  CHECK(mg_url_encode(" /\xff\0", 4, to, 12) == 12 && memcmp(to, "%20%2f%ff%00", 12) == 0);
  CHECK(mg_url_encode(NULL, 0, NULL, 0) == 0);
}

static void test_encoding_writes_nothing_when_room_is_short(void) {
  char to[8] = "unharmed";
  CHECK(mg_url_encode("a b", 3, to, 4) == 5 && memcmp(to, "unharmed", 8) == 0);
}

static void test_decoding_undoes_encoding_for_every_byte(void) {
  char all[256], coded[3 * 256], back[3 * 256];
  for (int i = 0; i < 256; i++) all[i] = (char) i;
  size_t n = mg_url_encode(all, sizeof(all), coded, sizeof(coded));
  CHECK(mg_url_decode(guarded(coded, n), n, back, sizeof(back), true) == 256);
  CHECK(memcmp(back, all, 256) == 0);
}

static void test_plus_is_a_blank_in_forms_only(void) {
  char to[8];
  CHECK(mg_url_decode("a+b", 3, to, 8, true) == 3 && memcmp(to, "a b", 3) == 0);
  CHECK(mg_url_decode("a+b", 3, to, 8, false) == 3 && memcmp(to, "a+b", 3) == 0);
}

static void test_malformed_escapes_and_lack_of_room_are_refused(void) {
  static const char *const cases[] = {"%", "%4", "a%", "%4g", "%g4", "%%41", "%+1", "%4%"};
  char to[8];
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    size_t len = strlen(cases[i]);
    CHECK(mg_url_decode(guarded(cases[i], len), len, to, 8, false) == MGX_EINVAL);
  }
  CHECK(mg_url_decode("abc", 3, to, 2, false) == MGX_EINVAL);
  CHECK(mg_url_decode("%Af%Fa", 6, to, 8, false) == 2 && memcmp(to, "\xaf\xfa", 2) == 0);
  CHECK(mg_url_decode("%41%42", 6, to, 2, false) == 2 && memcmp(to, "AB", 2) == 0);
}

static void test_decoding_may_happen_in_place(void) {
  char text[] = "%41b%43";
  CHECK(mg_url_decode(text, 7, text, 7, false) == 3 && memcmp(text, "AbC", 3) == 0);
}

static void test_a_character_is_one_of_rfc_3629(void) {
  static const struct {
    const char *text;
    size_t len, want;
  } cases[] = {
      {"", 0, 0},         {"a", 1, 1},        {"\0", 1, 1},       {"\x7f", 1, 1},
      {"\x80", 1, 0},     {"\xc1\xbf", 2, 0}, {"\xc2\x80", 2, 2}, {"\xc2", 1, 0},
      {"\xc2" "a", 2, 0}, {"\xe0\x9f\xbf", 3, 0}, {"\xe0\xa0\x80", 3, 3}, {"\xed\x9f\xbf", 3, 3},
      {"\xed\xa0\x80", 3, 0}, {"\xef\xbf\xbf", 3, 3}, {"\xe2\x82", 2, 0}, {"\xe2\x82" "a", 3, 0},
      {"\xf0\x8f\xbf\xbf", 4, 0}, {"\xf0\x90\x80\x80", 4, 4}, {"\xf4\x8f\xbf\xbf", 4, 4},
      {"\xf4\x90\x80\x80", 4, 0}, {"\xf5\x80\x80\x80", 4, 0}, {"\xf0\x90\x80", 3, 0},
      {"\xf0\x90\x80" "a", 4, 0}, {"\xff", 1, 0},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    CHECK(mg__utf8(guarded(cases[i].text, cases[i].len), cases[i].len) == cases[i].want);
  }
}

int main(void) {
  RUN(test_a_url_is_cut_into_its_parts);
  RUN(test_a_url_may_be_no_text_at_all);
  RUN(test_a_malformed_port_is_told);
  RUN(test_the_scheme_decides_port_and_tls_in_any_case);
  RUN(test_encoding_leaves_unreserved_characters_alone);
  RUN(test_encoding_writes_nothing_when_room_is_short);
  RUN(test_decoding_undoes_encoding_for_every_byte);
  RUN(test_plus_is_a_blank_in_forms_only);
  RUN(test_malformed_escapes_and_lack_of_room_are_refused);
  RUN(test_decoding_may_happen_in_place);
  RUN(test_a_character_is_one_of_rfc_3629);
  printf("%d checks\n", check_count);
  return 0;
}
