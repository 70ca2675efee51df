/* open.c: from a URL to a listening or connecting socket.
 *
 * Everything that can be known to be wrong with a URL is refused before a
 * socket exists; a refusal of the system comes back with its errno. */
#include "sntp.h"

struct target { /* what a URL asks for */
  struct mgx_url url;
  struct mg_sockaddr addr; /* len 0: a host name that needs a resolver */
  bool is_udp, is_unix, is_http;
};

static int refuse(struct mgx_error *err, int code, int sys, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static int refuse(struct mgx_error *err, int code, int sys, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  err->sys = sys;
  vsnprintf(err->text, sizeof(err->text), fmt, ap);
  va_end(ap);
  return code;
}

static bool scheme_in(struct mg_str scheme, const char *const *list) {
  for (; *list != NULL; list++)
    if (mg__streq_nocase(scheme, *list)) return true;
  return false;
}

static int target_unix(struct target *t, struct mgx_error *err) {
  struct sockaddr_un *un = &t->addr.u.un;
  struct mg_str path = t->url.uri;
  t->is_unix = true;
  if (t->url.host.len > 0 || path.len < 2)
    return refuse(err, MGX_EADDR, 0, "a unix URL is unix:///path");
  if (path.len >= sizeof(un->sun_path))
    return refuse(err, MGX_EADDR, 0, "the path has %zu bytes, at most %zu are possible", path.len,
                  sizeof(un->sun_path) - 1);
  un->sun_family = AF_UNIX;
  memcpy(un->sun_path, path.buf, path.len);
  un->sun_path[path.len] = '\0';
  t->addr.len = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + path.len + 1);
  return MGX_OK;
}

static int target_parse(const char *url, size_t len, int http, struct target *t,
                        struct mgx_error *err) {
  static const char *const known[] = {"",     "tcp",   "udp", "http", "https", "ws",  "wss", "mqtt",
                                      "mqtts", "sntp", "ssl", "tls",  "tcps",  "unix", NULL};
  static const char *const speak_http[] = {"http", "https", "ws", "wss", NULL};
  memset(t, 0, sizeof(*t));
  err->sys = 0;
  err->text[0] = '\0';
  for (size_t i = 0; i < len; i++)
    if ((unsigned char) url[i] <= ' ' || url[i] == 0x7f)
      return refuse(err, MGX_EADDR, 0, "blank or control byte 0x%02x at position %zu",
                    (unsigned) (unsigned char) url[i], i);
  mgx_url_parse(url, len, &t->url);
  if (!scheme_in(t->url.scheme, known))
    return refuse(err, MGX_EADDR, 0, "unknown scheme '%.*s'",
                  (int) (t->url.scheme.len < 64 ? t->url.scheme.len : 64), t->url.scheme.buf);
  t->is_http = http == MGX_HTTP_BY_SCHEME ? scheme_in(t->url.scheme, speak_http) : http != 0;
  t->is_udp = mg__streq_nocase(t->url.scheme, "udp") || mg__streq_nocase(t->url.scheme, "sntp");
  if (t->is_udp) t->is_http = false;
  if (mg__streq_nocase(t->url.scheme, "unix")) return target_unix(t, err);
  if (t->url.port < 0) return refuse(err, MGX_EADDR, 0, "the port must be 0..65535");
  if (!t->url.has_port && mg__streq_nocase(t->url.scheme, "sntp")) t->url.port = MG_SNTP_PORT;
  if (!t->url.has_port && t->url.port == 0) return refuse(err, MGX_EADDR, 0, "no port");
  if (mg_aton(t->url.host, &t->addr)) mg__addr_set_port(&t->addr, (uint16_t) t->url.port);
  return MGX_OK;
}

/* ---- listening --------------------------------------------------------------------- */

static int bind_socket(const struct mg_os *os, int fd, const struct target *t) {
  int err = os->bind(fd, &t->addr.u.sa, t->addr.len), probe;
  if (err != -EADDRINUSE || !t->is_unix) return err;
  /* A socket file that nobody serves is left over from a process that died. */
  probe = os->socket(AF_UNIX, SOCK_STREAM);
  if (probe < 0) return err;
  if (os->connect(probe, &t->addr.u.sa, t->addr.len) == -ECONNREFUSED &&
      unlink(t->addr.u.un.sun_path) == 0)
    err = os->bind(fd, &t->addr.u.sa, t->addr.len);
  os->close(probe);
  return err;
}

/* Accepted sockets inherit these on Linux and the BSDs. */
void mg__stream_options(const struct mg_os *os, int fd) {
  os->setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  os->setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

static int set_options(const struct mg_os *os, int fd, const struct target *t, bool listening,
                       bool reuse_port) {
  int family = t->addr.u.sa.sa_family;
  if (t->is_unix) return 0;
  if (family == AF_INET6) os->setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  if (!t->is_udp) {
    mg__stream_options(os, fd);
    if (listening) os->setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  }
#ifdef SO_REUSEPORT
  if (reuse_port) return os->setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, 1);
#else
  if (reuse_port) return -ENOPROTOOPT;
#endif
  return 0;
}

/* A bound (and, but for UDP, listening) socket, or -errno. */
static int listen_socket(const struct mg_os *os, const struct target *t, bool reuse_port) {
  int fd = os->socket(t->addr.u.sa.sa_family, t->is_udp ? SOCK_DGRAM : SOCK_STREAM), err;
  if (fd < 0) return fd;
  err = set_options(os, fd, t, true, reuse_port);
  if (err == 0) err = bind_socket(os, fd, t);
  if (err == 0 && !t->is_udp) err = os->listen(fd);
  if (err == 0) return fd;
  os->close(fd);
  return err;
}

static int64_t listen_locked(struct mg_mgr *mgr, const struct target *t,
                             const struct mgx_open *opts, struct mgx_error *err) {
  struct mg_connection *c;
  char *path = NULL;
  int64_t id;
  int fd = listen_socket(mgr->os, t, opts->reuse_port), sys;
  if (fd < 0) return refuse(err, MGX_ESYSTEM, -fd, "%s", strerror(-fd));
  c = mg__conn_new(mgr);
  if (t->is_unix) path = mg__malloc(t->url.uri.len + 1);
  if (c == NULL || (t->is_unix && path == NULL)) {
    mgr->os->close(fd);
    if (c != NULL) mg__conn_free(c);
    mg__free(path);
    return refuse(err, MGX_ENOMEM, 0, "out of memory");
  }
  if (path != NULL) memcpy(path, t->addr.u.un.sun_path, t->url.uri.len + 1);
  c->name = path;
  c->fd = fd;
  c->is_listening = true;
  c->is_udp = t->is_udp;
  c->is_unix = t->is_unix;
  c->is_tls = c->is_tls_url = t->url.is_tls;
  c->accept_http = t->is_http && !opts->mqtt;
  c->accept_mqtt = opts->mqtt;
  c->loc.len = sizeof(c->loc.u);
  if (t->is_unix)
    c->loc = t->addr; /* as given: the system may hand back a shortened form */
  else if (mgr->os->getsockname(fd, &c->loc.u.sa, &c->loc.len) < 0)
    c->loc = t->addr;
  mg__conn_set_handler(c, opts->handler);
  if (opts->tls != 0 && mg__tls_set(c, mg__tls_ctx(mgr, opts->tls), (struct mg_str){"", 0}) != MGX_OK) {
    mg__conn_free(c);
    return refuse(err, MGX_ENOMEM, 0, "out of memory");
  }
  sys = mg__conn_register(c);
  if (sys < 0) {
    mg__conn_free(c);
    return refuse(err, MGX_ESYSTEM, -sys, "%s", strerror(-sys));
  }
  c->is_known = true;
  id = (int64_t) c->id;
  c->busy++;
  mg__emit(c, MG_EV_OPEN);
  c->busy--;
  if (mgr->is_waiting) mg__interrupt(mgr); /* poll(2) waits on a snapshot without it */
  return id;
}

int64_t mgx_listen(struct mg_mgr *mgr, const char *url, size_t len, const struct mgx_open *opts,
                   struct mgx_error *err) {
  struct target t;
  int64_t result = target_parse(url, len, opts->http, &t, err);
  if (result == MGX_OK && t.is_udp && opts->mqtt)
    result = refuse(err, MGX_EADDR, 0, "MQTT runs over TCP");
  if (result == MGX_OK && t.addr.len == 0)
    result = refuse(err, MGX_EADDR, 0,
                    "the host to listen at is a numeric address, localhost, or nothing");
  if (result != MGX_OK) return result;
  mg__lock(mgr);
  if (mgr->is_closed)
    result = MGX_ECLOSED;
  else if (mg__handler(mgr, opts->handler) == NULL)
    result = refuse(err, MGX_EINVAL, 0, "no handler %d", opts->handler);
  else if (opts->tls != 0 && (mg__tls_ctx(mgr, opts->tls) == NULL || t.is_udp))
    result = refuse(err, MGX_EINVAL, 0, "no TLS context %d for this URL", opts->tls);
  else
    result = listen_locked(mgr, &t, opts, err);
  mg__unlock(mgr);
  return result;
}

/* ---- connecting ----------------------------------------------------------------------- */

static int connect_stream(struct mg_connection *c, const struct target *t) {
  const struct mg_os *os = c->mgr->os;
  int err = set_options(os, c->fd, t, false, false);
  return err == 0 ? os->connect(c->fd, &t->addr.u.sa, t->addr.len) : err;
}

static void connect_socket(struct mg_connection *c, const struct target *t, int fd) {
  struct mg_mgr *mgr = c->mgr;
  int err;
  c->fd = fd;
  err = connect_stream(c, t);
  if (err < 0 && err != -EINPROGRESS) {
    mg__io_failed(c, err);
    return;
  }
  c->is_connecting = err == -EINPROGRESS;
  if (c->is_connecting && mgr->limits.connect_timeout_ms != 0)
    mg__conn_set_deadline(c, mgr->os->monotonic_ms() + mgr->limits.connect_timeout_ms);
  err = mg__conn_register(c);
  if (err < 0)
    mg__io_failed(c, err);
  else if (!c->is_connecting)
    mg__io_connected(c);
}

/* The events before the connect itself; false: it is not to be, or not yet. */
static bool connect_begins(struct mg_connection *c, const struct target *t) {
  if (!mg__emit(c, MG_EV_OPEN) && c->is_closing) return false;
  if (t->addr.len == 0) {
    mg__dial_start(c);
    return false;
  }
  c->rem = t->addr;
  return mg__emit_resolve(c) || !c->is_closing;
}

/* Whom it is to be, for TLS now or later, and with which options; false: OOM. */
static bool attach_tls(struct mg_connection *c, const struct target *t, const struct mgx_open *opts) {
  size_t len = t->url.host.len;
  if (t->is_udp) return true;
  c->name = mg__malloc(len + 1);
  if (c->name == NULL) return false;
  memcpy(c->name, t->url.host.buf, len);
  c->name[len] = '\0';
  c->is_tls = c->is_tls_url = t->url.is_tls;
  return opts->tls == 0 || mg__tls_set(c, mg__tls_ctx(c->mgr, opts->tls), opts->tls_name) == MGX_OK;
}

/* false: OOM. */
static bool attach_protocol(struct mg_connection *c, const struct target *t,
                            const struct mgx_open *opts) {
  if (opts->ws != NULL) return mg__ws_begin(c, opts->ws);
  if (opts->sntp) return mg__sntp_attach(c);
  return !t->is_http || mg__http_attach(c);
}

/* What c needs before it connects: 0 or MGX_E..., and c is to be freed. */
static int prepare(struct mg_connection *c, const struct target *t, const struct mgx_open *opts) {
  if (t->addr.len == 0 && !mg__dial_new(c, t->url.host, (uint16_t) t->url.port)) return MGX_ENOMEM;
  if (!attach_tls(c, t, opts)) return MGX_ENOMEM;
  if (opts->mqtt_connect != NULL) return mg__mqtt_begin(c, opts->mqtt_connect);
  return attach_protocol(c, t, opts) ? MGX_OK : MGX_ENOMEM;
}

static int64_t connect_locked(struct mg_mgr *mgr, const struct target *t,
                              const struct mgx_open *opts, struct mgx_error *err) {
  struct mg_connection *c;
  int64_t id;
  int fd = -1, result;
  if (mgr->limits.connections != 0 && mgr->num_conns >= mgr->limits.connections)
    return refuse(err, MGX_ELIMIT, 0, "%llu connections are open",
                  (unsigned long long) mgr->num_conns);
  if (t->addr.len > 0) { /* first: without a descriptor there is no connection to speak of */
    fd = mgr->os->socket(t->addr.u.sa.sa_family, t->is_udp ? SOCK_DGRAM : SOCK_STREAM);
    if (fd < 0) return refuse(err, MGX_ESYSTEM, -fd, "%s", strerror(-fd));
  }
  c = mg__conn_new(mgr);
  if (c != NULL) c->is_client = true;
  result = c == NULL ? MGX_ENOMEM : prepare(c, t, opts);
  if (result != MGX_OK) {
    if (fd >= 0) mgr->os->close(fd);
    if (c != NULL) mg__conn_free(c);
    return refuse(err, result, 0, "%s",
                  result == MGX_EBUSY     ? "another connection has the MQTT session"
                  : result == MGX_ECLOSED ? "no such MQTT session"
                                          : "out of memory");
  }
  c->is_udp = t->is_udp;
  c->is_unix = t->is_unix;
  mg__conn_set_handler(c, opts->handler);
  c->is_known = true;
  id = (int64_t) c->id;
  c->busy++;
  if (connect_begins(c, t))
    connect_socket(c, t, fd);
  else if (fd >= 0)
    mgr->os->close(fd);
  c->busy--;
  if (mgr->is_waiting) mg__interrupt(mgr);
  return id;
}

int64_t mgx_connect(struct mg_mgr *mgr, const char *url, size_t len, const struct mgx_open *opts,
                    struct mgx_error *err) {
  struct target t;
  int64_t result = target_parse(url, len, opts->http, &t, err);
  if (result == MGX_OK && !t.is_unix && t.url.host.len == 0)
    result = refuse(err, MGX_EADDR, 0, "no host");
  if (result == MGX_OK && !t.is_unix && t.url.port == 0)
    result = refuse(err, MGX_EADDR, 0, "the port must be 1..65535");
  if (result == MGX_OK && t.is_udp && opts->ws != NULL)
    result = refuse(err, MGX_EADDR, 0, "a WebSocket runs over TCP");
  if (result == MGX_OK && t.is_udp && opts->mqtt_connect != NULL)
    result = refuse(err, MGX_EADDR, 0, "MQTT runs over TCP");
  if (result == MGX_OK && opts->mqtt_connect != NULL) {
    const char *why = mg__mqtt_connect_wrong(opts->mqtt_connect);
    if (why != NULL) result = refuse(err, MGX_EINVAL, 0, "MQTT: %s", why);
  }
  if (result == MGX_OK && !t.is_udp && opts->sntp)
    result = refuse(err, MGX_EADDR, 0, "SNTP runs over UDP: sntp://host or udp://host:port");
  if (result == MGX_OK && t.addr.len == 0 && mg__host_literal(t.url.host, &t.addr))
    mg__addr_set_port(&t.addr, (uint16_t) t.url.port);
  if (result == MGX_OK && t.addr.len == 0 && !mg__host_is_name(t.url.host))
    result = refuse(err, MGX_EADDR, 0, "'%.*s' is neither an address nor a host name",
                    (int) (t.url.host.len < 128 ? t.url.host.len : 128), t.url.host.buf);
  if (result != MGX_OK) return result;
  mg__lock(mgr);
  if (mgr->is_closed)
    result = MGX_ECLOSED;
  else if (mg__handler(mgr, opts->handler) == NULL)
    result = refuse(err, MGX_EINVAL, 0, "no handler %d", opts->handler);
  else if (opts->tls != 0 && (mg__tls_ctx(mgr, opts->tls) == NULL || t.is_udp))
    result = refuse(err, MGX_EINVAL, 0, "no TLS context %d for this URL", opts->tls);
  else
    result = connect_locked(mgr, &t, opts, err);
  mg__unlock(mgr);
  return result;
}
