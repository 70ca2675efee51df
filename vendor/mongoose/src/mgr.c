/* mgr.c: the loop.
 *
 * A turn: wait without the lock; then what other threads and handlers left to
 * do, timers, time-outs, wake-ups, MG_EV_POLL, readiness; last, once for
 * everything, flush and close. Work per turn is O(active): ready reports and
 * three lists, never a walk over all connections. */
#include "internal.h"

/* ---- handlers: a number and two masks -------------------------------------- */

struct mg_handler *mg__handler(struct mg_mgr *mgr, int h) {
  if (h < 0 || h >= mgr->num_handlers || !mgr->handlers[h].is_used) return NULL;
  return &mgr->handlers[h];
}

static int handler_slot(struct mg_mgr *mgr) {
  struct mg_handler *more;
  int n = mgr->num_handlers;
  for (int h = 1; h < n; h++)
    if (!mgr->handlers[h].is_used) return h;
  if (n > INT_MAX / 2) return MGX_ENOMEM;
  more = mg__realloc(mgr->handlers, 2 * (size_t) n * sizeof(*more));
  if (more == NULL) return MGX_ENOMEM;
  memset(more + n, 0, (size_t) n * sizeof(*more));
  mgr->handlers = more;
  mgr->num_handlers = 2 * n;
  return n;
}

int mgx_handler_add(struct mg_mgr *mgr, uint32_t mask, uint32_t accepted_mask) {
  int h;
  mg__lock(mgr);
  h = mgr->is_closed ? MGX_ECLOSED : handler_slot(mgr);
  if (h > 0) mgr->handlers[h] = (struct mg_handler){mask, accepted_mask, 0, true};
  mg__unlock(mgr);
  return h;
}

int mgx_handler_set(struct mg_mgr *mgr, int h, uint32_t mask, uint32_t accepted_mask) {
  struct mg_handler *handler;
  mg__lock(mgr);
  handler = mg__handler(mgr, h);
  if (handler != NULL) {
    handler->mask = mask;
    handler->accepted_mask = accepted_mask;
  }
  mg__unlock(mgr);
  return handler == NULL ? MGX_EINVAL : MGX_OK;
}

int mgx_handler_refs(struct mg_mgr *mgr, int h) {
  struct mg_handler *handler;
  int refs;
  mg__lock(mgr);
  handler = mg__handler(mgr, h);
  refs = handler == NULL ? MGX_EINVAL : handler->refs;
  mg__unlock(mgr);
  return refs;
}

int mgx_handler_drop(struct mg_mgr *mgr, int h) {
  struct mg_handler *handler;
  int dropped = 0;
  mg__lock(mgr);
  handler = h > 0 ? mg__handler(mgr, h) : NULL;
  if (handler != NULL && handler->refs == 0) {
    handler->is_used = false;
    dropped = 1;
  }
  mg__unlock(mgr);
  return handler == NULL ? MGX_EINVAL : dropped;
}

/* ---- life ------------------------------------------------------------------- */

void mgx_limits_init(struct mgx_limits *limits) {
  uint64_t descriptors = mg__os_posix.max_descriptors();
  *limits = (struct mgx_limits){
      .recv_buffer = 3 * 1024 * 1024,
      .send_backlog = 64 * 1024 * 1024,
      .header_bytes = 65536,
      .header_count = 100,
      .request_line = 8192,
      .chunk_extension = 256,
      .header_timeout_ms = 30000,
      .body_timeout_ms = 60000,
      .keepalive_timeout_ms = 75000,
      .connect_timeout_ms = 10000,
      .tls_handshake_timeout_ms = 10000,
      .tls_handshakes = 4096,
      .ws_message = 3 * 1024 * 1024,
      .ws_close_timeout_ms = 5000,
      .ws_pong_timeout_ms = 20000,
      .mqtt_packet = 3 * 1024 * 1024,
      .mqtt_queue = 64 * 1024 * 1024,
      .mqtt_inflight = 20,
      .mqtt_connect_timeout_ms = 30000,
      .sntp_timeout_ms = 3000,
      .dns_timeout_ms = 3000,
      .dns_queries = 32,
      .dns_cache = 256,
      .wakeup_payload = 16 * 1024 * 1024,
      .wakeup_queue = 256 * 1024 * 1024,
      .connections = descriptors > 128 ? descriptors - 64 : descriptors / 2,
  };
}

static void error_set(struct mgx_error *err, int sys, const char *what) {
  if (err == NULL) return;
  err->sys = sys;
  snprintf(err->text, sizeof(err->text), "%s", what);
}

static const struct mg_poller_ops *poller_choose(const struct mg_os *os, int poller) {
  if (poller == MGX_POLLER_EPOLL) return os->pollers[0];
  if (poller == MGX_POLLER_POLL || os->pollers[0] == NULL) return os->pollers[1];
  return os->pollers[0];
}

static int mgr_open(struct mg_mgr *mgr) {
  int err = mgr->poller_ops->open(&mgr->poller);
  if (err < 0) return err;
  err = mgr->os->wake_open(mgr->wake_fds);
  if (err < 0) goto close_poller;
  err = mgr->poller_ops->add(mgr->poller, mgr->wake_fds[0], 0, MG_POLL_IN);
  if (err < 0) goto close_wake;
  return 0;

close_wake:
  mgr->os->close(mgr->wake_fds[0]);
  if (mgr->wake_fds[1] != mgr->wake_fds[0]) mgr->os->close(mgr->wake_fds[1]);
close_poller:
  mgr->poller_ops->close(mgr->poller);
  return err;
}

struct mg_mgr *mgx_mgr_new(uint32_t tag, const struct mgx_callbacks *callbacks,
                           const struct mgx_limits *limits, int poller, struct mgx_error *err) {
  struct mg_mgr *mgr = mg__calloc(sizeof(*mgr));
  int sys = ENOMEM;
  if (mgr == NULL) goto fail;
  mgr->handlers = mg__calloc(8 * sizeof(*mgr->handlers));
  if (mgr->handlers == NULL) goto free_mgr;
  mgr->num_handlers = 8;
  mgr->handlers[0].is_used = true;
  mgr->tag = tag;
  mgr->cb = callbacks;
  mgr->os = &mg__os_posix;
  mgr->send_date = true;
  mgr->pid = getpid();
  if (limits != NULL)
    mgr->limits = *limits;
  else
    mgx_limits_init(&mgr->limits);
  mg__link_init(&mgr->conns);
  mg__link_init(&mgr->todo);
  mg__link_init(&mgr->dirty);
  mg__link_init(&mgr->polls);
  mg__link_init(&mgr->lingering);
  mg__link_init(&mgr->handshakes);
  mg__link_init(&mgr->wakeups);
  mgr->now = mgr->os->monotonic_ms();
  mgr->poller_ops = poller_choose(mgr->os, poller);
  sys = mgr->poller_ops == NULL ? ENOSYS : -mgr_open(mgr);
  if (sys != 0) goto free_handlers;
  pthread_mutex_init(&mgr->lock, NULL);
  return mgr;

free_handlers:
  mg__free(mgr->handlers);
free_mgr:
  mg__free(mgr);
fail:
  error_set(err, sys, "cannot set up the poller");
  return NULL;
}

/* Everything a closed manager no longer needs; the struct stays. */
static void mgr_release(struct mg_mgr *mgr) {
  while (!mg__link_empty(&mgr->conns))
    mg__conn_free(MG_CONTAINER(mgr->conns.prev, struct mg_connection, link));
  while (!mg__link_empty(&mgr->lingering))
    mg__conn_free(MG_CONTAINER(mgr->lingering.prev, struct mg_connection, link));
  mg__tls_ctx_free_all(mgr);
  mg__dns_free(mgr);
  mg__wakeups_free(mgr);
  mg__timers_free(mgr);
  mg__heap_free(&mgr->deadlines);
  mg__heap_free(&mgr->alarms);
  mg__idmap_free(&mgr->watches);
  mg__idmap_free(&mgr->by_id);
  mg__mqtt_sessions_free(mgr);
  mg__pool_free(&mgr->pool);
  mg__free(mgr->http_scratch);
  mgr->http_scratch = NULL;
  mg__free(mgr->ws_batch);
  mgr->ws_batch = NULL;
  mgr->poller_ops->close(mgr->poller);
  mgr->os->close(mgr->wake_fds[0]);
  if (mgr->wake_fds[1] != mgr->wake_fds[0]) mgr->os->close(mgr->wake_fds[1]);
  mgr->is_closed = true;
}

int mg_mgr_free(struct mg_mgr *mgr) {
  mg__lock(mgr);
  if (mgr->is_closed || mgr->is_polling || mgr->emitting > 0) {
    int err = mgr->is_closed ? MGX_OK : MGX_EBUSY;
    mg__unlock(mgr);
    return err;
  }
  /* A forked child gives back its copies of the descriptors; what they stand for, epoll's
   * list and the file of a unix socket included, is its parent's. */
  mgr->is_forked = getpid() != mgr->pid;
  mgr->is_polling = true; /* keeps other threads' polls and closes out while handlers run */
  mgr->poller_thread = pthread_self();
  while (!mg__link_empty(&mgr->conns)) { /* a handler may open new ones: they go too */
    struct mg_connection *c = MG_CONTAINER(mgr->conns.prev, struct mg_connection, link);
    c->is_draining = false; /* no lingering */
    mgr->leave = false;     /* whatever a handler raised: all are told */
    mg__conn_finish(c);
  }
  mg__log_flush(mgr);
  mgr_release(mgr);
  mgr->is_polling = false;
  mg__unlock(mgr);
  return MGX_OK;
}

void mgx_mgr_delete(struct mg_mgr *mgr) {
  if (mgr == NULL) return;
  if (!mgr->is_closed) mgr_release(mgr);
  mg__log_free(mgr);
  mg__free(mgr->handlers);
  pthread_mutex_destroy(&mgr->lock);
  mg__free(mgr);
}

/* ---- waiting ------------------------------------------------------------------ */

static bool mgr_has_work(const struct mg_mgr *mgr) {
  return mgr->interrupted || mgr->log_count > 0 || !mg__link_empty(&mgr->todo) ||
         !mg__link_empty(&mgr->dirty) || !mg__link_empty(&mgr->wakeups);
}

/* Milliseconds until the next deadline, at most ms (ms < 0: no other bound). */
static int64_t mgr_wait_ms(const struct mg_mgr *mgr, int64_t ms) {
  uint64_t now, next = UINT64_MAX;
  if (ms == 0 || mgr_has_work(mgr)) return 0;
  if (mgr->timers.len > 0) next = mgr->timers.nodes[0]->at;
  if (mgr->deadlines.len > 0 && mgr->deadlines.nodes[0]->at < next)
    next = mgr->deadlines.nodes[0]->at;
  if (mgr->alarms.len > 0 && mgr->alarms.nodes[0]->at < next) next = mgr->alarms.nodes[0]->at;
  if (next == UINT64_MAX) return ms;
  now = mgr->os->monotonic_ms();
  if (next <= now) return 0;
  if (ms >= 0 && next - now >= (uint64_t) ms) return ms;
  return next - now > INT_MAX ? INT_MAX : (int64_t) (next - now);
}

void mg__interrupt(struct mg_mgr *mgr) {
  if (mgr->wake_signalled || !(mgr->is_waiting || mgr->is_external)) return;
  mgr->wake_signalled = true;
  mgr->os->wake_signal(mgr->wake_fds[1]);
}

void mgx_mgr_interrupt(struct mg_mgr *mgr) {
  mg__lock(mgr);
  if (!mgr->is_closed) {
    mgr->interrupted = true;
    mg__interrupt(mgr);
  }
  mg__unlock(mgr);
}

void mgx_mgr_break(struct mg_mgr *mgr) {
  mg__lock(mgr);
  mgr->leave = true;
  mg__unlock(mgr);
}

int mgx_mgr_fd(struct mg_mgr *mgr) {
  int fd = MGX_ECLOSED;
  mg__lock(mgr);
  if (!mgr->is_closed) {
    fd = mgr->poller_ops->fd(mgr->poller);
    if (fd < 0) fd = MGX_EKIND;
    mgr->is_external = fd >= 0;
    if (fd >= 0 && mgr_has_work(mgr)) mg__interrupt(mgr);
  }
  mg__unlock(mgr);
  return fd;
}

int64_t mgx_mgr_next_timeout(struct mg_mgr *mgr) {
  int64_t ms;
  mg__lock(mgr);
  ms = mgr->is_closed ? -1 : mgr_wait_ms(mgr, -1);
  mg__unlock(mgr);
  return ms;
}

/* ---- a turn ---------------------------------------------------------------------- */

/* Lists are taken over whole: what handlers add comes in the next turn, so no
 * turn is endless. Left over after mgx_mgr_break(), it goes back in front. */
static void put_back(struct mg_link *list, struct mg_link *rest) {
  mg__link_splice(rest, list);
  mg__link_splice(list, rest);
}

/* To go on with a connection may post again, and by another protocol. */
static void run_messages(struct mg_mgr *mgr) {
  while (mgr->posted > 0 || mg__ws_is_posted(mgr)) {
    if (mgr->posted > 0) mgr->run_posted(mgr);
    if (mg__ws_is_posted(mgr)) mg__ws_run_posted(mgr);
  }
}

static void run_posted(struct mg_mgr *mgr) {
  run_messages(mgr);
  mg__run_events(mgr);
}

static void run_todo(struct mg_mgr *mgr) {
  struct mg_link batch;
  mg__link_init(&batch);
  mg__link_splice(&batch, &mgr->todo);
  while (!mg__link_empty(&batch) && !mgr->leave) {
    struct mg_connection *c = MG_CONTAINER(batch.next, struct mg_connection, todo);
    mg__link_del(&c->todo);
    c->busy++;
    mg__emit_deferred(c);
    if (c->dial != NULL && !c->is_closing) mg__dial_run(c);
    /* One that is connecting has no input, and a deadline that is not its protocol's. */
    if (!c->is_closing && !c->is_posted && !c->is_connecting && !(c->is_tls && mg__tls_holds(c)))
      mg__io_resume(c);
    if (c->is_tls && !c->is_closing && !c->is_posted) mg__tls_todo(c);
    c->busy--;
    if (mgr->posted_full || mg__ws_posted_full(mgr)) run_messages(mgr);
  }
  put_back(&mgr->todo, &batch);
  run_posted(mgr);
}

static void run_deadlines(struct mg_mgr *mgr) {
  while (mgr->deadlines.len > 0 && mgr->deadlines.nodes[0]->at <= mgr->now && !mgr->leave) {
    struct mg_connection *c =
        MG_CONTAINER(mgr->deadlines.nodes[0], struct mg_connection, timer);
    c->busy++;
    mg__io_timeout(c);
    c->busy--;
  }
}

static void run_polls(struct mg_mgr *mgr) {
  struct mg_link batch;
  mg__link_init(&batch);
  mg__link_splice(&batch, &mgr->polls);
  while (!mg__link_empty(&batch) && !mgr->leave) {
    struct mg_connection *c = MG_CONTAINER(batch.next, struct mg_connection, polls);
    mg__link_del(&c->polls);
    mg__link_add_tail(&mgr->polls, &c->polls);
    if (!c->is_closing) mg__emit(c, MG_EV_POLL);
  }
  put_back(&mgr->polls, &batch);
}

static void run_ready(struct mg_mgr *mgr, int count) {
  for (int i = 0; i < count && !mgr->leave; i++) {
    struct mg_connection *c;
    if (mgr->ready[i].id == 0) {
      mgr->os->wake_clear(mgr->wake_fds[0]);
      mgr->wake_signalled = false;
      continue;
    }
    c = mg__idmap_get(&mgr->by_id, mgr->ready[i].id);
    if (c == NULL) { /* the core's own, or closed by a handler earlier in this turn */
      mg__watch_ready(mgr, mgr->ready[i].id, mgr->ready[i].what);
      continue;
    }
    c->busy++;
    mg__io_ready(c, mgr->ready[i].what);
    c->busy--;
    if (mgr->posted_full || mg__ws_posted_full(mgr)) run_messages(mgr);
  }
  run_posted(mgr);
}

static void run_dirty(struct mg_mgr *mgr) {
  struct mg_link batch;
  mg__link_init(&batch);
  mg__link_splice(&batch, &mgr->dirty);
  while (!mg__link_empty(&batch)) {
    struct mg_connection *c = MG_CONTAINER(batch.next, struct mg_connection, dirty);
    mg__link_del(&c->dirty);
    if (!c->is_closing) {
      c->busy++;
      mg__io_flush(c);
      c->busy--;
    }
    if (!c->is_closing) continue;
    if (c->busy > 0 || (mgr->leave && (mg__wants(c, MG_EV_CLOSE) || c->deferred != 0)))
      mg__conn_dirty(c); /* its end waits for a turn in which nobody holds it */
    else
      mg__conn_finish(c);
  }
  mg__run_events(mgr);
}

int mg_mgr_poll(struct mg_mgr *mgr, int ms) {
  int wait, count;
  mg__lock(mgr);
  if (mgr->is_closed || mgr->is_polling) {
    int err = mgr->is_closed ? MGX_ECLOSED : MGX_EBUSY;
    mg__unlock(mgr);
    return err;
  }
  mgr->is_polling = true;
  mgr->poller_thread = pthread_self();
  mgr->leave = false;
  wait = (int) mgr_wait_ms(mgr, ms);
  mgr->interrupted = false;
  if (mgr->poller_ops->prepare(mgr->poller) < 0) {
    count = 0; /* out of memory: timers and queues go on, readiness comes next turn */
  } else {
    mgr->is_waiting = true;
    mg__unlock(mgr);
    count = mgr->poller_ops->wait(mgr->poller, mgr->ready, MG_EVENTS, wait);
    mg__lock(mgr);
    mgr->is_waiting = false;
  }
  mgr->now = mgr->os->monotonic_ms();
  mgr->interrupted = false;
  mgr->handshakes_left = MG_HANDSHAKE_BUDGET;
  run_todo(mgr);
  if (!mgr->leave) mg__timers_run(mgr);
  run_deadlines(mgr);
  mg__alarms_run(mgr);
  mg__wakeups_run(mgr);
  run_polls(mgr);
  run_ready(mgr, count);
  run_dirty(mgr);
  mg__log_flush(mgr);
  mgr->is_polling = false;
  mg__unlock(mgr);
  return MGX_OK;
}

/* ---- small things ------------------------------------------------------------------ */

size_t mgx_mgr_conns(struct mg_mgr *mgr, uint64_t *ids, size_t cap) {
  size_t count = 0;
  mg__lock(mgr);
  for (struct mg_link *l = mgr->conns.prev; l != &mgr->conns; l = l->prev) {
    struct mg_connection *c = MG_CONTAINER(l, struct mg_connection, link);
    if (count < cap) {
      ids[count] = c->id;
      c->is_known = true;
    }
    count++;
  }
  mg__unlock(mgr);
  return count;
}

void mgx_mgr_set_date(struct mg_mgr *mgr, bool on) {
  mg__lock(mgr);
  mgr->send_date = on;
  mg__unlock(mgr);
}

struct mg_str mg__date_line(struct mg_mgr *mgr) {
  static const char days[] = "SunMonTueWedThuFriSat";
  static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
  time_t now;
  struct tm tm;
  int n;
  if (!mgr->send_date) return (struct mg_str){"", 0};
  now = mgr->os->wall_s();
  if (now == mgr->date_at || gmtime_r(&now, &tm) == NULL)
    return (struct mg_str){mgr->date, mgr->date_len};
  mgr->date_at = now;
  n = snprintf(mgr->date, sizeof(mgr->date), "Date: %.3s, %02u %.3s %04u %02u:%02u:%02u GMT\r\n",
           days + 3 * tm.tm_wday, (unsigned) tm.tm_mday % 100, months + 3 * tm.tm_mon,
           (unsigned) (tm.tm_year + 1900) % 10000, (unsigned) tm.tm_hour % 100,
           (unsigned) tm.tm_min % 100, (unsigned) tm.tm_sec % 100);
  mgr->date_len = n < 0 ? 0 : (size_t) n; /* every number above is bounded: it fits */
  return (struct mg_str){mgr->date, mgr->date_len};
}
