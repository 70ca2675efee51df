/* Byte buffers and the block pool. */
#include "../src/internal.h"

#include "../src/iobuf.c"
#include "check.h"

enum { PLENTY = 1000000 };

/* Count allocations from here on; allocations() tells how many there were. */
static void count_allocations(void) { mg__fail_at = PLENTY; }
static long allocations(void) { return PLENTY - mg__fail_at; }

static uint64_t seed;
static uint32_t next_random(uint32_t below) {
  seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (uint32_t) (seed >> 33) % below;
}

static void fill(char *to, size_t n) {
  for (size_t i = 0; i < n; i++) to[i] = (char) next_random(256);
}

static void test_bytes_leave_in_the_order_they_came(void) {
  struct mg_pool pool = {0};
  struct mg_iobuf io = {0};
  CHECK(mg__iobuf_add(&pool, &io, "hello ", 6));
  CHECK(mg__iobuf_add(&pool, &io, "world", 5));
  CHECK(io.len == 11 && memcmp(io.buf, "hello world", 11) == 0);
  mg__iobuf_del(&io, 6);
  CHECK(io.len == 5 && memcmp(io.buf, "world", 5) == 0);
  mg__iobuf_free(&pool, &io);
  CHECK(io.buf == NULL && io.len == 0 && io.size == 0 && io.gap == 0);
  mg__pool_free(&pool);
}

/* A pool whose arena is used up. */
static struct mg_pool blocks_only(void) {
  struct mg_pool pool = {.arena = mg__malloc(MG_ARENA_SIZE), .arena_used = MG_ARENA_SIZE};
  CHECK(pool.arena != NULL);
  return pool;
}

static void test_small_buffers_lie_side_by_side_in_the_arena(void) {
  struct mg_pool pool = {0};
  struct mg_iobuf a = {0}, b = {0};
  CHECK(mg__iobuf_reserve(&pool, &a, MG_IO_SIZE));
  memcpy(a.buf, "abc", 3);
  a.len = 3;
  mg__iobuf_trim(&pool, &a);
  CHECK(mg__iobuf_add(&pool, &b, "defg", 4));
  CHECK(a.in_arena && b.in_arena && a.size == 64 && b.buf == a.buf + 64);
  CHECK(mg__iobuf_reserve(&pool, &b, 100) && b.in_arena && b.buf == a.buf + 64); /* the last grows */
  CHECK(mg__iobuf_reserve(&pool, &a, 100) && !a.in_arena && memcmp(a.buf, "abc", 3) == 0);
  mg__iobuf_free(&pool, &b);
  CHECK(pool.arena_slices == 0 && pool.arena_used == 0);
  mg__iobuf_free(&pool, &a);
  mg__pool_free(&pool);
}

static void test_what_outlives_a_turn_moves_out_of_the_arena(void) {
  struct mg_pool pool = {0};
  struct mg_iobuf io = {0};
  CHECK(mg__iobuf_add(&pool, &io, "tail", 4) && io.in_arena);
  mg__iobuf_settle(&pool, &io);
  CHECK(!io.in_arena && io.size == 64 && memcmp(io.buf, "tail", 4) == 0);
  CHECK(pool.arena_slices == 0 && pool.arena_used == 0);
  mg__iobuf_free(&pool, &io);
  mg__pool_free(&pool);
}

static void test_a_full_arena_is_replaced_by_blocks(void) {
  struct mg_pool pool = {0};
  struct mg_iobuf io[MG_ARENA_SIZE / MG_IO_SIZE + 2] = {{0}};
  size_t n = sizeof(io) / sizeof(io[0]);
  for (size_t i = 0; i < n; i++) CHECK(mg__iobuf_reserve(&pool, &io[i], MG_IO_SIZE));
  CHECK(io[n - 3].in_arena && !io[n - 2].in_arena && !io[n - 1].in_arena);
  for (size_t i = 0; i < n; i++) mg__iobuf_free(&pool, &io[i]);
  CHECK(pool.count == 2 && pool.arena_used == 0);
  mg__pool_free(&pool);
}

static void test_nothing_can_be_added_and_dropped(void) {
  struct mg_pool pool = {0};
  struct mg_iobuf io = {0};
  CHECK(mg__iobuf_add(&pool, &io, NULL, 0));
  CHECK(mg__iobuf_reserve(&pool, &io, 0));
  mg__iobuf_del(&io, 0);
  mg__iobuf_settle(&pool, &io);
  mg__iobuf_free(&pool, &io);
  CHECK(io.buf == NULL && pool.count == 0);
}

static void test_dropping_moves_no_byte(void) {
  struct mg_pool pool = blocks_only();
  struct mg_iobuf io = {0};
  char *first;
  CHECK(mg__iobuf_add(&pool, &io, "abcdef", 6));
  first = io.buf;
  mg__iobuf_del(&io, 4);
  CHECK(io.buf == first + 4 && io.gap == 4 && io.gap + io.size == MG_IO_SIZE);
  mg__iobuf_free(&pool, &io);
  mg__pool_free(&pool);
}

static void test_an_emptied_buffer_has_all_its_room_again(void) {
  struct mg_pool pool = blocks_only();
  struct mg_iobuf io = {0};
  CHECK(mg__iobuf_add(&pool, &io, "abcdef", 6));
  mg__iobuf_del(&io, 4);
  mg__iobuf_del(&io, 2);
  CHECK(io.gap == 0 && io.size == MG_IO_SIZE);
  mg__iobuf_free(&pool, &io);
  mg__pool_free(&pool);
}

static void test_a_large_reply_is_one_exact_allocation(void) {
  struct mg_pool pool = blocks_only();
  struct mg_iobuf io = {0};
  size_t size = 8 * 1024 * 1024;
  count_allocations();
  CHECK(mg__iobuf_reserve(&pool, &io, size));
  CHECK(allocations() == 1 && io.size == size);
  mg__iobuf_free(&pool, &io);

  /* also when the buffer still holds its last, empty block */
  CHECK(mg__iobuf_add(&pool, &io, "x", 1));
  mg__iobuf_del(&io, 1);
  count_allocations();
  CHECK(mg__iobuf_reserve(&pool, &io, size));
  CHECK(allocations() == 1 && io.size == size && pool.count == 1);
  mg__iobuf_free(&pool, &io);
  mg__pool_free(&pool);
}

static void test_small_appends_cost_few_allocations(void) {
  struct mg_pool pool = blocks_only();
  struct mg_iobuf io = {0};
  char piece[100] = {0};
  count_allocations();
  while (io.len < 10 * 1024 * 1024) CHECK(mg__iobuf_add(&pool, &io, piece, sizeof(piece)));
  CHECK(allocations() < 20); /* growing by half: log(640) / log(1.5) is 16 */
  mg__iobuf_free(&pool, &io);
  mg__pool_free(&pool);
}

static void test_room_in_front_is_used_before_memory(void) {
  struct mg_pool pool = blocks_only();
  struct mg_iobuf io = {0};
  char block[MG_IO_SIZE];
  fill(block, sizeof(block));
  CHECK(mg__iobuf_add(&pool, &io, block, sizeof(block)));
  mg__iobuf_del(&io, MG_IO_SIZE - 100);
  count_allocations();
  CHECK(mg__iobuf_reserve(&pool, &io, MG_IO_SIZE - 100));
  CHECK(allocations() == 0 && io.gap == 0 && io.len == 100 && io.size == MG_IO_SIZE);
  CHECK(memcmp(io.buf, block + MG_IO_SIZE - 100, 100) == 0);
  mg__iobuf_free(&pool, &io);
  mg__pool_free(&pool);
}

static void test_blocks_come_from_the_pool_and_return_to_it(void) {
  struct mg_pool pool = blocks_only();
  struct mg_iobuf io = {0};
  CHECK(mg__iobuf_add(&pool, &io, "x", 1));
  mg__iobuf_del(&io, 1);
  mg__iobuf_settle(&pool, &io);
  CHECK(io.buf == NULL && pool.count == 1);
  count_allocations();
  CHECK(mg__iobuf_add(&pool, &io, "y", 1));
  CHECK(allocations() == 0 && pool.count == 0 && io.gap + io.size == MG_IO_SIZE);
  mg__iobuf_free(&pool, &io);
  mg__pool_free(&pool);
}

static void test_one_of_many_takes_no_whole_block(void) {
  struct mg_pool pool = blocks_only();
  struct mg_iobuf io = {0};
  CHECK(mg__iobuf_reserve_exact(&pool, &io, 70) && io.size == 128 && !io.in_arena);
  CHECK(mg__iobuf_reserve_exact(&pool, &io, 1000) && io.size == MG_IO_SIZE);
  mg__iobuf_free(&pool, &io);
  CHECK(pool.count == 1);
  mg__fail_at = 0;
  CHECK(!mg__iobuf_reserve_exact(&pool, &io, 70) && io.buf == NULL);
  mg__fail_at = -1;
  mg__pool_free(&pool);
}

static void test_the_pool_keeps_a_bounded_number_of_blocks(void) {
  struct mg_pool pool = blocks_only();
  struct mg_iobuf io[MG_POOL_BLOCKS + 10] = {{0}};
  size_t i, n = sizeof(io) / sizeof(io[0]);
  for (i = 0; i < n; i++) CHECK(mg__iobuf_add(&pool, &io[i], "x", 1));
  for (i = 0; i < n; i++) mg__iobuf_free(&pool, &io[i]);
  CHECK(pool.count == MG_POOL_BLOCKS);
  mg__pool_free(&pool);
  CHECK(pool.count == 0 && pool.free == NULL);
}

static void test_a_short_tail_does_not_hold_a_big_block(void) {
  struct mg_pool pool = blocks_only();
  struct mg_iobuf io = {0};
  char block[MG_IO_SIZE];
  fill(block, sizeof(block));
  CHECK(mg__iobuf_add(&pool, &io, block, sizeof(block)));
  mg__iobuf_del(&io, MG_IO_SIZE - 70);
  mg__iobuf_settle(&pool, &io);
  CHECK(io.len == 70 && io.gap + io.size == 128 && pool.count == 1);
  CHECK(memcmp(io.buf, block + MG_IO_SIZE - 70, 70) == 0);
  CHECK(mg__iobuf_add(&pool, &io, block, 1000)); /* and grows back into a block */
  CHECK(io.gap + io.size == MG_IO_SIZE && pool.count == 0);
  mg__iobuf_free(&pool, &io);
  mg__pool_free(&pool);
}

static void test_settling_leaves_a_well_filled_buffer_alone(void) {
  struct mg_pool pool = blocks_only();
  struct mg_iobuf io = {0};
  char block[MG_IO_SIZE / 8] = {0}, *before;
  CHECK(mg__iobuf_add(&pool, &io, block, sizeof(block)));
  before = io.buf;
  mg__iobuf_settle(&pool, &io);
  CHECK(io.buf == before && io.size == MG_IO_SIZE);
  mg__iobuf_free(&pool, &io);
  mg__pool_free(&pool);
}

static void test_impossible_sizes_are_refused(void) {
  struct mg_pool pool = {0};
  struct mg_iobuf io = {0};
  CHECK(!mg__iobuf_reserve(&pool, &io, SIZE_MAX));
  CHECK(!mg__iobuf_reserve(&pool, &io, (size_t) PTRDIFF_MAX + 1));
  CHECK(mg__iobuf_add(&pool, &io, "abc", 3));
  CHECK(!mg__iobuf_reserve(&pool, &io, SIZE_MAX));
  CHECK(!mg__iobuf_reserve(&pool, &io, SIZE_MAX - 2));
  CHECK(!mg__iobuf_reserve(&pool, &io, PTRDIFF_MAX - 2));
  CHECK(io.len == 3 && memcmp(io.buf, "abc", 3) == 0);
  mg__iobuf_free(&pool, &io);
  mg__pool_free(&pool);
}

static void test_a_failed_allocation_changes_nothing(void) {
  char block[40000];
  fill(block, sizeof(block));
  for (size_t kept = 0; kept <= 20000; kept += 10000) {
    for (size_t gap = 0; gap <= 100; gap += 100) {
      struct mg_pool pool = blocks_only();
      struct mg_iobuf io = {0}, before;
      if (kept > 0) CHECK(mg__iobuf_add(&pool, &io, block, gap + kept));
      if (kept > 0) mg__iobuf_del(&io, gap);
      before = io;
      mg__fail_at = 0;
      CHECK(!mg__iobuf_add(&pool, &io, block, sizeof(block)));
      CHECK(memcmp(&io, &before, sizeof(io)) == 0);
      CHECK(kept == 0 || memcmp(io.buf, block + gap, kept) == 0);
      mg__iobuf_free(&pool, &io);
      mg__pool_free(&pool);
    }
  }
}

static void test_settling_without_memory_keeps_the_bytes(void) {
  struct mg_pool pool = {0};
  struct mg_iobuf io = {0};
  CHECK(mg__iobuf_add(&pool, &io, "tail", 4));
  mg__fail_at = 0;
  mg__iobuf_settle(&pool, &io);
  CHECK(mg__fail_at == -1 && io.len == 4 && memcmp(io.buf, "tail", 4) == 0);
  mg__iobuf_free(&pool, &io);
  mg__pool_free(&pool);
}

/* One random step on the buffer and on the plain array that models it. */
static void random_step(struct mg_pool *pool, struct mg_iobuf *io, char *model, size_t *len,
                        size_t room) {
  static const uint32_t sizes[] = {1, 10, 300, 5000, 16384, 70000};
  char piece[70000];
  size_t n = next_random(sizes[next_random(6)]) + 1;
  switch (next_random(8)) {
    case 0: case 1: case 2:
      if (n > room - *len) return;
      fill(piece, n);
      CHECK(mg__iobuf_add(pool, io, piece, n));
      memcpy(model + *len, piece, n);
      *len += n;
      break;
    case 3: case 4: case 5:
      if (n > *len) n = *len;
      mg__iobuf_del(io, n);
      memmove(model, model + n, *len - n);
      *len -= n;
      break;
    case 6:
      CHECK(mg__iobuf_reserve(pool, io, n));
      CHECK(io->size - io->len >= n);
      break;
    default:
      mg__iobuf_settle(pool, io);
  }
}

static void test_agrees_with_a_plain_array(void) {
  static char model[400000];
  for (uint64_t start = 1; start <= 5; start++) {
    struct mg_pool pool = {0};
    struct mg_iobuf io = {0};
    size_t len = 0;
    seed = start;
    for (int step = 0; step < 3000; step++) {
      random_step(&pool, &io, model, &len, sizeof(model));
      CHECK(io.len == len && io.len <= io.size && pool.count <= MG_POOL_BLOCKS);
      CHECK(len == 0 || memcmp(io.buf, model, len) == 0);
    }
    mg__iobuf_free(&pool, &io);
    mg__pool_free(&pool);
  }
}

int main(void) {
  RUN(test_bytes_leave_in_the_order_they_came);
  RUN(test_small_buffers_lie_side_by_side_in_the_arena);
  RUN(test_what_outlives_a_turn_moves_out_of_the_arena);
  RUN(test_a_full_arena_is_replaced_by_blocks);
  RUN(test_nothing_can_be_added_and_dropped);
  RUN(test_dropping_moves_no_byte);
  RUN(test_an_emptied_buffer_has_all_its_room_again);
  RUN(test_a_large_reply_is_one_exact_allocation);
  RUN(test_small_appends_cost_few_allocations);
  RUN(test_room_in_front_is_used_before_memory);
  RUN(test_blocks_come_from_the_pool_and_return_to_it);
  RUN(test_one_of_many_takes_no_whole_block);
  RUN(test_the_pool_keeps_a_bounded_number_of_blocks);
  RUN(test_a_short_tail_does_not_hold_a_big_block);
  RUN(test_settling_leaves_a_well_filled_buffer_alone);
  RUN(test_impossible_sizes_are_refused);
  RUN(test_a_failed_allocation_changes_nothing);
  RUN(test_settling_without_memory_keeps_the_bytes);
  RUN(test_agrees_with_a_plain_array);
  return 0;
}
