/* fuzz_json.c: any path into any text.
 *
 * Beyond what the sanitizers see: what is found is a whole value by itself;
 * what stands behind it changes nothing; text that ends inside of it gives
 * no other value; and every string that is found can be unescaped. */
#include "../src/internal.h"

#include "../src/http_parse.c"
#include "../src/json.c"
#include "../src/url.c"
#include "../src/utf8.c"

#define MUST(cond) ((cond) ? (void) 0 : abort())

/* Look into a copy that ends where its memory ends. */
static int64_t get(const char *json, size_t len, struct mg_str path, size_t *toklen) {
  char *copy = malloc(len);
  int64_t at;
  if (len > 0) memcpy(copy, json, len);
  *toklen = 1;
  at = mg_json_get(copy, len, path.buf, path.len, toklen);
  MUST(at >= MG_JSON_NOT_FOUND && (at >= 0) == (*toklen > 0));
  MUST(at < 0 || ((size_t) at < len && *toklen <= len - (size_t) at));
  free(copy);
  return at;
}

static void check_string(const char *tok, size_t len) {
  char *to = malloc(len);
  int64_t n = mg_json_unescape(tok, len, to, len);
  MUST(n >= 0 && n <= (int64_t) len - 2);
  for (size_t i = 0, k; i < (size_t) n; i += k) {
    k = mg__utf8(to + i, (size_t) n - i);
    MUST(k > 0);
  }
  free(to);
}

static void check_found(const char *json, size_t at, size_t toklen, struct mg_str path) {
  const struct mg_str root = {"$", 1};
  size_t end = at + toklen, n;
  MUST(get(json + at, toklen, root, &n) == 0 && n == toklen);
  if (json[at] == '"') check_string(json + at, toklen);
  if (json[at] == '"' || json[at] == '{' || json[at] == '[') {
    MUST(get(json, end, path, &n) == (int64_t) at && n == toklen);
    for (n = at; n < end; n++) {
      size_t other;
      MUST(get(json, n, path, &other) == MG_JSON_NOT_FOUND || json[n] < 0);
    }
  }
}

/* The path ends at the first line feed. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const char *text = (const char *) data, *feed = size > 0 ? memchr(data, '\n', size) : NULL;
  struct mg_str path = {text, feed != NULL ? (size_t) (feed - text) : 0}, root = {"$", 1};
  const char *json = feed != NULL ? feed + 1 : text;
  size_t len = size - (size_t) (json - text), toklen;
  int64_t at;
  if (size == 0) return 0;
  at = get(json, len, path, &toklen);
  if (at >= 0) check_found(json, (size_t) at, toklen, path);
  at = get(json, len, root, &toklen);
  if (at >= 0) check_found(json, (size_t) at, toklen, root);
  return 0;
}
