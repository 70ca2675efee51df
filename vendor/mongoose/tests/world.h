/* world.h: a manager with a handler written in C, for tests of the whole
 * core: what happened is written down as text, what should happen on an event
 * is a function. */
#ifndef MG_TESTS_WORLD_H
#define MG_TESTS_WORLD_H

#include "check.h"

static struct world {
  struct mg_mgr *mgr;
  char log[65536]; /* "7:OPEN 7:ACCEPT 7:READ(abc) ..." in order */
  size_t len;
  int first; /* of the last MG_EV_WS_MSG or MG_EV_WS_CTL */
  const struct mgx_mqtt_event *packet; /* of the running MQTT event */
  /* Called for every event, after it was written down; may be NULL. */
  void (*react)(uint64_t conn, int ev, const char *data, size_t n);
} world;

static const char *event_names[] = {"ERROR", "OPEN",  "POLL",  "RESOLVE",   "CONNECT",
                                    "ACCEPT", "TLS_HS", "READ", "WRITE",     "CLOSE",
                                    "HTTP_HDRS", "HTTP_MSG", "WS_OPEN", "WS_MSG", "WS_CTL",
                                    "MQTT_CMD", "MQTT_MSG", "MQTT_OPEN", "SNTP_TIME", "WAKEUP"};

static void note(uint64_t conn, int ev, const char *data, size_t n) {
  int room = (int) (sizeof(world.log) - world.len), used;
  int shown = n < 40 ? (int) n : 40;
  used = snprintf(world.log + world.len, (size_t) room, data == NULL ? "%d:%s " : "%d:%s(%.*s) ",
                  (int) conn, event_names[ev], shown, data);
  if (used < room) world.len += (size_t) used;
  if (world.react != NULL) world.react(conn, ev, data, n);
}

static void world_event(uint32_t tag, uint64_t conn, int ev) {
  (void) tag;
  note(conn, ev, NULL, 0);
}
static size_t world_events(uint32_t tag, const uint64_t *conns, const int *evs, size_t count) {
  for (size_t i = 0; i < count; i++) {
    world_event(tag, conns[i], evs[i]);
    if (world.mgr->leave) return i + 1;
  }
  return count;
}
static void world_data(uint32_t tag, uint64_t conn, int ev, const char *data, size_t n) {
  (void) tag;
  note(conn, ev, data, n);
}
static void world_http(uint32_t tag, uint64_t conn, int ev, const struct mgx_http_event *event) {
  (void) tag;
  note(conn, ev, event->msg->uri.buf, event->msg->uri.len);
}
static size_t world_batch(uint32_t tag, const uint64_t *conns,
                          const struct mgx_http_event *events, size_t count) {
  for (size_t i = 0; i < count; i++) {
    CHECK(conns[i] == events[i].conn);
    world_http(tag, conns[i], MG_EV_HTTP_MSG, &events[i]);
    if (world.mgr->leave) return i + 1;
  }
  return count;
}
static void world_ws_open(uint32_t tag, uint64_t conn, const struct mgx_http_event *event) {
  world_http(tag, conn, MG_EV_WS_OPEN, event);
}
static void world_ws(uint32_t tag, uint64_t conn, int ev, int first, const char *data, size_t n) {
  (void) tag;
  world.first = first;
  note(conn, ev, data, n);
}
/* MQTT_CMD(3), MQTT_MSG(topic), MQTT_OPEN(0); the event itself is in world.packet. */
static void world_mqtt(uint32_t tag, uint64_t conn, int ev, const struct mgx_mqtt_event *event) {
  char number[12];
  (void) tag;
  world.packet = event;
  if (!event->wanted) return;
  snprintf(number, sizeof(number), "%d", ev == MG_EV_MQTT_OPEN ? event->ack : event->cmd);
  if (ev == MG_EV_MQTT_MSG)
    note(conn, ev, event->topic, event->topic_len);
  else
    note(conn, ev, number, strlen(number));
  world.packet = NULL;
}
static void world_sntp(uint32_t tag, uint64_t conn, const struct mgx_sntp_result *result) {
  char text[32];
  (void) tag;
  note(conn, MG_EV_SNTP_TIME, text,
       (size_t) snprintf(text, sizeof(text), "%lld", (long long) result->time_ms));
}
static size_t world_ws_batch(uint32_t tag, const uint64_t *conns, const uint8_t *firsts,
                             const uint32_t *ends, const char *data, size_t count) {
  for (size_t i = 0; i < count; i++) {
    uint32_t from = i == 0 ? 0 : ends[i - 1];
    world_ws(tag, conns[i], MG_EV_WS_MSG, firsts[i], data + from, ends[i] - from);
    if (world.mgr->leave) return i + 1;
  }
  return count;
}
static void world_resolve(uint32_t tag, uint64_t conn, const struct mgx_addr *a, size_t n) {
  (void) tag;
  CHECK(n >= 1);
  note(conn, MG_EV_RESOLVE, a->ip, strlen(a->ip));
}
static void world_close(uint32_t tag, uint64_t conn, int wanted) {
  (void) tag;
  if (wanted) note(conn, MG_EV_CLOSE, NULL, 0);
}
static void world_timer(uint32_t tag, uint64_t timer, int active) {
  (void) tag, (void) timer, (void) active;
}
static void world_log(uint32_t tag, int level, const char *text, size_t n) {
  (void) tag, (void) level, (void) text, (void) n;
}

static const struct mgx_callbacks world_callbacks = {
    .on_event = world_event,     .on_events = world_events,     .on_data = world_data,
    .on_http = world_http,       .on_http_batch = world_batch,  .on_ws_open = world_ws_open,
    .on_ws = world_ws,           .on_ws_batch = world_ws_batch, .on_mqtt = world_mqtt,
    .on_sntp = world_sntp,       .on_resolve = world_resolve,   .on_close = world_close,
    .on_timer = world_timer,     .on_log = world_log};

static const uint32_t all_events = (1u << MG_EV_USER) - 1 - (1u << MG_EV_POLL);

/* NULL when memory is short. */
static struct mg_mgr *world_open(const struct mgx_limits *limits, int poller) {
  struct mgx_error err;
  memset(&world, 0, sizeof(world));
  world.mgr = mgx_mgr_new(1, &world_callbacks, limits, poller, &err);
  if (world.mgr != NULL) mgx_handler_set(world.mgr, 0, all_events, all_events);
  return world.mgr;
}

static void world_end(void) {
  if (world.mgr != NULL) CHECK(mg_mgr_free(world.mgr) == 0);
  mgx_mgr_delete(world.mgr);
  world.mgr = NULL;
}

static inline int64_t world_listen(const char *url) {
  struct mgx_open opts = {.http = MGX_HTTP_BY_SCHEME};
  struct mgx_error err;
  return mgx_listen(world.mgr, url, strlen(url), &opts, &err);
}

static inline int64_t world_connect(const char *url) {
  struct mgx_open opts = {.http = MGX_HTTP_BY_SCHEME};
  struct mgx_error err;
  return mgx_connect(world.mgr, url, strlen(url), &opts, &err);
}

/* "scheme://127.0.0.1:port" of a listener. */
static const char *world_url(int64_t listener, const char *scheme) {
  static char url[160];
  struct mgx_conn_info info;
  CHECK(mgx_conn_info(world.mgr, (uint64_t) listener, &info) == 0);
  snprintf(url, sizeof(url), "%s://%s:%u", scheme, info.loc.ip, (unsigned) info.loc.port);
  return url;
}

/* Poll until `text` was written down; false: it did not come. */
static bool world_until(const char *text) {
  for (int i = 0; i < 300; i++) {
    if (strstr(world.log, text) != NULL) return true;
    mg_mgr_poll(world.mgr, 10);
  }
  fprintf(stderr, "no \"%s\" in: %s\n", text, world.log);
  return false;
}

static inline int world_send(uint64_t conn, const char *text) {
  return mgx_send(world.mgr, conn, text, strlen(text), NULL);
}

#endif
