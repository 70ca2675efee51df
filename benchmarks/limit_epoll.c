/* limit_epoll.c: what a request costs when nobody looks at it.
 *
 * An HTTP server without HTTP: epoll, one read(), count the empty lines that end
 * the heads, one write() of as many copies of one canned answer. It parses
 * nothing, so it is no server; it is the floor under every one that makes
 * the same system calls, and the benchmarks print how far above it they are.
 *
 *     limit_epoll PORT <answer     the answer, head and body, on standard input
 *
 * It listens at 127.0.0.1, says "ready" on standard output, and runs until a signal. A
 * request must have no body. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, READ_SIZE = 16384, BATCH_SIZE = 65536 };

struct client {
  uint64_t owed; /* bytes of answers still to be sent */
  size_t pos;    /* where in the answer the next one is; pos < answer_len, always */
  unsigned seen; /* bytes of CR LF CR LF at the end of what was read, 0 to 3 */
};

struct server {
  int epoll, listener;
  char *batch; /* whole answers back to back, so that a pipeline takes one write() */
  size_t answer_len, batch_len;
  struct client *clients; /* by descriptor */
  size_t max_clients;
};

static void fail(const char *what) {
  perror(what);
  exit(1);
}

/* All of standard input, owned. */
static char *read_input(size_t *len) {
  size_t size = READ_SIZE, n = 0;
  char *buf = malloc(size);
  while (buf != NULL) {
    ssize_t got = read(0, buf + n, size - n);
    if (got < 0) fail("read");
    if (got == 0) break;
    n += (size_t) got;
    if (n == size) buf = realloc(buf, size *= 2);
  }
  if (buf == NULL) fail("malloc");
  *len = n;
  return buf;
}

static void load_answer(struct server *s) {
  char *answer = read_input(&s->answer_len);
  size_t copies = s->answer_len < BATCH_SIZE ? BATCH_SIZE / (s->answer_len + 1) + 1 : 1;
  if (s->answer_len == 0) {
    fprintf(stderr, "no answer on standard input\n");
    exit(2);
  }
  s->batch_len = copies * s->answer_len;
  if ((s->batch = malloc(s->batch_len)) == NULL) fail("malloc");
  for (size_t i = 0; i < copies; i++) memcpy(s->batch + i * s->answer_len, answer, s->answer_len);
  free(answer);
}

static void start(struct server *s, uint16_t port) {
  struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};
  struct epoll_event ev = {.events = EPOLLIN};
  struct rlimit lim;
  int on = 1;
  if (getrlimit(RLIMIT_NOFILE, &lim) != 0) fail("getrlimit");
  s->max_clients = lim.rlim_cur > 1u << 20 ? 1u << 20 : (size_t) lim.rlim_cur;
  if ((s->clients = calloc(s->max_clients, sizeof(*s->clients))) == NULL) fail("calloc");
  sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  s->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (s->listener < 0) fail("socket");
  if (setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0) fail("setsockopt");
  if (bind(s->listener, (struct sockaddr *) &sa, sizeof(sa)) != 0) fail("bind");
  if (listen(s->listener, SOMAXCONN) != 0) fail("listen");
  if ((s->epoll = epoll_create1(EPOLL_CLOEXEC)) < 0) fail("epoll_create1");
  ev.data.fd = s->listener;
  if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->listener, &ev) != 0) fail("epoll_ctl");
}

/* Until the backlog is empty. Edge-triggered for both directions: one
 * epoll_ctl() in a connection's life. */
static void accept_all(struct server *s) {
  int fd, on = 1;
  while ((fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.fd = fd};
    if ((size_t) fd >= s->max_clients || epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &ev) != 0) {
      close(fd);
      continue;
    }
    (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    s->clients[fd] = (struct client){0};
  }
}

/* How many heads end in buf[0..len). */
static unsigned count_heads(struct client *c, const char *buf, size_t len) {
  static const char end[] = "\r\n\r\n";
  unsigned heads = 0;
  size_t i = 0;
  while (i < len) {
    if (c->seen == 0) { /* most bytes are passed over here, by memchr() */
      const char *cr = memchr(buf + i, '\r', len - i);
      if (cr == NULL) break;
      i = (size_t) (cr - buf);
    }
    c->seen = buf[i] == end[c->seen] ? c->seen + 1 : buf[i] == '\r';
    i++;
    if (c->seen == 4) heads++, c->seen = 0;
  }
  return heads;
}

/* False when the connection is broken. What does not fit waits for EPOLLOUT. */
static bool flush(const struct server *s, int fd, struct client *c) {
  while (c->owed > 0) {
    size_t n = s->batch_len - c->pos;
    ssize_t sent = send(fd, s->batch + c->pos, n < c->owed ? n : (size_t) c->owed, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return errno == EAGAIN;
    c->owed -= (uint64_t) sent;
    c->pos = (c->pos + (size_t) sent) % s->answer_len;
  }
  return true;
}

/* to_end: the client's last byte is there to be read, and no edge will tell again. */
static bool serve(const struct server *s, int fd, struct client *c, bool to_end) {
  char buf[READ_SIZE];
  ssize_t n;
  do {
    n = recv(fd, buf, sizeof(buf), 0);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) return false;
    if (n > 0) c->owed += (uint64_t) count_heads(c, buf, (size_t) n) * s->answer_len;
    /* A short read took all there was. */
  } while (n == (ssize_t) sizeof(buf) || (n > 0 && to_end) || (n < 0 && errno == EINTR));
  return flush(s, fd, c);
}

static void turn(struct server *s) {
  struct epoll_event ready[EVENTS];
  int n = epoll_wait(s->epoll, ready, EVENTS, -1);
  if (n < 0 && errno != EINTR) fail("epoll_wait");
  for (int i = 0; i < n; i++) {
    int fd = ready[i].data.fd;
    bool ok = true;
    if (fd == s->listener) {
      accept_all(s);
    } else if (ready[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
      ok = serve(s, fd, &s->clients[fd], ready[i].events & EPOLLRDHUP);
    } else {
      ok = flush(s, fd, &s->clients[fd]);
    }
    if (!ok) close(fd);
  }
}

int main(int argc, char **argv) {
  struct server s = {0};
  long port = argc == 2 ? strtol(argv[1], NULL, 10) : 0;
  if (port < 1 || port > 65535) {
    fprintf(stderr, "usage: limit_epoll PORT <answer\n");
    return 2;
  }
  load_answer(&s);
  start(&s, (uint16_t) port);
  if (puts("ready") < 0 || fflush(stdout) != 0) fail("stdout");
  for (;;) turn(&s);
}
