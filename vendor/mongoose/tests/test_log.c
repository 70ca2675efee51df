/* Log lines: made under the lock, handed over without it. */
#include "../src/internal.h"

#include "../src/iobuf.c"
#include "../src/log.c"
#include "check.h"

static struct mg_mgr mgr;
static struct { /* what the callback was given last, and how often */
  int count, level;
  char text[4096];
  size_t len;
} got;
static bool log_more; /* the callback logs a line itself */

static void on_log(uint32_t tag, int level, const char *text, size_t len) {
  CHECK(tag == 42);
  CHECK(pthread_mutex_trylock(&mgr.lock) == 0); /* the lock is free here */
  if (log_more) mg__log(&mgr, MG_LL_INFO, "from the callback");
  mg__unlock(&mgr);
  CHECK(len <= LOG_LINE);
  got.count++;
  got.level = level;
  got.len = len;
  memcpy(got.text, text, len);
  got.text[len] = '\0';
}

static const struct mgx_callbacks callbacks = {.on_log = on_log};

/* A manager as far as the log needs one, with the lock held. */
static void begin(int level) {
  memset(&mgr, 0, sizeof(mgr));
  memset(&got, 0, sizeof(got));
  pthread_mutex_init(&mgr.lock, NULL);
  mgr.tag = 42;
  mgr.cb = &callbacks;
  mg_log_set(level);
  mg__lock(&mgr);
}

static void end(void) {
  mg__unlock(&mgr);
  mg__log_free(&mgr);
  pthread_mutex_destroy(&mgr.lock);
  mg_log_set(MG_LL_NONE);
}

static void test_nothing_is_logged_unless_asked_for(void) {
  CHECK(mg_log_get() == MG_LL_NONE);
  begin(MG_LL_NONE);
  mg__log(&mgr, MG_LL_ERROR, "x");
  mg__log_flush(&mgr);
  CHECK(got.count == 0);
  end();
}

static void test_lines_above_the_level_are_not_made(void) {
  begin(MG_LL_INFO);
  CHECK(mg_log_get() == MG_LL_INFO);
  mg__log(&mgr, MG_LL_DEBUG, "too much");
  CHECK(mgr.log_count == 0);
  mg__log(&mgr, MG_LL_INFO, "n=%d %s", 5, "five");
  CHECK(got.count == 0); /* not before the flush */
  mg__log_flush(&mgr);
  CHECK(got.count == 1 && got.level == MG_LL_INFO && strcmp(got.text, "n=5 five") == 0);
  mg__log_flush(&mgr);
  CHECK(got.count == 1);
  end();
}

static void test_control_bytes_are_escaped(void) {
  begin(MG_LL_VERBOSE);
  mg__log(&mgr, MG_LL_ERROR, "a\r\n\x1b[0m\x7f\t\xc3\xa9");
  mg__log_flush(&mgr);
  CHECK(strcmp(got.text, "a\\x0d\\x0a\\x1b[0m\\x7f\\x09\xc3\xa9") == 0);
  end();
}

static void log_run_of(char byte, size_t n) {
  static char text[3000];
  memset(text, byte, n);
  text[n] = '\0';
  mg__log(&mgr, MG_LL_ERROR, "%s", text);
  mg__log_flush(&mgr);
}

static void test_long_lines_are_cut_with_dots(void) {
  begin(MG_LL_ERROR);
  log_run_of('a', LOG_LINE);
  CHECK(got.len == LOG_LINE && got.text[LOG_LINE - 1] == 'a');
  log_run_of('a', LOG_LINE + 1);
  CHECK(got.len == LOG_LINE && strcmp(got.text + LOG_LINE - 4, "a...") == 0);
  log_run_of('\n', LOG_LINE / 4);
  CHECK(got.len == LOG_LINE && strcmp(got.text + LOG_LINE - 4, "\\x0a") == 0);
  log_run_of('\n', LOG_LINE / 4 + 1); /* 255 escapes are 1020 bytes, and then the dots */
  CHECK(got.len == LOG_LINE - 1 && strcmp(got.text + got.len - 7, "\\x0a...") == 0);
  end();
}

static void test_a_cut_does_not_split_a_character(void) {
  char text[2 * LOG_LINE + 1];
  for (size_t i = 0; i < LOG_LINE; i++) memcpy(text + 2 * i, "\xc3\xa9", 2);
  text[2 * LOG_LINE] = '\0';
  begin(MG_LL_ERROR);
  mg__log(&mgr, MG_LL_ERROR, "%s", text);
  mg__log_flush(&mgr);
  CHECK(got.len == LOG_LINE - 1 && strcmp(got.text + got.len - 5, "\xc3\xa9...") == 0);
  end();
}

static void test_a_flood_is_cut_and_counted(void) {
  begin(MG_LL_ERROR);
  for (int i = 0; i < LOG_WAITING + 1000; i++) mg__log(&mgr, MG_LL_ERROR, "line %d", i);
  mg__log_flush(&mgr);
  CHECK(got.count == LOG_WAITING + 1 && strcmp(got.text, "log lines dropped: 1000") == 0);
  mg__log(&mgr, MG_LL_ERROR, "after");
  mg__log_flush(&mgr);
  CHECK(got.count == LOG_WAITING + 2 && strcmp(got.text, "after") == 0);
  end();
}

static void test_lines_lost_to_memory_are_counted_too(void) {
  begin(MG_LL_ERROR);
  mg__fail_at = 0;
  mg__log(&mgr, MG_LL_ERROR, "lost");
  mg__log(&mgr, MG_LL_ERROR, "kept");
  mg__log_flush(&mgr);
  CHECK(got.count == 2 && strcmp(got.text, "log lines dropped: 1") == 0);
  end();
}

static void test_a_callback_may_log_for_the_next_time(void) {
  begin(MG_LL_INFO);
  log_more = true;
  mg__log(&mgr, MG_LL_INFO, "first");
  mg__log_flush(&mgr);
  log_more = false;
  CHECK(got.count == 1 && strcmp(got.text, "first") == 0);
  mg__log_flush(&mgr);
  CHECK(got.count == 2 && strcmp(got.text, "from the callback") == 0);
  end();
}

static void test_lines_that_are_never_read_are_freed(void) {
  begin(MG_LL_INFO);
  mg__log(&mgr, MG_LL_INFO, "one");
  mg__log(&mgr, MG_LL_INFO, "two");
  end(); /* the leak sanitizer looks */
  CHECK(mgr.log_first == NULL && mgr.log_count == 0 && got.count == 0);
}

int main(void) {
  RUN(test_nothing_is_logged_unless_asked_for);
  RUN(test_lines_above_the_level_are_not_made);
  RUN(test_control_bytes_are_escaped);
  RUN(test_long_lines_are_cut_with_dots);
  RUN(test_a_cut_does_not_split_a_character);
  RUN(test_a_flood_is_cut_and_counted);
  RUN(test_lines_lost_to_memory_are_counted_too);
  RUN(test_a_callback_may_log_for_the_next_time);
  RUN(test_lines_that_are_never_read_are_freed);
  return 0;
}
