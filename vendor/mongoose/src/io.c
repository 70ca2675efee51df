/* io.c: what happens to a connection when its socket is ready.
 *
 * Moves bytes between sockets and buffers within the budgets of internal.h
 * and hands them to the protocol or, on raw connections, to the handler. */
#include "internal.h"

/* ---- input: from recv to whoever takes it ------------------------------------- */

static void input_raw(struct mg_connection *c) {
  size_t len = c->recv.len;
  uint64_t limit = mg__conn_recv_limit(c);
  if (len <= c->kept || c->is_paused || c->is_listening || !mg__wants(c, MG_EV_READ)) return;
  if (c->mgr->leave) return; /* comes in the next turn */
  c->event_len = len;
  c->keep = 0;
  c->in_read = true;
  mg__emit_data(c, MG_EV_READ, c->recv.buf, len);
  c->in_read = false;
  mg__iobuf_del(&c->recv, len - c->keep);
  c->kept = c->keep;
  if (c->kept >= limit && !c->is_closing)
    mg__conn_error(c, "recv_buffer limit: the handler kept all of %llu bytes",
                   (unsigned long long) limit);
}

/* The protocol has taken bytes: their MG_EV_READ comes behind its own events. */
static void input_told(struct mg_connection *c) {
  c->input_grown = false;
  if (c->proto != NULL && !c->quiet_read && !c->is_closing && mg__wants(c, MG_EV_READ) &&
      !mg__wants(c, MGX_READ_WITH_DATA_SHIFT))
    mg__post(c, MG_EV_READ);
}

void mg__io_input(struct mg_connection *c, bool grown) {
  if (c->is_draining) { /* nothing more is delivered, but a peer that goes on sending is bounded */
    c->linger_left -= c->recv.len < c->linger_left ? c->recv.len : c->linger_left;
    mg__iobuf_del(&c->recv, c->recv.len);
    c->kept = 0;
    if (c->input_grown) input_told(c); /* an answer that was posted has ended it */
    if (c->linger_left == 0) mg__conn_close(c);
  } else if (c->proto != NULL) {
    grown = grown || c->input_grown;
    c->quiet_read = c->input_grown = false;
    c->proto->on_data(c);
    if (c->is_posted) { /* goes on in mg__io_resume() */
      c->input_grown = grown;
      return;
    }
    if (grown) input_told(c);
    if (c->proto == NULL && !c->is_closing) input_raw(c); /* a tunnel began */
  } else if (!c->is_udp) {
    input_raw(c);
  }
  if (c->mgr->leave && c->recv.len > c->kept) mg__conn_todo(c);
  mg__iobuf_settle(&c->mgr->pool, &c->recv);
  mg__conn_watch(c);
}

static void input_end(struct mg_connection *c) {
  c->is_eof = true;
  if (c->is_closing) return;
  if (c->is_draining || c->proto == NULL)
    mg__conn_drain(c); /* what is queued still goes out */
  else
    c->proto->on_eof(c);
  if (c->is_draining) mg__conn_dirty(c);
  mg__conn_watch(c);
}

/* ---- streams -------------------------------------------------------------------- */

void mg__io_failed(struct mg_connection *c, int err) {
  char addr[160];
  mg__conn_error(c, "socket error: %s (%s)", strerror(-err),
                 mg__addr_print(&c->rem, addr, sizeof(addr)));
}

static ssize_t read_some(struct mg_connection *c, char *buf, size_t len) {
  return c->tls == NULL ? c->mgr->os->recv(c->fd, buf, len) : mg__tls_recv(c, buf, len);
}

/* Read what is there, within the budget. 1: more may follow, 0: the end, or
 * -errno. A short read means the socket is empty, which saves asking again. */
static int read_stream(struct mg_connection *c, bool *grown) {
  size_t budget = MG_READ_BUDGET;
  while (budget > 0) {
    uint64_t limit = c->is_draining ? UINT64_MAX : mg__conn_recv_limit(c);
    size_t want = c->expect > MG_IO_SIZE ? c->expect : MG_IO_SIZE;
    ssize_t n;
    if (c->recv.len >= limit) return 1;
    if (c->recv.size - c->recv.len < want / 4 &&
        !mg__iobuf_reserve(&c->mgr->pool, &c->recv, want))
      return -ENOMEM;
    want = c->recv.size - c->recv.len;
    if (want > budget) want = budget;
    if (want > limit - c->recv.len) want = (size_t) (limit - c->recv.len);
    n = read_some(c, c->recv.buf + c->recv.len, want);
    if (n == -EAGAIN) return 1;
    if (n <= 0) return (int) n;
    c->recv.len += (size_t) n;
    *grown = true;
    budget -= (size_t) n;
    if ((size_t) n < want && c->tls == NULL) return 1; /* there, it is the end of a record */
  }
  return 1;
}

/* Behind the last bytes: the end or an error, if read_stream() met one. */
static void input_done(struct mg_connection *c, int result) {
  c->input_result = 1;
  if (result > 0 || c->is_closing) return;
  mg__run_events(c->mgr); /* it may be owed an MG_EV_READ */
  if (c->is_closing) return;
  if (c->mgr->leave) { /* before that comes what was not delivered */
    c->input_result = result;
    mg__conn_todo(c);
    return;
  }
  if (c->tls != NULL && mg__tls_recv_failed(c, result)) return;
  input_end(c);
  if (result == 0 || c->is_closing) return;
  if (result != -ECONNRESET && result != -EPIPE) mg__io_failed(c, result);
  mg__conn_close(c); /* a reset is an end of stream, not an error */
}

static void input_stream(struct mg_connection *c) {
  bool grown = false;
  int result;
  if (c->tls != NULL) mg__tls_pump(c);
  result = read_stream(c, &grown);
  if (c->tls != NULL) mg__tls_answer(c);
  mg__iobuf_trim(&c->mgr->pool, &c->recv);
  if (result < 0) c->is_reset = true;
  if (grown) c->has_read = true;
  if (grown)
    mg__io_input(c, true);
  else
    mg__iobuf_settle(&c->mgr->pool, &c->recv);
  c->input_result = result;
  if (!c->is_posted) input_done(c, result);
}

static void ready_stream(struct mg_connection *c, unsigned what) {
  if (c->interest & MG_POLL_IN)
    input_stream(c);
  else if (what & MG_POLL_ERR)
    mg__conn_close(c); /* nobody reads, and nothing can be written */
}

void mg__io_more(struct mg_connection *c) {
  if (!c->is_eof && (c->is_draining || !c->is_paused)) input_stream(c);
}

void mg__io_resume(struct mg_connection *c) {
  c->is_posted = false;
  if (!c->is_closing) mg__io_input(c, false);
  if (!c->is_posted) input_done(c, c->input_result);
}

static void ready_lingering(struct mg_connection *c) {
  char waste[MG_IO_SIZE];
  for (int i = 0; i < 16; i++) {
    ssize_t n = c->mgr->os->recv(c->fd, waste, sizeof(waste));
    if (n == -EAGAIN) return;
    if (n <= 0 || (uint64_t) n >= c->linger_left) {
      mg__conn_dirty(c);
      return;
    }
    c->linger_left -= (uint64_t) n;
  }
}

void mg__io_connected(struct mg_connection *c) {
  c->is_connecting = false;
  mg__conn_set_deadline(c, 0);
  if (mg__emit(c, MG_EV_CONNECT) && mg__conn_unsent(c) > 0) mg__conn_dirty(c);
  if (c->proto != NULL && c->proto->on_connect != NULL && !c->is_closing) c->proto->on_connect(c);
  if (c->is_tls) mg__tls_begin(c);
  if (c->is_draining) mg__conn_dirty(c);
  mg__conn_watch(c);
}

static void ready_connecting(struct mg_connection *c) {
  int err = c->mgr->os->connect_result(c->fd);
  if (err == -EINPROGRESS) return;
  if (err < 0) {
    mg__io_failed(c, err);
    return;
  }
  mg__io_connected(c);
}

/* ---- accepting -------------------------------------------------------------------- */

static void accepted(struct mg_connection *listener, int fd, const struct mg_sockaddr *peer) {
  struct mg_mgr *mgr = listener->mgr;
  uint64_t limit = mgr->limits.connections;
  struct mg_connection *c = limit == 0 || mgr->num_conns < limit ? mg__conn_new(mgr) : NULL;
  if (c == NULL) {
    mg__log(mgr, MG_LL_ERROR, "connection refused: %llu are open already",
            (unsigned long long) mgr->num_conns);
    mgr->os->close(fd);
    return;
  }
  c->fd = fd;
  c->rem = *peer;
  c->is_accepted = true;
  c->is_unix = listener->is_unix;
  c->is_tls = listener->is_tls;
  c->is_tls_url = listener->is_tls_url;
  mg__conn_set_handler(c, listener->handler);
  if ((c->is_tls && mg__tls_inherit(c, listener) != MGX_OK) ||
      (listener->accept_http && !mg__http_attach(c)) ||
      (listener->accept_mqtt && !mg__mqtt_attach(c))) {
    mg__conn_free(c);
    return;
  }
  if (mg__conn_register(c) < 0) {
    mg__conn_free(c);
    return;
  }
  c->busy++;
  mg__emit(c, MG_EV_OPEN);
  if (!c->is_closing) mg__emit(c, MG_EV_ACCEPT);
  if (c->is_tls)
    mg__tls_begin(c);
  else if (c->proto != NULL && !c->is_closing && c->recv.len == 0) c->proto->on_data(c); /* starts its clock */
  c->busy--;
}

static void ready_listener(struct mg_connection *c) {
  for (int i = 0; i < MG_ACCEPT_BUDGET && !c->is_closing && !c->mgr->leave && !c->is_paused; i++) {
    struct mg_sockaddr peer;
    int fd;
    peer.len = sizeof(peer.u);
    fd = c->mgr->os->accept(c->fd, &peer.u.sa, &peer.len);
    if (fd == -EAGAIN) return;
    if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM) {
      /* The backlog stays readable, so asking again at once would spin. */
      mg__log(c->mgr, MG_LL_ERROR, "accept: %s, next try in %d ms", strerror(-fd),
              MG_ACCEPT_PAUSE_MS);
      c->is_resting = true;
      mg__conn_set_deadline(c, c->mgr->now + MG_ACCEPT_PAUSE_MS);
      mg__conn_watch(c);
      return;
    }
    if (fd < 0) continue; /* that one peer gave up */
    accepted(c, fd, &peer);
  }
}

/* ---- datagrams ---------------------------------------------------------------------- */

enum { MG_DATAGRAM_SIZE = 65536 };

static void ready_udp(struct mg_connection *c) {
  for (int i = 0; i < MG_DATAGRAM_BUDGET && !c->is_closing && !c->mgr->leave && !c->is_paused; i++) {
    struct mg_sockaddr peer;
    ssize_t n;
    if (c->recv.len > 0) break; /* one that nobody took: the others wait in the kernel */
    if (!mg__iobuf_reserve(&c->mgr->pool, &c->recv, MG_DATAGRAM_SIZE)) break;
    peer.len = sizeof(peer.u);
    n = c->mgr->os->recvfrom(c->fd, c->recv.buf, MG_DATAGRAM_SIZE, &peer.u.sa, &peer.len);
    if (n == -EAGAIN) break;
    if (n < 0) { /* an ICMP answer to an earlier datagram: UDP promises nothing, so go on */
      mg__log(c->mgr, MG_LL_INFO, "connection %llu: datagram: %s", (unsigned long long) c->id,
              strerror((int) -n));
      continue;
    }
    if (c->is_listening) c->rem = peer;
    c->recv.len = (size_t) n;
    if (c->proto != NULL) {
      c->proto->on_data(c);
      continue;
    }
    if (!mg__wants(c, MG_EV_READ)) continue;
    c->event_len = (size_t) n;
    c->in_read = true;
    mg__emit_data(c, MG_EV_READ, c->recv.buf, (size_t) n);
    c->in_read = false;
    mg__iobuf_del(&c->recv, c->recv.len);
  }
  mg__iobuf_settle(&c->mgr->pool, &c->recv);
  mg__conn_watch(c);
}

int mg__io_send_datagram(struct mg_connection *c, const char *data, size_t len,
                         struct mgx_error *err) {
  const struct mg_os *os = c->mgr->os;
  ssize_t n = -EDESTADDRREQ;
  for (int i = 0; i < 2; i++) {
    if (!c->is_listening)
      n = os->send(c->fd, data, len, false);
    else if (c->rem.len > 0)
      n = os->sendto(c->fd, data, len, &c->rem.u.sa, c->rem.len);
    if (n != -ECONNREFUSED) break; /* that is the answer to an earlier datagram; asking clears it */
  }
  if (n >= 0) {
    mg__emit(c, MG_EV_WRITE);
    return MGX_OK;
  }
  if (err != NULL) {
    char addr[160];
    err->sys = (int) -n;
    snprintf(err->text, sizeof(err->text), "cannot send %zu bytes to %s", len,
             mg__addr_print(&c->rem, addr, sizeof(addr)));
  }
  return MGX_ESYSTEM;
}

/* ---- readiness ------------------------------------------------------------------------- */

void mg__io_ready(struct mg_connection *c, unsigned what) {
  if (c->is_lingering) { /* marked as closing, but still on its way out */
    ready_lingering(c);
    return;
  }
  if (c->is_closing) return;
  c->is_readable = (what & MG_POLL_IN) != 0;
  c->is_writable = (what & MG_POLL_OUT) != 0;
  if (c->is_connecting)
    ready_connecting(c); /* what follows is for plain streams, and TLS behind its handshake */
  else if (c->is_udp)
    ready_udp(c);
  else if (c->is_listening)
    ready_listener(c);
  else if (!c->is_tls || mg__tls_ready(c, what)) {
    if (what & (MG_POLL_IN | MG_POLL_ERR)) ready_stream(c, what);
    if ((what & MG_POLL_OUT) && mg__conn_unsent(c) > 0) mg__conn_dirty(c);
  }
}

/* ---- output ------------------------------------------------------------------------------ */

static ssize_t flush_some(struct mg_connection *c, size_t budget) {
  const struct mg_os *os = c->mgr->os;
  size_t len;
  ssize_t n;
  if (c->tls != NULL) return mg__tls_flush(c, budget);
  if (c->send.len > 0) {
    len = c->send.len < budget ? c->send.len : budget;
    n = os->send(c->fd, c->send.buf, len, c->file >= 0 && c->file_left > 0);
    if (n > 0) mg__iobuf_del(&c->send, (size_t) n);
    return n;
  }
  len = c->file_left < budget ? (size_t) c->file_left : budget;
  n = os->sendfile(c->fd, c->file, c->file_ofs, len);
  if (n == 0) return -ENODATA; /* the file became shorter than its Content-Length */
  if (n > 0) {
    c->file_ofs += (uint64_t) n;
    c->file_left -= (uint64_t) n;
  }
  return n;
}

static void flush_failed(struct mg_connection *c, ssize_t err) {
  if (err == -ENODATA)
    mg__conn_error(c, "the file being sent became shorter");
  else if (c->tls != NULL && mg__tls_recv_failed(c, (int) err))
    return;
  else if (err != -EPIPE && err != -ECONNRESET)
    mg__io_failed(c, (int) err);
  mg__conn_close(c);
}

/* Everything has left. */
static void flush_done(struct mg_connection *c) {
  if (c->file >= 0) {
    close(c->file);
    c->file = -1;
  }
  c->stall_at = 0;
  if (c->proto != NULL && c->proto->on_sent != NULL) c->proto->on_sent(c);
  if (c->tls != NULL && c->is_draining && mg__conn_unsent(c) == 0) mg__tls_goodbye(c);
  if (c->is_draining && mg__conn_unsent(c) == 0) mg__conn_close(c);
}

void mg__io_flush(struct mg_connection *c) {
  size_t budget = MG_WRITE_BUDGET;
  bool sent = c->has_sent;
  ssize_t n = 1;
  c->has_sent = false;
  if (c->is_connecting || c->fd < 0 || c->is_udp || c->is_listening) {
    if (c->is_draining && !c->is_connecting) mg__conn_close(c);
    mg__iobuf_settle(&c->mgr->pool, &c->send);
    return;
  }
  if (c->is_tls && mg__tls_holds(c)) { /* goes on when the handshake is done */
    mg__tls_flush_plain(c);
    if (c->is_draining && c->send.len == 0 && c->file < 0) mg__conn_close(c);
    mg__iobuf_settle(&c->mgr->pool, &c->send);
    mg__conn_watch(c);
    return;
  }
  while (mg__conn_unsent(c) > 0 && budget > 0) {
    n = flush_some(c, budget);
    if (n <= 0) break;
    budget -= (size_t) n;
    sent = true;
  }
  if (n < 0 && n != -EAGAIN) {
    flush_failed(c, n);
    return;
  }
  c->is_blocked = n == -EAGAIN;
  if (sent) c->stall_at = 0; /* it took some: the clock starts again */
  if (sent && mg__wants(c, MG_EV_WRITE))
    mg__post(c, MG_EV_WRITE);
  else
    mg__io_flushed(c);
}

void mg__io_flushed(struct mg_connection *c) {
  mg__iobuf_settle(&c->mgr->pool, &c->send);
  if (mg__conn_unsent(c) == 0)
    flush_done(c);
  else if (!c->is_blocked)
    mg__conn_dirty(c); /* the budget is used up: go on next turn */
  else if (c->stall_at == 0)
    mg__conn_stalled(c);
  mg__conn_watch(c);
}

/* ---- time-outs ----------------------------------------------------------------------------- */

static void timeout_fire(struct mg_connection *c) {
  const struct mgx_limits *limits = &c->mgr->limits;
  if (c->is_lingering) {
    mg__conn_dirty(c);
  } else if (c->is_resting) {
    c->is_resting = false;
    mg__conn_set_deadline(c, 0);
    mg__conn_watch(c);
  } else if (c->is_connecting) {
    char addr[160];
    mg__conn_error(c, "socket error: %s (%s, connect_timeout %llu ms)", strerror(ETIMEDOUT),
                   mg__addr_print(&c->rem, addr, sizeof(addr)),
                   (unsigned long long) limits->connect_timeout_ms);
  } else if (c->is_tls && c->stall_at != 0 && c->stall_at <= c->mgr->now && mg__tls_holds(c)) {
    mg__conn_error(c, "tls_handshake_timeout: the TLS handshake took longer than %llu ms",
                   (unsigned long long) limits->tls_handshake_timeout_ms);
  } else if (c->stall_at != 0 && c->stall_at <= c->mgr->now) {
    mg__conn_error(c, "body_timeout: the peer took no bytes for %llu ms",
                   (unsigned long long) limits->body_timeout_ms);
  } else if (c->proto != NULL) {
    mg__conn_set_deadline(c, 0);
    c->proto->on_timeout(c);
  } else {
    c->deadline = 0;
  }
}

void mg__io_timeout(struct mg_connection *c) {
  uint64_t due = mg__conn_due(c);
  mg__heap_del(&c->mgr->deadlines, &c->timer);
  if (due == 0) return;
  if (due > c->mgr->now) {
    mg__heap_set(&c->mgr->deadlines, &c->timer, due);
    return;
  }
  timeout_fire(c);
}
