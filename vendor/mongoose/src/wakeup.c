/* wakeup.c: payloads from any thread to a connection's handler.
 *
 * The payloads wait in a list under the manager's lock; the descriptor that
 * ends the wait carries no data, so nothing can be cut or lost in it. */
#include "internal.h"

struct mg_wakeup {
  struct mg_link link;
  uint64_t conn;
  size_t len;
  char data[];
};

int64_t mg_wakeup_init(struct mg_mgr *mgr) {
  int64_t id;
  mg__lock(mgr);
  if (mgr->is_closed) {
    id = MGX_ECLOSED;
  } else {
    if (mgr->wakeup_id == 0) mgr->wakeup_id = ++mgr->nextid;
    id = (int64_t) mgr->wakeup_id;
  }
  mg__unlock(mgr);
  return id;
}

static int wakeup_add(struct mg_mgr *mgr, uint64_t conn, const char *data, size_t len) {
  const struct mgx_limits *limits = &mgr->limits;
  struct mg_wakeup *w;
  struct mg_connection *c;
  if (mgr->is_closed) return MGX_ECLOSED;
  if (mgr->wakeup_id == 0 || conn == 0) return 0;
  if (conn == mgr->wakeup_id) {
    mgr->interrupted = true;
    mg__interrupt(mgr);
    return 1;
  }
  c = mg__conn_find(mgr, conn);
  if (c == NULL || c->is_closed) return 0;
  if (limits->wakeup_payload != 0 && len > limits->wakeup_payload) return MGX_ELIMIT;
  if (limits->wakeup_queue != 0 &&
      (mgr->wakeup_bytes > limits->wakeup_queue || len > limits->wakeup_queue - mgr->wakeup_bytes))
    return MGX_ELIMIT;
  if (len > SIZE_MAX - sizeof(*w)) return MGX_ENOMEM;
  w = mg__malloc(sizeof(*w) + len);
  if (w == NULL) return MGX_ENOMEM;
  w->conn = conn;
  w->len = len;
  if (len > 0) memcpy(w->data, data, len);
  mg__link_init(&w->link);
  mg__link_add_tail(&mgr->wakeups, &w->link);
  mgr->wakeup_bytes += len;
  mg__interrupt(mgr);
  return 1;
}

int mg_wakeup(struct mg_mgr *mgr, uint64_t conn, const char *data, size_t len) {
  int result;
  mg__lock(mgr);
  result = wakeup_add(mgr, conn, data, len);
  mg__unlock(mgr);
  return result;
}

/* Those that a handler adds wait for the next turn. */
void mg__wakeups_run(struct mg_mgr *mgr) {
  struct mg_link batch;
  mg__link_init(&batch);
  mg__link_splice(&batch, &mgr->wakeups);
  while (!mg__link_empty(&batch) && !mgr->leave) {
    struct mg_wakeup *w = MG_CONTAINER(batch.next, struct mg_wakeup, link);
    struct mg_connection *c = mg__conn_find(mgr, w->conn);
    mg__link_del(&w->link);
    mgr->wakeup_bytes -= w->len;
    if (c != NULL && !c->is_closing && mg__wants(c, MG_EV_WAKEUP))
      mg__emit_data(c, MG_EV_WAKEUP, w->data, w->len);
    mg__free(w);
  }
  mg__link_splice(&batch, &mgr->wakeups); /* left over by mgx_mgr_break(): they come first */
  mg__link_splice(&mgr->wakeups, &batch);
}

void mg__wakeups_free(struct mg_mgr *mgr) {
  while (!mg__link_empty(&mgr->wakeups)) {
    struct mg_wakeup *w = MG_CONTAINER(mgr->wakeups.next, struct mg_wakeup, link);
    mg__link_del(&w->link);
    mg__free(w);
  }
  mgr->wakeup_bytes = 0;
}
