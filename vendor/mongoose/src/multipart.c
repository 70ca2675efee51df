/* multipart.c: the parts of a multipart body, one at a time (RFC 7578, RFC 2046
 * section 5.1).
 *
 * Nothing is kept between two calls: the caller's offset says where the next
 * delimiter stands. A delimiter is exact: CR LF, two dashes and the boundary, then
 * CR LF or two dashes. Anything else is content, lone CRs and longer boundaries
 * included. What the header lines of a part mean is left to the caller. */
#include "internal.h"

struct multipart {
  struct mg_str body, boundary; /* the boundary: one or more bytes, no CR, no LF */
};

static bool multipart_at(struct mg_str s, size_t at, struct mg_str what) {
  return what.len <= s.len - at && memcmp(s.buf + at, what.buf, what.len) == 0;
}

/* Offset of the first `what` at or behind s[at], or s.len. */
static size_t multipart_seek(struct mg_str s, size_t at, const char *what) {
  const char *hit = s.len > at ? memmem(s.buf + at, s.len - at, what, strlen(what)) : NULL;
  return hit != NULL ? (size_t) (hit - s.buf) : s.len;
}

enum { MULTIPART_TEXT, MULTIPART_OPEN, MULTIPART_CLOSE };

/* What is at the start of a line, body[at]? */
static int multipart_delimiter(const struct multipart *m, size_t at) {
  const struct mg_str dashes = {"--", 2}, line_end = {"\r\n", 2};
  if (!multipart_at(m->body, at, dashes)) return MULTIPART_TEXT;
  if (!multipart_at(m->body, at + 2, m->boundary)) return MULTIPART_TEXT;
  at += 2 + m->boundary.len;
  if (multipart_at(m->body, at, line_end)) return MULTIPART_OPEN;
  return multipart_at(m->body, at, dashes) ? MULTIPART_CLOSE : MULTIPART_TEXT;
}

/* Offset of the CR LF in front of the first delimiter behind it, at or behind
 * body[at]; or body.len. Linear: no boundary can hold the CR that a candidate
 * begins with, so comparisons do not overlap. */
static size_t multipart_find(const struct multipart *m, size_t at, int *kind) {
  for (;;) {
    at = multipart_seek(m->body, at, "\r\n--");
    if (at == m->body.len) return at;
    *kind = multipart_delimiter(m, at + 2);
    if (*kind != MULTIPART_TEXT) return at;
    at += 2;
  }
}

/* The boundary that the body's first line shows. */
static struct mg_str multipart_first_line(struct mg_str body) {
  const struct mg_str none = {NULL, 0};
  struct mg_str line = {body.buf, multipart_seek(body, 0, "\r\n")};
  if (line.len < 2 || line.len == body.len || memcmp(line.buf, "--", 2) != 0) return none;
  line.buf += 2;
  line.len -= 2;
  return line;
}

/* RFC 5322 section 2.2: a name of visible characters and a colon. */
static bool multipart_name_ok(struct mg_str line) {
  size_t n = 0;
  while (n < line.len && line.buf[n] > ' ' && line.buf[n] < 0x7f && line.buf[n] != ':') n++;
  return n > 0 && n < line.len && line.buf[n] == ':';
}

static bool multipart_line_ok(struct mg_str line, bool first) {
  bool folded = !first && line.len > 0 && (line.buf[0] == ' ' || line.buf[0] == '\t');
  if (!folded && !multipart_name_ok(line)) return false;
  return memchr(line.buf, '\0', line.len) == NULL && memchr(line.buf, '\n', line.len) == NULL;
}

static bool multipart_head_ok(struct mg_str head) {
  size_t at = 0;
  while (at < head.len) {
    struct mg_str line = {head.buf + at, multipart_seek(head, at, "\r\n") - at};
    if (!multipart_line_ok(line, at == 0)) return false;
    at += line.len + 2;
  }
  return true;
}

/* Cut body[start..end) into header lines and content. The CR LF at body[end] is
 * the delimiter's, but it may also end an empty line, a part without content, or be
 * all there is: start is end + 2 then. */
static bool multipart_split(struct mg_str body, size_t start, size_t end,
                            struct mg_http_part *part) {
  struct mg_str all = {body.buf, end + 2};
  size_t blank = multipart_seek(all, start, "\r\n\r\n");
  if (blank == all.len) return false;
  part->head.buf = body.buf + start;
  part->head.len = blank + 2 - start;
  part->body.buf = body.buf + (blank + 4 < end ? blank + 4 : end);
  part->body.len = (size_t) (body.buf + end - part->body.buf);
  return multipart_head_ok(part->head);
}

size_t mg_http_next_multipart(const char *body, size_t len, size_t ofs, const char *boundary,
                              size_t boundary_len, struct mg_http_part *part) {
  struct multipart m = {{body, len}, {boundary, boundary_len}};
  struct mg_http_part found;
  int kind = MULTIPART_TEXT;
  size_t at = ofs;
  if (len == 0 || ofs >= len) return 0;
  if (boundary == NULL) m.boundary = multipart_first_line(m.body);
  if (m.boundary.len == 0 || memchr(m.boundary.buf, '\r', m.boundary.len) != NULL ||
      memchr(m.boundary.buf, '\n', m.boundary.len) != NULL) {
    return 0;
  }
  if (at == 0 || (at >= 2 && memcmp(body + at - 2, "\r\n", 2) == 0)) {
    kind = multipart_delimiter(&m, at);
  }
  if (kind == MULTIPART_TEXT) at = multipart_find(&m, at, &kind) + 2;
  while (kind == MULTIPART_OPEN) {
    size_t start = at + 2 + m.boundary.len, end = multipart_find(&m, start, &kind);
    if (end == len) return 0;
    at = end + 2;
    if (!multipart_split(m.body, start + 2, end, &found)) continue;
    if (part != NULL) *part = found;
    return at;
  }
  return 0;
}
