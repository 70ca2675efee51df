/* poller_poll.c: readiness by poll(2), for systems without epoll.
 *
 * The interest is an array that threads change under the lock; wait() runs
 * without it and therefore on a copy, which prepare() takes. A change made
 * meanwhile counts from the next turn, and a report about a descriptor that
 * has been closed since names a connection nobody knows any more. */
#include "internal.h"

#include <poll.h>

struct poll_set { /* fds[i] belongs to ids[i] */
  struct pollfd *fds;
  uint64_t *ids;
  size_t len, cap;
};

struct poll_poller {
  struct poll_set now, waiting;
  size_t *index;    /* of descriptor fd: its place in `now` + 1, 0 when not there */
  size_t index_len;
  size_t start; /* where the next wait() begins to look */
};

static struct poll_poller *poll_self(struct mg_poller *p) { return (void *) p; }

/* Room for n entries in all. */
static bool pollset_grow(struct poll_set *set, size_t n) {
  size_t cap = set->cap + set->cap / 2 + 16;
  struct pollfd *fds;
  uint64_t *ids;
  if (n <= set->cap) return true;
  if (cap < n) cap = n;
  if (cap > (size_t) INT_MAX / sizeof(*fds)) return false;
  fds = mg__realloc(set->fds, cap * sizeof(*fds));
  if (fds == NULL) return false;
  set->fds = fds;
  ids = mg__realloc(set->ids, cap * sizeof(*ids));
  if (ids == NULL) return false;
  set->ids = ids;
  set->cap = cap;
  return true;
}

static void pollset_free(struct poll_set *set) {
  mg__free(set->fds);
  mg__free(set->ids);
}

static bool poll_index_grow(struct poll_poller *self, int fd) {
  size_t len = (size_t) fd + 1, *index;
  if (len <= self->index_len) return true;
  if (len < 64) len = 64;
  if (len < self->index_len * 2) len = self->index_len * 2;
  if (len > (size_t) PTRDIFF_MAX / sizeof(*index)) return false;
  index = mg__realloc(self->index, len * sizeof(*index));
  if (index == NULL) return false;
  memset(index + self->index_len, 0, (len - self->index_len) * sizeof(*index));
  self->index = index;
  self->index_len = len;
  return true;
}

static size_t poll_place(const struct poll_poller *self, int fd) {
  return fd >= 0 && (size_t) fd < self->index_len ? self->index[fd] : 0;
}

/* A negative descriptor is skipped by poll(2), its hang-up included: that is
 * how an entry waits for nothing. */
static void pollset_entry(struct poll_set *set, size_t i, int fd, uint64_t id, unsigned what) {
  int in = what & MG_POLL_IN ? POLLIN : 0, out = what & MG_POLL_OUT ? POLLOUT : 0;
  set->fds[i].fd = what == 0 ? -1 - fd : fd;
  set->fds[i].events = (short) (in | out);
  set->fds[i].revents = 0;
  set->ids[i] = id;
}

static int poll_backend_open(struct mg_poller **out) {
  struct poll_poller *self = mg__calloc(sizeof(*self));
  if (self == NULL) return -ENOMEM;
  *out = (void *) self;
  return 0;
}

static void poll_backend_close(struct mg_poller *p) {
  struct poll_poller *self = poll_self(p);
  if (self == NULL) return;
  pollset_free(&self->now);
  pollset_free(&self->waiting);
  mg__free(self->index);
  mg__free(self);
}

static int poll_backend_add(struct mg_poller *p, int fd, uint64_t id, unsigned what) {
  struct poll_poller *self = poll_self(p);
  if (fd < 0) return -EBADF;
  if (poll_place(self, fd) != 0) return -EEXIST;
  if (!poll_index_grow(self, fd) || !pollset_grow(&self->now, self->now.len + 1)) return -ENOMEM;
  pollset_entry(&self->now, self->now.len, fd, id, what);
  self->index[fd] = ++self->now.len;
  return 0;
}

static int poll_backend_mod(struct mg_poller *p, int fd, uint64_t id, unsigned what) {
  struct poll_poller *self = poll_self(p);
  size_t place = poll_place(self, fd);
  if (place == 0) return -ENOENT;
  pollset_entry(&self->now, place - 1, fd, id, what);
  return 0;
}

/* The last entry takes the place of the one that goes. */
static void poll_backend_del(struct mg_poller *p, int fd) {
  struct poll_poller *self = poll_self(p);
  struct poll_set *set = &self->now;
  size_t place = poll_place(self, fd), last;
  if (place == 0) return;
  last = --set->len;
  if (place - 1 != last) {
    int moved = set->fds[last].fd;
    set->fds[place - 1] = set->fds[last];
    set->ids[place - 1] = set->ids[last];
    self->index[moved < 0 ? -1 - moved : moved] = place;
  }
  self->index[fd] = 0;
}

static int poll_backend_prepare(struct mg_poller *p) {
  struct poll_poller *self = poll_self(p);
  if (!pollset_grow(&self->waiting, self->now.len)) return -ENOMEM;
  self->waiting.len = self->now.len;
  if (self->now.len > 0) {
    memcpy(self->waiting.fds, self->now.fds, self->now.len * sizeof(*self->now.fds));
    memcpy(self->waiting.ids, self->now.ids, self->now.len * sizeof(*self->now.ids));
  }
  return 0;
}

/* As with epoll: a hang-up is readable and writable. A descriptor that is not
 * open is an error of its connection, if that is still there. */
static unsigned poll_meaning(int events) {
  unsigned what = 0;
  if (events & (POLLIN | POLLHUP | POLLERR | POLLNVAL)) what |= MG_POLL_IN;
  if (events & (POLLOUT | POLLHUP | POLLERR | POLLNVAL)) what |= MG_POLL_OUT;
  if (events & (POLLERR | POLLNVAL)) what |= MG_POLL_ERR;
  return what;
}

/* When more are ready than fit, the next call goes on behind the last one
 * reported, so that nobody starves. */
static int poll_backend_wait(struct mg_poller *p, struct mg_ready *out, int max, int ms) {
  struct poll_poller *self = poll_self(p);
  const struct poll_set *set = &self->waiting;
  size_t i, seen;
  int count = 0, ready = poll(set->fds, (nfds_t) set->len, ms < 0 ? -1 : ms);
  if (ready < 0) return errno == EINTR ? 0 : -errno;
  if (ready > max) ready = max;
  i = self->start < set->len ? self->start : 0;
  for (seen = 0; seen < set->len && count < ready; seen++) {
    if (set->fds[i].revents != 0) {
      out[count].id = set->ids[i];
      out[count++].what = poll_meaning(set->fds[i].revents);
    }
    i = i + 1 < set->len ? i + 1 : 0;
  }
  self->start = i;
  return count;
}

static int poll_backend_fd(struct mg_poller *p) {
  (void) p;
  return -1;
}

const struct mg_poller_ops mg__poller_poll = {
    .name = "poll",
    .open = poll_backend_open,
    .close = poll_backend_close,
    .add = poll_backend_add,
    .mod = poll_backend_mod,
    .del = poll_backend_del,
    .prepare = poll_backend_prepare,
    .wait = poll_backend_wait,
    .fd = poll_backend_fd,
};
