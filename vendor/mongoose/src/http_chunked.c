/* http_chunked.c: the chunked transfer coding, RFC 9112 section 7.1.
 *
 * A state machine fed with whatever has arrived. It keeps a few numbers and
 * no bytes: data is handed on where it lies, so a body of any size costs time
 * in proportion to its length and no memory. Extensions and trailer fields are
 * checked, bounded and dropped. What becomes of the data is left to http.c. */
#include "internal.h"

enum {
  CHUNK_SIZE,          /* digits of a chunk's size */
  CHUNK_BLANK,         /* blanks between them and ';' */
  CHUNK_EXTENSION,     /* behind ';' */
  CHUNK_SIZE_LF,       /* behind the CR of the size line */
  CHUNK_DATA,
  CHUNK_DATA_CR,
  CHUNK_DATA_LF,
  CHUNK_TRAILER,       /* at the start of a trailer line */
  CHUNK_TRAILER_NAME,
  CHUNK_TRAILER_VALUE,
  CHUNK_TRAILER_LF,
  CHUNK_LAST_LF,
  CHUNK_OVER,
  CHUNK_FAILED,
};

void mg__chunked_init(struct mg_chunked *d) { memset(d, 0, sizeof(*d)); }

static int chunk_hex(char ch) {
  if (ch >= '0' && ch <= '9') return ch - '0';
  if (ch >= 'a' && ch <= 'f') return ch - 'a' + 10;
  if (ch >= 'A' && ch <= 'F') return ch - 'A' + 10;
  return -1;
}

/* The size line. A size of 2^63 and above is refused, so that adding to one
 * can't wrap; zeros in front are part of the 16 digits. Blanks may stand
 * before ';' only: at the end of the line some readers take them, some do not. */
static int chunk_size_byte(struct mg_chunked *d, char ch) {
  int digit = chunk_hex(ch);
  if (digit >= 0) {
    if (d->digits == 16 || d->left > (uint64_t) INT64_MAX >> 4) return CHUNK_FAILED;
    d->left = d->left << 4 | (unsigned) digit;
    d->digits++;
    return CHUNK_SIZE;
  }
  if (d->digits == 0) return CHUNK_FAILED;
  if (ch == '\r') return CHUNK_SIZE_LF;
  if (ch == ';') return CHUNK_EXTENSION;
  return ch == ' ' || ch == '\t' ? CHUNK_BLANK : CHUNK_FAILED;
}

static int chunk_blank_byte(char ch) {
  if (ch == ';') return CHUNK_EXTENSION;
  return ch == ' ' || ch == '\t' ? CHUNK_BLANK : CHUNK_FAILED;
}

static int chunk_trailer_byte(struct mg_chunked *d, const struct mgx_limits *limits, char ch) {
  if (ch == '\r') return CHUNK_LAST_LF;
  if (limits->header_count != 0 && d->lines >= limits->header_count) return CHUNK_FAILED;
  d->lines++;
  return mg__http_is(ch, MG_HTTP_TOKEN) ? CHUNK_TRAILER_NAME : CHUNK_FAILED;
}

/* The state behind byte ch of anything but data. */
static int chunk_next(struct mg_chunked *d, const struct mgx_limits *limits, char ch) {
  switch (d->state) {
    case CHUNK_SIZE: return chunk_size_byte(d, ch);
    case CHUNK_BLANK: return chunk_blank_byte(ch);
    case CHUNK_EXTENSION:
      if (ch == '\r') return CHUNK_SIZE_LF;
      return mg__http_is(ch, MG_HTTP_TEXT) ? CHUNK_EXTENSION : CHUNK_FAILED;
    case CHUNK_SIZE_LF:
      if (ch != '\n') return CHUNK_FAILED;
      return d->left == 0 ? CHUNK_TRAILER : CHUNK_DATA;
    case CHUNK_DATA_CR: return ch == '\r' ? CHUNK_DATA_LF : CHUNK_FAILED;
    case CHUNK_DATA_LF:
      if (ch != '\n') return CHUNK_FAILED;
      d->digits = 0;
      d->line = 0;
      return CHUNK_SIZE;
    case CHUNK_TRAILER: return chunk_trailer_byte(d, limits, ch);
    case CHUNK_TRAILER_NAME:
      if (ch == ':') return CHUNK_TRAILER_VALUE;
      return mg__http_is(ch, MG_HTTP_TOKEN) ? CHUNK_TRAILER_NAME : CHUNK_FAILED;
    case CHUNK_TRAILER_VALUE:
      if (ch == '\r') return CHUNK_TRAILER_LF;
      return mg__http_is(ch, MG_HTTP_TEXT) ? CHUNK_TRAILER_VALUE : CHUNK_FAILED;
    case CHUNK_TRAILER_LF: return ch == '\n' ? CHUNK_TRAILER : CHUNK_FAILED;
    case CHUNK_LAST_LF: return ch == '\n' ? CHUNK_OVER : CHUNK_FAILED;
    default: return CHUNK_FAILED;
  }
}

/* Count a byte that may be there but is of no use to anybody: limit 0 means
 * as many as the counter holds. */
static bool chunk_count(uint32_t *counter, uint64_t limit) {
  if (*counter == UINT32_MAX || (limit != 0 && *counter >= limit)) return false;
  ++*counter;
  return true;
}

static void chunk_step(struct mg_chunked *d, const struct mgx_limits *limits, char ch) {
  bool in_trailer = d->state >= CHUNK_TRAILER;
  int next = chunk_next(d, limits, ch);
  if (in_trailer) {
    if (!chunk_count(&d->trailer, limits->header_bytes)) next = CHUNK_FAILED;
  } else if (next == CHUNK_BLANK || next == CHUNK_EXTENSION) {
    if (!chunk_count(&d->line, limits->chunk_extension)) next = CHUNK_FAILED;
  }
  d->state = (uint8_t) next;
}

int mg__chunked_feed(struct mg_chunked *d, const struct mgx_limits *limits, const char *buf,
                     size_t len, size_t *used, struct mg_str *data) {
  size_t i = 0;
  while (i < len && d->state < CHUNK_OVER && d->state != CHUNK_DATA) {
    chunk_step(d, limits, buf[i++]);
  }
  *used = i;
  if (d->state == CHUNK_OVER) return MG_CHUNK_END;
  if (d->state == CHUNK_FAILED) return -400;
  if (i == len) return MG_CHUNK_MORE;
  data->buf = buf + i;
  data->len = d->left < len - i ? (size_t) d->left : len - i;
  d->left -= data->len;
  if (d->left == 0) d->state = CHUNK_DATA_CR;
  *used = i + data->len;
  return MG_CHUNK_DATA;
}
