/* The system calls behind struct mg_os, where they do more than they are named after. */
#include "../src/internal.h"

#include "../src/iobuf.c"
#include "../src/os_posix.c"
#include "../src/poller_epoll.c"
#include "../src/poller_poll.c"
#include "check.h"

#include <sys/wait.h>

static bool is_nonblocking(int fd) { return (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0; }
static bool is_closed_on_exec(int fd) { return (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0; }

/* A connected TCP pair over loopback: fds[0] connected, fds[1] accepted. */
static void tcp_pair(int fds[2]) {
  struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof(in);
  int listener = os_socket(AF_INET, SOCK_STREAM), err;
  struct pollfd wait = {.fd = listener, .events = POLLIN};
  CHECK(os_bind(listener, (void *) &in, len) == 0 && os_listen(listener) == 0);
  CHECK(os_getsockname(listener, (void *) &in, &len) == 0);
  fds[0] = os_socket(AF_INET, SOCK_STREAM);
  err = os_connect(fds[0], (void *) &in, len);
  CHECK(err == 0 || err == -EINPROGRESS);
  CHECK(poll(&wait, 1, 5000) == 1);
  fds[1] = os_accept(listener, NULL, NULL);
  CHECK(fds[1] >= 0 && os_connect_result(fds[0]) == 0);
  CHECK(os_close(listener) == 0);
}

/* An unlinked file with these bytes. */
static int file_with(const char *data, size_t len) {
  char path[] = "/tmp/mg_test_XXXXXX";
  int fd = mkstemp(path);
  CHECK(fd >= 0 && unlink(path) == 0);
  CHECK(write(fd, data, len) == (ssize_t) len);
  return fd;
}

/* Read exactly len bytes, as they come. */
static void read_all(int fd, char *to, size_t len) {
  while (len > 0) {
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    ssize_t n;
    CHECK(poll(&wait, 1, 5000) == 1);
    n = os_recv(fd, to, len);
    CHECK(n > 0);
    to += n;
    len -= (size_t) n;
  }
}

static void test_sockets_never_block_and_never_leak_into_children(void) {
  int fds[2], wake[2];
  tcp_pair(fds);
  CHECK(is_nonblocking(fds[0]) && is_closed_on_exec(fds[0]));
  CHECK(is_nonblocking(fds[1]) && is_closed_on_exec(fds[1]));
  CHECK(os_wake_open(wake) == 0);
  CHECK(is_nonblocking(wake[0]) && is_closed_on_exec(wake[0]) && is_nonblocking(wake[1]));
  close(fds[0]), close(fds[1]), close(wake[0]);
  if (wake[1] != wake[0]) close(wake[1]);
}

static void test_errors_come_as_negative_errno(void) {
  char byte;
  int fds[2];
  tcp_pair(fds);
  CHECK(os_recv(fds[0], &byte, 1) == -EAGAIN);
  close(fds[1]);
  CHECK(os_close(-1) == -EBADF && os_recv(-1, &byte, 1) == -EBADF);
  CHECK(os_send(-1, &byte, 1, true) == -EBADF && os_accept(-1, NULL, NULL) == -EBADF);
  CHECK(os_setsockopt(fds[0], SOL_SOCKET, -1, 1) == -ENOPROTOOPT);
  CHECK(os_socket(-1, SOCK_STREAM) == -EAFNOSUPPORT);
  close(fds[0]);
}

static void test_the_end_of_a_stream_is_no_bytes(void) {
  struct pollfd wait = {.events = POLLIN};
  char bytes[8];
  int fds[2];
  tcp_pair(fds);
  CHECK(os_send(fds[0], "end", 3, true) == 3); /* `more` may hold it back, the end must not */
  CHECK(os_shutdown_write(fds[0]) == 0);
  read_all(fds[1], bytes, 3);
  wait.fd = fds[1];
  CHECK(poll(&wait, 1, 5000) == 1 && os_recv(fds[1], bytes, 8) == 0);
  close(fds[0]), close(fds[1]);
}

static void test_a_file_goes_out_from_any_offset(void) {
  static char data[300000], got[300000];
  size_t ofs = 70001, sent = 0, left = sizeof(data) - 70001;
  int fds[2], file;
  for (size_t i = 0; i < sizeof(data); i++) data[i] = (char) (i * 31 / 7);
  tcp_pair(fds);
  file = file_with(data, sizeof(data));
  while (sent < left) {
    ssize_t n = os_sendfile(fds[0], file, ofs + sent, left - sent);
    CHECK(n > 0);
    read_all(fds[1], got + sent, (size_t) n);
    sent += (size_t) n;
  }
  CHECK(memcmp(got, data + ofs, left) == 0);
  close(file), close(fds[0]), close(fds[1]);
}

static void test_the_portable_way_sends_the_same_bytes(void) {
  static char data[50000], got[50000];
  size_t sent = 0;
  int fds[2], file;
  for (size_t i = 0; i < sizeof(data); i++) data[i] = (char) (i * 13 / 5);
  tcp_pair(fds);
  file = file_with(data, sizeof(data));
  while (sent < sizeof(data)) {
    ssize_t n = copy_file(fds[0], file, sent, sizeof(data) - sent);
    CHECK(n > 0 && n <= MG_IO_SIZE);
    read_all(fds[1], got + sent, (size_t) n);
    sent += (size_t) n;
  }
  CHECK(memcmp(got, data, sizeof(data)) == 0);
  CHECK(copy_file(fds[0], file, sizeof(data), 1) == 0);
  CHECK(copy_file(fds[0], -1, 0, 1) == -EBADF);
  close(file), close(fds[0]), close(fds[1]);
}

static void test_a_file_that_shrank_ends_early(void) {
  int fds[2], file = file_with("0123456789", 10);
  tcp_pair(fds);
  CHECK(ftruncate(file, 4) == 0);
  CHECK(os_sendfile(fds[0], file, 0, 10) == 4);
  CHECK(os_sendfile(fds[0], file, 4, 6) == 0);
  close(file), close(fds[0]), close(fds[1]);
}

static void test_an_impossible_offset_is_an_error(void) {
  int fds[2], file = file_with("0123456789", 10);
  tcp_pair(fds);
  CHECK(os_sendfile(fds[0], file, UINT64_MAX, 10) == -EOVERFLOW);
  close(file), close(fds[0]), close(fds[1]);
}

/* Run in a child where SIGPIPE kills: 0 when the promise holds. */
static int write_to_a_gone_peer(void) {
  int fds[2], file = file_with("0123456789", 10);
  sigset_t pending;
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0) return 1;
  close(fds[1]);
  if (os_send(fds[0], "x", 1, false) != -EPIPE) return 2;
  if (os_sendfile(fds[0], file, 0, 10) != -EPIPE) return 3;
  if (sigpending(&pending) != 0 || sigismember(&pending, SIGPIPE)) return 4;
  return 0;
}

static void test_a_gone_peer_raises_no_sigpipe(void) {
  int status;
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    signal(SIGPIPE, SIG_DFL);
    _exit(write_to_a_gone_peer());
  }
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_a_sigpipe_of_somebody_else_stays_pending(void) {
  int fds[2], file = file_with("0123456789", 10);
  struct timespec at_once = {0, 0};
  sigset_t only, old;
  sigemptyset(&only);
  sigaddset(&only, SIGPIPE);
  CHECK(pthread_sigmask(SIG_BLOCK, &only, &old) == 0 && raise(SIGPIPE) == 0);
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
  close(fds[1]);
  CHECK(os_sendfile(fds[0], file, 0, 10) == -EPIPE);
  CHECK(sigtimedwait(&only, NULL, &at_once) == SIGPIPE);
  CHECK(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
  close(file), close(fds[0]);
}

static bool is_readable(int fd) {
  struct pollfd wait = {.fd = fd, .events = POLLIN};
  return poll(&wait, 1, 0) == 1;
}

static void test_any_number_of_signals_is_cleared_at_once(void) {
  int fds[2];
  CHECK(os_wake_open(fds) == 0 && !is_readable(fds[0]));
  for (int i = 0; i < 1000; i++) os_wake_signal(fds[1]);
  CHECK(is_readable(fds[0]));
  os_wake_clear(fds[0]);
  CHECK(!is_readable(fds[0]));
  os_wake_clear(fds[0]); /* nothing to clear: does not block */
  close(fds[0]);
  if (fds[1] != fds[0]) close(fds[1]);
}

static void test_a_pipe_serves_for_wake_ups_too(void) {
  int fds[2];
  CHECK(pipe2(fds, O_NONBLOCK | O_CLOEXEC) == 0);
  errno = 77;
  for (int i = 0; i < 20000; i++) os_wake_signal(fds[1]); /* more than it holds */
  CHECK(errno == 77); /* a signal handler may be the caller */
  CHECK(is_readable(fds[0]));
  os_wake_clear(fds[0]);
  CHECK(!is_readable(fds[0]));
  close(fds[0]), close(fds[1]);
}

static void test_random_bytes_fill_the_whole_buffer(void) {
  static unsigned char a[5000], b[5000];
  unsigned zeros = 0;
  CHECK(os_random(a, sizeof(a)) && read_urandom((char *) b, sizeof(b)));
  CHECK(memcmp(a, b, sizeof(a)) != 0);
  for (size_t i = sizeof(a) - 64; i < sizeof(a); i++) zeros += (a[i] == 0) + (b[i] == 0);
  CHECK(zeros < 16); /* by chance: 1 in 10^14 */
  CHECK(os_random(a, 0));
}

static void test_the_clock_never_goes_back(void) {
  uint64_t last = mg_millis();
  for (int i = 0; i < 10000; i++) {
    uint64_t now = mg_millis();
    CHECK(now >= last);
    last = now;
  }
  CHECK(os_wall_s() > 1700000000);
}

static void test_the_descriptor_limit_is_the_soft_one(void) {
  struct rlimit old, low;
  CHECK(getrlimit(RLIMIT_NOFILE, &old) == 0);
  low = old;
  low.rlim_cur = 100;
  CHECK(setrlimit(RLIMIT_NOFILE, &low) == 0 && os_max_descriptors() == 100);
  CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
}

int main(void) {
  RUN(test_sockets_never_block_and_never_leak_into_children);
  RUN(test_errors_come_as_negative_errno);
  RUN(test_the_end_of_a_stream_is_no_bytes);
  RUN(test_a_file_goes_out_from_any_offset);
  RUN(test_the_portable_way_sends_the_same_bytes);
  RUN(test_a_file_that_shrank_ends_early);
  RUN(test_an_impossible_offset_is_an_error);
  RUN(test_a_gone_peer_raises_no_sigpipe);
  RUN(test_a_sigpipe_of_somebody_else_stays_pending);
  RUN(test_any_number_of_signals_is_cleared_at_once);
  RUN(test_a_pipe_serves_for_wake_ups_too);
  RUN(test_random_bytes_fill_the_whole_buffer);
  RUN(test_the_clock_never_goes_back);
  RUN(test_the_descriptor_limit_is_the_soft_one);
  return 0;
}
