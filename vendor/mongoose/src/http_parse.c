/* http_parse.c: HTTP/1.x heads, and what they say about the body.
 *
 * RFC 9112 sections 2 to 6, taken by the letter: what two readers of one
 * stream could understand differently is refused. No state, no allocation,
 * no copies: a message is a set of views into the buffer. Reading, answering
 * and time-outs are left to http.c, the chunked coding to http_chunked.c.
 *
 * The idea: the grammar is walked once, from left to right, and a limit is
 * just an earlier end of input. So the verdict depends on the bytes alone and
 * never on how they were cut into reads. */
#include <arpa/inet.h>

#include "internal.h"

const uint8_t mg__http_class[256] = {
     0,  0,  0,  0,  0,  0,  0,  0,  0,  8,  0,  0,  0,  0,  0,  0,
     0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,
     8, 31, 14,  9, 31, 15, 31, 31, 30, 30, 31, 31, 30, 31, 31, 14,
    31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 14, 30, 14, 30, 14, 12,
    14, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31,
    31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 14, 14, 14, 15, 31,
    15, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31,
    31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 14, 15, 14, 31,  0,
     8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,
     8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,
     8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,
     8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,
     8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,
     8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,
     8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,
     8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,  8,
};

/* ---- the head ----------------------------------------------------------- */

/* What is left to read. The functions below move p over one element each and
 * return 1, 0 for "ended inside it", or -status. */
struct head_cursor {
  const char *p, *end;
};

static inline struct mg_str head_since(const struct head_cursor *c, const char *start) {
  struct mg_str s = {start, (size_t) (c->p - start)};
  return s;
}

static inline void head_skip(struct head_cursor *c, unsigned cls) {
  const char *p = c->p;
  while (p < c->end && mg__http_is(*p, cls)) p++;
  c->p = p;
}

/* head_skip(c, MG_HTTP_TEXT), eight bytes at a time: values are most of a
 * head. The lowest flagged byte of `hit` is exact, for a borrow only runs
 * upwards; it may be a tab, which is legal. */
static inline void head_skip_text(struct head_cursor *c) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  const uint64_t ones = 0x0101010101010101u;
  while (c->end - c->p >= 8) {
    uint64_t x, del, hit;
    memcpy(&x, c->p, sizeof(x));
    del = x ^ (ones * 0x7f);
    hit = (((x - ones * 0x20) & ~x) | ((del - ones) & ~del)) & (ones * 0x80);
    c->p += hit == 0 ? 8 : __builtin_ctzll(hit) / 8;
    if (hit == 0) continue;
    if (*c->p != '\t') return;
    c->p++;
  }
#endif
  head_skip(c, MG_HTTP_TEXT);
}

static inline int head_byte(struct head_cursor *c, char want) {
  if (c->p == c->end) return 0;
  if (*c->p != want) return -400;
  c->p++;
  return 1;
}

/* CR LF and nothing less: a bare LF or CR is where two readers part. */
static inline int head_line_end(struct head_cursor *c) {
  int r = head_byte(c, '\r');
  return r > 0 ? head_byte(c, '\n') : r;
}

/* "HTTP/" DIGIT "." DIGIT, upper case. */
static int head_version(struct head_cursor *c, struct mg_str *out) {
  static const char form[] = "HTTP/0.0";
  const char *start = c->p;
  for (size_t i = 0; i < sizeof(form) - 1; i++, c->p++) {
    if (c->p == c->end) return 0;
    if (form[i] == '0' ? *c->p < '0' || *c->p > '9' : *c->p != form[i]) return -400;
  }
  *out = head_since(c, start);
  return 1;
}

/* Behind the method: SP request-target SP version CR LF. */
static int head_request_line(struct head_cursor *c, struct mg_http_message *msg) {
  const char *start;
  int r = head_byte(c, ' ');
  if (r <= 0) return r;
  start = c->p;
  head_skip(c, MG_HTTP_PATH);
  if (c->p == c->end) return 0;
  if (c->p == start) return -400;
  msg->uri = head_since(c, start);
  msg->query = head_since(c, c->p);
  if (*c->p == '?') {
    start = ++c->p;
    head_skip(c, MG_HTTP_QUERY);
    msg->query = head_since(c, start);
  }
  if ((r = head_byte(c, ' ')) <= 0) return r;
  if ((r = head_version(c, &msg->proto)) <= 0) return r;
  if ((r = head_line_end(c)) <= 0) return r;
  return msg->proto.buf[5] == '1' ? 1 : -505;
}

/* version SP 3DIGIT [SP reason] CR LF; the blank before an empty reason is
 * required by the grammar but often missing. */
static int head_status_line(struct head_cursor *c, struct mg_http_message *msg) {
  const char *start;
  int r = head_version(c, &msg->method);
  if (r <= 0) return r;
  if ((r = head_byte(c, ' ')) <= 0) return r;
  start = c->p;
  for (int i = 0; i < 3; i++, c->p++) {
    if (c->p == c->end) return 0;
    if (*c->p < (i == 0 ? '1' : '0') || *c->p > '9') return -400;
  }
  msg->uri = head_since(c, start);
  msg->query = head_since(c, c->p);
  if (c->p < c->end && *c->p == ' ') c->p++;
  start = c->p;
  if (c->p > msg->query.buf) head_skip_text(c);
  msg->proto = head_since(c, start);
  if ((r = head_line_end(c)) <= 0) return r;
  return msg->method.buf[5] == '1' ? 1 : -505;
}

/* A method can't hold '/', so "HTTP/" at the start is never a request. */
static int head_start_line(struct head_cursor *c, bool only_request, struct mg_http_message *msg) {
  const char *start = c->p;
  head_skip(c, MG_HTTP_TOKEN);
  if (c->p == c->end) return 0;
  msg->method = head_since(c, start);
  if (*c->p == ' ' && c->p > start) return head_request_line(c, msg);
  if (*c->p != '/' || only_request) return -400;
  c->p = start;
  return head_status_line(c, msg);
}

static struct mg_str head_trimmed(struct mg_str s) {
  while (s.len > 0 && (s.buf[0] == ' ' || s.buf[0] == '\t')) s.buf++, s.len--;
  while (s.len > 0 && (s.buf[s.len - 1] == ' ' || s.buf[s.len - 1] == '\t')) s.len--;
  return s;
}

/* name ":" OWS value OWS CR LF. A line that starts with a blank (folding) and
 * a blank before the colon both fail as what they are: not a token. */
static inline int head_field(struct head_cursor *c, struct mg_http_header *h) {
  const char *start = c->p;
  head_skip(c, MG_HTTP_TOKEN);
  if (c->p == c->end) return 0;
  if (*c->p != ':' || c->p == start) return -400;
  h->name = head_since(c, start);
  start = ++c->p;
  head_skip_text(c);
  h->value = head_trimmed(head_since(c, start));
  return head_line_end(c);
}

static int head_fields(struct head_cursor *c, struct mg_http_message *msg, size_t max) {
  size_t n = 0;
  int r;
  for (;;) {
    if (c->p == c->end) return 0;
    if (*c->p == '\r') break;
    if (n == max) return -431;
    if ((r = head_field(c, &msg->headers[n])) <= 0) return r;
    n++;
  }
  msg->num_headers = n;
  return head_line_end(c);
}

static inline size_t head_limit(uint64_t limit, size_t most) {
  return limit == 0 || limit > most ? most : (size_t) limit;
}

int mg__http_parse(const char *buf, size_t len, const struct mgx_limits *limits,
                   struct mg_http_message *msg, struct mg_http_header *headers, size_t cap) {
  size_t head_max = head_limit(limits->header_bytes, INT_MAX - 2);
  size_t line_max = head_limit(limits->request_line, head_max);
  size_t room;
  struct head_cursor c = {buf, NULL};
  bool skipped = false;
  int r;

  if (len == 0) return 0;
  if (buf[0] == '\r') { /* some clients end a body with one line end too many */
    c.end = buf + len;
    if ((r = head_line_end(&c)) <= 0) return r;
    skipped = true;
  }
  buf = c.p;
  room = len - (skipped ? 2 : 0);
  msg->headers = headers;
  c.end = buf + (room < line_max ? room : line_max);
  r = head_start_line(&c, skipped, msg);
  if (r == 0 && room >= line_max) return line_max < head_max ? -414 : -431;
  if (r <= 0) return r;
  c.end = buf + (room < head_max ? room : head_max);
  r = head_fields(&c, msg, head_limit(limits->header_count, cap));
  if (r == 0 && room >= head_max) return -431;
  if (r <= 0) return r;
  msg->head = head_since(&c, buf);
  msg->body = head_since(&c, c.p);
  return (int) msg->head.len + (skipped ? 2 : 0);
}

/* ---- names, values, lists ------------------------------------------------ */

static inline unsigned http_lower(char ch) {
  unsigned u = (unsigned char) ch;
  return u - 'A' < 26 ? u | 0x20 : u;
}

static bool http_same(const char *a, const char *b, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (http_lower(a[i]) != http_lower(b[i])) return false;
  }
  return true;
}

bool mg__streq_nocase(struct mg_str s, const char *lower) {
  size_t n = strlen(lower);
  return s.len == n && http_same(s.buf, lower, n);
}

const struct mg_str *mg_http_get_header(const struct mg_http_message *msg, const char *name,
                                        size_t len) {
  for (size_t i = 0; i < msg->num_headers; i++) {
    const struct mg_http_header *h = &msg->headers[i];
    if (h->name.len == len && http_same(h->name.buf, name, len)) return &h->value;
  }
  return NULL;
}

/* Take the next element off a comma list (RFC 9110 section 5.6.1): trimmed,
 * possibly empty. False when the list is used up. None of the lists here has
 * elements with quoted commas; one that comes with any matches nothing. */
static bool http_list_next(struct mg_str *list, struct mg_str *element) {
  const char *comma;
  if (list->buf == NULL) return false;
  comma = list->len == 0 ? NULL : memchr(list->buf, ',', list->len);
  *element = *list;
  if (comma == NULL) {
    list->buf = NULL;
  } else {
    element->len = (size_t) (comma - list->buf);
    list->buf = comma + 1;
    list->len -= element->len + 1;
  }
  *element = head_trimmed(*element);
  return true;
}

static bool http_list_has(struct mg_str list, const char *token) {
  struct mg_str element;
  while (http_list_next(&list, &element)) {
    if (mg__streq_nocase(element, token)) return true;
  }
  return false;
}

bool mg__http_has_token(const struct mg_http_message *msg, const char *name, const char *token) {
  for (size_t i = 0; i < msg->num_headers; i++) {
    if (!mg__streq_nocase(msg->headers[i].name, name)) continue;
    if (http_list_has(msg->headers[i].value, token)) return true;
  }
  return false;
}

/* ---- the target and Host -------------------------------------------------- */

/* ":" port; the port may be empty unless it is needed. */
static bool host_port_ok(struct mg_str s, bool need_port) {
  unsigned port = 0;
  if (s.len == 0) return !need_port;
  if (s.buf[0] != ':' || (s.len == 1 && need_port)) return false;
  for (size_t i = 1; i < s.len; i++) {
    if (s.buf[i] < '0' || s.buf[i] > '9') return false;
    port = port * 10 + (unsigned) (s.buf[i] - '0');
    if (port > 65535) return false;
  }
  return true;
}

/* A bracketed IPv6 address: its length, or 0. */
static size_t host_literal(struct mg_str s) {
  char text[INET6_ADDRSTRLEN];
  struct in6_addr addr;
  const char *close = memchr(s.buf, ']', s.len);
  size_t n = close == NULL ? 0 : (size_t) (close - s.buf);
  if (n < 3 || n > sizeof(text)) return 0;
  memcpy(text, s.buf + 1, n - 1);
  text[n - 1] = '\0';
  return inet_pton(AF_INET6, text, &addr) == 1 ? n + 1 : 0;
}

static bool host_is_hex(char ch) {
  return (ch >= '0' && ch <= '9') || http_lower(ch) - 'a' < 6;
}

/* A registered name or IPv4 address, RFC 3986 section 3.2.2: its length. */
static size_t host_name(struct mg_str s) {
  size_t i = 0;
  while (i < s.len) {
    if (s.buf[i] != '%' && mg__http_is(s.buf[i], MG_HTTP_HOST)) {
      i++;
    } else if (s.len - i > 2 && s.buf[i] == '%' && host_is_hex(s.buf[i + 1]) &&
               host_is_hex(s.buf[i + 2])) {
      i += 3;
    } else {
      break;
    }
  }
  return i;
}

/* host [":" port] without user information, RFC 9110 section 4.2.4. */
static bool host_ok(struct mg_str s, bool need_port) {
  size_t n;
  if (s.len == 0) return false;
  n = s.buf[0] == '[' ? host_literal(s) : host_name(s);
  s.buf += n;
  s.len -= n;
  return n > 0 && host_port_ok(s, need_port);
}

/* Behind "http://" or "https://" up to the path; no other scheme is served. */
static bool target_absolute_ok(struct mg_str uri) {
  const char *slash;
  size_t n = 0;
  if (uri.len > 7 && http_same(uri.buf, "http://", 7)) n = 7;
  if (uri.len > 8 && http_same(uri.buf, "https://", 8)) n = 8;
  if (n == 0) return false;
  uri.buf += n;
  uri.len -= n;
  slash = memchr(uri.buf, '/', uri.len);
  if (slash != NULL) uri.len = (size_t) (slash - uri.buf);
  return host_ok(uri, false);
}

static bool target_method(const struct mg_http_message *msg, const char *method, size_t len) {
  return msg->method.len == len && memcmp(msg->method.buf, method, len) == 0;
}

/* RFC 9112 section 3.2: which form goes with which method. */
static bool target_ok(const struct mg_http_message *msg) {
  bool has_query = msg->query.buf != msg->uri.buf + msg->uri.len;
  if (target_method(msg, "CONNECT", 7)) return !has_query && host_ok(msg->uri, true);
  if (msg->uri.buf[0] == '/') return true;
  if (msg->uri.len == 1 && msg->uri.buf[0] == '*') {
    return !has_query && target_method(msg, "OPTIONS", 7);
  }
  return target_absolute_ok(msg->uri);
}

/* ---- framing -------------------------------------------------------------- */

/* What the headers that decide about framing said. The counts are of lines. */
struct framing_facts {
  unsigned hosts, lengths, codings, authorizations;
  struct mg_str host, length, coding; /* the last of each */
  bool close, keep_alive, expect_continue, expect_other;
};

static void framing_expect(struct mg_str list, struct framing_facts *f) {
  struct mg_str element;
  while (http_list_next(&list, &element)) {
    if (mg__streq_nocase(element, "100-continue")) {
      f->expect_continue = true;
    } else if (element.len > 0) {
      f->expect_other = true;
    }
  }
}

/* The lengths of the names are nearly a perfect hash: most headers cost one
 * jump and no comparison. */
static void framing_collect(const struct mg_http_message *msg, struct framing_facts *f) {
  memset(f, 0, sizeof(*f));
  for (size_t i = 0; i < msg->num_headers; i++) {
    struct mg_str name = msg->headers[i].name, value = msg->headers[i].value;
    switch (name.len) {
      case 4:
        if (http_same(name.buf, "host", 4)) f->host = value, f->hosts++;
        break;
      case 6:
        if (http_same(name.buf, "expect", 6)) framing_expect(value, f);
        break;
      case 10:
        if (!http_same(name.buf, "connection", 10)) break;
        f->close |= http_list_has(value, "close");
        f->keep_alive |= http_list_has(value, "keep-alive");
        break;
      case 13:
        if (http_same(name.buf, "authorization", 13)) f->authorizations++;
        break;
      case 14:
        if (http_same(name.buf, "content-length", 14)) f->length = value, f->lengths++;
        break;
      case 17:
        if (http_same(name.buf, "transfer-encoding", 17)) f->coding = value, f->codings++;
        break;
      default:
        break;
    }
  }
}

/* 1*DIGIT below 2^63, so that adding a position to it can't wrap. */
static bool framing_length(struct mg_str s, uint64_t *out) {
  uint64_t n = 0;
  for (size_t i = 0; i < s.len; i++) {
    unsigned digit = (unsigned) (unsigned char) s.buf[i] - '0';
    if (digit > 9 || n > ((uint64_t) INT64_MAX - digit) / 10) return false;
    n = n * 10 + digit;
  }
  *out = n;
  return s.len > 0;
}

/* Only "chunked" alone, empty elements aside. 0, -501 for codings that we do
 * not know, -400 where "chunked" is said but the end of the body is not clear. */
static int framing_codings(struct mg_str list) {
  bool chunked = false, other = false;
  struct mg_str element;
  while (http_list_next(&list, &element)) {
    if (element.len == 0) continue;
    if (chunked) return -400;
    if (mg__streq_nocase(element, "chunked")) {
      chunked = true;
    } else {
      other = true;
    }
  }
  if (other) return -501;
  return chunked ? 0 : -400;
}

/* The part that requests and responses share: RFC 9112 section 6. Both kinds
 * of length at once, or any of them twice, is how requests are smuggled. */
static int framing_body(const struct framing_facts *f, struct mg_http_framing *out) {
  if (f->lengths + f->codings > 1) return -400;
  if (f->codings > 0) {
    if (out->http10) return -400;
    out->kind = MG_BODY_CHUNKED;
    return framing_codings(f->coding);
  }
  if (f->lengths > 0) {
    out->kind = MG_BODY_LENGTH;
    return framing_length(f->length, &out->length) ? 0 : -400;
  }
  return 0;
}

static void framing_begin(const struct framing_facts *f, struct mg_str version,
                          struct mg_http_framing *out) {
  memset(out, 0, sizeof(*out));
  out->http10 = version.buf[7] == '0'; /* 1.2 and above are taken as 1.1 */
  out->keep_alive_token = f->keep_alive;
  out->keep_alive = !f->close && (f->keep_alive || !out->http10);
}

static bool framing_is_response(const struct mg_http_message *msg) {
  return msg->method.len == 8 && msg->method.buf[4] == '/';
}

int mg__http_framing_request(const struct mg_http_message *msg, struct mg_http_framing *out) {
  struct framing_facts f;
  int r;
  if (framing_is_response(msg) || !target_ok(msg)) return -400;
  framing_collect(msg, &f);
  framing_begin(&f, msg->proto, out);
  if (f.hosts > 1 || (f.hosts == 0 && !out->http10)) return -400;
  if (f.host.len > 0 && !host_ok(f.host, false)) return -400;
  if (f.authorizations > 1) return -400;
  if ((r = framing_body(&f, out)) < 0) return r;
  if (out->http10) return 0; /* Expect came with 1.1: RFC 9110 section 10.1.1 */
  out->expect_continue = f.expect_continue;
  return f.expect_other ? -417 : 0;
}

int mg__http_framing_response(const struct mg_http_message *msg, bool to_head, bool to_connect,
                              struct mg_http_framing *out) {
  struct framing_facts f;
  const char *digits = msg->uri.buf;
  int status;
  if (!framing_is_response(msg)) return -502;
  framing_collect(msg, &f);
  framing_begin(&f, msg->method, out);
  status = (digits[0] - '0') * 100 + (digits[1] - '0') * 10 + (digits[2] - '0');
  out->status = status;
  /* A tunnel starts behind this head, whatever it says of a body: section 6.3, item 2. */
  if (to_connect && status / 100 == 2) return 0;
  if (framing_body(&f, out) < 0) return -502;
  if (status / 100 == 1 || status == 204) {
    if (f.codings > 0) return -502; /* "MUST NOT": section 6.1 */
    out->kind = MG_BODY_NONE;
  } else if (to_head || status == 304) {
    out->kind = MG_BODY_NONE; /* the lengths are those that another answer would have */
  } else if (out->kind == MG_BODY_NONE) {
    out->kind = MG_BODY_TO_END;
    out->keep_alive = false;
  }
  return 0;
}
