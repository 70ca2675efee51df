/* idmap.c: from a number to a pointer, for connections and timers.
 *
 * Open addressing with linear probing in a power of two of slots, at most
 * three quarters full. Deleting shifts later entries back instead of leaving
 * tombstones, so a table that lived through a million connections is as fast
 * as a new one; it also shrinks when it has become much too large. */
#include "internal.h"

enum { IDMAP_MIN = 16 }; /* slots of the smallest table */

/* Numbers are handed out in sequence, but those that live long may well lie a
 * fixed step apart (one WebSocket per 1024 requests, say). Taken as they are,
 * or multiplied once, some steps put all of them on the same few slots: a
 * thousand numbers then cost 500 looks each. Mixed twice, no step below
 * 100000 costs more than 1.8. */
static size_t idmap_home(const struct mg_idmap *map, uint64_t id) {
  uint64_t h = (id ^ id >> 32) * UINT64_C(0x9E3779B97F4A7C15);
  h = (h ^ h >> 32) * UINT64_C(0xD6E8FEB86659FD93);
  return (size_t) (h >> 32) & map->mask;
}

/* The slot of id, or the free one where it would go. */
static size_t idmap_find(const struct mg_idmap *map, uint64_t id) {
  size_t i = idmap_home(map, id);
  while (map->slots[i].id != 0 && map->slots[i].id != id) i = (i + 1) & map->mask;
  return i;
}

static bool idmap_resize(struct mg_idmap *map, size_t slots) {
  struct mg_idmap to = {NULL, slots - 1, map->count};
  size_t i;
  if (slots > SIZE_MAX / sizeof(*to.slots)) return false;
  to.slots = mg__calloc(slots * sizeof(*to.slots));
  if (to.slots == NULL) return false;
  for (i = 0; map->slots != NULL && i <= map->mask; i++) {
    if (map->slots[i].id != 0) to.slots[idmap_find(&to, map->slots[i].id)] = map->slots[i];
  }
  mg__free(map->slots);
  *map = to;
  return true;
}

bool mg__idmap_put(struct mg_idmap *map, uint64_t id, void *ptr) {
  size_t slots = map->slots == NULL ? 0 : map->mask + 1, i;
  assert(id != 0);
  if (map->count >= slots - slots / 4 && !idmap_resize(map, slots == 0 ? IDMAP_MIN : slots * 2)) {
    return false;
  }
  i = idmap_find(map, id);
  if (map->slots[i].id == 0) map->count++;
  map->slots[i].id = id;
  map->slots[i].ptr = ptr;
  return true;
}

void *mg__idmap_get(const struct mg_idmap *map, uint64_t id) {
  if (map->slots == NULL || id == 0) return NULL;
  return map->slots[idmap_find(map, id)].ptr; /* NULL in a free slot */
}

void mg__idmap_del(struct mg_idmap *map, uint64_t id) {
  size_t hole, i;
  if (map->slots == NULL || id == 0) return;
  hole = idmap_find(map, id);
  if (map->slots[hole].id == 0) return;
  /* Walk to the end of the run; whoever may live in the hole moves there: all
   * whose home does not lie behind the hole, counted around the table. */
  for (i = (hole + 1) & map->mask; map->slots[i].id != 0; i = (i + 1) & map->mask) {
    size_t home = idmap_home(map, map->slots[i].id);
    if (((i - home) & map->mask) < ((i - hole) & map->mask)) continue;
    map->slots[hole] = map->slots[i];
    hole = i;
  }
  memset(&map->slots[hole], 0, sizeof(map->slots[hole]));
  map->count--;
  if (map->mask + 1 > IDMAP_MIN && map->count < (map->mask + 1) / 8) {
    (void) idmap_resize(map, (map->mask + 1) / 2); /* else it stays large, which is no harm */
  }
}

void mg__idmap_free(struct mg_idmap *map) {
  mg__free(map->slots);
  memset(map, 0, sizeof(*map));
}
