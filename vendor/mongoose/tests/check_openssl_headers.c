/* check_openssl_headers.c: are the declarations of src/tls_openssl.h OpenSSL's own?
 *
 * Compiled where OpenSSL's headers are installed, never run: each function has to be of the
 * type that the header says, each constant of its value. */
#define OPENSSL_SUPPRESS_DEPRECATED 1
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#define MG_OPENSSL_TYPES 1
#include "../src/tls_openssl.h"

#undef SSL_get_peer_certificate /* in 3.0 a macro, beside the function */
#define SAME_FUNCTION(ret, name, args)                              \
  ret (*check_##name(void)) args;                                   \
  ret (*check_##name(void)) args { return name; }
MG_OPENSSL_FUNCTIONS(SAME_FUNCTION)
#if OPENSSL_VERSION_NUMBER >= 0x10101000L
MG_OPENSSL_OPTIONAL(SAME_FUNCTION)
#endif
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
MG_OPENSSL_3(SAME_FUNCTION)
#else
MG_OPENSSL_1(SAME_FUNCTION)
#endif

#define SAME_VALUE(ours, theirs, value) \
  _Static_assert((long long) (theirs) == (long long) (value), #theirs " is not " #value);
MG_OPENSSL_CONSTANTS(SAME_VALUE)
