/* os_posix.c: the system calls behind struct mg_os.
 *
 * Linux first, and any POSIX.1-2008 system: what Linux does in one call others
 * do in two. Each function answers as the call it is named after, with -errno
 * for -1. A signal in the middle of a call that does not wait is nobody's
 * business, so EINTR is retried here; only a poller's wait() ends by it. */
#include "internal.h"

#include <net/if.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#if defined(__linux__)
#include <sys/eventfd.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#endif

#ifdef MSG_NOSIGNAL
#define SEND_FLAGS MSG_NOSIGNAL
#else
#define SEND_FLAGS 0 /* there SO_NOSIGPIPE does it, set in adopt() */
#endif

static int neg_errno(void) { return errno > 0 ? -errno : -EIO; }

/* ---- sockets ------------------------------------------------------------ */

#if !defined(__linux__)
static int set_fd_flags(int fd) {
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) return neg_errno();
  if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) return neg_errno();
  return 0;
}

/* A new socket becomes as the loop needs it, or is closed again. */
static int adopt(int fd) {
  int err = set_fd_flags(fd);
#ifdef SO_NOSIGPIPE
  int on = 1;
  if (err == 0 && setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof(on)) != 0) {
    err = neg_errno();
  }
#endif
  if (err == 0) return fd;
  close(fd);
  return err;
}
#endif

static int os_socket(int domain, int type) {
#if defined(__linux__)
  int fd = socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  return fd < 0 ? neg_errno() : fd;
#else
  int fd = socket(domain, type, 0);
  return fd < 0 ? neg_errno() : adopt(fd);
#endif
}

/* After EINTR the descriptor is gone on Linux and most others; closing again
 * could hit a descriptor that another thread has just got. */
static int os_close(int fd) { return close(fd) == 0 || errno == EINTR ? 0 : neg_errno(); }

static int os_bind(int fd, const struct sockaddr *sa, socklen_t len) {
  return bind(fd, sa, len) == 0 ? 0 : neg_errno();
}

/* The system cuts the backlog to what it allows; older headers say 128 for it. */
static int os_listen(int fd) {
  return listen(fd, SOMAXCONN > 4096 ? SOMAXCONN : 4096) == 0 ? 0 : neg_errno();
}

static int os_accept(int fd, struct sockaddr *sa, socklen_t *len) {
  int got;
  do {
#if defined(__linux__)
    got = accept4(fd, sa, len, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
    got = accept(fd, sa, len);
#endif
  } while (got < 0 && errno == EINTR);
  if (got < 0) return neg_errno();
#if defined(__linux__)
  return got;
#else
  return adopt(got);
#endif
}

/* An interrupted connect goes on by itself, as one in progress does. */
static int os_connect(int fd, const struct sockaddr *sa, socklen_t len) {
  if (connect(fd, sa, len) == 0) return 0;
  return errno == EINTR ? -EINPROGRESS : neg_errno();
}

static int os_connect_result(int fd) {
  int err = 0;
  socklen_t len = sizeof(err);
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0) return neg_errno();
  return -err;
}

static int os_getsockname(int fd, struct sockaddr *sa, socklen_t *len) {
  return getsockname(fd, sa, len) == 0 ? 0 : neg_errno();
}

static int os_setsockopt(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, sizeof(value)) == 0 ? 0 : neg_errno();
}

static int os_shutdown_write(int fd) { return shutdown(fd, SHUT_WR) == 0 ? 0 : neg_errno(); }

static ssize_t os_recv(int fd, void *buf, size_t len) {
  ssize_t n;
  do n = recv(fd, buf, len, 0);
  while (n < 0 && errno == EINTR);
  return n < 0 ? neg_errno() : n;
}

static ssize_t os_send(int fd, const void *buf, size_t len, bool more) {
  int flags = SEND_FLAGS;
  ssize_t n;
#ifdef MSG_MORE
  if (more) flags |= MSG_MORE;
#else
  (void) more;
#endif
  do n = send(fd, buf, len, flags);
  while (n < 0 && errno == EINTR);
  return n < 0 ? neg_errno() : n;
}

static ssize_t os_recvfrom(int fd, void *buf, size_t len, struct sockaddr *sa, socklen_t *salen) {
  ssize_t n;
  do n = recvfrom(fd, buf, len, 0, sa, salen);
  while (n < 0 && errno == EINTR);
  return n < 0 ? neg_errno() : n;
}

static ssize_t os_send2(int fd, const void *first, size_t first_len, const void *second,
                        size_t second_len) {
  struct iovec parts[2] = {{(void *) (uintptr_t) first, first_len},
                           {(void *) (uintptr_t) second, second_len}};
  struct msghdr msg;
  ssize_t n;
  memset(&msg, 0, sizeof(msg));
  msg.msg_iov = parts;
  msg.msg_iovlen = 2;
  do n = sendmsg(fd, &msg, SEND_FLAGS);
  while (n < 0 && errno == EINTR);
  return n < 0 ? neg_errno() : n;
}
static ssize_t os_sendto(int fd, const void *buf, size_t len, const struct sockaddr *sa,
                         socklen_t salen) {
  ssize_t n;
  do n = sendto(fd, buf, len, SEND_FLAGS, sa, salen);
  while (n < 0 && errno == EINTR);
  return n < 0 ? neg_errno() : n;
}

/* ---- files -------------------------------------------------------------- */

/* sendfile() the portable way. What the socket does not take is read again
 * next time: the caller keeps the offset. */
static ssize_t copy_file(int fd, int file, uint64_t ofs, size_t len) {
  char block[MG_IO_SIZE];
  ssize_t n;
  if (len > sizeof(block)) len = sizeof(block);
  do n = pread(file, block, len, (off_t) ofs);
  while (n < 0 && errno == EINTR);
  if (n < 0) return neg_errno();
  return n == 0 ? 0 : os_send(fd, block, (size_t) n, false);
}

#if defined(__linux__)
/* Linux's sendfile() has no MSG_NOSIGNAL. So the signal is held off meanwhile and, if it
 * came, taken away before anybody sees it. */
static ssize_t sendfile_quietly(int fd, int file, off_t *ofs, size_t len) {
  struct timespec at_once = {0, 0};
  sigset_t pipe_only, old, pending;
  bool was_pending;
  ssize_t n;
  int err;
  sigemptyset(&pipe_only);
  sigaddset(&pipe_only, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe_only, &old);
  sigemptyset(&pending);
  sigpending(&pending);
  was_pending = sigismember(&pending, SIGPIPE) == 1;
  do n = sendfile(fd, file, ofs, len);
  while (n < 0 && errno == EINTR);
  err = n < 0 ? neg_errno() : 0;
  if (err == -EPIPE && !was_pending) (void) sigtimedwait(&pipe_only, NULL, &at_once);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  return err < 0 ? err : n;
}
#endif

static ssize_t os_sendfile(int fd, int file, uint64_t ofs, size_t len) {
  if (ofs > INT64_MAX || (uint64_t) (off_t) ofs != ofs) return -EOVERFLOW;
#if defined(__linux__)
  {
    off_t at = (off_t) ofs;
    ssize_t n = sendfile_quietly(fd, file, &at, len);
    /* Some file systems can't map pages into a socket; they can be read. */
    if (n != -EINVAL && n != -ENOSYS) return n;
  }
#endif
  return copy_file(fd, file, ofs, len);
}

/* ---- wake-up ------------------------------------------------------------ */

static int os_wake_open(int fds[2]) {
#if defined(__linux__)
  fds[0] = fds[1] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  return fds[0] < 0 ? neg_errno() : 0;
#else
  int err;
  if (pipe(fds) != 0) return neg_errno();
  err = set_fd_flags(fds[0]);
  if (err == 0) err = set_fd_flags(fds[1]);
  if (err == 0) return 0;
  close(fds[0]);
  close(fds[1]);
  return err;
#endif
}

/* A full pipe or counter is fine: it is readable, which is all we want. Eight
 * bytes because that is what an eventfd takes. */
static void os_wake_signal(int fd) {
  int saved = errno; /* a signal handler must leave it as it was */
  uint64_t one = 1;
  ssize_t n;
  do n = write(fd, &one, sizeof(one));
  while (n < 0 && errno == EINTR);
  errno = saved;
}

static void os_wake_clear(int fd) {
  char buf[256]; /* an eventfd gives 8 bytes and is clear; a pipe may hold more */
  ssize_t n;
  do n = read(fd, buf, sizeof(buf));
  while (n == (ssize_t) sizeof(buf) || (n < 0 && errno == EINTR));
}

/* ---- time, chance, limits ------------------------------------------------ */

static uint64_t os_monotonic_ms(void) {
  struct timespec ts = {0, 0};
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}

static int64_t clock_ns(clockid_t clock) {
  struct timespec ts = {0, 0};
  clock_gettime(clock, &ts);
  return (int64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int64_t os_monotonic_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

static time_t os_wall_s(void) { return time(NULL); }

static int64_t os_wall_ns(void) { return clock_ns(CLOCK_REALTIME); }

static bool read_urandom(char *buf, size_t len) {
  int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  while (len > 0) {
    ssize_t n = read(fd, buf, len);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    buf += n;
    len -= (size_t) n;
  }
  close(fd);
  return len == 0;
}

/* True only with len good bytes; there is no weaker source to fall back to.
 * By number, since the C library's getrandom() is younger than the call. */
static bool os_random(void *buf, size_t len) {
#if defined(SYS_getrandom)
  char *to = buf;
  size_t left = len;
  while (left > 0) {
    long n = syscall(SYS_getrandom, to, left, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == ENOSYS) return read_urandom(buf, len);
    if (n <= 0) return false;
    to += n;
    left -= (size_t) n;
  }
  return true;
#else
  return read_urandom(buf, len);
#endif
}

static uint64_t os_max_descriptors(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return UINT64_MAX;
  return limit.rlim_cur;
}

static int64_t nanoseconds(struct timespec ts) { return (int64_t) ts.tv_sec * 1000000000 + ts.tv_nsec; }

static void os_file_stamp(const char *path, struct mg_file_stamp *out) {
  struct stat st;
  memset(out, 0, sizeof(*out));
  if (stat(path, &st) != 0 || !S_ISREG(st.st_mode)) return;
  out->exists = true;
  out->device = (uint64_t) st.st_dev;
  out->inode = (uint64_t) st.st_ino;
  out->size = (uint64_t) st.st_size;
#if defined(__APPLE__)
  out->modified_ns = nanoseconds(st.st_mtimespec);
  out->changed_ns = nanoseconds(st.st_ctimespec);
#else
  out->modified_ns = nanoseconds(st.st_mtim);
  out->changed_ns = nanoseconds(st.st_ctim);
#endif
}

/* O_NONBLOCK, for a path may have become a pipe that nobody writes to. */
static ssize_t os_file_read(const char *path, char *buf, size_t cap) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  size_t len = 0;
  ssize_t n = 1;
  if (fd < 0) return neg_errno();
  while (len < cap && n != 0) {
    n = read(fd, buf + len, cap - len);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;
    len += (size_t) n;
  }
  if (n < 0) n = neg_errno();
  close(fd);
  return n < 0 ? n : (ssize_t) len;
}

static unsigned os_interface_index(const char *name) { return if_nametoindex(name); }

const struct mg_os mg__os_posix = {
#if defined(__linux__)
    .pollers = {&mg__poller_epoll, &mg__poller_poll},
#else
    .pollers = {NULL, &mg__poller_poll},
#endif
    .socket = os_socket,
    .close = os_close,
    .bind = os_bind,
    .listen = os_listen,
    .accept = os_accept,
    .connect = os_connect,
    .connect_result = os_connect_result,
    .getsockname = os_getsockname,
    .setsockopt = os_setsockopt,
    .shutdown_write = os_shutdown_write,
    .recv = os_recv,
    .send = os_send,
    .send2 = os_send2,
    .recvfrom = os_recvfrom,
    .sendto = os_sendto,
    .sendfile = os_sendfile,
    .wake_open = os_wake_open,
    .wake_signal = os_wake_signal,
    .wake_clear = os_wake_clear,
    .monotonic_ms = os_monotonic_ms,
    .monotonic_ns = os_monotonic_ns,
    .wall_s = os_wall_s,
    .wall_ns = os_wall_ns,
    .random = os_random,
    .max_descriptors = os_max_descriptors,
    .file_stamp = os_file_stamp,
    .file_read = os_file_read,
    .interface_index = os_interface_index,
};

uint64_t mg_millis(void) { return os_monotonic_ms(); }
