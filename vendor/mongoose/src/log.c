/* log.c: lines for the user's log.
 *
 * A line is made wherever something happens, under the lock, and handed over
 * later, without it: a log callback may well call back into the manager. So
 * lines wait in a queue, a short one: a flood is cut and counted, never
 * allowed to eat the memory. Text from the network may be part of a line,
 * hence control bytes never get through as they are. */
#include "internal.h"

#include <stdatomic.h>

enum { LOG_LINE = 1024, LOG_WAITING = 256 }; /* bytes of a line, lines of a queue */

struct mg_log_line {
  struct mg_log_line *next;
  int level;
  size_t len;
  char text[];
};

/* The one thing here that managers share. */
static atomic_int log_level = MG_LL_NONE;

void mg_log_set(int level) { atomic_store_explicit(&log_level, level, memory_order_relaxed); }
int mg_log_get(void) { return atomic_load_explicit(&log_level, memory_order_relaxed); }

/* Copy raw (NUL-terminated) to line[0..LOG_LINE) with control bytes as \xNN,
 * and with "..." at the end if it was cut or does not fit. The length. */
static size_t log_escape(const char *raw, bool cut, char *line) {
  static const char digits[] = "0123456789abcdef";
  size_t used = 0, fit = 0; /* fit: where "..." may go without splitting anything */
  for (; *raw != '\0'; raw++) {
    unsigned char ch = (unsigned char) *raw;
    bool escape = ch < 0x20 || ch == 0x7f;
    size_t width = escape ? 4 : 1;
    if (width > LOG_LINE - used) {
      cut = true;
      break;
    }
    if (escape) {
      line[used] = '\\', line[used + 1] = 'x';
      line[used + 2] = digits[ch >> 4], line[used + 3] = digits[ch & 15];
    } else {
      line[used] = *raw;
    }
    used += width;
    if (used <= LOG_LINE - 3 && ((unsigned char) raw[1] & 0xc0) != 0x80) fit = used;
  }
  if (!cut) return used;
  memcpy(line + fit, "...", 3);
  return fit + 3;
}

/* log_count goes on counting when the queue is full: mg__log_flush() sees by
 * it how many were dropped. */
void mg__log(struct mg_mgr *mgr, int level, const char *fmt, ...) {
  char raw[LOG_LINE + 1], line[LOG_LINE];
  struct mg_log_line *node;
  size_t len;
  va_list ap;
  int n;
  if (level <= MG_LL_NONE || level > mg_log_get()) return;
  if (mgr->log_count++ >= LOG_WAITING) return;
  va_start(ap, fmt);
  n = vsnprintf(raw, sizeof(raw), fmt, ap);
  va_end(ap);
  if (n < 0) return;
  len = log_escape(raw, (size_t) n >= sizeof(raw), line);
  node = mg__malloc(sizeof(*node) + len);
  if (node == NULL) return;
  node->next = NULL;
  node->level = level;
  node->len = len;
  memcpy(node->text, line, len);
  if (mgr->log_last != NULL) mgr->log_last->next = node;
  if (mgr->log_first == NULL) mgr->log_first = node;
  mgr->log_last = node;
}

/* Take the queue away from the manager; *count lines were to be in it. */
static struct mg_log_line *log_detach(struct mg_mgr *mgr, size_t *count) {
  struct mg_log_line *line = mgr->log_first;
  *count = mgr->log_count;
  mgr->log_first = mgr->log_last = NULL;
  mgr->log_count = 0;
  return line;
}

void mg__log_flush(struct mg_mgr *mgr) {
  size_t count;
  struct mg_log_line *line, *next;
  if (mgr->log_count == 0) return;
  line = log_detach(mgr, &count);
  mg__unlock(mgr);
  for (; line != NULL; line = next, count--) {
    next = line->next;
    mgr->cb->on_log(mgr->tag, line->level, line->text, line->len);
    mg__free(line);
  }
  if (count > 0) {
    char text[64];
    int len = snprintf(text, sizeof(text), "log lines dropped: %lu", (unsigned long) count);
    mgr->cb->on_log(mgr->tag, MG_LL_ERROR, text, (size_t) len);
  }
  mg__lock(mgr);
}

void mg__log_free(struct mg_mgr *mgr) {
  size_t count;
  struct mg_log_line *line = log_detach(mgr, &count), *next;
  for (; line != NULL; line = next) {
    next = line->next;
    mg__free(line);
  }
}
