/* tls.h: what the files about TLS share.
 *
 *   tls_openssl.h/.c   the library: what is used of it, how it is opened
 *   tls_context.c      option sets made ready, server names, client sessions
 *   tls_engine.c       a connection by OpenSSL
 *   tls_foreign.c      a connection by the binding
 *   tls.c              what they have in common: when the handshake begins, ciphertext on
 *                      its way out, the end; and the API
 *
 * The rest of the core knows struct mg_connection.tls as "not plain": io.c asks here
 * for bytes instead of the socket, and nothing leaves the send queue but through here. */
#ifndef MG_TLS_H
#define MG_TLS_H

#include "internal.h"
#include "tls_openssl.h"

enum { MG_TLS_NAME = 253 };        /* bytes of a server's name, RFC 1035 */
enum { MG_TLS_RECORD = 16384 };    /* plaintext bytes of a record, RFC 8446 section 5.1 */
enum { MG_TLS_SESSIONS = 64 };     /* a context keeps for clients */
enum { MG_TLS_BATCH = 64 * 1024 }; /* plaintext that is encrypted before it is written */
enum { MG_TLS_OUT_MAX = 256 * 1024 }; /* ciphertext that may wait for a peer who does not read */

/* ---- contexts: tls_context.c ----------------------------------------------------- */

struct mg_tls_session { /* of a client, to be resumed */
  char *key;            /* server name and port; owned */
  SSL_SESSION *session; /* owned */
};

struct mg_tls_name {
  char *name; /* lower case; owned */
  struct mg_tls_ctx *ctx; /* counted */
};

struct mg_tls_ctx {
  size_t refs; /* its number's, connections', names' of other contexts */
  int number;  /* index in mgr->tls_ctxs; 0: dropped */
  struct mg_mgr *mgr;
  SSL_CTX *ssl; /* NULL: foreign, or unusable */
  char *unusable; /* why, or NULL; owned */
  bool foreign, skip_verification, no_tickets, ask_name, has_cert;
  bool is_leaf;       /* other contexts refer to it, so it refers to none */
  bool wants_anchors; /* the system's have not been read */
  char *ca_file, *ca_dir; /* ... nor these; owned */
  int client_auth; /* MGX_TLS_AUTH_..., never MGX_TLS_AUTH_BY_CA */
  unsigned char *alpn; /* owned */
  size_t alpn_len;
  struct mg_tls_name *names; /* owned */
  size_t num_names, cap_names;
  struct mg_tls_session sessions[MG_TLS_SESSIONS]; /* a ring, the newest before next_session */
  size_t next_session;
  uint64_t keys_at; /* ms: when the keys of the tickets were made */
};

struct mg_tls_ctx *mg__tls_ctx(struct mg_mgr *mgr, int number); /* NULL: no such one */
struct mg_tls_ctx *mg__tls_ctx_ref(struct mg_tls_ctx *ctx);     /* NULL is fine */
void mg__tls_ctx_unref(struct mg_tls_ctx *ctx);
/* The context for a server name, or NULL. */
struct mg_tls_ctx *mg__tls_ctx_for(const struct mg_tls_ctx *ctx, const char *name);
/* Have the trust anchors ready. */
void mg__tls_ctx_anchors(struct mg_tls_ctx *ctx);
/* A session for this server, the caller's from now on, or NULL. */
SSL_SESSION *mg__tls_session_take(struct mg_tls_ctx *ctx, const char *key);
/* Keep a session; owned on success. */
bool mg__tls_session_put(struct mg_tls_ctx *ctx, const char *key, SSL_SESSION *session);
/* New keys for tickets, if the present ones are old. */
void mg__tls_ctx_renew_keys(struct mg_tls_ctx *ctx, uint64_t now);
void mg__tls_ctx_free_all(struct mg_mgr *mgr);

/* ---- connections ------------------------------------------------------------------ */

enum {
  MG_TLS_IDLE,      /* waits for the end of the event that asked for it */
  MG_TLS_HANDSHAKE,
  MG_TLS_READY,
  MG_TLS_FAILED     /* only its last bytes still leave */
};

struct mg_tls_engine {
  /* Make ready for a handshake; false: t->error says why not. */
  bool (*begin)(struct mg_connection *c);
  /* Go on with it: 1 done, 0 more has to arrive, < 0: t->error says why it failed. */
  int (*handshake)(struct mg_connection *c);
  /* Read from the socket what recv() will give. May be NULL. Lets the lock go. */
  void (*pump)(struct mg_connection *c);
  /* As struct mg_os.recv. -EPROTO: t->error says why; -ECONNRESET with t->is_cut: no
   * close_notify came. */
  ssize_t (*recv)(struct mg_connection *c, char *buf, size_t len);
  /* Encrypt some of these to t->out: how many, or -errno. May let the lock go. */
  ssize_t (*send)(struct mg_connection *c, const char *data, size_t len);
  /* close_notify to t->out. */
  void (*shutdown)(struct mg_connection *c);
  void (*free)(struct mg_connection *c);
};
extern const struct mg_tls_engine mg__tls_openssl, mg__tls_foreign;

struct mg_tls {
  const struct mg_tls_engine *engine;
  struct mg_connection *conn;
  struct mg_link under_way; /* mgr->handshakes */
  struct mg_tls_ctx *ctx; /* counted; a listener's: for its children; NULL: none was given */
  SSL *ssl;               /* owned */
  char *name;             /* clients: of the server, verified; owned; NULL: none */
  char *error;            /* owned */
  struct mg_iobuf out;    /* ciphertext for the socket */
  struct mg_iobuf plain;  /* foreign: plaintext that has arrived */
  size_t plain_left;      /* the first bytes in send that leave as they are, before the handshake */
  size_t budget;          /* bytes still to be read from the socket in this turn */
  int state;              /* MG_TLS_... */
  int socket_result;      /* 1, 0: it has ended, -errno */
  bool is_drained;        /* the socket had no more at the last look */
  bool has_more;          /* the engine holds bytes that recv() has not given */
  bool is_cut;            /* the stream ended without close_notify */
  bool is_ended;          /* close_notify has come */
  bool was_asked;         /* the server's name was looked at */
  bool is_refused;        /* ... and it was not accepted */
  bool is_stepping;       /* foreign: on_tls_step() is running */
  bool sent_notify;
};

/* tls.c */
/* Note why it failed; the first reason stays. */
void mg__tls_error(struct mg_tls *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Ciphertext for the peer: false: OOM. */
bool mg__tls_put(struct mg_connection *c, const void *data, size_t len);
/* tls_engine.c */
int mg__tls_new_session(SSL *ssl, SSL_SESSION *session); /* a context has got one */
bool mg__tls_make_method(struct mg_openssl *ssl);
void mg__tls_engine_info(const struct mg_tls *t, struct mgx_tls_info *info);
int64_t mg__tls_engine_cert(const struct mg_tls *t, char *buf, size_t cap);

#endif
