/* iobuf.c: memory, and the byte buffer that sockets are read into and written
 * from.
 *
 * A buffer is consumed at the front by moving a pointer: `gap` counts what lies
 * dead before it. Most buffers are one block of MG_IO_SIZE bytes, so blocks go
 * through a small pool per manager and a busy loop asks the allocator for
 * nothing. A pooled block is an ordinary allocation; whatever has a block's
 * size may go to the pool, whatever comes from it may be reallocated. */
#include "internal.h"

/* ---- allocation -------------------------------------------------------- */

#ifdef MG_TEST_ALLOC
/* Tests count an allocation down: the one that finds 0 here fails, and it is
 * -1 from then on, which means never. */
extern long mg__fail_at;
long mg__fail_at = -1;

static bool must_fail(void) { return mg__fail_at >= 0 && mg__fail_at-- == 0; }
#else
static inline bool must_fail(void) { return false; }
#endif

void *mg__malloc(size_t n) { return must_fail() ? NULL : malloc(n); }
void *mg__calloc(size_t n) { return must_fail() ? NULL : calloc(1, n); }
void *mg__realloc(void *p, size_t n) { return must_fail() ? NULL : realloc(p, n); }
void mg__free(void *p) { free(p); }

/* ---- pool -------------------------------------------------------------- */

/* A block in the pool looks allocated to the address sanitizer. Hide its bytes
 * (all but the link in front), so that a use after release is still caught. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MG_POOL_POISON 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define MG_POOL_POISON 1
#endif
#ifdef MG_POOL_POISON
#include <sanitizer/asan_interface.h>
#define POOL_HIDE(block) \
  ASAN_POISON_MEMORY_REGION((char *) (block) + sizeof(void *), MG_IO_SIZE - sizeof(void *))
#define POOL_SHOW(block) \
  ASAN_UNPOISON_MEMORY_REGION((char *) (block) + sizeof(void *), MG_IO_SIZE - sizeof(void *))
#define ARENA_HIDE(slice, size) ASAN_POISON_MEMORY_REGION(slice, size)
#define ARENA_SHOW(slice, size) ASAN_UNPOISON_MEMORY_REGION(slice, size)
#else
#define POOL_HIDE(block) ((void) 0)
#define POOL_SHOW(block) ((void) 0)
#define ARENA_HIDE(slice, size) ((void) 0)
#define ARENA_SHOW(slice, size) ((void) 0)
#endif

static void *block_get(struct mg_pool *pool) {
  void *block = pool->free;
  if (block == NULL) return mg__malloc(MG_IO_SIZE);
  memcpy(&pool->free, block, sizeof(void *));
  pool->count--;
  POOL_SHOW(block);
  return block;
}

static void block_put(struct mg_pool *pool, void *block) {
  if (pool->count >= MG_POOL_BLOCKS) {
    mg__free(block);
    return;
  }
  memcpy(block, &pool->free, sizeof(void *));
  POOL_HIDE(block);
  pool->free = block;
  pool->count++;
}

void mg__pool_free(struct mg_pool *pool) {
  while (pool->free != NULL) mg__free(block_get(pool));
  assert(pool->arena_slices == 0);
  if (pool->arena != NULL) ARENA_SHOW(pool->arena, MG_ARENA_SIZE);
  mg__free(pool->arena);
  pool->arena = NULL;
}

/* ---- arena --------------------------------------------------------------- */

static size_t cache_lines(size_t n) { return (n + 63) & ~(size_t) 63; }

static void *slice_get(struct mg_pool *pool, size_t size) {
  char *slice;
  if (pool->arena == NULL) {
    pool->arena = mg__malloc(MG_ARENA_SIZE);
    if (pool->arena == NULL) return NULL;
    ARENA_HIDE(pool->arena, MG_ARENA_SIZE);
  }
  if (size > MG_ARENA_SIZE - pool->arena_used) return NULL;
  slice = pool->arena + pool->arena_used;
  pool->arena_used += size;
  pool->arena_slices++;
  ARENA_SHOW(slice, size);
  return slice;
}

static bool is_last_slice(const struct mg_pool *pool, const struct mg_iobuf *io) {
  return io->buf + io->size == pool->arena + pool->arena_used;
}

static void slice_put(struct mg_pool *pool, struct mg_iobuf *io) {
  char *slice = io->buf - io->gap;
  if (is_last_slice(pool, io)) pool->arena_used = (size_t) (slice - pool->arena);
  if (--pool->arena_slices == 0) pool->arena_used = 0;
  ARENA_HIDE(slice, io->gap + io->size);
}

/* The last slice may grow where it is. */
static bool slice_grow(struct mg_pool *pool, struct mg_iobuf *io, size_t need) {
  size_t more = cache_lines(need) - io->size;
  if (!io->in_arena || !is_last_slice(pool, io) || more > MG_ARENA_SIZE - pool->arena_used)
    return false;
  ARENA_SHOW(io->buf + io->size, more);
  io->size += more;
  pool->arena_used += more;
  return true;
}

void mg__iobuf_trim(struct mg_pool *pool, struct mg_iobuf *io) {
  size_t keep = cache_lines(io->len);
  if (!io->in_arena || !is_last_slice(pool, io) || keep >= io->size) return;
  ARENA_HIDE(io->buf + keep, io->size - keep);
  pool->arena_used -= io->size - keep;
  io->size = keep;
}

/* ---- buffer ------------------------------------------------------------ */

static void *iobuf_base(const struct mg_iobuf *io) {
  return io->buf == NULL ? NULL : io->buf - io->gap;
}

static void iobuf_storage(struct mg_iobuf *io, void *base, size_t size) {
  io->buf = base;
  io->size = size;
  io->gap = 0;
}

/* Give the allocation back, to the pool if it has a block's size. */
static void iobuf_release(struct mg_pool *pool, struct mg_iobuf *io) {
  void *base = iobuf_base(io);
  if (base == NULL) return;
  if (io->in_arena) {
    slice_put(pool, io);
  } else if (io->gap + io->size == MG_IO_SIZE) {
    block_put(pool, base);
  } else {
    mg__free(base);
  }
}

/* Continue in a new allocation of `want` bytes; nothing is copied but what
 * is still valid. */
static bool iobuf_move(struct mg_pool *pool, struct mg_iobuf *io, size_t want) {
  void *base = want == MG_IO_SIZE ? block_get(pool) : mg__malloc(want);
  if (base == NULL) return false;
  if (io->len > 0) memcpy(base, io->buf, io->len);
  iobuf_release(pool, io);
  iobuf_storage(io, base, want);
  io->in_arena = false;
  return true;
}

static bool iobuf_in_arena(struct mg_pool *pool, struct mg_iobuf *io, size_t n) {
  void *slice = slice_get(pool, cache_lines(n));
  if (slice == NULL) return false;
  iobuf_storage(io, slice, cache_lines(n));
  io->in_arena = true;
  return true;
}

/* realloc() may grow in place or move pages instead of bytes, but it would
 * also carry dead bytes along: only good when all of it is live. */
static bool iobuf_grow(struct mg_iobuf *io, size_t want) {
  void *base = mg__realloc(io->buf, want);
  if (base == NULL) return false;
  iobuf_storage(io, base, want);
  return true;
}

bool mg__iobuf_reserve(struct mg_pool *pool, struct mg_iobuf *io, size_t n) {
  size_t alloc = io->gap + io->size, want = alloc + alloc / 2, need;
  if (n <= io->size - io->len) return true;
  if (n > (size_t) PTRDIFF_MAX - io->len) return false;
  need = io->len + n;
  if (io->buf == NULL ? n <= MG_ARENA_SIZE / 8 && iobuf_in_arena(pool, io, n)
                      : slice_grow(pool, io, need))
    return true;
  /* Sliding costs len bytes and was paid for by consuming at least as many. */
  if (need <= alloc && io->gap >= io->len) {
    char *base = iobuf_base(io);
    memmove(base, io->buf, io->len);
    iobuf_storage(io, base, alloc);
    return true;
  }
  if (want < need) want = need;
  if (want <= MG_IO_SIZE) return iobuf_move(pool, io, MG_IO_SIZE);
  if (io->gap == 0 && io->len > 0 && !io->in_arena) return iobuf_grow(io, want);
  return iobuf_move(pool, io, want);
}

bool mg__iobuf_reserve_exact(struct mg_pool *pool, struct mg_iobuf *io, size_t n) {
  void *base;
  if (io->buf != NULL || n > MG_IO_SIZE / 2) return mg__iobuf_reserve(pool, io, n);
  if (iobuf_in_arena(pool, io, n)) return true;
  base = mg__malloc(cache_lines(n));
  if (base == NULL) return false;
  iobuf_storage(io, base, cache_lines(n));
  io->in_arena = false;
  return true;
}

bool mg__iobuf_add(struct mg_pool *pool, struct mg_iobuf *io, const void *data, size_t n) {
  if (n == 0) return true;
  if (!mg__iobuf_reserve(pool, io, n)) return false;
  memcpy(io->buf + io->len, data, n);
  io->len += n;
  return true;
}

void mg__iobuf_del(struct mg_iobuf *io, size_t n) {
  assert(n <= io->len);
  if (n == 0) return;
  if (n == io->len) { /* empty: the whole allocation is room again */
    io->len = 0;
    iobuf_storage(io, iobuf_base(io), io->gap + io->size);
    return;
  }
  io->buf += n;
  io->len -= n;
  io->size -= n;
  io->gap += n;
}

void mg__iobuf_settle(struct mg_pool *pool, struct mg_iobuf *io) {
  size_t alloc = io->gap + io->size;
  if (io->len == 0) {
    mg__iobuf_free(pool, io);
  } else if (io->in_arena || (alloc >= MG_IO_SIZE && io->len < alloc / 8)) {
    /* When this fails the bytes are simply better off where they are. */
    (void) iobuf_move(pool, io, cache_lines(io->len));
  }
}

void mg__iobuf_free(struct mg_pool *pool, struct mg_iobuf *io) {
  iobuf_release(pool, io);
  memset(io, 0, sizeof(*io));
}
