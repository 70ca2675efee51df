/* The user's timers, on a clock that the test moves. */
#include "../src/internal.h"

#include "../src/iobuf.c"
#include "../src/idmap.c"
#include "../src/heap.c"
#include "../src/timer.c"
#include "check.h"

static struct mg_mgr mgr;
static uint64_t clock_ms;
static int interrupts;
static struct { /* the timers that fired since begin(), in order */
  uint64_t id;
  int active;
} fired[4096];
static size_t num_fired;
static void (*callback)(uint64_t id); /* what a test does inside a timer */

static uint64_t read_clock(void) { return clock_ms; }
void mg__interrupt(struct mg_mgr *m) { interrupts += m == &mgr; }

static void on_timer(uint32_t tag, uint64_t id, int active) {
  CHECK(tag == 42 && num_fired < sizeof(fired) / sizeof(fired[0]));
  fired[num_fired].id = id;
  fired[num_fired++].active = active;
  if (callback != NULL) callback(id); /* takes the lock itself: it must be free */
}

static const struct mgx_callbacks callbacks = {.on_timer = on_timer};
static const struct mg_os simulated = {.monotonic_ms = read_clock};

/* A manager as far as timers need one. */
static void begin(void) {
  memset(&mgr, 0, sizeof(mgr));
  pthread_mutex_init(&mgr.lock, NULL);
  mgr.tag = 42;
  mgr.cb = &callbacks;
  mgr.os = &simulated;
  num_fired = 0;
  interrupts = 0;
  callback = NULL;
  clock_ms = 0;
}

static void end(void) {
  mg__timers_free(&mgr);
  CHECK(mgr.timers.len == 0 && mgr.timers_by_id.count == 0);
  pthread_mutex_destroy(&mgr.lock);
}

/* One turn of the loop at this time; how many timers fired in it. */
static size_t turn(uint64_t at) {
  size_t before = num_fired;
  clock_ms = at;
  mg__lock(&mgr);
  mgr.now = at;
  mg__timers_run(&mgr);
  mg__unlock(&mgr);
  return num_fired - before;
}

static bool last_were(size_t n, const uint64_t *ids) {
  for (size_t i = 0; i < n; i++) {
    if (fired[num_fired - n + i].id != ids[i]) return false;
  }
  return true;
}

static uint64_t add(uint64_t ms, unsigned flags) {
  int64_t id = mg_timer_add(&mgr, ms, flags);
  CHECK(id > 0);
  return (uint64_t) id;
}

static void test_a_timer_fires_once_when_its_time_has_come(void) {
  uint64_t id;
  begin();
  clock_ms = 100;
  id = add(50, MG_TIMER_ONCE);
  CHECK(turn(149) == 0 && turn(150) == 1 && fired[0].id == id && fired[0].active == 0);
  CHECK(turn(1000) == 0 && mgr.timers.len == 0);
  CHECK(mg_timer_free(&mgr, id) == 0);
  end();
}

static void test_a_delay_counts_from_the_call(void) {
  begin();
  CHECK(turn(0) == 0);
  clock_ms = 30; /* the turn's own idea of now is still 0 */
  add(10, MG_TIMER_ONCE);
  CHECK(turn(39) == 0 && turn(40) == 1);
  end();
}

static void test_a_repeating_timer_keeps_in_step(void) {
  begin();
  add(10, MG_TIMER_REPEAT);
  CHECK(turn(10) == 1 && fired[0].active == 1);
  CHECK(turn(23) == 1); /* 3 ms late: the next one is due at 30 all the same */
  CHECK(turn(29) == 0 && turn(30) == 1);
  end();
}

static void test_missed_ticks_are_dropped(void) {
  begin();
  add(10, MG_TIMER_REPEAT);
  CHECK(turn(1234) == 1);
  CHECK(turn(1243) == 0 && turn(1244) == 1);
  end();
}

static void test_no_timer_fires_twice_in_one_turn(void) {
  begin();
  add(10, MG_TIMER_REPEAT);
  CHECK(turn(20) == 1); /* late by exactly one period */
  CHECK(turn(20) == 0 && turn(30) == 1);
  end();
}

static void test_run_now_fires_in_the_next_turn(void) {
  begin();
  clock_ms = 5;
  add(10, MG_TIMER_RUN_NOW);
  CHECK(num_fired == 0); /* not inside the call */
  CHECK(turn(5) == 1 && turn(15) == 0);
  add(10, MG_TIMER_RUN_NOW | MG_TIMER_REPEAT);
  CHECK(turn(15) == 1 && turn(24) == 0 && turn(25) == 1 && turn(35) == 1);
  end();
}

static void test_a_mixed_set_fires_at_the_documented_times(void) {
  uint64_t t1, t2, t3;
  begin();
  t1 = add(5, MG_TIMER_REPEAT);
  t2 = add(15, MG_TIMER_ONCE);
  t3 = add(10, MG_TIMER_REPEAT | MG_TIMER_RUN_NOW);
  CHECK(turn(0) == 1 && last_were(1, (uint64_t[]){t3}));
  CHECK(turn(1) == 0);
  CHECK(turn(5) == 1 && last_were(1, (uint64_t[]){t1}));
  CHECK(turn(100) == 3 && last_were(3, (uint64_t[]){t1, t3, t2})); /* due at 10, 10, 15 */
  CHECK(turn(107) == 1 && last_were(1, (uint64_t[]){t1}));
  CHECK(turn(114) == 2 && last_were(2, (uint64_t[]){t1, t3}));
  CHECK(turn(115) == 1 && last_were(1, (uint64_t[]){t1}));
  CHECK(turn(0) == 0); /* the clock jumps back: both count again from here */
  CHECK(turn(7) == 1 && last_were(1, (uint64_t[]){t1}));
  CHECK(turn(11) == 2 && last_were(2, (uint64_t[]){t1, t3}));
  end();
}

static void test_timers_fire_by_due_time_then_creation(void) {
  uint64_t ids[4];
  begin();
  ids[2] = add(20, MG_TIMER_ONCE);
  ids[0] = add(10, MG_TIMER_REPEAT);
  ids[1] = add(10, MG_TIMER_ONCE);
  ids[3] = add(20, MG_TIMER_ONCE);
  CHECK(turn(25) == 4 && last_were(4, ids));
  end();
}

static void test_creation_order_survives_repeating(void) {
  uint64_t ids[2];
  begin();
  ids[0] = add(5, MG_TIMER_REPEAT);
  ids[1] = add(10, MG_TIMER_REPEAT);
  CHECK(turn(5) == 1);
  CHECK(turn(10) == 2 && last_were(2, ids));
  CHECK(turn(15) == 1 && turn(20) == 2 && last_were(2, ids));
  end();
}

static void test_a_repeating_timer_needs_a_period(void) {
  begin();
  CHECK(mg_timer_add(&mgr, 0, MG_TIMER_REPEAT) == MGX_EINVAL);
  CHECK(mg_timer_add(&mgr, 0, MG_TIMER_REPEAT | MG_TIMER_RUN_NOW) == MGX_EINVAL);
  CHECK(mg_timer_add(&mgr, 10, 4) == MGX_EINVAL);
  CHECK(mgr.timers.len == 0);
  end();
}

static void test_a_closed_manager_takes_no_timers(void) {
  begin();
  mgr.is_closed = true;
  CHECK(mg_timer_add(&mgr, 10, MG_TIMER_ONCE) == MGX_ECLOSED);
  CHECK(mg_timer_free(&mgr, 1) == 0);
  end();
}

static void test_a_freed_timer_does_not_fire(void) {
  uint64_t a, b;
  begin();
  a = add(10, MG_TIMER_ONCE);
  b = add(10, MG_TIMER_REPEAT);
  CHECK(mg_timer_free(&mgr, a) == 1 && mg_timer_free(&mgr, a) == 0);
  CHECK(mg_timer_free(&mgr, 0) == 0 && mg_timer_free(&mgr, b + 1) == 0);
  CHECK(turn(10) == 1 && fired[0].id == b);
  end();
}

static void free_itself(uint64_t id) { CHECK(mg_timer_free(&mgr, id) == 1); }

static void test_a_callback_may_free_its_own_timer(void) {
  begin();
  callback = free_itself;
  add(10, MG_TIMER_REPEAT);
  CHECK(turn(10) == 1 && turn(1000) == 0);
  end();
}

static uint64_t victims[3];
static void free_victims(uint64_t id) {
  (void) id;
  for (size_t i = 0; i < 3; i++) (void) mg_timer_free(&mgr, victims[i]);
}

static void test_a_callback_may_free_timers_due_in_the_same_turn(void) {
  begin();
  callback = free_victims;
  add(5, MG_TIMER_ONCE);
  for (size_t i = 0; i < 3; i++) victims[i] = add(10, i == 1 ? MG_TIMER_REPEAT : MG_TIMER_ONCE);
  CHECK(turn(10) == 1);
  end();
}

static void add_more(uint64_t id) {
  (void) id;
  add(0, MG_TIMER_ONCE);
  add(10, MG_TIMER_RUN_NOW);
}

static void test_timers_added_by_a_callback_wait_for_the_next_turn(void) {
  begin();
  callback = add_more;
  add(10, MG_TIMER_ONCE);
  CHECK(turn(10) == 1);
  callback = NULL;
  CHECK(turn(10) == 2 && turn(1000) == 0);
  end();
}

static void pass_time_and_add(uint64_t id) {
  (void) id;
  clock_ms += 7; /* the callback takes a while: the turn's now is behind the clock */
  callback = NULL;
  add(10, MG_TIMER_ONCE);
}

static void test_a_slow_callback_does_not_look_like_a_clock_gone_back(void) {
  begin();
  callback = pass_time_and_add;
  add(1, MG_TIMER_ONCE);
  CHECK(turn(1) == 1);
  CHECK(turn(17) == 0 && turn(18) == 1);
  end();
}

static void test_a_clock_gone_back_delays_by_one_period_at_most(void) {
  begin();
  CHECK(turn(100000) == 0);
  add(10, MG_TIMER_REPEAT);
  add(20, MG_TIMER_ONCE);
  CHECK(turn(50) == 0);
  CHECK(turn(60) == 1 && turn(70) == 2);
  end();
}

static void leave(uint64_t id) {
  (void) id;
  mg__lock(&mgr);
  mgr.leave = true;
  mg__unlock(&mgr);
}

static void test_what_a_break_leaves_behind_fires_in_the_next_turn(void) {
  uint64_t ids[3];
  begin();
  for (size_t i = 0; i < 3; i++) ids[i] = add(10, MG_TIMER_ONCE);
  callback = leave;
  CHECK(turn(10) == 1);
  mgr.leave = false;
  callback = NULL;
  CHECK(turn(11) == 2 && last_were(2, ids + 1));
  end();
}

static void test_a_waiting_loop_is_told_of_an_earlier_timer_only(void) {
  begin();
  add(100, MG_TIMER_ONCE);
  CHECK(interrupts == 0); /* nobody waits */
  mgr.is_waiting = mgr.is_polling = true;
  add(200, MG_TIMER_ONCE);
  CHECK(interrupts == 0);
  add(50, MG_TIMER_ONCE);
  CHECK(interrupts == 1);
  mgr.is_waiting = mgr.is_polling = false;
  mgr.is_external = true; /* somebody else's loop waits */
  add(20, MG_TIMER_ONCE);
  CHECK(interrupts == 2);
  end();
}

static void test_enormous_delays_do_not_wrap(void) {
  begin();
  clock_ms = 1000;
  add(UINT64_MAX, MG_TIMER_ONCE);
  add(UINT64_MAX - 500, MG_TIMER_REPEAT | MG_TIMER_RUN_NOW);
  CHECK(turn(1000) == 1 && turn(UINT64_MAX / 2) == 0);
  CHECK(mgr.timers.len == 2);
  end();
}

static void test_every_failed_allocation_adds_no_timer(void) {
  for (long n = 0;; n++) {
    int64_t id;
    begin();
    mg__fail_at = n;
    id = mg_timer_add(&mgr, 10, MG_TIMER_ONCE);
    if (mg__fail_at >= 0) { /* not reached: that was all of them */
      CHECK(id > 0 && n == 3);
      mg__fail_at = -1;
      end();
      return;
    }
    CHECK(id == MGX_ENOMEM && mgr.timers.len == 0 && mgr.timers_by_id.count == 0);
    CHECK(add(10, MG_TIMER_ONCE) == 1 && turn(10) == 1);
    end();
  }
}

/* The simplest thing that could be right: look at all timers, one by one. */
struct model {
  uint64_t at, period;
  bool repeat, alive;
};

static uint64_t seed;
static uint32_t next_random(uint32_t below) {
  seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (uint32_t) (seed >> 33) % below;
}

/* The number of the model's first timer due now, or 0. Numbers rise with creation. */
static size_t model_first(const struct model *m, size_t count, uint64_t now) {
  size_t best = 0;
  for (size_t i = 1; i <= count; i++) {
    if (!m[i].alive || m[i].at > now) continue;
    if (best == 0 || m[i].at < m[best].at) best = i;
  }
  return best;
}

static void check_turn(struct model *m, size_t count, uint64_t now) {
  size_t i = num_fired, first;
  turn(now);
  while ((first = model_first(m, count, now)) != 0) {
    CHECK(i < num_fired && fired[i].id == first && fired[i].active == m[first].repeat);
    m[first].alive = m[first].repeat;
    m[first].at = (now - m[first].at >= m[first].period ? now : m[first].at) + m[first].period;
    i++;
  }
  CHECK(i == num_fired);
}

static void test_agrees_with_looking_at_all_timers(void) {
  static struct model m[1001];
  for (uint64_t start = 1; start <= 5; start++) {
    size_t count = 0;
    begin();
    memset(m, 0, sizeof(m));
    seed = start;
    for (int step = 0; step < 3000; step++) {
      uint32_t what = next_random(3);
      if (what == 0 && count < 1000) {
        uint64_t ms = next_random(50) + 1;
        unsigned flags = next_random(20) == 0 ? MG_TIMER_REPEAT : MG_TIMER_ONCE;
        CHECK(add(ms, flags) == ++count);
        m[count] = (struct model){clock_ms + ms, ms, flags == MG_TIMER_REPEAT, true};
      } else if (what == 1 && count > 0) {
        size_t id = next_random((uint32_t) count) + 1;
        CHECK(mg_timer_free(&mgr, id) == m[id].alive);
        m[id].alive = false;
      } else {
        num_fired = 0;
        check_turn(m, count, clock_ms + next_random(15));
      }
    }
    end();
  }
}

int main(void) {
  RUN(test_a_timer_fires_once_when_its_time_has_come);
  RUN(test_a_delay_counts_from_the_call);
  RUN(test_a_repeating_timer_keeps_in_step);
  RUN(test_missed_ticks_are_dropped);
  RUN(test_no_timer_fires_twice_in_one_turn);
  RUN(test_run_now_fires_in_the_next_turn);
  RUN(test_a_mixed_set_fires_at_the_documented_times);
  RUN(test_timers_fire_by_due_time_then_creation);
  RUN(test_creation_order_survives_repeating);
  RUN(test_a_repeating_timer_needs_a_period);
  RUN(test_a_closed_manager_takes_no_timers);
  RUN(test_a_freed_timer_does_not_fire);
  RUN(test_a_callback_may_free_its_own_timer);
  RUN(test_a_callback_may_free_timers_due_in_the_same_turn);
  RUN(test_timers_added_by_a_callback_wait_for_the_next_turn);
  RUN(test_a_slow_callback_does_not_look_like_a_clock_gone_back);
  RUN(test_a_clock_gone_back_delays_by_one_period_at_most);
  RUN(test_what_a_break_leaves_behind_fires_in_the_next_turn);
  RUN(test_a_waiting_loop_is_told_of_an_earlier_timer_only);
  RUN(test_enormous_delays_do_not_wrap);
  RUN(test_every_failed_allocation_adds_no_timer);
  RUN(test_agrees_with_looking_at_all_timers);
  return 0;
}
