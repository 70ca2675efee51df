/* net.c: socket addresses from and to text. No names are looked up here. */
#include "internal.h"

#include <arpa/inet.h>

/* ---- to text ------------------------------------------------------------ */

static void ip6_text(const struct sockaddr_in6 *in6, struct mgx_addr *out) {
  size_t len;
  if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) { /* a dual-stack socket's IPv4 peer */
    inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[12], out->ip, sizeof(out->ip));
    return;
  }
  out->is_ip6 = true;
  inet_ntop(AF_INET6, &in6->sin6_addr, out->ip, sizeof(out->ip));
  if (in6->sin6_scope_id == 0) return;
  len = strlen(out->ip);
  snprintf(out->ip + len, sizeof(out->ip) - len, "%%%lu", (unsigned long) in6->sin6_scope_id);
}

/* A name in Linux's abstract space begins with NUL and may hold more; as is
 * the custom, they are shown as '@'. */
static void unix_text(const struct mg_sockaddr *a, struct mgx_addr *out) {
  const char *path = a->u.un.sun_path;
  size_t i, len = a->len - offsetof(struct sockaddr_un, sun_path);
  if (len > sizeof(a->u.un.sun_path)) len = sizeof(a->u.un.sun_path);
  if (len > 0 && path[0] != '\0') len = strnlen(path, len);
  for (i = 0; i < len; i++) out->ip[i] = path[i] == '\0' ? '@' : path[i];
}

_Static_assert(sizeof(((struct sockaddr_un *) 0)->sun_path) < sizeof(((struct mgx_addr *) 0)->ip),
               "a unix path fits, NUL included");

void mg__addr_text(const struct mg_sockaddr *a, struct mgx_addr *out) {
  memset(out, 0, sizeof(*out));
  if (a->len < offsetof(struct sockaddr, sa_data)) return; /* not known */
  if (a->u.sa.sa_family == AF_INET) {
    inet_ntop(AF_INET, &a->u.in.sin_addr, out->ip, sizeof(out->ip));
    out->port = ntohs(a->u.in.sin_port);
  } else if (a->u.sa.sa_family == AF_INET6) {
    ip6_text(&a->u.in6, out);
    out->port = ntohs(a->u.in6.sin6_port);
  } else if (a->u.sa.sa_family == AF_UNIX) {
    unix_text(a, out);
  }
}

const char *mg__addr_print(const struct mg_sockaddr *a, char *buf, size_t size) {
  struct mgx_addr text;
  mg__addr_text(a, &text);
  if (a->len == 0 || a->u.sa.sa_family == AF_UNIX) {
    snprintf(buf, size, "%s", text.ip);
  } else {
    snprintf(buf, size, text.is_ip6 ? "[%s]:%u" : "%s:%u", text.ip, (unsigned) text.port);
  }
  return buf;
}

/* ---- from text ---------------------------------------------------------- */

/* One to three digits, no leading zero, at most 255: the one reading of
 * "0177" that all programs share is that it is wrong. Its length, or 0. */
static size_t parse_byte(const char *s, size_t len, unsigned *value) {
  size_t i = 0;
  *value = 0;
  while (i < len && i < 3 && s[i] >= '0' && s[i] <= '9') {
    *value = *value * 10 + (unsigned) (s[i++] - '0');
  }
  if (*value > 255 || (i > 1 && s[0] == '0')) return 0;
  return i;
}

static bool parse_ip4(struct mg_str s, struct mg_sockaddr *out) {
  unsigned part, value;
  uint32_t addr = 0;
  size_t used = 0, n;
  for (part = 0; part < 4; part++) {
    if (part > 0 && (used >= s.len || s.buf[used++] != '.')) return false;
    n = parse_byte(s.buf + used, s.len - used, &value);
    if (n == 0) return false;
    used += n;
    addr = addr << 8 | value;
  }
  if (used != s.len) return false;
  out->u.in.sin_family = AF_INET;
  out->u.in.sin_addr.s_addr = htonl(addr);
  out->len = sizeof(out->u.in);
  return true;
}

static bool parse_ip6(struct mg_str s, struct mg_sockaddr *out) {
  char text[INET6_ADDRSTRLEN];
  const char *percent = s.len > 0 ? memchr(s.buf, '%', s.len) : NULL;
  size_t len = percent == NULL ? s.len : (size_t) (percent - s.buf);
  unsigned scope = 0;
  if (percent != NULL) {
    size_t left = s.len - len - 1, n = parse_byte(percent + 1, left, &scope);
    if (n == 0 || n != left) return false;
  }
  if (len >= sizeof(text) || memchr(s.buf, '\0', len) != NULL) return false;
  memcpy(text, s.buf, len);
  text[len] = '\0';
  if (inet_pton(AF_INET6, text, &out->u.in6.sin6_addr) != 1) return false;
  out->u.in6.sin6_family = AF_INET6;
  out->u.in6.sin6_scope_id = scope;
  out->len = sizeof(out->u.in6);
  return true;
}

static bool is_localhost(struct mg_str s) {
  static const char name[] = "localhost";
  size_t i;
  if (s.len != sizeof(name) - 1) return false;
  for (i = 0; i < s.len; i++) {
    if ((s.buf[i] >= 'A' && s.buf[i] <= 'Z' ? s.buf[i] + 32 : s.buf[i]) != name[i]) return false;
  }
  return true;
}

bool mg_aton(struct mg_str host, struct mg_sockaddr *out) {
  struct mg_sockaddr a;
  memset(&a, 0, sizeof(a));
  if (host.len == 0) {
    host.buf = "0.0.0.0", host.len = 7;
  } else if (is_localhost(host)) {
    host.buf = "127.0.0.1", host.len = 9;
  }
  if (host.len >= 2 && host.buf[0] == '[' && host.buf[host.len - 1] == ']') {
    host.buf++, host.len -= 2;
    if (!parse_ip6(host, &a)) return false;
  } else if (!parse_ip4(host, &a) && !parse_ip6(host, &a)) {
    return false;
  }
  *out = a;
  return true;
}

void mg__addr_set_port(struct mg_sockaddr *a, uint16_t port) {
  if (a->u.sa.sa_family == AF_INET) a->u.in.sin_port = htons(port);
  if (a->u.sa.sa_family == AF_INET6) a->u.in6.sin6_port = htons(port);
}
