/* timer.c: the user's timers.
 *
 * They sit in a heap by due time; equal times fire in the order of creation.
 * A timer is re-armed or forgotten before its callback runs, and only its
 * number is carried across: the callback may do to any timer what it likes. */
#include "internal.h"

struct mg_user_timer {
  struct mg_deadline due; /* in mgr->timers, always */
  uint64_t id;
  uint64_t period; /* ms; the delay of a timer that fires once */
  bool repeat;
};

static uint64_t time_after(uint64_t at, uint64_t ms) {
  return ms > UINT64_MAX - at ? UINT64_MAX : at + ms;
}

/* The number of the new timer, or MGX_ENOMEM with nothing changed. */
static int64_t timer_start(struct mg_mgr *mgr, uint64_t ms, unsigned flags) {
  struct mg_user_timer *t;
  uint64_t now = mgr->os->monotonic_ms();
  if (!mg__heap_reserve(&mgr->timers, 1)) return MGX_ENOMEM;
  t = mg__calloc(sizeof(*t));
  if (t == NULL) return MGX_ENOMEM;
  if (!mg__idmap_put(&mgr->timers_by_id, mgr->next_timer + 1, t)) {
    mg__free(t);
    return MGX_ENOMEM;
  }
  t->id = ++mgr->next_timer;
  t->period = ms;
  t->repeat = (flags & MG_TIMER_REPEAT) != 0;
  t->due.seq = mgr->next_seq++;
  mg__heap_set(&mgr->timers, &t->due, flags & MG_TIMER_RUN_NOW ? now : time_after(now, ms));
  /* Whoever waits for the first timer has to wait for this one instead. */
  if (t->due.pos == 1 && (mgr->is_waiting || (mgr->is_external && !mgr->is_polling))) {
    mg__interrupt(mgr);
  }
  return (int64_t) t->id;
}

static void timer_stop(struct mg_mgr *mgr, struct mg_user_timer *t) {
  mg__heap_del(&mgr->timers, &t->due);
  mg__idmap_del(&mgr->timers_by_id, t->id);
  mg__free(t);
}

int64_t mg_timer_add(struct mg_mgr *mgr, uint64_t ms, unsigned flags) {
  int64_t id = MGX_ECLOSED;
  if (flags & ~(unsigned) (MG_TIMER_REPEAT | MG_TIMER_RUN_NOW)) return MGX_EINVAL;
  if ((flags & MG_TIMER_REPEAT) && ms == 0) return MGX_EINVAL;
  mg__lock(mgr);
  if (!mgr->is_closed) id = timer_start(mgr, ms, flags);
  mg__unlock(mgr);
  return id;
}

int mg_timer_free(struct mg_mgr *mgr, uint64_t timer) {
  struct mg_user_timer *t;
  mg__lock(mgr);
  t = mg__idmap_get(&mgr->timers_by_id, timer);
  if (t != NULL) timer_stop(mgr, t);
  mg__unlock(mgr);
  return t != NULL;
}

/* A clock that went back would put every timer off by that much. So whoever is
 * due farther away than its own period counts again from now. */
static void timer_clock_went_back(struct mg_mgr *mgr) {
  const struct mg_idmap *map = &mgr->timers_by_id;
  size_t i;
  for (i = 0; map->slots != NULL && i <= map->mask; i++) {
    struct mg_user_timer *t = map->slots[i].ptr;
    if (t == NULL || t->due.at <= mgr->now || t->due.at - mgr->now <= t->period) continue;
    mg__heap_set(&mgr->timers, &t->due, time_after(mgr->now, t->period));
  }
}

/* The first timer if it is to fire now, else NULL. Those created during this
 * run (seq >= limit) wait for the next. */
static struct mg_user_timer *timer_next_due(struct mg_mgr *mgr, uint64_t limit) {
  struct mg_user_timer *t;
  if (mgr->timers.len == 0) return NULL;
  t = MG_CONTAINER(mgr->timers.nodes[0], struct mg_user_timer, due);
  return t->due.at <= mgr->now && t->due.seq < limit ? t : NULL;
}

void mg__timers_run(struct mg_mgr *mgr) {
  uint64_t limit = mgr->next_seq;
  struct mg_user_timer *t;
  if (mgr->now < mgr->timers_now) timer_clock_went_back(mgr);
  mgr->timers_now = mgr->now;
  while (!mgr->leave && (t = timer_next_due(mgr, limit)) != NULL) {
    uint64_t id = t->id;
    bool repeat = t->repeat;
    if (!repeat) {
      timer_stop(mgr, t);
    } else {
      /* In step with the times before, unless ticks were missed: those are
       * dropped. Either way it is due later than now, so not twice in a run. */
      bool missed = mgr->now - t->due.at >= t->period;
      mg__heap_set(&mgr->timers, &t->due, time_after(missed ? mgr->now : t->due.at, t->period));
    }
    mg__unlock(mgr);
    mgr->cb->on_timer(mgr->tag, id, repeat);
    mg__lock(mgr);
  }
}

void mg__timers_free(struct mg_mgr *mgr) {
  size_t i;
  for (i = 0; i < mgr->timers.len; i++) {
    mg__free(MG_CONTAINER(mgr->timers.nodes[i], struct mg_user_timer, due));
  }
  mg__heap_free(&mgr->timers);
  mg__idmap_free(&mgr->timers_by_id);
}
