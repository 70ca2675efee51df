/* http_static.h: what the files behind mg_http_serve_dir() share, lowest first:
 *
 *   http_conditions.c   what the headers of a request ask for: dates, tags,
 *                       ranges, codings. Text in, a verdict out
 *   media_type.c        types by extension
 *   open_below.c        opening a path that a stranger chose
 *   http_listing.c      a directory as a page
 *   http_static.c       the answers, made from all of these */
#ifndef MG_HTTP_STATIC_H
#define MG_HTTP_STATIC_H

#include "internal.h"

/* Text that grows. */
struct mg_text {
  struct mg_pool *pool;
  struct mg_iobuf io;
  bool failed; /* out of memory once: looked at when the text is used */
};
void mg__text_add(struct mg_text *t, const char *s, size_t len);
void mg__text_str(struct mg_text *t, const char *s);
/* Short pieces only: what is made may have 255 bytes. */
void mg__text_fmt(struct mg_text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- http_conditions.c: any thread, no allocation ---------------------- */

/* Take the text up to sep, blanks around it removed, off the front of *rest;
 * false at the end. */
bool mg__next_item(struct mg_str *rest, char sep, struct mg_str *item);
bool mg__same_nocase(struct mg_str a, struct mg_str b); /* ASCII */

enum { MG_DATE_SIZE = 40 };
/* "Sun, 06 Nov 1994 08:49:37 GMT", for years up to 9999. */
void mg__http_date(time_t at, char *buf, size_t size);
/* Any of the three forms a recipient must take (RFC 9110 section 5.6.7), as
 * seconds since 1970. `now` places the years that have two digits: none is
 * more than 50 years ahead. */
bool mg__http_date_parse(struct mg_str s, int64_t now, int64_t *out);
/* Which bytes "Range: <value>" asks for of a file of `size` bytes: 206 with
 * *ofs and *len set; 416; or 200 when the header is to be ignored: malformed,
 * of another unit, or more than one range (RFC 9110 section 14.2 allows that,
 * and it spares us answering with more bytes than the file has). */
int mg__http_range(struct mg_str value, uint64_t size, uint64_t *ofs, uint64_t *len);
/* Does a list of entity tags hold `tag` (with its quotes) or "*"? `weak`: by
 * the weak comparison of RFC 9110 section 8.8.3.2, else by the strong one. */
bool mg__etag_in_list(struct mg_str list, const char *tag, bool weak);
/* By all Accept-Encoding lines, RFC 9110 section 12.5.3. */
bool mg__accepts_gzip(const struct mg_http_message *msg);

/* ---- media_type.c -------------------------------------------------------- */

#define MG_TYPE_TEXT(subtype) "text/" subtype "; charset=utf-8"
/* The type of a file by its name: the first entry of `types` ("ext=type,...")
 * that fits, else the table's, else plain text. Borrowed from either. */
struct mg_str mg__media_type(const char *name, struct mg_str types);

/* ---- open_below.c --------------------------------------------------------- */

/* May this path be looked up at all? Not with a NUL, a leading "~", or a
 * component that begins with two dots. Both slashes count: what is sane here
 * should be sane wherever the files end up. */
bool mg__path_is_sane(struct mg_str path);
enum { MG_NO_ROOT = -1 };
/* Open the relative `path` below the directory `root`; MG_NO_ROOT: a path of
 * the program's own, anywhere. A descriptor, or -errno. */
int mg__open_below(int root, const char *path, int flags);

/* ---- http_listing.c -------------------------------------------------------- */

/* Write the page of a directory: `path` below `root`, open as `fd`, which is
 * taken over. `path` must have room for one more component, and is as it was
 * on return. false: out of memory. */
bool mg__listing_page(struct mg_text *page, int root, int fd, char *path);

#ifndef O_PATH
#define O_PATH (O_RDONLY | O_NONBLOCK) /* elsewhere: the descriptor could read as well */
#endif
#ifndef O_LARGEFILE
#define O_LARGEFILE 0
#endif

#endif
