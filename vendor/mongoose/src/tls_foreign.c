/* tls_foreign.c: a connection whose TLS the binding does.
 *
 * It is given ciphertext as it arrives and gives back plaintext, step by step
 * (struct mgx_tls_step). The lock is let go meanwhile, so a step works on copies: other
 * threads may move the queues. */
#include "tls.h"

enum { FOREIGN_AHEAD = 64 * 1024 }; /* plaintext that waits for recv() before pump() stops */

static bool foreign_begin(struct mg_connection *c) {
  if (c->mgr->cb->on_tls_step != NULL) return true;
  mg__tls_error(c->tls, "nobody does TLS for this context");
  return false;
}

/* Fill in what is the same in every step, take it, and note what it says. */
static void take_step(struct mg_connection *c, struct mgx_tls_step *step) {
  struct mg_tls *t = c->tls;
  step->tls = t->ctx->number;
  step->is_server = !c->is_client;
  step->name = (struct mg_str){t->name, t->name == NULL ? 0 : strlen(t->name)};
  t->is_stepping = true;
  mg__emit_tls_step(c, step);
  t->is_stepping = false;
  if (step->out_len > step->out_cap) step->out_len = 0;
  if (step->is_end) t->is_ended = true;
  if (step->failed) {
    step->error[sizeof(step->error) - 1] = '\0';
    mg__tls_error(t, "%s", step->error);
    t->is_refused = true;
  }
}

/* Read ciphertext for a step; false: there is none now, or an error ended the stream. */
static bool read_input(struct mg_connection *c, char *block, size_t size,
                       struct mgx_tls_step *step) {
  struct mg_tls *t = c->tls;
  ssize_t n;
  if (t->socket_result <= 0 || t->is_drained || t->budget == 0) return false;
  n = c->mgr->os->recv(c->fd, block, size);
  if (n == -EAGAIN) {
    t->is_drained = true;
    return false;
  }
  if (n <= 0) t->socket_result = (int) n;
  if (n < 0) return false;
  if ((size_t) n < size) t->is_drained = true;
  t->budget -= (size_t) n < t->budget ? (size_t) n : t->budget;
  step->input = (struct mg_str){block, (size_t) n};
  step->input_end = n == 0;
  return true;
}

static int foreign_handshake(struct mg_connection *c) {
  struct mg_tls *t = c->tls;
  char block[MG_IO_SIZE];
  bool is_first = c->is_client && !t->was_asked;
  t->was_asked = true;
  for (;;) {
    struct mgx_tls_step step = {.is_ready = false};
    if (!is_first && !read_input(c, block, sizeof(block), &step)) {
      if (t->socket_result < 0) mg__tls_error(t, "%s", strerror(-t->socket_result));
      t->has_more = t->budget == 0;
      return t->socket_result < 0 ? -1 : 0;
    }
    is_first = false;
    take_step(c, &step);
    if (c->is_closing) return 0;
    if (t->is_refused) return -1;
    if (step.is_ready) {
      t->has_more = true; /* there may be data behind the handshake */
      return 1;
    }
    if (step.input_end) {
      mg__tls_error(t, "the peer has ended the connection");
      return -1;
    }
  }
}

static void foreign_pump(struct mg_connection *c) {
  struct mg_tls *t = c->tls;
  char block[MG_IO_SIZE], plain[MG_IO_SIZE];
  bool has_more = t->has_more;
  while (!c->is_closing && !t->is_refused && !t->is_ended && t->plain.len < FOREIGN_AHEAD) {
    struct mgx_tls_step step = {.out = plain, .out_cap = sizeof(plain)};
    if (!has_more && !read_input(c, block, sizeof(block), &step)) break;
    take_step(c, &step);
    has_more = step.has_more;
    if (!mg__iobuf_add(&c->mgr->pool, &t->plain, plain, step.out_len)) {
      mg__tls_error(t, "out of memory");
      t->is_refused = true;
    }
  }
  t->has_more = has_more || t->budget == 0;
}

static ssize_t foreign_recv(struct mg_connection *c, char *buf, size_t len) {
  struct mg_tls *t = c->tls;
  if (t->plain.len > 0) {
    size_t n = t->plain.len < len ? t->plain.len : len;
    memcpy(buf, t->plain.buf, n);
    mg__iobuf_del(&t->plain, n);
    mg__iobuf_settle(&c->mgr->pool, &t->plain);
    if (t->plain.len > 0) t->has_more = true;
    return (ssize_t) n;
  }
  if (t->is_refused) return -EPROTO;
  if (t->is_ended) return 0;
  if (t->socket_result < 0 && t->socket_result != -ECONNRESET) return t->socket_result;
  if (t->socket_result > 0 || t->has_more) return -EAGAIN;
  t->is_cut = true;
  return -ECONNRESET;
}

static ssize_t foreign_send(struct mg_connection *c, const char *data, size_t len) {
  char block[MG_TLS_RECORD];
  struct mgx_tls_step step = {.is_ready = false};
  if (len > sizeof(block)) len = sizeof(block);
  memcpy(block, data, len);
  step.plain = (struct mg_str){block, len};
  take_step(c, &step);
  if (c->tls->is_refused) return -EPROTO;
  if (step.plain_taken > 0 && step.plain_taken <= len) return (ssize_t) step.plain_taken;
  mg__tls_error(c->tls, "nothing was taken of what is to be sent");
  c->tls->is_refused = true;
  return -EPROTO;
}

static void foreign_shutdown(struct mg_connection *c) {
  struct mgx_tls_step step = {.shutdown = true};
  take_step(c, &step);
}

static void foreign_free(struct mg_connection *c) { (void) c; /* the binding sees its end */ }

const struct mg_tls_engine mg__tls_foreign = {
    .begin = foreign_begin,
    .handshake = foreign_handshake,
    .pump = foreign_pump,
    .recv = foreign_recv,
    .send = foreign_send,
    .shutdown = foreign_shutdown,
    .free = foreign_free,
};
