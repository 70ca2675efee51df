/* dns_codec.c: DNS messages, RFC 1035 section 4, apart from any socket.
 *
 * Writes the one kind of query we send and reads the answer to it. What is not
 * needed is not looked at: authority and additional records have no say here,
 * so nothing in them can be believed. The idea to hold: a message counts only
 * when it repeats our question, and an address only when it belongs to the name
 * asked for or to one its aliases lead to (RFC 5452 section 6). */
#include "dns.h"

struct dns_record { /* of the answer section; offsets into the message */
  struct mg_dns_name owner;
  unsigned type, class;
  uint32_t ttl;
  size_t data, len;
};

struct dns_message {
  const uint8_t *buf;
  size_t len;
};

static unsigned dns_u16(const uint8_t *p) { return (unsigned) p[0] << 8 | p[1]; }
static uint32_t dns_u32(const uint8_t *p) { return (uint32_t) dns_u16(p) << 16 | dns_u16(p + 2); }

static uint8_t dns_lower(uint8_t ch) { return ch >= 'A' && ch <= 'Z' ? (uint8_t) (ch + 32) : ch; }

/* ---- names ------------------------------------------------------------------- */

static bool dns_is_digit(uint8_t ch) { return ch >= '0' && ch <= '9'; }

static bool dns_name_byte(uint8_t ch) {
  return (ch >= 'a' && ch <= 'z') || dns_is_digit(ch) || ch == '-' || ch == '_';
}

/* "80", "0x1f": what an address of sloppy spelling ends in. */
static bool dns_is_number(const uint8_t *label, size_t len) {
  size_t i = len > 1 && label[0] == '0' && label[1] == 'x' ? 2 : 0;
  bool hex = i > 0;
  while (i < len && (dns_is_digit(label[i]) || (hex && label[i] >= 'a' && label[i] <= 'f'))) i++;
  return i == len;
}

bool mg__dns_name(struct mg_str text, struct mg_dns_name *out) {
  size_t label = 0, i; /* wire[label] is the length of the label being read */
  if (text.len > 0 && text.buf[text.len - 1] == '.') text.len--;
  if (text.len == 0 || text.len > MG_DNS_TEXT) return false;
  for (i = 0; i <= text.len; i++) {
    uint8_t ch = i < text.len ? dns_lower((uint8_t) text.buf[i]) : '.';
    if (ch != '.') {
      if (!dns_name_byte(ch)) return false;
      out->wire[i + 1] = ch;
    } else {
      size_t len = i - label;
      if (len < 1 || len > MG_DNS_LABEL) return false;
      out->wire[label] = (uint8_t) len;
      if (i == text.len && dns_is_number(out->wire + label + 1, len)) return false;
      label = i + 1;
    }
  }
  out->wire[label] = 0; /* the root */
  out->len = (uint8_t) (label + 1);
  return true;
}

/* Expand the name at offset `at`. The offset behind it, or 0: malformed. A pointer
 * leads to before the piece it stands in, so names can't run in circles. */
static size_t dns_expand(struct dns_message m, size_t at, struct mg_dns_name *out) {
  size_t end = 0, piece = at, n = 0;
  for (unsigned jumps = 0; at < m.len;) {
    unsigned byte = m.buf[at];
    if (byte == 0) {
      out->wire[n++] = 0;
      out->len = (uint8_t) n;
      return end != 0 ? end : at + 1;
    }
    if (byte >= 0xc0) {
      size_t to;
      if (m.len - at < 2 || ++jumps > MG_DNS_JUMPS) return 0;
      to = dns_u16(m.buf + at) & 0x3fff;
      if (to < MG_DNS_HEADER || to >= piece) return 0;
      if (end == 0) end = at + 2;
      at = piece = to;
      continue;
    }
    if (byte > MG_DNS_LABEL || m.len - at <= byte || byte + 2 > MG_DNS_NAME - n) return 0;
    out->wire[n++] = (uint8_t) byte;
    for (size_t i = 1; i <= byte; i++) out->wire[n++] = dns_lower(m.buf[at + i]);
    at += byte + 1;
  }
  return 0;
}

static bool dns_same(const struct mg_dns_name *a, const struct mg_dns_name *b) {
  return a->len == b->len && memcmp(a->wire, b->wire, a->len) == 0;
}

/* ---- queries -------------------------------------------------------------------- */

size_t mg__dns_query_write(uint8_t to[MG_DNS_QUERY], uint16_t id, const struct mg_dns_name *name,
                           uint16_t type) {
  static const uint8_t rest[] = {0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0}; /* RD, one question */
  size_t n = MG_DNS_HEADER;
  to[0] = (uint8_t) (id >> 8);
  to[1] = (uint8_t) id;
  memcpy(to + 2, rest, sizeof(rest));
  memcpy(to + n, name->wire, name->len);
  n += name->len;
  to[n++] = (uint8_t) (type >> 8);
  to[n++] = (uint8_t) type;
  to[n++] = 0;
  to[n++] = MG_DNS_IN;
  return n;
}

/* ---- answers -------------------------------------------------------------------- */

/* The offset behind the question when it is ours, else 0. */
static size_t dns_question(struct dns_message m, uint16_t id, const struct mg_dns_name *name,
                           uint16_t type) {
  struct mg_dns_name asked;
  size_t at;
  if (m.len < MG_DNS_HEADER || dns_u16(m.buf) != id) return 0;
  if ((m.buf[2] & 0xf8) != 0x80) return 0;   /* QR is set, the opcode is 0 */
  if (dns_u16(m.buf + 4) != 1) return 0;
  at = dns_expand(m, MG_DNS_HEADER, &asked);
  if (at == 0 || m.len - at < 4 || !dns_same(&asked, name)) return 0;
  if (dns_u16(m.buf + at) != type || dns_u16(m.buf + at + 2) != MG_DNS_IN) return 0;
  return at + 4;
}

/* Read the record at offset `at`. The offset behind it, or 0: malformed. */
static size_t dns_record_read(struct dns_message m, size_t at, struct dns_record *r) {
  struct mg_dns_name target;
  at = dns_expand(m, at, &r->owner);
  if (at == 0 || m.len - at < 10) return 0;
  r->type = dns_u16(m.buf + at);
  r->class = dns_u16(m.buf + at + 2);
  r->ttl = dns_u32(m.buf + at + 4);
  if (r->ttl > INT32_MAX) r->ttl = 0; /* RFC 2181 section 8 */
  r->len = dns_u16(m.buf + at + 8);
  r->data = at + 10;
  if (r->len > m.len - r->data) return 0;
  if (r->class == MG_DNS_IN) {
    if (r->type == MG_DNS_A && r->len != 4) return 0;
    if (r->type == MG_DNS_AAAA && r->len != 16) return 0;
    if (r->type == MG_DNS_CNAME && dns_expand(m, r->data, &target) != r->data + r->len) return 0;
  }
  return r->data + r->len;
}

static void dns_add(struct mg_dns_answer *out, const uint8_t *bytes, size_t len) {
  struct mg_ip ip = {.is_ip6 = len == 16};
  memcpy(ip.bytes, bytes, len);
  for (size_t i = 0; i < out->count; i++)
    if (mg__ip_same(&out->addrs[i], &ip)) return;
  if (out->count < MG_DNS_ADDRS) out->addrs[out->count++] = ip;
}

/* Look through all answers for what `name` owns: addresses go to *out, an alias to
 * *alias (len 0: none). false: malformed, or two aliases that differ. */
static bool dns_owned(struct dns_message m, size_t at, const struct mg_dns_name *name, uint16_t type,
                      struct mg_dns_answer *out, struct mg_dns_name *alias) {
  uint32_t alias_ttl = UINT32_MAX;
  alias->len = 0;
  for (unsigned left = dns_u16(m.buf + 6); left > 0; left--) {
    struct mg_dns_name target;
    struct dns_record r;
    at = dns_record_read(m, at, &r);
    if (at == 0) return false;
    if (r.class != MG_DNS_IN || !dns_same(&r.owner, name)) continue;
    if (r.type == type) {
      dns_add(out, m.buf + r.data, r.len);
      if (r.ttl < out->ttl) out->ttl = r.ttl;
    } else if (r.type == MG_DNS_CNAME) {
      dns_expand(m, r.data, &target);
      if (alias->len > 0 && !dns_same(alias, &target)) return false;
      *alias = target;
      if (r.ttl < alias_ttl) alias_ttl = r.ttl;
    }
  }
  if (out->count == 0 && alias_ttl < out->ttl) out->ttl = alias_ttl;
  return true;
}

/* Follow the aliases to the first name that has addresses. */
static int dns_chain(struct dns_message m, size_t at, const struct mg_dns_name *name, uint16_t type,
                     struct mg_dns_answer *out) {
  struct mg_dns_name owner = *name, alias;
  for (unsigned links = 0; links <= MG_DNS_LINKS; links++) {
    if (!dns_owned(m, at, &owner, type, out, &alias)) return MG_DNS_FAILED;
    if (out->count > 0) return MG_DNS_OK;
    if (alias.len == 0) return MG_DNS_NO_DATA;
    owner = alias;
  }
  return MG_DNS_FAILED; /* too long, or a loop */
}

void mg__dns_parse(const uint8_t *buf, size_t len, uint16_t id, const struct mg_dns_name *name,
                   uint16_t type, struct mg_dns_answer *out) {
  struct dns_message m = {buf, len};
  size_t at = dns_question(m, id, name, type);
  unsigned code = at == 0 ? 0 : buf[3] & 0x0f;
  out->count = 0;
  out->ttl = UINT32_MAX;
  if (at == 0)
    out->status = MG_DNS_FOREIGN;
  else if (code != 0 && code != 3)
    out->status = MG_DNS_FAILED;
  else if (buf[2] & 0x02)
    out->status = MG_DNS_TRUNCATED;
  else if (code == 3)
    out->status = MG_DNS_NO_NAME;
  else
    out->status = dns_chain(m, at, name, type, out);
  if (out->status != MG_DNS_OK) out->count = 0;
}
