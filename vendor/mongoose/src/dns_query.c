/* dns_query.c: one question, and the servers it is put to in turn.
 *
 * Every server gets a socket of its own for every question: a fresh port, chosen
 * by the system, connected, so that only datagrams from there come in, and a
 * random number in the message (RFC 5452 sections 9 and 10). A try has its time;
 * then the question goes to the next server, or again to the only one, while
 * late answers are still welcome. A server that says it can't tell, or can't be
 * reached, is not asked again. */
#include "dns.h"

enum {
  QUERY_DATAGRAMS = 16,     /* looked at in one go, others come in the next turn */
  QUERY_DATAGRAM = 4096,    /* more than any server may send unasked */
  QUERY_TCP_HEADER = 2,     /* RFC 1035 section 4.2.2 */
};

static void slot_close(struct mg_dns_slot *slot) {
  mg__watch_close(slot->query->mgr, &slot->watch);
  mg__free(slot->in);
  slot->in = NULL;
  slot->in_len = slot->in_size = slot->sent = 0;
}

void mg__dns_query_end(struct mg_dns_query *q) {
  mg__alarm_clear(q->mgr, &q->alarm);
  for (size_t i = 0; i < MG_DNS_SERVERS; i++) slot_close(&q->slots[i]);
}

static void query_done(struct mg_dns_query *q, int status) {
  mg__dns_query_end(q);
  q->answer.status = status;
  q->is_done = true;
}

/* ---- one server ------------------------------------------------------------------ */

static bool slot_random(struct mg_dns_slot *slot) {
  return slot->query->mgr->os->random(&slot->id, sizeof(slot->id));
}

/* A socket that is connected, or is about to be; 0 or -errno. */
static int slot_open(struct mg_dns_slot *slot, const struct mg_sockaddr *addr) {
  struct mg_mgr *mgr = slot->query->mgr;
  int err;
  if (!slot_random(slot)) return -EIO;
  slot->watch.fd = mgr->os->socket(addr->u.sa.sa_family, slot->is_tcp ? SOCK_STREAM : SOCK_DGRAM);
  if (slot->watch.fd < 0) {
    err = slot->watch.fd;
    slot->watch.fd = -1;
    return err;
  }
  err = mgr->os->connect(slot->watch.fd, &addr->u.sa, addr->len);
  if (err == 0 || (slot->is_tcp && err == -EINPROGRESS))
    err = mg__watch_add(mgr, &slot->watch, slot->is_tcp ? MG_POLL_OUT : MG_POLL_IN);
  if (err < 0) slot_close(slot);
  return err;
}

static size_t slot_message(const struct mg_dns_slot *slot, uint8_t to[QUERY_TCP_HEADER + MG_DNS_QUERY]) {
  const struct mg_dns_query *q = slot->query;
  size_t n = mg__dns_query_write(to + QUERY_TCP_HEADER, slot->id, q->name, q->type);
  to[0] = (uint8_t) (n >> 8);
  to[1] = (uint8_t) n;
  return n;
}

/* Put the question to the server; 0 or -errno. A repeated datagram keeps its number
 * and its port, so that the answer to the first one is not lost. */
static int slot_ask(struct mg_dns_slot *slot, const struct mg_dns_server *server) {
  uint8_t message[QUERY_TCP_HEADER + MG_DNS_QUERY];
  size_t len;
  ssize_t n;
  if (slot->watch.fd >= 0 && slot->is_tcp) return 0; /* TCP repeats by itself */
  if (slot->watch.fd < 0) {
    int err;
    slot->is_tcp = slot->is_tcp || server->is_tcp;
    err = slot_open(slot, &server->addr);
    if (err < 0 || slot->is_tcp) return err;
  }
  len = slot_message(slot, message);
  n = slot->query->mgr->os->send(slot->watch.fd, message + QUERY_TCP_HEADER, len, false);
  return n < 0 && n != -EAGAIN && n != -ENOBUFS ? (int) n : 0;
}

/* ---- all servers in turn ----------------------------------------------------------- */

static unsigned query_failed_servers(const struct mg_dns_query *q) {
  unsigned failed = 0;
  for (size_t i = 0; i < q->config->num_servers; i++) failed += q->slots[i].is_failed;
  return failed;
}

static void slot_failed(struct mg_dns_slot *slot) {
  slot_close(slot);
  slot->is_failed = true;
}

static void query_arm(struct mg_dns_query *q) {
  mg__alarm_set(q->mgr, &q->alarm, q->mgr->os->monotonic_ms() + q->config->timeout_ms);
}

/* The next try, or the end: all have failed. When there have been enough tries, those
 * who have not answered yet have the time of one more. */
static void query_try(struct mg_dns_query *q) {
  const struct mg_dns_config *config = q->config;
  unsigned n = (unsigned) config->num_servers, max = config->attempts * n;
  while (query_failed_servers(q) < n) {
    struct mg_dns_slot *slot;
    if (q->tries == max) {
      if (q->alarm.due.pos == 0) query_arm(q);
      return;
    }
    q->server = (q->server + 1) % n;
    slot = &q->slots[q->server];
    if (slot->is_failed) continue;
    q->tries++;
    if (slot_ask(slot, &config->servers[q->server]) == 0) {
      q->was_asked = true;
      query_arm(q);
      return;
    }
    slot_failed(slot);
  }
  query_done(q, q->was_asked ? MG_DNS_FAILED : MG_DNS_NO_SERVER);
}

/* One server is out; whoever waits for it goes on. */
static void query_lost(struct mg_dns_query *q, struct mg_dns_slot *slot) {
  bool is_current = slot == &q->slots[q->server];
  slot_failed(slot);
  if (is_current || query_failed_servers(q) == q->config->num_servers) query_try(q);
}

static void query_tell(struct mg_dns_query *q) {
  if (q->is_done) q->on_done(q);
}

static void query_on_due(struct mg_mgr *mgr, struct mg_alarm *alarm) {
  struct mg_dns_query *q = MG_CONTAINER(alarm, struct mg_dns_query, alarm);
  (void) mgr;
  if (q->tries < q->config->attempts * q->config->num_servers)
    query_try(q);
  else
    query_done(q, MG_DNS_TIMEOUT);
  query_tell(q);
}

/* ---- answers ------------------------------------------------------------------------- */

/* true: the question is answered, or goes to another server; false: wait on. */
static bool slot_answer(struct mg_dns_slot *slot, const uint8_t *buf, size_t len) {
  struct mg_dns_query *q = slot->query;
  struct mg_dns_answer *answer = &q->answer;
  mg__dns_parse(buf, len, slot->id, q->name, q->type, answer);
  if (answer->status == MG_DNS_FOREIGN && !slot->is_tcp) return false; /* somebody guesses */
  if (answer->status == MG_DNS_TRUNCATED && !slot->is_tcp) { /* RFC 7766 section 5 */
    slot_close(slot);
    slot->is_tcp = true;
    if (slot_ask(slot, &q->config->servers[slot - q->slots]) == 0) {
      query_arm(q);
      return true;
    }
    query_lost(q, slot);
  } else if (answer->status == MG_DNS_OK || answer->status == MG_DNS_NO_NAME ||
             answer->status == MG_DNS_NO_DATA) {
    query_done(q, answer->status);
  } else {
    query_lost(q, slot);
  }
  return true;
}

static void slot_ready_udp(struct mg_dns_slot *slot) {
  uint8_t buf[QUERY_DATAGRAM];
  for (int i = 0; i < QUERY_DATAGRAMS; i++) {
    ssize_t n = slot->query->mgr->os->recv(slot->watch.fd, buf, sizeof(buf));
    if (n == -EAGAIN) return;
    if (n < 0) { /* nobody is there */
      query_lost(slot->query, slot);
      return;
    }
    if (slot_answer(slot, buf, (size_t) n)) return;
  }
}

/* Send what is left of the question; false: it has failed. */
static bool slot_send_tcp(struct mg_dns_slot *slot) {
  uint8_t message[QUERY_TCP_HEADER + MG_DNS_QUERY];
  size_t len = slot_message(slot, message) + QUERY_TCP_HEADER;
  struct mg_mgr *mgr = slot->query->mgr;
  int err = mgr->os->connect_result(slot->watch.fd);
  ssize_t n;
  if (err == -EINPROGRESS) return true;
  if (err < 0) return false;
  n = mgr->os->send(slot->watch.fd, message + slot->sent, len - slot->sent, false);
  if (n < 0) return n == -EAGAIN;
  slot->sent += (size_t) n;
  return slot->sent < len || mg__watch_for(mgr, &slot->watch, MG_POLL_IN) == 0;
}

/* Read on: 1 the message is whole, 0 more is to come, -1 it has failed. */
static int slot_read_tcp(struct mg_dns_slot *slot) {
  struct mg_mgr *mgr = slot->query->mgr;
  while (slot->in_size == 0 || slot->in_len < slot->in_size) {
    ssize_t n;
    if (slot->in_size == 0) {
      slot->in = mg__malloc(QUERY_TCP_HEADER);
      if (slot->in == NULL) return -1;
      slot->in_size = QUERY_TCP_HEADER;
    }
    n = mgr->os->recv(slot->watch.fd, slot->in + slot->in_len, slot->in_size - slot->in_len);
    if (n == -EAGAIN) return 0;
    if (n <= 0) return -1;
    slot->in_len += (size_t) n;
    if (slot->in_len == QUERY_TCP_HEADER && slot->in_size == QUERY_TCP_HEADER) {
      size_t size = QUERY_TCP_HEADER + ((size_t) slot->in[0] << 8 | slot->in[1]);
      uint8_t *more = size > QUERY_TCP_HEADER ? mg__realloc(slot->in, size) : NULL;
      if (more == NULL) return -1; /* no memory, or no message */
      slot->in = more;
      slot->in_size = size;
    }
  }
  return 1;
}

static void slot_ready_tcp(struct mg_dns_slot *slot, unsigned what) {
  int got;
  if (slot->watch.what == MG_POLL_OUT) {
    if (!slot_send_tcp(slot)) query_lost(slot->query, slot);
    return;
  }
  if ((what & MG_POLL_IN) == 0) return;
  got = slot_read_tcp(slot);
  if (got < 0)
    query_lost(slot->query, slot);
  else if (got > 0)
    slot_answer(slot, slot->in + QUERY_TCP_HEADER, slot->in_size - QUERY_TCP_HEADER);
}

static void slot_on_ready(struct mg_mgr *mgr, struct mg_watch *w, unsigned what) {
  struct mg_dns_slot *slot = MG_CONTAINER(w, struct mg_dns_slot, watch);
  struct mg_dns_query *q = slot->query;
  (void) mgr;
  if (slot->is_tcp)
    slot_ready_tcp(slot, what);
  else
    slot_ready_udp(slot);
  query_tell(q);
}

void mg__dns_query_init(struct mg_dns_query *q) {
  memset(q->slots, 0, sizeof(q->slots));
  for (size_t i = 0; i < MG_DNS_SERVERS; i++) {
    q->slots[i].query = q;
    q->slots[i].watch.fd = -1;
    q->slots[i].watch.on_ready = slot_on_ready;
  }
  q->alarm.on_due = query_on_due;
}

void mg__dns_ask(struct mg_dns_query *q, unsigned first_server) {
  unsigned n = (unsigned) q->config->num_servers;
  for (size_t i = 0; i < MG_DNS_SERVERS; i++) q->slots[i].is_tcp = q->slots[i].is_failed = false;
  q->tries = 0;
  q->is_done = q->was_asked = false;
  q->answer.count = 0;
  q->server = (first_server + n - 1) % n; /* the one before the first */
  query_try(q);
}
