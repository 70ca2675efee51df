/* tls_context.c: option sets made ready.
 *
 * Everything that can be wrong with options is found here, before a connection
 * exists. A context lives as long as something uses it, so one that was replaced
 * or dropped serves its connections to their end. */
#include "tls.h"

enum { TLS_KEYS_MS = 12 * 60 * 60 * 1000 }; /* keys of tickets are used for so long */

/* ---- reading certificates and keys -------------------------------------------------- */

struct reading { /* of one option */
  const struct mg_openssl *ssl;
  struct mgx_error *err;
  const char *what; /* name of the option */
};

static int ctx_bad(const struct reading *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int ctx_bad(const struct reading *r, const char *fmt, ...) {
  unsigned long code = r->ssl->ERR_peek_error();
  const char *reason = code == 0 ? NULL : r->ssl->ERR_reason_error_string(code);
  char text[128];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof(text), fmt, ap);
  va_end(ap);
  snprintf(r->err->text, sizeof(r->err->text), "%s: %s%s%s%s", r->what, text,
           reason == NULL ? "" : " (", reason == NULL ? "" : reason, reason == NULL ? "" : ")");
  r->ssl->ERR_clear_error();
  return MGX_EINVAL;
}

/* PEM is text with a line that begins so; anything else is taken for DER. */
static bool is_pem(struct mg_str text) {
  static const char mark[] = "-----BEGIN ";
  for (size_t i = 0; i + sizeof(mark) - 1 <= text.len; i++)
    if ((i == 0 || text.buf[i - 1] == '\n' || text.buf[i - 1] == '\r') &&
        memcmp(text.buf + i, mark, sizeof(mark) - 1) == 0)
      return true;
  return false;
}

static size_t count_pem(struct mg_str text) {
  static const char mark[] = "-----BEGIN CERTIFICATE-----";
  size_t count = 0;
  for (size_t i = 0; i + sizeof(mark) - 1 <= text.len; i++)
    if (memcmp(text.buf + i, mark, sizeof(mark) - 1) == 0) count++;
  return count;
}

/* The library would ask at the terminal. */
static int give_password(char *buf, int size, int rwflag, void *arg) {
  const struct mg_str *password = arg;
  (void) rwflag;
  if (password->len == 0 || password->len > (size_t) size) return -1;
  memcpy(buf, password->buf, password->len);
  return (int) password->len;
}

static BIO *reader(const struct reading *r, struct mg_str text) {
  return text.len > INT_MAX ? NULL : r->ssl->BIO_new_mem_buf(text.buf, (int) text.len);
}

/* Each certificate of a text to take(), which keeps it (true) or not. */
static int each_cert(const struct reading *r, struct mg_str text,
                     int (*take)(const struct reading *r, SSL_CTX *ctx, X509 *cert, size_t index),
                     SSL_CTX *ctx) {
  struct mg_str no_password = {NULL, 0};
  bool pem = is_pem(text);
  size_t count = pem ? count_pem(text) : 1;
  BIO *bio = reader(r, text);
  int result = MGX_OK;
  if (bio == NULL) return MGX_ENOMEM;
  if (count == 0) result = ctx_bad(r, "there is no certificate in it");
  for (size_t i = 0; i < count && result == MGX_OK; i++) {
    X509 *cert = pem ? r->ssl->PEM_read_bio_X509(bio, NULL, give_password, &no_password)
                     : r->ssl->d2i_X509_bio(bio, NULL);
    if (cert == NULL)
      result = pem ? ctx_bad(r, "certificate %zu is malformed", i + 1)
                   : ctx_bad(r, "neither PEM nor a DER certificate");
    else
      result = take(r, ctx, cert, i);
    r->ssl->X509_free(cert);
  }
  r->ssl->BIO_free(bio);
  r->ssl->ERR_clear_error();
  return result;
}

static int take_anchor(const struct reading *r, SSL_CTX *ctx, X509 *cert, size_t index) {
  if (r->ssl->X509_STORE_add_cert(r->ssl->SSL_CTX_get_cert_store(ctx), cert) != 1 ||
      r->ssl->SSL_CTX_add_client_CA(ctx, cert) != 1)
    return ctx_bad(r, "certificate %zu can't be used", index + 1);
  return MGX_OK;
}

static int take_own(const struct reading *r, SSL_CTX *ctx, X509 *cert, size_t index) {
  bool done = index == 0 ? r->ssl->SSL_CTX_use_certificate(ctx, cert) == 1
                         : r->ssl->SSL_CTX_ctrl(ctx, MG_OSSL_CTRL_CHAIN_CERT, 1, cert) == 1;
  return done ? MGX_OK : ctx_bad(r, "certificate %zu can't be used", index + 1);
}

static int read_key(const struct reading *r, SSL_CTX *ctx, struct mg_str text,
                    struct mg_str password) {
  EVP_PKEY *key = NULL;
  BIO *bio = reader(r, text);
  int result = MGX_OK;
  if (bio == NULL) return MGX_ENOMEM;
  if (is_pem(text)) {
    key = r->ssl->PEM_read_bio_PrivateKey(bio, NULL, give_password, &password);
  } else {
    key = r->ssl->d2i_PrivateKey_bio(bio, NULL);
    if (key == NULL && password.len > 0) {
      r->ssl->BIO_free(bio);
      bio = reader(r, text);
      r->ssl->ERR_clear_error();
      key = bio == NULL ? NULL
                        : r->ssl->d2i_PKCS8PrivateKey_bio(bio, NULL, give_password, &password);
    }
  }
  if (key == NULL)
    result = ctx_bad(r, password.len > 0 ? "no private key in it that the password opens"
                                     : "no private key in it, or it is encrypted and no password was given");
  else if (r->ssl->SSL_CTX_use_PrivateKey(ctx, key) != 1 ||
           r->ssl->SSL_CTX_check_private_key(ctx) != 1)
    result = ctx_bad(r, "it does not belong to the certificate");
  r->ssl->EVP_PKEY_free(key);
  r->ssl->BIO_free(bio);
  r->ssl->ERR_clear_error();
  return result;
}

/* ---- options ----------------------------------------------------------------------------- */

static char *copy_text(const char *text, size_t len) {
  char *copy = mg__malloc(len + 1);
  if (copy == NULL) return NULL;
  memcpy(copy, text, len);
  copy[len] = '\0';
  return copy;
}

/* The system's are read when they are needed first: that takes its time, and most servers
 * never do. */
static int set_anchors(struct reading *r, struct mg_tls_ctx *ctx, const struct mgx_tls_opts *opts) {
  r->what = "ca";
  if (opts->ca.len > 0) return each_cert(r, opts->ca, take_anchor, ctx->ssl);
  ctx->wants_anchors = true;
  if (opts->ca_file.len > 0) ctx->ca_file = copy_text(opts->ca_file.buf, opts->ca_file.len);
  if (opts->ca_dir.len > 0) ctx->ca_dir = copy_text(opts->ca_dir.buf, opts->ca_dir.len);
  return (opts->ca_file.len > 0 && ctx->ca_file == NULL) ||
                 (opts->ca_dir.len > 0 && ctx->ca_dir == NULL)
             ? MGX_ENOMEM
             : MGX_OK;
}

void mg__tls_ctx_anchors(struct mg_tls_ctx *ctx) {
  const struct mg_openssl *ssl = mg__openssl();
  if (!ctx->wants_anchors) return;
  ctx->wants_anchors = false;
  ssl->SSL_CTX_set_default_verify_paths(ctx->ssl);
  if (ctx->ca_file != NULL) ssl->SSL_CTX_load_verify_locations(ctx->ssl, ctx->ca_file, NULL);
  if (ctx->ca_dir != NULL) ssl->SSL_CTX_load_verify_locations(ctx->ssl, NULL, ctx->ca_dir);
  ssl->ERR_clear_error(); /* what isn't there verifies nothing, and that shows */
}

static int set_own(struct reading *r, SSL_CTX *ctx, const struct mgx_tls_opts *opts) {
  int result;
  if (opts->cert.len == 0 && opts->key.len > 0) {
    r->what = "key";
    return ctx_bad(r, "a key without a certificate");
  }
  if (opts->cert.len == 0) return MGX_OK;
  r->what = "cert";
  result = each_cert(r, opts->cert, take_own, ctx);
  if (result != MGX_OK) return result;
  if (opts->key.len == 0 && !is_pem(opts->cert)) return ctx_bad(r, "its private key is missing");
  r->what = opts->key.len > 0 ? "key" : "cert";
  return read_key(r, ctx, opts->key.len > 0 ? opts->key : opts->cert, opts->password);
}

static bool is_separator(char ch) { return ch == ':' || ch == ',' || ch == ' '; }

/* The names that begin with TLS_ (or those that do not), with a colon between two. */
static char *select_ciphers(struct mg_str list, bool tls13) {
  char *out = mg__malloc(list.len + 1), *to = out;
  size_t i = 0;
  if (out == NULL) return NULL;
  while (i < list.len) {
    size_t from = i;
    while (i < list.len && !is_separator(list.buf[i])) i++;
    if (i > from && (i - from > 4 && memcmp(list.buf + from, "TLS_", 4) == 0) == tls13) {
      if (to > out) *to++ = ':';
      memcpy(to, list.buf + from, i - from);
      to += i - from;
    }
    i++;
  }
  *to = '\0';
  return out;
}

static int set_ciphers(struct reading *r, SSL_CTX *ctx, struct mg_str list) {
  int result = MGX_OK;
  r->what = "ciphers";
  if (list.len > 0 && memchr(list.buf, '\0', list.len) != NULL) return ctx_bad(r, "NUL in it");
  for (int tls13 = 0; tls13 < 2 && list.len > 0 && result == MGX_OK; tls13++) {
    char *names = select_ciphers(list, tls13);
    if (names == NULL) return MGX_ENOMEM;
    if (names[0] != '\0' && tls13 && r->ssl->SSL_CTX_set_ciphersuites == NULL)
      result = ctx_bad(r, "this OpenSSL has no TLS 1.3");
    else if (names[0] != '\0' && (tls13 ? r->ssl->SSL_CTX_set_ciphersuites(ctx, names)
                                        : r->ssl->SSL_CTX_set_cipher_list(ctx, names)) != 1)
      result = ctx_bad(r, "'%.80s' is not a list of ciphers", names);
    mg__free(names);
  }
  return result;
}

/* What a server offers unless it is told otherwise: what Mozilla's "intermediate" profile
 * takes, the cheapest first, but for finite-field DHE, which costs more than all of it and
 * serves nobody that elliptic curves do not. A library that lacks some of it does without. */
static void set_server_defaults(const struct mg_openssl *ssl, SSL_CTX *ctx) {
  static const char *const groups[] = {"X25519MLKEM768:X25519:P-256:P-384", "X25519:P-256:P-384"};
  bool done = false;
  ssl->SSL_CTX_set_cipher_list(ctx, "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                                    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
                                    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305");
  if (ssl->SSL_CTX_set_ciphersuites != NULL)
    ssl->SSL_CTX_set_ciphersuites(
        ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256");
  for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]) && !done; i++) {
    char list[64]; /* taken as a void * that is not const */
    snprintf(list, sizeof(list), "%s", groups[i]);
    done = ssl->SSL_CTX_ctrl(ctx, MG_OSSL_CTRL_SET_GROUPS_LIST, 0, list) == 1;
  }
  ssl->ERR_clear_error();
}

static int set_versions(struct reading *r, SSL_CTX *ctx, const struct mgx_tls_opts *opts) {
  int min = opts->min_version == 0 ? MG_OSSL_TLS1_2_VERSION : opts->min_version;
  r->what = "min_version";
  if (min < MG_OSSL_TLS1_2_VERSION || min > MG_OSSL_TLS1_3_VERSION ||
      r->ssl->SSL_CTX_ctrl(ctx, MG_OSSL_CTRL_SET_MIN_PROTO_VERSION, min, NULL) != 1)
    return ctx_bad(r, "0x%04x can't be used", (unsigned) min);
  r->what = "max_version";
  if (opts->max_version != 0 &&
      (opts->max_version < min ||
       r->ssl->SSL_CTX_ctrl(ctx, MG_OSSL_CTRL_SET_MAX_PROTO_VERSION, opts->max_version, NULL) != 1))
    return ctx_bad(r, "0x%04x can't be used", (unsigned) opts->max_version);
  return MGX_OK;
}

/* ---- protocols: RFC 7301 --------------------------------------------------------------------- */

static bool alpn_is_list(struct mg_str list) {
  size_t at = 0;
  while (at < list.len) {
    size_t n = (unsigned char) list.buf[at];
    if (n == 0 || n > list.len - at - 1) return false;
    at += 1 + n;
  }
  return at == list.len;
}

/* The first of ours that the client offers; none: section 3.2, a fatal alert. */
static int alpn_select(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                       const unsigned char *offer, unsigned int offer_len, void *arg) {
  const struct mg_tls_ctx *ctx = arg;
  (void) ssl;
  for (size_t i = 0; i < ctx->alpn_len; i += 1u + ctx->alpn[i])
    for (size_t j = 0; j < offer_len; j += 1u + offer[j])
      if (ctx->alpn[i] == offer[j] && memcmp(ctx->alpn + i + 1, offer + j + 1, offer[j]) == 0) {
        *out = offer + j + 1;
        *out_len = offer[j];
        return MG_OSSL_TLSEXT_ERR_OK;
      }
  return MG_OSSL_TLSEXT_ERR_ALERT_FATAL;
}

static int set_alpn(struct reading *r, struct mg_tls_ctx *ctx, struct mg_str list) {
  if (list.len == 0) return MGX_OK;
  r->what = "alpn";
  if (list.len > 65535 || !alpn_is_list(list)) return ctx_bad(r, "not a list of protocols");
  ctx->alpn = mg__malloc(list.len);
  if (ctx->alpn == NULL) return MGX_ENOMEM;
  memcpy(ctx->alpn, list.buf, list.len);
  ctx->alpn_len = list.len;
  r->ssl->SSL_CTX_set_alpn_select_cb(ctx->ssl, alpn_select, ctx);
  return r->ssl->SSL_CTX_set_alpn_protos(ctx->ssl, ctx->alpn, (unsigned) list.len) == 0
             ? MGX_OK
             : MGX_ENOMEM;
}

/* ---- sessions of clients ------------------------------------------------------------------------ */

static void session_clear(const struct mg_openssl *ssl, struct mg_tls_session *s) {
  if (s->session != NULL) ssl->SSL_SESSION_free(s->session);
  mg__free(s->key);
  s->session = NULL;
  s->key = NULL;
}

SSL_SESSION *mg__tls_session_take(struct mg_tls_ctx *ctx, const char *key) {
  for (size_t i = 0; i < MG_TLS_SESSIONS; i++) {
    size_t at = (ctx->next_session + MG_TLS_SESSIONS - 1 - i) % MG_TLS_SESSIONS;
    struct mg_tls_session *s = &ctx->sessions[at];
    SSL_SESSION *session = s->session;
    if (session == NULL || strcmp(s->key, key) != 0) continue;
    mg__free(s->key);
    s->key = NULL;
    s->session = NULL;
    return session;
  }
  return NULL;
}

bool mg__tls_session_put(struct mg_tls_ctx *ctx, const char *key, SSL_SESSION *session) {
  struct mg_tls_session *s = &ctx->sessions[ctx->next_session];
  char *copy = copy_text(key, strlen(key));
  if (copy == NULL) return false;
  session_clear(mg__openssl(), s);
  s->key = copy;
  s->session = session;
  ctx->next_session = (ctx->next_session + 1) % MG_TLS_SESSIONS;
  return true;
}

/* ---- tickets of servers ------------------------------------------------------------------------------- */

void mg__tls_ctx_renew_keys(struct mg_tls_ctx *ctx, uint64_t now) {
  const struct mg_openssl *ssl = mg__openssl();
  unsigned char keys[256];
  long len;
  if (ctx->ssl == NULL || ctx->no_tickets || now - ctx->keys_at < TLS_KEYS_MS) return;
  ctx->keys_at = now;
  len = ssl->SSL_CTX_ctrl(ctx->ssl, MG_OSSL_CTRL_GET_TLSEXT_TICKET_KEYS, 0, NULL);
  if (len <= 0 || (size_t) len > sizeof(keys) || !ctx->mgr->os->random(keys, (size_t) len)) return;
  ssl->SSL_CTX_ctrl(ctx->ssl, MG_OSSL_CTRL_SET_TLSEXT_TICKET_KEYS, len, keys);
  memset(keys, 0, sizeof(keys));
}

/* ---- life --------------------------------------------------------------------------------------------- */

struct mg_tls_ctx *mg__tls_ctx(struct mg_mgr *mgr, int number) {
  return number > 0 && number < mgr->num_tls_ctxs ? mgr->tls_ctxs[number] : NULL;
}

struct mg_tls_ctx *mg__tls_ctx_ref(struct mg_tls_ctx *ctx) {
  if (ctx != NULL) ctx->refs++;
  return ctx;
}

static void ctx_free(struct mg_tls_ctx *ctx) {
  const struct mg_openssl *ssl = mg__openssl();
  for (size_t i = 0; i < ctx->num_names; i++) {
    mg__tls_ctx_unref(ctx->names[i].ctx);
    mg__free(ctx->names[i].name);
  }
  for (size_t i = 0; i < MG_TLS_SESSIONS; i++) session_clear(ssl, &ctx->sessions[i]);
  if (ctx->ssl != NULL) ssl->SSL_CTX_free(ctx->ssl);
  mg__free(ctx->names);
  mg__free(ctx->alpn);
  mg__free(ctx->unusable);
  mg__free(ctx->ca_file);
  mg__free(ctx->ca_dir);
  mg__free(ctx);
}

void mg__tls_ctx_unref(struct mg_tls_ctx *ctx) {
  if (ctx != NULL && --ctx->refs == 0) ctx_free(ctx);
}

static int ctx_slot(struct mg_mgr *mgr) {
  struct mg_tls_ctx **more;
  int n = mgr->num_tls_ctxs;
  for (int i = 1; i < n; i++)
    if (mgr->tls_ctxs[i] == NULL) return i;
  if (n > INT_MAX / 4) return MGX_ENOMEM;
  n = n == 0 ? 8 : 2 * n;
  more = mg__realloc(mgr->tls_ctxs, (size_t) n * sizeof(struct mg_tls_ctx *));
  if (more == NULL) return MGX_ENOMEM;
  for (int i = mgr->num_tls_ctxs; i < n; i++) more[i] = NULL;
  n = mgr->num_tls_ctxs == 0 ? 1 : mgr->num_tls_ctxs;
  mgr->num_tls_ctxs = mgr->num_tls_ctxs == 0 ? 8 : 2 * mgr->num_tls_ctxs;
  mgr->tls_ctxs = more;
  return n;
}

void mg__tls_ctx_free_all(struct mg_mgr *mgr) {
  for (int i = 1; i < mgr->num_tls_ctxs; i++) {
    struct mg_tls_ctx *ctx = mgr->tls_ctxs[i];
    if (ctx == NULL) continue;
    mgr->tls_ctxs[i] = NULL;
    mg__tls_ctx_unref(ctx);
  }
  mg__free(mgr->tls_ctxs);
  mgr->tls_ctxs = NULL;
  mgr->num_tls_ctxs = 0;
}

static int set_all(struct mg_tls_ctx *ctx, const struct mgx_tls_opts *opts, struct mgx_error *err) {
  struct reading r = {mg__openssl(), err, "ca"};
  unsigned options = MG_OSSL_OP_NO_COMPRESSION | MG_OSSL_OP_NO_RENEGOTIATION |
                     (opts->no_tickets ? MG_OSSL_OP_NO_TICKET : 0);
  /* A client whose first choice is ChaCha20 has no instructions for AES. */
  if (opts->is_server)
    options |= MG_OSSL_OP_CIPHER_SERVER_PREFERENCE | MG_OSSL_OP_PRIORITIZE_CHACHA;
  unsigned char id[8];
  int result;
  r.ssl->ERR_clear_error();
  ctx->ssl = r.ssl->SSL_CTX_new(r.ssl->TLS_method());
  if (ctx->ssl == NULL) return MGX_ENOMEM;
  if (r.ssl->set_ctx_options_3 != NULL)
    r.ssl->set_ctx_options_3(ctx->ssl, options);
  else
    r.ssl->set_ctx_options_1(ctx->ssl, options);
  r.ssl->SSL_CTX_ctrl(ctx->ssl, MG_OSSL_CTRL_MODE,
                      MG_OSSL_MODE_ENABLE_PARTIAL_WRITE | MG_OSSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                          MG_OSSL_MODE_AUTO_RETRY | MG_OSSL_MODE_RELEASE_BUFFERS,
                      NULL);
  r.ssl->SSL_CTX_ctrl(ctx->ssl, MG_OSSL_CTRL_SET_READ_AHEAD, 1, NULL);
  r.ssl->SSL_CTX_ctrl(ctx->ssl, MG_OSSL_CTRL_SET_SESS_CACHE_MODE,
                      opts->no_tickets ? MG_OSSL_SESS_CACHE_OFF
                                       : MG_OSSL_SESS_CACHE_CLIENT | MG_OSSL_SESS_CACHE_NO_INTERNAL,
                      NULL);
  r.ssl->SSL_CTX_sess_set_new_cb(ctx->ssl, opts->no_tickets ? NULL : mg__tls_new_session);
  if (!ctx->mgr->os->random(id, sizeof(id))) return MGX_ENOMEM;
  r.ssl->SSL_CTX_set_session_id_context(ctx->ssl, id, sizeof(id));
  if (opts->is_server) set_server_defaults(r.ssl, ctx->ssl);
  result = set_versions(&r, ctx->ssl, opts);
  if (result == MGX_OK) result = set_ciphers(&r, ctx->ssl, opts->ciphers);
  if (result == MGX_OK) result = set_alpn(&r, ctx, opts->alpn);
  if (result == MGX_OK) result = set_anchors(&r, ctx, opts);
  if (result == MGX_OK) result = set_own(&r, ctx->ssl, opts);
  return result;
}

/* Unusable options that are to make a context all the same. */
static int make_unusable(struct mg_tls_ctx *ctx, const char *why) {
  ctx->unusable = copy_text(why, strlen(why));
  if (ctx->unusable == NULL) return MGX_ENOMEM;
  if (ctx->ssl != NULL) mg__openssl()->SSL_CTX_free(ctx->ssl);
  ctx->ssl = NULL;
  return MGX_OK;
}

static int client_auth(const struct mgx_tls_opts *opts) {
  if (opts->client_auth != MGX_TLS_AUTH_BY_CA) return opts->client_auth;
  return opts->ca.len > 0 && !opts->skip_verification ? MGX_TLS_AUTH_REQUIRED : MGX_TLS_AUTH_NONE;
}

static int ctx_new(struct mg_mgr *mgr, const struct mgx_tls_opts *opts, struct mgx_error *err) {
  struct mg_tls_ctx *ctx;
  int result = ctx_slot(mgr);
  if (result < 0) return result;
  ctx = mg__calloc(sizeof(*ctx));
  if (ctx == NULL) return MGX_ENOMEM;
  ctx->refs = 1;
  ctx->number = result;
  ctx->mgr = mgr;
  ctx->foreign = opts->foreign;
  ctx->skip_verification = opts->skip_verification;
  ctx->no_tickets = opts->no_tickets;
  ctx->ask_name = opts->ask_name;
  ctx->has_cert = opts->cert.len > 0 || opts->foreign;
  ctx->client_auth = client_auth(opts);
  ctx->keys_at = mgr->now;
  result = opts->foreign ? MGX_OK : set_all(ctx, opts, err);
  if (result == MGX_EINVAL && opts->lenient) result = make_unusable(ctx, err->text);
  if (result != MGX_OK) {
    ctx_free(ctx);
    return result;
  }
  mgr->tls_ctxs[ctx->number] = ctx;
  return ctx->number;
}

int mgx_tls_new(struct mg_mgr *mgr, const struct mgx_tls_opts *opts, struct mgx_error *err) {
  int result;
  err->sys = 0;
  err->text[0] = '\0';
  mg__lock(mgr);
  if (mgr->is_closed)
    result = MGX_ECLOSED;
  else if (mg__openssl() == NULL && !opts->foreign)
    result = MGX_ENOTLS;
  else if (opts->client_auth < MGX_TLS_AUTH_BY_CA || opts->client_auth > MGX_TLS_AUTH_REQUIRED)
    result = MGX_EINVAL;
  else
    result = ctx_new(mgr, opts, err);
  mg__unlock(mgr);
  return result;
}

int mgx_tls_drop(struct mg_mgr *mgr, int tls) {
  struct mg_tls_ctx *ctx;
  mg__lock(mgr);
  ctx = mg__tls_ctx(mgr, tls);
  if (ctx != NULL) {
    mgr->tls_ctxs[tls] = NULL;
    ctx->number = 0;
    mg__tls_ctx_unref(ctx);
  }
  mg__unlock(mgr);
  return ctx == NULL ? MGX_EINVAL : MGX_OK;
}

/* ---- server names: RFC 6066 section 3 -------------------------------------------------------------------- */

static bool same_name(const char *a, const char *lower) {
  for (; *a != '\0' && *lower != '\0'; a++, lower++) {
    char ch = *a >= 'A' && *a <= 'Z' ? (char) (*a + 32) : *a;
    if (ch != *lower) return false;
  }
  return *a == *lower;
}

static struct mg_tls_name *find_name(const struct mg_tls_ctx *ctx, const char *name) {
  for (size_t i = 0; i < ctx->num_names; i++)
    if (same_name(name, ctx->names[i].name)) return &ctx->names[i];
  return NULL;
}

struct mg_tls_ctx *mg__tls_ctx_for(const struct mg_tls_ctx *ctx, const char *name) {
  const struct mg_tls_name *found = find_name(ctx, name);
  const char *dot = strchr(name, '.');
  if (found == NULL && dot != NULL && dot > name)
    for (size_t i = 0; i < ctx->num_names && found == NULL; i++)
      if (ctx->names[i].name[0] == '*' && same_name(dot, ctx->names[i].name + 1))
        found = &ctx->names[i];
  return found == NULL ? NULL : found->ctx;
}

static char *lower_copy(const char *name, size_t len) {
  char *copy = copy_text(name, len);
  for (size_t i = 0; copy != NULL && i < len; i++)
    if (copy[i] >= 'A' && copy[i] <= 'Z') copy[i] = (char) (copy[i] + 32);
  return copy;
}

static int add_name(struct mg_tls_ctx *ctx, char *name, struct mg_tls_ctx *other) {
  struct mg_tls_name *found = find_name(ctx, name);
  other->is_leaf = true;
  if (found != NULL) {
    mg__free(name);
    mg__tls_ctx_unref(found->ctx);
    found->ctx = mg__tls_ctx_ref(other);
    return MGX_OK;
  }
  if (ctx->num_names == ctx->cap_names) {
    size_t cap = ctx->cap_names == 0 ? 8 : 2 * ctx->cap_names;
    struct mg_tls_name *more = mg__realloc(ctx->names, cap * sizeof(*more));
    if (more == NULL) {
      mg__free(name);
      return MGX_ENOMEM;
    }
    ctx->names = more;
    ctx->cap_names = cap;
  }
  ctx->names[ctx->num_names++] = (struct mg_tls_name){name, mg__tls_ctx_ref(other)};
  return MGX_OK;
}

/* Contexts hold each other in one direction only, so none of them lives for ever. */
static bool may_refer(const struct mg_tls_ctx *ctx, const struct mg_tls_ctx *other) {
  return ctx != NULL && other != NULL && ctx != other && !ctx->foreign && !other->foreign &&
         !ctx->is_leaf && other->num_names == 0;
}

int mgx_tls_add_name(struct mg_mgr *mgr, int tls, const char *name, size_t len, int other) {
  struct mg_tls_ctx *ctx, *target;
  char *copy;
  int result = MGX_EINVAL;
  if (len == 0 || len > MG_TLS_NAME || memchr(name, '\0', len) != NULL) return MGX_EINVAL;
  mg__lock(mgr);
  ctx = mg__tls_ctx(mgr, tls);
  target = mg__tls_ctx(mgr, other);
  if (mgr->is_closed) {
    result = MGX_ECLOSED;
  } else if (may_refer(ctx, target)) {
    copy = lower_copy(name, len);
    result = copy == NULL ? MGX_ENOMEM : add_name(ctx, copy, target);
  }
  mg__unlock(mgr);
  return result;
}
