/* test_http_framing.c: where a message ends, RFC 9112 sections 2 to 6.
 *
 * The heart is a table of messages that two readers could take differently, each with its
 * verdict. Every row goes through the laws of http_heads.h as well. */
#include "check.h"

#include "../src/http_parse.c"

#include "http_heads.h"

/* ---- requests ------------------------------------------------------------- */

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

int main(void) {
  RUN(test_each_ambiguous_request_gets_its_verdict);
  RUN(test_the_first_verdict_of_growing_input_is_the_one_of_the_whole);
  RUN(test_each_response_is_framed_by_its_status_and_request);
  RUN(test_only_a_close_token_ends_an_http_1_1_connection);
  RUN(test_only_a_keep_alive_token_keeps_an_http_1_0_connection);
  RUN(test_a_response_without_length_ends_its_connection);
  RUN(test_an_expectation_counts_from_http_1_1_on);
  RUN(test_a_content_length_is_read_as_a_decimal_number);
  printf("%d checks\n", check_count);
  return 0;
}
