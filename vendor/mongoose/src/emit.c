/* emit.c: the way out of the core: callbacks, and events that wait for their turn.
 *
 * A callback lets the manager's lock go. What another thread makes happen, or what is
 * left when the loop is to be left, is deferred: the connection remembers it, and the
 * loop tells it later. Events without data are held back for as long as a stage of the
 * turn lasts and delivered together. */
#include "internal.h"

bool mg__may_emit(const struct mg_mgr *mgr) {
  return !mgr->is_polling || pthread_equal(mgr->poller_thread, pthread_self());
}

static void emit_begin(struct mg_connection *c) {
  c->busy++;
  c->is_known = true;
  c->mgr->emitting++;
  mg__unlock(c->mgr);
}

static bool emit_end(struct mg_connection *c) {
  mg__lock(c->mgr);
  c->mgr->emitting--;
  c->busy--;
  return !c->is_closing && !c->mgr->leave;
}

/* Another thread is polling, or the loop is being left. */
static bool emit_later(const struct mg_mgr *mgr) {
  return !mg__may_emit(mgr) || (mgr->is_polling && mgr->leave);
}

static bool defer(struct mg_connection *c, int ev) {
  c->deferred |= 1u << ev;
  mg__conn_todo(c);
  return !c->is_closing;
}

bool mg__emit(struct mg_connection *c, int ev) {
  if (!mg__wants(c, ev)) return !c->is_closing && !c->mgr->leave;
  if (emit_later(c->mgr)) return defer(c, ev);
  emit_begin(c);
  c->mgr->cb->on_event(c->mgr->tag, c->id, ev);
  return emit_end(c);
}

bool mg__emit_data(struct mg_connection *c, int ev, const char *data, size_t len) {
  if (emit_later(c->mgr)) { /* of these only MG_EV_ERROR: the others wait where their data is */
    c->error_text = mg__malloc(len + 1);
    if (c->error_text != NULL) {
      memcpy(c->error_text, data, len);
      c->error_text[len] = '\0';
    }
    return defer(c, ev);
  }
  emit_begin(c);
  c->mgr->cb->on_data(c->mgr->tag, c->id, ev, data, len);
  return emit_end(c);
}

bool mg__emit_http(struct mg_connection *c, int ev, const struct mgx_http_event *event) {
  emit_begin(c);
  c->mgr->cb->on_http(c->mgr->tag, c->id, ev, event);
  return emit_end(c);
}

bool mg__emit_ws_open(struct mg_connection *c, const struct mgx_http_event *event) {
  emit_begin(c);
  c->mgr->cb->on_ws_open(c->mgr->tag, c->id, event);
  return emit_end(c);
}

bool mg__emit_ws(struct mg_connection *c, int ev, int first, const char *data, size_t len) {
  emit_begin(c);
  c->mgr->cb->on_ws(c->mgr->tag, c->id, ev, first, data, len);
  return emit_end(c);
}

size_t mg__emit_http_batch(struct mg_mgr *mgr, struct mg_connection *const *c, const uint64_t *conns,
                           const struct mgx_http_event *events, size_t count) {
  size_t done;
  for (size_t i = 0; i < count; i++) c[i]->is_known = true; /* each is busy already */
  mgr->emitting++;
  mg__unlock(mgr);
  done = mgr->cb->on_http_batch(mgr->tag, conns, events, count);
  mg__lock(mgr);
  mgr->emitting--;
  return done;
}

bool mg__emit_mqtt(struct mg_connection *c, int ev, const struct mgx_mqtt_event *event) {
  emit_begin(c);
  c->mgr->cb->on_mqtt(c->mgr->tag, c->id, ev, event);
  return emit_end(c);
}

int mg__emit_tls_name(struct mg_connection *c, const char *name, size_t len) {
  int answer;
  emit_begin(c);
  answer = c->mgr->cb->on_tls_name(c->mgr->tag, c->id, name, len);
  emit_end(c);
  return answer;
}

void mg__emit_tls_step(struct mg_connection *c, struct mgx_tls_step *step) {
  emit_begin(c);
  c->mgr->cb->on_tls_step(c->mgr->tag, c->id, step);
  emit_end(c);
}

bool mg__emit_sntp(struct mg_connection *c, const struct mgx_sntp_result *result) {
  emit_begin(c);
  c->mgr->cb->on_sntp(c->mgr->tag, c->id, result);
  return emit_end(c);
}

bool mg__emit_addrs(struct mg_connection *c, const struct mgx_addr *addrs, size_t count) {
  if (!mg__wants(c, MG_EV_RESOLVE)) return !c->is_closing;
  emit_begin(c);
  c->mgr->cb->on_resolve(c->mgr->tag, c->id, addrs, count);
  return emit_end(c);
}

size_t mg__emit_ws_batch(struct mg_mgr *mgr, struct mg_connection *const *c, const uint64_t *conns,
                         const uint8_t *firsts, const uint32_t *ends, const char *data,
                         size_t count) {
  size_t done;
  for (size_t i = 0; i < count; i++) c[i]->is_known = true; /* each is busy already */
  mgr->emitting++;
  mg__unlock(mgr);
  done = mgr->cb->on_ws_batch(mgr->tag, conns, firsts, ends, data, count);
  mg__lock(mgr);
  mgr->emitting--;
  return done;
}

bool mg__emit_resolve(struct mg_connection *c) {
  struct mgx_addr addr;
  if (!mg__wants(c, MG_EV_RESOLVE)) return !c->is_closing;
  if (emit_later(c->mgr)) return defer(c, MG_EV_RESOLVE);
  mg__addr_text(&c->rem, &addr);
  return mg__emit_addrs(c, &addr, 1);
}

/* Drop those that were closed meanwhile: nothing follows a close but MG_EV_CLOSE. */
static size_t batch_live(struct mg_event_batch *b) {
  size_t live = 0;
  for (size_t i = 0; i < b->count; i++) {
    struct mg_connection *c = b->conns[i];
    if (c->is_closing) {
      c->busy--;
      continue;
    }
    b->conns[live] = c;
    b->ids[live] = c->id;
    b->evs[live++] = b->evs[i];
  }
  return live;
}

static size_t batch_deliver(struct mg_mgr *mgr, const struct mg_event_batch *b) {
  size_t done;
  if (mgr->leave) return 0;
  if (b->count == 1 || mgr->cb->on_events == NULL) {
    for (done = 0; done < b->count && !mgr->leave; done++) mg__emit(b->conns[done], b->evs[done]);
    return done;
  }
  for (size_t i = 0; i < b->count; i++) b->conns[i]->is_known = true;
  mgr->emitting++;
  mg__unlock(mgr);
  done = mgr->cb->on_events(mgr->tag, b->ids, b->evs, b->count);
  mg__lock(mgr);
  mgr->emitting--;
  return done;
}

/* An event of a batch was delivered, or is left to the next turn. */
static void batch_over(struct mg_connection *c, int ev, bool is_done) {
  struct mg_mgr *mgr = c->mgr;
  if (!is_done) defer(c, ev);
  if (ev == MG_EV_WRITE && !c->is_closing) mg__io_flushed(c);
  c->busy--;
  if (ev != MG_EV_WRITE || !c->is_closing || c->busy > 0 || mgr->leave) return;
  mg__link_del(&c->dirty);
  mg__conn_finish(c); /* as the loop does when no event comes between */
}

void mg__run_events(struct mg_mgr *mgr) {
  struct mg_event_batch b; /* a copy: what is delivered may post more */
  while (mgr->events.count > 0) {
    size_t done;
    b = mgr->events;
    mgr->events.count = 0;
    b.count = batch_live(&b);
    done = batch_deliver(mgr, &b);
    for (size_t i = 0; i < b.count; i++) batch_over(b.conns[i], b.evs[i], i < done);
  }
}

void mg__post(struct mg_connection *c, int ev) {
  struct mg_event_batch *b = &c->mgr->events;
  if (b->count == MG_EVENT_BATCH) mg__run_events(c->mgr);
  c->busy++;
  b->conns[b->count] = c;
  b->evs[b->count++] = ev;
}

static void emit_deferred_error(struct mg_connection *c) {
  static const char oom[] = "out of memory";
  char *text = c->error_text;
  c->error_text = NULL;
  if (text == NULL)
    mg__emit_data(c, MG_EV_ERROR, oom, sizeof(oom) - 1);
  else
    mg__emit_data(c, MG_EV_ERROR, text, strlen(text));
  mg__free(text);
}

void mg__emit_deferred(struct mg_connection *c) {
  static const int order[] = {MG_EV_OPEN, MG_EV_ACCEPT, MG_EV_RESOLVE, MG_EV_CONNECT,
                              MG_EV_TLS_HS, MG_EV_READ, MG_EV_WRITE, MG_EV_ERROR};
  for (size_t i = 0; i < sizeof(order) / sizeof(order[0]) && c->deferred != 0; i++) {
    uint32_t bit = 1u << order[i];
    if ((c->deferred & bit) == 0) continue;
    c->deferred &= ~bit;
    if (order[i] == MG_EV_RESOLVE)
      mg__emit_resolve(c);
    else if (order[i] == MG_EV_ERROR)
      emit_deferred_error(c);
    else
      mg__emit(c, order[i]);
  }
}

void mg__emit_close(struct mg_connection *c) {
  bool wanted = mg__wants(c, MG_EV_CLOSE);
  c->is_closed = true;
  if (!wanted && !c->is_known) return;
  emit_begin(c);
  c->mgr->cb->on_close(c->mgr->tag, c->id, wanted);
  emit_end(c);
}
