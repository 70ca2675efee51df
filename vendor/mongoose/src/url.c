/* url.c: the parts of a URL and percent-encoding (RFC 3986).
 *
 * Works on views of the caller's text and allocates nothing. Whether an
 * address can be listened at, and what its host means, is left to net.c and
 * conn.c; here a URL is only cut into pieces, and every text has pieces. */
#include "internal.h"

static const struct {
  const char *name;
  int port; /* 0: none by default */
  bool tls;
} url_schemes[] = {
    {"http", 80, false},  {"https", 443, true},   {"ws", 80, false},
    {"wss", 443, true},   {"mqtt", 1883, false},  {"mqtts", 8883, true},
    {"ssl", 0, true},     {"tls", 0, true},       {"tcps", 0, true},
};

static bool url_is_digit(char ch) {
  return ch >= '0' && ch <= '9';
}

static bool url_is_alpha(char ch) {
  return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z');
}

/* Take n <= s->len bytes off the front. */
static struct mg_str url_cut(struct mg_str *s, size_t n) {
  struct mg_str front = {s->buf, n};
  s->buf += n;
  s->len -= n;
  return front;
}

/* Bytes in front of the first ch, or all. */
static size_t url_until(struct mg_str s, char ch) {
  const char *at = s.len > 0 ? memchr(s.buf, ch, s.len) : NULL;
  return at != NULL ? (size_t) (at - s.buf) : s.len;
}

/* Section 3.1. 0 when the text does not begin with "scheme://". */
static size_t url_scheme_len(struct mg_str s) {
  size_t n = 0;
  if (s.len == 0 || !url_is_alpha(s.buf[0])) return 0;
  while (n < s.len && (url_is_alpha(s.buf[n]) || url_is_digit(s.buf[n]) || s.buf[n] == '+' ||
                       s.buf[n] == '-' || s.buf[n] == '.')) {
    n++;
  }
  return s.len - n >= 3 && memcmp(s.buf + n, "://", 3) == 0 ? n : 0;
}

/* Section 3.2: it ends where a path, a query or a fragment begins. */
static size_t url_authority_len(struct mg_str s) {
  size_t n = 0;
  while (n < s.len && s.buf[n] != '/' && s.buf[n] != '?' && s.buf[n] != '#') n++;
  return n;
}

/* 0..65535, or -1: not a port number. */
static int url_port_number(struct mg_str digits) {
  int port = 0;
  size_t i;
  for (i = 0; i < digits.len; i++) {
    if (!url_is_digit(digits.buf[i])) return -1;
    port = port * 10 + (digits.buf[i] - '0');
    if (port > 65535) return -1;
  }
  return port;
}

/* "host", "host:port". An empty port is the default one, section 3.2.3. */
static void url_host_and_port(struct mg_str s, struct mgx_url *u) {
  bool bracket = s.len > 0 && s.buf[0] == '[', ok = true;
  size_t n = url_until(s, bracket ? ']' : ':');
  if (bracket) {
    ok = n < s.len;
    if (ok) n++;
  }
  u->host = url_cut(&s, n);
  if (s.len > 0) {
    ok = ok && s.buf[0] == ':'; /* not so: "[::1]x" */
    url_cut(&s, 1);
  }
  u->has_port = s.len > 0;
  if (u->has_port) u->port = url_port_number(s);
  if (!ok) u->port = -1;
}

/* "user:pass@" in front of the host. The last '@' counts: whoever puts one
 * into a password must not redirect the connection by it. */
static void url_credentials(struct mg_str *authority, struct mgx_url *u) {
  size_t n = authority->len;
  struct mg_str info;
  while (n > 0 && authority->buf[n - 1] != '@') n--;
  if (n == 0) return;
  info = url_cut(authority, n);
  info.len--;
  u->user = url_cut(&info, url_until(info, ':'));
  if (info.len > 0) url_cut(&info, 1);
  u->pass = info;
}

void mgx_url_parse(const char *url, size_t len, struct mgx_url *parts) {
  const struct mg_str empty = {"", 0}, slash = {"/", 1};
  struct mg_str rest = {url, len}, authority;
  struct mgx_url u = {empty, empty, empty, empty, slash, 0, false, false};
  size_t i;
  if (len == 0) rest = empty;
  u.scheme = url_cut(&rest, url_scheme_len(rest));
  if (u.scheme.len > 0) {
    url_cut(&rest, 3);
  } else if (rest.len >= 2 && memcmp(rest.buf, "//", 2) == 0) {
    url_cut(&rest, 2);
  }
  for (i = 0; i < sizeof(url_schemes) / sizeof(url_schemes[0]); i++) {
    if (!mg__streq_nocase(u.scheme, url_schemes[i].name)) continue;
    u.port = url_schemes[i].port;
    u.is_tls = url_schemes[i].tls;
  }
  authority = url_cut(&rest, url_authority_len(rest));
  if (rest.len > 0) u.uri = rest;
  url_credentials(&authority, &u);
  url_host_and_port(authority, &u);
  *parts = u;
}

static bool url_is_unreserved(char ch) {
  return url_is_alpha(ch) || url_is_digit(ch) || ch == '-' || ch == '.' || ch == '_' || ch == '~';
}

size_t mg_url_encode(const char *s, size_t len, char *to, size_t cap) {
  static const char hex[] = "0123456789abcdef";
  size_t i, n = 0;
  for (i = 0; i < len; i++) n += url_is_unreserved(s[i]) ? 1 : 3;
  if (n > cap) return n;
  for (i = 0; i < len; i++) {
    unsigned char ch = (unsigned char) s[i];
    if (url_is_unreserved(s[i])) {
      *to++ = s[i];
    } else {
      *to++ = '%';
      *to++ = hex[ch >> 4];
      *to++ = hex[ch & 15];
    }
  }
  return n;
}

int mg__hex_digit(char ch) {
  if (url_is_digit(ch)) return ch - '0';
  if (ch >= 'a' && ch <= 'f') return ch - 'a' + 10;
  if (ch >= 'A' && ch <= 'F') return ch - 'A' + 10;
  return -1;
}

int64_t mg_url_decode(const char *s, size_t len, char *to, size_t cap, bool form) {
  size_t i, n = 0;
  for (i = 0; i < len; i++) {
    int ch = (unsigned char) s[i];
    if (n == cap) return MGX_EINVAL;
    if (ch == '%') {
      int high = len - i > 2 ? mg__hex_digit(s[i + 1]) : -1;
      int low = len - i > 2 ? mg__hex_digit(s[i + 2]) : -1;
      if (high < 0 || low < 0) return MGX_EINVAL;
      ch = high << 4 | low;
      i += 2;
    } else if (ch == '+' && form) {
      ch = ' ';
    }
    to[n++] = (char) ch;
  }
  return (int64_t) n;
}
