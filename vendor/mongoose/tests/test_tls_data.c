/* test_tls_data.c: what passes over TLS, what must not, and what others or handlers may do
 * to it. */
#include "../mongoose.c"

#include "tls_world.h"

/* ---- data ------------------------------------------------------------------------------------------------ */

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

static void test_the_handshake_that_began_first_makes_room_for_the_next(void) {
  struct mgx_limits limits;
  int fds[3];
  mgx_limits_init(&limits);
  limits.tls_handshakes = 2;
  CHECK(world_open(&limits, MGX_POLLER_DEFAULT) != NULL);
  CHECK(listen_tls("https://127.0.0.1:0", server_context()) == 1);
  for (int i = 0; i < 3; i++) {
    fds[i] = dial(1);
    CHECK(world_until(i == 0 ? "2:ACCEPT" : i == 1 ? "3:ACCEPT" : "4:ACCEPT"));
  }
  CHECK(world_until("2:ERROR(tls_handshakes limit: 2 TLS") && world_until("2:CLOSE"));
  CHECK(connect_tls(world_url(1, "https"), client_context(), NULL) == 5); /* 6 is its other end */
  CHECK(world_until("5:TLS_HS") && world_until("6:TLS_HS"));
  CHECK(logged("3:ERROR(tls_handshakes limit") && !logged("4:ERROR"));
  close(dial(1)); /* those that are done do not count */
  CHECK(world_until("7:CLOSE") && !logged("4:ERROR") && !logged("6:ERROR"));
  for (int i = 0; i < 3; i++) close(fds[i]);
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

static void run_all(void) {
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
  RUN(test_the_handshake_that_began_first_makes_room_for_the_next);
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
  return tls_main(run_all);
}
