/* sntp.c: an SNTP client on a UDP connection, RFC 4330 and RFC 5905.
 *
 * One request is under way at a time; those asked for meanwhile wait for its answer. The
 * socket is connected, so the system passes on only what comes from the server's address.
 * Who forges that address does not know the cookie: such datagrams are passed over. What
 * carries the cookie and still is of no use, and silence, end the connection. */
#include "sntp.h"

static struct mg_sntp *sntp_of(const struct mg_connection *c) { return c->proto_data; }

static void sntp_set_deadline(struct mg_connection *c) {
  uint64_t ms = c->mgr->limits.sntp_timeout_ms;
  bool waits = ms != 0 && sntp_of(c)->cookie != 0;
  mg__conn_set_deadline(c, waits ? c->mgr->os->monotonic_ms() + ms : 0);
}

/* 0, or MGX_ESYSTEM with *err filled and nothing under way. */
static int sntp_send(struct mg_connection *c, struct mgx_error *err) {
  const struct mg_os *os = c->mgr->os;
  struct mg_sntp *s = sntp_of(c);
  char packet[MG_SNTP_SIZE];
  uint64_t cookie = 0;
  int result;
  while (cookie == 0) {
    if (os->random(&cookie, sizeof(cookie))) continue;
    err->sys = EIO;
    snprintf(err->text, sizeof(err->text), "the system has no random bytes for a request");
    return MGX_ESYSTEM;
  }
  mg__sntp_request(packet, cookie);
  s->cookie = cookie; /* before it leaves: the handler of MG_EV_WRITE may take its time */
  s->sent_ns = os->monotonic_ns();
  sntp_set_deadline(c);
  result = mg__io_send_datagram(c, packet, sizeof(packet), err);
  if (result != MGX_OK) { /* no event was fired, so nothing has changed meanwhile */
    s->cookie = 0;
    sntp_set_deadline(c);
  }
  return result;
}

/* A request that nobody can be given an error for. */
static void sntp_send_by_itself(struct mg_connection *c) {
  struct mgx_error err = {0, ""};
  if (sntp_send(c, &err) != MGX_OK) mg__conn_error(c, "SNTP: %s: %s", err.text, strerror(err.sys));
}

static void sntp_on_connect(struct mg_connection *c) {
  sntp_of(c)->is_connected = true;
  sntp_send_by_itself(c);
}

int mgx_sntp_request(struct mg_mgr *mgr, uint64_t conn, struct mgx_error *err) {
  struct mg_connection *c;
  int result = MGX_OK;
  mg__lock(mgr);
  c = mg__conn_find(mgr, conn);
  if (c == NULL || c->is_closing) {
    result = MGX_ECLOSED;
  } else if (c->proto != &mg__proto_sntp) {
    result = MGX_EKIND;
  } else if (sntp_of(c)->cookie != 0) {
    if (sntp_of(c)->waiting < UINT32_MAX) sntp_of(c)->waiting++;
  } else if (sntp_of(c)->is_connected) { /* else the first one is still to come, by itself */
    c->busy++;
    result = sntp_send(c, err);
    c->busy--;
  }
  mg__unlock(mgr);
  return result;
}

int mgx_sntp_result(struct mg_mgr *mgr, uint64_t conn, struct mgx_sntp_result *out) {
  struct mg_connection *c;
  int result = MGX_OK;
  mg__lock(mgr);
  c = mg__conn_find(mgr, conn);
  if (c == NULL)
    result = MGX_ECLOSED;
  else if (c->proto != &mg__proto_sntp)
    result = MGX_EKIND;
  else if (!sntp_of(c)->has_result)
    result = MGX_ESTATE;
  else
    *out = sntp_of(c)->result;
  mg__unlock(mgr);
  return result;
}

static bool sntp_goes_on(const struct mg_connection *c) {
  return c->proto == &mg__proto_sntp && !c->is_closing;
}

static void sntp_answered(struct mg_connection *c, const struct mgx_sntp_result *result) {
  struct mg_sntp *s = sntp_of(c);
  s->cookie = 0;
  s->result = *result;
  s->has_result = true;
  sntp_set_deadline(c);
  if (mg__wants(c, MG_EV_SNTP_TIME)) mg__emit_sntp(c, result);
  if (sntp_goes_on(c) && !mg__wants(c, MGX_READ_WITH_DATA_SHIFT)) mg__emit(c, MG_EV_READ);
  if (!sntp_goes_on(c) || s->waiting == 0 || s->cookie != 0) return; /* or it has asked again */
  s->waiting--;
  sntp_send_by_itself(c);
}

/* recv holds a datagram, or nothing. */
static void sntp_on_data(struct mg_connection *c) {
  struct mg_sntp *s = sntp_of(c);
  const struct mg_os *os = c->mgr->os;
  struct mgx_sntp_result result;
  char why[MG_SNTP_REASON];
  int verdict = mg__sntp_answer(c->recv.buf, c->recv.len, s->cookie,
                                os->monotonic_ns() - s->sent_ns, os->wall_ns(), &result, why);
  mg__iobuf_del(&c->recv, c->recv.len);
  if (verdict == MG_SNTP_TIME) {
    sntp_answered(c, &result);
  } else if (verdict == MG_SNTP_BAD) {
    s->cookie = 0;
    mg__conn_error(c, "SNTP: %s", why);
  }
}

static void sntp_on_timeout(struct mg_connection *c) {
  mg__conn_error(c, "SNTP: no answer for %llu ms (sntp_timeout)",
                 (unsigned long long) c->mgr->limits.sntp_timeout_ms);
}

static int sntp_on_send(struct mg_connection *c, const char *data, size_t len) {
  (void) c, (void) data, (void) len;
  return MGX_EKIND;
}

static uint64_t sntp_recv_limit(const struct mg_connection *c) {
  (void) c;
  return 1; /* as on any UDP connection: a datagram at a time */
}

static void sntp_free(struct mg_connection *c) { mg__free(c->proto_data); }

const struct mg_proto mg__proto_sntp = {
    .name = "sntp",
    .on_connect = sntp_on_connect,
    .on_data = sntp_on_data,
    .on_timeout = sntp_on_timeout,
    .on_send = sntp_on_send,
    .recv_limit = sntp_recv_limit,
    .free = sntp_free,
};

bool mg__sntp_attach(struct mg_connection *c) {
  struct mg_sntp *s = mg__calloc(sizeof(*s));
  if (s == NULL) return false;
  assert(c->proto == NULL);
  c->proto = &mg__proto_sntp;
  c->proto_data = s;
  return true;
}
