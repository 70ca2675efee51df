/* fuzz_http_chunked.c: any bytes as a chunked body.
 *
 * Beyond what the sanitizers see: cutting the stream changes nothing, and a
 * plain decoder that has the whole body before it gives the same data and the
 * same end. */
#include "../src/http_chunked.c"
#include "../src/http_parse.c"

#define MUST(cond) ((cond) ? (void) 0 : abort())

struct outcome {
  int verdict;
  size_t used, len;
  char *data;
};

static bool feed_piece(struct mg_chunked *d, const struct mgx_limits *limits, const char *bytes,
                       size_t len, struct outcome *out) {
  char *piece = malloc(len), *p = piece;
  if (len > 0) memcpy(piece, bytes, len);
  do {
    struct mg_str data = {NULL, 0};
    size_t used = 0;
    out->verdict = mg__chunked_feed(d, limits, p, len, &used, &data);
    MUST(used <= len && d->left <= INT64_MAX);
    MUST(out->verdict != MG_CHUNK_MORE || used == len);
    if (out->verdict == MG_CHUNK_DATA) {
      MUST(data.len > 0 && data.buf >= p && data.buf + data.len == p + used);
      memcpy(out->data + out->len, data.buf, data.len);
      out->len += data.len;
    }
    out->used += used;
    p += used;
    len -= used;
  } while (out->verdict == MG_CHUNK_DATA);
  free(piece);
  return out->verdict == MG_CHUNK_MORE;
}

static const uint64_t WHOLE = UINT64_MAX, BYTES = 0;

/* In pieces of 1 to 16 bytes, as the bits of `cuts` say over and over. */
static struct outcome decode(const struct mgx_limits *limits, const char *wire, size_t len,
                             uint64_t cuts) {
  struct outcome out = {MG_CHUNK_MORE, 0, 0, malloc(len + 1)};
  struct mg_chunked d;
  size_t at = 0;
  mg__chunked_init(&d);
  do {
    size_t n = cuts == WHOLE ? len : (cuts & 15) + 1;
    if (n > len - at) n = len - at;
    cuts = cuts >> 5 | cuts << 59;
    if (!feed_piece(&d, limits, wire + at, n, &out)) break;
    at += n;
  } while (at < len);
  return out;
}

/* ---- the plain decoder: sees the whole, works by lines ------------------------- */

static const char *line_end(const char *p, const char *end) {
  const char *lf = p == end ? NULL : memchr(p, '\n', (size_t) (end - p));
  return lf == NULL || lf == p || lf[-1] != '\r' ? NULL : lf - 1;
}

static bool all(const char *p, const char *end, unsigned cls) {
  while (p < end && mg__http_is(*p, cls)) p++;
  return p == end;
}

/* The size that the line p..end says, or -1. */
static int64_t plain_size(const char *p, const char *end, const struct mgx_limits *limits) {
  size_t digits = strspn(p, "0123456789abcdefABCDEF");
  const char *rest = p + digits;
  uint64_t size;
  if (digits < 1 || digits > 16) return -1;
  size = strtoull(p, NULL, 16);
  if (size > INT64_MAX || !all(rest, end, MG_HTTP_TEXT)) return -1;
  if (limits->chunk_extension != 0 && (size_t) (end - rest) > limits->chunk_extension) return -1;
  p = rest;
  while (p < end && (*p == ' ' || *p == '\t')) p++;
  return p < end ? (*p == ';' ? (int64_t) size : -1) : (rest == end ? (int64_t) size : -1);
}

/* The end of the trailers that begin at p, or NULL. */
static const char *plain_trailers(const char *p, const char *end, const struct mgx_limits *limits) {
  const char *start = p, *eol, *colon;
  uint64_t lines = 0;
  while ((eol = line_end(p, end)) != NULL && eol > p) {
    colon = memchr(p, ':', (size_t) (eol - p));
    if (colon == NULL || colon == p || !all(p, colon, MG_HTTP_TOKEN)) return NULL;
    if (!all(colon + 1, eol, MG_HTTP_TEXT)) return NULL;
    lines++;
    p = eol + 2;
  }
  if (eol == NULL) return NULL;
  if (limits->header_count != 0 && lines > limits->header_count) return NULL;
  if (limits->header_bytes != 0 && (size_t) (p + 2 - start) > limits->header_bytes) return NULL;
  return p + 2;
}

/* Compare with what came out in pieces; wire ends in NUL. */
static void check_model(const struct mgx_limits *limits, const char *wire, size_t len,
                        const struct outcome *out) {
  const char *p = wire, *end = wire + len, *eol;
  size_t got = 0;
  int64_t size = -1;
  while ((eol = line_end(p, end)) != NULL && (size = plain_size(p, eol, limits)) > 0) {
    p = eol + 2;
    if (end - p < 2 || size > end - p - 2 || memcmp(p + size, "\r\n", 2) != 0) break;
    MUST(out->len - got >= (size_t) size && memcmp(out->data + got, p, (size_t) size) == 0);
    got += (size_t) size;
    p += size + 2;
  }
  p = eol != NULL && size == 0 ? plain_trailers(eol + 2, end, limits) : NULL;
  MUST((p != NULL) == (out->verdict == MG_CHUNK_END));
  if (p != NULL) MUST(out->used == (size_t) (p - wire) && out->len == got);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const struct mgx_limits limits_of[] = {
      {.header_bytes = 65536, .header_count = 100, .chunk_extension = 256},
      {.header_bytes = 20, .header_count = 2, .chunk_extension = 4},
      {0},
  };
  const struct mgx_limits *limits;
  struct outcome whole, cut, bytes;
  uint64_t cuts;
  char *wire;
  if (size < 9) return 0;
  limits = &limits_of[data[0] % 3];
  memcpy(&cuts, data + 1, 8);
  size -= 9;
  wire = malloc(size + 1);
  memcpy(wire, data + 9, size);
  wire[size] = '\0';
  whole = decode(limits, wire, size, WHOLE);
  cut = decode(limits, wire, size, cuts);
  bytes = decode(limits, wire, size, BYTES);
  MUST(whole.verdict == cut.verdict && whole.len == cut.len);
  MUST(whole.verdict == bytes.verdict && whole.len == bytes.len);
  MUST(memcmp(whole.data, cut.data, whole.len) == 0);
  MUST(memcmp(whole.data, bytes.data, whole.len) == 0);
  MUST(whole.verdict < 0 || (whole.used == cut.used && whole.used == bytes.used));
  check_model(limits, wire, size, &whole);
  free(whole.data);
  free(cut.data);
  free(bytes.data);
  free(wire);
  return 0;
}
