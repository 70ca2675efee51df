/* fuzz_sntp.c: any datagrams to an SNTP client that has asked.
 *
 * Beyond what the sanitizers see: the verdict is that of a plain reading of the packet;
 * a result is within its bounds; what lacks the cookie changes nothing; behind an error
 * nothing is delivered. */
#include "../mongoose.c"

#define MUST(cond) ((cond) ? (void) 0 : abort())

static const int64_t first_ms = 1577836800000, end_ms = 4102444800000; /* 2020, 2100 */

static struct {
  int times, errors;
} seen;

static void on_sntp(uint32_t tag, uint64_t conn, const struct mgx_sntp_result *r) {
  (void) tag, (void) conn;
  MUST(seen.errors == 0);
  MUST(r->time_ms >= first_ms && r->time_ms < end_ms);
  MUST(r->delay_ns >= 0 && r->delay_ns <= 3000000000);
  MUST(r->stratum >= 1 && r->stratum <= 15 && r->leap <= 2);
  seen.times++;
}
static void on_data(uint32_t tag, uint64_t conn, int ev, const char *data, size_t len) {
  (void) tag, (void) conn;
  MUST(ev == MG_EV_ERROR && seen.errors == 0 && len > 6);
  for (size_t i = 0; i < len; i++) MUST(data[i] >= ' ' && data[i] < 0x7f);
  seen.errors++;
}
static void on_close(uint32_t tag, uint64_t conn, int wanted) {
  (void) tag, (void) conn, (void) wanted;
}
static const struct mgx_callbacks callbacks = {
    .on_sntp = on_sntp, .on_data = on_data, .on_close = on_close};

/* A clock that the input sets. */
static int64_t clock_now;
static int64_t read_clock(void) { return clock_now; }

static uint64_t number(const char *at) {
  uint64_t n = 0;
  memcpy(&n, at, 8);
  return __builtin_bswap64(n);
}

/* As RFC 5905 and RFC 4330 have it, one line at a time. */
static int plain_verdict(const char *p, size_t len, uint64_t cookie, int64_t elapsed) {
  __int128 hold, delay;
  if (len < 48) return MG_SNTP_STRANGE;
  if ((p[0] & 0x3f) != 0x1c && (p[0] & 0x3f) != 0x24) return MG_SNTP_STRANGE;
  if (number(p + 24) != cookie) return MG_SNTP_STRANGE;
  if ((p[0] & 0xc0) == 0xc0 || p[1] < 1 || p[1] > 15) return MG_SNTP_BAD;
  if (number(p + 32) == 0 || number(p + 40) == 0) return MG_SNTP_BAD;
  hold = (int64_t) (number(p + 40) - number(p + 32));
  if (hold < 0) return MG_SNTP_BAD;
  delay = elapsed - ((hold >> 32) * 1000000000 + (((hold & UINT32_MAX) * 1000000000) >> 32));
  if (delay < 0 || delay > 3000000000) return MG_SNTP_BAD;
  return MG_SNTP_TIME;
}

static void receive(struct mg_connection *c, const char *packet, size_t len) {
  struct mg_sntp *s = sntp_of(c);
  int times = seen.times, errors = seen.errors, verdict;
  MUST(mg__iobuf_add(&c->mgr->pool, &c->recv, packet, len));
  verdict = plain_verdict(packet, len, s->cookie, clock_now - s->sent_ns);
  c->proto->on_data(c);
  MUST(c->recv.len == 0);
  if (verdict == MG_SNTP_STRANGE) MUST(seen.times == times && seen.errors == errors);
  if (verdict == MG_SNTP_BAD) MUST(seen.times == times && seen.errors == errors + 1);
  if (verdict == MG_SNTP_TIME) /* the year alone may still be wrong */
    MUST((seen.times == times + 1) != (seen.errors == errors + 1));
}

/* Datagrams: a length byte, how long it took, whether it carries the cookie, the bytes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct mgx_limits limits = {.sntp_timeout_ms = 3000};
  struct mgx_error err;
  struct mg_os os = mg__os_posix;
  struct mg_mgr *mgr = mgx_mgr_new(1, &callbacks, &limits, MGX_POLLER_POLL, &err);
  struct mg_connection *c;
  uint64_t cookie = 1;
  MUST(mgr != NULL);
  memset(&seen, 0, sizeof(seen));
  os.monotonic_ns = read_clock;
  clock_now = 0;
  mgr->os = &os;
  mg__lock(mgr);
  c = mg__conn_new(mgr);
  c->is_udp = c->is_client = true;
  c->mask = 1u << MG_EV_SNTP_TIME | 1u << MG_EV_ERROR;
  MUST(mg__sntp_attach(c));
  c->busy++;
  while (size >= 6 && !c->is_closing) {
    char packet[256];
    size_t len = data[0] < size - 6 ? data[0] : size - 6;
    uint32_t took;
    memcpy(&took, data + 1, 4);
    if (sntp_of(c)->cookie == 0) { /* as if a request had left */
      sntp_of(c)->cookie = ++cookie;
      sntp_of(c)->sent_ns = clock_now;
    }
    memcpy(packet, data + 6, len);
    if ((data[5] & 1) && len >= 32)
      for (int i = 0; i < 8; i++) packet[24 + i] = (char) (sntp_of(c)->cookie >> (56 - 8 * i));
    clock_now += took;
    receive(c, packet, len);
    data += 6 + len;
    size -= 6 + len;
  }
  c->busy--;
  mg__unlock(mgr);
  mg_mgr_free(mgr);
  mgx_mgr_delete(mgr);
  return 0;
}
