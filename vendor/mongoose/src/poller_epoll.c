/* poller_epoll.c: readiness by epoll(7), level-triggered.
 *
 * The kernel keeps the interest, so there is no snapshot to take and changes
 * by other threads reach a running wait(). A connection that waits for nothing
 * is taken out of the set: epoll would report its hang-up again and again. */
#if defined(__linux__)
#include "internal.h"

#include <sys/epoll.h>

struct epoll_poller {
  int epfd;
  struct epoll_event events[MG_EVENTS];
};

static struct epoll_poller *epoll_self(struct mg_poller *p) { return (void *) p; }

static int epoll_backend_open(struct mg_poller **out) {
  struct epoll_poller *self = mg__malloc(sizeof(*self));
  if (self == NULL) return -ENOMEM;
  self->epfd = epoll_create1(EPOLL_CLOEXEC);
  if (self->epfd < 0) {
    int err = -errno;
    mg__free(self);
    return err;
  }
  *out = (void *) self;
  return 0;
}

static void epoll_backend_close(struct mg_poller *p) {
  if (p == NULL) return;
  close(epoll_self(p)->epfd);
  mg__free(p);
}

static int epoll_control(struct mg_poller *p, int op, int fd, uint64_t id, unsigned what) {
  struct epoll_event ev = {0};
  ev.data.u64 = id;
  if (what & MG_POLL_IN) ev.events |= EPOLLIN;
  if (what & MG_POLL_OUT) ev.events |= EPOLLOUT;
  return epoll_ctl(epoll_self(p)->epfd, op, fd, &ev) == 0 ? 0 : -errno;
}

static int epoll_backend_add(struct mg_poller *p, int fd, uint64_t id, unsigned what) {
  return what == 0 ? 0 : epoll_control(p, EPOLL_CTL_ADD, fd, id, what);
}

static void epoll_backend_del(struct mg_poller *p, int fd) {
  (void) epoll_control(p, EPOLL_CTL_DEL, fd, 0, 0); /* fails when it waited for nothing */
}

static int epoll_backend_mod(struct mg_poller *p, int fd, uint64_t id, unsigned what) {
  int err;
  if (what == 0) {
    epoll_backend_del(p, fd);
    return 0;
  }
  err = epoll_control(p, EPOLL_CTL_MOD, fd, id, what);
  return err == -ENOENT ? epoll_control(p, EPOLL_CTL_ADD, fd, id, what) : err;
}

static int epoll_backend_prepare(struct mg_poller *p) {
  (void) p;
  return 0;
}

/* A hang-up counts as readable, so that the end of the stream is seen, and as
 * writable, so that a connect sees its result. */
static unsigned epoll_meaning(uint32_t events) {
  unsigned what = 0;
  if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) what |= MG_POLL_IN;
  if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) what |= MG_POLL_OUT;
  if (events & EPOLLERR) what |= MG_POLL_ERR;
  return what;
}

static int epoll_backend_wait(struct mg_poller *p, struct mg_ready *out, int max, int ms) {
  struct epoll_poller *self = epoll_self(p);
  int i, n = epoll_wait(self->epfd, self->events, max < MG_EVENTS ? max : MG_EVENTS,
                        ms < 0 ? -1 : ms);
  if (n < 0) return errno == EINTR ? 0 : -errno;
  for (i = 0; i < n; i++) {
    out[i].id = self->events[i].data.u64;
    out[i].what = epoll_meaning(self->events[i].events);
  }
  return n;
}

static int epoll_backend_fd(struct mg_poller *p) { return epoll_self(p)->epfd; }

const struct mg_poller_ops mg__poller_epoll = {
    .name = "epoll",
    .open = epoll_backend_open,
    .close = epoll_backend_close,
    .add = epoll_backend_add,
    .mod = epoll_backend_mod,
    .del = epoll_backend_del,
    .prepare = epoll_backend_prepare,
    .wait = epoll_backend_wait,
    .fd = epoll_backend_fd,
};
#endif
