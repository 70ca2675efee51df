/* sntp_codec.c: SNTP packets, RFC 5905 section 7.3 and RFC 4330.
 *
 * A packet has 48 bytes: leap indicator, version and mode; stratum; ...; at 12 the
 * reference identifier, or the code of a kiss-o'-death; at 24, 32 and 40 the origin,
 * receive and transmit timestamps: seconds since 1900 in 32 bits, and 32 bits of
 * fraction. Seconds begin again at 0 in February 2036, so a date is the one it can be
 * between 2020 and 2155. */
#include "sntp.h"

enum { SNTP_VERSION = 4, SNTP_CLIENT = 3, SNTP_SERVER = 4, SNTP_NO_SYNC = 3, SNTP_MAX_STRATUM = 15 };

static const uint64_t SNTP_1970 = 2208988800, SNTP_2020 = 3786825600, SNTP_2100 = 6311433600;
static const char SNTP_NOT_SET[] = "the server's clock is not synchronized";
static const int64_t NS = 1000000000, SNTP_MAX_DELAY = 3000000000;

static uint64_t sntp_get(const char *from) {
  uint64_t n = 0;
  for (int i = 0; i < 8; i++) n = n << 8 | (uint8_t) from[i];
  return n;
}

void mg__sntp_request(char to[MG_SNTP_SIZE], uint64_t cookie) {
  memset(to, 0, MG_SNTP_SIZE);
  to[0] = SNTP_VERSION << 3 | SNTP_CLIENT;
  for (int i = 0; i < 8; i++) to[40 + i] = (char) (cookie >> (56 - 8 * i));
}

/* A difference of timestamps, not negative. */
static int64_t sntp_ns(uint64_t span) {
  return (int64_t) (span >> 32) * NS + (int64_t) (((span & UINT32_MAX) * (uint64_t) NS) >> 32);
}

/* Nanoseconds since 1970 of a timestamp, as a date from 2020 to 2155. */
static int64_t sntp_unix_ns(uint64_t at) {
  uint64_t s = at >> 32;
  if (s < SNTP_2020) s += (uint64_t) 1 << 32;
  return (int64_t) (s - SNTP_1970) * NS + sntp_ns(at & UINT32_MAX);
}

static int sntp_bad(char why[MG_SNTP_REASON], const char *text) {
  snprintf(why, MG_SNTP_REASON, "%s", text);
  return MG_SNTP_BAD;
}

/* Stratum 0 is for a kiss-o'-death with a code of four characters, RFC 5905 section 7.4;
 * servers whose clock was never set send it as well, with another identifier. */
static int sntp_kiss(char why[MG_SNTP_REASON], const char *code) {
  const char *meaning = memcmp(code, "RATE", 4) == 0   ? ": it is asked too often"
                        : memcmp(code, "DENY", 4) == 0 ? ": it refuses to serve us"
                        : memcmp(code, "RSTR", 4) == 0 ? ": it refuses to serve us"
                                                       : "";
  for (int i = 0; i < 4; i++)
    if (code[i] <= ' ' || code[i] >= 0x7f) return sntp_bad(why, SNTP_NOT_SET);
  snprintf(why, MG_SNTP_REASON, "the server answers %.4s%s", code, meaning);
  return MG_SNTP_BAD;
}

int mg__sntp_answer(const char *buf, size_t len, uint64_t cookie, int64_t elapsed_ns,
                    int64_t wall_ns, struct mgx_sntp_result *out, char why[MG_SNTP_REASON]) {
  unsigned first = len > 0 ? (uint8_t) buf[0] : 0, leap = first >> 6, version = first >> 3 & 7;
  unsigned stratum;
  uint64_t received, sent;
  int64_t delay, at;
  if (len < MG_SNTP_SIZE || (first & 7) != SNTP_SERVER) return MG_SNTP_STRANGE;
  if (version != SNTP_VERSION && version != SNTP_VERSION - 1) return MG_SNTP_STRANGE;
  if (cookie == 0 || sntp_get(buf + 24) != cookie) return MG_SNTP_STRANGE;
  stratum = (uint8_t) buf[1];
  received = sntp_get(buf + 32);
  sent = sntp_get(buf + 40);
  if (stratum == 0) return sntp_kiss(why, buf + 12);
  if (leap == SNTP_NO_SYNC) return sntp_bad(why, SNTP_NOT_SET);
  if (stratum > SNTP_MAX_STRATUM) {
    snprintf(why, MG_SNTP_REASON, "the server's stratum is %u, not 1 to 15", stratum);
    return MG_SNTP_BAD;
  }
  if (received == 0 || sent == 0) return sntp_bad(why, "the answer lacks a timestamp");
  if (sent - received > INT64_MAX) /* modulo 2^64, so across 2036 as well */
    return sntp_bad(why, "the answer was sent before the request was received");
  delay = elapsed_ns - sntp_ns(sent - received);
  if (delay < 0 || delay > SNTP_MAX_DELAY) {
    snprintf(why, MG_SNTP_REASON, "a round-trip delay of %lld us, not 0 to 3 s",
             (long long) delay / 1000);
    return MG_SNTP_BAD;
  }
  at = sntp_unix_ns(sent) + delay / 2;
  if (at >= (int64_t) (SNTP_2100 - SNTP_1970) * NS)
    return sntp_bad(why, "the server's time is not within 2020 to 2099");
  out->time_ms = at / 1000000;
  out->offset_ns = at - wall_ns;
  out->delay_ns = delay;
  out->leap = (uint8_t) leap;
  out->stratum = (uint8_t) stratum;
  return MG_SNTP_TIME;
}
