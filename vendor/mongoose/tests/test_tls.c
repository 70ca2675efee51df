/* test_tls.c: TLS options, handshakes, sessions and server names, both ends ours. What other
 * programs think of it is tested from Python. */
#include "../mongoose.c"

#include "tls_world.h"

/* ---- the library ------------------------------------------------------------------------ */

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
}

int main(void) {
  RUN(test_a_library_that_is_not_there_is_told_by_its_name);
  return tls_main(run_all);
}
