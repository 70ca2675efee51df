/* http_static.c: answers made from files (RFC 9110 sections 8.8, 12.5.3, 13, 14).
 *
 * Turns the path of a request into a file below a directory, decides by the
 * conditions in the request what to send of it, and hands head and descriptor
 * on; http.c frames the answer and conn.c moves the bytes.
 *
 * The idea to hold: a name is looked at once. The path is decoded once, opened
 * once, with the kernel (or open_by_steps()) forbidding every way out of the
 * root, and everything else is asked of the descriptor. There is no check of a
 * name that a rename between check and use could make worthless. */
#include "internal.h"

#include <dirent.h>
#include <sys/stat.h>
#if defined(__linux__)
#include <sys/syscall.h>
#endif

enum {
  STATIC_PATH_MAX = 4096,      /* decoded path of a request; longer ones get 400 */
  STATIC_INLINE_MAX = MG_IO_SIZE, /* up to here a file is read, above it is sent by the system */
  STATIC_OPEN_TRIES = 16,      /* the system asks for a retry when a rename races with it */
  LISTING_MAX_ENTRIES = 10000, /* rows of a directory listing */
  ETAG_SIZE = 48,
  DATE_SIZE = 40
};

/* ---- text that grows --------------------------------------------------- */

struct static_text {
  struct mg_pool *pool;
  struct mg_iobuf io;
  bool failed; /* out of memory once: looked at when the text is used */
};

static void text_add(struct static_text *t, const char *s, size_t len) {
  if (!t->failed && !mg__iobuf_add(t->pool, &t->io, s, len)) t->failed = true;
}

static void text_str(struct static_text *t, const char *s) { text_add(t, s, strlen(s)); }

/* Short pieces only: what is made may have 255 bytes. */
__attribute__((format(printf, 2, 3))) static void text_fmt(struct static_text *t, const char *fmt,
                                                           ...) {
  char buf[256];
  va_list ap;
  int n;
  va_start(ap, fmt);
  n = vsnprintf(buf, sizeof(buf), fmt, ap);
  va_end(ap);
  assert(n >= 0 && (size_t) n < sizeof(buf));
  text_add(t, buf, (size_t) n);
}

/* ---- lists and numbers in header values --------------------------------- */

static struct mg_str static_trim(struct mg_str s) {
  while (s.len > 0 && (s.buf[0] == ' ' || s.buf[0] == '\t')) s.buf++, s.len--;
  while (s.len > 0 && (s.buf[s.len - 1] == ' ' || s.buf[s.len - 1] == '\t')) s.len--;
  return s;
}

/* Take the text up to sep, trimmed, off the front of *rest; false at the end. */
static bool next_item(struct mg_str *rest, char sep, struct mg_str *item) {
  const char *end;
  if (rest->len == 0) return false;
  end = memchr(rest->buf, sep, rest->len);
  item->buf = rest->buf;
  item->len = end == NULL ? rest->len : (size_t) (end - rest->buf);
  rest->buf += item->len + (end != NULL);
  rest->len -= item->len + (end != NULL);
  *item = static_trim(*item);
  return true;
}

static char static_lower(char ch) { return ch >= 'A' && ch <= 'Z' ? (char) (ch + 32) : ch; }

static bool same_nocase(struct mg_str a, struct mg_str b) {
  size_t i;
  if (a.len != b.len) return false;
  for (i = 0; i < a.len; i++) {
    if (static_lower(a.buf[i]) != static_lower(b.buf[i])) return false;
  }
  return true;
}

static bool is_digit(char ch) { return ch >= '0' && ch <= '9'; }

/* 1*DIGIT off the front of *s. A number too big to hold is as good as the
 * biggest one: both are behind the end of any file. */
static bool scan_u64(struct mg_str *s, uint64_t *out) {
  uint64_t n = 0;
  if (s->len == 0 || !is_digit(s->buf[0])) return false;
  for (; s->len > 0 && is_digit(s->buf[0]); s->buf++, s->len--) {
    uint64_t digit = (uint64_t) (s->buf[0] - '0');
    n = n > (UINT64_MAX - digit) / 10 ? UINT64_MAX : n * 10 + digit;
  }
  *out = n;
  return true;
}

/* ---- dates: RFC 9110 section 5.6.7 --------------------------------------- */

static const char day_names[7][10] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                      "Thursday", "Friday", "Saturday"};
static const char month_names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

struct static_date {
  int year, month, day, hour, minute, second; /* month: 0..11 */
};

static void format_date(time_t at, char *buf, size_t size) {
  struct tm tm;
  memset(&tm, 0, sizeof(tm));
  gmtime_r(&at, &tm);
  snprintf(buf, size, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", day_names[tm.tm_wday],
           tm.tm_mday, &month_names[3 * tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
           tm.tm_sec);
}

/* Seconds since 1970 of a date that has a month in range. */
static bool date_to_seconds(const struct static_date *d, int64_t *out) {
  static const int before[12] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
  bool leap = d->year % 4 == 0 && (d->year % 100 != 0 || d->year % 400 == 0);
  int length = d->month == 11 ? 31 : before[d->month + 1] - before[d->month];
  int64_t years = d->year - 1, days;
  if (leap && d->month == 1) length++;
  if (d->year < 1 || d->day < 1 || d->day > length) return false;
  if (d->hour > 23 || d->minute > 59 || d->second > 60) return false;
  days = years * 365 + years / 4 - years / 100 + years / 400 - 719162;
  days += before[d->month] + (leap && d->month > 1) + d->day - 1;
  *out = ((days * 24 + d->hour) * 60 + d->minute) * 60 + d->second;
  return true;
}

static bool scan_digits(struct mg_str *s, size_t count, int *out) {
  int n = 0;
  if (s->len < count) return false;
  for (; count > 0; count--, s->buf++, s->len--) {
    if (!is_digit(s->buf[0])) return false;
    n = n * 10 + (s->buf[0] - '0');
  }
  *out = n;
  return true;
}

static bool scan_day_name(struct mg_str *s, bool is_long) {
  size_t i;
  for (i = 0; i < 7; i++) {
    size_t n = is_long ? strlen(day_names[i]) : 3;
    if (s->len < n || memcmp(s->buf, day_names[i], n) != 0) continue;
    s->buf += n;
    s->len -= n;
    return true;
  }
  return false;
}

static bool scan_month(struct mg_str *s, int *out) {
  int i;
  for (i = 0; i < 12; i++) {
    if (s->len < 3 || memcmp(s->buf, &month_names[3 * i], 3) != 0) continue;
    s->buf += 3;
    s->len -= 3;
    *out = i;
    return true;
  }
  return false;
}

/* One field of a pattern, named by the letter that strptime() has for it. */
static bool scan_field(struct mg_str *s, char field, struct static_date *d) {
  switch (field) {
    case 'a': return scan_day_name(s, false);
    case 'A': return scan_day_name(s, true);
    case 'b': return scan_month(s, &d->month);
    case 'd': return scan_digits(s, 2, &d->day);
    case 'e': /* padded with a blank */
      if (s->len == 0 || s->buf[0] != ' ') return scan_digits(s, 2, &d->day);
      s->buf++, s->len--;
      return scan_digits(s, 1, &d->day);
    case 'y': return scan_digits(s, 2, &d->year);
    case 'Y': return scan_digits(s, 4, &d->year);
    case 'H': return scan_digits(s, 2, &d->hour);
    case 'M': return scan_digits(s, 2, &d->minute);
    case 'S': return scan_digits(s, 2, &d->second);
    default: return false;
  }
}

static bool scan_date(struct mg_str s, const char *pattern, struct static_date *d) {
  for (; *pattern != '\0'; pattern++) {
    if (*pattern == '%') {
      if (!scan_field(&s, *++pattern, d)) return false;
    } else {
      if (s.len == 0 || s.buf[0] != *pattern) return false;
      s.buf++, s.len--;
    }
  }
  return s.len == 0;
}

/* Any of the three forms a recipient must take. `now` places the years that
 * have two digits: none is more than 50 years ahead. */
static bool parse_date(struct mg_str s, int64_t now, int64_t *out) {
  struct static_date d;
  memset(&d, 0, sizeof(d));
  if (scan_date(s, "%a, %d %b %Y %H:%M:%S GMT", &d)) return date_to_seconds(&d, out);
  if (scan_date(s, "%a %b %e %H:%M:%S %Y", &d)) return date_to_seconds(&d, out);
  if (scan_date(s, "%A, %d-%b-%y %H:%M:%S GMT", &d)) {
    int this_year = 1970 + (int) (now / 31556952); /* mean seconds of a Gregorian year */
    d.year += this_year - this_year % 100;
    if (d.year > this_year + 50) d.year -= 100;
    return date_to_seconds(&d, out);
  }
  return false;
}

/* ---- conditions, ranges, codings ----------------------------------------- */

/* Which bytes "Range: <value>" asks for of a file of `size` bytes: 206 with
 * *ofs and *len set; 416; or 200 when the header is to be ignored: malformed,
 * of another unit, or more than one range (RFC 9110 section 14.2 allows that,
 * and it spares us answering with more bytes than the file has). */
static int range_of(struct mg_str value, uint64_t size, uint64_t *ofs, uint64_t *len) {
  static const struct mg_str unit = {"bytes=", 6};
  struct mg_str item, spec = {NULL, 0};
  uint64_t first, last = UINT64_MAX;
  if (value.len < unit.len) return 200;
  item.buf = value.buf, item.len = unit.len;
  if (!same_nocase(item, unit)) return 200;
  value.buf += unit.len, value.len -= unit.len;
  while (next_item(&value, ',', &item)) {
    if (item.len == 0) continue;
    if (spec.len > 0) return 200;
    spec = item;
  }
  if (spec.len > 0 && spec.buf[0] == '-') {
    spec.buf++, spec.len--;
    if (!scan_u64(&spec, &last) || spec.len > 0) return 200;
    if (last == 0) return 416;
    if (size == 0) return 200; /* the whole of nothing can't be written as a range */
    *len = last < size ? last : size;
    *ofs = size - *len;
    return 206;
  }
  if (!scan_u64(&spec, &first) || spec.len == 0 || spec.buf[0] != '-') return 200;
  spec.buf++, spec.len--;
  if (spec.len > 0 && (!scan_u64(&spec, &last) || spec.len > 0 || last < first)) return 200;
  if (first >= size) return 416;
  if (last > size - 1) last = size - 1;
  *ofs = first;
  *len = last - first + 1;
  return 206;
}

/* Does a list of entity tags hold `tag` (with its quotes) or "*"? `weak`: by
 * the weak comparison of RFC 9110 section 8.8.3.2, else by the strong one. */
static bool etag_in_list(struct mg_str s, const char *tag, bool weak) {
  size_t tag_len = strlen(tag);
  while (s.len > 0) {
    const char *end;
    size_t n;
    bool is_weak = s.len >= 2 && s.buf[0] == 'W' && s.buf[1] == '/';
    if (is_weak) s.buf += 2, s.len -= 2;
    if (s.len > 0 && s.buf[0] == '"') {
      end = memchr(s.buf + 1, '"', s.len - 1);
      if (end == NULL) return false;
      n = (size_t) (end - s.buf) + 1;
      if (n == tag_len && memcmp(s.buf, tag, n) == 0 && (weak || !is_weak)) return true;
    } else if (s.len > 0 && s.buf[0] == '*' && !is_weak) {
      return true;
    } else {
      n = s.len > 0;
    }
    s.buf += n, s.len -= n;
  }
  return false;
}

/* Is the weight among the parameters of a coding more than 0? A malformed one
 * counts as 0: plain bytes are always right. */
static bool weight_is_positive(struct mg_str params) {
  struct mg_str p;
  bool positive = true;
  while (next_item(&params, ';', &p)) {
    size_t i;
    if (p.len < 2 || static_lower(p.buf[0]) != 'q' || p.buf[1] != '=') continue;
    positive = false;
    for (i = 2; i < p.len; i++) {
      if (!is_digit(p.buf[i]) && p.buf[i] != '.') return false;
      if (p.buf[i] >= '1' && p.buf[i] <= '9') positive = true;
    }
  }
  return positive;
}

static bool accepts_gzip(const struct mg_http_message *msg) {
  bool named = false, gzip = false, any = false;
  size_t i;
  for (i = 0; i < msg->num_headers; i++) {
    struct mg_str rest = msg->headers[i].value, item, coding;
    if (!mg__streq_nocase(msg->headers[i].name, "accept-encoding")) continue;
    while (next_item(&rest, ',', &item)) {
      if (!next_item(&item, ';', &coding)) continue;
      if (mg__streq_nocase(coding, "gzip") || mg__streq_nocase(coding, "x-gzip")) {
        named = true;
        gzip = gzip || weight_is_positive(item);
      } else if (coding.len == 1 && coding.buf[0] == '*') {
        any = weight_is_positive(item);
      }
    }
  }
  return named ? gzip : any;
}

/* ---- media types ---------------------------------------------------------- */

#define STATIC_TEXT(subtype) "text/" subtype "; charset=utf-8"
static const struct {
  const char *ext, *type;
} media_types[] = {
    {"html", STATIC_TEXT("html")},
    {"htm", STATIC_TEXT("html")},
    {"shtml", STATIC_TEXT("html")},
    {"css", STATIC_TEXT("css")},
    {"js", STATIC_TEXT("javascript")},
    {"mjs", STATIC_TEXT("javascript")},
    {"txt", STATIC_TEXT("plain")},
    {"csv", "text/csv"},
    {"gif", "image/gif"},
    {"png", "image/png"},
    {"jpg", "image/jpeg"},
    {"jpeg", "image/jpeg"},
    {"webp", "image/webp"},
    {"svg", "image/svg+xml"},
    {"ico", "image/x-icon"},
    {"woff", "font/woff"},
    {"woff2", "font/woff2"},
    {"ttf", "font/ttf"},
    {"avi", "video/x-msvideo"},
    {"mov", "video/quicktime"},
    {"mp4", "video/mp4"},
    {"mpeg", "video/mpeg"},
    {"3gp", "video/3gpp"},
    {"mp3", "audio/mpeg"},
    {"wav", "audio/wav"},
    {"json", "application/json"},
    {"pdf", "application/pdf"},
    {"doc", "application/msword"},
    {"zip", "application/zip"},
    {"gz", "application/gzip"},
    {"tgz", "application/tar-gz"},
    {"exe", "application/octet-stream"},
    {"wasm", "application/wasm"},
};

static bool has_control(struct mg_str s) {
  size_t i;
  for (i = 0; i < s.len; i++) {
    if ((unsigned char) s.buf[i] < ' ' || s.buf[i] == 0x7f) return true;
  }
  return false;
}

/* The type of a file by its name: the first entry of `types` ("ext=type,...")
 * that fits, else the table's, else plain text. */
static struct mg_str media_type(const char *name, struct mg_str types) {
  const char *slash = strrchr(name, '/'), *dot = strrchr(slash == NULL ? name : slash, '.');
  struct mg_str ext = {"", 0}, item, key, type = {NULL, 0};
  size_t i;
  if (dot != NULL) ext.buf = dot + 1, ext.len = strlen(dot + 1);
  while (next_item(&types, ',', &item)) {
    if (!next_item(&item, '=', &key)) continue;
    type = static_trim(item);
    if (type.len == 0 || has_control(type)) continue;
    if ((key.len == 1 && key.buf[0] == '*') || (ext.len > 0 && same_nocase(key, ext))) return type;
  }
  type.buf = STATIC_TEXT("plain");
  for (i = 0; i < sizeof(media_types) / sizeof(media_types[0]); i++) {
    if (mg__streq_nocase(ext, media_types[i].ext)) type.buf = media_types[i].type;
  }
  type.len = strlen(type.buf);
  return type;
}

/* ---- from a request path to a descriptor ---------------------------------- */

/* May this path be looked up at all? Not with a NUL, a leading "~", or a
 * component that begins with two dots. Both slashes count: what is sane here
 * should be sane wherever the files end up. */
static bool mg__path_is_sane(struct mg_str path) {
  size_t i;
  bool at_start = true;
  if (path.len > 0 && path.buf[0] == '~') return false;
  for (i = 0; i < path.len; i++) {
    if (path.buf[i] == '\0') return false;
    if (at_start && path.buf[i] == '.' && i + 1 < path.len && path.buf[i + 1] == '.') return false;
    at_start = path.buf[i] == '/' || path.buf[i] == '\\';
  }
  return true;
}

#ifndef O_PATH
#define O_PATH (O_RDONLY | O_NONBLOCK) /* elsewhere: the descriptor could read as well */
#endif
#ifndef O_LARGEFILE
#define O_LARGEFILE 0
#endif

/* Open what lies at `path` below the directory `root`, one component after
 * the other; symbolic links are not followed. A descriptor, or -errno. */
static int open_by_steps(int root, const char *path, int flags) {
  int dir = root, fd = -1;
  do {
    char name[NAME_MAX + 1];
    const char *end;
    size_t len;
    while (*path == '/') path++;
    len = strcspn(path, "/");
    end = path + len;
    fd = -ENAMETOOLONG;
    if (len < sizeof(name)) {
      memcpy(name, path, len);
      name[len] = '\0';
      if (len == 0) memcpy(name, ".", 2);
      fd = -EXDEV;
      if (strcmp(name, "..") != 0) {
        int how = *end == '\0' ? flags : O_PATH | O_DIRECTORY | O_CLOEXEC;
        fd = openat(dir, name, how | O_NOFOLLOW);
        if (fd < 0) fd = -errno;
      }
    }
    if (dir != root) close(dir);
    dir = fd;
    path = end;
  } while (*path != '\0' && fd >= 0);
  return fd;
}

/* The same in one system call, where the kernel has it (Linux 5.6): symbolic
 * links are followed as long as they stay below the root. -ENOSYS elsewhere. */
static int open_by_kernel(int root, const char *path, int flags) {
#if defined(SYS_openat2) || (defined(__linux__) && (defined(__x86_64__) || defined(__i386__) || \
                                                    defined(__aarch64__) || defined(__arm__)))
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
  enum { NO_MAGICLINKS = 0x02, BENEATH = 0x08 }; /* RESOLVE_... of linux/openat2.h */
  struct {
    uint64_t flags, mode, resolve;
  } how = {(uint64_t) flags, 0, NO_MAGICLINKS | BENEATH};
  long fd, tries = STATIC_OPEN_TRIES;
  do {
    fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
  } while (fd < 0 && (errno == EAGAIN || errno == EINTR) && --tries > 0);
  return fd < 0 ? -errno : (int) fd;
#else
  (void) root, (void) path, (void) flags;
  return -ENOSYS;
#endif
}

enum { NO_ROOT = -1 };

/* Open `path` below `root`; NO_ROOT: a path of the program's own, anywhere. */
static int static_open(int root, const char *path, int flags) {
  int fd;
  if (root == NO_ROOT) {
    fd = open(path, flags);
    return fd < 0 ? -errno : fd;
  }
  fd = open_by_kernel(root, path, flags);
  /* An old kernel, or a sandbox that has not heard of the call. */
  if (fd == -ENOSYS || fd == -EPERM || fd == -E2BIG) fd = open_by_steps(root, path, flags);
  return fd;
}

struct static_file {
  int fd; /* owned; -1: none */
  uint64_t size;
  int64_t mtime;       /* seconds */
  struct mg_str type;  /* borrowed from the options or the table */
  bool is_gzip;        /* it is the compressed neighbour of what was asked for */
  bool has_variants;   /* the answer depends on Accept-Encoding */
  bool is_conditional; /* validators are sent, conditions and ranges are heard */
  char etag[ETAG_SIZE];
};

/* Open a regular file. 0, or -errno: -EISDIR for a directory, -ENOENT for
 * anything else. Non-blocking, so that a FIFO can't hold the loop. */
static int open_regular(int root, const char *path, struct static_file *f) {
  struct stat st;
  int fd = static_open(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | O_LARGEFILE);
  int err = 0;
  if (fd < 0) return fd;
  if (fstat(fd, &st) != 0) {
    err = -errno;
  } else if (!S_ISREG(st.st_mode)) {
    err = S_ISDIR(st.st_mode) ? -EISDIR : -ENOENT;
  }
  if (err < 0) {
    close(fd);
    return err;
  }
  memset(f, 0, sizeof(*f));
  f->fd = fd;
  f->size = (uint64_t) st.st_size;
  f->mtime = (int64_t) st.st_mtime;
  f->is_conditional = true;
  snprintf(f->etag, sizeof(f->etag), "\"%lld.%llu\"", (long long) f->mtime,
           (unsigned long long) f->size);
  return 0;
}

/* ---- one request ----------------------------------------------------------- */

struct serving {
  struct mg_connection *c;
  const struct mg_http_message *msg;
  const struct mg_http_serve_opts *opts;
  struct static_text head; /* header lines of the answer */
  struct static_text body;
  bool is_head;
  /* Path below the root, decoded; room for one more component behind it. */
  char path[STATIC_PATH_MAX + NAME_MAX + 2];
};

static const struct mg_str *request_header(const struct serving *s, const char *name) {
  return mg_http_get_header(s->msg, name, strlen(name));
}

/* Take one line off the user's header lines: 1; 0 at the end; -1 malformed. */
static int next_header_line(struct mg_str *rest, struct mg_str *name, struct mg_str *line) {
  const char *end, *colon;
  size_t i;
  if (rest->len == 0) return 0;
  end = memchr(rest->buf, '\r', rest->len);
  if (end == NULL || (size_t) (end - rest->buf) + 2 > rest->len || end[1] != '\n') return -1;
  line->buf = rest->buf;
  line->len = (size_t) (end - rest->buf) + 2;
  colon = memchr(line->buf, ':', line->len);
  if (colon == NULL || colon == line->buf) return -1;
  name->buf = line->buf;
  name->len = (size_t) (colon - line->buf);
  for (i = 0; i < name->len; i++) {
    unsigned char ch = (unsigned char) name->buf[i];
    if (ch <= ' ' || ch >= 0x7f) return -1;
  }
  for (; i + 2 < line->len; i++) {
    if (line->buf[i] == '\0' || line->buf[i] == '\n') return -1;
  }
  rest->buf += line->len;
  rest->len -= line->len;
  return 1;
}

static bool header_lines_are_sane(struct mg_str lines) {
  struct mg_str name, line;
  int rc;
  while ((rc = next_header_line(&lines, &name, &line)) > 0) continue;
  return rc == 0;
}

static bool is_one_of(struct mg_str name, const char *const *names) {
  for (; *names != NULL; names++) {
    if (mg__streq_nocase(name, *names)) return true;
  }
  return false;
}

static bool user_sets(const struct serving *s, const char *lower_name) {
  struct mg_str rest = s->opts->extra_headers, name, line;
  while (next_header_line(&rest, &name, &line) > 0) {
    if (mg__streq_nocase(name, lower_name)) return true;
  }
  return false;
}

/* The user's lines come last. Those that say how the message is framed are
 * ours; in an answer that is not the file (`about_file` false), so are those
 * that describe the file. */
static void put_user_headers(struct serving *s, bool about_file) {
  static const char *const framing[] = {"content-length", "content-range", "transfer-encoding",
                                        NULL};
  static const char *const describing[] = {"content-type",        "content-encoding", "etag",
                                           "content-disposition", "last-modified",    NULL};
  struct mg_str rest = s->opts->extra_headers, name, line;
  while (next_header_line(&rest, &name, &line) > 0) {
    if (is_one_of(name, framing) || (!about_file && is_one_of(name, describing))) continue;
    text_add(&s->head, line.buf, line.len);
  }
}

/* A header of ours that describes the file, unless the user has one like it. */
static void put_header(struct serving *s, const char *lower_name, const char *name,
                       struct mg_str value) {
  if (user_sets(s, lower_name)) return;
  text_str(&s->head, name);
  text_add(&s->head, ": ", 2);
  text_add(&s->head, value.buf, value.len);
  text_add(&s->head, "\r\n", 2);
}

static struct mg_str str_of(const char *s) {
  struct mg_str str = {s, strlen(s)};
  return str;
}

/* Send the head and, if not NULL, the body: the status, or MGX_E.... */
static int static_finish(struct serving *s, int status, const char *body, size_t len) {
  int rc;
  if (s->head.failed || s->body.failed) return MGX_ENOMEM;
  rc = mg__http_answer(s->c, status, s->head.io.buf, s->head.io.len, body, len);
  return rc < 0 ? rc : status;
}

/* An answer about the request instead of a file. */
static int answer_text(struct serving *s, int status, const char *text) {
  size_t len = strlen(text);
  if (len > 0) text_str(&s->head, "Content-Type: " STATIC_TEXT("plain") "\r\n");
  text_fmt(&s->head, "Content-Length: %zu\r\n", len);
  put_user_headers(s, false);
  return static_finish(s, status, text, len);
}

/* ---- sending a file --------------------------------------------------------- */

/* Is the date in this request header valid, and how does it compare with the
 * file's? -1 earlier than the file, 0 equal, 1 later; -2: no valid date. */
static int compare_date(const struct serving *s, const char *header, int64_t mtime) {
  const struct mg_str *value = request_header(s, header);
  int64_t at;
  if (value == NULL || !parse_date(*value, (int64_t) s->c->mgr->os->wall_s(), &at)) return -2;
  return at < mtime ? -1 : at > mtime;
}

/* Do the lines called lower_name hold the file's tag? -1: there are none. */
static int compare_etags(const struct serving *s, const char *lower_name,
                         const struct static_file *f, bool weak) {
  int found = -1;
  size_t i;
  for (i = 0; i < s->msg->num_headers; i++) {
    const struct mg_http_header *h = &s->msg->headers[i];
    if (!mg__streq_nocase(h->name, lower_name)) continue;
    if (found < 0) found = 0;
    if (etag_in_list(h->value, f->etag, weak)) found = 1;
  }
  return found;
}

/* 200, 304 or 412: RFC 9110 section 13.2.2, in its order. */
static int check_conditions(const struct serving *s, const struct static_file *f) {
  int match = compare_etags(s, "if-match", f, false);
  if (match == 0) return 412;
  if (match < 0 && compare_date(s, "if-unmodified-since", f->mtime) == -1) return 412;
  match = compare_etags(s, "if-none-match", f, true);
  if (match >= 0) return match ? 304 : 200;
  return compare_date(s, "if-modified-since", f->mtime) >= 0 ? 304 : 200;
}

/* RFC 9110 section 13.1.5: a range is given only of the file that the client
 * knows; without If-Range it says it knows. */
static bool if_range_holds(const struct serving *s, const struct static_file *f) {
  const struct mg_str *value = request_header(s, "if-range");
  size_t len = strlen(f->etag);
  if (value == NULL) return true;
  if (value->len == len && memcmp(value->buf, f->etag, len) == 0) return true;
  return compare_date(s, "if-range", f->mtime) == 0;
}

static int choose_status(const struct serving *s, const struct static_file *f, uint64_t *ofs,
                         uint64_t *len) {
  const struct mg_str *range = request_header(s, "range");
  int status = check_conditions(s, f);
  if (status != 200 || s->is_head || range == NULL || !if_range_holds(s, f)) return status;
  return range_of(*range, f->size, ofs, len);
}

static void put_validators(struct serving *s, const struct static_file *f) {
  time_t now = s->c->mgr->os->wall_s(), at = (time_t) f->mtime;
  char date[DATE_SIZE];
  put_header(s, "etag", "ETag", str_of(f->etag));
  if (f->mtime >= 0) { /* and never later than Date: RFC 9110 section 8.8.2.1 */
    format_date(at < now ? at : now, date, sizeof(date));
    put_header(s, "last-modified", "Last-Modified", str_of(date));
  }
}

static void put_file_head(struct serving *s, const struct static_file *f, int status, uint64_t ofs,
                          uint64_t len) {
  unsigned long long from = ofs, count = len, size = f->size;
  if (f->is_conditional) put_validators(s, f);
  if (f->has_variants) text_str(&s->head, "Vary: Accept-Encoding\r\n");
  if (status != 304) {
    put_header(s, "content-type", "Content-Type", f->type);
    if (f->is_gzip) text_str(&s->head, "Content-Encoding: gzip\r\n");
    if (f->is_conditional) put_header(s, "accept-ranges", "Accept-Ranges", str_of("bytes"));
    if (status == 206) {
      text_fmt(&s->head, "Content-Range: bytes %llu-%llu/%llu\r\n", from, from + count - 1, size);
    }
    text_fmt(&s->head, "Content-Length: %llu\r\n", count);
  }
  put_user_headers(s, true);
}

/* Read file[ofs..ofs+len) behind s->body; false: it is not there (any more). */
static bool read_file(struct serving *s, int fd, uint64_t ofs, size_t len) {
  struct mg_iobuf *io = &s->body.io;
  if (!mg__iobuf_reserve(s->body.pool, io, len)) {
    s->body.failed = true;
    return true;
  }
  while (len > 0) {
    ssize_t n = pread(fd, io->buf + io->len, len, (off_t) ofs);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    io->len += (size_t) n;
    ofs += (size_t) n;
    len -= (size_t) n;
  }
  return true;
}

/* Answer with the open file, or as much of it as the request asks for. */
static int answer_file(struct serving *s, struct static_file *f) {
  uint64_t ofs = 0, len = f->size;
  bool is_small;
  int status = f->is_conditional ? choose_status(s, f, &ofs, &len) : 200;
  if (status == 412) return answer_text(s, 412, "Precondition failed\n");
  if (status == 416) {
    text_fmt(&s->head, "Content-Range: bytes */%llu\r\n", (unsigned long long) f->size);
    return answer_text(s, 416, "");
  }
  is_small = len <= STATIC_INLINE_MAX;
  /* Read before anything is promised about it. */
  if (status != 304 && !s->is_head && is_small && !read_file(s, f->fd, ofs, (size_t) len)) {
    return answer_text(s, 500, "Internal error\n");
  }
  put_file_head(s, f, status, ofs, len);
  if (status == 304 || s->is_head) return static_finish(s, status, "", 0);
  if (is_small) return static_finish(s, status, len > 0 ? s->body.io.buf : "", (size_t) len);
  status = static_finish(s, status, NULL, 0);
  if (status > 0) {
    mg__conn_queue_file(s->c, f->fd, ofs, len);
    f->fd = -1;
  }
  return status;
}

static int answer_and_close(struct serving *s, struct static_file *f) {
  int rc = answer_file(s, f);
  if (f->fd >= 0) close(f->fd);
  return rc;
}

/* A text with a NUL at its end; false: it has one inside, or is too long. */
static bool copy_path(char *to, size_t size, struct mg_str from) {
  if (from.len >= size || memchr(from.buf, '\0', from.len) != NULL) return false;
  memcpy(to, from.buf, from.len);
  to[from.len] = '\0';
  return true;
}

/* The user's page for what is not there goes out with status 200 and without
 * validators: a condition is about the file that was asked for, and a client
 * that has an old copy of that one must not hear "not modified". */
static int answer_not_found(struct serving *s) {
  struct mg_str page = s->opts->page404;
  struct static_file f;
  if (page.len > 0 && copy_path(s->path, sizeof(s->path), page) &&
      open_regular(NO_ROOT, s->path, &f) == 0) {
    f.type = media_type(s->path, s->opts->mime_types);
    f.is_conditional = false;
    return answer_and_close(s, &f);
  }
  return answer_text(s, 404, "Not found\n");
}

static int answer_errno(struct serving *s, int err) {
  switch (err) {
    case -EACCES:
    case -EPERM: return answer_text(s, 403, "Forbidden");
    case -EMFILE:
    case -ENFILE:
    case -ENOMEM:
      mg__log(s->c->mgr, MG_LL_ERROR, "conn %llu: cannot open a file, errno %d",
              (unsigned long long) s->c->id, -err);
      return answer_text(s, 503, "Service unavailable\n");
    default: return answer_not_found(s);
  }
}

/* Send the compressed neighbour of the open file, s->path with ".gz" behind,
 * instead, if there is one and the client takes it. */
static void prefer_gzip(struct serving *s, int root, struct static_file *f) {
  size_t len = strlen(s->path);
  struct static_file gz;
  int err;
  if (user_sets(s, "content-encoding")) return; /* then the user knows better what it is */
  memcpy(s->path + len, ".gz", 4);
  err = open_regular(root, s->path, &gz);
  s->path[len] = '\0';
  if (err != 0) return;
  f->has_variants = true;
  if (!accepts_gzip(s->msg)) {
    close(gz.fd);
    return;
  }
  close(f->fd);
  gz.type = f->type;
  gz.has_variants = gz.is_gzip = true;
  *f = gz;
}

/* Answer with the file at s->path. 0, with nothing answered, when it is a
 * directory. */
static int answer_path(struct serving *s, int root) {
  struct static_file f;
  int err = open_regular(root, s->path, &f);
  if (err == -EISDIR) return 0;
  if (err < 0) return answer_errno(s, err);
  f.type = media_type(s->path, s->opts->mime_types);
  prefer_gzip(s, root, &f);
  return answer_and_close(s, &f);
}

/* ---- directories -------------------------------------------------------------- */

struct listing_entry {
  union {
    size_t ofs;       /* while reading: where the name is in the text of all names */
    const char *name; /* afterwards */
  } u;
  uint64_t size;
  int64_t mtime;
  bool is_dir;
};

struct listing {
  struct static_text names;
  struct listing_entry *entries;
  size_t count, cap;
  bool is_cut; /* there are more */
};

static int by_name(const void *a, const void *b) {
  return strcmp(((const struct listing_entry *) a)->u.name,
                ((const struct listing_entry *) b)->u.name);
}

/* What a link is to, if a request for it could be answered: what is listed can
 * be fetched, and nothing is told about files outside of the root. */
static bool stat_link(struct serving *s, int root, const char *name, struct stat *st) {
  size_t len = strlen(s->path), n = strlen(name);
  int fd, rc;
  if (n > NAME_MAX) return false;
  s->path[len] = '/';
  memcpy(s->path + len + 1, name, n + 1);
  fd = static_open(root, s->path, O_PATH | O_CLOEXEC);
  s->path[len] = '\0';
  if (fd < 0) return false;
  rc = fstat(fd, st);
  close(fd);
  return rc == 0;
}

static bool listing_add(struct listing *l, const char *name, const struct stat *st) {
  struct listing_entry *e;
  if (l->count == l->cap) {
    size_t cap = l->cap == 0 ? 64 : l->cap * 2;
    e = mg__realloc(l->entries, cap * sizeof(*e));
    if (e == NULL) return false;
    l->entries = e;
    l->cap = cap;
  }
  e = &l->entries[l->count++];
  memset(e, 0, sizeof(*e));
  e->u.ofs = l->names.io.len;
  e->size = (uint64_t) st->st_size;
  e->mtime = (int64_t) st->st_mtime;
  e->is_dir = S_ISDIR(st->st_mode);
  text_add(&l->names, name, strlen(name) + 1);
  return !l->names.failed;
}

/* Collect the entries of a directory, sorted. Takes over fd; false: OOM. */
static bool listing_read(struct serving *s, int root, int fd, struct listing *l) {
  DIR *dir = fdopendir(fd);
  struct dirent *d;
  bool ok = true;
  size_t i;
  if (dir == NULL) {
    close(fd);
    return false;
  }
  while (ok && (d = readdir(dir)) != NULL) {
    struct stat st;
    if (strcmp(d->d_name, ".") == 0) continue;
    /* A request for one of these gets 400. */
    if (strncmp(d->d_name, "..", 2) == 0 || strchr(d->d_name, '\\') != NULL) continue;
    if (fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (S_ISLNK(st.st_mode) && !stat_link(s, root, d->d_name, &st)) continue;
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) continue;
    l->is_cut = l->count == LISTING_MAX_ENTRIES;
    if (l->is_cut) break;
    ok = listing_add(l, d->d_name, &st);
  }
  closedir(dir);
  for (i = 0; i < l->count; i++) l->entries[i].u.name = l->names.io.buf + l->entries[i].u.ofs;
  if (l->count > 1) qsort(l->entries, l->count, sizeof(*l->entries), by_name);
  return ok;
}

/* Text for HTML, also inside of quotes. Control characters become U+FFFD: a
 * page that shows a name must not be a terminal's remote control. */
static void put_html(struct static_text *t, const char *s) {
  for (; *s != '\0'; s++) {
    switch (*s) {
      case '&': text_str(t, "&amp;"); break;
      case '<': text_str(t, "&lt;"); break;
      case '>': text_str(t, "&gt;"); break;
      case '"': text_str(t, "&quot;"); break;
      case '\'': text_str(t, "&#39;"); break;
      default:
        if ((unsigned char) *s < ' ' || *s == 0x7f) {
          text_str(t, "\xef\xbf\xbd");
        } else {
          text_add(t, s, 1);
        }
    }
  }
}

static void put_row(struct static_text *t, const struct listing_entry *e) {
  char link[3 * NAME_MAX];
  size_t n = mg_url_encode(e->u.name, strlen(e->u.name), link, sizeof(link));
  const char *slash = e->is_dir ? "/" : "";
  time_t at = (time_t) e->mtime;
  struct tm tm;
  memset(&tm, 0, sizeof(tm));
  gmtime_r(&at, &tm);
  text_str(t, "<tr><td><a href=\"");
  text_add(t, link, n);
  text_fmt(t, "%s\">", slash);
  put_html(t, e->u.name);
  text_fmt(t, "%s</a></td><td>%04ld-%02d-%02d %02d:%02d</td><td>", slash, tm.tm_year + 1900L,
           tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min);
  if (e->is_dir) {
    text_str(t, "[DIR]");
  } else {
    text_fmt(t, "%llu", (unsigned long long) e->size);
  }
  text_str(t, "</td></tr>\n");
}

static void put_page(struct serving *s, const struct listing *l) {
  const char *path = strcmp(s->path, ".") == 0 ? "" : s->path;
  struct static_text *t = &s->body;
  size_t i;
  text_str(t, "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>Index of /");
  put_html(t, path);
  text_str(t, *path == '\0' ? "" : "/");
  text_str(t, "</title></head><body>\n<h1>Index of /");
  put_html(t, path);
  text_str(t, *path == '\0' ? "" : "/");
  text_str(t, "</h1>\n<table>\n<tr><th>Name</th><th>Modified (UTC)</th><th>Size</th></tr>\n"
              "<tr><td><a href=\"../\">..</a></td><td></td><td>[DIR]</td></tr>\n");
  for (i = 0; i < l->count; i++) put_row(t, &l->entries[i]);
  text_str(t, "</table>\n");
  if (l->is_cut) text_fmt(t, "<p>Only %zu entries are shown.</p>\n", l->count);
  text_str(t, "</body></html>\n");
}

static int answer_listing(struct serving *s, int root, int fd) {
  struct listing l;
  int rc = MGX_ENOMEM;
  memset(&l, 0, sizeof(l));
  l.names.pool = s->head.pool;
  if (listing_read(s, root, fd, &l)) {
    put_page(s, &l);
    text_str(&s->head, "Content-Type: " STATIC_TEXT("html") "\r\n");
    text_fmt(&s->head, "Content-Length: %zu\r\n", s->body.io.len);
    put_user_headers(s, false);
    rc = static_finish(s, 200, s->body.io.buf, s->body.io.len);
  }
  mg__free(l.entries);
  mg__iobuf_free(l.names.pool, &l.names.io);
  return rc;
}

/* The index file of the directory s->path: 1 opened; 0 there is none. */
static int open_index(struct serving *s, int root, struct static_file *f) {
  size_t len = strlen(s->path);
  int err;
  memcpy(s->path + len, "/index.html", 12);
  err = open_regular(root, s->path, f);
  if (err == 0) {
    prefer_gzip(s, root, f);
  } else {
    memcpy(s->path + len, "/index.html.gz", 15);
    err = open_regular(root, s->path, f);
    if (err == 0) f->is_gzip = f->has_variants = true;
  }
  s->path[len] = '\0';
  if (err != 0) return 0;
  f->type = media_type("index.html", s->opts->mime_types);
  return 1;
}

static int answer_directory(struct serving *s, int root) {
  struct static_file f;
  int fd;
  if (open_index(s, root, &f)) return answer_and_close(s, &f);
  fd = static_open(root, s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return answer_errno(s, fd);
  if (s->opts->listing) return answer_listing(s, root, fd);
  close(fd);
  return answer_text(s, 403, "Forbidden");
}

/* Send the client to the same path with a slash behind it, so that relative
 * links in the index work. Exactly one slash in front: two would name another
 * host. What is no part of a URL is escaped, whatever the parser let pass. */
static int answer_redirect(struct serving *s, struct mg_str path) {
  struct mg_str parts[2];
  size_t i, k;
  while (path.len > 0 && path.buf[0] == '/') path.buf++, path.len--;
  parts[0] = path;
  parts[1] = s->msg->query;
  text_str(&s->head, "Location: /");
  for (k = 0; k < 2; k++) {
    if (k == 1) text_str(&s->head, parts[1].len > 0 ? "/?" : "/");
    for (i = 0; i < parts[k].len; i++) {
      unsigned char ch = (unsigned char) parts[k].buf[i];
      if (ch <= ' ' || ch >= 0x7f || strchr("\"<>\\^`{|}", ch) != NULL) {
        text_fmt(&s->head, "%%%02X", ch);
      } else {
        text_add(&s->head, parts[k].buf + i, 1);
      }
    }
  }
  text_str(&s->head, "\r\n");
  return answer_text(s, 301, "");
}

/* ---- entry points --------------------------------------------------------------- */

/* The path of the request target: of "http://host/path" what is behind the host. */
static struct mg_str target_path(struct mg_str uri) {
  const char *p = uri.len == 0 || uri.buf[0] == '/' ? NULL : memmem(uri.buf, uri.len, "://", 3);
  if (p != NULL) {
    uri.len -= (size_t) (p + 3 - uri.buf);
    uri.buf = p + 3;
    p = memchr(uri.buf, '/', uri.len);
    uri.len = p == NULL ? 0 : uri.len - (size_t) (p - uri.buf);
    uri.buf = p == NULL ? "/" : p;
  }
  if (uri.len == 0) uri = str_of("/");
  return uri;
}

/* Decode the path into s->path, without the slashes around it. NULL, or why
 * it is refused. */
static const char *map_path(struct serving *s, struct mg_str path, bool *has_slash) {
  struct static_text *t = &s->body; /* not used for anything else yet */
  struct mg_str rel;
  int64_t n;
  if (path.buf[0] != '/') return "Invalid path";
  if (!mg__iobuf_reserve(t->pool, &t->io, path.len)) {
    t->failed = true;
    return "";
  }
  n = mg_url_decode(path.buf, path.len, t->io.buf, path.len, false);
  if (n < 0) return "Invalid path";
  rel.buf = t->io.buf;
  rel.len = (size_t) n;
  /* With its slash in front: "~" has no meaning below a root. */
  if (!mg__path_is_sane(rel) || memchr(rel.buf, '\\', rel.len) != NULL) return "Invalid path";
  *has_slash = rel.buf[rel.len - 1] == '/';
  while (rel.len > 0 && rel.buf[0] == '/') rel.buf++, rel.len--;
  while (rel.len > 0 && rel.buf[rel.len - 1] == '/') rel.len--;
  if (rel.len >= STATIC_PATH_MAX) return "Exceeded path size";
  memcpy(s->path, rel.buf, rel.len);
  s->path[rel.len] = '\0';
  if (rel.len == 0) memcpy(s->path, ".", 2);
  return NULL;
}

static int serve_below_root(struct serving *s) {
  struct mg_str path = target_path(s->msg->uri);
  char root_path[STATIC_PATH_MAX];
  bool has_slash = false;
  const char *refused = map_path(s, path, &has_slash);
  int root, rc;
  if (refused != NULL) return answer_text(s, 400, refused);
  if (s->opts->root.len == 0) return answer_not_found(s);
  if (!copy_path(root_path, sizeof(root_path), s->opts->root)) return answer_not_found(s);
  root = open(root_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (root < 0) return answer_errno(s, -errno);
  rc = has_slash ? answer_directory(s, root) : answer_path(s, root);
  if (rc == 0) rc = answer_redirect(s, path);
  close(root);
  return rc;
}

static int serve_one_file(struct serving *s) {
  int rc = 0;
  if (copy_path(s->path, STATIC_PATH_MAX, s->opts->root)) rc = answer_path(s, NO_ROOT);
  return rc == 0 ? answer_not_found(s) : rc;
}

static int serve_running(struct mg_connection *c, const struct mg_http_serve_opts *opts,
                         int (*serve)(struct serving *s)) {
  struct serving s;
  int rc;
  memset(&s, 0, offsetof(struct serving, path));
  s.path[0] = '\0';
  s.c = c;
  s.msg = mg__http_running(c);
  s.opts = opts;
  s.head.pool = s.body.pool = &c->mgr->pool;
  if (s.msg == NULL) return MGX_ESTATE;
  if (!header_lines_are_sane(opts->extra_headers)) return MGX_EINVAL;
  s.is_head = s.msg->method.len == 4 && memcmp(s.msg->method.buf, "HEAD", 4) == 0;
  if (s.is_head || (s.msg->method.len == 3 && memcmp(s.msg->method.buf, "GET", 3) == 0)) {
    rc = serve(&s);
  } else {
    text_str(&s.head, "Allow: GET, HEAD\r\n");
    rc = answer_text(&s, 405, "Method not allowed\n");
  }
  mg__iobuf_free(s.head.pool, &s.head.io);
  mg__iobuf_free(s.body.pool, &s.body.io);
  return rc;
}

int mg_http_serve_dir(struct mg_mgr *mgr, uint64_t conn, const struct mg_http_serve_opts *opts) {
  struct mg_connection *c;
  int rc = MGX_ECLOSED;
  mg__lock(mgr);
  c = mg__conn_find(mgr, conn);
  if (c != NULL) rc = serve_running(c, opts, serve_below_root);
  mg__unlock(mgr);
  return rc;
}

int mg_http_serve_file(struct mg_mgr *mgr, uint64_t conn, const struct mg_http_serve_opts *opts) {
  struct mg_connection *c;
  int rc = MGX_ECLOSED;
  mg__lock(mgr);
  c = mg__conn_find(mgr, conn);
  if (c != NULL) rc = serve_running(c, opts, serve_one_file);
  mg__unlock(mgr);
  return rc;
}
