/* tls_engine.c: a connection's TLS by OpenSSL.
 *
 * The library reads the connection's socket through a BIO of ours, straight into its
 * own buffer, and writes ciphertext to t->out, which tls.c brings to the socket.
 * Everything runs under the manager's lock and nothing here calls up: a server's
 * question for a name ends the library's work, and begins it again with the answer. */
#include "tls.h"

/* Errors of anybody on this thread wait in one queue, and would be taken for ours. To look
 * costs less than to clear. */
static void forget_errors(const struct mg_openssl *ssl) {
  if (ssl->ERR_peek_error() != 0) ssl->ERR_clear_error();
}

/* ---- the BIO ----------------------------------------------------------------------- */

static void retry(BIO *bio, int what) {
  mg__openssl()->BIO_set_flags(bio, what | MG_OSSL_BIO_FLAGS_SHOULD_RETRY);
}

static void clear_retry(BIO *bio) {
  mg__openssl()->BIO_clear_flags(bio, MG_OSSL_BIO_FLAGS_READ | MG_OSSL_BIO_FLAGS_WRITE |
                                          MG_OSSL_BIO_FLAGS_SHOULD_RETRY);
}

/* A short read means the socket is empty, which saves asking again. */
static int bio_read(BIO *bio, char *buf, int size) {
  struct mg_connection *c = mg__openssl()->BIO_get_data(bio);
  struct mg_tls *t = c->tls;
  size_t want = size < 0 ? 0 : (size_t) size;
  ssize_t n;
  clear_retry(bio);
  if (t->socket_result <= 0) return t->socket_result == 0 ? 0 : -1;
  if (t->is_drained || t->budget == 0) {
    retry(bio, MG_OSSL_BIO_FLAGS_READ);
    return -1;
  }
  n = c->mgr->os->recv(c->fd, buf, want);
  if (n == -EAGAIN) {
    t->is_drained = true;
    retry(bio, MG_OSSL_BIO_FLAGS_READ);
    return -1;
  }
  if (n <= 0) {
    t->socket_result = (int) n;
    return n == 0 ? 0 : -1;
  }
  if ((size_t) n < want) t->is_drained = true;
  t->budget -= (size_t) n < t->budget ? (size_t) n : t->budget;
  return (int) n;
}

static int bio_write(BIO *bio, const char *data, int size) {
  struct mg_connection *c = mg__openssl()->BIO_get_data(bio);
  clear_retry(bio);
  if (c->tls->out.len >= MG_TLS_OUT_MAX) { /* what it writes by itself, to a peer that doesn't read */
    retry(bio, MG_OSSL_BIO_FLAGS_WRITE);
    return -1;
  }
  return size > 0 && mg__tls_put(c, data, (size_t) size) ? size : -1;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr) {
  (void) bio, (void) num, (void) ptr;
  return cmd == MG_OSSL_BIO_CTRL_FLUSH;
}

bool mg__tls_make_method(struct mg_openssl *ssl) {
  ssl->method = ssl->BIO_meth_new(MG_OSSL_BIO_TYPE, "connection");
  return ssl->method != NULL && ssl->BIO_meth_set_read(ssl->method, bio_read) == 1 &&
         ssl->BIO_meth_set_write(ssl->method, bio_write) == 1 &&
         ssl->BIO_meth_set_ctrl(ssl->method, bio_ctrl) == 1;
}

/* ---- sessions of clients -------------------------------------------------------------- */

static void session_key(const struct mg_connection *c, char *key, size_t size) {
  const struct sockaddr *sa = &c->rem.u.sa;
  unsigned port = sa->sa_family == AF_INET    ? ntohs(c->rem.u.in.sin_port)
                  : sa->sa_family == AF_INET6 ? ntohs(c->rem.u.in6.sin6_port)
                                              : 0;
  snprintf(key, size, "%s:%u", c->tls->name == NULL ? "" : c->tls->name, port);
}

int mg__tls_new_session(SSL *ssl, SSL_SESSION *session) {
  struct mg_connection *c = mg__openssl()->SSL_get_ex_data(ssl, 0);
  char key[MG_TLS_NAME + 16];
  if (c == NULL || !c->is_client) return 0;
  session_key(c, key, sizeof(key));
  return mg__tls_session_put(c->tls->ctx, key, session); /* 1: ours from now on */
}

/* A ticket of TLS 1.3 serves once (RFC 8446 section C.4), a session of 1.2 again and again. */
static void resume(struct mg_connection *c) {
  const struct mg_openssl *ssl = mg__openssl();
  struct mg_tls *t = c->tls;
  char key[MG_TLS_NAME + 16];
  SSL_SESSION *session;
  session_key(c, key, sizeof(key));
  session = mg__tls_session_take(t->ctx, key);
  if (session == NULL) return;
  ssl->SSL_set_session(t->ssl, session);
  if (ssl->SSL_SESSION_get_protocol_version(session) >= MG_OSSL_TLS1_3_VERSION ||
      !mg__tls_session_put(t->ctx, key, session))
    ssl->SSL_SESSION_free(session);
}

/* ---- beginning ------------------------------------------------------------------------------- */

static bool become_client(struct mg_connection *c) {
  const struct mg_openssl *ssl = mg__openssl();
  struct mg_tls *t = c->tls;
  X509_VERIFY_PARAM *param = ssl->SSL_get0_param(t->ssl);
  struct mg_sockaddr ignored;
  bool is_address = t->name != NULL && mg_aton((struct mg_str){t->name, strlen(t->name)}, &ignored) &&
                    !mg__streq_nocase((struct mg_str){t->name, strlen(t->name)}, "localhost");
  bool verify = !t->ctx->skip_verification;
  ssl->SSL_set_connect_state(t->ssl);
  ssl->SSL_set_verify(t->ssl, verify ? MG_OSSL_VERIFY_PEER : MG_OSSL_VERIFY_NONE, NULL);
  if (verify) {
    int done;
    if (t->name == NULL) {
      mg__tls_error(t, "there is no server name to verify: give one");
      return false;
    }
    mg__tls_ctx_anchors(t->ctx);
    ssl->X509_VERIFY_PARAM_set_hostflags(param, MG_OSSL_CHECK_NO_PARTIAL_WILDCARDS);
    done = is_address ? ssl->X509_VERIFY_PARAM_set1_ip_asc(param, t->name)
                      : ssl->X509_VERIFY_PARAM_set1_host(param, t->name, 0);
    if (done != 1) {
      mg__tls_error(t, "'%s' can't be verified", t->name);
      return false;
    }
  }
  if (t->name != NULL && !is_address) /* RFC 6066 section 3: addresses are no server names */
    ssl->SSL_ctrl(t->ssl, MG_OSSL_CTRL_SET_TLSEXT_HOSTNAME, MG_OSSL_NAMETYPE_HOST_NAME, t->name);
  resume(c);
  return true;
}

static void set_client_auth(struct mg_tls *t, struct mg_tls_ctx *ctx) {
  int mode = ctx->client_auth == MGX_TLS_AUTH_NONE ? MG_OSSL_VERIFY_NONE : MG_OSSL_VERIFY_PEER;
  if (ctx->client_auth == MGX_TLS_AUTH_REQUIRED) mode |= MG_OSSL_VERIFY_FAIL_IF_NO_PEER_CERT;
  mg__openssl()->SSL_set_verify(t->ssl, mode, NULL);
  if (mode != MG_OSSL_VERIFY_NONE) mg__tls_ctx_anchors(ctx);
}

/* What a session stands for was checked by the context that made it. One that wants
 * certificates of its clients believes no other, nor gives out what others would believe. */
static bool switch_context(struct mg_tls *t, struct mg_tls_ctx *ctx) {
  const struct mg_openssl *ssl = mg__openssl();
  if (ctx == t->ctx) return true;
  if (ctx->unusable != NULL || !ctx->has_cert) {
    mg__tls_error(t, "%s", ctx->unusable != NULL ? ctx->unusable : "no certificate for that name");
    return false;
  }
  if (ctx->client_auth != MGX_TLS_AUTH_NONE || t->ctx->client_auth != MGX_TLS_AUTH_NONE) {
    if (ssl->SSL_session_reused(t->ssl)) {
      mg__tls_error(t, "the session that was to be resumed is of another server name");
      return false;
    }
    if (ssl->set_options_3 != NULL)
      ssl->set_options_3(t->ssl, MG_OSSL_OP_NO_TICKET);
    else
      ssl->set_options_1(t->ssl, MG_OSSL_OP_NO_TICKET);
    if (ssl->SSL_set_num_tickets != NULL) ssl->SSL_set_num_tickets(t->ssl, 0);
  }
  if (ssl->SSL_set_SSL_CTX(t->ssl, ctx->ssl) == NULL) {
    mg__tls_error(t, "out of memory");
    return false;
  }
  set_client_auth(t, ctx);
  mg__tls_ctx_ref(ctx);
  mg__tls_ctx_unref(t->ctx);
  t->ctx = ctx;
  return true;
}

/* A client has said whom it wants. 1: go on, 0: refuse, -1: ask the binding first. */
static int choose_context(SSL *ssl, void *arg) {
  struct mg_connection *c = mg__openssl()->SSL_get_ex_data(ssl, 0);
  struct mg_tls *t = c->tls;
  const char *name = mg__openssl()->SSL_get_servername(ssl, MG_OSSL_NAMETYPE_HOST_NAME);
  struct mg_tls_ctx *ctx;
  (void) arg;
  if (t->is_refused) return 0;
  if (t->was_asked || name == NULL) return 1;
  ctx = mg__tls_ctx_for(t->ctx, name);
  if (ctx == NULL && t->ctx->ask_name && c->mgr->cb->on_tls_name != NULL) return -1;
  t->was_asked = true;
  if (ctx == NULL || switch_context(t, ctx)) return 1;
  t->is_refused = true;
  return 0;
}

static bool engine_begin(struct mg_connection *c) {
  const struct mg_openssl *ssl = mg__openssl();
  struct mg_tls *t = c->tls;
  BIO *bio;
  forget_errors(ssl);
  t->ssl = ssl->SSL_new(t->ctx->ssl);
  bio = t->ssl == NULL ? NULL : ssl->BIO_new(ssl->method);
  if (bio == NULL || ssl->SSL_set_ex_data(t->ssl, 0, c) != 1) {
    if (bio != NULL) ssl->BIO_free(bio);
    mg__tls_error(t, "out of memory");
    return false;
  }
  ssl->BIO_set_data(bio, c);
  ssl->BIO_set_init(bio, 1);
  ssl->SSL_set_bio(t->ssl, bio, bio);
  if (c->is_client) return become_client(c);
  mg__tls_ctx_renew_keys(t->ctx, c->mgr->now);
  ssl->SSL_set_accept_state(t->ssl);
  set_client_auth(t, t->ctx);
  if (t->ctx->num_names > 0 || t->ctx->ask_name) {
    ssl->SSL_set_cert_cb(t->ssl, choose_context, NULL);
  } else if (!t->ctx->has_cert) {
    mg__tls_error(t, "there is no certificate: give one with its key (cert, key)");
    return false;
  }
  return true;
}

/* ---- what went wrong ------------------------------------------------------------------------------ */

static void describe(struct mg_connection *c, int err) {
  const struct mg_openssl *ssl = mg__openssl();
  struct mg_tls *t = c->tls;
  long verified = ssl->SSL_get_verify_result(t->ssl);
  unsigned long code = ssl->ERR_peek_error();
  const char *reason = code == 0 ? NULL : ssl->ERR_reason_error_string(code);
  bool name_wrong = verified == MG_OSSL_V_ERR_HOSTNAME_MISMATCH ||
                    verified == MG_OSSL_V_ERR_IP_ADDRESS_MISMATCH;
  if (t->socket_result < 0)
    mg__tls_error(t, "%s", strerror(-t->socket_result));
  else if (t->socket_result == 0 && (err == MG_OSSL_ERROR_SYSCALL || verified == MG_OSSL_V_OK))
    mg__tls_error(t, "the peer has ended the connection");
  else if (verified != MG_OSSL_V_OK && name_wrong)
    mg__tls_error(t, "certificate verify failed: %s, it is not for '%s'",
                  ssl->X509_verify_cert_error_string(verified), t->name == NULL ? "" : t->name);
  else if (verified != MG_OSSL_V_OK && (c->is_client ? !t->ctx->skip_verification
                                                     : t->ctx->client_auth != MGX_TLS_AUTH_NONE))
    mg__tls_error(t, "certificate verify failed: %s", ssl->X509_verify_cert_error_string(verified));
  else
    mg__tls_error(t, "%s", reason != NULL ? reason : "out of memory");
}

/* ---- handshake ---------------------------------------------------------------------------------------- */

/* The binding decides about a name: false: the connection is not to go on. */
static bool ask_name(struct mg_connection *c) {
  struct mg_tls *t = c->tls;
  const char *name = mg__openssl()->SSL_get_servername(t->ssl, MG_OSSL_NAMETYPE_HOST_NAME);
  char copy[MG_TLS_NAME + 3];
  struct mg_tls_ctx *ctx;
  int number;
  t->was_asked = true;
  if (name == NULL) return true;
  if (strlen(name) >= sizeof(copy)) {
    t->is_refused = true;
    return true;
  }
  strcpy(copy, name);
  number = mg__emit_tls_name(c, copy, strlen(copy));
  if (c->is_closing) return false;
  if (number == 0) return true;
  ctx = mg__tls_ctx(c->mgr, number);
  if (ctx != NULL && ctx->foreign) ctx = NULL;
  if (ctx == NULL) mg__tls_error(t, "server name '%s' refused", copy);
  if (ctx == NULL || !switch_context(t, ctx)) t->is_refused = true;
  return true;
}

/* The certificate of a resumed session is not asked for again, and so neither was the
 * name (TLS 1.2): would it have been the same context? */
static bool check_resumed(struct mg_connection *c) {
  struct mg_tls *t = c->tls;
  if (c->is_client || t->was_asked || (t->ctx->num_names == 0 && !t->ctx->ask_name)) return true;
  if (choose_context(t->ssl, NULL) < 0 && !ask_name(c)) return false;
  return !t->is_refused;
}

static int engine_handshake(struct mg_connection *c) {
  const struct mg_openssl *ssl = mg__openssl();
  struct mg_tls *t = c->tls;
  for (;;) {
    int n, err;
    forget_errors(ssl);
    n = ssl->SSL_do_handshake(t->ssl);
    if (n == 1) return check_resumed(c) ? 1 : -1;
    err = ssl->SSL_get_error(t->ssl, n);
    if (err == MG_OSSL_ERROR_WANT_READ || err == MG_OSSL_ERROR_WANT_WRITE) {
      t->has_more = err == MG_OSSL_ERROR_WANT_READ && t->budget == 0;
      return 0;
    }
    if (err != MG_OSSL_ERROR_WANT_X509_LOOKUP || t->was_asked) {
      describe(c, err);
      forget_errors(ssl);
      return -1;
    }
    if (!ask_name(c)) return 0; /* closing */
  }
}

/* ---- data -------------------------------------------------------------------------------------------------- */

static ssize_t engine_recv(struct mg_connection *c, char *buf, size_t len) {
  const struct mg_openssl *ssl = mg__openssl();
  struct mg_tls *t = c->tls;
  int n, err;
  if (t->is_ended) return 0;
  if (t->is_drained && t->socket_result > 0 && !ssl->SSL_has_pending(t->ssl)) {
    t->has_more = false; /* that was all, and asking would only say so */
    return -EAGAIN;
  }
  forget_errors(ssl);
  n = ssl->SSL_read(t->ssl, buf, len > INT_MAX ? INT_MAX : (int) len);
  if (n > 0) {
    t->has_more = true; /* until it says no */
    return n;
  }
  err = ssl->SSL_get_error(t->ssl, n);
  t->has_more = false;
  if (err == MG_OSSL_ERROR_WANT_READ || err == MG_OSSL_ERROR_WANT_WRITE) {
    t->has_more = err == MG_OSSL_ERROR_WANT_WRITE || t->budget == 0; /* first its own has to leave */
    return -EAGAIN;
  }
  if (err == MG_OSSL_ERROR_ZERO_RETURN) {
    t->is_ended = true;
    return 0;
  }
  if (t->socket_result <= 0) {
    t->is_cut = t->socket_result == 0 || t->socket_result == -ECONNRESET;
    forget_errors(ssl);
    return t->is_cut ? -ECONNRESET : t->socket_result;
  }
  describe(c, err);
  forget_errors(ssl);
  return -EPROTO;
}

static ssize_t engine_send(struct mg_connection *c, const char *data, size_t len) {
  const struct mg_openssl *ssl = mg__openssl();
  struct mg_tls *t = c->tls;
  size_t done = 0;
  while (done < len) {
    size_t left = len - done;
    int n, err;
    forget_errors(ssl);
    n = ssl->SSL_write(t->ssl, data + done, left > MG_TLS_RECORD ? MG_TLS_RECORD : (int) left);
    if (n > 0) {
      done += (size_t) n;
      continue;
    }
    err = ssl->SSL_get_error(t->ssl, n);
    if (done > 0) break; /* says it again when it is asked next */
    if (err == MG_OSSL_ERROR_WANT_READ || err == MG_OSSL_ERROR_WANT_WRITE) return -EAGAIN;
    describe(c, err);
    forget_errors(ssl);
    return -EPROTO;
  }
  return (ssize_t) done;
}

static void engine_shutdown(struct mg_connection *c) {
  const struct mg_openssl *ssl = mg__openssl();
  forget_errors(ssl);
  ssl->SSL_shutdown(c->tls->ssl);
  forget_errors(ssl);
}

static void engine_free(struct mg_connection *c) {
  struct mg_tls *t = c->tls;
  if (t->ssl == NULL) return;
  mg__openssl()->SSL_free(t->ssl);
  t->ssl = NULL;
}

const struct mg_tls_engine mg__tls_openssl = {
    .begin = engine_begin,
    .handshake = engine_handshake,
    .recv = engine_recv,
    .send = engine_send,
    .shutdown = engine_shutdown,
    .free = engine_free,
};

/* ---- what is known about it ------------------------------------------------------------------------------------ */

void mg__tls_engine_info(const struct mg_tls *t, struct mgx_tls_info *info) {
  const struct mg_openssl *ssl = mg__openssl();
  const SSL_CIPHER *cipher = ssl->SSL_get_current_cipher(t->ssl);
  const char *name = ssl->SSL_get_servername(t->ssl, MG_OSSL_NAMETYPE_HOST_NAME);
  const unsigned char *alpn = NULL;
  unsigned int alpn_len = 0;
  X509 *cert;
  info->resumed = ssl->SSL_session_reused(t->ssl) != 0;
  info->version = ssl->SSL_version(t->ssl);
  if (cipher != NULL)
    snprintf(info->cipher, sizeof(info->cipher), "%s", ssl->SSL_CIPHER_get_name(cipher));
  ssl->SSL_get0_alpn_selected(t->ssl, &alpn, &alpn_len);
  if (alpn_len > 0 && alpn_len < sizeof(info->alpn)) memcpy(info->alpn, alpn, alpn_len);
  if (name == NULL) name = t->name;
  if (name != NULL) snprintf(info->name, sizeof(info->name), "%s", name);
  cert = ssl->get_peer_certificate(t->ssl);
  info->has_cert = cert != NULL;
  ssl->X509_free(cert);
  forget_errors(ssl);
}

int64_t mg__tls_engine_cert(const struct mg_tls *t, char *buf, size_t cap) {
  const struct mg_openssl *ssl = mg__openssl();
  X509 *cert = ssl->get_peer_certificate(t->ssl);
  int len = cert == NULL ? 0 : ssl->i2d_X509(cert, NULL);
  unsigned char *to = (unsigned char *) buf;
  if (len > 0 && (size_t) len <= cap) ssl->i2d_X509(cert, &to);
  ssl->X509_free(cert);
  forget_errors(ssl);
  return len < 0 ? 0 : len;
}
