/* http_static.c: answers made from files.
 *
 * Turns the path of a request into a file below a directory, decides by the
 * request's headers what to send of it, and hands head and descriptor on:
 * http_answer.c writes the head, conn.c and io.c move the bytes.
 *
 * The idea to hold: a name is looked at once. The path is decoded once and
 * opened once; everything else is asked of the descriptor. */
#include "http_static.h"

#include <sys/stat.h>

enum {
  STATIC_PATH_MAX = 4096, /* decoded path of a request; longer ones get 400 */
  STATIC_INLINE_MAX = MG_IO_SIZE, /* up to here a file is read, above it is sent by the system */
  ETAG_SIZE = 48
};

/* ---- text that grows --------------------------------------------------- */

void mg__text_add(struct mg_text *t, const char *s, size_t len) {
  if (!t->failed && !mg__iobuf_add(t->pool, &t->io, s, len)) t->failed = true;
}

void mg__text_str(struct mg_text *t, const char *s) { mg__text_add(t, s, strlen(s)); }

void mg__text_fmt(struct mg_text *t, const char *fmt, ...) {
  char buf[256];
  va_list ap;
  int n;
  va_start(ap, fmt);
  n = vsnprintf(buf, sizeof(buf), fmt, ap);
  va_end(ap);
  assert(n >= 0 && (size_t) n < sizeof(buf));
  mg__text_add(t, buf, (size_t) n);
}

/* ---- one request ----------------------------------------------------------- */

struct served_file {
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
static int open_regular(int root, const char *path, struct served_file *f) {
  struct stat st;
  int fd = mg__open_below(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | O_LARGEFILE);
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

struct serving {
  struct mg_connection *c;
  const struct mg_http_message *msg;
  const struct mg_http_serve_opts *opts;
  struct mg_text head; /* header lines of the answer */
  struct mg_text body;
  bool is_head, is_passed_on;
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
    mg__text_add(&s->head, line.buf, line.len);
  }
}

/* A header of ours that describes the file, unless the user has one like it. */
static void put_header(struct serving *s, const char *lower_name, const char *name,
                       struct mg_str value) {
  if (user_sets(s, lower_name)) return;
  mg__text_str(&s->head, name);
  mg__text_add(&s->head, ": ", 2);
  mg__text_add(&s->head, value.buf, value.len);
  mg__text_add(&s->head, "\r\n", 2);
}

static struct mg_str str_of(const char *s) {
  struct mg_str str = {s, strlen(s)};
  return str;
}

/* Send the head and, if not NULL, the body: the status, or MGX_E.... */
static int send_answer(struct serving *s, int status, const char *body, size_t len) {
  int rc;
  if (s->head.failed || s->body.failed) return MGX_ENOMEM;
  rc = mg__http_answer(s->c, status, s->head.io.buf, s->head.io.len, body, len);
  return rc < 0 ? rc : status;
}

/* An answer about the request instead of a file. */
static int answer_text(struct serving *s, int status, const char *text) {
  size_t len = strlen(text);
  if (len > 0) mg__text_str(&s->head, "Content-Type: " MG_TYPE_TEXT("plain") "\r\n");
  mg__text_fmt(&s->head, "Content-Length: %zu\r\n", len);
  put_user_headers(s, false);
  return send_answer(s, status, text, len);
}

/* ---- sending a file --------------------------------------------------------- */

/* Is the date in this request header valid, and how does it compare with the
 * file's? -1 earlier than the file, 0 equal, 1 later; -2: no valid date. */
static int compare_date(const struct serving *s, const char *header, int64_t mtime) {
  const struct mg_str *value = request_header(s, header);
  int64_t now = (int64_t) s->c->mgr->os->wall_s(), at;
  if (value == NULL || !mg__http_date_parse(*value, now, &at)) return -2;
  return at < mtime ? -1 : at > mtime;
}

/* Do the lines called lower_name hold the file's tag? -1: there are none. */
static int compare_etags(const struct serving *s, const char *lower_name,
                         const struct served_file *f, bool weak) {
  int found = -1;
  size_t i;
  for (i = 0; i < s->msg->num_headers; i++) {
    const struct mg_http_header *h = &s->msg->headers[i];
    if (!mg__streq_nocase(h->name, lower_name)) continue;
    if (found < 0) found = 0;
    if (mg__etag_in_list(h->value, f->etag, weak)) found = 1;
  }
  return found;
}

/* 200, 304 or 412: RFC 9110 section 13.2.2, in its order. */
static int check_conditions(const struct serving *s, const struct served_file *f) {
  int match = compare_etags(s, "if-match", f, false);
  if (match == 0) return 412;
  if (match < 0 && compare_date(s, "if-unmodified-since", f->mtime) == -1) return 412;
  match = compare_etags(s, "if-none-match", f, true);
  if (match >= 0) return match ? 304 : 200;
  return compare_date(s, "if-modified-since", f->mtime) >= 0 ? 304 : 200;
}

/* RFC 9110 section 13.1.5: a range is given only of the file that the client
 * knows; without If-Range it says it knows. */
static bool if_range_holds(const struct serving *s, const struct served_file *f) {
  const struct mg_str *value = request_header(s, "if-range");
  size_t len = strlen(f->etag);
  if (value == NULL) return true;
  if (value->len == len && memcmp(value->buf, f->etag, len) == 0) return true;
  return compare_date(s, "if-range", f->mtime) == 0;
}

static int choose_status(const struct serving *s, const struct served_file *f, uint64_t *ofs,
                         uint64_t *len) {
  const struct mg_str *range = request_header(s, "range");
  int status = check_conditions(s, f);
  if (status != 200 || s->is_head || range == NULL || !if_range_holds(s, f)) return status;
  return mg__http_range(*range, f->size, ofs, len);
}

static void put_validators(struct serving *s, const struct served_file *f) {
  time_t now = s->c->mgr->os->wall_s(), at = (time_t) f->mtime;
  char date[MG_DATE_SIZE];
  put_header(s, "etag", "ETag", str_of(f->etag));
  if (f->mtime >= 0) { /* and never later than Date: RFC 9110 section 8.8.2.1 */
    mg__http_date(at < now ? at : now, date, sizeof(date));
    put_header(s, "last-modified", "Last-Modified", str_of(date));
  }
}

static void put_file_head(struct serving *s, const struct served_file *f, int status, uint64_t ofs,
                          uint64_t len) {
  unsigned long long from = ofs, count = len, size = f->size;
  if (f->is_conditional) put_validators(s, f);
  if (f->has_variants) mg__text_str(&s->head, "Vary: Accept-Encoding\r\n");
  if (status != 304) {
    put_header(s, "content-type", "Content-Type", f->type);
    if (f->is_gzip) mg__text_str(&s->head, "Content-Encoding: gzip\r\n");
    if (f->is_conditional) put_header(s, "accept-ranges", "Accept-Ranges", str_of("bytes"));
    if (status == 206) {
      mg__text_fmt(&s->head, "Content-Range: bytes %llu-%llu/%llu\r\n", from, from + count - 1,
                   size);
    }
    mg__text_fmt(&s->head, "Content-Length: %llu\r\n", count);
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
static int answer_file(struct serving *s, struct served_file *f) {
  uint64_t ofs = 0, len = f->size;
  bool is_small;
  int status = f->is_conditional ? choose_status(s, f, &ofs, &len) : 200;
  if (status == 412) return answer_text(s, 412, "Precondition failed\n");
  if (status == 416) {
    mg__text_fmt(&s->head, "Content-Range: bytes */%llu\r\n", (unsigned long long) f->size);
    return answer_text(s, 416, "");
  }
  is_small = len <= STATIC_INLINE_MAX;
  /* Read before anything is promised about it. */
  if (status != 304 && !s->is_head && is_small && !read_file(s, f->fd, ofs, (size_t) len)) {
    return answer_text(s, 500, "Internal error\n");
  }
  put_file_head(s, f, status, ofs, len);
  if (status == 304 || s->is_head) return send_answer(s, status, "", 0);
  if (is_small) return send_answer(s, status, len > 0 ? s->body.io.buf : "", (size_t) len);
  status = send_answer(s, status, NULL, 0);
  if (status > 0) {
    mg__conn_queue_file(s->c, f->fd, ofs, len);
    f->fd = -1;
  }
  return status;
}

static int answer_and_close(struct serving *s, struct served_file *f) {
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

/* Leave the request to the caller, if that is what they want of one with no file. */
static int pass_on(struct serving *s) {
  s->is_passed_on = true;
  return MGX_ESTATE; /* anything but 0, which is for directories */
}

/* The user's page for what is not there goes out with status 200 and without
 * validators: a condition is about the file that was asked for, and a client
 * that has an old copy of that one must not hear "not modified". */
static int answer_not_found(struct serving *s) {
  struct mg_str page = s->opts->page404;
  struct served_file f;
  if (s->opts->fallthrough) return pass_on(s);
  if (page.len > 0 && copy_path(s->path, sizeof(s->path), page) &&
      open_regular(MG_NO_ROOT, s->path, &f) == 0) {
    f.type = mg__media_type(s->path, s->opts->mime_types);
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
static void prefer_gzip(struct serving *s, int root, struct served_file *f) {
  size_t len = strlen(s->path);
  struct served_file gz;
  int err;
  if (user_sets(s, "content-encoding")) return; /* then the user knows better what it is */
  memcpy(s->path + len, ".gz", 4);
  err = open_regular(root, s->path, &gz);
  s->path[len] = '\0';
  if (err != 0) return;
  f->has_variants = true;
  if (!mg__accepts_gzip(s->msg)) {
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
  struct served_file f;
  int err = open_regular(root, s->path, &f);
  if (err == -EISDIR) return 0;
  if (err < 0) return answer_errno(s, err);
  f.type = mg__media_type(s->path, s->opts->mime_types);
  prefer_gzip(s, root, &f);
  return answer_and_close(s, &f);
}

/* ---- directories ------------------------------------------------------------- */

static int answer_listing(struct serving *s, int root, int fd) {
  if (!mg__listing_page(&s->body, root, fd, s->path)) return MGX_ENOMEM;
  mg__text_str(&s->head, "Content-Type: " MG_TYPE_TEXT("html") "\r\n");
  mg__text_fmt(&s->head, "Content-Length: %zu\r\n", s->body.io.len);
  put_user_headers(s, false);
  return send_answer(s, 200, s->body.io.buf, s->body.io.len);
}

/* The index file of the directory s->path: 1 opened; 0 there is none. */
static int open_index(struct serving *s, int root, struct served_file *f) {
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
  f->type = mg__media_type("index.html", s->opts->mime_types);
  return 1;
}

static int answer_directory(struct serving *s, int root) {
  struct served_file f;
  int fd;
  if (open_index(s, root, &f)) return answer_and_close(s, &f);
  fd = mg__open_below(root, s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return answer_errno(s, fd);
  if (s->opts->listing) return answer_listing(s, root, fd);
  close(fd);
  return s->opts->fallthrough ? pass_on(s) : answer_text(s, 403, "Forbidden");
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
  mg__text_str(&s->head, "Location: /");
  for (k = 0; k < 2; k++) {
    if (k == 1) mg__text_str(&s->head, parts[1].len > 0 ? "/?" : "/");
    for (i = 0; i < parts[k].len; i++) {
      unsigned char ch = (unsigned char) parts[k].buf[i];
      if (ch <= ' ' || ch >= 0x7f || strchr("\"<>\\^`{|}", ch) != NULL) {
        mg__text_fmt(&s->head, "%%%02X", ch);
      } else {
        mg__text_add(&s->head, parts[k].buf + i, 1);
      }
    }
  }
  mg__text_str(&s->head, "\r\n");
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
  struct mg_text *t = &s->body; /* not used for anything else yet */
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
  if (refused != NULL && s->opts->fallthrough) return pass_on(s);
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
  if (copy_path(s->path, STATIC_PATH_MAX, s->opts->root)) rc = answer_path(s, MG_NO_ROOT);
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
  } else if (opts->fallthrough) {
    rc = pass_on(&s);
  } else {
    mg__text_str(&s.head, "Allow: GET, HEAD\r\n");
    rc = answer_text(&s, 405, "Method not allowed\n");
  }
  mg__iobuf_free(s.head.pool, &s.head.io);
  mg__iobuf_free(s.body.pool, &s.body.io);
  return s.is_passed_on ? 0 : rc;
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
