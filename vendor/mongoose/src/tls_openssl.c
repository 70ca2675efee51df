/* tls_openssl.c: the system's OpenSSL, opened at run time.
 *
 * One for the process, and for good: a library that has registered things to be
 * done at exit is not to be unloaded. Which of its functions are used is
 * declared in tls_openssl.h. */
#include "tls.h"

#include <dlfcn.h>
#include <stdatomic.h>

/* Managers share it, like the log level. Written once, with the lock held, before the pointer. */
static struct mg_openssl library;
static _Atomic(const struct mg_openssl *) library_open;
static pthread_mutex_t library_lock = PTHREAD_MUTEX_INITIALIZER;

const struct mg_openssl *mg__openssl(void) {
  return atomic_load_explicit(&library_open, memory_order_acquire);
}

const char *mgx_tls_library(void) {
  const struct mg_openssl *ssl = mg__openssl();
  return ssl == NULL ? NULL : ssl->OpenSSL_version(MG_OSSL_OPENSSL_VERSION);
}

/* A function of the library; the object pointer that dlsym() gives is one in disguise. */
static bool look_up(void *handle, const char *name, void *function) {
  void *found = dlsym(handle, name);
  memcpy(function, &found, sizeof(found));
  return found != NULL;
}

/* What is missing, or NULL. */
static const char *look_all_up(void *handle, struct mg_openssl *ssl) {
#define LOOK_UP(ret, name, args) \
  if (!look_up(handle, #name, &ssl->name)) return #name;
#define TRY(ret, name, args) (void) look_up(handle, #name, &ssl->name);
  MG_OPENSSL_FUNCTIONS(LOOK_UP)
  MG_OPENSSL_OPTIONAL(TRY)
#undef LOOK_UP
#undef TRY
  if (!look_up(handle, "SSL_get1_peer_certificate", &ssl->get_peer_certificate) &&
      !look_up(handle, "SSL_get_peer_certificate", &ssl->get_peer_certificate))
    return "SSL_get1_peer_certificate";
  if (ssl->OpenSSL_version_num() < 0x30000000ul)
    return look_up(handle, "SSL_CTX_set_options", &ssl->set_ctx_options_1) &&
                   look_up(handle, "SSL_set_options", &ssl->set_options_1)
               ? NULL
               : "SSL_set_options";
  return look_up(handle, "SSL_CTX_set_options", &ssl->set_ctx_options_3) &&
                 look_up(handle, "SSL_set_options", &ssl->set_options_3)
             ? NULL
             : "SSL_set_options";
}

static void add_text(struct mgx_error *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void add_text(struct mgx_error *err, const char *fmt, ...) {
  size_t used = strlen(err->text);
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(err->text + used, sizeof(err->text) - used, fmt, ap);
  va_end(ap);
}

static bool open_at(const char *path, struct mgx_error *err) {
  const char *why = NULL;
  void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (handle == NULL) {
    why = dlerror();
    add_text(err, "%s%s", err->text[0] == '\0' ? "" : "; ", why == NULL ? path : why);
    return false;
  }
  memset(&library, 0, sizeof(library));
  why = look_all_up(handle, &library);
  if (why == NULL && mg__tls_make_method(&library)) return true;
  dlclose(handle);
  add_text(err, "%s%s: no %s in it: OpenSSL 1.1.0 or newer is needed",
           err->text[0] == '\0' ? "" : "; ", path, why == NULL ? "memory for a BIO" : why);
  return false;
}

int mgx_tls_open_library(const char *path, struct mgx_error *err) {
  static const char *const usual[] = {
#if defined(__APPLE__)
      "libssl.3.dylib", "/opt/homebrew/opt/openssl@3/lib/libssl.3.dylib",
      "/usr/local/opt/openssl@3/lib/libssl.3.dylib", "libssl.1.1.dylib",
#else
      "libssl.so.3", "libssl.so.1.1", "libssl.so",
#endif
      NULL};
  const char *const given[] = {path, NULL}, *const *name = path == NULL ? usual : given;
  bool is_open;
  err->sys = 0;
  err->text[0] = '\0';
  pthread_mutex_lock(&library_lock);
  is_open = mg__openssl() != NULL;
  for (; !is_open && *name != NULL; name++) is_open = open_at(*name, err);
  if (is_open && mg__openssl() == NULL)
    atomic_store_explicit(&library_open, &library, memory_order_release);
  pthread_mutex_unlock(&library_lock);
  if (!is_open) return MGX_ESYSTEM;
  err->text[0] = '\0';
  return MGX_OK;
}
