/* test_http_static.c: what is decided about a file without a connection:
 * dates, ranges, tags, codings, types, and which paths may be opened; and that
 * serving survives when memory is short.
 *
 * Both ways to open a path, by the kernel and by steps, walk the same tree, so
 * that systems without openat2() are covered on those that have it. */
#include "../mongoose.c"

#include "world.h"

static struct mg_str guarded_str(const char *s, size_t len) {
  struct mg_str str = {guarded(s, len), len};
  return str;
}

static struct mg_str text(const char *s) { return guarded_str(s, strlen(s)); }

/* ---- paths ------------------------------------------------------------------ */

static void test_sane_paths_are_told_from_others(void) {
  static const char *const sane[] = {"",    "a.b",     "a..b", ".a",  "./",    "a..",
                                     "././a..", "/.", "/a/~b", "/~a", "a/b..c/d"};
  static const char *const others[] = {"..",     "../",    "./..",   "a/../b", "~",      "~root",
                                       "/..",    "/..a",   "a\\..",  "a/..",   "\\..\\", "/a//.."};
  size_t i;
  for (i = 0; i < sizeof(sane) / sizeof(sane[0]); i++) CHECK(mg__path_is_sane(text(sane[i])));
  for (i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
    CHECK(!mg__path_is_sane(text(others[i])));
  }
  CHECK(!mg__path_is_sane(guarded_str("a\0/../b", 7)));
  CHECK(!mg__path_is_sane(guarded_str("a\0", 2)));
}

static void test_the_path_of_a_target_is_what_follows_the_host(void) {
  static const char *const pairs[][2] = {
      {"/a/b", "/a/b"},   {"http://h/a", "/a"}, {"http://h", "/"}, {"HTTP://u@h:1//x/", "//x/"},
      {"/http://h/a", "/http://h/a"}, {"", "/"},   {"*", "*"},        {"h:80", "h:80"}};
  size_t i;
  for (i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
    struct mg_str path = target_path(text(pairs[i][0]));
    CHECK(path.len == strlen(pairs[i][1]) && memcmp(path.buf, pairs[i][1], path.len) == 0);
  }
}

/* A directory with a file, a sub-directory and links of every kind. */
static void make_tree(char *base) {
  char cmd[1024];
  CHECK(mkdtemp(base) != NULL);
  snprintf(cmd, sizeof(cmd),
           "cd %s && mkdir -p root/sub && echo out >out && echo in >root/in &&"
           "echo x >root/sub/x && ln -s in root/good && ln -s sub root/dir && ln -s ../in root/sub/up &&"
           "ln -s ../out root/bad && ln -s %s/root/in root/abs && ln -s loop root/loop &&"
           "mkfifo root/pipe",
           base, base);
  CHECK(system(cmd) == 0);
}

static void remove_tree(const char *base) {
  char cmd[256];
  snprintf(cmd, sizeof(cmd), "rm -r %s", base);
  CHECK(system(cmd) == 0);
}

typedef int opener(int root, const char *path, int flags);

/* The first character of the file, or -errno. */
static int first_char(opener *fn, int root, const char *path) {
  char ch = 0;
  int fd = fn(root, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return fd;
  CHECK(read(fd, &ch, 1) == 1);
  close(fd);
  return ch;
}

static void check_tree(opener *fn, bool follows) {
  char base[] = "/tmp/mgstaticXXXXXX", root_path[64];
  int root, fd;
  make_tree(base);
  snprintf(root_path, sizeof(root_path), "%s/root", base);
  root = open(root_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  CHECK(root >= 0);
  CHECK(first_char(fn, root, "in") == 'i');
  CHECK(first_char(fn, root, "sub/x") == 'x');
  CHECK(first_char(fn, root, "./sub//./x") == 'x');
  CHECK(first_char(fn, root, "good") == (follows ? 'i' : -ELOOP));
  CHECK(first_char(fn, root, "dir/x") == (follows ? 'x' : -ENOTDIR));
  CHECK(first_char(fn, root, "sub/up") == (follows ? 'i' : -ELOOP));
  CHECK(first_char(fn, root, "../out") == -EXDEV);
  CHECK(first_char(fn, root, "sub/../../out") == -EXDEV);
  CHECK(first_char(fn, root, "bad") == (follows ? -EXDEV : -ELOOP));
  CHECK(first_char(fn, root, "abs") == (follows ? -EXDEV : -ELOOP));
  CHECK(first_char(fn, root, "loop") == -ELOOP);
  CHECK(first_char(fn, root, "none") == -ENOENT);
  CHECK(first_char(fn, root, "in/x") == -ENOTDIR);
  fd = fn(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  CHECK(fd >= 0);
  close(fd);
  close(root);
  remove_tree(base);
}

static void test_opening_by_steps_stays_below_the_root(void) { check_tree(open_by_steps, false); }

static void test_opening_by_the_kernel_stays_below_the_root(void) {
  int fd = open_by_kernel(AT_FDCWD, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd == -ENOSYS || fd == -EPERM) return; /* an old kernel: by steps is all there is */
  CHECK(fd >= 0);
  close(fd);
  check_tree(open_by_kernel, true);
}

static void test_only_regular_files_are_opened(void) {
  char base[] = "/tmp/mgstaticXXXXXX", path[64];
  struct served_file f;
  int root;
  make_tree(base);
  snprintf(path, sizeof(path), "%s/root", base);
  root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  CHECK(open_regular(root, "pipe", &f) == -ENOENT);
  CHECK(open_regular(root, "sub", &f) == -EISDIR);
  CHECK(open_regular(MG_NO_ROOT, "/dev/null", &f) == -ENOENT);
  CHECK(open_regular(root, "in", &f) == 0 && f.size == 3);
  close(f.fd);
  close(root);
  remove_tree(base);
}

/* ---- dates ------------------------------------------------------------------ */

static const int64_t SAMPLE = 784111777; /* the date that RFC 9110 writes in three forms */

static int64_t seconds_of(const char *s, int64_t now) {
  int64_t at;
  return mg__http_date_parse(text(s), now, &at) ? at : INT64_MIN;
}

static void test_the_three_date_forms_are_read(void) {
  CHECK(seconds_of("Sun, 06 Nov 1994 08:49:37 GMT", 0) == SAMPLE);
  CHECK(seconds_of("Sun Nov  6 08:49:37 1994", 0) == SAMPLE);
  CHECK(seconds_of("Sunday, 06-Nov-94 08:49:37 GMT", SAMPLE) == SAMPLE);
  CHECK(seconds_of("Thu Jan  1 00:00:00 1970", 0) == 0);
  CHECK(seconds_of("Wed, 31 Dec 1969 23:59:59 GMT", 0) == -1);
  CHECK(seconds_of("Sat, 31 Dec 2016 23:59:60 GMT", 0) == 1483228800);
}

static void test_a_year_of_two_digits_is_at_most_50_years_ahead(void) {
  const int64_t in_2026 = 1780000000, year = 31556952;
  CHECK(seconds_of("Sunday, 06-Nov-94 08:49:37 GMT", in_2026) == SAMPLE);
  CHECK(seconds_of("Monday, 01-Jan-76 00:00:00 GMT", in_2026) > in_2026 + 48 * year);
  CHECK(seconds_of("Monday, 01-Jan-77 00:00:00 GMT", in_2026) < in_2026);
}

static void test_what_is_no_date_is_refused(void) {
  static const char *const bad[] = {
      "",
      "0",
      "Sun, 06 Nov 1994 08:49:37",
      "Sun, 06 Nov 1994 08:49:37 UTC",
      "Sun, 06 Nov 1994 08:49:37 GMT ",
      "sun, 06 Nov 1994 08:49:37 GMT",
      "Sun, 6 Nov 1994 08:49:37 GMT",
      "Sun, 31 Nov 1994 08:49:37 GMT",
      "Tue, 29 Feb 2100 08:49:37 GMT",
      "Sun, 00 Nov 1994 08:49:37 GMT",
      "Sun, 06 Nov 1994 24:00:00 GMT",
      "Sun, 06 Nov 1994 08:60:00 GMT",
      "Sun, 06 Nov 1994 08:49:61 GMT",
      "Sun, 06 Nov 0000 08:49:37 GMT",
      "Sun, 06 Now 1994 08:49:37 GMT",
      "Sun, 06 Nov -994 08:49:37 GMT",
      "Sunday, 06-Nov-1994 08:49:37 GMT",
      "Sun Nov 6 08:49:37 1994",
  };
  size_t i;
  for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) CHECK(seconds_of(bad[i], 0) == INT64_MIN);
}

static void test_every_prefix_of_a_date_is_no_date(void) {
  static const char *const forms[] = {"Sun, 06 Nov 1994 08:49:37 GMT", "Sun Nov  6 08:49:37 1994",
                                      "Sunday, 06-Nov-94 08:49:37 GMT"};
  size_t i, n;
  int64_t at;
  for (i = 0; i < 3; i++) {
    for (n = 0; n < strlen(forms[i]); n++) {
      CHECK(!mg__http_date_parse(guarded_str(forms[i], n), 0, &at));
    }
  }
}

static void test_dates_survive_the_round_trip(void) {
  char buf[MG_DATE_SIZE];
  int64_t at;
  /* A step of about 11 days that hits every time of the day sooner or later. */
  for (at = 0; at < 253402300800; at += 999983) {
    mg__http_date((time_t) at, buf, sizeof(buf));
    CHECK(strlen(buf) == 29 && seconds_of(buf, 0) == at);
  }
}

/* ---- ranges, tags, codings, types --------------------------------------------- */

static void check_range(const char *value, uint64_t size, int status, uint64_t ofs, uint64_t len) {
  uint64_t got_ofs = 0, got_len = size;
  CHECK(mg__http_range(text(value), size, &got_ofs, &got_len) == status);
  if (status == 206) CHECK(got_ofs == ofs && got_len == len);
}

static void test_ranges_are_clamped_refused_or_ignored(void) {
  check_range("bytes=0-0", 10, 206, 0, 1);
  check_range("bytes=2-5", 10, 206, 2, 4);
  check_range("BYTES=2-", 10, 206, 2, 8);
  check_range("bytes=2-99999999999999999999999", 10, 206, 2, 8);
  check_range("bytes=-3", 10, 206, 7, 3);
  check_range("bytes=-99", 10, 206, 0, 10);
  check_range("bytes=, 1-1 ,", 10, 206, 1, 1);
  check_range("bytes=0-", UINT64_MAX, 206, 0, UINT64_MAX);
  check_range("bytes=10-", 10, 416, 0, 0);
  check_range("bytes=-0", 10, 416, 0, 0);
  check_range("bytes=0-", 0, 416, 0, 0);
  check_range("bytes=99999999999999999999999-", 10, 416, 0, 0);
  check_range("bytes=-3", 0, 200, 0, 0);
  check_range("bytes=0-1,3-4", 10, 200, 0, 0);
  check_range("bytes=5-2", 10, 200, 0, 0);
  check_range("bytes=", 10, 200, 0, 0);
  check_range("bytes", 10, 200, 0, 0);
  check_range("bytes=-", 10, 200, 0, 0);
  check_range("bytes=--1", 10, 200, 0, 0);
  check_range("bytes=+1-2", 10, 200, 0, 0);
  check_range("bytes=1-2x", 10, 200, 0, 0);
  check_range("bytes=1 - 2", 10, 200, 0, 0);
  check_range("bytes =1-2", 10, 200, 0, 0);
  check_range("lines=1-2", 10, 200, 0, 0);
  check_range("", 10, 200, 0, 0);
}

static void test_tags_are_found_in_lists(void) {
  CHECK(mg__etag_in_list(text("\"1.2\""), "\"1.2\"", true));
  CHECK(mg__etag_in_list(text("\"a,b\" , W/\"1.2\""), "\"1.2\"", true));
  CHECK(!mg__etag_in_list(text("W/\"1.2\""), "\"1.2\"", false));
  CHECK(mg__etag_in_list(text("x, \"1.2\""), "\"1.2\"", false));
  CHECK(mg__etag_in_list(text("*"), "\"1.2\"", false));
  CHECK(!mg__etag_in_list(text(""), "\"1.2\"", true));
  CHECK(!mg__etag_in_list(text("1.2"), "\"1.2\"", true));
  CHECK(!mg__etag_in_list(text("\"1.2"), "\"1.2\"", true));
  CHECK(!mg__etag_in_list(text("W/"), "\"1.2\"", true));
  CHECK(!mg__etag_in_list(text("\"*\""), "\"1.2\"", true));
  CHECK(!mg__etag_in_list(text("\"1.20\""), "\"1.2\"", true));
}

static bool gzip_by(const char *first, const char *second) {
  struct mg_http_header headers[2];
  struct mg_http_message msg;
  memset(&msg, 0, sizeof(msg));
  memset(headers, 0, sizeof(headers));
  headers[0].name = headers[1].name = str_of("Accept-Encoding");
  headers[0].value = str_of(first);
  headers[1].value = str_of(second);
  msg.headers = headers;
  msg.num_headers = 2;
  return mg__accepts_gzip(&msg);
}

static void test_gzip_is_accepted_by_token_and_weight(void) {
  CHECK(gzip_by("gzip", ""));
  CHECK(gzip_by("deflate, GZIP;q=0.001", "br"));
  CHECK(gzip_by("br", "x-gzip; q=1"));
  CHECK(gzip_by("*", ""));
  CHECK(gzip_by("identity;q=0, *;q=0.5", ""));
  CHECK(!gzip_by("", ""));
  CHECK(!gzip_by("gzip;q=0", ""));
  CHECK(!gzip_by("gzip; Q=0.000", "*"));
  CHECK(!gzip_by("gzip;q=x", ""));
  CHECK(!gzip_by("gzip;q=", ""));
  CHECK(!gzip_by("ungzip, gzipped", ""));
  CHECK(!gzip_by("*;q=0", ""));
  CHECK(!gzip_by("identity", ""));
}

static bool has_type(const char *name, const char *types, const char *want) {
  struct mg_str type = mg__media_type(name, str_of(types));
  return type.len == strlen(want) && memcmp(type.buf, want, type.len) == 0;
}

static void test_types_come_from_the_options_then_the_table(void) {
  CHECK(has_type("a.html", "", "text/html; charset=utf-8"));
  CHECK(has_type("a.tar.GZ", "", "application/gzip"));
  CHECK(has_type("a.woff2", "", "font/woff2"));
  CHECK(has_type("a.nothing", "", "text/plain; charset=utf-8"));
  CHECK(has_type("a", "", "text/plain; charset=utf-8"));
  CHECK(has_type("dir.html/a", "", "text/plain; charset=utf-8"));
  CHECK(has_type("a.", "=x/y", "text/plain; charset=utf-8"));
  CHECK(has_type("a.HTML", "html=x/y", "x/y"));
  CHECK(has_type("a.css", "html=x/y , CSS = z/z; a=b", "z/z; a=b"));
  CHECK(has_type("a.css", "html=x/y", "text/css; charset=utf-8"));
  CHECK(has_type("a.css", "*=x/y,css=z/z", "x/y"));
  CHECK(has_type("a", "*=x/y", "x/y"));
  CHECK(has_type("a.css", "css=x\r\nEvil: y", "text/css; charset=utf-8"));
  CHECK(has_type("a.css", "css=,css,=,,", "text/css; charset=utf-8"));
}

static void test_header_lines_with_anything_odd_are_refused(void) {
  static const char *const good[] = {"", "A: b\r\n", "A:\r\nB: c: d\r\n", "A: \xff\t\r\n"};
  static const char *const bad[] = {"A: b",          "A: b\r",       "A: b\n",     "\r\n",
                                    "A: b\r\n\r\n",  "A\r\n",        ": b\r\n",    "A : b\r\n",
                                    " A: b\r\n",     "A: b\nC: d\r\n", "A: b\rC\r\n",
                                    "A: b\r\n c\r\n"};
  size_t i;
  for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) CHECK(header_lines_are_sane(text(good[i])));
  for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) CHECK(!header_lines_are_sane(text(bad[i])));
  CHECK(!header_lines_are_sane(guarded_str("A: \0b\r\n", 7)));
}

/* ---- memory shortage ------------------------------------------------------------ */

static char shortage_root[64];

static void serve_or_fail(uint64_t conn, int ev, const char *data, size_t n) {
  struct mg_http_serve_opts opts;
  (void) data, (void) n;
  if (ev != MG_EV_HTTP_MSG) return;
  memset(&opts, 0, sizeof(opts));
  opts.root = str_of(shortage_root);
  opts.listing = true;
  if (mg_http_serve_dir(world.mgr, conn, &opts) < 0) mgx_http_fail(world.mgr, conn);
}

static int lowest_free_descriptor(void) {
  int fd = dup(0);
  close(fd);
  return fd;
}

/* Requests for an answer of each kind, with the n-th allocation failing;
 * whether it was reached. */
static bool files_under_memory_shortage(long n) {
  static const char *const paths[] = {"/in", "/", "/dir", "/none", "/big", "/in/", "/.."};
  int before = lowest_free_descriptor();
  int64_t server, client = 0;
  size_t i;
  bool hit;
  mg__fail_at = n;
  if (world_open(NULL, MGX_POLLER_DEFAULT) != NULL) {
    world.react = serve_or_fail;
    server = world_listen("http://127.0.0.1:0");
    if (server > 0) client = world_connect(world_url(server, "tcp"));
    for (i = 0; client > 0 && i < sizeof(paths) / sizeof(paths[0]); i++) {
      char wire[128];
      snprintf(wire, sizeof(wire), "GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n", paths[i],
               strcmp(paths[i], "/..") == 0 ? "Connection: close\r\n" : "");
      world_send((uint64_t) client, wire);
    }
    for (i = 0; client > 0 && i < 40; i++) mg_mgr_poll(world.mgr, 0);
  }
  hit = mg__fail_at < 0;
  mg__fail_at = -1;
  if (!hit) CHECK(world_until("HTTP_MSG(/..)") && world_until("2:CLOSE"));
  world_end();
  CHECK(lowest_free_descriptor() == before);
  return hit;
}

static void test_any_failing_allocation_is_survived(void) {
  char base[] = "/tmp/mgstaticXXXXXX", big[80];
  long n = 0;
  make_tree(base);
  snprintf(shortage_root, sizeof(shortage_root), "%s/root", base);
  snprintf(big, sizeof(big), "%s/big", shortage_root);
  CHECK(truncate(big, 0) != 0 && close(creat(big, 0600)) == 0 && truncate(big, 100000) == 0);
  while (files_under_memory_shortage(n)) n++;
  printf("   %ld allocations failed in turn\n", n);
  CHECK(n > 10);
  remove_tree(base);
}

int main(void) {
  RUN(test_sane_paths_are_told_from_others);
  RUN(test_the_path_of_a_target_is_what_follows_the_host);
  RUN(test_opening_by_steps_stays_below_the_root);
  RUN(test_opening_by_the_kernel_stays_below_the_root);
  RUN(test_only_regular_files_are_opened);
  RUN(test_the_three_date_forms_are_read);
  RUN(test_a_year_of_two_digits_is_at_most_50_years_ahead);
  RUN(test_what_is_no_date_is_refused);
  RUN(test_every_prefix_of_a_date_is_no_date);
  RUN(test_dates_survive_the_round_trip);
  RUN(test_ranges_are_clamped_refused_or_ignored);
  RUN(test_tags_are_found_in_lists);
  RUN(test_gzip_is_accepted_by_token_and_weight);
  RUN(test_types_come_from_the_options_then_the_table);
  RUN(test_header_lines_with_anything_odd_are_refused);
  RUN(test_any_failing_allocation_is_survived);
  return 0;
}
