/* The heap of deadlines. */
#include "../src/internal.h"

#include "../src/iobuf.c"
#include "../src/heap.c"
#include "check.h"

static uint64_t seed;
static uint32_t next_random(uint32_t below) {
  seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (uint32_t) (seed >> 33) % below;
}

static struct mg_deadline *pop(struct mg_heap *heap) {
  struct mg_deadline *d = heap->len == 0 ? NULL : heap->nodes[0];
  if (d != NULL) mg__heap_del(heap, d);
  return d;
}

static void put(struct mg_heap *heap, struct mg_deadline *d, uint64_t at) {
  CHECK(mg__heap_reserve(heap, 1));
  mg__heap_set(heap, d, at);
}

/* Every node knows its place, and no child comes before its parent. */
static void check_heap(const struct mg_heap *heap) {
  for (size_t i = 0; i < heap->len; i++) {
    CHECK(heap->nodes[i]->pos == i + 1);
    CHECK(i == 0 || !heap_before(heap->nodes[i], heap->nodes[(i - 1) / 4]));
  }
}

static void test_deadlines_come_out_earliest_first(void) {
  static const uint64_t times[] = {50, 10, 40, 10, 0, UINT64_MAX, 30};
  struct mg_deadline d[7] = {{0}};
  struct mg_heap heap = {0};
  uint64_t last = 0;
  for (size_t i = 0; i < 7; i++) put(&heap, &d[i], times[i]);
  for (size_t i = 0; i < 7; i++) {
    struct mg_deadline *next = pop(&heap);
    CHECK(next->at >= last && next->pos == 0);
    last = next->at;
  }
  CHECK(pop(&heap) == NULL && last == UINT64_MAX);
  mg__heap_free(&heap);
}

static void test_equal_times_come_out_in_order_of_creation(void) {
  struct mg_deadline d[50] = {{0}};
  struct mg_heap heap = {0};
  for (size_t i = 0; i < 50; i++) { /* put in backwards, numbered forwards */
    d[49 - i].seq = 49 - i;
    put(&heap, &d[49 - i], 5);
  }
  for (size_t i = 0; i < 50; i++) CHECK(pop(&heap) == &d[i]);
  mg__heap_free(&heap);
}

static void test_a_deadline_moves_both_ways(void) {
  struct mg_deadline d[20] = {{0}};
  struct mg_heap heap = {0};
  for (size_t i = 0; i < 20; i++) put(&heap, &d[i], 100 + i);
  mg__heap_set(&heap, &d[19], 1);
  check_heap(&heap);
  CHECK(heap.nodes[0] == &d[19] && heap.len == 20);
  mg__heap_set(&heap, &d[19], 1000);
  check_heap(&heap);
  CHECK(heap.nodes[0] == &d[0] && heap.len == 20);
  mg__heap_free(&heap);
}

static void test_removing_what_is_not_in_does_nothing(void) {
  struct mg_deadline in = {0}, out = {0};
  struct mg_heap heap = {0};
  put(&heap, &in, 1);
  mg__heap_del(&heap, &out);
  CHECK(heap.len == 1);
  mg__heap_del(&heap, &in);
  mg__heap_del(&heap, &in);
  CHECK(heap.len == 0 && in.pos == 0);
  mg__heap_free(&heap);
}

static void test_reserved_room_needs_no_allocation(void) {
  struct mg_deadline d[100] = {{0}};
  struct mg_heap heap = {0};
  CHECK(mg__heap_reserve(&heap, 100));
  mg__fail_at = 0;
  CHECK(mg__heap_reserve(&heap, 100));
  for (size_t i = 0; i < 100; i++) mg__heap_set(&heap, &d[i], 100 - i);
  CHECK(mg__fail_at == 0);
  mg__fail_at = -1;
  check_heap(&heap);
  mg__heap_free(&heap);
}

static void test_without_memory_nothing_changes(void) {
  struct mg_deadline d[16] = {{0}};
  struct mg_heap heap = {0};
  mg__fail_at = 0;
  CHECK(!mg__heap_reserve(&heap, 1));
  for (size_t i = 0; i < 16; i++) put(&heap, &d[i], 16 - i);
  mg__fail_at = 0;
  CHECK(!mg__heap_reserve(&heap, 1) && heap.len == 16);
  CHECK(!mg__heap_reserve(&heap, SIZE_MAX) && !mg__heap_reserve(&heap, SIZE_MAX / 8));
  check_heap(&heap);
  mg__heap_free(&heap);
}

/* The earliest of those that are in, found by looking at all. */
static struct mg_deadline *first_of(struct mg_deadline *d, size_t n) {
  struct mg_deadline *first = NULL;
  for (size_t i = 0; i < n; i++) {
    if (d[i].pos != 0 && (first == NULL || heap_before(&d[i], first))) first = &d[i];
  }
  return first;
}

static void test_agrees_with_looking_at_all(void) {
  static struct mg_deadline d[300];
  for (uint64_t start = 1; start <= 5; start++) {
    struct mg_heap heap = {0};
    size_t count = 0;
    memset(d, 0, sizeof(d));
    seed = start;
    for (size_t i = 0; i < 300; i++) d[i].seq = i;
    for (int step = 0; step < 5000; step++) {
      struct mg_deadline *one = &d[next_random(300)];
      if (next_random(3) < (step / 1000 % 2 ? 1u : 2u)) {
        count += one->pos == 0;
        put(&heap, one, next_random(50));
      } else {
        count -= one->pos != 0;
        mg__heap_del(&heap, one);
      }
      CHECK(heap.len == count);
      CHECK((count == 0 ? NULL : heap.nodes[0]) == first_of(d, 300));
      if (step % 100 == 0) check_heap(&heap);
    }
    mg__heap_free(&heap);
  }
}

int main(void) {
  RUN(test_deadlines_come_out_earliest_first);
  RUN(test_equal_times_come_out_in_order_of_creation);
  RUN(test_a_deadline_moves_both_ways);
  RUN(test_removing_what_is_not_in_does_nothing);
  RUN(test_reserved_room_needs_no_allocation);
  RUN(test_without_memory_nothing_changes);
  RUN(test_agrees_with_looking_at_all);
  return 0;
}
