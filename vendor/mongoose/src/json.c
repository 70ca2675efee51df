/* json.c: find a value in a JSON text by its path, unescape a string (RFC 8259).
 *
 * One pass over the text, strict, without a tree: the walk knows for each open
 * bracket how far the path has been followed to it. A value on the path is "live"; when
 * the path is used up, that value is the answer. Turning it into a number or
 * a list is left to the caller. */
#include "internal.h"

enum { JSON_DEPTH = 30 };

struct json_level {
  size_t start;   /* offset of the bracket, for the answer */
  size_t path;    /* live: in the path, an object: of the key; an array: behind the index */
  size_t wanted;  /* live array: the index; SIZE_MAX: none that a text has room for */
  size_t index;   /* array: of the next element */
  uint64_t tried; /* object: keys that fitted, see json_first_of_key() */
  bool is_object, is_answer;
  bool live;      /* the path goes on inside */
};

struct json_walk {
  struct mg_str text, path;
  size_t at;   /* in text */
  size_t next; /* live: in path, behind the value at hand */
  bool live;   /* the value at hand lies on the path */
  int depth;
  struct json_level levels[JSON_DEPTH];
};

/* ---- path: "$" *( "." key / "[" index "]" ) ------------------------------ */

/* A key may hold anything but the bytes that begin the next step. */
static size_t json_path_key(struct mg_str path, size_t at) {
  size_t n = at + 1;
  while (n < path.len && path.buf[n] != '.' && path.buf[n] != '[') n++;
  return n > at + 1 ? n : 0;
}

/* The end of "[index]" at path[at]; too large an index becomes SIZE_MAX, which
 * no text is long enough for. 0: malformed. */
static size_t json_path_index(struct mg_str path, size_t at, size_t *index) {
  size_t n = at + 1;
  *index = 0;
  while (n < path.len && path.buf[n] >= '0' && path.buf[n] <= '9') {
    size_t digit = (size_t) (path.buf[n++] - '0');
    *index = *index > (SIZE_MAX - digit) / 10 ? SIZE_MAX : *index * 10 + digit;
  }
  if (n == at + 1 || (path.buf[at + 1] == '0' && n > at + 2)) return 0;
  return n < path.len && path.buf[n] == ']' ? n + 1 : 0;
}

static bool json_path_ok(struct mg_str path) {
  size_t at = 1, index;
  if (path.len == 0 || path.buf[0] != '$') return false;
  while (at < path.len) {
    if (path.buf[at] == '.') {
      at = json_path_key(path, at);
    } else if (path.buf[at] == '[') {
      at = json_path_index(path, at, &index);
    } else {
      return false;
    }
    if (at == 0) return false;
  }
  return true;
}

/* ---- tokens: the offset behind it, or a negative code ------------------- */

static bool json_is_space(char ch) {
  return ch == ' ' || ch == '\t' || ch == '\n' || ch == '\r';
}

static bool json_is_digit(char ch) {
  return ch >= '0' && ch <= '9';
}

static size_t json_space(struct mg_str s, size_t at) {
  while (at < s.len && json_is_space(s.buf[at])) at++;
  return at;
}

/* Text that ends too early might still have become right. */
static int64_t json_broken(struct mg_str s, size_t at) {
  return at >= s.len ? MG_JSON_NOT_FOUND : MG_JSON_INVALID;
}

/* Four hex digits at s[at..), or -1. */
static long json_hex4(struct mg_str s, size_t at) {
  long value = 0;
  size_t i;
  if (s.len < 4 || at > s.len - 4) return -1;
  for (i = at; i < at + 4; i++) {
    int digit = mg__hex_digit(s.buf[i]);
    if (digit < 0) return -1;
    value = value << 4 | digit;
  }
  return value;
}

static size_t json_utf8(long ch, char *to) {
  if (ch < 0x80) {
    to[0] = (char) ch;
    return 1;
  }
  if (ch < 0x800) {
    to[0] = (char) (0xc0 | ch >> 6);
    to[1] = (char) (0x80 | (ch & 63));
    return 2;
  }
  if (ch < 0x10000) {
    to[0] = (char) (0xe0 | ch >> 12);
    to[1] = (char) (0x80 | (ch >> 6 & 63));
    to[2] = (char) (0x80 | (ch & 63));
    return 3;
  }
  to[0] = (char) (0xf0 | ch >> 18);
  to[1] = (char) (0x80 | (ch >> 12 & 63));
  to[2] = (char) (0x80 | (ch >> 6 & 63));
  to[3] = (char) (0x80 | (ch & 63));
  return 4;
}

/* \uXXXX at s[at]; two of them when they make a surrogate pair. */
static int64_t json_unicode(struct mg_str s, size_t at, char *to, size_t *n) {
  long low, ch = json_hex4(s, at + 2);
  if (ch < 0) return json_broken(s, at + 6);
  at += 6;
  if (ch >= 0xd800 && ch <= 0xdbff && s.len - at >= 6 && s.buf[at] == '\\' &&
      s.buf[at + 1] == 'u' && (low = json_hex4(s, at + 2)) >= 0xdc00 && low <= 0xdfff) {
    ch = 0x10000 + ((ch - 0xd800) << 10) + (low - 0xdc00);
    at += 6;
  }
  if (ch >= 0xd800 && ch <= 0xdfff) ch = 0xfffd;
  *n = json_utf8(ch, to);
  return (int64_t) at;
}

/* The backslash and what it makes of the bytes behind it: at most 4 bytes in to. */
static int64_t json_escape(struct mg_str s, size_t at, char *to, size_t *n) {
  static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
  const char *which;
  if (s.len - at < 2) return MG_JSON_NOT_FOUND;
  if (s.buf[at + 1] == 'u') return json_unicode(s, at, to, n);
  which = memchr(from, s.buf[at + 1], sizeof(from) - 1);
  if (which == NULL) return MG_JSON_INVALID;
  to[0] = into[which - from];
  *n = 1;
  return (int64_t) at + 2;
}

/* One character of a string, escaped or not; not for its closing quote. */
static int64_t json_char(struct mg_str s, size_t at, char *to, size_t *n) {
  if ((unsigned char) s.buf[at] < 0x20) return MG_JSON_INVALID;
  if (s.buf[at] == '\\') return json_escape(s, at, to, n);
  *n = mg__utf8(s.buf + at, s.len - at);
  if (*n == 0) return MG_JSON_INVALID;
  memcpy(to, s.buf + at, *n);
  return (int64_t) (at + *n);
}

/* Plain ASCII, which most strings are made of, is passed over quickly. */
static size_t json_plain(struct mg_str s, size_t at) {
  while (at < s.len && s.buf[at] != '"' && s.buf[at] != '\\' &&
         (unsigned char) s.buf[at] - 0x20u < 0x60) {
    at++;
  }
  return at;
}

static int64_t json_string(struct mg_str s, size_t at) {
  char to[4];
  size_t n;
  at = json_plain(s, at + 1);
  while (at < s.len && s.buf[at] != '"') {
    int64_t end = json_char(s, at, to, &n);
    if (end < 0) return end;
    at = json_plain(s, (size_t) end);
  }
  return at < s.len ? (int64_t) at + 1 : MG_JSON_NOT_FOUND;
}

static int64_t json_digits(struct mg_str s, size_t at) {
  size_t end = at;
  while (end < s.len && json_is_digit(s.buf[end])) end++;
  return end > at ? (int64_t) end : json_broken(s, at);
}

static int64_t json_number(struct mg_str s, size_t at) {
  int64_t end;
  if (s.buf[at] == '-') at++;
  /* Behind a leading zero no digit is looked for, and none may follow. */
  end = at < s.len && s.buf[at] == '0' ? (int64_t) at + 1 : json_digits(s, at);
  if (end >= 0 && (size_t) end < s.len && s.buf[end] == '.') end = json_digits(s, (size_t) end + 1);
  if (end >= 0 && (size_t) end < s.len && (s.buf[end] == 'e' || s.buf[end] == 'E')) {
    at = (size_t) end + 1;
    if (at < s.len && (s.buf[at] == '+' || s.buf[at] == '-')) at++;
    end = json_digits(s, at);
  }
  return end;
}

static int64_t json_literal(struct mg_str s, size_t at, const char *word) {
  for (; *word != '\0'; at++, word++) {
    if (at == s.len || s.buf[at] != *word) return json_broken(s, at);
  }
  return (int64_t) at;
}

/* A number or a word ends at a delimiter. At the end of the text only the root
 * is complete: inside a bracket more of it might have been cut off. */
static int64_t json_delimited(const struct json_walk *w, int64_t end) {
  if (end < 0) return end;
  if ((size_t) end == w->text.len) return w->depth == 0 ? end : MG_JSON_NOT_FOUND;
  return json_is_space(w->text.buf[end]) || memchr(",]}", w->text.buf[end], 3) != NULL
             ? end
             : MG_JSON_INVALID;
}

static int64_t json_scalar(const struct json_walk *w) {
  switch (w->text.buf[w->at]) {
    case '"': return json_string(w->text, w->at);
    case 't': return json_delimited(w, json_literal(w->text, w->at, "true"));
    case 'f': return json_delimited(w, json_literal(w->text, w->at, "false"));
    case 'n': return json_delimited(w, json_literal(w->text, w->at, "null"));
    default: return json_delimited(w, json_number(w->text, w->at));
  }
}

/* ---- the walk: 0 to go on, else a negative code -------------------------- */

/* Does the path go on at path[at] with this key, and then with another step or
 * not at all? Length of the key in the path, or 0. */
static size_t json_key_fits(struct mg_str key, struct mg_str path, size_t at) {
  size_t i = 0, n, start = at;
  char one[4];
  if (key.len > 0 && key.len <= path.len - at && memcmp(path.buf + at, key.buf, key.len) == 0) {
    at += key.len;
  } else {
    if (memchr(key.buf, '\\', key.len) == NULL) return 0;
    while (i < key.len) {
      i = (size_t) json_char(key, i, one, &n); /* can't fail: json_string() was here */
      if (n > path.len - at || memcmp(path.buf + at, one, n) != 0) return 0;
      at += n;
    }
  }
  return at == path.len || path.buf[at] == '.' || path.buf[at] == '[' ? at - start : 0;
}

/* Is this the first key that reaches so far into the path? The steps that a key
 * covers tell keys apart, as they all are beginnings of one path. (Those that
 * cover 64 or more share a bit: the first of them counts.) */
static bool json_first_of_key(struct json_level *level, struct mg_str in_path) {
  unsigned steps = 0;
  size_t i;
  for (i = 0; i < in_path.len && steps < 63; i++) {
    if (in_path.buf[i] == '.' || in_path.buf[i] == '[') steps++;
  }
  if (level->tried >> steps & 1) return false;
  level->tried |= (uint64_t) 1 << steps;
  return true;
}

/* At a key: read it and the colon. */
static int64_t json_enter_member(struct json_walk *w, struct json_level *level) {
  struct mg_str key, in_path;
  int64_t end;
  size_t at = w->at;
  if (at == w->text.len || w->text.buf[at] != '"') return json_broken(w->text, at);
  end = json_string(w->text, at);
  if (end < 0) return end;
  key.buf = w->text.buf + at + 1;
  key.len = (size_t) end - at - 2;
  at = json_space(w->text, (size_t) end);
  if (at == w->text.len || w->text.buf[at] != ':') return json_broken(w->text, at);
  w->at = json_space(w->text, at + 1);
  w->live = false;
  if (level->live) {
    in_path.buf = w->path.buf + level->path;
    in_path.len = json_key_fits(key, w->path, level->path);
    w->live = in_path.len > 0 && json_first_of_key(level, in_path);
    w->next = level->path + in_path.len;
  }
  return 0;
}

/* At the first or next key or element of the innermost bracket. */
static int64_t json_enter(struct json_walk *w) {
  struct json_level *level = &w->levels[w->depth - 1];
  if (level->is_object) return json_enter_member(w, level);
  w->live = level->live && level->index == level->wanted;
  w->next = level->path;
  level->index++;
  return 0;
}

static bool json_is_answer(const struct json_walk *w) {
  return w->live && w->next == w->path.len;
}

/* At an opening bracket. 1: at its first value now; 0: it is empty, at the closing one. */
static int64_t json_open(struct json_walk *w) {
  bool is_object = w->text.buf[w->at] == '{';
  struct json_level *level = &w->levels[w->depth];
  int64_t err;
  if (w->depth == JSON_DEPTH) return MG_JSON_TOO_DEEP;
  memset(level, 0, sizeof(*level));
  level->start = w->at;
  level->is_object = is_object;
  level->is_answer = json_is_answer(w);
  level->live = w->live && !level->is_answer && w->path.buf[w->next] == (is_object ? '.' : '[');
  if (level->live) {
    level->path = is_object ? w->next + 1 : json_path_index(w->path, w->next, &level->wanted);
  }
  w->depth++;
  w->at = json_space(w->text, w->at + 1);
  if (w->at < w->text.len && w->text.buf[w->at] == (is_object ? '}' : ']')) return 0;
  err = json_enter(w);
  return err < 0 ? err : 1;
}

/* Behind a value: close what closes, go to the next one. > 0: at a value; 0: the
 * answer was closed, it began at *start. */
static int64_t json_next(struct json_walk *w, int64_t *start) {
  while (w->depth > 0) {
    const struct json_level *level = &w->levels[w->depth - 1];
    w->at = json_space(w->text, w->at);
    if (w->at == w->text.len) return MG_JSON_NOT_FOUND;
    if (w->text.buf[w->at] == ',') {
      int64_t err;
      w->at = json_space(w->text, w->at + 1);
      err = json_enter(w);
      return err < 0 ? err : 1;
    }
    if (w->text.buf[w->at] != (level->is_object ? '}' : ']')) return MG_JSON_INVALID;
    w->at++;
    w->depth--;
    *start = (int64_t) level->start;
    if (level->is_answer) return 0;
  }
  return MG_JSON_NOT_FOUND;
}

/* The offset of the answer, with w->at behind it. */
static int64_t json_find(struct json_walk *w) {
  int64_t rc = 1, start = 0;
  while (rc > 0) {
    if (w->at == w->text.len) return MG_JSON_NOT_FOUND;
    if (w->text.buf[w->at] == '{' || w->text.buf[w->at] == '[') {
      rc = json_open(w);
    } else {
      start = (int64_t) w->at;
      rc = json_scalar(w);
      if (rc < 0) return rc;
      w->at = (size_t) rc;
      if (json_is_answer(w)) return start;
      rc = 0;
    }
    if (rc == 0) {
      rc = json_next(w, &start);
      if (rc == 0) return start;
    }
  }
  return rc;
}

int64_t mg_json_get(const char *json, size_t len, const char *path, size_t path_len,
                    size_t *toklen) {
  struct json_walk w;
  int64_t at;
  w.text.buf = json;
  w.text.len = len;
  w.path.buf = path;
  w.path.len = path_len;
  w.at = json_space(w.text, 0);
  w.next = 1; /* behind the '$' */
  w.live = true;
  w.depth = 0;
  *toklen = 0;
  if (!json_path_ok(w.path)) return MG_JSON_INVALID;
  at = json_find(&w);
  if (at >= 0) *toklen = w.at - (size_t) at;
  return at;
}

int64_t mg_json_unescape(const char *tok, size_t len, char *to, size_t cap) {
  struct mg_str s = {tok, len};
  size_t at = 1, n, used = 0;
  char one[4];
  if (len < 2 || tok[0] != '"' || tok[len - 1] != '"') return MG_JSON_INVALID;
  s.len--;
  while (at < s.len) {
    int64_t end = s.buf[at] != '"' ? json_char(s, at, one, &n) : MG_JSON_INVALID;
    if (end < 0 || n > cap - used) return MG_JSON_INVALID;
    memcpy(to + used, one, n);
    used += n;
    at = (size_t) end;
  }
  return (int64_t) used;
}
