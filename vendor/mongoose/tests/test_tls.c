/* test_tls.c: TLS on connections, both ends ours, by OpenSSL and by a foreign
 * engine. Certificates are made by the openssl command when the test begins. What
 * other programs think of it is tested from Python. */
#ifndef MG_TEST_ALLOC
#define MG_TEST_ALLOC 1
#endif
#include "../mongoose.c"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/wait.h>

#include "world.h"

/* ---- certificates ------------------------------------------------------------------ */

static char folder[] = "/tmp/mgtlsXXXXXX";
static char own[8192], own_key[8192]; /* self-signed: localhost, 127.0.0.1, a.example.com */
static char other[8192], other_key[8192]; /* ... b.example.com */

static void slurp(const char *name, char *to, size_t size) {
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

static bool make_certificate(const char *name, const char *names) {
  char command[1024];
  snprintf(command, sizeof(command),
           "cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
           "-days 2 -subj /CN=%s -addext subjectAltName=%s -keyout %s.key -out %s.crt 2>/dev/null",
           folder, name, names, name, name);
  return system(command) == 0;
}

static bool make_certificates(void) {
  if (mkdtemp(folder) == NULL || !make_certificate("own", "DNS:localhost,IP:127.0.0.1,DNS:a.example.com") ||
      !make_certificate("other", "DNS:b.example.com"))
    return false;
  slurp("own.crt", own, sizeof(own));
  slurp("own.key", own_key, sizeof(own_key));
  slurp("other.crt", other, sizeof(other));
  slurp("other.key", other_key, sizeof(other_key));
  return true;
}

static struct mg_str text(const char *s) { return (struct mg_str){s, s == NULL ? 0 : strlen(s)}; }

/* ---- a world with contexts ------------------------------------------------------------- */

static struct mgx_error error;

static int context(const struct mgx_tls_opts *opts) {
  return mgx_tls_new(world.mgr, opts, &error);
}

static int server_context(void) {
  struct mgx_tls_opts opts = {.cert = text(own), .key = text(own_key)};
  return context(&opts);
}

static int client_context(void) {
  struct mgx_tls_opts opts = {.ca = text(own)};
  return context(&opts);
}

static int64_t listen_tls(const char *url, int tls) {
  struct mgx_open opts = {.http = MGX_HTTP_BY_SCHEME, .tls = tls};
  return mgx_listen(world.mgr, url, strlen(url), &opts, &error);
}

static int64_t connect_tls(const char *url, int tls, const char *name) {
  struct mgx_open opts = {.http = MGX_HTTP_BY_SCHEME, .tls = tls, .tls_name = text(name)};
  return mgx_connect(world.mgr, url, strlen(url), &opts, &error);
}

/* Connection 2 is the client of listener 1, connection 3 its other end. */
static void pair(int server, int client, const char *name) {
  CHECK(listen_tls("tls://127.0.0.1:0", server) == 1);
  CHECK(connect_tls(world_url(1, "tls"), client, name) == 2);
}

static void open_world(const struct mgx_limits *limits) {
  CHECK(world_open(limits, MGX_POLLER_DEFAULT) != NULL);
}

static bool logged(const char *what) { return strstr(world.log, what) != NULL; }

static int port_of(uint64_t listener) {
  struct mgx_conn_info info;
  CHECK(mgx_conn_info(world.mgr, listener, &info) == 0);
  return info.loc.port;
}

/* A plain socket to a listener of the world. */
static int dial(uint64_t listener) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t) port_of(listener))};
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(fd >= 0 && connect(fd, (struct sockaddr *) &to, sizeof(to)) == 0);
  return fd;
}

/* ---- options ------------------------------------------------------------------------------- */

static void test_what_is_wrong_with_options_is_said(void) {
  static const struct {
    struct mgx_tls_opts opts;
    const char *says;
  } cases[] = {
      {{.ca = {"no PEM", 6}}, "ca: neither PEM nor a DER certificate"},
      {{.ca = {"-----BEGIN CERTIFICATE-----\nAAAA\n", 33}}, "ca: certificate 1 is malformed"},
      {{.cert = {"-----BEGIN X-----\n", 18}}, "cert: there is no certificate in it"},
      {{.key = {"x", 1}}, "key: a key without a certificate"},
      {{.ciphers = {"NO-SUCH-CIPHER", 14}}, "ciphers: 'NO-SUCH-CIPHER' is not a list of ciphers"},
      {{.alpn = {"\005ab", 3}}, "alpn: not a list of protocols"},
      {{.alpn = {"\0", 1}}, "alpn: not a list of protocols"},
      {{.min_version = 0x0302}, "min_version: 0x0302 can't be used"},
      {{.min_version = 0x0304, .max_version = 0x0303}, "max_version: 0x0303 can't be used"},
  };
  open_world(NULL);
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    CHECK(context(&cases[i].opts) == MGX_EINVAL);
    if (strncmp(error.text, cases[i].says, strlen(cases[i].says)) != 0) puts(error.text);
    CHECK(strncmp(error.text, cases[i].says, strlen(cases[i].says)) == 0);
  }
  struct mgx_tls_opts wrong = {.cert = text(own), .key = text(other_key)};
  CHECK(context(&wrong) == MGX_EINVAL && strncmp(error.text, "key: it does not belong", 23) == 0);
  struct mgx_tls_opts both = {.cert = text(own), .client_auth = 17};
  CHECK(context(&both) == MGX_EINVAL);
  CHECK(mgx_tls_drop(world.mgr, 1) == MGX_EINVAL && mgx_tls_drop(world.mgr, -1) == MGX_EINVAL);
  CHECK(server_context() == 1 && server_context() == 2);
  CHECK(mgx_tls_drop(world.mgr, 1) == 0 && mgx_tls_drop(world.mgr, 1) == MGX_EINVAL);
  CHECK(server_context() == 1);
  world_end();
}

static void test_unusable_options_may_refuse_each_connection_instead(void) {
  open_world(NULL);
  struct mgx_tls_opts opts = {.cert = text("-----BEGIN CERTIFICATE-----\n"), .lenient = true};
  int server = context(&opts);
  CHECK(server > 0 && error.text[0] != '\0');
  pair(server, client_context(), NULL);
  CHECK(world_until("3:CLOSE") && world_until("2:CLOSE"));
  CHECK(logged("3:ERROR(TLS handshake failed: cert: certificate "));
  CHECK(!logged("TLS_HS"));
  world_end();
}

/* ---- handshake ---------------------------------------------------------------------------------- */

static void echo(uint64_t conn, int ev, const char *data, size_t n) {
  if (ev == MG_EV_READ && conn % 2 == 1) CHECK(mgx_send(world.mgr, conn, data, n, NULL) == 0);
}

static void test_both_sides_are_told_before_any_data_comes(void) {
  for (int poller = MGX_POLLER_EPOLL; poller <= MGX_POLLER_POLL; poller++) {
    struct mgx_tls_info info;
    char der[4096];
    CHECK(world_open(NULL, poller) != NULL);
    world.react = echo;
    int server = server_context(), client = client_context();
    pair(server, client, NULL);
    CHECK(mgx_tls_info(world.mgr, 2, &info) == 0 && !info.is_ready);
    CHECK(mgx_tls_info(world.mgr, 99, &info) == MGX_ECLOSED);
    CHECK(mgx_conn_flags(world.mgr, 2) & MGX_IS_TLS);
    CHECK(world_send(2, "abc") == 0);
    CHECK(world_until("2:READ(abc)"));
    CHECK(strstr(world.log, "2:TLS_HS ") < strstr(world.log, "2:READ("));
    CHECK(strstr(world.log, "3:ACCEPT ") < strstr(world.log, "3:TLS_HS "));
    CHECK(strstr(world.log, "3:TLS_HS ") < strstr(world.log, "3:READ(abc) "));
    CHECK(mgx_tls_info(world.mgr, 2, &info) == 0 && info.is_ready && info.has_cert);
    CHECK(info.version == 0x0304 && info.tls == client && strncmp(info.cipher, "TLS_", 4) == 0);
    CHECK(strcmp(info.name, "127.0.0.1") == 0 && info.alpn[0] == '\0' && !info.resumed);
    CHECK(mgx_tls_cert(world.mgr, 2, der, sizeof(der)) > 200 && der[0] == 0x30);
    CHECK(mgx_tls_cert(world.mgr, 2, NULL, 0) > 200);
    CHECK(mgx_tls_info(world.mgr, 3, &info) == 0 && info.is_ready && !info.has_cert);
    CHECK(mgx_tls_cert(world.mgr, 3, der, sizeof(der)) == 0);
    CHECK(mgx_drain(world.mgr, 2) == 0);
    CHECK(world_until("3:CLOSE") && !logged("ERROR"));
    world_end();
  }
}

static void test_a_name_that_does_not_fit_is_refused_unless_nothing_is_verified(void) {
  static const struct {
    const char *name, *error;
    bool skip;
  } cases[] = {
      {"wrong.example.com", "hostname mismatch", false},
      {"10.0.0.1", "IP address mismatch", false},
      {"a.example.com", NULL, false},
      {"A.EXAMPLE.COM.", NULL, false},
      {"wrong.example.com", NULL, true},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    open_world(NULL);
    struct mgx_tls_opts opts = {.ca = text(own), .skip_verification = cases[i].skip};
    pair(server_context(), context(&opts), cases[i].name);
    if (cases[i].error == NULL) {
      CHECK(world_until("2:TLS_HS") && world_until("3:TLS_HS"));
    } else {
      CHECK(world_send(2, "secret") == 0);
      CHECK(world_until("2:CLOSE") && world_until("3:CLOSE"));
      CHECK(logged("2:ERROR(TLS handshake failed: certificate verif"));
      CHECK(logged("3:ERROR(TLS handshake failed:") && !logged("READ") && !logged("2:TLS_HS"));
    }
    world_end();
  }
}

static void test_an_authority_nobody_knows_is_refused(void) {
  open_world(NULL);
  struct mgx_tls_opts opts = {.ca = text(other)};
  pair(server_context(), context(&opts), NULL);
  CHECK(world_until("2:CLOSE"));
  CHECK(logged("2:ERROR(TLS handshake failed: certificate verif"));
  world_end();
}

static void test_a_client_certificate_is_asked_for_as_the_mode_says(void) {
  static const struct {
    int mode;
    bool shown, good, refused;
  } cases[] = {
      {MGX_TLS_AUTH_BY_CA, false, false, true},   {MGX_TLS_AUTH_BY_CA, true, true, false},
      {MGX_TLS_AUTH_BY_CA, true, false, true},    {MGX_TLS_AUTH_REQUIRED, false, false, true},
      {MGX_TLS_AUTH_OPTIONAL, false, false, false}, {MGX_TLS_AUTH_OPTIONAL, true, false, true},
      {MGX_TLS_AUTH_OPTIONAL, true, true, false}, {MGX_TLS_AUTH_NONE, true, false, false},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    for (int version = 0x0303; version <= 0x0304; version++) {
      struct mgx_tls_info info;
      open_world(NULL);
      struct mgx_tls_opts server = {.cert = text(own), .key = text(own_key), .ca = text(other),
                                    .client_auth = cases[i].mode};
      struct mgx_tls_opts client = {.ca = text(own), .max_version = version};
      if (cases[i].shown) {
        client.cert = text(cases[i].good ? other : own);
        client.key = text(cases[i].good ? other_key : own_key);
      }
      world.react = echo;
      pair(context(&server), context(&client), NULL);
      CHECK(world_send(2, "abc") == 0);
      if (cases[i].refused) {
        CHECK(world_until("3:CLOSE") && world_until("2:CLOSE"));
        CHECK(logged("3:ERROR(TLS handshake failed:") && logged("2:ERROR(TLS") && !logged("READ"));
      } else {
        CHECK(world_until("2:READ(abc)"));
        CHECK(mgx_tls_info(world.mgr, 3, &info) == 0 && info.has_cert == cases[i].good);
        CHECK(info.version == version);
      }
      world_end();
    }
  }
}

static void test_a_protocol_both_know_is_chosen(void) {
  open_world(NULL);
  struct mgx_tls_info info;
  struct mgx_tls_opts server = {.cert = text(own), .key = text(own_key),
                                .alpn = text("\002h2\010http/1.1")};
  struct mgx_tls_opts client = {.ca = text(own), .alpn = text("\003foo\010http/1.1")};
  pair(context(&server), context(&client), NULL);
  CHECK(world_until("2:TLS_HS") && world_until("3:TLS_HS"));
  CHECK(mgx_tls_info(world.mgr, 2, &info) == 0 && strcmp(info.alpn, "http/1.1") == 0);
  CHECK(mgx_tls_info(world.mgr, 3, &info) == 0 && strcmp(info.alpn, "http/1.1") == 0);
  world_end();
  open_world(NULL);
  client.alpn = text("\003foo");
  pair(context(&server), context(&client), NULL);
  CHECK(world_until("2:ERROR(TLS handshake failed: ") && world_until("3:ERROR(TLS handshake failed: "));
  world_end();
}

/* ---- sessions --------------------------------------------------------------------------------------- */

static bool second_is_resumed(int server, int client) {
  struct mgx_tls_info info;
  pair(server, client, NULL);
  world.react = echo;
  CHECK(world_send(2, "abc") == 0);
  CHECK(world_until("2:READ(abc)")); /* behind the tickets of TLS 1.3 */
  CHECK(mgx_drain(world.mgr, 2) == 0 && world_until("3:CLOSE"));
  CHECK(connect_tls(world_url(1, "tls"), client, NULL) == 4);
  CHECK(world_until("4:TLS_HS") && world_until("5:TLS_HS"));
  CHECK(mgx_tls_info(world.mgr, 4, &info) == 0);
  return info.resumed;
}

static void test_sessions_are_resumed_within_a_context_only(void) {
  for (int version = 0x0303; version <= 0x0304; version++) {
    struct mgx_tls_opts opts = {.ca = text(own), .max_version = version};
    open_world(NULL);
    CHECK(second_is_resumed(server_context(), context(&opts)));
    CHECK(connect_tls(world_url(1, "tls"), context(&opts), NULL) == 6); /* as good, but another one */
    CHECK(world_until("6:TLS_HS"));
    struct mgx_tls_info info;
    CHECK(mgx_tls_info(world.mgr, 6, &info) == 0 && !info.resumed);
    world_end();
    open_world(NULL);
    struct mgx_tls_opts server = {.cert = text(own), .key = text(own_key), .no_tickets = true};
    CHECK(!second_is_resumed(context(&server), context(&opts)));
    world_end();
  }
}

static void test_keys_of_tickets_are_renewed(void) {
  struct mgx_tls_info info;
  open_world(NULL);
  int server = server_context(), client = client_context();
  CHECK(second_is_resumed(server, client));
  mg__tls_ctx(world.mgr, server)->keys_at -= TLS_KEYS_MS;
  CHECK(connect_tls(world_url(1, "tls"), client, NULL) == 6);
  CHECK(world_until("6:TLS_HS"));
  CHECK(mgx_tls_info(world.mgr, 6, &info) == 0 && !info.resumed);
  world_end();
}

static void test_a_client_keeps_a_bounded_number_of_sessions(void) {
  char name[64];
  open_world(NULL);
  struct mgx_tls_opts opts = {.skip_verification = true, .max_version = 0x0303};
  int client = context(&opts);
  CHECK(listen_tls("tls://127.0.0.1:0", server_context()) == 1);
  for (int i = 0; i < MG_TLS_SESSIONS + 3; i++) {
    snprintf(name, sizeof(name), "n%d.example.com", i);
    uint64_t id = (uint64_t) connect_tls(world_url(1, "tls"), client, name);
    char wanted[32];
    snprintf(wanted, sizeof(wanted), "%d:TLS_HS", (int) id);
    CHECK(world_until(wanted));
    mgx_close(world.mgr, id);
    world.len = 0;
    world.log[0] = '\0';
  }
  world_end();
}

/* ---- server names -------------------------------------------------------------------------------------- */

static int name_context;
static char asked_name[300];

static int world_tls_name(uint32_t tag, uint64_t conn, const char *name, size_t len) {
  (void) tag;
  CHECK(mgx_conn_flags(world.mgr, conn) & MGX_IS_TLS); /* any call is fine meanwhile */
  CHECK(mgx_tls_init(world.mgr, conn, name_context, "", 0) != 0);
  snprintf(asked_name, sizeof(asked_name), "%.*s", (int) len, name);
  if (name_context == -2) mgx_close(world.mgr, conn);
  return name_context;
}

static void open_naming_world(void) {
  static struct mgx_callbacks callbacks;
  struct mgx_error err;
  callbacks = world_callbacks;
  callbacks.on_tls_name = world_tls_name;
  memset(&world, 0, sizeof(world));
  world.mgr = mgx_mgr_new(1, &callbacks, NULL, MGX_POLLER_DEFAULT, &err);
  CHECK(world.mgr != NULL);
  mgx_handler_set(world.mgr, 0, all_events, all_events);
  asked_name[0] = '\0';
}

static void test_a_server_shows_the_certificate_for_the_name_that_was_asked(void) {
  static const struct {
    const char *entry, *asked;
    bool found;
  } cases[] = {
      {"b.example.com", "b.example.com", true}, {"B.Example.Com", "b.example.com", true},
      {"*.example.com", "b.example.com", true}, {"*.com", "b.example.com", false},
      {"example.com", "b.example.com", false},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    for (int version = 0x0303; version <= 0x0304; version++) {
      open_world(NULL);
      struct mgx_tls_opts opts = {.cert = text(other), .key = text(other_key)};
      struct mgx_tls_opts ask = {.ca = text(other), .max_version = version};
      int server = server_context(), second = context(&opts);
      CHECK(mgx_tls_add_name(world.mgr, server, text(cases[i].entry).buf,
                             strlen(cases[i].entry), second) == 0);
      CHECK(mgx_tls_add_name(world.mgr, server, "x", 1, server) == MGX_EINVAL);
      CHECK(mgx_tls_add_name(world.mgr, second, "x", 1, server) == MGX_EINVAL);
      CHECK(mgx_tls_drop(world.mgr, second) == 0);
      pair(server, context(&ask), cases[i].asked);
      CHECK(world_until(cases[i].found ? "2:TLS_HS" : "2:ERROR(TLS handshake failed: certificate"));
      world_end();
    }
  }
}

static void test_the_binding_decides_about_other_names(void) {
  for (int version = 0x0303; version <= 0x0304; version++) {
    for (int answer = -2; answer <= 2; answer++) {
      open_naming_world();
      struct mgx_tls_opts base = {.cert = text(own), .key = text(own_key), .ask_name = true};
      struct mgx_tls_opts more = {.cert = text(other), .key = text(other_key)};
      struct mgx_tls_opts ask = {.ca = text(other), .max_version = version};
      int server = context(&base), second = context(&more), client = context(&ask);
      CHECK(server == 1 && second == 2);
      name_context = answer; /* 1: as it is, as well */
      pair(server, client, "b.example.com");
      CHECK(world_until(answer == 2 ? "2:TLS_HS" : "2:ERROR(TLS handshake failed: "));
      CHECK(world_until(answer == 2 ? "3:TLS_HS" : "3:CLOSE"));
      CHECK(strcmp(asked_name, "b.example.com") == 0);
      CHECK(answer != -1 || logged("3:ERROR(TLS handshake failed: server name 'b"));
      world_end();
    }
  }
}

/* Who was let in without a certificate by one name is not let in by a session to another. */
static void test_a_session_does_not_lead_around_the_certificate_of_another_name(void) {
  for (int version = 0x0303; version <= 0x0304; version++) {
    for (int asking = 0; asking < 2; asking++) {
      struct mgx_tls_info info;
      open_naming_world();
      struct mgx_tls_opts base = {.cert = text(own), .key = text(own_key), .ask_name = asking};
      struct mgx_tls_opts strict = {.cert = text(other), .key = text(other_key), .ca = text(other)};
      struct mgx_tls_opts ask = {.skip_verification = true, .max_version = version};
      int server = context(&base), second = context(&strict), client = context(&ask);
      name_context = second;
      if (!asking) CHECK(mgx_tls_add_name(world.mgr, server, "b.example.com", 13, second) == 0);
      world.react = echo;
      pair(server, client, "127.0.0.1");
      CHECK(world_send(2, "abc") == 0);
      CHECK(world_until("2:READ(abc)"));
      /* Its sessions are used for the other name, which no client of ours does. */
      struct mg_tls_ctx *ctx = mg__tls_ctx(world.mgr, client);
      for (size_t i = 0; i < MG_TLS_SESSIONS; i++) {
        if (ctx->sessions[i].key == NULL) continue;
        char key[64];
        snprintf(key, sizeof(key), "b.example.com:%d", port_of(1));
        free(ctx->sessions[i].key);
        ctx->sessions[i].key = strdup(key);
      }
      CHECK(connect_tls(world_url(1, "tls"), client, "b.example.com") == 4);
      CHECK(world_send(4, "abc") == 0);
      if (version == 0x0304) {
        CHECK(world_until("5:ERROR(TLS handshake failed: ") && world_until("5:CLOSE"));
        CHECK(!logged("5:READ") && !logged("5:TLS_HS"));
      } else { /* it is told the name of the session, not the one that was asked for now */
        CHECK(world_until("5:TLS_HS"));
        CHECK(mgx_tls_info(world.mgr, 5, &info) == 0 && info.resumed && info.name[0] == '\0');
      }
      world_end();
    }
  }
}

/* ---- data ------------------------------------------------------------------------------------------------ */

enum { LARGE = 3000000 };
static char *large;
static size_t arrived;

static void collect(uint64_t conn, int ev, const char *data, size_t n) {
  if (ev == MG_EV_READ && conn == 2) {
    CHECK(arrived + n <= LARGE && memcmp(large + arrived, data, n) == 0);
    arrived += n;
  } else if (ev == MG_EV_TLS_HS && conn == 3) {
    CHECK(mgx_send(world.mgr, 3, large, LARGE, NULL) == 0);
    CHECK(mgx_drain(world.mgr, 3) == 0);
  }
}

static void test_megabytes_arrive_whole_and_end_in_order(void) {
  for (int version = 0x0303; version <= 0x0304; version++) {
    struct mgx_limits limits;
    mgx_limits_init(&limits);
    limits.recv_buffer = version == 0x0303 ? 1000 : limits.recv_buffer;
    CHECK(world_open(&limits, version == 0x0303 ? MGX_POLLER_POLL : MGX_POLLER_EPOLL) != NULL);
    struct mgx_tls_opts opts = {.ca = text(own), .max_version = version};
    arrived = 0;
    world.react = collect;
    pair(server_context(), context(&opts), NULL);
    for (int i = 0; i < 5000 && !logged("2:CLOSE"); i++) {
      mg_mgr_poll(world.mgr, 10);
      if (world.len > 60000) world.len = 0; /* room for the end */
    }
    CHECK(arrived == LARGE && logged("2:CLOSE") && !logged("2:ERROR"));
    world_end();
  }
}

/* The world's log is the loop's; this thread only sends, and others may look. */
static void *send_slices(void *arg) {
  (void) arg;
  for (size_t at = 0; at < LARGE; at += 30000) {
    struct mgx_tls_info info;
    CHECK(mgx_send(world.mgr, 3, large + at, 30000, NULL) == 0);
    CHECK(mgx_tls_info(world.mgr, 3, &info) == 0 && info.is_ready);
  }
  CHECK(mgx_drain(world.mgr, 3) == 0);
  return NULL;
}

static void collect_only(uint64_t conn, int ev, const char *data, size_t n) {
  if (ev == MG_EV_READ && conn == 2) collect(conn, ev, data, n);
}

static void test_another_thread_may_send_while_the_loop_runs(void) {
  pthread_t thread;
  open_world(NULL);
  arrived = 0;
  world.react = collect_only;
  pair(server_context(), client_context(), NULL);
  CHECK(world_until("3:TLS_HS") && world_until("2:TLS_HS"));
  CHECK(pthread_create(&thread, NULL, send_slices, NULL) == 0);
  for (int i = 0; i < 5000 && !logged("2:CLOSE"); i++) {
    mg_mgr_poll(world.mgr, 10);
    if (world.len > 60000) world.len = 0;
  }
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(arrived == LARGE && logged("2:CLOSE") && !logged("ERROR"));
  world_end();
}

static void test_a_paused_connection_gives_what_waited_inside_openssl(void) {
  open_world(NULL);
  pair(server_context(), client_context(), NULL);
  CHECK(world_until("2:TLS_HS") && world_until("3:TLS_HS"));
  CHECK(mgx_pause(world.mgr, 2, true) == 0);
  for (int i = 0; i < 5; i++) CHECK(world_send(3, "0123456789") == 0 && mg_mgr_poll(world.mgr, 1) == 0);
  CHECK(!logged("2:READ"));
  CHECK(mgx_pause(world.mgr, 2, false) == 0);
  for (int i = 0; i < 50 && !logged("2:READ"); i++) mg_mgr_poll(world.mgr, 10);
  CHECK(logged("2:READ(0123456789012345678901234567890123456789)"));
  world_end();
}

/* No readiness tells of the second half of a record that did not fit the limit. */
static void keep_two(uint64_t conn, int ev, const char *data, size_t n) {
  (void) data;
  if (ev == MG_EV_READ && conn == 2) {
    arrived += n;
    if (arrived == 8) CHECK(mgx_pause(world.mgr, 2, true) == 0);
  }
}

static void test_what_did_not_fit_comes_when_there_is_room(void) {
  struct mgx_limits limits;
  mgx_limits_init(&limits);
  limits.recv_buffer = 8;
  CHECK(world_open(&limits, MGX_POLLER_DEFAULT) != NULL);
  arrived = 0;
  world.react = keep_two;
  pair(server_context(), client_context(), NULL);
  CHECK(world_until("3:TLS_HS"));
  CHECK(world_send(3, "0123456789abcdefghij") == 0);
  CHECK(world_until("2:READ(01234567)"));
  for (int i = 0; i < 5; i++) mg_mgr_poll(world.mgr, 5);
  CHECK(arrived == 8);
  CHECK(mgx_pause(world.mgr, 2, false) == 0);
  CHECK(world_until("2:READ(89abcdef)") && world_until("2:READ(ghij)"));
  world_end();
}

/* ---- never in plain text ---------------------------------------------------------------------------------- */

static void test_a_tls_url_without_options_speaks_to_nobody(void) {
  char buf[100];
  open_world(NULL);
  CHECK(listen_tls("tls://127.0.0.1:0", 0) == 1);
  CHECK(mgx_conn_flags(world.mgr, 1) & MGX_IS_TLS);
  int fd = dial(1);
  CHECK(write(fd, "hello", 5) == 5);
  CHECK(world_until("2:CLOSE"));
  CHECK(logged("2:ERROR(TLS handshake failed: there is no certif") && !logged("READ"));
  CHECK(read(fd, buf, sizeof(buf)) <= 0);
  close(fd);
  CHECK(listen_tls("tcp://127.0.0.1:0", 0) == 3);
  CHECK(connect_tls(world_url(3, "tls"), 0, NULL) == 4);
  CHECK(world_send(4, "secret") == 0);
  CHECK(world_until("4:CLOSE") && world_until("5:CLOSE"));
  CHECK(logged("4:ERROR(TLS handshake failed: no options were g") && !logged("5:READ"));
  world_end();
}

static int init_with;
static bool init_again;

static void init_in_events(uint64_t conn, int ev, const char *data, size_t n) {
  if ((ev == MG_EV_ACCEPT && conn == 3) || (ev == MG_EV_CONNECT && conn == 2)) {
    int tls = conn == 3 ? 1 : 2;
    CHECK(mgx_tls_init(world.mgr, conn, 99, NULL, 0) == MGX_EINVAL);
    CHECK(mgx_tls_init(world.mgr, conn, tls, NULL, 0) == 0);
    if (init_again) {
      CHECK(mgx_tls_free(world.mgr, conn) == 0);
      CHECK(mgx_tls_init(world.mgr, conn, tls, NULL, 0) == 0);
    }
    CHECK(mgx_conn_flags(world.mgr, conn) & MGX_IS_TLS);
  }
  if (ev == MG_EV_TLS_HS) CHECK(mgx_tls_init(world.mgr, conn, 1, NULL, 0) == MGX_ESTATE);
  echo(conn, ev, data, n);
}

static void test_tls_may_begin_when_the_connection_does(void) {
  for (int i = 0; i < 4; i++) {
    const char *scheme = i & 1 ? "tcp" : "tls";
    char url[32];
    init_again = i & 2;
    open_world(NULL);
    world.react = init_in_events;
    CHECK(server_context() == 1 && client_context() == 2);
    snprintf(url, sizeof(url), "%s://127.0.0.1:0", scheme);
    CHECK(world_listen(url) == 1 && world_connect(world_url(1, scheme)) == 2);
    CHECK(world_send(2, "abc") == 0); /* waits, and is encrypted */
    CHECK(world_until("2:READ(abc)") && logged("2:TLS_HS") && logged("3:TLS_HS"));
    world_end();
  }
  CHECK(init_with == 0);
}

static void start_tls(uint64_t conn, int ev, const char *data, size_t n) {
  if (ev != MG_EV_READ) return;
  if (n == 9 && memcmp(data, "STARTTLS\n", 9) == 0) {
    CHECK(world_send(conn, "go ahead") == 0);
    CHECK(mgx_tls_init(world.mgr, conn, 1, NULL, 0) == 0);
    CHECK(world_send(conn, "welcome") == 0);
  } else if (n == 8 && memcmp(data, "go ahead", 8) == 0) {
    CHECK(mgx_tls_init(world.mgr, conn, 2, NULL, 0) == 0);
    CHECK(world_send(conn, "secret") == 0);
  }
}

static void test_a_conversation_may_go_on_in_tls(void) {
  open_world(NULL);
  world.react = start_tls;
  CHECK(server_context() == 1 && client_context() == 2);
  CHECK(world_listen("tcp://127.0.0.1:0") == 1 && world_connect(world_url(1, "tcp")) == 2);
  CHECK(world_send(2, "STARTTLS\n") == 0);
  CHECK(world_until("3:READ(secret)") && world_until("2:READ(welcome)"));
  CHECK(strstr(world.log, "2:READ(go ahead)") < strstr(world.log, "2:TLS_HS"));
  world_end();
}

/* Commands smuggled in behind STARTTLS must not pass for protected ones. */
static void keep_all(uint64_t conn, int ev, const char *data, size_t n) {
  (void) data;
  if (ev != MG_EV_READ || conn != 2) return;
  CHECK(mgx_recv_keep(world.mgr, conn, n) == 0);
  mgx_tls_init(world.mgr, conn, 1, NULL, 0);
}

static void test_plain_text_before_the_handshake_is_not_taken_for_protected(void) {
  open_world(NULL);
  world.react = keep_all;
  CHECK(server_context() == 1);
  CHECK(world_listen("tcp://127.0.0.1:0") == 1);
  int fd = dial(1);
  CHECK(write(fd, "DELETE", 6) == 6);
  CHECK(world_until("2:CLOSE"));
  CHECK(logged("2:ERROR(TLS handshake failed: 6 bytes of plain "));
  close(fd);
  world_end();
}

static void test_there_is_no_way_back_to_plain_text(void) {
  open_world(NULL);
  pair(server_context(), client_context(), NULL);
  CHECK(world_until("2:TLS_HS") && world_until("3:TLS_HS"));
  CHECK(world_send(2, "last") == 0);
  CHECK(mgx_tls_free(world.mgr, 2) == 0);
  CHECK(world_until("3:READ(last)") && world_until("2:CLOSE") && world_until("3:CLOSE"));
  CHECK(!logged("ERROR"));
  CHECK(mgx_tls_free(world.mgr, 1) == 0 && mgx_conn_flags(world.mgr, 1) & MGX_IS_TLS);
  world_end();
}

/* ---- other people ---------------------------------------------------------------------------------------------- */

static void test_garbage_is_told_and_answered_by_an_alert(void) {
  static const char *const garbage[] = {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\x16\x03\x01\xff\xff", "\x80",
                                        "\x15\x03\x03\x00\x02\x02\x28"};
  for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
    char buf[100];
    size_t len = i == 3 ? 7 : strlen(garbage[i]);
    open_world(NULL);
    CHECK(listen_tls("https://127.0.0.1:0", server_context()) == 1);
    int fd = dial(1);
    CHECK(write(fd, garbage[i], len) == (ssize_t) len);
    if (i == 2) CHECK(shutdown(fd, SHUT_WR) == 0);
    CHECK(world_until("2:CLOSE"));
    CHECK(logged("2:ERROR(TLS handshake failed: ") && !logged("2:TLS_HS") && !logged("HTTP_MSG"));
    ssize_t n = read(fd, buf, sizeof(buf));
    CHECK(n == 0 || (n == 7 && buf[0] == 0x15)); /* an alert, or nothing */
    close(fd);
    world_end();
  }
}

static void test_a_handshake_takes_no_longer_than_its_limit(void) {
  struct mgx_limits limits;
  mgx_limits_init(&limits);
  limits.tls_handshake_timeout_ms = 30;
  CHECK(world_open(&limits, MGX_POLLER_DEFAULT) != NULL);
  CHECK(listen_tls("https://127.0.0.1:0", server_context()) == 1);
  int fd = dial(1);
  CHECK(world_until("2:ERROR(tls_handshake_timeout: the TLS handshake") && world_until("2:CLOSE"));
  close(fd);
  CHECK(world_listen("tcp://127.0.0.1:0") == 3);
  CHECK(connect_tls(world_url(3, "tls"), client_context(), NULL) == 4);
  CHECK(world_until("4:ERROR(tls_handshake_timeout"));
  world_end();
}

/* Bytes that a test takes from one side and gives to the other as it likes. */
struct wire {
  int listener, client, server; /* sockets */
};

static struct wire tap(uint64_t listener, int tls, const char *name) {
  struct sockaddr_in at = {.sin_family = AF_INET};
  socklen_t len = sizeof(at);
  struct wire w = {.listener = socket(AF_INET, SOCK_STREAM, 0)};
  char url[64];
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(bind(w.listener, (struct sockaddr *) &at, sizeof(at)) == 0 && listen(w.listener, 1) == 0);
  CHECK(getsockname(w.listener, (struct sockaddr *) &at, &len) == 0);
  snprintf(url, sizeof(url), "tls://127.0.0.1:%d", ntohs(at.sin_port));
  CHECK(connect_tls(url, tls, name) == 2);
  mg_mgr_poll(world.mgr, 0);
  w.client = accept(w.listener, NULL, NULL);
  w.server = dial(listener);
  CHECK(w.client >= 0);
  fcntl(w.client, F_SETFL, O_NONBLOCK);
  fcntl(w.server, F_SETFL, O_NONBLOCK);
  return w;
}

static void untap(struct wire *w) {
  close(w->listener);
  close(w->client);
  close(w->server);
}

/* Carry what is there, `step` bytes at a time with a turn of the loop behind each. */
static size_t carry(int from, int to, size_t step) {
  char buf[65536];
  ssize_t n = read(from, buf, sizeof(buf));
  for (ssize_t i = 0; i < n; i += (ssize_t) step) {
    size_t left = (size_t) (n - i);
    CHECK(write(to, buf + i, left < step ? left : step) > 0);
    mg_mgr_poll(world.mgr, 0);
  }
  return n < 0 ? 0 : (size_t) n;
}

static void test_bytes_one_by_one_on_both_sides_are_the_same_conversation(void) {
  for (size_t step = 1; step <= 7; step += 6) {
    open_world(NULL);
    world.react = echo;
    CHECK(listen_tls("tls://127.0.0.1:0", server_context()) == 1);
    struct wire w = tap(1, client_context(), "localhost");
    CHECK(world_send(2, "abc") == 0);
    for (int i = 0; i < 3000 && !logged("2:READ(abc)"); i++) {
      mg_mgr_poll(world.mgr, 1);
      carry(w.client, w.server, step);
      carry(w.server, w.client, step);
    }
    CHECK(logged("2:READ(abc)") && !logged("ERROR"));
    untap(&w);
    world_end();
  }
}

static struct wire conversation(void) {
  CHECK(listen_tls("tls://127.0.0.1:0", server_context()) == 1);
  struct wire w = tap(1, client_context(), "localhost");
  for (int i = 0; i < 300 && !(logged("2:TLS_HS") && logged("3:TLS_HS")); i++) {
    mg_mgr_poll(world.mgr, 1);
    carry(w.client, w.server, 65536);
    carry(w.server, w.client, 65536);
  }
  CHECK(logged("2:TLS_HS") && logged("3:TLS_HS"));
  return w;
}

static void test_a_stream_that_is_cut_off_is_an_error_behind_its_data(void) {
  open_world(NULL);
  struct wire w = conversation();
  CHECK(world_send(2, "abc") == 0);
  mg_mgr_poll(world.mgr, 1);
  carry(w.client, w.server, 65536);
  CHECK(shutdown(w.server, SHUT_WR) == 0);
  CHECK(world_until("3:CLOSE"));
  CHECK(strstr(world.log, "3:READ(abc) ") < strstr(world.log, "3:ERROR(TLS: the stream was cut off"));
  untap(&w);
  world_end();
}

static void test_a_changed_byte_ends_the_connection_without_its_data(void) {
  char buf[4096];
  open_world(NULL);
  struct wire w = conversation();
  CHECK(world_send(2, "abc") == 0);
  mg_mgr_poll(world.mgr, 1);
  ssize_t n = read(w.client, buf, sizeof(buf));
  CHECK(n > 10);
  buf[n - 1] ^= 1;
  CHECK(write(w.server, buf, (size_t) n) == n);
  CHECK(world_until("3:CLOSE"));
  CHECK(logged("3:ERROR(TLS: ") && !logged("3:READ"));
  untap(&w);
  world_end();
}

/* Each asks for an answer, and who asks does not read: the answers wait, up to a bound, and
 * then the questions do. */
static void test_a_flood_of_new_keys_does_not_fill_the_memory(void) {
  enum { FLOOD = 40000 };
  int (*key_update)(SSL *, int) = NULL;
  void *handle = dlopen("libssl.so.3", RTLD_NOW);
  struct mg_connection *client, *server;
  size_t most = 0;
  if (handle == NULL || !look_up(handle, "SSL_key_update", &key_update)) {
    printf("   skipped: no SSL_key_update()\n");
    return;
  }
  open_world(NULL);
  struct wire w = conversation();
  int small = 1;
  client = mg__conn_find(world.mgr, 2);
  server = mg__conn_find(world.mgr, 3);
  setsockopt(w.server, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
  setsockopt(server->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
  for (int i = 0; i < FLOOD; i++) {
    char buf[65536];
    ssize_t n;
    CHECK(key_update(client->tls->ssl, 1) == 1);
    if (i % 100 != 99) {
      CHECK(mg__openssl()->SSL_do_handshake(client->tls->ssl) == 1);
      continue;
    }
    CHECK(world_send(2, "x") == 0);
    mg_mgr_poll(world.mgr, 0);
    while ((n = read(w.client, buf, sizeof(buf))) > 0)
      for (ssize_t at = 0, m; at < n; at += m) {
        m = write(w.server, buf + at, (size_t) (n - at));
        if (m <= 0) goto full;
        mg_mgr_poll(world.mgr, 0);
        if (server->tls->out.len > most) most = server->tls->out.len;
      }
  }
full:
  CHECK(most <= MG_TLS_OUT_MAX + 1000);
  printf("   at most %zu bytes waited\n", most);
  untap(&w);
  CHECK(world_until("3:CLOSE"));
  world_end();
  dlclose(handle);
}

static void test_close_tells_its_end_but_not_behind_missing_bytes(void) {
  for (int unsent = 0; unsent < 2; unsent++) {
    open_world(NULL);
    pair(server_context(), client_context(), NULL);
    CHECK(world_until("2:TLS_HS") && world_until("3:TLS_HS"));
    if (unsent) CHECK(mgx_send(world.mgr, 2, "abc", 3, NULL) == 0);
    CHECK(mgx_close(world.mgr, 2) == 0);
    CHECK(world_until("3:CLOSE"));
    CHECK(logged("3:ERROR(TLS: the stream was cut off") == unsent);
    world_end();
  }
}

/* ---- whatever handlers do ------------------------------------------------------------------------------------------ */

static int close_when;
static uint64_t close_who;

static void close_in(uint64_t conn, int ev, const char *data, size_t n) {
  (void) data, (void) n;
  if (ev == close_when && conn == close_who) {
    CHECK(mgx_close(world.mgr, 2) == 0 || true);
    CHECK(mgx_close(world.mgr, 3) == 0 || true);
    mgx_tls_free(world.mgr, conn);
  }
}

static void test_handlers_may_close_in_every_event(void) {
  static const int when[] = {MG_EV_CONNECT, MG_EV_ACCEPT, MG_EV_TLS_HS, MG_EV_READ, MG_EV_WRITE, MG_EV_CLOSE};
  for (size_t i = 0; i < sizeof(when) / sizeof(when[0]); i++) {
    for (close_who = 2; close_who < 4; close_who++) {
      open_world(NULL);
      close_when = when[i];
      world.react = close_in;
      pair(server_context(), client_context(), NULL);
      world_send(2, "abc");
      for (int turn = 0; turn < 20; turn++) mg_mgr_poll(world.mgr, 2);
      mgx_drain(world.mgr, 2);
      for (int turn = 0; turn < 20; turn++) mg_mgr_poll(world.mgr, 2);
      world_end();
    }
  }
}

static void leave_in_each(uint64_t conn, int ev, const char *data, size_t n) {
  mgx_mgr_break(world.mgr);
  echo(conn, ev, data, n);
}

static void test_a_loop_that_is_left_in_each_event_goes_on_where_it_was(void) {
  open_world(NULL);
  world.react = leave_in_each;
  pair(server_context(), client_context(), NULL);
  CHECK(world_send(2, "abc") == 0);
  CHECK(world_until("2:READ(abc)"));
  CHECK(strstr(world.log, "2:CONNECT ") < strstr(world.log, "2:TLS_HS "));
  CHECK(strstr(world.log, "3:ACCEPT ") < strstr(world.log, "3:TLS_HS "));
  CHECK(strstr(world.log, "3:TLS_HS ") < strstr(world.log, "3:READ("));
  CHECK(mgx_drain(world.mgr, 2) == 0);
  CHECK(world_until("3:CLOSE") && !logged("ERROR"));
  world_end();
}

static void test_a_certificate_is_swapped_under_running_connections(void) {
  open_world(NULL);
  world.react = echo;
  int server = server_context();
  struct mgx_tls_opts opts = {.cert = text(other), .key = text(other_key)};
  struct mgx_tls_opts ask = {.ca = text(other)};
  pair(server, client_context(), NULL);
  CHECK(world_until("2:TLS_HS") && world_until("3:TLS_HS"));
  CHECK(mgx_tls_init(world.mgr, 1, context(&opts), NULL, 0) == 0);
  CHECK(mgx_tls_drop(world.mgr, server) == 0);
  CHECK(world_send(2, "abc") == 0);
  CHECK(world_until("2:READ(abc)"));
  CHECK(connect_tls(world_url(1, "tls"), context(&ask), "b.example.com") == 4);
  CHECK(world_until("4:TLS_HS"));
  world_end();
}

/* ---- a foreign engine ------------------------------------------------------------------------------------------------ */

/* Its handshake is an 'H' from each side; a byte is itself with its bits turned over; 'E'
 * ends the stream, 'X' is an error. */
static size_t held[16];
static char held_text[16][65536];

static void toy_output(uint64_t conn, const char *data, size_t len) {
  char out[65536];
  for (size_t i = 0; i < len; i++) out[i] = (char) ~data[i];
  CHECK(mgx_tls_output(world.mgr, conn, out, len) == 0);
}

static bool toy_greeted[16], toy_said[16];

static void toy_step(uint32_t tag, uint64_t conn, struct mgx_tls_step *step) {
  size_t slot = conn % 16;
  (void) tag;
  if (!toy_said[slot]) {
    toy_said[slot] = true;
    CHECK(mgx_tls_output(world.mgr, conn, "H", 1) == 0);
  }
  for (size_t i = 0; i < step->input.len; i++) {
    char ch = step->input.buf[i];
    if (!toy_greeted[slot]) {
      toy_greeted[slot] = ch == 'H';
      if (ch != 'H') {
        step->failed = true;
        snprintf(step->error, sizeof(step->error), "no greeting");
        return;
      }
    } else {
      CHECK(held[slot] < sizeof(held_text[slot]));
      held_text[slot][held[slot]++] = (char) ~ch;
    }
  }
  step->is_ready = toy_greeted[slot];
  if (!step->is_ready) return;
  if (step->plain.len > 0) {
    step->plain_taken = step->plain.len > 1000 ? 1000 : step->plain.len;
    toy_output(conn, step->plain.buf, step->plain_taken);
  }
  if (step->out_cap > 0 && held[slot] > 0) {
    size_t n = held[slot] < step->out_cap ? held[slot] : step->out_cap;
    char *end = memchr(held_text[slot], 'E', n), *bad = memchr(held_text[slot], 'X', n);
    if (end != NULL) n = (size_t) (end - held_text[slot]);
    if (bad != NULL) step->failed = true;
    memcpy(step->out, held_text[slot], n);
    step->out_len = n;
    step->is_end = end != NULL;
    held[slot] -= n;
    memmove(held_text[slot], held_text[slot] + n, held[slot]);
    step->has_more = held[slot] > 0 && end == NULL;
  }
  if (step->shutdown) toy_output(conn, "E", 1);
}

static void open_foreign_world(void) {
  static struct mgx_callbacks callbacks;
  struct mgx_error err;
  callbacks = world_callbacks;
  callbacks.on_tls_step = toy_step;
  memset(&world, 0, sizeof(world));
  memset(held, 0, sizeof(held));
  memset(toy_greeted, 0, sizeof(toy_greeted));
  memset(toy_said, 0, sizeof(toy_said));
  world.mgr = mgx_mgr_new(1, &callbacks, NULL, MGX_POLLER_DEFAULT, &err);
  CHECK(world.mgr != NULL);
  mgx_handler_set(world.mgr, 0, all_events, all_events);
}

static int foreign_context(void) {
  struct mgx_tls_opts opts = {.foreign = true};
  return context(&opts);
}

static void test_a_foreign_engine_carries_a_conversation_to_its_end(void) {
  open_foreign_world();
  world.react = echo;
  pair(foreign_context(), foreign_context(), NULL);
  CHECK(world_send(2, "abc") == 0);
  CHECK(world_until("2:READ(abc)") && logged("2:TLS_HS") && logged("3:TLS_HS"));
  CHECK(mgx_tls_output(world.mgr, 2, "x", 1) == MGX_ESTATE);
  CHECK(mgx_drain(world.mgr, 2) == 0);
  CHECK(world_until("2:CLOSE") && world_until("3:CLOSE") && !logged("ERROR"));
  world_end();
}

static void send_some(uint64_t conn, int ev, const char *data, size_t n) {
  if (ev == MG_EV_TLS_HS && conn == 3) {
    CHECK(mgx_send(world.mgr, 3, large, 300000, NULL) == 0);
    CHECK(mgx_drain(world.mgr, 3) == 0);
  } else if (ev == MG_EV_READ && conn == 2) {
    CHECK(memcmp(large + arrived, data, n) == 0);
    arrived += n;
  }
}

static void test_a_foreign_engine_moves_much(void) {
  for (size_t i = 0; i < 300000; i++) large[i] = (char) ('a' + i % 23);
  arrived = 0;
  open_foreign_world();
  world.react = send_some;
  pair(foreign_context(), foreign_context(), NULL);
  CHECK(world_until("2:CLOSE") && !logged("ERROR") && arrived == 300000);
  world_end();
}

static void test_what_a_foreign_engine_refuses_is_told(void) {
  open_foreign_world();
  CHECK(listen_tls("tls://127.0.0.1:0", foreign_context()) == 1);
  int fd = dial(1);
  CHECK(write(fd, "Q", 1) == 1);
  CHECK(world_until("2:ERROR(TLS handshake failed: no greeting)") && world_until("2:CLOSE"));
  close(fd);
  fd = dial(1);
  CHECK(write(fd, "H\xa7", 2) == 2);
  CHECK(world_until("3:ERROR(TLS: ") && world_until("3:CLOSE"));
  close(fd);
  fd = dial(1);
  CHECK(write(fd, "H\x9e", 2) == 2 && shutdown(fd, SHUT_WR) == 0);
  CHECK(world_until("4:READ(a) 4:ERROR(TLS: the stream was cut off") && world_until("4:CLOSE"));
  close(fd);
  fd = dial(1);
  CHECK(shutdown(fd, SHUT_WR) == 0);
  CHECK(world_until("5:ERROR(TLS handshake failed: the peer has ended") && world_until("5:CLOSE"));
  close(fd);
  world_end();
}

/* ---- memory ------------------------------------------------------------------------------------------------------------ */

/* true: allocation n was asked for, and failed. */
static bool scenario_under_memory_shortage(long n) {
  struct mgx_error err;
  bool hit;
  CHECK(world_open(NULL, MGX_POLLER_DEFAULT) != NULL);
  mg__fail_at = n;
  struct mgx_tls_opts server = {.cert = text(own), .key = text(own_key), .alpn = text("\001a")};
  struct mgx_tls_opts client = {.ca = text(own), .alpn = text("\001a")};
  int s = mgx_tls_new(world.mgr, &server, &err), o = s > 0 ? server_context() : s;
  int c = o > 0 ? mgx_tls_new(world.mgr, &client, &err) : o;
  if (o > 0) (void) mgx_tls_add_name(world.mgr, s, "localhost", 9, o);
  if (c > 0 && listen_tls("tls://127.0.0.1:0", s) == 1) {
    world.react = NULL;
    if (connect_tls(world_url(1, "tls"), c, "localhost") == 2) {
      mgx_send(world.mgr, 2, large, 100000, NULL);
      mgx_drain(world.mgr, 2);
      for (int i = 0; i < 300 && !logged("2:CLOSE"); i++) mg_mgr_poll(world.mgr, 5);
      CHECK(logged("2:CLOSE"));
    }
  }
  hit = mg__fail_at < 0;
  mg__fail_at = -1;
  world_end();
  return hit;
}

static void test_any_failing_allocation_is_survived(void) {
  long nth = 0;
  while (scenario_under_memory_shortage(nth)) nth++;
  printf("   %ld allocations failed in turn\n", nth);
  CHECK(nth > 10);
}

static void test_a_library_that_is_not_there_is_told_by_its_name(void) {
  struct mgx_error err;
  struct mgx_tls_opts opts = {.skip_verification = true};
  CHECK(mgx_tls_library() == NULL);
  open_world(NULL);
  CHECK(mgx_tls_new(world.mgr, &opts, &err) == MGX_ENOTLS);
  world_end();
  CHECK(mgx_tls_open_library("/nonexistent/libssl.so", &err) == MGX_ESYSTEM);
  CHECK(strstr(err.text, "/nonexistent/libssl.so") != NULL);
  CHECK(mgx_tls_open_library("libpthread.so.0", &err) == MGX_ESYSTEM);
  CHECK(strstr(err.text, "libpthread.so.0") != NULL);
}

static void run_all(void) {
  RUN(test_what_is_wrong_with_options_is_said);
  RUN(test_unusable_options_may_refuse_each_connection_instead);
  RUN(test_both_sides_are_told_before_any_data_comes);
  RUN(test_a_name_that_does_not_fit_is_refused_unless_nothing_is_verified);
  RUN(test_an_authority_nobody_knows_is_refused);
  RUN(test_a_client_certificate_is_asked_for_as_the_mode_says);
  RUN(test_a_protocol_both_know_is_chosen);
  RUN(test_sessions_are_resumed_within_a_context_only);
  RUN(test_keys_of_tickets_are_renewed);
  RUN(test_a_client_keeps_a_bounded_number_of_sessions);
  RUN(test_a_server_shows_the_certificate_for_the_name_that_was_asked);
  RUN(test_the_binding_decides_about_other_names);
  RUN(test_a_session_does_not_lead_around_the_certificate_of_another_name);
  RUN(test_megabytes_arrive_whole_and_end_in_order);
  RUN(test_another_thread_may_send_while_the_loop_runs);
  RUN(test_a_paused_connection_gives_what_waited_inside_openssl);
  RUN(test_what_did_not_fit_comes_when_there_is_room);
  RUN(test_a_tls_url_without_options_speaks_to_nobody);
  RUN(test_tls_may_begin_when_the_connection_does);
  RUN(test_a_conversation_may_go_on_in_tls);
  RUN(test_plain_text_before_the_handshake_is_not_taken_for_protected);
  RUN(test_there_is_no_way_back_to_plain_text);
  RUN(test_garbage_is_told_and_answered_by_an_alert);
  RUN(test_a_handshake_takes_no_longer_than_its_limit);
  RUN(test_bytes_one_by_one_on_both_sides_are_the_same_conversation);
  RUN(test_a_stream_that_is_cut_off_is_an_error_behind_its_data);
  RUN(test_a_changed_byte_ends_the_connection_without_its_data);
  RUN(test_a_flood_of_new_keys_does_not_fill_the_memory);
  RUN(test_close_tells_its_end_but_not_behind_missing_bytes);
  RUN(test_handlers_may_close_in_every_event);
  RUN(test_a_loop_that_is_left_in_each_event_goes_on_where_it_was);
  RUN(test_a_certificate_is_swapped_under_running_connections);
  RUN(test_any_failing_allocation_is_survived);
}

int main(void) {
  struct mgx_error err;
  char command[64];
  signal(SIGPIPE, SIG_IGN); /* of the test's own sockets */
  large = malloc(LARGE);
  CHECK(large != NULL);
  for (size_t i = 0; i < LARGE; i++) large[i] = (char) (i * 7 + i / 251);
  RUN(test_a_library_that_is_not_there_is_told_by_its_name);
  if (mgx_tls_open_library(NULL, &err) != MGX_OK)
    printf("skipped, no OpenSSL: %s\n", err.text);
  else if (!make_certificates())
    printf("skipped: no openssl command that makes certificates\n");
  else
    run_all();
  RUN(test_a_foreign_engine_carries_a_conversation_to_its_end);
  RUN(test_a_foreign_engine_moves_much);
  RUN(test_what_a_foreign_engine_refuses_is_told);
  free(large);
  snprintf(command, sizeof(command), "rm -rf %s", folder);
  return system(command) == 0 ? 0 : 1;
}
