/* dial.c: connections and host names.
 *
 * A client whose URL has a name waits for its addresses, then tries them: the next
 * one a quarter of a second after the last, or as soon as one has failed; the
 * first that connects wins and the others are closed (RFC 8305 section 5). UDP
 * takes the first address there is a way to. Any connection may have names
 * looked up besides. Outcomes are delivered here, in the loop: dns.c puts a connection
 * on the to-do list when it has found something. */
#include "dns.h"

struct mg_attempt { /* a socket that may become the connection's */
  struct mg_watch watch;
  struct mg_connection *c;
  struct mg_sockaddr addr;
};

struct mg_dial {
  struct mg_link lookups, done; /* struct mg_lookup: waiting, and to be told */
  bool is_dialing;              /* a client that is not connected yet */
  uint16_t port;
  size_t count, next; /* addresses, those tried */
  size_t open;        /* attempts that run */
  struct mg_attempt *attempts; /* count of them; owned; NULL: not begun */
  struct mg_alarm alarm;       /* when the next one begins */
  struct mg_iobuf datagrams;   /* queued before it was connected: length, bytes, length ... */
};

/* ---- hosts ------------------------------------------------------------------------ */

bool mg__host_is_name(struct mg_str host) {
  struct mg_dns_name name;
  return mg__dns_name(host, &name);
}

bool mg__host_literal(struct mg_str host, struct mg_sockaddr *out) {
  if (mg_aton(host, out)) return true;
  return mg__dns_is_loopback(host) && mg__host_is_name(host) &&
         mg_aton((struct mg_str){"localhost", 9}, out);
}

/* ---- life --------------------------------------------------------------------------- */

static void attempts_close(struct mg_connection *c) {
  struct mg_dial *d = c->dial;
  mg__alarm_clear(c->mgr, &d->alarm);
  for (size_t i = 0; d->attempts != NULL && i < d->next; i++)
    mg__watch_close(c->mgr, &d->attempts[i].watch);
  mg__free(d->attempts);
  d->attempts = NULL;
  d->open = 0;
}

static void lookup_free(struct mg_lookup *l) {
  mg__dns_cancel(l);
  mg__link_del(&l->link);
  mg__free(l);
}

/* The first of them, that of its own connect left out unless all are meant, or NULL. */
static struct mg_lookup *lookup_first(const struct mg_link *list, bool all) {
  for (struct mg_link *link = list->next; link != list; link = link->next) {
    struct mg_lookup *l = MG_CONTAINER(link, struct mg_lookup, link);
    if (all || !l->for_connect) return l; /* of those left out there is one at most */
  }
  return NULL;
}

/* To give one up may start others that are done at once, so the list is looked at
 * afresh. */
static void lookups_free(struct mg_link *list, bool all) {
  struct mg_lookup *l;
  while ((l = lookup_first(list, all)) != NULL) lookup_free(l);
}

void mg__dial_free(struct mg_connection *c) {
  struct mg_dial *d = c->dial;
  if (d == NULL) return;
  lookups_free(&d->lookups, true);
  lookups_free(&d->done, true);
  attempts_close(c);
  mg__alarm_unreserve(c->mgr, 1);
  mg__iobuf_free(&c->mgr->pool, &d->datagrams);
  mg__free(d);
  c->dial = NULL;
}

static void dial_settle(struct mg_connection *c) {
  const struct mg_dial *d = c->dial;
  if (!d->is_dialing && mg__link_empty(&d->lookups) && mg__link_empty(&d->done)) mg__dial_free(c);
}

static void attempt_next(struct mg_mgr *mgr, struct mg_alarm *alarm);

/* The connection's, made when it is needed first; NULL: OOM. */
static struct mg_dial *dial_get(struct mg_connection *c) {
  struct mg_dial *d = c->dial;
  if (d != NULL) return d;
  d = mg__calloc(sizeof(*d));
  if (d == NULL || !mg__alarm_reserve(c->mgr, 1)) {
    mg__free(d);
    return NULL;
  }
  mg__link_init(&d->lookups);
  mg__link_init(&d->done);
  d->alarm.on_due = attempt_next;
  c->dial = d;
  return d;
}

static struct mg_lookup *lookup_new(struct mg_connection *c, struct mg_str host, uint16_t port) {
  struct mg_dial *d = dial_get(c);
  struct mg_lookup *l = d == NULL ? NULL : mg__calloc(sizeof(*l));
  if (l == NULL) return NULL;
  assert(host.len < sizeof(l->host));
  l->c = c;
  l->port = port;
  l->host_len = host.len;
  memcpy(l->host, host.buf, host.len);
  mg__link_init(&l->link);
  mg__link_init(&l->waiting);
  mg__link_add_tail(&d->lookups, &l->link);
  l->done = &d->done;
  return l;
}

/* ---- telling ------------------------------------------------------------------------- */

static void lookup_text(const struct mg_lookup *l, char *buf, size_t size) {
  if (l->status == MG_DNS_NO_NAME)
    snprintf(buf, size, "%s DNS lookup failed: there is no such name", l->host);
  else if (l->status == MG_DNS_NO_DATA)
    snprintf(buf, size, "%s DNS lookup failed: it has no address", l->host);
  else if (l->status == MG_DNS_TIMEOUT)
    snprintf(buf, size, "DNS timeout: nobody has answered for %s", l->host);
  else if (l->status == MG_DNS_NO_SERVER)
    snprintf(buf, size, "resolver: no server could be asked for %s", l->host);
  else
    snprintf(buf, size, "DNS error: no server could tell about %s", l->host);
}

/* A failed look-up is no reason to close a connection that is fine. */
static void tell_failure(struct mg_connection *c, const struct mg_lookup *l) {
  char text[MG_DNS_TEXT + 80];
  lookup_text(l, text, sizeof(text));
  mg__log(c->mgr, MG_LL_ERROR, "connection %llu: %s", (unsigned long long) c->id, text);
  mg__emit_data(c, MG_EV_ERROR, text, strlen(text));
}

static void tell_addresses(struct mg_connection *c, const struct mg_lookup *l) {
  struct mgx_addr addrs[2 * MG_DNS_ADDRS];
  for (size_t i = 0; i < l->count; i++) {
    struct mg_sockaddr addr;
    mg__ip_sockaddr(&l->addrs[i], l->port, &addr);
    mg__addr_text(&addr, &addrs[i]);
  }
  mg__emit_addrs(c, addrs, l->count);
}

/* ---- attempts ------------------------------------------------------------------------- */

/* This socket it is. */
static void dial_won(struct mg_connection *c, int fd, const struct mg_sockaddr *addr) {
  int err;
  attempts_close(c);
  c->rem = *addr;
  c->fd = fd;
  c->is_connecting = false;
  if (!c->is_udp) c->dial->is_dialing = false; /* else datagrams may wait */
  err = mg__conn_register(c);
  if (err < 0)
    mg__io_failed(c, err);
  else
    mg__io_connected(c);
}

static void attempt_ready(struct mg_mgr *mgr, struct mg_watch *w, unsigned what);

/* 0 connected, -EINPROGRESS it may become so, else -errno. */
static int attempt_open(struct mg_connection *c, struct mg_attempt *a) {
  struct mg_mgr *mgr = c->mgr;
  int err, fd = mgr->os->socket(a->addr.u.sa.sa_family, c->is_udp ? SOCK_DGRAM : SOCK_STREAM);
  a->c = c;
  a->watch.on_ready = attempt_ready;
  a->watch.fd = fd < 0 ? -1 : fd;
  if (fd < 0) return fd;
  if (!c->is_udp) mg__stream_options(mgr->os, fd);
  err = mgr->os->connect(fd, &a->addr.u.sa, a->addr.len);
  if (err == -EINPROGRESS && mg__watch_add(mgr, &a->watch, MG_POLL_OUT) < 0) err = -ENOMEM;
  if (err < 0 && err != -EINPROGRESS) mg__watch_close(mgr, &a->watch);
  return err;
}

/* Begin with the next address that does not fail at once; err: why the last one did. */
static void dial_try(struct mg_connection *c, int err) {
  struct mg_dial *d = c->dial;
  while (d->next < d->count) {
    struct mg_attempt *a = &d->attempts[d->next++];
    c->rem = a->addr;
    err = attempt_open(c, a);
    if (err == 0) {
      struct mg_sockaddr addr = a->addr;
      dial_won(c, mg__watch_release(c->mgr, &a->watch), &addr);
      return;
    }
    if (err != -EINPROGRESS) continue;
    d->open++;
    if (d->next < d->count)
      mg__alarm_set(c->mgr, &d->alarm,
                    c->mgr->os->monotonic_ms() + mg__dns_attempt_delay(c->mgr));
    return;
  }
  if (d->open == 0) mg__io_failed(c, err);
}

static void attempt_ready(struct mg_mgr *mgr, struct mg_watch *w, unsigned what) {
  struct mg_attempt *a = MG_CONTAINER(w, struct mg_attempt, watch);
  struct mg_connection *c = a->c;
  int err = mgr->os->connect_result(w->fd);
  (void) what;
  if (err == -EINPROGRESS || c->is_closing) return;
  c->busy++;
  if (err == 0) {
    struct mg_sockaddr addr = a->addr;
    dial_won(c, mg__watch_release(mgr, w), &addr);
  } else {
    mg__watch_close(mgr, w);
    c->dial->open--;
    c->rem = a->addr;
    dial_try(c, err);
  }
  dial_settle(c);
  c->busy--;
}

static void attempt_next(struct mg_mgr *mgr, struct mg_alarm *alarm) {
  struct mg_dial *d = MG_CONTAINER(alarm, struct mg_dial, alarm);
  struct mg_connection *c = d->attempts[0].c;
  (void) mgr;
  if (c->is_closing) return;
  c->busy++;
  dial_try(c, 0);
  dial_settle(c);
  c->busy--;
}

/* The addresses of a client's host are known. */
static void dial_begin(struct mg_connection *c, const struct mg_lookup *l) {
  struct mg_dial *d = c->dial;
  uint64_t ms = c->mgr->limits.connect_timeout_ms;
  mg__ip_sockaddr(&l->addrs[0], l->port, &c->rem);
  tell_addresses(c, l);
  if (c->is_closing) return;
  d->attempts = mg__calloc(l->count * sizeof(*d->attempts));
  if (d->attempts == NULL) {
    mg__conn_error(c, "out of memory");
    return;
  }
  d->count = l->count;
  for (size_t i = 0; i < l->count; i++) {
    mg__ip_sockaddr(&l->addrs[i], l->port, &d->attempts[i].addr);
    d->attempts[i].watch.fd = -1;
  }
  if (ms != 0 && !c->is_udp) mg__conn_set_deadline(c, c->mgr->os->monotonic_ms() + ms);
  dial_try(c, 0);
}

/* ---- datagrams that were sent early ------------------------------------------------------ */

bool mg__dial_holds(const struct mg_connection *c) {
  return c->dial != NULL && c->dial->is_dialing;
}

int mg__dial_queue(struct mg_connection *c, const char *data, size_t len) {
  struct mg_iobuf *io = &c->dial->datagrams;
  uint64_t limit = c->mgr->limits.send_backlog;
  uint32_t size = (uint32_t) len;
  if (len > UINT16_MAX) return MGX_ELIMIT; /* no datagram is as large */
  if (limit != 0 && (io->len > limit || len > limit - io->len)) return MGX_ELIMIT;
  if (!mg__iobuf_reserve(&c->mgr->pool, io, sizeof(size) + len)) return MGX_ENOMEM;
  mg__iobuf_add(&c->mgr->pool, io, &size, sizeof(size)); /* room was made: neither can fail */
  mg__iobuf_add(&c->mgr->pool, io, data, len);
  mg__iobuf_settle(&c->mgr->pool, io); /* a look-up may take more than a turn */
  return MGX_OK;
}

/* Send what was queued so far, in order; what handlers add comes behind it. true: all
 * is sent. */
static bool datagrams_send(struct mg_connection *c) {
  struct mg_iobuf *io = &c->dial->datagrams;
  size_t left = io->len;
  while (left > 0 && !c->is_closing && !c->mgr->leave) {
    struct mgx_error err;
    uint32_t size;
    memcpy(&size, io->buf, sizeof(size));
    if (mg__io_send_datagram(c, io->buf + sizeof(size), size, &err) != MGX_OK)
      mg__log(c->mgr, MG_LL_INFO, "connection %llu: %s: %s", (unsigned long long) c->id, err.text,
              strerror(err.sys));
    mg__iobuf_del(io, sizeof(size) + size);
    left -= sizeof(size) + size;
  }
  return io->len == 0;
}

/* ---- the loop's part ------------------------------------------------------------------------ */

static void dial_deliver(struct mg_connection *c, const struct mg_lookup *l) {
  if (l->status == MG_DNS_OK) {
    if (c->is_listening && !c->is_udp)
      mg__ip_sockaddr(&l->addrs[0], l->port, &c->rem); /* it has no peer */
    tell_addresses(c, l);
  } else {
    tell_failure(c, l);
  }
}

static bool dial_may_go_on(const struct mg_connection *c) {
  return !c->is_closing && !c->mgr->leave;
}

void mg__dial_run(struct mg_connection *c) {
  struct mg_dial *d = c->dial;
  while (dial_may_go_on(c) && !mg__link_empty(&d->done)) {
    struct mg_lookup *l = MG_CONTAINER(d->done.next, struct mg_lookup, link);
    mg__link_del(&l->link);
    if (!l->for_connect) {
      dial_deliver(c, l);
    } else if (l->status == MG_DNS_OK) {
      dial_begin(c, l);
    } else {
      char text[MG_DNS_TEXT + 80];
      lookup_text(l, text, sizeof(text));
      mg__conn_error(c, "%s", text);
    }
    mg__free(l);
  }
  if (c->is_closing) return;
  if (d->is_dialing && c->fd >= 0 && dial_may_go_on(c)) {
    if (datagrams_send(c)) d->is_dialing = false;
    if (!d->is_dialing && c->is_draining) mg__conn_dirty(c);
  }
  if (!mg__link_empty(&d->done) || (d->is_dialing && c->fd >= 0))
    mg__conn_todo(c);
  else
    dial_settle(c);
}

bool mg__dial_new(struct mg_connection *c, struct mg_str host, uint16_t port) {
  struct mg_lookup *l = lookup_new(c, host, port);
  if (l == NULL) return false;
  l->for_connect = true;
  c->dial->is_dialing = true;
  c->is_connecting = true;
  return true;
}

void mg__dial_start(struct mg_connection *c) {
  struct mg_link *first = c->dial->lookups.next;
  if (!mg__dns_start(c->mgr, MG_CONTAINER(first, struct mg_lookup, link)))
    mg__conn_error(c, "out of memory");
}

/* ---- looking names up ------------------------------------------------------------------------ */

/* Whoever is busy with it looks at it again. */
static void dial_settle_unless_busy(struct mg_connection *c) {
  if (c->busy == 0 && c->dial != NULL) dial_settle(c);
}

static int resolve_refused(struct mgx_error *err, struct mg_str host, const char *why) {
  err->sys = 0;
  snprintf(err->text, sizeof(err->text), "'%.*s' %s", (int) (host.len < 128 ? host.len : 128),
           host.buf, why);
  return MGX_EADDR;
}

static int resolve_locked(struct mg_connection *c, struct mg_str host, uint16_t port) {
  struct mg_sockaddr addr;
  struct mg_lookup *l = lookup_new(c, host, port);
  if (l == NULL) return MGX_ENOMEM; /* an empty c->dial may stay until it closes */
  if (!mg__host_literal(host, &addr)) {
    if (mg__dns_start(c->mgr, l)) return MGX_OK;
    lookup_free(l);
    dial_settle_unless_busy(c);
    return MGX_ENOMEM;
  }
  mg__ip_from(&addr, &l->addrs[0]);
  l->count = 1;
  l->status = MG_DNS_OK;
  mg__link_del(&l->link);
  mg__link_add_tail(l->done, &l->link);
  if (!mg__may_emit(c->mgr) || c->mgr->leave) {
    mg__conn_todo(c);
    return MGX_OK;
  }
  mg__link_del(&l->link);
  c->busy++;
  dial_deliver(c, l);
  c->busy--;
  mg__free(l);
  dial_settle_unless_busy(c);
  return MGX_OK;
}

int mgx_resolve(struct mg_mgr *mgr, uint64_t conn, const char *url, size_t len,
                struct mgx_error *err) {
  struct mg_sockaddr addr;
  struct mg_connection *c;
  struct mgx_url u;
  int result;
  for (size_t i = 0; i < len; i++)
    if ((unsigned char) url[i] <= ' ' || url[i] == 0x7f)
      return resolve_refused(err, (struct mg_str){"", 0}, "a blank or control byte");
  mgx_url_parse(url, len, &u);
  if (u.host.len == 0) return resolve_refused(err, u.host, "no host");
  if (u.port < 0) return resolve_refused(err, u.host, "the port must be 0..65535");
  if (!mg__host_literal(u.host, &addr) && !mg__host_is_name(u.host))
    return resolve_refused(err, u.host, "is neither an address nor a host name");
  mg__lock(mgr);
  c = mg__conn_find(mgr, conn);
  if (c == NULL || c->is_closing)
    result = MGX_ECLOSED;
  else
    result = resolve_locked(c, u.host, (uint16_t) u.port);
  mg__unlock(mgr);
  return result;
}

int mgx_resolve_cancel(struct mg_mgr *mgr, uint64_t conn) {
  struct mg_connection *c;
  mg__lock(mgr);
  c = mg__conn_find(mgr, conn);
  if (c != NULL && c->dial != NULL) {
    lookups_free(&c->dial->lookups, false);
    lookups_free(&c->dial->done, false);
    dial_settle_unless_busy(c);
  }
  mg__unlock(mgr);
  return c == NULL ? MGX_ECLOSED : MGX_OK;
}
