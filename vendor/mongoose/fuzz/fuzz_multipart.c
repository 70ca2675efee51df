/* fuzz_multipart.c: any bytes as a multipart body.
 *
 * Beyond what the sanitizers see: offsets grow, views lie between them, no
 * delimiter is inside of a part; the boundary of the first line and the same one
 * given by the caller find the same; a body that is cut has no other parts. */
#include "../src/internal.h"

#include "../src/multipart.c"

#define MUST(cond) ((cond) ? (void) 0 : abort())

static void check_part(struct mg_str body, size_t from, size_t to, const struct mg_http_part *part,
                       struct mg_str boundary) {
  struct multipart m = {part->body, boundary};
  int kind;
  MUST(to > from && to < body.len && body.buf[to] == '-');
  MUST(part->head.buf > body.buf + from && part->head.len > 2);
  MUST(memcmp(part->head.buf + part->head.len - 2, "\r\n", 2) == 0);
  MUST(part->body.buf >= part->head.buf + part->head.len);
  MUST(part->body.buf + part->body.len == body.buf + to - 2);
  MUST(multipart_find(&m, 0, &kind) == part->body.len);
}

static void check(struct mg_str body, struct mg_str boundary) {
  struct mg_http_part part, again;
  size_t ofs = 0, next, cut, parts = 0;
  while ((next = mg_http_next_multipart(body.buf, body.len, ofs, NULL, 0, &part)) > 0) {
    check_part(body, ofs, next, &part, boundary);
    cut = mg_http_next_multipart(body.buf, body.len, ofs, boundary.buf, boundary.len, &again);
    MUST(cut == next && memcmp(&part, &again, sizeof(part)) == 0);
    for (cut = parts++ == 0 ? 0 : next; cut < next + 4 + boundary.len; cut++) {
      MUST(mg_http_next_multipart(body.buf, cut, ofs, NULL, 0, &again) == 0);
    }
    ofs = next;
  }
  MUST(mg_http_next_multipart(body.buf, body.len, ofs, boundary.buf, boundary.len, &again) == 0);
}

/* Two of three inputs are put behind a first line, to spare the fuzzer the way there. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const starts[] = {"", "--b\r\n", "--b\r\nA: b\r\n"};
  const char *start = starts[size > 0 ? data[0] % 3 : 0];
  struct mg_str body = {NULL, strlen(start) + (size > 0 ? size - 1 : 0)}, boundary;
  char *copy = malloc(body.len > 0 ? body.len : 1);
  memcpy(copy, start, strlen(start));
  if (size > 1) memcpy(copy + strlen(start), data + 1, size - 1);
  body.buf = copy;
  boundary = multipart_first_line(body);
  if (boundary.len > 0) check(body, boundary);
  for (size_t ofs = 0; ofs < body.len + 2; ofs++) {
    struct mg_http_part part;
    size_t next = mg_http_next_multipart(body.buf, body.len, ofs, "b", 1, &part);
    MUST(next == 0 || (next > ofs && next < body.len));
  }
  free(copy);
  return 0;
}
