/* open_below.c: opening a path that a stranger chose, so that it can't lead
 * out of a directory.
 *
 * The idea to hold: the system is asked once, for the whole path, and forbids
 * every way out while it walks. Nothing is looked at by name first that a
 * rename could change before it is opened. */
#include "http_static.h"

#if defined(__linux__)
#include <sys/syscall.h>
#endif

enum { OPEN_TRIES = 16 }; /* the system asks for a retry when a rename races with it */

bool mg__path_is_sane(struct mg_str path) {
  size_t i;
  bool at_start = true;
  if (path.len > 0 && path.buf[0] == '~') return false;
  for (i = 0; i < path.len; i++) {
    if (path.buf[i] == '\0') return false;
    if (at_start && path.buf[i] == '.' && i + 1 < path.len && path.buf[i + 1] == '.') return false;
    at_start = path.buf[i] == '/' || path.buf[i] == '\\';
  }
  return true;
}

/* Open what lies at `path` below the directory `root`, one component after
 * the other; symbolic links are not followed. A descriptor, or -errno. */
static int open_by_steps(int root, const char *path, int flags) {
  int dir = root, fd = -1;
  do {
    char name[NAME_MAX + 1];
    const char *end;
    size_t len;
    while (*path == '/') path++;
    len = strcspn(path, "/");
    end = path + len;
    fd = -ENAMETOOLONG;
    if (len < sizeof(name)) {
      memcpy(name, path, len);
      name[len] = '\0';
      if (len == 0) memcpy(name, ".", 2);
      fd = -EXDEV;
      if (strcmp(name, "..") != 0) {
        int how = *end == '\0' ? flags : O_PATH | O_DIRECTORY | O_CLOEXEC;
        fd = openat(dir, name, how | O_NOFOLLOW);
        if (fd < 0) fd = -errno;
      }
    }
    if (dir != root) close(dir);
    dir = fd;
    path = end;
  } while (*path != '\0' && fd >= 0);
  return fd;
}

/* The same in one system call, where the kernel has it (Linux 5.6): symbolic
 * links are followed as long as they stay below the root. -ENOSYS elsewhere. */
static int open_by_kernel(int root, const char *path, int flags) {
#if defined(SYS_openat2) || (defined(__linux__) && (defined(__x86_64__) || defined(__i386__) || \
                                                    defined(__aarch64__) || defined(__arm__)))
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
  enum { NO_MAGICLINKS = 0x02, BENEATH = 0x08 }; /* RESOLVE_... of linux/openat2.h */
  struct {
    uint64_t flags, mode, resolve;
  } how = {(uint64_t) flags, 0, NO_MAGICLINKS | BENEATH};
  long fd, tries = OPEN_TRIES;
  do {
    fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
  } while (fd < 0 && (errno == EAGAIN || errno == EINTR) && --tries > 0);
  return fd < 0 ? -errno : (int) fd;
#else
  (void) root, (void) path, (void) flags;
  return -ENOSYS;
#endif
}

int mg__open_below(int root, const char *path, int flags) {
  int fd;
  if (root == MG_NO_ROOT) {
    fd = open(path, flags);
    return fd < 0 ? -errno : fd;
  }
  fd = open_by_kernel(root, path, flags);
  /* An old kernel, or a sandbox that has not heard of the call. */
  if (fd == -ENOSYS || fd == -EPERM || fd == -E2BIG) fd = open_by_steps(root, path, flags);
  return fd;
}
