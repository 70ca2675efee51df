/* Readiness. Each promise is kept by both backends. */
#include "../src/internal.h"

#include "../src/iobuf.c"
#include "../src/os_posix.c"
#include "../src/poller_epoll.c"
#include "../src/poller_poll.c"
#include "check.h"

#include <signal.h>
#include <sys/time.h>

enum { DEADLINE_MS = 5000 }; /* only to fail */

static const struct mg_poller_ops *ops; /* the backend under test */
static struct mg_poller *poller;
static int pair[2]; /* a connected pair of stream sockets, fresh for each test */

static int wait_for(struct mg_ready *out, int max, int ms) {
  CHECK(ops->prepare(poller) == 0);
  return ops->wait(poller, out, max, ms);
}

/* What is reported about id right now: 0 when nothing is. */
static unsigned readiness_of(uint64_t id) {
  struct mg_ready ready[MG_EVENTS];
  int i, n = wait_for(ready, MG_EVENTS, 0);
  CHECK(n >= 0);
  for (i = 0; i < n; i++) {
    if (ready[i].id == id) return ready[i].what;
  }
  return 0;
}

static void put_byte(int fd) { CHECK(send(fd, "x", 1, MSG_NOSIGNAL) == 1); }

static void test_nothing_is_ready_at_first(void) {
  struct mg_ready ready;
  CHECK(wait_for(&ready, 1, 0) == 0);
  CHECK(ops->add(poller, pair[0], 7, MG_POLL_IN) == 0);
  CHECK(wait_for(&ready, 1, 0) == 0);
}

static void test_bytes_make_readable_until_they_are_read(void) {
  char byte;
  CHECK(ops->add(poller, pair[0], 7, MG_POLL_IN) == 0);
  put_byte(pair[1]);
  CHECK(readiness_of(7) == MG_POLL_IN);
  CHECK(readiness_of(7) == MG_POLL_IN); /* level-triggered */
  CHECK(recv(pair[0], &byte, 1, 0) == 1);
  CHECK(readiness_of(7) == 0);
}

static void test_only_what_was_asked_for_is_reported(void) {
  CHECK(ops->add(poller, pair[0], 7, MG_POLL_OUT) == 0);
  put_byte(pair[1]);
  CHECK(readiness_of(7) == MG_POLL_OUT);
  CHECK(ops->mod(poller, pair[0], 7, MG_POLL_IN) == 0);
  CHECK(readiness_of(7) == MG_POLL_IN);
  CHECK(ops->mod(poller, pair[0], 7, MG_POLL_IN | MG_POLL_OUT) == 0);
  CHECK(readiness_of(7) == (MG_POLL_IN | MG_POLL_OUT));
}

static void test_numbers_of_64_bits_come_back_whole(void) {
  uint64_t id = UINT64_C(0xFEDCBA9876543210);
  CHECK(ops->add(poller, pair[0], id, MG_POLL_OUT) == 0);
  CHECK(readiness_of(id) == MG_POLL_OUT);
  CHECK(ops->mod(poller, pair[0], id - 1, MG_POLL_OUT) == 0); /* mod takes the number anew */
  CHECK(readiness_of(id - 1) == MG_POLL_OUT && readiness_of(id) == 0);
}

static void test_a_removed_descriptor_is_silent(void) {
  CHECK(ops->add(poller, pair[0], 7, MG_POLL_OUT) == 0);
  CHECK(ops->add(poller, pair[1], 8, MG_POLL_OUT) == 0);
  ops->del(poller, pair[0]);
  CHECK(readiness_of(7) == 0 && readiness_of(8) == MG_POLL_OUT);
  ops->del(poller, pair[0]); /* again: no harm */
  CHECK(ops->add(poller, pair[0], 9, MG_POLL_OUT) == 0);
  CHECK(readiness_of(9) == MG_POLL_OUT && readiness_of(8) == MG_POLL_OUT);
}

static void test_adding_twice_and_adding_nothing_are_errors(void) {
  CHECK(ops->add(poller, pair[0], 7, MG_POLL_IN) == 0);
  CHECK(ops->add(poller, pair[0], 8, MG_POLL_IN) == -EEXIST);
  CHECK(ops->add(poller, -1, 8, MG_POLL_IN) == -EBADF);
}

static void test_a_half_closed_peer_is_readable(void) {
  char byte;
  CHECK(ops->add(poller, pair[0], 7, MG_POLL_IN) == 0);
  CHECK(shutdown(pair[1], SHUT_WR) == 0);
  CHECK(readiness_of(7) & MG_POLL_IN);
  CHECK(recv(pair[0], &byte, 1, 0) == 0);
}

static void test_a_hang_up_is_told_to_readers_and_writers(void) {
  CHECK(ops->add(poller, pair[0], 7, MG_POLL_IN) == 0);
  close(pair[1]);
  pair[1] = -1;
  CHECK((readiness_of(7) & (MG_POLL_IN | MG_POLL_OUT)) == (MG_POLL_IN | MG_POLL_OUT));
  CHECK(ops->mod(poller, pair[0], 7, MG_POLL_OUT) == 0);
  CHECK((readiness_of(7) & (MG_POLL_IN | MG_POLL_OUT)) == (MG_POLL_IN | MG_POLL_OUT));
}

static void test_who_waits_for_nothing_is_told_nothing(void) {
  CHECK(ops->add(poller, pair[0], 7, 0) == 0);
  put_byte(pair[1]);
  close(pair[1]);
  pair[1] = -1;
  CHECK(readiness_of(7) == 0); /* not even the hang-up, which would come at every turn */
  CHECK(ops->mod(poller, pair[0], 7, MG_POLL_IN) == 0);
  CHECK(readiness_of(7) & MG_POLL_IN);
  CHECK(ops->mod(poller, pair[0], 7, 0) == 0);
  CHECK(readiness_of(7) == 0);
  CHECK(ops->mod(poller, pair[0], 7, 0) == 0); /* and it may be said twice */
  ops->del(poller, pair[0]);
}

static void test_a_refused_connect_is_an_error_for_the_writer(void) {
  struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  const struct sockaddr *sa = (const void *) &in;
  socklen_t len = sizeof(in);
  int taken = os_socket(AF_INET, SOCK_STREAM), fd = os_socket(AF_INET, SOCK_STREAM), err;
  struct mg_ready ready;
  CHECK(os_bind(taken, sa, len) == 0); /* a port where nobody listens, and nobody else will */
  CHECK(os_getsockname(taken, (void *) &in, &len) == 0);
  err = os_connect(fd, sa, len);
  CHECK(err == -EINPROGRESS || err == -ECONNREFUSED);
  if (err == -EINPROGRESS) {
    CHECK(ops->add(poller, fd, 7, MG_POLL_OUT) == 0);
    CHECK(wait_for(&ready, 1, DEADLINE_MS) == 1 && ready.id == 7);
    CHECK(ready.what & MG_POLL_OUT && ready.what & MG_POLL_ERR);
    CHECK(os_connect_result(fd) == -ECONNREFUSED);
    ops->del(poller, fd);
  }
  close(fd);
  close(taken);
}

static void test_a_reset_is_an_error(void) {
  struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct linger hard = {1, 0};
  socklen_t len = sizeof(in);
  int listener = os_socket(AF_INET, SOCK_STREAM), client = os_socket(AF_INET, SOCK_STREAM), peer;
  struct mg_ready ready;
  CHECK(os_bind(listener, (void *) &in, len) == 0 && os_listen(listener) == 0);
  CHECK(os_getsockname(listener, (void *) &in, &len) == 0);
  CHECK(ops->add(poller, listener, 1, MG_POLL_IN) == 0);
  (void) os_connect(client, (void *) &in, len);
  CHECK(wait_for(&ready, 1, DEADLINE_MS) == 1 && ready.id == 1);
  peer = os_accept(listener, NULL, NULL);
  CHECK(peer >= 0);
  ops->del(poller, listener);
  CHECK(setsockopt(peer, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)) == 0);
  close(peer);
  CHECK(ops->add(poller, client, 2, MG_POLL_IN) == 0);
  CHECK(wait_for(&ready, 1, DEADLINE_MS) == 1 && ready.id == 2);
  CHECK(ready.what & MG_POLL_IN && ready.what & MG_POLL_ERR);
  ops->del(poller, client);
  close(client);
  close(listener);
}

static void test_everyone_ready_gets_a_turn_when_few_fit(void) {
  enum { PAIRS = 100, FIT = 7 };
  int fds[PAIRS][2], seen[PAIRS] = {0}, i, turn;
  for (i = 0; i < PAIRS; i++) {
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds[i]) == 0);
    CHECK(ops->add(poller, fds[i][0], (uint64_t) i, MG_POLL_OUT) == 0);
  }
  for (turn = 0; turn < (PAIRS + FIT - 1) / FIT; turn++) {
    struct mg_ready ready[FIT];
    CHECK(wait_for(ready, FIT, 0) == FIT);
    for (i = 0; i < FIT; i++) seen[ready[i].id]++;
  }
  for (i = 0; i < PAIRS; i++) CHECK(seen[i] >= 1);
  for (i = 0; i < PAIRS; i++) {
    ops->del(poller, fds[i][0]);
    close(fds[i][0]);
    close(fds[i][1]);
  }
}

static void test_removing_in_any_order_keeps_the_others(void) {
  enum { PAIRS = 64 };
  int fds[PAIRS][2], i, k;
  bool in[PAIRS];
  for (i = 0; i < PAIRS; i++) {
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds[i]) == 0);
    CHECK(ops->add(poller, fds[i][0], 100 + (uint64_t) i, i % 3 == 0 ? 0 : MG_POLL_OUT) == 0);
    in[i] = true;
  }
  for (k = 0; k < PAIRS; k++) {
    int out = k * 37 % PAIRS; /* each once */
    ops->del(poller, fds[out][0]);
    in[out] = false;
    for (i = 0; i < PAIRS; i++) {
      unsigned want = in[i] && i % 3 != 0 ? MG_POLL_OUT : 0;
      if (i % 8 == k % 8) CHECK(readiness_of(100 + (uint64_t) i) == want);
    }
  }
  for (i = 0; i < PAIRS; i++) {
    close(fds[i][0]);
    close(fds[i][1]);
  }
}

/* What another thread may do between prepare() and the end of wait(). */
static void test_changes_during_a_wait_do_no_harm(void) {
  enum { PAIRS = 200 };
  int fds[PAIRS][2], i;
  struct mg_ready ready[MG_EVENTS];
  CHECK(ops->add(poller, pair[0], 7, MG_POLL_OUT) == 0);
  CHECK(ops->add(poller, pair[1], 8, MG_POLL_OUT) == 0);
  CHECK(ops->prepare(poller) == 0);
  for (i = 0; i < PAIRS; i++) { /* enough to move any array */
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds[i]) == 0);
    CHECK(ops->add(poller, fds[i][0], 1000 + (uint64_t) i, MG_POLL_IN) == 0);
  }
  ops->del(poller, pair[0]);
  i = ops->wait(poller, ready, MG_EVENTS, 0);
  CHECK(i >= 1 && i <= 2); /* 8, and 7 if the backend works on a snapshot */
  CHECK(readiness_of(7) == 0 && readiness_of(8) == MG_POLL_OUT);
  for (i = 0; i < PAIRS; i++) {
    ops->del(poller, fds[i][0]);
    close(fds[i][0]);
    close(fds[i][1]);
  }
}

static void *signal_later(void *fd) {
  os_wake_signal(*(int *) fd);
  return NULL;
}

static void test_another_thread_ends_an_endless_wait(void) {
  struct mg_ready ready;
  pthread_t thread;
  int fds[2];
  CHECK(os_wake_open(fds) == 0);
  CHECK(ops->add(poller, fds[0], 3, MG_POLL_IN) == 0);
  CHECK(pthread_create(&thread, NULL, signal_later, &fds[1]) == 0);
  CHECK(wait_for(&ready, 1, -1) == 1 && ready.id == 3 && ready.what == MG_POLL_IN);
  CHECK(pthread_join(thread, NULL) == 0);
  os_wake_clear(fds[0]);
  CHECK(wait_for(&ready, 1, 0) == 0);
  ops->del(poller, fds[0]);
  close(fds[0]);
  if (fds[1] != fds[0]) close(fds[1]);
}

static void on_alarm(int sig) { (void) sig; }

static void test_a_signal_ends_the_wait_without_a_report(void) {
  struct sigaction act, old;
  struct mg_ready ready;
  struct itimerval often = {{0, 10000}, {0, 10000}}, never = {{0, 0}, {0, 0}};
  uint64_t before = mg_millis();
  memset(&act, 0, sizeof(act));
  act.sa_handler = on_alarm;
  CHECK(sigaction(SIGALRM, &act, &old) == 0);
  CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0); /* the first one may come before the wait */
  CHECK(wait_for(&ready, 1, 60000) == 0);
  CHECK(mg_millis() - before < 30000);
  CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
  CHECK(sigaction(SIGALRM, &old, NULL) == 0);
}

static void test_an_empty_wait_lasts_as_long_as_told(void) {
  struct mg_ready ready;
  uint64_t before = mg_millis();
  CHECK(wait_for(&ready, 1, 20) == 0);
  CHECK(mg_millis() - before >= 19); /* both ends were cut to whole milliseconds */
}

static void test_every_failed_allocation_is_an_error_and_no_harm(void) {
  for (long n = 0; n < 20; n++) {
    struct mg_poller *p = NULL;
    struct mg_ready ready;
    int err;
    mg__fail_at = n;
    err = ops->open(&p);
    if (err == 0) {
      err = ops->add(p, pair[0], 7, MG_POLL_OUT);
      if (err == 0) err = ops->prepare(p);
      if (err == 0) CHECK(ops->wait(p, &ready, 1, 0) == 1);
      ops->del(p, pair[0]);
      ops->close(p);
    }
    CHECK(err == (mg__fail_at == -1 ? -ENOMEM : 0));
    if (mg__fail_at >= 0) break; /* it was never reached: that was all of them */
    CHECK(n < 19);
  }
  mg__fail_at = -1;
}

static void run_fresh(void (*test)(void), const char *name) {
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  CHECK(ops->open(&poller) == 0);
  test();
  ops->close(poller);
  if (pair[0] >= 0) close(pair[0]);
  if (pair[1] >= 0) close(pair[1]);
  printf("ok %s (%s)\n", name, ops->name);
}
#define RUN_FRESH(test) run_fresh(test, #test)

static void test_backend(const struct mg_poller_ops *backend) {
  ops = backend;
  RUN_FRESH(test_nothing_is_ready_at_first);
  RUN_FRESH(test_bytes_make_readable_until_they_are_read);
  RUN_FRESH(test_only_what_was_asked_for_is_reported);
  RUN_FRESH(test_numbers_of_64_bits_come_back_whole);
  RUN_FRESH(test_a_removed_descriptor_is_silent);
  RUN_FRESH(test_adding_twice_and_adding_nothing_are_errors);
  RUN_FRESH(test_a_half_closed_peer_is_readable);
  RUN_FRESH(test_a_hang_up_is_told_to_readers_and_writers);
  RUN_FRESH(test_who_waits_for_nothing_is_told_nothing);
  RUN_FRESH(test_a_refused_connect_is_an_error_for_the_writer);
  RUN_FRESH(test_a_reset_is_an_error);
  RUN_FRESH(test_everyone_ready_gets_a_turn_when_few_fit);
  RUN_FRESH(test_removing_in_any_order_keeps_the_others);
  RUN_FRESH(test_changes_during_a_wait_do_no_harm);
  RUN_FRESH(test_another_thread_ends_an_endless_wait);
  RUN_FRESH(test_a_signal_ends_the_wait_without_a_report);
  RUN_FRESH(test_an_empty_wait_lasts_as_long_as_told);
  RUN_FRESH(test_every_failed_allocation_is_an_error_and_no_harm);
}

int main(void) {
  for (size_t i = 0; i < 2; i++) {
    if (mg__os_posix.pollers[i] != NULL) test_backend(mg__os_posix.pollers[i]);
  }
  return 0;
}
