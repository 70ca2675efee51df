/* mqtt_world.h: an MQTT connection and, at its other end, a raw one that sends
 * and expects bytes; packets are written as hex digits. */
#ifndef MG_TESTS_MQTT_WORLD_H
#define MG_TESTS_MQTT_WORLD_H

#include "world.h"

static uint64_t peer; /* the raw end */
static char got[1 << 20]; /* what it has received, as bytes */
static size_t got_len;
static uint64_t clock_ahead; /* ms by which the manager's clock is */
static void (*mqtt_react)(uint64_t conn, int ev, const char *data, size_t n);

static size_t hex(const char *digits, char *to) {
  size_t n = 0;
  unsigned byte;
  int used;
  for (; sscanf(digits, " %2x%n", &byte, &used) == 1; digits += used) to[n++] = (char) byte;
  return n;
}

static void listen_to_peer(uint64_t conn, int ev, const char *data, size_t n) {
  if (conn == peer && ev == MG_EV_READ && got_len + n < sizeof(got)) {
    memcpy(got + got_len, data, n);
    got_len += n;
  }
  if (mqtt_react != NULL) mqtt_react(conn, ev, data, n);
}

/* The peer sends. */
static void says(const char *digits) {
  char wire[4096];
  size_t n = hex(digits, wire);
  CHECK(mgx_send(world.mgr, peer, wire, n, NULL) == 0);
}

static void turns(int n) {
  while (n-- > 0) mg_mgr_poll(world.mgr, 1);
}

/* The peer has received exactly these bytes since it was asked last. */
static bool hears(const char *digits) {
  char want[4096];
  size_t n = hex(digits, want);
  bool same;
  for (int i = 0; i < 300 && got_len < n; i++) mg_mgr_poll(world.mgr, 10);
  turns(3); /* nothing more comes */
  same = got_len == n && memcmp(got, want, n) == 0;
  if (!same) {
    fprintf(stderr, "expected %s\nreceived", digits);
    for (size_t i = 0; i < got_len && i < 400; i++)
      fprintf(stderr, " %02x", (unsigned) (unsigned char) got[i]);
    fprintf(stderr, "\n%s\n", world.log);
  }
  got_len = 0;
  return same;
}

static inline uint64_t clock_of_world(void) { return mg__os_posix.monotonic_ms() + clock_ahead; }

static void mqtt_world(const struct mgx_limits *limits,
                       void (*react)(uint64_t, int, const char *, size_t)) {
  static struct mg_os os;
  os = mg__os_posix;
  os.monotonic_ms = clock_of_world;
  clock_ahead = 0;
  CHECK(world_open(limits, MGX_POLLER_DEFAULT) != NULL);
  world.mgr->os = &os;
  world.react = listen_to_peer;
  mqtt_react = react;
  got_len = 0;
}

/* Was this written down? */
static bool logged(const char *text) {
  if (strstr(world.log, text) != NULL) return true;
  fprintf(stderr, "no \"%s\" in: %s\n", text, world.log);
  return false;
}

/* An MQTT server at 1, the raw client is 2, its other end 3. */
static inline void serve(const struct mgx_limits *limits,
                  void (*react)(uint64_t, int, const char *, size_t)) {
  struct mgx_open opts = {.mqtt = true};
  struct mgx_error err;
  mqtt_world(limits, react);
  peer = 2;
  CHECK(mgx_listen(world.mgr, "mqtt://127.0.0.1:0", 18, &opts, &err) == 1);
  CHECK(world_connect(world_url(1, "tcp")) == 2);
  CHECK(world_until("2:CONNECT") && world_until("3:ACCEPT"));
}

/* Another raw client; its own number, its other end has the next one. */
static inline uint64_t another_peer(void) {
  char text[24];
  peer = (uint64_t) world_connect(world_url(1, "tcp"));
  got_len = 0;
  snprintf(text, sizeof(text), "%d:ACCEPT", (int) peer + 1);
  CHECK(world_until(text));
  return peer;
}

static const struct mgx_mqtt_connect plain_connect = {
    .client_id = {"c", 1}, .clean = true, .version = 4, .keepalive = 60};
#define CONNECT4 "10 0d 00 04 4d 51 54 54 04 02 00 3c 00 01 63 "
#define CONNECT5 "10 13 00 04 4d 51 54 54 05 02 00 3c 05 27 00 30 00 00 00 01 63 "

/* An MQTT client of a raw server at 1; the peer is the number after it. */
static inline int64_t dial(const struct mgx_mqtt_connect *connect) {
  struct mgx_open opts = {.mqtt_connect = connect};
  struct mgx_error err;
  const char *url = world_url(1, "mqtt");
  int64_t c = mgx_connect(world.mgr, url, strlen(url), &opts, &err);
  char text[24];
  if (c < 0) return c;
  peer = (uint64_t) c + 1;
  got_len = 0;
  snprintf(text, sizeof(text), "%d:ACCEPT", (int) peer);
  CHECK(world_until(text));
  return c;
}

static inline void call(const struct mgx_limits *limits, const struct mgx_mqtt_connect *connect,
                 void (*react)(uint64_t, int, const char *, size_t)) {
  mqtt_world(limits, react);
  CHECK(world_listen("tcp://127.0.0.1:0") == 1);
  CHECK(dial(connect) == 2);
}

static inline int pub(uint64_t conn, const char *topic, const char *data, unsigned flags) {
  return mgx_mqtt_pub(world.mgr, conn, topic, strlen(topic), data, strlen(data), flags, NULL, 0);
}

#endif
