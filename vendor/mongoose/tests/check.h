/* check.h: the few things every C test here uses.
 *
 * A test file holds `static void test_<promise>(void)` functions and a main()
 * that runs them with RUN(). CHECK() tells file, line and expression and ends
 * the program. guarded() gives bytes that end at an unreadable page, so that
 * reading one byte too far crashes. */
#ifndef MG_TESTS_CHECK_H
#define MG_TESTS_CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

extern long mg__fail_at; /* see iobuf.c */

static _Atomic int check_count; /* tests with threads check, too */

#define CHECK(cond)                                                        \
  do {                                                                     \
    check_count++;                                                         \
    if (!(cond)) {                                                         \
      fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #cond);   \
      abort();                                                             \
    }                                                                      \
  } while (0)

#define RUN(test)                    \
  do {                               \
    test();                          \
    printf("ok %s\n", #test);        \
  } while (0)

/* A copy of data[0..len) whose last byte is the last one of a readable page.
 * One buffer, reused by the next call; at most 1 MiB. */
static inline char *guarded(const void *data, size_t len) {
  static char *base;
  size_t page = (size_t) sysconf(_SC_PAGESIZE), room = 1024 * 1024;
  if (base == NULL) {
    base = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || mprotect(base + room, page, PROT_NONE) != 0) abort();
  }
  if (len > room) abort();
  if (len > 0) memcpy(base + room - len, data, len);
  return base + room - len;
}

#endif
