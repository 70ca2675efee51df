/* http_conditions.c: what the headers of a request ask of a file: has it
 * changed, which part of it, in which coding (RFC 9110 sections 5.6.7, 8.8,
 * 12.5.3 and 14).
 *
 * Text in, a verdict out: no connection, no clock, no allocation. What is
 * malformed never fails a request, it asks for nothing. */
#include "http_static.h"

/* ---- lists and numbers in header values --------------------------------- */

static struct mg_str trim_blanks(struct mg_str s) {
  while (s.len > 0 && (s.buf[0] == ' ' || s.buf[0] == '\t')) s.buf++, s.len--;
  while (s.len > 0 && (s.buf[s.len - 1] == ' ' || s.buf[s.len - 1] == '\t')) s.len--;
  return s;
}

bool mg__next_item(struct mg_str *rest, char sep, struct mg_str *item) {
  const char *end;
  if (rest->len == 0) return false;
  end = memchr(rest->buf, sep, rest->len);
  item->buf = rest->buf;
  item->len = end == NULL ? rest->len : (size_t) (end - rest->buf);
  rest->buf += item->len + (end != NULL);
  rest->len -= item->len + (end != NULL);
  *item = trim_blanks(*item);
  return true;
}

static char lower_ascii(char ch) { return ch >= 'A' && ch <= 'Z' ? (char) (ch + 32) : ch; }

bool mg__same_nocase(struct mg_str a, struct mg_str b) {
  size_t i;
  if (a.len != b.len) return false;
  for (i = 0; i < a.len; i++) {
    if (lower_ascii(a.buf[i]) != lower_ascii(b.buf[i])) return false;
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

struct http_date {
  int year, month, day, hour, minute, second; /* month: 0..11 */
};

void mg__http_date(time_t at, char *buf, size_t size) {
  struct tm tm;
  memset(&tm, 0, sizeof(tm));
  gmtime_r(&at, &tm);
  snprintf(buf, size, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", day_names[tm.tm_wday],
           tm.tm_mday, &month_names[3 * tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
           tm.tm_sec);
}

/* Seconds since 1970 of a date that has a month in range. */
static bool date_to_seconds(const struct http_date *d, int64_t *out) {
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
static bool scan_field(struct mg_str *s, char field, struct http_date *d) {
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

static bool scan_date(struct mg_str s, const char *pattern, struct http_date *d) {
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

bool mg__http_date_parse(struct mg_str s, int64_t now, int64_t *out) {
  struct http_date d;
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

int mg__http_range(struct mg_str value, uint64_t size, uint64_t *ofs, uint64_t *len) {
  static const struct mg_str unit = {"bytes=", 6};
  struct mg_str item, spec = {NULL, 0};
  uint64_t first, last = UINT64_MAX;
  if (value.len < unit.len) return 200;
  item.buf = value.buf, item.len = unit.len;
  if (!mg__same_nocase(item, unit)) return 200;
  value.buf += unit.len, value.len -= unit.len;
  while (mg__next_item(&value, ',', &item)) {
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

bool mg__etag_in_list(struct mg_str s, const char *tag, bool weak) {
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
  while (mg__next_item(&params, ';', &p)) {
    size_t i;
    if (p.len < 2 || lower_ascii(p.buf[0]) != 'q' || p.buf[1] != '=') continue;
    positive = false;
    for (i = 2; i < p.len; i++) {
      if (!is_digit(p.buf[i]) && p.buf[i] != '.') return false;
      if (p.buf[i] >= '1' && p.buf[i] <= '9') positive = true;
    }
  }
  return positive;
}

bool mg__accepts_gzip(const struct mg_http_message *msg) {
  bool named = false, gzip = false, any = false;
  size_t i;
  for (i = 0; i < msg->num_headers; i++) {
    struct mg_str rest = msg->headers[i].value, item, coding;
    if (!mg__streq_nocase(msg->headers[i].name, "accept-encoding")) continue;
    while (mg__next_item(&rest, ',', &item)) {
      if (!mg__next_item(&item, ';', &coding)) continue;
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
