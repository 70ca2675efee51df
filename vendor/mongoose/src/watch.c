/* watch.c: sockets and times of the core's own.
 *
 * What the core needs beside connections, a resolver's sockets for instance:
 * it has no number a user could name, is in no list of connections, and fires
 * no events. A number is never used twice here either, so a report about one
 * that was closed earlier in the turn leads nowhere. */
#include "internal.h"

/* Apart from connections' numbers in what a poller reports. */
#define WATCH_BIT (UINT64_C(1) << 63)

int mg__watch_add(struct mg_mgr *mgr, struct mg_watch *w, unsigned what) {
  uint64_t id = ++mgr->next_watch | WATCH_BIT;
  int err;
  assert(w->fd >= 0 && w->id == 0);
  if (!mg__idmap_put(&mgr->watches, id, w)) return -ENOMEM;
  err = mgr->poller_ops->add(mgr->poller, w->fd, id, what);
  if (err < 0) {
    mg__idmap_del(&mgr->watches, id);
    return err;
  }
  w->id = id;
  w->what = what;
  if (mgr->is_waiting) mg__interrupt(mgr); /* poll(2) waits on a snapshot without it */
  return 0;
}

int mg__watch_for(struct mg_mgr *mgr, struct mg_watch *w, unsigned what) {
  int err = 0;
  if (what == w->what) return 0;
  err = mgr->poller_ops->mod(mgr->poller, w->fd, w->id, what);
  if (err == 0) w->what = what;
  if (mgr->is_waiting) mg__interrupt(mgr);
  return err;
}

int mg__watch_release(struct mg_mgr *mgr, struct mg_watch *w) {
  int fd = w->fd;
  if (w->id != 0) {
    if (!mgr->is_forked) mgr->poller_ops->del(mgr->poller, fd);
    mg__idmap_del(&mgr->watches, w->id);
  }
  w->id = 0;
  w->fd = -1;
  return fd;
}

void mg__watch_close(struct mg_mgr *mgr, struct mg_watch *w) {
  int fd = mg__watch_release(mgr, w);
  if (fd >= 0) mgr->os->close(fd);
}

void mg__watch_ready(struct mg_mgr *mgr, uint64_t id, unsigned what) {
  struct mg_watch *w = mg__idmap_get(&mgr->watches, id);
  if (w != NULL) w->on_ready(mgr, w, what);
}

/* ---- alarms ------------------------------------------------------------------- */

bool mg__alarm_reserve(struct mg_mgr *mgr, size_t n) {
  if (!mg__heap_reserve(&mgr->alarms, mgr->num_alarms + n - mgr->alarms.len)) return false;
  mgr->num_alarms += n;
  return true;
}

void mg__alarm_unreserve(struct mg_mgr *mgr, size_t n) { mgr->num_alarms -= n; }

void mg__alarm_set(struct mg_mgr *mgr, struct mg_alarm *a, uint64_t at) {
  mg__heap_set(&mgr->alarms, &a->due, at);
  /* Whoever waits for something later has to wait for this one instead. */
  if (a->due.pos == 1 && (mgr->is_waiting || (mgr->is_external && !mgr->is_polling)))
    mg__interrupt(mgr);
}

void mg__alarm_clear(struct mg_mgr *mgr, struct mg_alarm *a) {
  mg__heap_del(&mgr->alarms, &a->due);
}

/* An alarm that is set anew for a time that has passed goes off in the next turn:
 * the clock of this one is looked at once. */
void mg__alarms_run(struct mg_mgr *mgr) {
  size_t left = mgr->alarms.len;
  while (left-- > 0 && mgr->alarms.len > 0 && mgr->alarms.nodes[0]->at <= mgr->now && !mgr->leave) {
    struct mg_alarm *a = MG_CONTAINER(mgr->alarms.nodes[0], struct mg_alarm, due);
    mg__heap_del(&mgr->alarms, &a->due);
    a->on_due(mgr, a);
  }
}
