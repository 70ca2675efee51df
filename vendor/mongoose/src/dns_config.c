/* dns_config.c: what the system says about names: resolv.conf(5), hosts(5).
 *
 * Text in, a struct or addresses out, as the C library reads them: a line that
 * makes no sense is left out, not an error. The files are looked at before each
 * look-up and read again when they have changed; how much of them is bounded. */
#include "dns.h"

enum { MAX_NDOTS = 15, MAX_TIMEOUT_S = 30, MAX_ATTEMPTS = 5 }; /* as the C library */

/* ---- words ---------------------------------------------------------------------- */

static bool dns_blank(char ch) { return ch == ' ' || ch == '\t' || ch == '\r' || ch == '\f' || ch == '\v'; }

struct mg_str mg__dns_word(struct mg_str *rest) {
  struct mg_str word;
  while (rest->len > 0 && dns_blank(*rest->buf)) rest->buf++, rest->len--;
  word = (struct mg_str){rest->buf, 0};
  while (rest->len > 0 && !dns_blank(*rest->buf)) rest->buf++, rest->len--, word.len++;
  return word;
}

/* Take the next line off the front; false: there is none. */
static bool dns_line(struct mg_str *rest, struct mg_str *line) {
  const char *end;
  if (rest->len == 0) return false;
  end = memchr(rest->buf, '\n', rest->len);
  line->buf = rest->buf;
  line->len = end == NULL ? rest->len : (size_t) (end - rest->buf);
  rest->buf += line->len + (end != NULL);
  rest->len -= line->len + (end != NULL);
  return true;
}

/* Cut the line off at the first of these characters. */
static void dns_cut_comment(struct mg_str *line, const char *marks) {
  for (size_t i = 0; i < line->len; i++) {
    if (line->buf[i] == '\0' || strchr(marks, line->buf[i]) == NULL) continue;
    line->len = i;
    return;
  }
}

static bool dns_word_is(struct mg_str word, const char *text) {
  return word.len == strlen(text) && memcmp(word.buf, text, word.len) == 0;
}

static char dns_char_lower(char ch) { return ch >= 'A' && ch <= 'Z' ? (char) (ch + 32) : ch; }

/* ---- addresses -------------------------------------------------------------------- */

bool mg__ip_from(const struct mg_sockaddr *a, struct mg_ip *out) {
  memset(out, 0, sizeof(*out));
  if (a->u.sa.sa_family == AF_INET) {
    memcpy(out->bytes, &a->u.in.sin_addr, 4);
  } else if (a->u.sa.sa_family == AF_INET6) {
    memcpy(out->bytes, &a->u.in6.sin6_addr, 16);
    out->scope = a->u.in6.sin6_scope_id;
    out->is_ip6 = true;
  } else {
    return false;
  }
  return true;
}

void mg__ip_sockaddr(const struct mg_ip *ip, uint16_t port, struct mg_sockaddr *out) {
  memset(out, 0, sizeof(*out));
  if (ip->is_ip6) {
    out->u.in6.sin6_family = AF_INET6;
    memcpy(&out->u.in6.sin6_addr, ip->bytes, 16);
    out->u.in6.sin6_scope_id = ip->scope;
    out->len = sizeof(out->u.in6);
  } else {
    out->u.in.sin_family = AF_INET;
    memcpy(&out->u.in.sin_addr, ip->bytes, 4);
    out->len = sizeof(out->u.in);
  }
  mg__addr_set_port(out, port);
}

/* An address as these files have it: an interface may stand behind '%' by its name. */
static bool dns_address(const struct mg_os *os, struct mg_str text, struct mg_sockaddr *out) {
  const char *percent = text.len > 0 ? memchr(text.buf, '%', text.len) : NULL;
  char name[MG_INTERFACE_NAME];
  size_t len;
  if (text.len == 0 || *text.buf == '[' || mg__dns_is_loopback(text)) return false;
  if (mg_aton(text, out)) return true;
  if (percent == NULL) return false;
  len = text.len - (size_t) (percent + 1 - text.buf);
  if (len == 0 || len >= sizeof(name)) return false;
  memcpy(name, percent + 1, len);
  name[len] = '\0';
  text.len = (size_t) (percent - text.buf);
  if (!mg_aton(text, out) || out->u.sa.sa_family != AF_INET6) return false;
  out->u.in6.sin6_scope_id = os->interface_index(name);
  return out->u.in6.sin6_scope_id != 0;
}

bool mg__dns_is_loopback(struct mg_str host) {
  static const char name[] = "localhost";
  size_t len = sizeof(name) - 1;
  struct mg_str tail = host;
  if (tail.len > 0 && tail.buf[tail.len - 1] == '.') tail.len--;
  if (tail.len < len) return false;
  tail.buf += tail.len - len;
  tail.len = len;
  return mg__streq_nocase(tail, name) && (tail.buf == host.buf || tail.buf[-1] == '.');
}

bool mg__dns_server(const struct mg_os *os, struct mg_str text, struct mg_dns_server *out) {
  struct mgx_url url;
  memset(out, 0, sizeof(*out));
  if (dns_address(os, text, &out->addr)) { /* "::1" would be no URL */
    mg__addr_set_port(&out->addr, MG_DNS_PORT);
    return true;
  }
  mgx_url_parse(text.buf, text.len, &url);
  out->is_tcp = mg__streq_nocase(url.scheme, "tcp");
  if (!out->is_tcp && url.scheme.len > 0 && !mg__streq_nocase(url.scheme, "udp")) return false;
  if (url.uri.len != 1 || url.user.len > 0 || url.pass.len > 0 || url.host.len == 0) return false;
  if (url.port < 0 || (url.has_port && url.port == 0)) return false;
  if (mg__dns_is_loopback(url.host) || !mg_aton(url.host, &out->addr)) return false;
  mg__addr_set_port(&out->addr, (uint16_t) (url.has_port ? url.port : MG_DNS_PORT));
  return true;
}

/* ---- resolv.conf --------------------------------------------------------------------- */

bool mg__dns_config_search(struct mg_dns_config *config, struct mg_str suffix) {
  struct mg_dns_name name;
  char *to = config->search[config->num_search];
  if (suffix.len > 0 && suffix.buf[suffix.len - 1] == '.') suffix.len--;
  if (config->num_search == MG_DNS_SEARCH || !mg__dns_name(suffix, &name)) return false;
  memcpy(to, suffix.buf, suffix.len);
  to[suffix.len] = '\0';
  config->num_search++;
  return true;
}

/* The number behind "name:", cut to what is allowed. */
static bool dns_option(struct mg_str word, const char *name, unsigned min, unsigned max,
                       unsigned *out) {
  size_t n = strlen(name);
  unsigned value = 0;
  if (word.len <= n || memcmp(word.buf, name, n) != 0) return false;
  for (; n < word.len; n++) {
    if (word.buf[n] < '0' || word.buf[n] > '9') return false;
    if (value <= max) value = value * 10 + (unsigned) (word.buf[n] - '0');
  }
  *out = value < min ? min : value > max ? max : value;
  return true;
}

static void config_options(struct mg_str rest, struct mg_dns_config *out, bool *only_tcp) {
  struct mg_str word;
  unsigned seconds;
  while ((word = mg__dns_word(&rest)).len > 0) {
    if (dns_word_is(word, "rotate")) out->rotate = true;
    if (dns_word_is(word, "use-vc")) *only_tcp = true;
    dns_option(word, "ndots:", 0, MAX_NDOTS, &out->ndots);
    dns_option(word, "attempts:", 1, MAX_ATTEMPTS, &out->attempts);
    if (dns_option(word, "timeout:", 1, MAX_TIMEOUT_S, &seconds)) out->timeout_ms = seconds * 1000;
  }
}

void mg__dns_config_read(const struct mg_os *os, struct mg_str text, struct mg_dns_config *out) {
  struct mg_str line, word;
  bool only_tcp = false;
  out->num_servers = out->num_search = 0;
  out->timeout_ms = 1000;
  out->ndots = 1;
  out->attempts = 3;
  out->rotate = false;
  while (dns_line(&text, &line)) {
    struct mg_sockaddr addr;
    if (line.len > 0 && (*line.buf == '#' || *line.buf == ';')) continue;
    word = mg__dns_word(&line);
    if (dns_word_is(word, "options")) {
      config_options(line, out, &only_tcp);
    } else if (dns_word_is(word, "domain") || dns_word_is(word, "search")) {
      bool only_one = *word.buf == 'd';
      out->num_search = 0; /* the last of these lines counts */
      while ((word = mg__dns_word(&line)).len > 0) {
        mg__dns_config_search(out, word);
        if (only_one) break;
      }
    } else if (dns_word_is(word, "nameserver") && out->num_servers < MG_DNS_SERVERS &&
               dns_address(os, mg__dns_word(&line), &addr)) {
      struct mg_dns_server *server = &out->servers[out->num_servers++];
      server->addr = addr;
      mg__addr_set_port(&server->addr, MG_DNS_PORT);
    }
  }
  if (out->num_servers == 0)
    mg__dns_server(os, (struct mg_str){"127.0.0.1", 9}, &out->servers[out->num_servers++]);
  for (size_t i = 0; i < out->num_servers; i++) out->servers[i].is_tcp = only_tcp;
}

/* ---- hosts ------------------------------------------------------------------------------ */

static bool hosts_same(struct mg_str a, struct mg_str b) {
  if (a.len != b.len) return false;
  for (size_t i = 0; i < a.len; i++)
    if (dns_char_lower(a.buf[i]) != dns_char_lower(b.buf[i])) return false;
  return true;
}

/* Does the line name it? Its first word, the address, is in *address then. */
static bool hosts_line(struct mg_str line, struct mg_str name, struct mg_str *address) {
  struct mg_str word;
  dns_cut_comment(&line, "#");
  *address = mg__dns_word(&line);
  while ((word = mg__dns_word(&line)).len > 0)
    if (hosts_same(word, name)) return true;
  return false;
}

size_t mg__hosts_find(const struct mg_os *os, struct mg_str text, struct mg_str name,
                      struct mg_ip *out, size_t cap) {
  struct mg_str line, address;
  size_t count = 0;
  if (name.len > 0 && name.buf[name.len - 1] == '.') name.len--;
  if (name.len == 0) return 0;
  while (count < cap && dns_line(&text, &line)) {
    struct mg_sockaddr addr;
    struct mg_ip ip;
    size_t i;
    if (!hosts_line(line, name, &address) || !dns_address(os, address, &addr)) continue;
    if (!mg__ip_from(&addr, &ip)) continue;
    for (i = 0; i < count && !mg__ip_same(&out[i], &ip); i++) continue;
    if (i == count) out[count++] = ip;
  }
  return count;
}

/* ---- files --------------------------------------------------------------------------------- */

static bool stamp_same(const struct mg_file_stamp *a, const struct mg_file_stamp *b) {
  return a->exists == b->exists && a->device == b->device && a->inode == b->inode &&
         a->size == b->size && a->modified_ns == b->modified_ns && a->changed_ns == b->changed_ns;
}

static void file_empty(struct mg_dns_file *file) {
  mg__free(file->text);
  file->text = NULL;
  file->len = 0;
}

bool mg__dns_file_refresh(struct mg_mgr *mgr, struct mg_dns_file *file, size_t max) {
  struct mg_file_stamp stamp;
  size_t room;
  char *text;
  ssize_t n;
  if (file->path == NULL) return false;
  mgr->os->file_stamp(file->path, &stamp);
  if (file->is_read && stamp_same(&stamp, &file->stamp)) return false;
  room = stamp.size < max ? (size_t) stamp.size : max;
  text = mg__malloc(room + 1);
  if (text == NULL) return false; /* what was read before still holds; the next look-up tries again */
  n = stamp.exists ? mgr->os->file_read(file->path, text, room) : -ENOENT;
  if (n < 0 && n != -ENOENT)
    mg__log(mgr, MG_LL_ERROR, "%s: %s", file->path, strerror((int) -n));
  if (stamp.size > max)
    mg__log(mgr, MG_LL_ERROR, "%s: only the first %zu bytes are used", file->path, max);
  file_empty(file);
  file->text = text;
  file->len = n > 0 ? (size_t) n : 0;
  if (stamp.size > max) /* a line that was cut could mean something else */
    while (file->len > 0 && file->text[file->len - 1] != '\n') file->len--;
  file->stamp = stamp;
  file->is_read = true;
  return true;
}

void mg__dns_file_free(struct mg_dns_file *file) {
  file_empty(file);
  mg__free(file->path);
  memset(file, 0, sizeof(*file));
}
