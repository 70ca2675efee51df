/* tls_world.h: a world (world.h) with certificates and contexts. The certificates are
 * made by the openssl command when the test begins. */
#ifndef MG_TESTS_TLS_WORLD_H
#define MG_TESTS_TLS_WORLD_H

#include <arpa/inet.h>
#include <signal.h>

#include "world.h"

/* ---- certificates ------------------------------------------------------------------ */

static char folder[] = "/tmp/mgtlsXXXXXX";
static char own[8192], own_key[8192]; /* self-signed: localhost, 127.0.0.1, a.example.com */
static char other[8192], other_key[8192]; /* ... b.example.com */

static inline void slurp(const char *name, char *to, size_t size) {
  char path[128];
  FILE *file;
  size_t n;
  snprintf(path, sizeof(path), "%s/%s", folder, name);
  file = fopen(path, "rb");
  CHECK(file != NULL);
  n = fread(to, 1, size - 1, file);
  to[n] = '\0';
  fclose(file);
}

static inline bool make_certificate(const char *name, const char *names) {
  char command[1024];
  snprintf(command, sizeof(command),
           "cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
           "-days 2 -subj /CN=%s -addext subjectAltName=%s -keyout %s.key -out %s.crt 2>/dev/null",
           folder, name, names, name, name);
  return system(command) == 0;
}

static inline bool make_certificates(void) {
  if (mkdtemp(folder) == NULL || !make_certificate("own", "DNS:localhost,IP:127.0.0.1,DNS:a.example.com") ||
      !make_certificate("other", "DNS:b.example.com"))
    return false;
  slurp("own.crt", own, sizeof(own));
  slurp("own.key", own_key, sizeof(own_key));
  slurp("other.crt", other, sizeof(other));
  slurp("other.key", other_key, sizeof(other_key));
  return true;
}

static inline struct mg_str text(const char *s) { return (struct mg_str){s, s == NULL ? 0 : strlen(s)}; }

/* ---- a world with contexts ------------------------------------------------------------- */

static struct mgx_error error;

static inline int context(const struct mgx_tls_opts *opts) {
  return mgx_tls_new(world.mgr, opts, &error);
}

static inline int server_context(void) {
  struct mgx_tls_opts opts = {.cert = text(own), .key = text(own_key)};
  return context(&opts);
}

static inline int client_context(void) {
  struct mgx_tls_opts opts = {.ca = text(own)};
  return context(&opts);
}

static inline int64_t listen_tls(const char *url, int tls) {
  struct mgx_open opts = {.http = MGX_HTTP_BY_SCHEME, .tls = tls};
  return mgx_listen(world.mgr, url, strlen(url), &opts, &error);
}

static inline int64_t connect_tls(const char *url, int tls, const char *name) {
  struct mgx_open opts = {.http = MGX_HTTP_BY_SCHEME, .tls = tls, .tls_name = text(name)};
  return mgx_connect(world.mgr, url, strlen(url), &opts, &error);
}

/* Connection 2 is the client of listener 1, connection 3 its other end. */
static inline void pair(int server, int client, const char *name) {
  CHECK(listen_tls("tls://127.0.0.1:0", server) == 1);
  CHECK(connect_tls(world_url(1, "tls"), client, name) == 2);
}

static inline void open_world(const struct mgx_limits *limits) {
  CHECK(world_open(limits, MGX_POLLER_DEFAULT) != NULL);
}

static inline bool logged(const char *what) { return strstr(world.log, what) != NULL; }

static inline int port_of(uint64_t listener) {
  struct mgx_conn_info info;
  CHECK(mgx_conn_info(world.mgr, listener, &info) == 0);
  return info.loc.port;
}

/* A plain socket to a listener of the world. */
static inline int dial(uint64_t listener) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t) port_of(listener))};
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(fd >= 0 && connect(fd, (struct sockaddr *) &to, sizeof(to)) == 0);
  return fd;
}

static inline void echo(uint64_t conn, int ev, const char *data, size_t n) {
  if (ev == MG_EV_READ && conn % 2 == 1) CHECK(mgx_send(world.mgr, conn, data, n, NULL) == 0);
}

enum { LARGE = 3000000 };
static char *large;

/* Runs the tests, if there is what they take. */
static inline int tls_main(void (*run_all)(void)) {
  struct mgx_error err;
  char command[64];
  signal(SIGPIPE, SIG_IGN); /* of the test's own sockets */
  large = malloc(LARGE);
  CHECK(large != NULL);
  for (size_t i = 0; i < LARGE; i++) large[i] = (char) (i * 7 + i / 251);
  if (mgx_tls_open_library(NULL, &err) != MGX_OK)
    printf("skipped, no OpenSSL: %s\n", err.text);
  else if (!make_certificates())
    printf("skipped: no openssl command that makes certificates\n");
  else
    run_all();
  free(large);
  snprintf(command, sizeof(command), "rm -rf %s", folder);
  return system(command) == 0 ? 0 : 1;
}

#endif
