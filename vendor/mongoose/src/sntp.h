/* sntp.h: what the SNTP files share.
 *
 * sntp_codec.c  packets: bytes in, a verdict out
 * sntp.c        a client's connection: requests, answers, time-outs */
#ifndef MG_SNTP_H
#define MG_SNTP_H

#include "internal.h"

enum {
  MG_SNTP_SIZE = 48,  /* a packet without extensions, RFC 5905 section 7.3 */
  MG_SNTP_PORT = 123,
  MG_SNTP_REASON = 96, /* room for what is wrong with an answer, NUL included */
};

/* ---- sntp_codec.c: no manager, any thread ---------------------------------- */

/* Write a request. The cookie, any number but 0, stands where a clock's reading could: it
 * tells nobody our time, and who has not seen it cannot answer. */
void mg__sntp_request(char to[MG_SNTP_SIZE], uint64_t cookie);

enum {
  MG_SNTP_STRANGE, /* not an answer to that request: wait for another one */
  MG_SNTP_TIME,    /* *out is filled */
  MG_SNTP_BAD      /* the server's answer, but not to be used: why[] says it */
};
/* Look at a datagram that came elapsed_ns after the request with this cookie was sent,
 * when the system's clock showed wall_ns since 1970. RFC 5905 section 8 and RFC 4330
 * section 5, strictly; *out and why[] are written for their verdict only. */
int mg__sntp_answer(const char *buf, size_t len, uint64_t cookie, int64_t elapsed_ns,
                    int64_t wall_ns, struct mgx_sntp_result *out, char why[MG_SNTP_REASON]);

/* ---- a connection ------------------------------------------------------------ */

struct mg_sntp {
  uint64_t cookie;   /* of the request under way; 0: none */
  int64_t sent_ns;   /* ... and when it was sent, on the monotonic clock */
  uint32_t waiting;  /* requests asked for meanwhile: one is under way at a time */
  bool is_connected; /* the first request was sent, or could not be */
  bool has_result;
  struct mgx_sntp_result result; /* the last one */
};

#endif
