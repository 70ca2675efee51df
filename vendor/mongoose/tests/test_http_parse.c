/* test_http_parse.c: heads and framing, RFC 9112 sections 2 to 6.
 *
 * The heart is a table of messages that two readers could take differently,
 * each with its verdict. Every row also goes through three laws: a prefix of a
 * legal head asks for more; what follows a head does not change it; and a
 * verdict against a prefix stands for all that begins with it. */
#include "check.h"

#include "../src/http_parse.c"

enum { CAP = 200, WAIT = 1000 };

static struct mgx_limits limits = {.header_bytes = 65536, .header_count = 100, .request_line = 8192};
static struct mg_http_header slots[CAP];

static int parse(const char *wire, size_t len, struct mg_http_message *msg) {
  return mg__http_parse(guarded(wire, len), len, &limits, msg, slots, CAP);
}

static bool is(struct mg_str s, const char *text) {
  return s.len == strlen(text) && memcmp(s.buf, text, s.len) == 0;
}

static unsigned random_state = 12345;
static unsigned random_below(unsigned n) {
  random_state = random_state * 1664525u + 1013904223u;
  return (random_state >> 8) % n;
}

/* ---- the laws ------------------------------------------------------------- */

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

/* ---- requests ------------------------------------------------------------- */

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

static const struct row requests[] = {
    /* start line */
    ROW(MG_BODY_NONE, GET "\r\n"),
    ROW(MG_BODY_NONE, "GET / HTTP/1.0\r\n\r\n"),
    ROW(MG_BODY_NONE, "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    ROW(MG_BODY_NONE, "GET / HTTP/1.9\r\nHost: a\r\n\r\n"),
    ROW(MG_BODY_NONE, "get / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(MG_BODY_NONE, "!#$%&'*+-.^_`|~09azAZ / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(MG_BODY_NONE, "\r\n" GET "\r\n"),
    ROW(-400, "\r\n\r\n" GET "\r\n"),
    ROW(-400, "\n" GET "\r\n"),
    ROW(-400, "\r" GET "\r\n"),
    ROW(-400, " " GET "\r\n"),
    ROW(-400, "GET /\r\n"),
    ROW(-400, "GET / \r\n\r\n"),
    ROW(-400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(-400, "GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(-400, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
    ROW(-400, "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(-400, "GET /\tHTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(-400, "GET / a HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(-400, "GET / HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(-400, "/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(-400, " / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(-400, "GET HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(-400, "G(T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(-400, "G\xc3\x89T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(-400, "G\0T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(-400, "GET / http/1.1\r\nHost: a\r\n\r\n"),
    ROW(-400, "GET / HTTP/1\r\nHost: a\r\n\r\n"),
    ROW(-400, "GET / HTTP/1.\r\nHost: a\r\n\r\n"),
    ROW(-400, "GET / HTTP/1.10\r\nHost: a\r\n\r\n"),
    ROW(-400, "GET / HTTP/01.1\r\nHost: a\r\n\r\n"),
    ROW(-400, "GET / HTTP/x.1\r\nHost: a\r\n\r\n"),
    ROW(-400, "GET / HTTP 1.1\r\nHost: a\r\n\r\n"),
    ROW(-400, "GET / ICY/1.1\r\nHost: a\r\n\r\n"),
    ROW(-505, "GET / HTTP/9.9\r\nHost: a\r\n\r\n"),
    ROW(-505, "GET / HTTP/0.9\r\n\r\n"),
    ROW(-505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ROW(-400, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ROW(-400, "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ROW(-400, "http/1.1 200 OK\r\n\r\n"),
    ROW(-400, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ROW(WAIT, "GET"),
    ROW(WAIT, "GET / HTTP/1.1\r\nHost: a\r\n"),
    /* target */
    ROW(MG_BODY_NONE, TARGET("/?")),
    ROW(MG_BODY_NONE, TARGET("/a?b?c=/d")),
    ROW(MG_BODY_NONE, TARGET("//a//")),
    ROW(MG_BODY_NONE, TARGET("/%00%zz%")),
    ROW(MG_BODY_NONE, TARGET("/a|b{c}\"<d>^`\\")),
    ROW(MG_BODY_NONE, TARGET("http://a")),
    ROW(MG_BODY_NONE, TARGET("http://a/b?c")),
    ROW(MG_BODY_NONE, TARGET("http://a?c")),
    ROW(MG_BODY_NONE, TARGET("HTTPS://a.b:443/")),
    ROW(MG_BODY_NONE, TARGET("http://[::1]:80/")),
    ROW(-400, TARGET("http://")),
    ROW(-400, TARGET("http:///a")),
    ROW(-400, TARGET("http:/a")),
    ROW(-400, TARGET("http:a")),
    ROW(-400, TARGET("http://u@a/")),
    ROW(-400, TARGET("http://u:p@a/")),
    ROW(-400, TARGET("http://a:b/")),
    ROW(-400, TARGET("http://a:80:80/")),
    ROW(-400, TARGET("http://a\\b/")),
    ROW(-400, TARGET("ftp://a/")),
    ROW(-400, TARGET("file:///etc/passwd")),
    ROW(-400, TARGET("a")),
    ROW(-400, TARGET("a/b")),
    ROW(-400, TARGET("?a")),
    ROW(-400, TARGET("*")),
    ROW(-400, TARGET("a:80")),
    ROW(-400, TARGET("/#a")),
    ROW(-400, TARGET("/a?b#c")),
    ROW(-400, TARGET("/\xc3\xa9")),
    ROW(-400, TARGET("/?\xc3\xa9")),
    ROW(-400, TARGET("/\x7f")),
    ROW(-400, TARGET("/a\0b")),
    ROW(-400, TARGET("/a\x0b")),
    ROW(-400, TARGET("/a\nb")),
    ROW(-400, TARGET("/a\rb")),
    ROW(-400, TARGET("/a\r\nb")),
    ROW(MG_BODY_NONE, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(MG_BODY_NONE, "OPTIONS /a HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(-400, "OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(-400, "OPTIONS *?a HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(-400, "OPTIONS *? HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(-400, "options * HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(MG_BODY_NONE, "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(MG_BODY_NONE, "CONNECT [::1]:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(-400, "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(-400, "CONNECT a: HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(-400, "CONNECT :443 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(-400, "CONNECT a:443? HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(-400, "CONNECT a:443/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(-400, "CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(-400, "CONNECT http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(-400, "connect a:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
    /* line ends and names */
    ROW(-400, "GET / HTTP/1.1\nHost: a\n\n"),
    ROW(-400, "GET / HTTP/1.1\r\nHost: a\n\r\n"),
    ROW(-400, "GET / HTTP/1.1\r\nHost: a\r\n\n"),
    ROW(-400, "GET / HTTP/1.1\rHost: a\r\r"),
    ROW(-400, "GET / HTTP/1.1\r\rHost: a\r\n\r\n"),
    ROW(-400, "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"),
    ROW(-400, GET "\rX: a\r\n\r\n"),
    ROW(-400, GET "X: a\rb\r\n\r\n"),
    ROW(-400, GET "X: a\r\r\n\r\n"),
    ROW(-400, GET "X: a\nContent-Length: 5\r\n\r\n"),
    ROW(-400, GET "X: a\rContent-Length: 5\r\n\r\n"),
    ROW(-400, GET "X: a\0b\r\n\r\n"),
    ROW(-400, GET "X: a\x0b\r\n\r\n"),
    ROW(-400, GET "X: a\x1b[m\r\n\r\n"),
    ROW(-400, GET "X: a\x7f\r\n\r\n"),
    ROW(MG_BODY_NONE, GET "X: a\tb \xff\x80\xc3\xa9\r\n\r\n"),
    ROW(MG_BODY_NONE, GET "X:\r\n\r\n"),
    ROW(MG_BODY_NONE, GET "X: \t \r\n\r\n"),
    ROW(MG_BODY_NONE, GET "!#$%&'*+-.^_`|~: a\r\n\r\n"),
    ROW(-400, GET "X: a\r\n b\r\n\r\n"),
    ROW(-400, GET "X: a\r\n\tb\r\n\r\n"),
    ROW(-400, GET "X: a\r\n \r\n\r\n"),
    ROW(-400, GET " X: a\r\n\r\n"),
    ROW(-400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    ROW(-400, GET "X : a\r\n\r\n"),
    ROW(-400, GET "X\t: a\r\n\r\n"),
    ROW(-400, GET ": a\r\n\r\n"),
    ROW(-400, GET "X\r\n\r\n"),
    ROW(-400, GET "X a\r\n\r\n"),
    ROW(-400, GET "X(y): a\r\n\r\n"),
    ROW(-400, GET "X\xc3\xa9: a\r\n\r\n"),
    ROW(-400, GET "X\0: a\r\n\r\n"),
    ROW(-400, GET "\0\r\n\r\n"),
    /* Host */
    ROW(MG_BODY_NONE, HOST("")),
    ROW(MG_BODY_NONE, HOST(" ")),
    ROW(MG_BODY_NONE, HOST(" a.b-c_d~e")),
    ROW(MG_BODY_NONE, HOST("a:")),
    ROW(MG_BODY_NONE, HOST("a:0")),
    ROW(MG_BODY_NONE, HOST("a:65535")),
    ROW(MG_BODY_NONE, HOST("127.0.0.1:8000")),
    ROW(MG_BODY_NONE, HOST("[::1]")),
    ROW(MG_BODY_NONE, HOST("[2001:db8::ffff:192.0.2.1]:8000")),
    ROW(MG_BODY_NONE, HOST("a%20b%C3%a9")),
    ROW(MG_BODY_NONE, HOST("[0000:0000:0000:0000:0000:ffff:255.255.255.255]")),
    ROW(-400, HOST("[00000:0000:0000:0000:0000:ffff:255.255.255.255]")),
    ROW(-400, HOST("[000000:0000:0000:0000:0000:ffff:255.255.255.255]")),
    ROW(-400, "GET / HTTP/1.1\r\n\r\n"),
    ROW(-400, GET "Host: a\r\n\r\n"),
    ROW(-400, GET "host: b\r\n\r\n"),
    ROW(-400, GET "HOST:\r\n\r\n"),
    ROW(-400, "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"),
    ROW(-400, "GET / HTTP/1.0\r\nHost: a b\r\n\r\n"),
    ROW(-400, HOST("a b")),
    ROW(-400, HOST("a\tb")),
    ROW(-400, HOST("a/b")),
    ROW(-400, HOST("u@a")),
    ROW(-400, HOST("http://a")),
    ROW(-400, HOST("a:b")),
    ROW(-400, HOST("a:80:80")),
    ROW(-400, HOST("a:65536")),
    ROW(-400, HOST("a:4294967376")),
    ROW(-400, HOST("a:-1")),
    ROW(-400, HOST(":80")),
    ROW(-400, HOST("::1")),
    ROW(-400, HOST("[::1")),
    ROW(-400, HOST("[]")),
    ROW(-400, HOST("[a]")),
    ROW(-400, HOST("[::1]a")),
    ROW(-400, HOST("[::1]]")),
    ROW(-400, HOST("[fe80::1%251]")),
    ROW(-400, HOST("[1:2:3:4:5:6:7:8:9]")),
    ROW(-400, HOST("[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]")),
    ROW(-400, HOST("a%2")),
    ROW(-400, HOST("a%gg")),
    ROW(-400, HOST("%")),
    ROW(-400, HOST("\xc3\xa9")),
    ROW(-400, HOST("a\"b")),
    ROW(-400, HOST("a\\b")),
    /* Content-Length */
    ROW(MG_BODY_LENGTH, CL("0")),
    ROW(MG_BODY_LENGTH, CL(" 21 \t ")),
    ROW(MG_BODY_LENGTH, CL("000000000000000000000000000000005")),
    ROW(MG_BODY_LENGTH, CL("9223372036854775807")),
    ROW(-400, CL("9223372036854775808")),
    ROW(-400, CL("18446744073709551615")),
    ROW(-400, CL("18446744073709551616")),
    ROW(-400, CL("18446744073709551621")),
    ROW(-400, CL("99999999999999999999999999999999999999")),
    ROW(-400, CL("-19")),
    ROW(-400, CL("-0")),
    ROW(-400, CL("+5")),
    ROW(-400, CL("")),
    ROW(-400, CL(" ")),
    ROW(-400, CL("5,5")),
    ROW(-400, CL("5, 5")),
    ROW(-400, CL(",5")),
    ROW(-400, CL("5,")),
    ROW(-400, CL("5 5")),
    ROW(-400, CL("5\t5")),
    ROW(-400, CL("0x5")),
    ROW(-400, CL("5a")),
    ROW(-400, CL("5.0")),
    ROW(-400, CL("1e3")),
    ROW(-400, CL("\"5\"")),
    ROW(-400, CL("five")),
    ROW(-400, CL("\xd9\xa5")),
    ROW(-400, CL("5\r\nContent-Length: 5")),
    ROW(-400, CL("5\r\ncontent-length: 6")),
    ROW(-400, CL("5\r\nX: a\r\nContent-Length:")),
    ROW(-400, CL("5\r\n 6")),
    ROW(-400, POST "Content-Length : 5\r\n\r\n"),
    ROW(MG_BODY_NONE, POST "Content_Length: 5\r\n\r\n"),
    ROW(-400, POST "Content-Lengt\xe8: 5\r\n\r\n"),
    /* Transfer-Encoding */
    ROW(MG_BODY_CHUNKED, TE("chunked")),
    ROW(MG_BODY_CHUNKED, TE(" CHUNKED\t")),
    ROW(MG_BODY_CHUNKED, TE(",chunked")),
    ROW(MG_BODY_CHUNKED, TE("chunked,")),
    ROW(MG_BODY_CHUNKED, TE(" , ,, chunked , ,")),
    ROW(-400, TE("")),
    ROW(-400, TE(",")),
    ROW(-400, TE("chunked, chunked")),
    ROW(-400, TE("chunked, identity")),
    ROW(-400, TE("chunked, gzip")),
    ROW(-400, TE("chunked\r\nTransfer-Encoding: chunked")),
    ROW(-400, TE("chunked\r\ntransfer-encoding: identity")),
    ROW(-400, TE("identity\r\nTransfer-Encoding: chunked")),
    ROW(-400, TE("\r\nTransfer-Encoding: chunked")),
    ROW(-501, TE("gzip")),
    ROW(-501, TE("identity")),
    ROW(-501, TE("gzip, chunked")),
    ROW(-501, TE("identity, chunked")),
    ROW(-501, TE("xchunked")),
    ROW(-501, TE("chunkedx")),
    ROW(-501, TE("chunke")),
    ROW(-501, TE("chunked;a=b")),
    ROW(-501, TE("chunked chunked")),
    ROW(-501, TE("\"chunked\"")),
    ROW(-501, TE("'chunked'")),
    ROW(-501, TE("gzip;a=\"b, chunked\"")),
    ROW(-501, TE("chunk\xc3\xa9" "d")),
    ROW(-501, TE("chun\xe2\x84\xaa" "ed")),
    ROW(-400, TE("\x0b" "chunked")),
    ROW(-400, TE("chunked\0")),
    ROW(-400, TE("\r\n chunked")),
    ROW(-400, TE("chunked\n")),
    ROW(-400, POST "Transfer-Encoding : chunked\r\n\r\n"),
    ROW(-400, POST "X: a\r\n\tTransfer-Encoding: chunked\r\n\r\n"),
    ROW(-400, POST "Transfer-Encoding\r\n: chunked\r\n\r\n"),
    ROW(MG_BODY_NONE, POST "TE: chunked\r\n\r\n"),
    ROW(MG_BODY_NONE, POST "Transfer_Encoding: chunked\r\n\r\n"),
    /* both, and the wrong version */
    ROW(-400, POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ROW(-400, POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"),
    ROW(-400, POST "Content-Length: 0\r\nTransfer-Encoding: identity\r\n\r\n"),
    ROW(-400, POST "Content-Length: 5\r\nTransfer-Encoding:\r\n\r\n"),
    ROW(-400, POST "TRANSFER-ENCODING: CHUNKED\r\nCONTENT-LENGTH: 5\r\n\r\n"),
    ROW(-400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ROW(-400, "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"),
    ROW(-400, "POST / HTTP/1.0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ROW(MG_BODY_LENGTH, "POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\n"),
    ROW(MG_BODY_CHUNKED, "POST / HTTP/1.7\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ROW(MG_BODY_NONE, POST "\r\n"),
    /* the rest of what is looked at */
    ROW(MG_BODY_NONE, GET "Authorization: a\r\n\r\n"),
    ROW(-400, GET "Authorization: a\r\nauthorization: a\r\n\r\n"),
    ROW(-400, "GET / HTTP/1.0\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n"),
    ROW(MG_BODY_NONE, GET "Cookie: a\r\nCookie: b\r\n\r\n"),
    ROW(MG_BODY_NONE, GET "Connection: a\r\nConnection: b\r\n\r\n"),
    ROW(MG_BODY_NONE, GET "Expect: 100-Continue\r\n\r\n"),
    ROW(MG_BODY_NONE, GET "Expect:\r\n\r\n"),
    ROW(MG_BODY_NONE, GET "Expect: 100-continue, ,100-continue\r\n\r\n"),
    ROW(-417, GET "Expect: 200-ok\r\n\r\n"),
    ROW(-417, GET "Expect: 100-continue, a\r\n\r\n"),
    ROW(-417, GET "Expect: 100-continue;a=b\r\n\r\n"),
    ROW(-417, GET "Expect: 100-continue\r\nExpect: a\r\n\r\n"),
    ROW(-400, GET "Expect: a\r\nContent-Length: x\r\n\r\n"),
    ROW(MG_BODY_NONE, "GET / HTTP/1.0\r\nExpect: a\r\n\r\n"),
};

static int judge(const char *wire, size_t len) {
  struct mg_http_message msg;
  struct mg_http_framing framing;
  int r = parse(wire, len, &msg);
  if (r <= 0) return r == 0 ? WAIT : r;
  r = mg__http_framing_request(&msg, &framing);
  return r == 0 ? framing.kind : r;
}

static void test_each_ambiguous_request_gets_its_verdict(void) {
  for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
    const struct row *row = &requests[i];
    int got = judge(row->wire, row->len);
    if (got != row->want) fprintf(stderr, "%s\nwant %d, got %d\n", row->wire, row->want, got);
    CHECK(got == row->want);
    check_laws(row->wire, row->len);
  }
}

/* Cuts a row after each byte until a verdict is reached, as reads would. */
static void test_the_first_verdict_of_growing_input_is_the_one_of_the_whole(void) {
  for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
    const struct row *row = &requests[i];
    int got = WAIT;
    for (size_t n = 0; n <= row->len && got == WAIT; n++) got = judge(row->wire, n);
    CHECK(got == row->want);
  }
}

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

/* ---- responses ------------------------------------------------------------ */

#define OK200 "HTTP/1.1 200 OK\r\n"

enum { GET_ = 0, HEAD_ = 1, CONNECT_ = 2 };
static const struct response_row {
  int to;
  struct row row;
} responses[] = {
    {GET_, ROW(MG_BODY_TO_END, OK200 "\r\n")},
    {GET_, ROW(MG_BODY_TO_END, "HTTP/1.1 200\r\n\r\n")},
    {GET_, ROW(MG_BODY_TO_END, "HTTP/1.1 200 \r\n\r\n")},
    {GET_, ROW(MG_BODY_TO_END, "HTTP/1.1 200 \xc3\xa9\xff\ta \r\n\r\n")},
    {GET_, ROW(MG_BODY_TO_END, "HTTP/1.0 999 x\r\n\r\n")},
    {GET_, ROW(MG_BODY_LENGTH, OK200 "Content-Length: 0\r\n\r\n")},
    {GET_, ROW(MG_BODY_LENGTH, "HTTP/1.0 404 x\r\nContent-Length: 7\r\n\r\n")},
    {GET_, ROW(MG_BODY_CHUNKED, OK200 "Transfer-Encoding: ,Chunked\r\n\r\n")},
    {GET_, ROW(MG_BODY_NONE, "HTTP/1.1 100 Continue\r\n\r\n")},
    {GET_, ROW(MG_BODY_NONE, "HTTP/1.1 101 x\r\n\r\n")},
    {GET_, ROW(MG_BODY_NONE, "HTTP/1.1 204 x\r\n\r\n")},
    {GET_, ROW(MG_BODY_NONE, "HTTP/1.1 204 x\r\nContent-Length: 0\r\n\r\n")},
    {GET_, ROW(MG_BODY_NONE, "HTTP/1.1 204 x\r\nContent-Length: 5\r\n\r\n")},
    {GET_, ROW(MG_BODY_NONE, "HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n")},
    {GET_, ROW(MG_BODY_NONE, "HTTP/1.1 304 x\r\nTransfer-Encoding: chunked\r\n\r\n")},
    {GET_, ROW(MG_BODY_LENGTH, "HTTP/1.1 205 x\r\nContent-Length: 0\r\n\r\n")},
    {HEAD_, ROW(MG_BODY_NONE, OK200 "\r\n")},
    {HEAD_, ROW(MG_BODY_NONE, OK200 "Content-Length: 5\r\n\r\n")},
    {HEAD_, ROW(MG_BODY_NONE, OK200 "Transfer-Encoding: chunked\r\n\r\n")},
    {CONNECT_, ROW(MG_BODY_NONE, OK200 "Content-Length: 5\r\n\r\n")},
    {CONNECT_, ROW(MG_BODY_NONE, "HTTP/1.1 299 x\r\nTransfer-Encoding: chunked\r\n\r\n")},
    {CONNECT_, ROW(MG_BODY_LENGTH, "HTTP/1.1 407 x\r\nContent-Length: 5\r\n\r\n")},
    {GET_, ROW(-502, "HTTP/1.1 100 x\r\nTransfer-Encoding: chunked\r\n\r\n")},
    {GET_, ROW(-502, "HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n")},
    {GET_, ROW(-502, OK200 "Content-Length: 5\r\nContent-Length: 5\r\n\r\n")},
    {GET_, ROW(-502, OK200 "Content-Length: 5\r\nContent-Length: 6\r\n\r\n")},
    {GET_, ROW(-502, OK200 "Content-Length: 5, 5\r\n\r\n")},
    {GET_, ROW(-502, OK200 "Content-Length: -1\r\n\r\n")},
    {GET_, ROW(-502, OK200 "Content-Length: 9223372036854775808\r\n\r\n")},
    {GET_, ROW(-502, OK200 "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n")},
    {GET_, ROW(-502, OK200 "Transfer-Encoding: gzip\r\n\r\n")},
    {GET_, ROW(-502, OK200 "Transfer-Encoding: gzip, chunked\r\n\r\n")},
    {GET_, ROW(-502, OK200 "Transfer-Encoding: chunked\r\nTransfer-Encoding: a\r\n\r\n")},
    {GET_, ROW(-502, "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")},
    {HEAD_, ROW(-502, OK200 "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n")},
    {GET_, ROW(-502, GET "\r\n")},
    {GET_, ROW(-502, "GETTINGX / HTTP/1.1\r\n\r\n")},
    {GET_, ROW(-505, "HTTP/2.0 200 OK\r\n\r\n")},
    {GET_, ROW(-505, "HTTP/0.9 200 OK\r\n\r\n")},
    {GET_, ROW(-400, "HTTP/1.1  200 OK\r\n\r\n")},
    {GET_, ROW(-400, "HTTP/1.1\t200 OK\r\n\r\n")},
    {GET_, ROW(-400, "HTTP/1.1 20 OK\r\n\r\n")},
    {GET_, ROW(-400, "HTTP/1.1 2000 OK\r\n\r\n")},
    {GET_, ROW(-400, "HTTP/1.1 099 OK\r\n\r\n")},
    {GET_, ROW(-400, "HTTP/1.1 -20 OK\r\n\r\n")},
    {GET_, ROW(-400, "HTTP/1.1 2x0 OK\r\n\r\n")},
    {GET_, ROW(-400, "HTTP/1.1 200\tOK\r\n\r\n")},
    {GET_, ROW(-400, "HTTP/1.1 200 O\0K\r\n\r\n")},
    {GET_, ROW(-400, "HTTP/1.1 200 OK\n\r\n")},
    {GET_, ROW(-400, "HTTP/1.1 200 O\rK\r\n\r\n")},
    {GET_, ROW(-400, "HTTP/1 200 OK\r\n\r\n")},
    {GET_, ROW(-400, "HTTP/1.1\r\n\r\n")},
    {GET_, ROW(-400, "Http/1.1 200 OK\r\n\r\n")},
    {GET_, ROW(-400, "ICY/1.1 200 OK\r\n\r\n")},
    {GET_, ROW(-400, "\r\n" OK200 "\r\n")},
    {GET_, ROW(-400, OK200 "X : a\r\n\r\n")},
    {GET_, ROW(-400, OK200 "X: a\r\n b\r\n\r\n")},
    {GET_, ROW(WAIT, "HTTP/1.1 200")},
};

static int judge_response(const struct response_row *r, size_t len) {
  struct mg_http_message msg;
  struct mg_http_framing framing;
  int got = parse(r->row.wire, len, &msg);
  if (got <= 0) return got == 0 ? WAIT : got;
  got = mg__http_framing_response(&msg, r->to == HEAD_, r->to == CONNECT_, &framing);
  return got == 0 ? framing.kind : got;
}

static void test_each_response_is_framed_by_its_status_and_request(void) {
  for (size_t i = 0; i < sizeof(responses) / sizeof(responses[0]); i++) {
    const struct row *row = &responses[i].row;
    int got = WAIT, whole = judge_response(&responses[i], row->len);
    if (whole != row->want) fprintf(stderr, "%s\nwant %d, got %d\n", row->wire, row->want, whole);
    CHECK(whole == row->want);
    for (size_t n = 0; n <= row->len && got == WAIT; n++) got = judge_response(&responses[i], n);
    CHECK(got == row->want);
    check_laws(row->wire, row->len);
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

/* ---- persistence, expectations, lengths ------------------------------------ */

static struct mg_http_framing framing_of(const char *wire) {
  struct mg_http_message msg;
  struct mg_http_framing framing;
  CHECK(parse(wire, strlen(wire), &msg) > 0);
  if (memcmp(wire, "HTTP/", 5) == 0) {
    CHECK(mg__http_framing_response(&msg, false, false, &framing) == 0);
  } else {
    CHECK(mg__http_framing_request(&msg, &framing) == 0);
  }
  return framing;
}

static void test_only_a_close_token_ends_an_http_1_1_connection(void) {
  CHECK(framing_of(GET "\r\n").keep_alive);
  CHECK(framing_of(GET "Connection: upgrade\r\n\r\n").keep_alive);
  CHECK(framing_of(GET "Connection: closed, xclose, clos\r\n\r\n").keep_alive);
  CHECK(framing_of(GET "X: close\r\n\r\n").keep_alive);
  CHECK(!framing_of(GET "Connection: close\r\n\r\n").keep_alive);
  CHECK(!framing_of(GET "Connection: a ,\tCLOSE ,b\r\n\r\n").keep_alive);
  CHECK(!framing_of(GET "connection: keep-alive\r\nCONNECTION: Close\r\n\r\n").keep_alive);
  CHECK(!framing_of(GET "Connection: close\r\nConnection: keep-alive\r\n\r\n").keep_alive);
}

static void test_only_a_keep_alive_token_keeps_an_http_1_0_connection(void) {
  struct mg_http_framing f = framing_of("GET / HTTP/1.0\r\nConnection: a,Keep-Alive\r\n\r\n");
  CHECK(f.keep_alive && f.keep_alive_token && f.http10);
  f = framing_of("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n");
  CHECK(!f.keep_alive && f.keep_alive_token);
  CHECK(framing_of("GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: a\r\n\r\n").keep_alive);
  f = framing_of("GET / HTTP/1.0\r\nKeep-Alive: 5\r\n\r\n");
  CHECK(!f.keep_alive && !f.keep_alive_token);
  CHECK(!framing_of(GET "\r\n").http10);
}

static void test_a_response_without_length_ends_its_connection(void) {
  CHECK(!framing_of(OK200 "\r\n").keep_alive);
  CHECK(!framing_of(OK200 "Connection: keep-alive\r\n\r\n").keep_alive);
  CHECK(framing_of(OK200 "Content-Length: 0\r\n\r\n").keep_alive);
  CHECK(framing_of("HTTP/1.1 204 x\r\n\r\n").keep_alive);
  CHECK(!framing_of(OK200 "Content-Length: 0\r\nConnection: close\r\n\r\n").keep_alive);
  CHECK(!framing_of("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").keep_alive);
}

static void test_an_expectation_counts_from_http_1_1_on(void) {
  CHECK(framing_of(POST "Expect: 100-CONTINUE\r\n\r\n").expect_continue);
  CHECK(!framing_of(POST "\r\n").expect_continue);
  CHECK(!framing_of(POST "Expect:\r\n\r\n").expect_continue);
  CHECK(!framing_of("POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").expect_continue);
}

static void test_a_content_length_is_read_as_a_decimal_number(void) {
  CHECK(framing_of(CL("0")).length == 0);
  CHECK(framing_of(CL("00010")).length == 10);
  CHECK(framing_of(CL("1234567890123")).length == 1234567890123u);
  CHECK(framing_of(CL("9223372036854775807")).length == INT64_MAX);
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
  RUN(test_each_ambiguous_request_gets_its_verdict);
  RUN(test_the_first_verdict_of_growing_input_is_the_one_of_the_whole);
  RUN(test_garbage_is_refused_at_its_first_byte);
  RUN(test_the_parts_of_a_request_are_found);
  RUN(test_uri_keeps_the_whole_target_up_to_the_query);
  RUN(test_each_response_is_framed_by_its_status_and_request);
  RUN(test_the_parts_of_a_response_are_found);
  RUN(test_only_a_close_token_ends_an_http_1_1_connection);
  RUN(test_only_a_keep_alive_token_keeps_an_http_1_0_connection);
  RUN(test_a_response_without_length_ends_its_connection);
  RUN(test_an_expectation_counts_from_http_1_1_on);
  RUN(test_a_content_length_is_read_as_a_decimal_number);
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
