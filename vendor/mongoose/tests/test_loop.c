/* test_loop.c: connections and events, through the public interface only. */
#include "../src/internal.h"

#include "world.h"

static int pollers[] = {MGX_POLLER_EPOLL, MGX_POLLER_POLL};

static void echo(uint64_t conn, int ev, const char *data, size_t n) {
  if (ev == MG_EV_READ && conn == 3) CHECK(mgx_send(world.mgr, conn, data, n, NULL) == 0);
}

static void test_tcp_events_come_in_order_on_both_pollers(void) {
  for (size_t i = 0; i < 2; i++) {
    CHECK(world_open(NULL, pollers[i]) != NULL);
    world.react = echo;
    CHECK(world_listen("tcp://127.0.0.1:0") == 1);
    CHECK(world_connect(world_url(1, "tcp")) == 2);
    CHECK(world_send(2, "abc") == 0);
    CHECK(world_until("2:READ(abc)"));
    CHECK(mgx_drain(world.mgr, 2) == 0);
    CHECK(world_until("3:CLOSE"));
    CHECK(strstr(world.log, "1:OPEN 2:OPEN 2:RESOLVE(127.0.0.1) 2:CONNECT 2:WRITE ") != NULL ||
          strstr(world.log, "1:OPEN 2:OPEN 2:RESOLVE(127.0.0.1) 3:OPEN 3:ACCEPT 2:CONNECT ") != NULL ||
          strstr(world.log, "1:OPEN 2:OPEN 2:RESOLVE(127.0.0.1) 2:CONNECT 3:OPEN 3:ACCEPT ") != NULL);
    CHECK(strstr(world.log, "3:OPEN 3:ACCEPT ") < strstr(world.log, "3:READ(abc) "));
    CHECK(strstr(world.log, "3:READ(abc) ") < strstr(world.log, "3:WRITE "));
    world_end();
  }
}

static void test_a_refused_connect_tells_the_cause_then_closes(void) {
  CHECK(world_open(NULL, MGX_POLLER_DEFAULT) != NULL);
  CHECK(world_listen("tcp://127.0.0.1:0") == 1);
  char url[160];
  snprintf(url, sizeof(url), "%s", world_url(1, "tcp"));
  CHECK(mgx_close(world.mgr, 1) == 0);
  CHECK(world_until("1:CLOSE"));
  CHECK(world_connect(url) == 2);
  CHECK(world_until("2:CLOSE"));
  CHECK(strstr(world.log, "2:ERROR(socket error: Connection refused") != NULL);
  world_end();
}

static void close_everything(uint64_t conn, int ev, const char *data, size_t n) {
  (void) ev, (void) data, (void) n;
  for (uint64_t id = 0; id < 12; id++) mgx_close(world.mgr, id);
  mgx_drain(world.mgr, conn);
  CHECK(mg_mgr_poll(world.mgr, 0) == MGX_EBUSY || ev == MG_EV_OPEN || ev == MG_EV_RESOLVE);
}

static size_t occurrences(const char *text) {
  size_t count = 0;
  for (const char *p = world.log; (p = strstr(p, text)) != NULL; p++) count++;
  return count;
}

/* Handlers that close everything, in every event: each connection that was
 * opened is closed exactly once, and nothing freed is touched (sanitizers). */
static void test_every_open_has_one_close_whatever_handlers_close(void) {
  static const int when[] = {MG_EV_ACCEPT, MG_EV_READ, MG_EV_WRITE, MG_EV_CONNECT, MG_EV_CLOSE};
  for (size_t i = 0; i < sizeof(when) / sizeof(when[0]); i++) {
    CHECK(world_open(NULL, MGX_POLLER_DEFAULT) != NULL);
    CHECK(mgx_handler_set(world.mgr, 0, all_events, all_events) == 0);
    CHECK(world_listen("tcp://127.0.0.1:0") == 1);
    CHECK(world_connect(world_url(1, "tcp")) == 2);
    CHECK(world_connect(world_url(1, "tcp")) == 3);
    world_send(2, "x");
    world_send(3, "y");
    for (int turn = 0; turn < 4; turn++) mg_mgr_poll(world.mgr, 10);
    mgx_handler_set(world.mgr, 0, all_events | 1u << MG_EV_POLL, all_events);
    world.react = close_everything;
    if (when[i] == MG_EV_CLOSE) mgx_close(world.mgr, 2);
    mgx_send(world.mgr, 2, "z", 1, NULL);
    for (int turn = 0; turn < 8; turn++) mg_mgr_poll(world.mgr, 10);
    world.react = NULL;
    CHECK(mg_mgr_free(world.mgr) == 0);
    CHECK(occurrences(":OPEN ") == occurrences(":CLOSE "));
    world_end();
  }
}

static void test_a_closed_manager_answers_closed_to_every_call(void) {
  struct mgx_conn_info info;
  CHECK(world_open(NULL, MGX_POLLER_DEFAULT) != NULL);
  CHECK(world_listen("tcp://127.0.0.1:0") == 1);
  CHECK(mg_mgr_free(world.mgr) == 0);
  CHECK(mg_mgr_free(world.mgr) == 0);
  CHECK(mg_mgr_poll(world.mgr, 0) == MGX_ECLOSED);
  CHECK(world_listen("tcp://127.0.0.1:0") == MGX_ECLOSED);
  CHECK(world_connect("tcp://127.0.0.1:1") == MGX_ECLOSED);
  CHECK(world_send(1, "x") == MGX_ECLOSED);
  CHECK(mgx_close(world.mgr, 1) == MGX_ECLOSED);
  CHECK(mgx_conn_info(world.mgr, 1, &info) == MGX_ECLOSED);
  CHECK(mg_timer_add(world.mgr, 1, 0) == MGX_ECLOSED);
  CHECK(mg_wakeup(world.mgr, 1, "", 0) == MGX_ECLOSED);
  CHECK(mgx_mgr_fd(world.mgr) == MGX_ECLOSED);
  CHECK(mgx_http_reply(world.mgr, 1, 200, "", 0, "", 0) == MGX_ECLOSED);
  world_end();
}

static void keep_half(uint64_t conn, int ev, const char *data, size_t n) {
  const char *end = ev == MG_EV_READ && conn == 3 ? memrchr(data, '\n', n) : NULL;
  size_t tail = end == NULL ? n : (size_t) (data + n - end) - 1;
  if (ev == MG_EV_READ && conn == 3) CHECK(mgx_recv_keep(world.mgr, conn, tail) == 0);
}

static void test_a_kept_tail_comes_again_in_front_of_the_next_bytes(void) {
  CHECK(world_open(NULL, MGX_POLLER_DEFAULT) != NULL);
  world.react = keep_half;
  CHECK(world_listen("tcp://127.0.0.1:0") == 1);
  CHECK(world_connect(world_url(1, "tcp")) == 2);
  world_send(2, "one\ntw");
  CHECK(world_until("3:READ(one\ntw)"));
  world_send(2, "o\n");
  CHECK(world_until("3:READ(two\n)"));
  world_send(2, "three");
  CHECK(world_until("3:READ(three)"));
  world_end();
}

static void test_a_tail_that_fills_the_buffer_is_an_error(void) {
  struct mgx_limits limits;
  mgx_limits_init(&limits);
  limits.recv_buffer = 8;
  CHECK(world_open(&limits, MGX_POLLER_DEFAULT) != NULL);
  world.react = keep_half;
  CHECK(world_listen("tcp://127.0.0.1:0") == 1);
  CHECK(world_connect(world_url(1, "tcp")) == 2);
  world_send(2, "a line that is too long");
  CHECK(world_until("3:ERROR(recv_buffer limit"));
  CHECK(world_until("3:CLOSE"));
  world_end();
}

static void test_untaken_bytes_wait_under_backpressure(void) {
  struct mgx_limits limits;
  char got[16];
  mgx_limits_init(&limits);
  limits.recv_buffer = 4;
  CHECK(world_open(&limits, MGX_POLLER_DEFAULT) != NULL);
  mgx_handler_set(world.mgr, 0, all_events, all_events & ~(1u << MG_EV_READ));
  CHECK(world_listen("tcp://127.0.0.1:0") == 1);
  CHECK(world_connect(world_url(1, "tcp")) == 2);
  world_send(2, "abcdefgh");
  for (int i = 0; i < 300 && mgx_recv_data(world.mgr, 3, got, 16) < 4; i++) mg_mgr_poll(world.mgr, 10);
  CHECK(mgx_recv_data(world.mgr, 3, got, 16) == 4 && memcmp(got, "abcd", 4) == 0);
  CHECK((mgx_conn_flags(world.mgr, 3) & MGX_IS_FULL) != 0);
  CHECK(mgx_recv_consume(world.mgr, 3, 5) == MGX_EINVAL);
  CHECK(mgx_recv_consume(world.mgr, 3, 3) == 0);
  for (int i = 0; i < 300 && mgx_recv_data(world.mgr, 3, got, 16) < 4; i++) mg_mgr_poll(world.mgr, 10);
  CHECK(mgx_recv_data(world.mgr, 3, got, 16) == 4 && memcmp(got, "defg", 4) == 0);
  world_end();
}

static void test_datagrams_come_one_by_one(void) {
  for (size_t i = 0; i < 2; i++) {
    CHECK(world_open(NULL, pollers[i]) != NULL);
    CHECK(world_listen("udp://127.0.0.1:0") == 1);
    CHECK(world_connect(world_url(1, "udp")) == 2);
    CHECK(strstr(world.log, "2:OPEN 2:RESOLVE(127.0.0.1) 2:CONNECT ") != NULL);
    world_send(2, "one");
    world_send(2, "two");
    CHECK(world_until("1:READ(one) 1:READ(two) "));
    CHECK(world_send(1, "back") == 0);
    CHECK(world_until("2:READ(back) "));
    world_end();
  }
}

static void test_a_unix_socket_file_goes_with_its_listener(void) {
  char url[128], path[64];
  snprintf(path, sizeof(path), "/tmp/mg-test-%d.sock", (int) getpid());
  snprintf(url, sizeof(url), "unix://%s", path);
  for (int round = 0; round < 2; round++) {
    CHECK(world_open(NULL, MGX_POLLER_DEFAULT) != NULL);
    CHECK(world_listen(url) == 1);
    CHECK(access(path, F_OK) == 0);
    CHECK(world_listen(url) == MGX_ESYSTEM);
    CHECK(world_connect(url) == 2);
    world_send(2, "hi");
    CHECK(world_until(":READ(hi)"));
    world_end();
    CHECK(access(path, F_OK) != 0);
  }
}

static void test_bad_urls_are_refused_before_a_socket_exists(void) {
  static const char *const urls[] = {"", "nonsense", "tcp://", "tcp://127.0.0.1:99999",
                                     "tcp://127.0.0.1:1x", "gopher://127.0.0.1:70",
                                     "tcp://127.0.0.1:80 ", "tcp://[::1:80", "unix://", "unix://x"};
  CHECK(world_open(NULL, MGX_POLLER_DEFAULT) != NULL);
  for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
    CHECK(world_listen(urls[i]) == MGX_EADDR);
    CHECK(world_connect(urls[i]) == MGX_EADDR);
  }
  CHECK(world_listen("tcp://example.org:80") == MGX_EADDR);
  CHECK(world_connect("tcp://127.0.0.1:0") == MGX_EADDR);
  CHECK(world.len == 0);
  world_end();
}

static void test_wakeups_arrive_whole_and_in_order(void) {
  CHECK(world_open(NULL, MGX_POLLER_DEFAULT) != NULL);
  CHECK(mg_wakeup(world.mgr, 1, "x", 1) == 0);
  int64_t own = mg_wakeup_init(world.mgr);
  CHECK(own > 0 && mg_wakeup_init(world.mgr) == own);
  CHECK(world_listen("tcp://127.0.0.1:0") == 2);
  CHECK(mg_wakeup(world.mgr, 99, "x", 1) == 0);
  CHECK(mg_wakeup(world.mgr, 2, "a", 1) == 1 && mg_wakeup(world.mgr, 2, "", 0) == 1);
  CHECK(mg_wakeup(world.mgr, 2, "b", 1) == 1);
  CHECK(world_until("2:WAKEUP(a) 2:WAKEUP() 2:WAKEUP(b) "));
  CHECK(mg_wakeup(world.mgr, (uint64_t) own, "", 0) == 1);
  CHECK(mgx_mgr_next_timeout(world.mgr) == 0);
  world_end();
}

static void break_at_b(uint64_t conn, int ev, const char *data, size_t n) {
  (void) conn;
  if (ev == MG_EV_WAKEUP && n == 1 && *data == 'b') mgx_mgr_break(world.mgr);
}

static void test_what_a_break_leaves_comes_in_the_next_turn(void) {
  CHECK(world_open(NULL, MGX_POLLER_DEFAULT) != NULL);
  world.react = break_at_b;
  mg_wakeup_init(world.mgr);
  CHECK(world_listen("tcp://127.0.0.1:0") == 2);
  mg_wakeup(world.mgr, 2, "a", 1);
  mg_wakeup(world.mgr, 2, "b", 1);
  mg_wakeup(world.mgr, 2, "c", 1);
  CHECK(mg_mgr_poll(world.mgr, 0) == 0);
  CHECK(strstr(world.log, "WAKEUP(b)") != NULL && strstr(world.log, "WAKEUP(c)") == NULL);
  CHECK(mgx_mgr_next_timeout(world.mgr) == 0);
  CHECK(mg_mgr_poll(world.mgr, 0) == 0);
  CHECK(strstr(world.log, "WAKEUP(c)") != NULL);
  world_end();
}

int main(void) {
  RUN(test_tcp_events_come_in_order_on_both_pollers);
  RUN(test_a_refused_connect_tells_the_cause_then_closes);
  RUN(test_every_open_has_one_close_whatever_handlers_close);
  RUN(test_a_closed_manager_answers_closed_to_every_call);
  RUN(test_a_kept_tail_comes_again_in_front_of_the_next_bytes);
  RUN(test_a_tail_that_fills_the_buffer_is_an_error);
  RUN(test_untaken_bytes_wait_under_backpressure);
  RUN(test_datagrams_come_one_by_one);
  RUN(test_a_unix_socket_file_goes_with_its_listener);
  RUN(test_bad_urls_are_refused_before_a_socket_exists);
  RUN(test_wakeups_arrive_whole_and_in_order);
  RUN(test_what_a_break_leaves_comes_in_the_next_turn);
  return 0;
}
