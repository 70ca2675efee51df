/* http_listing.c: a directory as an HTML page.
 *
 * It lists what a request could fetch, and tells nothing about anything else.
 * All names are read before the first is written, for they are sorted: hence
 * the limit. */
#include "http_static.h"

#include <dirent.h>
#include <sys/stat.h>

enum { LISTING_MAX_ENTRIES = 10000 };

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
  struct mg_text names;
  struct listing_entry *entries;
  size_t count, cap;
  bool is_cut; /* there are more */
};

static int by_name(const void *a, const void *b) {
  return strcmp(((const struct listing_entry *) a)->u.name,
                ((const struct listing_entry *) b)->u.name);
}

/* What a link is to, if a request for it could be answered: what is listed can
 * be fetched, and nothing is told about files outside of the root. `path` is
 * that of the directory, with room for a name. */
static bool stat_link(int root, char *path, const char *name, struct stat *st) {
  size_t len = strlen(path);
  int fd, rc;
  path[len] = '/';
  memcpy(path + len + 1, name, strlen(name) + 1);
  fd = mg__open_below(root, path, O_PATH | O_CLOEXEC);
  path[len] = '\0';
  if (fd < 0) return false;
  rc = fstat(fd, st);
  close(fd);
  return rc == 0;
}

/* Can a request name it? Those of the second line get 400. */
static bool can_be_named(const char *name) {
  if (strcmp(name, ".") == 0 || strlen(name) > NAME_MAX) return false;
  return strncmp(name, "..", 2) != 0 && strchr(name, '\\') == NULL;
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
  mg__text_add(&l->names, name, strlen(name) + 1);
  return !l->names.failed;
}

/* Collect the entries of a directory, sorted. Takes over fd; false: OOM. */
static bool listing_read(struct listing *l, int root, int fd, char *path) {
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
    if (!can_be_named(d->d_name)) continue;
    if (fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (S_ISLNK(st.st_mode) && !stat_link(root, path, d->d_name, &st)) continue;
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
static void put_html(struct mg_text *t, const char *s) {
  for (; *s != '\0'; s++) {
    switch (*s) {
      case '&': mg__text_str(t, "&amp;"); break;
      case '<': mg__text_str(t, "&lt;"); break;
      case '>': mg__text_str(t, "&gt;"); break;
      case '"': mg__text_str(t, "&quot;"); break;
      case '\'': mg__text_str(t, "&#39;"); break;
      default:
        if ((unsigned char) *s < ' ' || *s == 0x7f) {
          mg__text_str(t, "\xef\xbf\xbd");
        } else {
          mg__text_add(t, s, 1);
        }
    }
  }
}

static void put_row(struct mg_text *t, const struct listing_entry *e) {
  char link[3 * NAME_MAX]; /* longer names were left out */
  size_t n = mg_url_encode(e->u.name, strlen(e->u.name), link, sizeof(link));
  const char *slash = e->is_dir ? "/" : "";
  time_t at = (time_t) e->mtime;
  struct tm tm;
  memset(&tm, 0, sizeof(tm));
  gmtime_r(&at, &tm);
  mg__text_str(t, "<tr><td><a href=\"");
  mg__text_add(t, link, n);
  mg__text_fmt(t, "%s\">", slash);
  put_html(t, e->u.name);
  mg__text_fmt(t, "%s</a></td><td>%04ld-%02d-%02d %02d:%02d</td><td>", slash, tm.tm_year + 1900L,
           tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min);
  if (e->is_dir) {
    mg__text_str(t, "[DIR]");
  } else {
    mg__text_fmt(t, "%llu", (unsigned long long) e->size);
  }
  mg__text_str(t, "</td></tr>\n");
}

static void put_page(struct mg_text *t, const struct listing *l, const char *path) {
  const char *slash = strcmp(path, ".") == 0 ? "" : "/";
  size_t i;
  if (*slash == '\0') path = "";
  mg__text_str(t, "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>Index of /");
  put_html(t, path);
  mg__text_str(t, slash);
  mg__text_str(t, "</title></head><body>\n<h1>Index of /");
  put_html(t, path);
  mg__text_str(t, slash);
  mg__text_str(t, "</h1>\n<table>\n"
                  "<tr><th>Name</th><th>Modified (UTC)</th><th>Size</th></tr>\n"
                  "<tr><td><a href=\"../\">..</a></td><td></td><td>[DIR]</td></tr>\n");
  for (i = 0; i < l->count; i++) put_row(t, &l->entries[i]);
  mg__text_str(t, "</table>\n");
  if (l->is_cut) mg__text_fmt(t, "<p>Only %zu entries are shown.</p>\n", l->count);
  mg__text_str(t, "</body></html>\n");
}

bool mg__listing_page(struct mg_text *page, int root, int fd, char *path) {
  struct listing l;
  bool ok;
  memset(&l, 0, sizeof(l));
  l.names.pool = page->pool;
  ok = listing_read(&l, root, fd, path);
  if (ok) put_page(page, &l, path);
  mg__free(l.entries);
  mg__iobuf_free(page->pool, &l.names.io);
  return ok && !page->failed;
}
