/* tls_openssl.h: the part of OpenSSL that is used, declared by hand.
 *
 * So that building needs no header of it and one binary fits every version from
 * 1.1.0 on: nothing here is newer, but for MG_OPENSSL_OPTIONAL. The lists are read twice:
 * as the table of functions below, and by tests/check_openssl_headers.c, which
 * compares them with the real headers. Types are named as there and never
 * looked into. */
#ifndef MG_TLS_OPENSSL_H
#define MG_TLS_OPENSSL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef MG_OPENSSL_TYPES /* the check has the real ones */
typedef struct ssl_st SSL;
typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_method_st SSL_METHOD;
typedef struct ssl_session_st SSL_SESSION;
typedef struct ssl_cipher_st SSL_CIPHER;
typedef struct bio_st BIO;
typedef struct bio_method_st BIO_METHOD;
typedef struct x509_st X509;
typedef struct x509_store_st X509_STORE;
typedef struct x509_store_ctx_st X509_STORE_CTX;
typedef struct X509_VERIFY_PARAM_st X509_VERIFY_PARAM;
typedef struct evp_pkey_st EVP_PKEY;
typedef int pem_password_cb(char *buf, int size, int rwflag, void *userdata);
#endif

/* F(return type, name, parameters) */
#define MG_OPENSSL_FUNCTIONS(F)                                                                \
  F(const SSL_METHOD *, TLS_method, (void))                                                    \
  F(SSL_CTX *, SSL_CTX_new, (const SSL_METHOD *))                                              \
  F(void, SSL_CTX_free, (SSL_CTX *))                                                           \
  F(long, SSL_CTX_ctrl, (SSL_CTX *, int, long, void *))                                        \
  F(int, SSL_CTX_set_cipher_list, (SSL_CTX *, const char *))                                   \
  F(int, SSL_CTX_set_default_verify_paths, (SSL_CTX *))                                        \
  F(int, SSL_CTX_load_verify_locations, (SSL_CTX *, const char *, const char *))               \
  F(X509_STORE *, SSL_CTX_get_cert_store, (const SSL_CTX *))                                   \
  F(int, SSL_CTX_use_certificate, (SSL_CTX *, X509 *))                                         \
  F(int, SSL_CTX_use_PrivateKey, (SSL_CTX *, EVP_PKEY *))                                      \
  F(int, SSL_CTX_check_private_key, (const SSL_CTX *))                                         \
  F(int, SSL_CTX_add_client_CA, (SSL_CTX *, X509 *))                                           \
  F(int, SSL_CTX_set_session_id_context, (SSL_CTX *, const unsigned char *, unsigned int))     \
  F(void, SSL_CTX_set_alpn_select_cb,                                                          \
    (SSL_CTX *,                                                                                \
     int (*)(SSL *, const unsigned char **, unsigned char *, const unsigned char *,            \
             unsigned int, void *),                                                            \
     void *))                                                                                  \
  F(int, SSL_CTX_set_alpn_protos, (SSL_CTX *, const unsigned char *, unsigned int))            \
  F(void, SSL_CTX_sess_set_new_cb, (SSL_CTX *, int (*)(SSL *, SSL_SESSION *)))                 \
  F(SSL *, SSL_new, (SSL_CTX *))                                                               \
  F(void, SSL_free, (SSL *))                                                                   \
  F(void, SSL_set_bio, (SSL *, BIO *, BIO *))                                                  \
  F(void, SSL_set_accept_state, (SSL *))                                                       \
  F(void, SSL_set_connect_state, (SSL *))                                                      \
  F(void, SSL_set_verify, (SSL *, int, int (*)(int, X509_STORE_CTX *)))                        \
  F(void, SSL_set_cert_cb, (SSL *, int (*)(SSL *, void *), void *))                            \
  F(SSL_CTX *, SSL_set_SSL_CTX, (SSL *, SSL_CTX *))                                            \
  F(long, SSL_ctrl, (SSL *, int, long, void *))                                                \
  F(int, SSL_set_ex_data, (SSL *, int, void *))                                                \
  F(void *, SSL_get_ex_data, (const SSL *, int))                                               \
  F(int, SSL_do_handshake, (SSL *))                                                            \
  F(int, SSL_read, (SSL *, void *, int))                                                       \
  F(int, SSL_write, (SSL *, const void *, int))                                                \
  F(int, SSL_shutdown, (SSL *))                                                                \
  F(int, SSL_get_error, (const SSL *, int))                                                    \
  F(int, SSL_has_pending, (const SSL *))                                                       \
  F(int, SSL_version, (const SSL *))                                                           \
  F(int, SSL_session_reused, (const SSL *))                                                    \
  F(int, SSL_set_session, (SSL *, SSL_SESSION *))                                              \
  F(void, SSL_SESSION_free, (SSL_SESSION *))                                                   \
  F(int, SSL_SESSION_get_protocol_version, (const SSL_SESSION *))                              \
  F(const char *, SSL_get_servername, (const SSL *, const int))                                \
  F(const SSL_CIPHER *, SSL_get_current_cipher, (const SSL *))                                 \
  F(const char *, SSL_CIPHER_get_name, (const SSL_CIPHER *))                                   \
  F(void, SSL_get0_alpn_selected, (const SSL *, const unsigned char **, unsigned int *))       \
  F(long, SSL_get_verify_result, (const SSL *))                                                \
  F(X509_VERIFY_PARAM *, SSL_get0_param, (SSL *))                                              \
  F(unsigned long, OpenSSL_version_num, (void))                                                \
  F(const char *, OpenSSL_version, (int))                                                      \
  F(unsigned long, ERR_peek_error, (void))                                                     \
  F(void, ERR_clear_error, (void))                                                             \
  F(const char *, ERR_reason_error_string, (unsigned long))                                    \
  F(BIO_METHOD *, BIO_meth_new, (int, const char *))                                           \
  F(int, BIO_meth_set_read, (BIO_METHOD *, int (*)(BIO *, char *, int)))                       \
  F(int, BIO_meth_set_write, (BIO_METHOD *, int (*)(BIO *, const char *, int)))                \
  F(int, BIO_meth_set_ctrl, (BIO_METHOD *, long (*)(BIO *, int, long, void *)))                \
  F(BIO *, BIO_new, (const BIO_METHOD *))                                                      \
  F(int, BIO_free, (BIO *))                                                                    \
  F(void, BIO_set_init, (BIO *, int))                                                          \
  F(void, BIO_set_data, (BIO *, void *))                                                       \
  F(void *, BIO_get_data, (BIO *))                                                             \
  F(void, BIO_set_flags, (BIO *, int))                                                         \
  F(void, BIO_clear_flags, (BIO *, int))                                                       \
  F(BIO *, BIO_new_mem_buf, (const void *, int))                                               \
  F(X509 *, PEM_read_bio_X509, (BIO *, X509 **, pem_password_cb *, void *))                    \
  F(EVP_PKEY *, PEM_read_bio_PrivateKey, (BIO *, EVP_PKEY **, pem_password_cb *, void *))      \
  F(X509 *, d2i_X509_bio, (BIO *, X509 **))                                                    \
  F(EVP_PKEY *, d2i_PrivateKey_bio, (BIO *, EVP_PKEY **))                                      \
  F(EVP_PKEY *, d2i_PKCS8PrivateKey_bio, (BIO *, EVP_PKEY **, pem_password_cb *, void *))      \
  F(void, EVP_PKEY_free, (EVP_PKEY *))                                                         \
  F(void, X509_free, (X509 *))                                                                 \
  F(int, X509_STORE_add_cert, (X509_STORE *, X509 *))                                          \
  F(int, X509_VERIFY_PARAM_set1_host, (X509_VERIFY_PARAM *, const char *, size_t))             \
  F(int, X509_VERIFY_PARAM_set1_ip_asc, (X509_VERIFY_PARAM *, const char *))                   \
  F(void, X509_VERIFY_PARAM_set_hostflags, (X509_VERIFY_PARAM *, unsigned int))                \
  F(const char *, X509_verify_cert_error_string, (long))                                       \
  F(int, i2d_X509, (const X509 *, unsigned char **))

/* NULL in a library that lacks them. */
#define MG_OPENSSL_OPTIONAL(F)                                                                 \
  F(int, SSL_CTX_set_ciphersuites, (SSL_CTX *, const char *)) /* 1.1.1 */                      \
  F(int, SSL_set_num_tickets, (SSL *, size_t))                /* 1.1.1 */

/* Two that 3.0 has changed: the one by its name, the other by its parameter. */
#define MG_OPENSSL_1(F)                                                                        \
  F(X509 *, SSL_get_peer_certificate, (const SSL *))                                           \
  F(unsigned long, SSL_CTX_set_options, (SSL_CTX *, unsigned long))                            \
  F(unsigned long, SSL_set_options, (SSL *, unsigned long))
#define MG_OPENSSL_3(F)                                                                        \
  F(X509 *, SSL_get1_peer_certificate, (const SSL *))                                          \
  F(uint64_t, SSL_CTX_set_options, (SSL_CTX *, uint64_t))                                      \
  F(uint64_t, SSL_set_options, (SSL *, uint64_t))

/* C(our name, OpenSSL's name, value) */
#define MG_OPENSSL_CONSTANTS(C)                                                                \
  C(OSSL_ERROR_SSL, SSL_ERROR_SSL, 1)                                                          \
  C(OSSL_ERROR_WANT_READ, SSL_ERROR_WANT_READ, 2)                                              \
  C(OSSL_ERROR_WANT_WRITE, SSL_ERROR_WANT_WRITE, 3)                                            \
  C(OSSL_ERROR_WANT_X509_LOOKUP, SSL_ERROR_WANT_X509_LOOKUP, 4)                                \
  C(OSSL_ERROR_SYSCALL, SSL_ERROR_SYSCALL, 5)                                                  \
  C(OSSL_ERROR_ZERO_RETURN, SSL_ERROR_ZERO_RETURN, 6)                                          \
  C(OSSL_VERIFY_NONE, SSL_VERIFY_NONE, 0)                                                      \
  C(OSSL_VERIFY_PEER, SSL_VERIFY_PEER, 1)                                                      \
  C(OSSL_VERIFY_FAIL_IF_NO_PEER_CERT, SSL_VERIFY_FAIL_IF_NO_PEER_CERT, 2)                      \
  C(OSSL_CTRL_MODE, SSL_CTRL_MODE, 33)                                                         \
  C(OSSL_CTRL_SET_READ_AHEAD, SSL_CTRL_SET_READ_AHEAD, 41)                                     \
  C(OSSL_CTRL_SET_SESS_CACHE_MODE, SSL_CTRL_SET_SESS_CACHE_MODE, 44)                           \
  C(OSSL_CTRL_SET_TLSEXT_HOSTNAME, SSL_CTRL_SET_TLSEXT_HOSTNAME, 55)                           \
  C(OSSL_CTRL_GET_TLSEXT_TICKET_KEYS, SSL_CTRL_GET_TLSEXT_TICKET_KEYS, 58)                     \
  C(OSSL_CTRL_SET_TLSEXT_TICKET_KEYS, SSL_CTRL_SET_TLSEXT_TICKET_KEYS, 59)                     \
  C(OSSL_CTRL_CHAIN_CERT, SSL_CTRL_CHAIN_CERT, 89)                                             \
  C(OSSL_CTRL_SET_GROUPS_LIST, SSL_CTRL_SET_GROUPS_LIST, 92)                                   \
  C(OSSL_CTRL_SET_MIN_PROTO_VERSION, SSL_CTRL_SET_MIN_PROTO_VERSION, 123)                      \
  C(OSSL_CTRL_SET_MAX_PROTO_VERSION, SSL_CTRL_SET_MAX_PROTO_VERSION, 124)                      \
  C(OSSL_MODE_ENABLE_PARTIAL_WRITE, SSL_MODE_ENABLE_PARTIAL_WRITE, 1)                          \
  C(OSSL_MODE_ACCEPT_MOVING_WRITE_BUFFER, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER, 2)              \
  C(OSSL_MODE_AUTO_RETRY, SSL_MODE_AUTO_RETRY, 4)                                              \
  C(OSSL_MODE_RELEASE_BUFFERS, SSL_MODE_RELEASE_BUFFERS, 16)                                   \
  C(OSSL_OP_NO_TICKET, SSL_OP_NO_TICKET, 1 << 14)                                              \
  C(OSSL_OP_NO_COMPRESSION, SSL_OP_NO_COMPRESSION, 1 << 17)                                    \
  C(OSSL_OP_PRIORITIZE_CHACHA, SSL_OP_PRIORITIZE_CHACHA, 1 << 21)                              \
  C(OSSL_OP_CIPHER_SERVER_PREFERENCE, SSL_OP_CIPHER_SERVER_PREFERENCE, 1 << 22)                \
  C(OSSL_OP_NO_RENEGOTIATION, SSL_OP_NO_RENEGOTIATION, 1 << 30)                                \
  C(OSSL_SESS_CACHE_OFF, SSL_SESS_CACHE_OFF, 0)                                                \
  C(OSSL_SESS_CACHE_CLIENT, SSL_SESS_CACHE_CLIENT, 1)                                          \
  C(OSSL_SESS_CACHE_NO_INTERNAL, SSL_SESS_CACHE_NO_INTERNAL, 0x300)                            \
  C(OSSL_TLSEXT_ERR_OK, SSL_TLSEXT_ERR_OK, 0)                                                  \
  C(OSSL_TLSEXT_ERR_ALERT_FATAL, SSL_TLSEXT_ERR_ALERT_FATAL, 2)                                \
  C(OSSL_NAMETYPE_HOST_NAME, TLSEXT_NAMETYPE_host_name, 0)                                     \
  C(OSSL_TLS1_2_VERSION, TLS1_2_VERSION, 0x0303)                                               \
  C(OSSL_TLS1_3_VERSION, TLS1_3_VERSION, 0x0304)                                               \
  C(OSSL_OPENSSL_VERSION, OPENSSL_VERSION, 0)                                                  \
  C(OSSL_BIO_TYPE, BIO_TYPE_SOURCE_SINK | 127, 0x400 | 127)                                    \
  C(OSSL_BIO_FLAGS_READ, BIO_FLAGS_READ, 1)                                                    \
  C(OSSL_BIO_FLAGS_WRITE, BIO_FLAGS_WRITE, 2)                                                  \
  C(OSSL_BIO_FLAGS_SHOULD_RETRY, BIO_FLAGS_SHOULD_RETRY, 8)                                    \
  C(OSSL_BIO_CTRL_FLUSH, BIO_CTRL_FLUSH, 11)                                                   \
  C(OSSL_CHECK_NO_PARTIAL_WILDCARDS, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, 4)                  \
  C(OSSL_V_OK, X509_V_OK, 0)                                                                   \
  C(OSSL_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_HOSTNAME_MISMATCH, 62)                            \
  C(OSSL_V_ERR_IP_ADDRESS_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH, 64)

#define MG_OPENSSL_CONSTANT(ours, theirs, value) MG_##ours = (value),
enum { MG_OPENSSL_CONSTANTS(MG_OPENSSL_CONSTANT) };

#define MG_OPENSSL_POINTER(ret, name, args) ret(*name) args;
struct mg_openssl {
  MG_OPENSSL_FUNCTIONS(MG_OPENSSL_POINTER)
  MG_OPENSSL_OPTIONAL(MG_OPENSSL_POINTER)
  X509 *(*get_peer_certificate)(const SSL *); /* whatever it is called */
  unsigned long (*set_ctx_options_1)(SSL_CTX *, unsigned long); /* one of the two */
  uint64_t (*set_ctx_options_3)(SSL_CTX *, uint64_t);
  unsigned long (*set_options_1)(SSL *, unsigned long); /* ... and of these */
  uint64_t (*set_options_3)(SSL *, uint64_t);
  BIO_METHOD *method; /* a connection as a BIO: tls_engine.c */
};

/* The library that is open, or NULL. Never closed again. */
const struct mg_openssl *mg__openssl(void);

#endif
