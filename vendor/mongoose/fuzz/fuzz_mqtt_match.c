/* fuzz_mqtt_match.c: any topic filter against any topic.
 *
 * Beyond what the sanitizers see: the verdicts are those of a plain reading of
 * MQTT 5.0 section 4.7, level by level. */
#include "../src/mqtt.h"

#include "../src/mqtt_match.c"
#include "../src/utf8.c"

#define MUST(cond) ((cond) ? (void) 0 : abort())
enum { MOST = 200 };

struct levels {
  struct mg_str level[MOST + 1];
  size_t count;
};

static struct levels split(const char *s, size_t len) {
  struct levels l = {.count = 0};
  size_t start = 0;
  for (size_t i = 0; i <= len; i++) {
    if (i < len && s[i] != '/') continue;
    l.level[l.count++] = (struct mg_str){s + start, i - start};
    start = i + 1;
  }
  return l;
}

static bool is(struct mg_str s, const char *text) {
  return s.len == strlen(text) && memcmp(s.buf, text, s.len) == 0;
}

static bool has(struct mg_str s, char ch) { return s.len > 0 && memchr(s.buf, ch, s.len) != NULL; }

static bool plain_text_ok(const char *s, size_t len) {
  for (size_t i = 0, n; i < len; i += n)
    if (s[i] == '\0' || (n = mg__utf8(s + i, len - i)) == 0) return false;
  return len > 0;
}

/* Without the two levels of a shared subscription; false: it is no filter. */
static bool plain_filter(const char *s, size_t len, struct levels *l) {
  *l = split(s, len);
  if (!plain_text_ok(s, len)) return false;
  if (l->count > 1 && is(l->level[0], "$share")) {
    if (l->level[1].len == 0 || has(l->level[1], '+') || has(l->level[1], '#')) return false;
    if (l->count < 3 || (l->count == 3 && l->level[2].len == 0)) return false;
    memmove(l->level, l->level + 2, (l->count -= 2) * sizeof(l->level[0]));
  }
  for (size_t i = 0; i < l->count; i++) {
    if (has(l->level[i], '+') && l->level[i].len > 1) return false;
    if (has(l->level[i], '#') && (l->level[i].len > 1 || i + 1 < l->count)) return false;
  }
  return true;
}

static bool plain_match(const struct levels *f, const struct levels *t) {
  bool hidden = t->level[0].len > 0 && t->level[0].buf[0] == '$';
  size_t i = 0;
  if (hidden && (is(f->level[0], "+") || is(f->level[0], "#"))) return false;
  for (;; i++) {
    if (i < f->count && is(f->level[i], "#")) return true;
    if (i == f->count || i == t->count) return i == f->count && i == t->count;
    if (is(f->level[i], "+")) continue;
    if (f->level[i].len != t->level[i].len) return false;
    if (memcmp(f->level[i].buf, t->level[i].buf, t->level[i].len) != 0) return false;
  }
}

/* The first byte says where the filter ends. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct levels filter, topic;
  size_t flen, len;
  char *f, *t;
  bool filter_ok, topic_ok;
  if (size == 0 || size > MOST) return 0;
  flen = data[0] < size - 1 ? data[0] : size - 1;
  len = size - 1 - flen;
  f = malloc(flen + 1); /* one more, so that there is one; asked for without */
  t = malloc(len + 1);
  memcpy(f, data + 1, flen);
  memcpy(t, data + 1 + flen, len);
  f = realloc(f, flen > 0 ? flen : 1);
  t = realloc(t, len > 0 ? len : 1);
  filter_ok = plain_filter(f, flen, &filter);
  topic = split(t, len);
  topic_ok = plain_text_ok(t, len) && memchr(t, '+', len) == NULL && memchr(t, '#', len) == NULL;
  MUST(mgx_mqtt_filter_ok(f, flen) == filter_ok);
  MUST(mgx_mqtt_topic_ok(t, len) == topic_ok);
  if (filter_ok && topic_ok) MUST(mgx_mqtt_match(f, flen, t, len) == plain_match(&filter, &topic));
  if (!filter_ok && topic_ok && plain_text_ok(f, flen)) MUST(!mgx_mqtt_match(f, flen, t, len));
  free(f);
  free(t);
  return 0;
}
