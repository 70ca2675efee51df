/* old_glibc.h: names that every glibc of the architecture has.
 *
 * A newer glibc has given some functions a second version, and a program that
 * is linked there asks for that one. With MG_OLD_GLIBC they are asked for by
 * their first, which stays for good: what is built on a new system then runs
 * on an old one (2.17 on x86_64). Not for static linking. */
#ifndef MG_OLD_GLIBC_H
#define MG_OLD_GLIBC_H

#if defined(__x86_64__) && defined(__LP64__)
#define MG_FIRST_GLIBC "GLIBC_2.2.5"
#elif defined(__aarch64__)
#define MG_FIRST_GLIBC "GLIBC_2.17"
#elif defined(__arm__)
#define MG_FIRST_GLIBC "GLIBC_2.4"
#endif

#ifdef MG_FIRST_GLIBC
#define MG_FIRST_VERSION(name) __asm__(".symver " #name "," #name "@" MG_FIRST_GLIBC)
/* Since 2.34 and 2.32 in the C library itself, before in libraries of their own. */
MG_FIRST_VERSION(dlclose);
MG_FIRST_VERSION(dlerror);
MG_FIRST_VERSION(dlopen);
MG_FIRST_VERSION(dlsym);
#if __GLIBC_PREREQ(2, 32)
MG_FIRST_VERSION(pthread_sigmask);
#endif
#endif

/* Until 2.33 these three were inline functions around others that take the
 * layout's number as well; 1 is the one that x86_64 has ever had. Elsewhere
 * build where 2.33 is not yet. */
#if defined(__x86_64__) && defined(__LP64__) && __GLIBC_PREREQ(2, 33)
#include <sys/stat.h>
int __fxstat(int layout, int fd, struct stat *st);
int __fxstatat(int layout, int dir, const char *path, struct stat *st, int flags);
int __xstat(int layout, const char *path, struct stat *st);
#define fstat(fd, st) __fxstat(1, fd, st)
#define fstatat(dir, path, st, flags) __fxstatat(1, dir, path, st, flags)
#define stat(path, st) __xstat(1, path, st)
#endif

#endif
