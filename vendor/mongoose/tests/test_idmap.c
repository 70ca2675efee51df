/* From number to pointer. */
#include "../src/internal.h"

#include "../src/iobuf.c"
#include "../src/idmap.c"
#include "check.h"

static int things[70000]; /* their addresses are the values */

static uint64_t seed;
static uint32_t next_random(uint32_t below) {
  seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (uint32_t) (seed >> 33) % below;
}

static void test_an_unknown_number_gives_null(void) {
  struct mg_idmap map = {0};
  CHECK(mg__idmap_get(&map, 1) == NULL);
  mg__idmap_del(&map, 1);
  CHECK(mg__idmap_put(&map, 1, &things[1]));
  CHECK(mg__idmap_get(&map, 2) == NULL && mg__idmap_get(&map, 0) == NULL);
  mg__idmap_del(&map, 2);
  mg__idmap_del(&map, 0);
  CHECK(map.count == 1 && mg__idmap_get(&map, 1) == &things[1]);
  mg__idmap_free(&map);
  CHECK(map.slots == NULL && mg__idmap_get(&map, 1) == NULL);
}

static void test_a_number_put_twice_keeps_the_later_pointer(void) {
  struct mg_idmap map = {0};
  CHECK(mg__idmap_put(&map, 7, &things[1]) && mg__idmap_put(&map, 7, &things[2]));
  CHECK(map.count == 1 && mg__idmap_get(&map, 7) == &things[2]);
  mg__idmap_free(&map);
}

static void test_large_numbers_are_as_good_as_small_ones(void) {
  struct mg_idmap map = {0};
  for (uint64_t i = 0; i < 100; i++) CHECK(mg__idmap_put(&map, UINT64_MAX - i, &things[i]));
  for (uint64_t i = 0; i < 100; i++) CHECK(mg__idmap_get(&map, UINT64_MAX - i) == &things[i]);
  mg__idmap_free(&map);
}

static void test_a_table_is_never_more_than_three_quarters_full(void) {
  struct mg_idmap map = {0};
  for (uint64_t id = 1; id <= 5000; id++) {
    CHECK(mg__idmap_put(&map, id, &things[id]));
    CHECK(map.count * 4 <= (map.mask + 1) * 3);
  }
  mg__idmap_free(&map);
}

static void test_memory_comes_back_when_connections_go(void) {
  struct mg_idmap map = {0};
  for (uint64_t id = 1; id <= 10000; id++) CHECK(mg__idmap_put(&map, id, &things[id]));
  for (uint64_t id = 1; id <= 10000; id++) {
    if (id % 100 != 0) mg__idmap_del(&map, id);
  }
  CHECK(map.count == 100 && map.mask + 1 <= 8 * 100 + 8);
  for (uint64_t id = 100; id <= 10000; id += 100) CHECK(mg__idmap_get(&map, id) == &things[id]);
  mg__idmap_free(&map);
}

/* Slots a lookup of id looks at. */
static size_t probes(const struct mg_idmap *map, uint64_t id) {
  return ((idmap_find(map, id) - idmap_home(map, id)) & map->mask) + 1;
}

static void check_no_cluster(uint64_t step) {
  struct mg_idmap map = {0};
  size_t sum = 0;
  for (uint64_t i = 1; i <= 1000; i++) CHECK(mg__idmap_put(&map, i * step, &things[i]));
  for (uint64_t i = 1; i <= 1000; i++) sum += probes(&map, i * step);
  CHECK(sum < 2 * 1000);
  mg__idmap_free(&map);
}

static void test_numbers_a_fixed_step_apart_do_not_cluster(void) {
  for (unsigned shift = 0; shift < 50; shift++) check_no_cluster(UINT64_C(1) << shift);
  for (uint64_t step = 1; step < 300; step++) check_no_cluster(step);
  check_no_cluster(7037); /* one multiplication by the golden ratio: 496 looks */
  check_no_cluster(56682);
}

static void test_without_memory_put_fails_and_changes_nothing(void) {
  struct mg_idmap map = {0};
  mg__fail_at = 0;
  CHECK(!mg__idmap_put(&map, 1, &things[1]));
  for (uint64_t id = 1; id <= 12; id++) CHECK(mg__idmap_put(&map, id, &things[id]));
  mg__fail_at = 0;
  CHECK(!mg__idmap_put(&map, 13, &things[13]));
  CHECK(map.count == 12 && mg__idmap_get(&map, 13) == NULL);
  for (uint64_t id = 1; id <= 12; id++) CHECK(mg__idmap_get(&map, id) == &things[id]);
  mg__idmap_free(&map);
}

static void test_without_memory_del_still_deletes(void) {
  struct mg_idmap map = {0};
  for (uint64_t id = 1; id <= 100; id++) CHECK(mg__idmap_put(&map, id, &things[id]));
  for (uint64_t id = 1; id <= 100; id++) {
    mg__fail_at = 0; /* meets the shrinking, if there is one now */
    mg__idmap_del(&map, id);
    mg__fail_at = -1;
    CHECK(mg__idmap_get(&map, id) == NULL && map.count == 100 - id);
  }
  mg__idmap_free(&map);
}

static void test_agrees_with_an_array(void) {
  static const uint32_t ranges[] = {20, 300, 60000};
  static void *model[60000];
  for (size_t r = 0; r < 3; r++) {
    struct mg_idmap map = {0};
    size_t count = 0;
    memset(model, 0, sizeof(model));
    seed = r + 1;
    for (int step = 0; step < 200000; step++) {
      uint64_t id = next_random(ranges[r] - 1) + 1;
      /* phases that mostly fill and phases that mostly drain */
      if (next_random(4) < (step / 20000 % 2 ? 1u : 3u)) {
        CHECK(mg__idmap_put(&map, id, &things[id]));
        count += model[id] == NULL;
        model[id] = &things[id];
      } else {
        mg__idmap_del(&map, id);
        count -= model[id] != NULL;
        model[id] = NULL;
      }
      id = next_random(ranges[r] - 1) + 1;
      CHECK(mg__idmap_get(&map, id) == model[id] && map.count == count);
    }
    for (uint64_t id = 1; id < ranges[r]; id++) CHECK(mg__idmap_get(&map, id) == model[id]);
    mg__idmap_free(&map);
  }
}

int main(void) {
  RUN(test_an_unknown_number_gives_null);
  RUN(test_a_number_put_twice_keeps_the_later_pointer);
  RUN(test_large_numbers_are_as_good_as_small_ones);
  RUN(test_a_table_is_never_more_than_three_quarters_full);
  RUN(test_memory_comes_back_when_connections_go);
  RUN(test_numbers_a_fixed_step_apart_do_not_cluster);
  RUN(test_without_memory_put_fails_and_changes_nothing);
  RUN(test_without_memory_del_still_deletes);
  RUN(test_agrees_with_an_array);
  return 0;
}
