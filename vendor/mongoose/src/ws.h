/* ws.h: what the WebSocket files share.
 *
 * ws_codec.c      frames, masks, UTF-8, close payloads: bytes in, a verdict out
 * ws_handshake.c  how a connection becomes a WebSocket, on both sides
 * ws_batch.c      short messages of a turn, delivered together
 * ws.c            what it does from then on */
#ifndef MG_WS_H
#define MG_WS_H

#include "internal.h"

enum {
  MG_WS_FIN = 0x80,  /* first byte of a frame, RFC 6455 section 5.2 */
  MG_WS_RSV1 = 0x40, /* a compressed message, RFC 7692 section 6 */
  MG_WS_RSV = 0x70,
  MG_WS_OP = 0x0f,
  MG_WS_CONTROL = 0x08,    /* bit of an opcode: control frame */
  MG_WS_MAX_HEADER = 14,   /* 2, up to 8 of length, 4 of mask */
  MG_WS_MAX_CONTROL = 125, /* payload of a control frame */
  MG_WS_ACCEPT = 28,       /* characters of a Sec-WebSocket-Accept */
};

enum { /* status codes, RFC 6455 section 7.4.1 */
  MG_WS_NORMAL = 1000,
  MG_WS_PROTOCOL = 1002,
  MG_WS_BAD_DATA = 1007,
  MG_WS_TOO_BIG = 1009,
};

/* ---- ws_codec.c: no manager, any thread ---------------------------------- */

struct mg_ws_frame { /* a header */
  uint8_t first;     /* FIN, RSV, opcode */
  bool is_masked;
  uint8_t key[4];
  uint64_t len;
};
/* Parse the frame header at buf[0..len). > 0: its length; 0: more is needed; -1:
 * never legal (reserved opcode, control frame that is fragmented or above 125
 * bytes, a length with its top bit set or in more bytes than needed); what is
 * wrong is in *why. *f is written on success only. RSV bits are the caller's. */
int mg__ws_parse(const char *buf, size_t len, struct mg_ws_frame *f, const char **why);
/* Write a header; key NULL: unmasked. Returns its length, at most MG_WS_MAX_HEADER. */
size_t mg__ws_header(char *to, uint8_t first, uint64_t len, const uint8_t *key);
/* XOR n bytes with the key, whose byte `phase` (0 to 3) is the first one's, on
 * their way from src to dst; dst <= src when the two overlap. */
void mg__ws_mask(char *dst, const char *src, size_t n, const uint8_t key[4], unsigned phase);

struct mg_ws_utf8 {   /* all zero: between two characters */
  uint8_t need;       /* bytes still to come of the current one */
  uint8_t lo, hi;     /* what the next of them must be within */
};
/* Go on with n bytes: false as soon as they cannot become UTF-8 (RFC 3629). The
 * text may end here if u->need == 0. */
bool mg__ws_utf8(struct mg_ws_utf8 *u, const char *s, size_t n);

/* May a frame carry this status code? RFC 6455 section 7.4. */
bool mg__ws_code_ok(unsigned code);
/* Look at the payload of a close frame: 0, or the status code to fail with. */
int mg__ws_check_close(const char *data, size_t len);

/* ---- a connection ---------------------------------------------------------- */

/* recv holds the message being put together in [0..msg_len), then header bytes
 * that are done with, and from `at` what is not looked at yet. A payload is
 * unmasked as it comes and moved down at most once. */
struct mg_ws {
  struct mg_ws_handshake *handshake; /* client, until it is done; owned */
  size_t msg_len, at;
  uint64_t left; /* of the payload of the data frame being read */
  uint8_t key[4];
  uint8_t phase;
  uint8_t first;         /* first byte of the message's first frame */
  bool is_masked, is_fin; /* the frame being read */
  bool in_payload;
  bool in_message; /* its first frame has begun */
  bool check_utf8;
  bool may_deflate; /* permessage-deflate was agreed: RSV1 may be set */
  bool in_sending;  /* a fragmented message is being sent */
  bool close_sent, close_received;
  bool is_pinged; /* nothing was heard since our ping */
  struct mg_ws_utf8 utf8;
  uint64_t heard_at; /* ms: when the peer last sent something */
  int pong_len;      /* of a pong held back, or -1 */
  char pong[MG_WS_MAX_CONTROL];
};
static inline struct mg_ws *mg__ws(const struct mg_connection *c) { return c->proto_data; }

/* ws.c */
extern const struct mg_proto mg__proto_ws;
struct mg_ws *mg__ws_new(void); /* NULL: OOM */
/* Make c, which has no protocol, speak WebSocket; w is its from now on. */
void mg__ws_attach(struct mg_connection *c, struct mg_ws *w);
/* The handshake is done: from now on recv holds frames. Fires MG_EV_WS_OPEN. */
void mg__ws_open(struct mg_connection *c, struct mg_http_message *msg);
/* Set the deadline that the connection's state asks for. */
void mg__ws_set_deadline(struct mg_connection *c);
/* What forbids this frame now; NULL: nothing. */
const char *mg__ws_frame_wrong(const struct mg_connection *c, const struct mg_ws *w,
                               const struct mg_ws_frame *f);

/* ws_batch.c: hold back the short messages at the front of recv, to be delivered together
 * with others of this turn. false: there is none. */
bool mg__ws_post(struct mg_connection *c);

/* ws_handshake.c */
/* Look at recv for the answer: true when the connection became a WebSocket. */
bool mg__ws_handshake_data(struct mg_connection *c);
void mg__ws_handshake_failed(struct mg_connection *c, const char *why);

#endif
