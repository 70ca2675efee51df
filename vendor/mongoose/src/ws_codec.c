/* ws_codec.c: the wire format of RFC 6455, apart from any connection.
 *
 * Frame headers, masking, UTF-8 in pieces and the payload of a close frame.
 * Left to others: which frame may come now, who masks, and what to do about a
 * mistake. The two loops that see every byte work in wide words; the plain
 * form stands beside each and does the odd bytes. */
#include "ws.h"

/* ---- headers ---------------------------------------------------------------- */

static bool opcode_known(unsigned op) {
  return op <= WEBSOCKET_OP_BINARY || (op >= WEBSOCKET_OP_CLOSE && op <= WEBSOCKET_OP_PONG);
}

static uint64_t big_endian(const uint8_t *p, size_t n) {
  uint64_t value = 0;
  for (size_t i = 0; i < n; i++) value = value << 8 | p[i];
  return value;
}

/* What is wrong with the first two bytes, or NULL; the second may not be there. */
static const char *first_bytes_wrong(const uint8_t *p, size_t len) {
  if (!opcode_known(p[0] & MG_WS_OP)) return "a reserved opcode";
  if ((p[0] & MG_WS_CONTROL) == 0) return NULL;
  if ((p[0] & MG_WS_FIN) == 0) return "a fragmented control frame";
  if (len > 1 && (p[1] & 0x7f) > MG_WS_MAX_CONTROL) return "a control frame above 125 bytes";
  return NULL;
}

int mg__ws_parse(const char *buf, size_t len, struct mg_ws_frame *f, const char **why) {
  const uint8_t *p = (const uint8_t *) buf;
  size_t extra, n;
  uint64_t length;
  bool is_masked;
  if (len == 0) return 0;
  *why = first_bytes_wrong(p, len);
  if (*why != NULL) return -1;
  if (len < 2) return 0;
  is_masked = (p[1] & 0x80) != 0;
  length = p[1] & 0x7f;
  extra = length == 126 ? 2 : length == 127 ? 8 : 0;
  n = 2 + extra + (is_masked ? 4 : 0);
  if (len < 2 + extra) return 0;
  if (extra > 0) length = big_endian(p + 2, extra);
  if (length > INT64_MAX) *why = "a length with its top bit set";
  if (extra > 0 && length <= (extra == 2 ? 125 : 0xffff))
    *why = "a length in more bytes than needed";
  if (*why != NULL) return -1;
  if (len < n) return 0;
  f->first = p[0];
  f->is_masked = is_masked;
  f->len = length;
  if (is_masked) memcpy(f->key, p + n - 4, 4);
  return (int) n;
}

size_t mg__ws_header(char *to, uint8_t first, uint64_t len, const uint8_t *key) {
  uint8_t *p = (uint8_t *) to;
  size_t extra = len <= 125 ? 0 : len <= 0xffff ? 2 : 8;
  unsigned mask = key == NULL ? 0 : 0x80;
  p[0] = first;
  p[1] = (uint8_t) (mask | (extra == 0 ? (unsigned) len : extra == 2 ? 126u : 127u));
  for (size_t i = 0; i < extra; i++) p[2 + i] = (uint8_t) (len >> 8 * (extra - 1 - i));
  if (key != NULL) memcpy(p + 2 + extra, key, 4);
  return 2 + extra + (key == NULL ? 0 : 4);
}

/* ---- masking ------------------------------------------------------------------ */

static void mask_plain(char *dst, const char *src, size_t n, const uint8_t key[4],
                       unsigned phase) {
  for (size_t i = 0; i < n; i++) dst[i] = (char) (src[i] ^ key[(phase + i) & 3]);
}

/* All 32 bytes are loaded before any is stored, so compilers may take vectors,
 * and dst may lie close in front of src. */
void mg__ws_mask(char *dst, const char *src, size_t n, const uint8_t key[4], unsigned phase) {
  uint64_t wide, w[4];
  uint8_t turned[8];
  size_t i = 0;
  for (unsigned k = 0; k < 8; k++) turned[k] = key[(phase + k) & 3];
  memcpy(&wide, turned, 8);
  for (; n - i >= 32; i += 32) {
    memcpy(w, src + i, 32);
    w[0] ^= wide, w[1] ^= wide, w[2] ^= wide, w[3] ^= wide;
    memcpy(dst + i, w, 32);
  }
  for (; n - i >= 8; i += 8) {
    memcpy(w, src + i, 8);
    w[0] ^= wide;
    memcpy(dst + i, w, 8);
  }
  mask_plain(dst + i, src + i, n - i, turned, 0);
}

/* ---- UTF-8 ---------------------------------------------------------------------- */

/* The range of the second byte is where overlong forms, surrogates and what is
 * above U+10FFFF are told. */
static bool utf8_lead_byte(struct mg_ws_utf8 *u, uint8_t lead) {
  if (lead < 0x80) return true;
  if (lead < 0xc2 || lead > 0xf4) return false;
  u->need = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
  u->lo = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  u->hi = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  return true;
}

static bool utf8_plain(struct mg_ws_utf8 *u, const char *s, size_t n) {
  for (size_t i = 0; i < n; i++) {
    uint8_t byte = (uint8_t) s[i];
    if (u->need == 0) {
      if (!utf8_lead_byte(u, byte)) return false;
      continue;
    }
    if (byte < u->lo || byte > u->hi) return false;
    u->need--;
    u->lo = 0x80;
    u->hi = 0xbf;
  }
  return true;
}

/* How many bytes at the front are ASCII, rounded down to words. */
static size_t ascii_words(const char *s, size_t n) {
  static const uint64_t high = 0x8080808080808080u;
  uint64_t w[4];
  size_t i = 0;
  for (; n - i >= 32; i += 32) {
    memcpy(w, s + i, 32);
    if (((w[0] | w[1] | w[2] | w[3]) & high) != 0) break;
  }
  for (; n - i >= 8; i += 8) {
    memcpy(w, s + i, 8);
    if ((w[0] & high) != 0) break;
  }
  return i;
}

enum { UTF8_STRETCH = 32 }; /* bytes checked one by one before ASCII is hoped for again */

bool mg__ws_utf8(struct mg_ws_utf8 *u, const char *s, size_t n) {
  while (n > 0) {
    size_t skip = u->need == 0 ? ascii_words(s, n) : 0;
    size_t some = n - skip < UTF8_STRETCH ? n - skip : UTF8_STRETCH;
    if (!utf8_plain(u, s + skip, some)) return false;
    s += skip + some;
    n -= skip + some;
  }
  return true;
}

/* ---- close frames ------------------------------------------------------------------ */

bool mg__ws_code_ok(unsigned code) {
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
         (code >= 3000 && code <= 4999);
}

int mg__ws_check_close(const char *data, size_t len) {
  struct mg_ws_utf8 u = {0, 0, 0};
  if (len == 0) return 0;
  if (len == 1) return MG_WS_PROTOCOL;
  if (!mg__ws_code_ok((unsigned) big_endian((const uint8_t *) data, 2))) return MG_WS_PROTOCOL;
  return mg__ws_utf8(&u, data + 2, len - 2) && u.need == 0 ? 0 : MG_WS_BAD_DATA;
}
