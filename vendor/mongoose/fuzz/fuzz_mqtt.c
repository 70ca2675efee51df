/* fuzz_mqtt.c: any bytes as the packets of an MQTT connection, received by a
 * server and by a client, in both versions.
 *
 * Beyond what the sanitizers see: cutting the stream changes neither the
 * events nor the answers; whatever we send back is itself well-formed; a topic
 * that is delivered is one; properties can be iterated to their end; a message
 * of QoS 2 is delivered once until it is released. */
#include "../mongoose.c"

#define MUST(cond) ((cond) ? (void) 0 : abort())
enum { LIMIT = 300, LOG = 1 << 16 };

struct outcome {
  size_t len, sent_len;
  bool received[65536]; /* identifiers of QoS 2 that were delivered and not released */
  char log[LOG], sent[LOG];
};
static struct outcome *now;
static struct mg_mgr *manager;

static void put_log(int ev, int cmd, const char *data, size_t len) {
  if (now->len + len + 8 > LOG) return;
  now->log[now->len++] = (char) ev;
  now->log[now->len++] = (char) cmd;
  now->log[now->len++] = (char) len;
  now->log[now->len++] = (char) (len >> 8);
  if (len > 0) memcpy(now->log + now->len, data, len);
  now->len += len;
}

static void check_message(const struct mgx_mqtt_event *e) {
  unsigned qos = (e->first & MG_MQTT_QOS) >> 1;
  MUST(mgx_mqtt_topic_ok(e->topic, e->topic_len) && e->data_len <= LIMIT);
  MUST((qos == 0) == (e->id == 0));
  if (qos == 2) MUST(!now->received[e->id]);
  if (qos == 2) now->received[e->id] = true;
}

static void check_parts(const struct mgx_mqtt_event *e) {
  struct mg_mqtt_prop prop;
  struct mg_str filter;
  uint8_t options;
  size_t ofs = 0, last = 0;
  while ((ofs = mg_mqtt_next_prop(e->props, e->props_len, ofs, &prop)) > 0) last = ofs;
  MUST(last == e->props_len);
  if (e->cmd != MQTT_CMD_SUBSCRIBE && e->cmd != MQTT_CMD_UNSUBSCRIBE) return;
  for (ofs = last = 0; ofs < e->data_len; last = ofs) {
    ofs = mg_mqtt_next_filter(e->data, e->data_len, ofs, &filter,
                              e->cmd == MQTT_CMD_SUBSCRIBE ? &options : NULL);
    MUST(ofs > last && mgx_mqtt_filter_ok(filter.buf, filter.len));
  }
}

/* A handler answers what it is asked and sends each message back, with its QoS. */
static void on_mqtt(uint32_t tag, uint64_t conn, int ev, const struct mgx_mqtt_event *e) {
  (void) tag;
  MUST(e->packet_len >= 2 && e->packet_len <= LIMIT);
  put_log(ev, e->cmd, e->data, e->data_len);
  put_log(ev, e->id, e->topic, e->topic_len);
  check_parts(e);
  if (ev == MG_EV_MQTT_MSG) {
    check_message(e);
    mgx_mqtt_pub(manager, conn, e->topic, e->topic_len, e->data, e->data_len, e->first & 7, NULL, 0);
  }
  if (ev != MG_EV_MQTT_CMD) return;
  if (e->cmd == MQTT_CMD_PUBREL) now->received[e->id] = false;
  if (e->cmd == MQTT_CMD_CONNECT) {
    static const char props[] = "\x22\0\2\x21\0\3";
    mgx_mqtt_connack(manager, conn, 0, false, props, e->version == 5 ? 6 : 0, 0);
  }
  if (e->cmd == MQTT_CMD_SUBSCRIBE)
    mgx_mqtt_suback(manager, conn, MQTT_CMD_SUBACK, e->id, "\0", 1, NULL, 0);
  if (e->cmd == MQTT_CMD_PINGREQ) mgx_mqtt_pong(manager, conn);
}
static void on_data(uint32_t tag, uint64_t conn, int ev, const char *data, size_t len) {
  (void) tag, (void) conn;
  MUST(ev == MG_EV_ERROR);
  put_log(ev, 0, data, len);
}
static void on_close(uint32_t tag, uint64_t conn, int wanted) {
  (void) tag, (void) conn, (void) wanted;
}

static const struct mgx_callbacks callbacks = {
    .on_data = on_data, .on_mqtt = on_mqtt, .on_close = on_close};

/* What we sent is packets, in the version of the connection. */
static void check_sent(struct outcome *out, const char *p, size_t n, int version) {
  MUST(n <= LOG);
  version = version < 5 ? 4 : 5; /* so is a CONNECT of another one refused */
  if (n > 0) memcpy(out->sent, p, n);
  out->sent_len = n;
  while (n > 0) {
    struct mg_mqtt_packet packet;
    const char *why;
    bool connect = (uint8_t) *p >> 4 == MQTT_CMD_CONNECT;
    int64_t len = mg__mqtt_parse(p, n, connect ? 0 : version, 0, &packet, &why);
    MUST(len > 0);
    p += len;
    n -= (size_t) len;
  }
}

static struct mg_connection *open_one(struct mg_mgr *mgr, unsigned role) {
  struct mgx_mqtt_connect connect = {.client_id = {"c", 1}, .clean = (role & 4) != 0};
  struct mg_connection *c = mg__conn_new(mgr);
  c->is_client = (role & 1) != 0;
  c->mask = 1u << MG_EV_MQTT_MSG | 1u << MG_EV_MQTT_CMD | 1u << MG_EV_MQTT_OPEN | 1u << MG_EV_ERROR;
  if (!c->is_client) {
    MUST(mg__mqtt_attach(c));
    return c;
  }
  connect.version = role & 2 ? 5 : 4;
  if (role & 2) connect.props = (struct mg_str){"\x22\0\2\x21\0\3", 6};
  MUST(mg__mqtt_begin(c, &connect) == MGX_OK);
  return c;
}

/* In pieces of 1 to 16 bytes as the bits of `cuts` say over and over; 0: whole. */
static void receive(struct outcome *out, const char *bytes, size_t len, unsigned role,
                    uint64_t cuts) {
  struct mgx_limits limits = {.mqtt_packet = LIMIT, .mqtt_queue = 4096, .mqtt_inflight = 2};
  struct mgx_error err;
  struct mg_connection *c;
  manager = mgx_mgr_new(1, &callbacks, &limits, MGX_POLLER_POLL, &err);
  memset(out, 0, sizeof(*out));
  now = out;
  MUST(manager != NULL);
  mg__lock(manager);
  c = open_one(manager, role);
  c->busy++;
  for (size_t at = 0, n; at < len && !c->is_closing; at += n) {
    n = cuts == 0 ? len : (cuts & 15) + 1;
    if (n > len - at) n = len - at;
    cuts = cuts >> 5 | cuts << 59;
    MUST(mg__iobuf_add(&manager->pool, &c->recv, bytes + at, n));
    mg__io_input(c, true);
  }
  check_sent(out, c->send.buf, c->send.len, mg__mqtt(c)->version);
  c->busy--;
  mg__unlock(manager);
  mg_mgr_free(manager);
  mgx_mgr_delete(manager);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct outcome whole, pieces;
  uint64_t cuts;
  if (size < 9) return 0;
  memcpy(&cuts, data + 1, 8);
  receive(&whole, (const char *) data + 9, size - 9, data[0], 0);
  receive(&pieces, (const char *) data + 9, size - 9, data[0], cuts | 1);
  MUST(whole.len == pieces.len && memcmp(whole.log, pieces.log, whole.len) == 0);
  MUST(whole.sent_len == pieces.sent_len);
  MUST(memcmp(whole.sent, pieces.sent, whole.sent_len) == 0);
  return 0;
}
