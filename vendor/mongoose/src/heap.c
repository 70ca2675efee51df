/* heap.c: deadlines, earliest first.
 *
 * A heap with four children per node: half as deep as a binary one, and the
 * four siblings to compare lie next to each other. Each node knows its place,
 * so moving and removing one needs no search. Memory is not given back before
 * mg__heap_free(): room once reserved stays. */
#include "internal.h"

static bool heap_before(const struct mg_deadline *a, const struct mg_deadline *b) {
  return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

static void heap_place(struct mg_heap *heap, size_t i, struct mg_deadline *d) {
  heap->nodes[i] = d;
  d->pos = i + 1;
}

static size_t heap_sift_up(struct mg_heap *heap, size_t i, struct mg_deadline *d) {
  while (i > 0 && heap_before(d, heap->nodes[(i - 1) / 4])) {
    heap_place(heap, i, heap->nodes[(i - 1) / 4]);
    i = (i - 1) / 4;
  }
  return i;
}

static size_t heap_sift_down(struct mg_heap *heap, size_t i, struct mg_deadline *d) {
  for (;;) {
    size_t child = 4 * i + 1, end = child + 4, best = child;
    if (child >= heap->len) return i;
    if (end > heap->len) end = heap->len;
    while (++child < end) {
      if (heap_before(heap->nodes[child], heap->nodes[best])) best = child;
    }
    if (!heap_before(heap->nodes[best], d)) return i;
    heap_place(heap, i, heap->nodes[best]);
    i = best;
  }
}

/* Put d where it belongs, given that place i is free for it. */
static void heap_settle(struct mg_heap *heap, size_t i, struct mg_deadline *d) {
  size_t up = heap_sift_up(heap, i, d);
  heap_place(heap, up == i ? heap_sift_down(heap, i, d) : up, d);
}

bool mg__heap_reserve(struct mg_heap *heap, size_t n) {
  size_t cap = heap->cap < 16 ? 16 : heap->cap;
  struct mg_deadline **nodes;
  if (n <= heap->cap - heap->len) return true;
  if (n > (size_t) PTRDIFF_MAX / 2 / sizeof(*nodes) - heap->len) return false;
  while (cap < heap->len + n) cap *= 2;
  nodes = mg__realloc(heap->nodes, cap * sizeof(*nodes));
  if (nodes == NULL) return false;
  heap->nodes = nodes;
  heap->cap = cap;
  return true;
}

void mg__heap_set(struct mg_heap *heap, struct mg_deadline *d, uint64_t at) {
  d->at = at;
  if (d->pos == 0) {
    assert(heap->len < heap->cap);
    d->pos = ++heap->len;
  }
  heap_settle(heap, d->pos - 1, d);
}

void mg__heap_del(struct mg_heap *heap, struct mg_deadline *d) {
  size_t i = d->pos;
  struct mg_deadline *last;
  if (i == 0) return;
  last = heap->nodes[--heap->len];
  d->pos = 0;
  if (last != d) heap_settle(heap, i - 1, last);
}

void mg__heap_free(struct mg_heap *heap) {
  mg__free(heap->nodes);
  memset(heap, 0, sizeof(*heap));
}
