/* test_http_chunked.c: the chunked coding, RFC 9112 section 7.1.
 *
 * Every body here is fed whole, cut in two at each place and byte by byte,
 * each piece up against an unreadable page, and must give the same data, the
 * same end and the same verdict. */
#include "check.h"

#include "../src/http_chunked.c"
#include "../src/http_parse.c"

static struct mgx_limits limits = {
    .header_bytes = 65536, .header_count = 100, .chunk_extension = 256};

/* What came of feeding a stream up to its end, its failure or its last byte. */
struct outcome {
  int verdict;
  size_t used; /* not of failures: there it says nothing */
  size_t len;
  char data[70000];
};

/* Feed one piece the way a reader does; true: go on with the next one. */
static bool feed_piece(struct mg_chunked *d, const char *piece, size_t len, struct outcome *out) {
  const char *p = guarded(piece, len);
  for (;;) {
    struct mg_str data = {NULL, 0};
    size_t used = SIZE_MAX;
    out->verdict = mg__chunked_feed(d, &limits, p, len, &used, &data);
    if (out->verdict < 0) return false;
    CHECK(used <= len);
    out->used += used;
    if (out->verdict == MG_CHUNK_END) return false;
    if (out->verdict == MG_CHUNK_MORE) {
      CHECK(used == len);
      return true;
    }
    CHECK(data.len > 0 && data.buf >= p && data.buf + data.len == p + used);
    CHECK(data.len <= sizeof(out->data) - out->len);
    memcpy(out->data + out->len, data.buf, data.len);
    out->len += data.len;
    p += used;
    len -= used;
  }
}

/* In pieces of `step` bytes, the first of `first`. */
static const struct outcome *decode(const char *wire, size_t len, size_t first, size_t step,
                                    struct outcome *out) {
  struct mg_chunked d;
  size_t at = 0, n = first < len ? first : len;
  mg__chunked_init(&d);
  out->len = out->used = 0;
  while (feed_piece(&d, wire + at, n, out) && at + n < len) {
    at += n;
    n = step < len - at ? step : len - at;
  }
  return out;
}

static void check_same(const struct outcome *a, const struct outcome *b) {
  CHECK(a->verdict == b->verdict && a->len == b->len);
  CHECK(memcmp(a->data, b->data, a->len) == 0);
  CHECK(a->verdict < 0 || a->used == b->used);
}

static void check_every_split(const char *wire, size_t len) {
  static struct outcome whole, split;
  decode(wire, len, len, 1, &whole);
  for (size_t n = 0; n <= len; n++) check_same(&whole, decode(wire, len, n, len, &split));
  for (size_t n = 1; n < 8; n++) check_same(&whole, decode(wire, len, n, n, &split));
}

struct row {
  int want; /* of the body: MG_CHUNK_END, MG_CHUNK_MORE or -400 */
  const char *data;
  const char *wire;
  size_t len, rest; /* rest: bytes of the next message */
};
#define ENDS(data, wire, rest) {MG_CHUNK_END, data, wire rest, sizeof(wire rest) - 1, sizeof(rest) - 1}
#define WAITS(data, wire) {MG_CHUNK_MORE, data, wire, sizeof(wire) - 1, 0}
#define FAILS(data, wire) {-400, data, wire, sizeof(wire) - 1, 0}

static const struct row rows[] = {
    ENDS("", "0\r\n\r\n", ""),
    ENDS("", "0\r\n\r\n", "GET / HTTP/1.1\r\n"),
    ENDS("", "0\r\n\r\n", "\r\n"),
    ENDS("", "0000000000000000\r\n\r\n", ""),
    ENDS("hello", "5\r\nhello\r\n0\r\n\r\n", "0\r\n\r\n"),
    ENDS("hello world", "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", ""),
    ENDS("0123456789abcdef", "a\r\n0123456789\r\n006\r\nabcdef\r\n0\r\n\r\n", "x"),
    ENDS("0123456789abc", "D\r\n0123456789abc\r\n0\r\n\r\n", ""),
    ENDS("\r\n0\r\n\r\n", "7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", ""),
    ENDS("a", "0000000000000001\r\na\r\n0\r\n\r\n", ""),
    /* extensions */
    ENDS("a", "1;x\r\na\r\n0;y\r\n\r\n", ""),
    ENDS("a", "1;x=\"y;z\\\"\";q=r\r\na\r\n0\r\n\r\n", ""),
    ENDS("a", "1 \t;\tx = y\r\na\r\n0\r\n\r\n", ""),
    ENDS("a", "1;\xc3\xa9\r\na\r\n0\r\n\r\n", ""),
    ENDS("a", "1;\r\na\r\n0\r\n\r\n", ""),
    /* trailers */
    ENDS("a", "1\r\na\r\n0\r\nX: y\r\n\r\n", "z"),
    ENDS("a", "1\r\na\r\n0\r\nX:\r\nContent-Length: 9\r\nY: \xff\t \r\n\r\n", ""),
    /* to be continued */
    WAITS("", ""),
    WAITS("", "1"),
    WAITS("", "0\r\n\r"),
    WAITS("", "5;x"),
    WAITS("hel", "5\r\nhel"),
    WAITS("hello", "5\r\nhello"),
    WAITS("hello", "5\r\nhello\r\n"),
    WAITS("", "0\r\nX"),
    WAITS("", "0\r\nX: y\r\n"),
    WAITS("", "7fffffffffffffff\r\n"),
    WAITS("abc", "7FFFFFFFFFFFFFFF\r\nabc"),
    /* sizes */
    FAILS("", "\r\n"),
    FAILS("", "\n"),
    FAILS("", ";x\r\n"),
    FAILS("", " 1\r\na\r\n"),
    FAILS("", "\t1\r\na\r\n"),
    FAILS("", "+1\r\na\r\n"),
    FAILS("", "-1\r\na\r\n"),
    FAILS("", "-0\r\n\r\n"),
    FAILS("", "0x1\r\na\r\n"),
    FAILS("", "0X1\r\na\r\n"),
    FAILS("", "1h\r\na\r\n"),
    FAILS("", "g\r\n"),
    FAILS("", "\"1\"\r\na\r\n"),
    FAILS("", "1,1\r\na\r\n"),
    FAILS("", "1.0\r\na\r\n"),
    FAILS("", "1_0\r\n"),
    FAILS("", "\0" "1\r\n"),
    FAILS("", "1\0\r\na\r\n"),
    FAILS("", "1 \r\na\r\n"),
    FAILS("", "1\t\r\na\r\n"),
    FAILS("", "1 1\r\na\r\n"),
    FAILS("", "1 x\r\na\r\n"),
    FAILS("", "\xc2\xb9\r\n"),
    FAILS("", "8000000000000000\r\n"),
    FAILS("", "ffffffffffffffff\r\n"),
    FAILS("", "fffffffffffffffe\r\n"),
    FAILS("", "10000000000000000\r\n"),
    FAILS("", "10000000000000001\r\na\r\n"),
    FAILS("", "00000000000000001\r\na\r\n"),
    FAILS("", "00000000000000000\r\n\r\n"),
    /* line ends */
    FAILS("", "1\na\n0\n\n"),
    FAILS("", "1\na\r\n0\r\n\r\n"),
    FAILS("", "1\ra\r\n"),
    FAILS("", "1\r\r\na\r\n"),
    FAILS("", "1;x\na\r\n"),
    FAILS("", "1;x\rya\r\n"),
    FAILS("", "1;x\0\r\na\r\n"),
    FAILS("", "1;x\x7f\r\na\r\n"),
    FAILS("", "1;\x1b\r\na\r\n"),
    FAILS("a", "1\r\na\n0\r\n\r\n"),
    FAILS("a", "1\r\na0\r\n\r\n"),
    FAILS("a", "1\r\nab\r\n0\r\n\r\n"),
    FAILS("a", "1\r\na\r0\r\n\r\n"),
    FAILS("a", "1\r\na\r\r\n0\r\n\r\n"),
    FAILS("a", "1\r\na\r\n\r\n0\r\n\r\n"),
    FAILS("\r", "1\r\n\r\n0\r\n\r\n"),
    FAILS("a\r\n", "3\r\na\r\n0\r\n\r\n"),
    FAILS("", "0\r\n\n"),
    FAILS("", "0\n\r\n"),
    FAILS("", "0\r\n\r\r\n"),
    FAILS("", "0\r\n\rX"),
    /* trailer lines */
    FAILS("", "0\r\nGET / HTTP/1.1\r\n\r\n"),
    FAILS("", "0\r\n X: y\r\n\r\n"),
    FAILS("", "0\r\nX: y\r\n z\r\n\r\n"),
    FAILS("", "0\r\nX : y\r\n\r\n"),
    FAILS("", "0\r\n: y\r\n\r\n"),
    FAILS("", "0\r\nX\r\n\r\n"),
    FAILS("", "0\r\nX: y\n\r\n"),
    FAILS("", "0\r\nX: y\rz\r\n\r\n"),
    FAILS("", "0\r\nX: \0\r\n\r\n"),
    FAILS("", "0\r\nX: \x7f\r\n\r\n"),
    FAILS("", "0\r\nX(: y\r\n\r\n"),
    FAILS("", "0\r\nX\xc3\xa9: y\r\n\r\n"),
    FAILS("", "0\r\n\0\r\n\r\n"),
};

static void test_each_body_gives_its_data_and_verdict_however_it_is_split(void) {
  static struct outcome got;
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    const struct row *row = &rows[i];
    decode(row->wire, row->len, row->len, 1, &got);
    if (got.verdict != row->want) fprintf(stderr, "%s\ngot %d\n", row->wire, got.verdict);
    CHECK(got.verdict == row->want);
    CHECK(got.len == strlen(row->data) && memcmp(got.data, row->data, got.len) == 0);
    CHECK(got.verdict < 0 || got.used == row->len - row->rest);
    check_every_split(row->wire, row->len);
  }
}

static void test_every_proper_prefix_of_a_body_asks_for_more(void) {
  static struct outcome got;
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    if (rows[i].want != MG_CHUNK_END) continue;
    for (size_t n = 0; n < rows[i].len - rows[i].rest; n++) {
      CHECK(decode(rows[i].wire, n, n, 1, &got)->verdict == MG_CHUNK_MORE);
    }
  }
}

static void test_bytes_behind_the_end_are_left_alone_however_often_one_asks(void) {
  static const char wire[] = "0\r\n\r\nGET";
  struct mg_chunked d;
  struct mg_str data;
  size_t used;
  mg__chunked_init(&d);
  CHECK(mg__chunked_feed(&d, &limits, wire, 8, &used, &data) == MG_CHUNK_END && used == 5);
  CHECK(mg__chunked_feed(&d, &limits, wire + 5, 3, &used, &data) == MG_CHUNK_END && used == 0);
}

static void test_a_failure_is_final(void) {
  struct mg_chunked d;
  struct mg_str data;
  size_t used;
  mg__chunked_init(&d);
  CHECK(mg__chunked_feed(&d, &limits, "x", 1, &used, &data) == -400);
  CHECK(mg__chunked_feed(&d, &limits, "0\r\n\r\n", 5, &used, &data) == -400);
  CHECK(mg__chunked_feed(&d, &limits, NULL, 0, &used, &data) == -400);
}

/* ---- limits ------------------------------------------------------------------ */

static char big[200000];

static int verdict_of(size_t len) {
  static struct outcome got;
  int verdict = decode(big, len, len, 1, &got)->verdict;
  CHECK(decode(big, len, 1, 1, &got)->verdict == verdict);
  return verdict;
}

/* A last chunk with n bytes behind its digit. */
static size_t with_extension(size_t n) {
  memset(big, 'x', n + 1);
  memcpy(big, "0;", 2);
  memcpy(big + 1 + n, "\r\n\r\n", 4);
  return n + 5;
}

static void test_an_extension_is_bounded(void) {
  CHECK(verdict_of(with_extension(255)) == MG_CHUNK_END);
  CHECK(verdict_of(with_extension(256)) == MG_CHUNK_END);
  CHECK(verdict_of(with_extension(257)) == -400);
  CHECK(verdict_of(257) == MG_CHUNK_MORE); /* refused with the byte that is too much */
  CHECK(verdict_of(258) == -400);
  memset(big + 1, ' ', 1000);
  CHECK(verdict_of(257) == MG_CHUNK_MORE);
  CHECK(verdict_of(258) == -400);
}

static void test_the_extension_of_each_chunk_counts_by_itself(void) {
  size_t len = 0;
  for (int i = 0; i < 100; i++) {
    len += (size_t) sprintf(big + len, "1;%0255d\r\na\r\n", i);
  }
  CHECK(verdict_of(len) == MG_CHUNK_MORE);
}

/* A last chunk and trailers of n bytes, the empty line included. */
static size_t with_trailers(size_t n) {
  memset(big, 'x', n + 3);
  memcpy(big, "0\r\nX:", 5);
  memcpy(big + 3 + n - 4, "\r\n\r\n", 4);
  return n + 3;
}

static void test_trailers_are_bounded_in_bytes(void) {
  CHECK(verdict_of(with_trailers(65535)) == MG_CHUNK_END);
  CHECK(verdict_of(with_trailers(65536)) == MG_CHUNK_END);
  CHECK(verdict_of(with_trailers(65537)) == -400);
  CHECK(verdict_of(with_trailers(150000)) == -400);
}

static void test_trailers_are_bounded_in_lines(void) {
  size_t len = (size_t) sprintf(big, "0\r\n");
  for (int i = 0; i < 100; i++) len += (size_t) sprintf(big + len, "X: %d\r\n", i);
  CHECK(verdict_of(len) == MG_CHUNK_MORE);
  memcpy(big + len, "\r\n", 2);
  CHECK(verdict_of(len + 2) == MG_CHUNK_END);
  memcpy(big + len, "X:\r\n\r\n", 6);
  CHECK(verdict_of(len + 1) == -400);
  CHECK(verdict_of(len + 6) == -400);
}

static void test_limits_of_zero_are_none(void) {
  struct mgx_limits kept = limits;
  size_t len = (size_t) sprintf(big, "0\r\n");
  memset(&limits, 0, sizeof(limits));
  CHECK(verdict_of(with_extension(150000)) == MG_CHUNK_END);
  CHECK(verdict_of(with_trailers(150000)) == MG_CHUNK_END);
  for (int i = 0; i < 5000; i++) len += (size_t) sprintf(big + len, "X: %d\r\n", i);
  memcpy(big + len, "\r\n", 2);
  CHECK(verdict_of(len + 2) == MG_CHUNK_END);
  limits = kept;
}

/* ---- random bodies -------------------------------------------------------------- */

static unsigned random_state = 54321;
static unsigned random_below(unsigned n) {
  random_state = random_state * 1664525u + 1013904223u;
  return (random_state >> 8) % n;
}

/* Encode random data in random pieces, with the liberties the grammar gives. */
static size_t random_body(char *wire, char *data, size_t *data_len) {
  size_t len = 0;
  *data_len = 0;
  for (unsigned chunks = random_below(6); chunks > 0; chunks--) {
    unsigned n = random_below(40) + 1;
    switch (random_below(6)) {
      case 0: len += (size_t) sprintf(wire + len, "%x\r\n", n); break;
      case 1: len += (size_t) sprintf(wire + len, "%X\r\n", n); break;
      case 2: len += (size_t) sprintf(wire + len, "0%x\r\n", n); break;
      case 3: len += (size_t) sprintf(wire + len, "%016x\r\n", n); break;
      case 4: len += (size_t) sprintf(wire + len, "%x;a\r\n", n); break;
      default: len += (size_t) sprintf(wire + len, "%x \t; a=\"b\"\r\n", n); break;
    }
    for (unsigned i = 0; i < n; i++) {
      wire[len++] = data[(*data_len)++] = (char) random_below(256);
    }
    memcpy(wire + len, "\r\n", 2);
    len += 2;
  }
  len += (size_t) sprintf(wire + len, "0\r\n");
  for (unsigned i = random_below(3); i > 0; i--) len += (size_t) sprintf(wire + len, "T%u: v\r\n", i);
  return len + (size_t) sprintf(wire + len, "\r\n");
}

static void test_any_encoded_data_comes_back(void) {
  static struct outcome got;
  for (int round = 0; round < 200; round++) {
    char wire[1024], data[512];
    size_t data_len, len = random_body(wire, data, &data_len);
    decode(wire, len, len, 1, &got);
    CHECK(got.verdict == MG_CHUNK_END && got.used == len);
    CHECK(got.len == data_len && memcmp(got.data, data, data_len) == 0);
    check_every_split(wire, len);
  }
}

static void test_damage_gives_the_same_verdict_however_it_is_split(void) {
  for (int round = 0; round < 1000; round++) {
    char wire[1024], data[512];
    size_t data_len, len = random_body(wire, data, &data_len);
    for (unsigned hits = random_below(3) + 1; hits > 0; hits--) {
      wire[random_below((unsigned) len)] = (char) random_below(128);
    }
    check_every_split(wire, len);
  }
}

int main(void) {
  RUN(test_each_body_gives_its_data_and_verdict_however_it_is_split);
  RUN(test_every_proper_prefix_of_a_body_asks_for_more);
  RUN(test_bytes_behind_the_end_are_left_alone_however_often_one_asks);
  RUN(test_a_failure_is_final);
  RUN(test_an_extension_is_bounded);
  RUN(test_the_extension_of_each_chunk_counts_by_itself);
  RUN(test_trailers_are_bounded_in_bytes);
  RUN(test_trailers_are_bounded_in_lines);
  RUN(test_limits_of_zero_are_none);
  RUN(test_any_encoded_data_comes_back);
  RUN(test_damage_gives_the_same_verdict_however_it_is_split);
  printf("%d checks\n", check_count);
  return 0;
}
