/* fuzz_ws.c: any bytes as the frames of a WebSocket, received by a server and
 * by a client.
 *
 * Beyond what the sanitizers see: cutting the stream changes neither the
 * events nor the answers; whatever we send back is itself well-formed; text
 * that is delivered is UTF-8; nothing is delivered behind a close frame. */
#include "../mongoose.c"

#define MUST(cond) ((cond) ? (void) 0 : abort())
enum { LIMIT = 300, LOG = 1 << 16 };

struct outcome {
  size_t len, sent_len;
  bool closed;
  char log[LOG], sent[LOG];
};
static struct outcome *now;

static void put_log(int ev, int first, const char *data, size_t len) {
  if (now->len + len + 8 > LOG) return;
  now->log[now->len++] = (char) ev;
  now->log[now->len++] = (char) first;
  now->log[now->len++] = (char) len;
  now->log[now->len++] = (char) (len >> 8);
  if (len > 0) memcpy(now->log + now->len, data, len);
  now->len += len;
}

static bool all_characters(const char *s, size_t n) {
  for (size_t k; n > 0; s += k, n -= k)
    if ((k = mg__utf8(s, n)) == 0) return false;
  return true;
}

static void on_ws(uint32_t tag, uint64_t conn, int ev, int first, const char *data, size_t len) {
  (void) tag, (void) conn;
  MUST(!now->closed && len <= LIMIT);
  if (ev == MG_EV_WS_MSG) MUST((first & MG_WS_OP) == 1 || (first & MG_WS_OP) == 2);
  if (ev == MG_EV_WS_MSG && (first & 0x4f) == 1) MUST(all_characters(data, len));
  if (ev == MG_EV_WS_CTL) MUST((first & MG_WS_CONTROL) && len <= MG_WS_MAX_CONTROL);
  now->closed = ev == MG_EV_WS_CTL && (first & MG_WS_OP) == WEBSOCKET_OP_CLOSE;
  put_log(ev, first, data, len);
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
    .on_data = on_data, .on_ws = on_ws, .on_close = on_close};

/* What we sent, unmasked: pongs, then perhaps a close frame, nothing behind it. */
static void check_sent(struct outcome *out, const char *p, size_t n, bool is_client) {
  static const uint8_t none[4];
  bool over = false;
  while (n > 0) {
    struct mg_ws_frame f;
    const char *why;
    int h = mg__ws_parse(p, n, &f, &why);
    MUST(h > 0 && !over && f.is_masked == is_client && f.len <= n - (size_t) h);
    MUST(f.first == 0x8a || f.first == 0x88);
    over = f.first == 0x88;
    MUST(out->sent_len + f.len + 2 <= LOG);
    out->sent[out->sent_len++] = (char) f.first;
    out->sent[out->sent_len++] = (char) f.len;
    mg__ws_mask(out->sent + out->sent_len, p + h, (size_t) f.len, f.is_masked ? f.key : none, 0);
    if (over) MUST(mg__ws_check_close(out->sent + out->sent_len, (size_t) f.len) == 0);
    out->sent_len += (size_t) f.len;
    p += h + f.len;
    n -= (size_t) h + (size_t) f.len;
  }
}

/* In pieces of 1 to 16 bytes as the bits of `cuts` say over and over; 0: whole. */
static void receive(struct outcome *out, const char *bytes, size_t len, unsigned role,
                    uint64_t cuts) {
  struct mgx_limits limits = {.ws_message = LIMIT};
  struct mgx_error err;
  struct mg_mgr *mgr = mgx_mgr_new(1, &callbacks, &limits, MGX_POLLER_POLL, &err);
  struct mg_connection *c;
  memset(out, 0, sizeof(*out));
  now = out;
  MUST(mgr != NULL);
  mg__lock(mgr);
  c = mg__conn_new(mgr);
  c->is_client = (role & 1) != 0;
  c->mask = 1u << MG_EV_WS_MSG | 1u << MG_EV_WS_CTL | 1u << MG_EV_ERROR;
  mg__ws_attach(c, mg__ws_new());
  mg__ws(c)->may_deflate = (role & 2) != 0;
  c->busy++;
  for (size_t at = 0, n; at < len && !c->is_closing; at += n) {
    n = cuts == 0 ? len : (cuts & 15) + 1;
    if (n > len - at) n = len - at;
    cuts = cuts >> 5 | cuts << 59;
    MUST(mg__iobuf_add(&mgr->pool, &c->recv, bytes + at, n));
    mg__io_input(c, true);
  }
  check_sent(out, c->send.buf, c->send.len, c->is_client);
  c->busy--;
  mg__unlock(mgr);
  mg_mgr_free(mgr);
  mgx_mgr_delete(mgr);
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
