/* test_threads.c: every call may come from any thread while another polls.
 * Run with SAN=-fsanitize=thread as well. */
#include "../src/internal.h"

#include "check.h"

static struct mg_mgr *mgr;
static _Atomic int opened, closed, woken, errors, stop;

static void on_event(uint32_t tag, uint64_t conn, int ev) {
  (void) tag;
  if (ev == MG_EV_OPEN) opened++;
  if (ev == MG_EV_ACCEPT) mgx_send(mgr, conn, "hello", 5, NULL);
}

static size_t on_events(uint32_t tag, const uint64_t *conns, const int *evs, size_t count) {
  for (size_t i = 0; i < count; i++) on_event(tag, conns[i], evs[i]);
  return count;
}

static void on_data(uint32_t tag, uint64_t conn, int ev, const char *data, size_t n) {
  (void) tag;
  if (ev == MG_EV_WAKEUP) {
    uint32_t len;
    CHECK(n >= sizeof(len));
    memcpy(&len, data, sizeof(len));
    CHECK(len == n && (n == sizeof(len) || data[n - 1] == 'x'));
    woken++;
  } else if (ev == MG_EV_READ && data[0] == 'q') {
    mgx_close(mgr, conn);
  } else if (ev == MG_EV_READ) {
    mgx_send(mgr, conn, data, n, NULL);
  } else if (ev == MG_EV_ERROR) {
    errors++;
  }
}

static void on_http(uint32_t tag, uint64_t conn, int ev, const struct mgx_http_event *event) {
  (void) tag, (void) ev, (void) event;
  mgx_http_reply(mgr, conn, 200, "", 0, "hi", 2);
}
static size_t on_batch(uint32_t tag, const uint64_t *conns, const struct mgx_http_event *events,
                       size_t count) {
  for (size_t i = 0; i < count; i++) on_http(tag, conns[i], MG_EV_HTTP_MSG, &events[i]);
  return count;
}
static void on_resolve(uint32_t tag, uint64_t conn, const struct mgx_addr *addrs, size_t n) {
  (void) tag, (void) conn, (void) addrs, (void) n;
}
static void on_close(uint32_t tag, uint64_t conn, int wanted) {
  (void) tag, (void) conn;
  if (wanted) closed++;
}
static void on_timer(uint32_t tag, uint64_t timer, int active) {
  (void) tag, (void) timer, (void) active;
}
static void on_log(uint32_t tag, int level, const char *text, size_t n) {
  (void) tag, (void) level, (void) text, (void) n;
}
static const struct mgx_callbacks callbacks = {
    .on_event = on_event, .on_events = on_events,   .on_data = on_data,
    .on_http = on_http,   .on_http_batch = on_batch, .on_resolve = on_resolve,
    .on_close = on_close, .on_timer = on_timer,     .on_log = on_log};

static void *poll_thread(void *arg) {
  (void) arg;
  while (!stop) CHECK(mg_mgr_poll(mgr, 20) == 0);
  return NULL;
}

static int64_t open_url(int64_t (*call)(struct mg_mgr *, const char *, size_t,
                                        const struct mgx_open *, struct mgx_error *),
                        const char *url) {
  struct mgx_open opts = {.http = MGX_HTTP_BY_SCHEME};
  struct mgx_error err;
  return call(mgr, url, strlen(url), &opts, &err);
}

static char tcp_url[64], http_url[64];
static int64_t tcp, http;

/* Everything a user could do, in an order that differs from thread to thread. */
static void *user_thread(void *arg) {
  unsigned seed = (unsigned) (size_t) arg;
  for (int i = 0; i < 150; i++) {
    struct mgx_conn_info info;
    uint64_t ids[64];
    char buf[64];
    int64_t c = open_url(mgx_connect, rand_r(&seed) % 2 ? tcp_url : http_url), timer;
    if (c < 0) continue;
    const char *text = rand_r(&seed) % 4 ? "GET / HTTP/1.1\r\nHost: a\r\n\r\n" : "q";
    mgx_send(mgr, (uint64_t) c, text, strlen(text), NULL);
    mgx_conn_info(mgr, (uint64_t) c, &info);
    timer = mg_timer_add(mgr, rand_r(&seed) % 5, MG_TIMER_ONCE);
    size_t n = mgx_mgr_conns(mgr, ids, 64);
    uint64_t other = ids[(size_t) rand_r(&seed) % (n < 64 ? n : 64)];
    if (other != (uint64_t) tcp && other != (uint64_t) http) {
      mgx_recv_data(mgr, other, buf, sizeof(buf));
      mgx_pause(mgr, other, true);
      mgx_conn_set_handler(mgr, other, 0);
      mgx_pause(mgr, other, false);
      mgx_recv_consume(mgr, other, 1);
      if (rand_r(&seed) % 3 == 0) mgx_close(mgr, other);
    }
    if (rand_r(&seed) % 3 == 0) mgx_conn_error(mgr, (uint64_t) c, "user", 4);
    if (timer > 0 && rand_r(&seed) % 2) mg_timer_free(mgr, (uint64_t) timer);
    mgx_drain(mgr, (uint64_t) c);
    mgx_mgr_next_timeout(mgr);
  }
  return NULL;
}

static void run_world(int poller) {
  pthread_t poll, users[4];
  struct mgx_error err;
  struct mgx_conn_info info;
  opened = closed = stop = 0;
  mgr = mgx_mgr_new(1, &callbacks, NULL, poller, &err);
  CHECK(mgr != NULL);
  mgx_handler_set(mgr, 0, ~0u, ~(1u << MG_EV_POLL));
  tcp = open_url(mgx_listen, "tcp://127.0.0.1:0");
  http = open_url(mgx_listen, "http://127.0.0.1:0");
  CHECK(mgx_conn_info(mgr, (uint64_t) tcp, &info) == 0);
  snprintf(tcp_url, sizeof(tcp_url), "tcp://127.0.0.1:%u", info.loc.port);
  CHECK(mgx_conn_info(mgr, (uint64_t) http, &info) == 0);
  snprintf(http_url, sizeof(http_url), "http://127.0.0.1:%u", info.loc.port);
  CHECK(pthread_create(&poll, NULL, poll_thread, NULL) == 0);
  for (size_t i = 0; i < 4; i++)
    CHECK(pthread_create(&users[i], NULL, user_thread, (void *) (i + 1)) == 0);
  for (size_t i = 0; i < 4; i++) pthread_join(users[i], NULL);
  stop = 1;
  mgx_mgr_interrupt(mgr);
  pthread_join(poll, NULL);
  CHECK(mg_mgr_free(mgr) == 0);
  CHECK(opened == closed);
  mgx_mgr_delete(mgr);
}

static void test_calls_from_four_threads_while_a_fifth_polls(void) {
  run_world(MGX_POLLER_EPOLL);
  run_world(MGX_POLLER_POLL);
}

enum { PRODUCERS = 8, EACH = 2000 };
static int64_t target;

static void *producer(void *arg) {
  unsigned seed = (unsigned) (size_t) arg;
  char *data = malloc(70000);
  CHECK(data != NULL);
  memset(data, 'x', 70000);
  for (int i = 0; i < EACH; i++) {
    uint32_t len = 4 + (uint32_t) rand_r(&seed) % (i % 50 == 0 ? 69000 : 300);
    int taken;
    memcpy(data, &len, sizeof(len));
    while ((taken = mg_wakeup(mgr, (uint64_t) target, data, len)) == MGX_ELIMIT) sched_yield();
    CHECK(taken == 1);
  }
  free(data);
  return NULL;
}

static void test_no_wakeup_is_cut_or_lost(void) {
  pthread_t poll, threads[PRODUCERS];
  struct mgx_error err;
  struct mgx_limits limits;
  mgx_limits_init(&limits);
  limits.wakeup_queue = 1 << 20; /* so that the bound is met, too */
  stop = 0;
  mgr = mgx_mgr_new(1, &callbacks, &limits, MGX_POLLER_DEFAULT, &err);
  CHECK(mgr != NULL);
  mgx_handler_set(mgr, 0, ~0u, ~0u);
  mg_wakeup_init(mgr);
  target = open_url(mgx_listen, "tcp://127.0.0.1:0");
  CHECK(pthread_create(&poll, NULL, poll_thread, NULL) == 0);
  for (size_t i = 0; i < PRODUCERS; i++)
    CHECK(pthread_create(&threads[i], NULL, producer, (void *) (i + 1)) == 0);
  for (size_t i = 0; i < PRODUCERS; i++) pthread_join(threads[i], NULL);
  stop = 1;
  mgx_mgr_interrupt(mgr);
  pthread_join(poll, NULL);
  while (woken < PRODUCERS * EACH && mgx_mgr_next_timeout(mgr) == 0) mg_mgr_poll(mgr, 0);
  CHECK(woken == PRODUCERS * EACH);
  CHECK(mg_mgr_free(mgr) == 0);
  mgx_mgr_delete(mgr);
}

int main(void) {
  RUN(test_calls_from_four_threads_while_a_fifth_polls);
  RUN(test_no_wakeup_is_cut_or_lost);
  return 0;
}
