/* test_ws.c: WebSocket: the codec alone, then connections seen from a raw socket. */
#include "../mongoose.c"

#include "world.h"

/* ---- the codec ----------------------------------------------------------------- */

static uint32_t seed = 1;
static uint32_t chance(uint32_t below) {
  seed = seed * 1664525u + 1013904223u;
  return (seed >> 8) % below;
}

static void test_a_header_that_was_written_is_read_the_same(void) {
  static const uint64_t lengths[] = {0, 1, 125, 126, 127, 65535, 65536, 1u << 31, INT64_MAX};
  static const uint8_t key[4] = {1, 2, 3, 4};
  for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
    for (int masked = 0; masked < 2; masked++) {
      char wire[MG_WS_MAX_HEADER];
      struct mg_ws_frame f;
      const char *why;
      size_t n = mg__ws_header(wire, 0x82, lengths[i], masked ? key : NULL);
      for (size_t part = 0; part < n; part++)
        CHECK(mg__ws_parse(guarded(wire, part), part, &f, &why) == 0);
      CHECK(mg__ws_parse(guarded(wire, n), n, &f, &why) == (int) n);
      CHECK(f.first == 0x82 && f.is_masked == (masked == 1) && f.len == lengths[i]);
      CHECK(!masked || memcmp(f.key, key, 4) == 0);
    }
  }
}

static void test_a_header_that_can_never_be_legal_is_refused_as_soon_as_it_shows(void) {
  static const struct {
    uint8_t bytes[10];
    size_t len;
  } cases[] = {
      {{0x83}, 1}, {{0x87}, 1}, {{0x8b}, 1}, {{0x8f}, 1},            /* reserved opcodes */
      {{0x08}, 1}, {{0x09}, 1}, {{0x0a}, 1},                         /* control, not final */
      {{0x88, 126}, 2}, {{0x89, 0xfe}, 2}, {{0x8a, 127}, 2},         /* control, too long */
      {{0x81, 126, 0, 125}, 4}, {{0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 10}, /* not shortest */
      {{0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0}, 10},                  /* top bit */
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    struct mg_ws_frame f;
    const char *why = NULL;
    size_t n = cases[i].len;
    for (size_t part = 0; part < n; part++)
      CHECK(mg__ws_parse(guarded(cases[i].bytes, part), part, &f, &why) == 0);
    CHECK(mg__ws_parse(guarded(cases[i].bytes, n), n, &f, &why) == -1 && why != NULL);
  }
}

static void test_the_wide_mask_is_the_plain_one(void) {
  static const uint8_t key[4] = {0x12, 0xab, 0x00, 0xff};
  char data[200], plain[200], wide[200];
  for (size_t n = 0; n <= sizeof(data); n++) {
    for (unsigned phase = 0; phase < 4; phase++) {
      char *edge;
      for (size_t i = 0; i < n; i++) data[i] = (char) chance(256);
      mask_plain(plain, data, n, key, phase);
      mg__ws_mask(wide, data, n, key, phase);
      CHECK(memcmp(plain, wide, n) == 0);
      edge = guarded(data, n);
      mg__ws_mask(edge, edge, n, key, phase);
      CHECK(memcmp(plain, edge, n) == 0);
    }
  }
}

static void test_a_payload_may_move_down_while_it_is_unmasked(void) {
  static const uint8_t key[4] = {9, 8, 7, 6};
  char data[160], plain[160], moved[200];
  for (size_t gap = 0; gap < 40; gap++) {
    for (size_t i = 0; i < sizeof(data); i++) data[i] = (char) chance(256);
    mask_plain(plain, data, sizeof(data), key, 1);
    memcpy(moved + gap, data, sizeof(data));
    mg__ws_mask(moved, moved + gap, sizeof(data), key, 1);
    CHECK(memcmp(plain, moved, sizeof(data)) == 0);
  }
}

static bool utf8_ok(const char *s, size_t n) {
  struct mg_ws_utf8 u = {0, 0, 0};
  return mg__ws_utf8(&u, s, n) && u.need == 0;
}

/* The strict decoder of utf8.c, applied from front to back. */
static bool utf8_by_characters(const char *s, size_t n) {
  while (n > 0) {
    size_t k = mg__utf8(s, n);
    if (k == 0) return false;
    s += k;
    n -= k;
  }
  return true;
}

static void test_all_sequences_of_up_to_three_bytes_are_judged_as_rfc_3629_does(void) {
  for (unsigned a = 0x70; a < 256; a++) {
    for (unsigned b = 0x70; b < 256; b++) {
      char two[2] = {(char) a, (char) b};
      CHECK(utf8_ok(two, 1) == utf8_by_characters(two, 1));
      CHECK(utf8_ok(two, 2) == utf8_by_characters(two, 2));
      for (unsigned c = 0x7e; c < 256; c += 13) {
        char four[4] = {(char) a, (char) b, (char) c, (char) 0xbf};
        CHECK(utf8_ok(four, 3) == utf8_by_characters(four, 3));
        CHECK(utf8_ok(four, 4) == utf8_by_characters(four, 4));
      }
    }
  }
}

static void test_wide_and_plain_utf8_agree_wherever_the_text_is_cut(void) {
  static const char *const parts[] = {"a", "0123456789abcdef0123456789abcdef", "\xc3\xa9",
                                      "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xff", "\xed\xa0\x80"};
  for (int round = 0; round < 3000; round++) {
    char text[400];
    size_t n = 0, cut;
    struct mg_ws_utf8 u = {0, 0, 0}, plain = {0, 0, 0};
    bool wide;
    while (n < 100 + chance(200)) {
      const char *part = parts[chance(round % 3 == 0 ? 7 : 5)];
      memcpy(text + n, part, strlen(part));
      n += strlen(part);
    }
    n -= chance(3);
    cut = chance((uint32_t) n + 1);
    wide = mg__ws_utf8(&u, guarded(text, cut), cut) &&
           mg__ws_utf8(&u, guarded(text + cut, n - cut), n - cut);
    CHECK(wide == utf8_plain(&plain, text, n));
    CHECK(!wide || (u.need == plain.need && (u.need == 0) == utf8_by_characters(text, n)));
  }
}

static void test_close_payloads_are_judged_as_section_7_4_does(void) {
  static const unsigned good[] = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010,
                                  1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999};
  static const unsigned bad[] = {0,    999,  1004, 1005, 1006, 1015,
                                 1016, 1100, 2000, 2999, 5000, 65535};
  char p[125] = {0};
  for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
    p[0] = (char) (good[i] >> 8), p[1] = (char) good[i];
    CHECK(mg__ws_check_close(p, 2) == 0);
  }
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
    p[0] = (char) (bad[i] >> 8), p[1] = (char) bad[i];
    CHECK(mg__ws_check_close(p, 2) == MG_WS_PROTOCOL);
  }
  CHECK(mg__ws_check_close(p, 0) == 0 && mg__ws_check_close(p, 1) == MG_WS_PROTOCOL);
  CHECK(mg__ws_check_close("\x03\xe8\xc3", 3) == MG_WS_BAD_DATA);
  CHECK(mg__ws_check_close("\x03\xe8\xc3\xa9", 4) == 0);
}

/* ---- connections: a server at 1, a raw client at 2, its other end is 3 ------------- */

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
#define HANDSHAKE                                                                        \
  "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"       \
  "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 13\r\n\r\n"
#define SWITCHED                                                                         \
  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"    \
  "Sec-WebSocket-Accept: " ACCEPT "\r\n\r\n"

static char answer[1 << 20]; /* what the raw client has received */
static size_t answer_len;

static void server(uint64_t conn, int ev, const char *data, size_t n) {
  if (conn == 2 && ev == MG_EV_READ && answer_len + n < sizeof(answer)) {
    memcpy(answer + answer_len, data, n);
    answer_len += n;
  }
  if (conn == 2) return;
  if (ev == MG_EV_HTTP_MSG)
    CHECK(mgx_ws_upgrade(world.mgr, conn, ACCEPT, "", 0, false, false) == 1);
  if (ev == MG_EV_WS_MSG)
    CHECK(mgx_ws_send(world.mgr, conn, data, n, world.first & MG_WS_OP, 0) == 0);
}

static void begin(const struct mgx_limits *limits,
                  void (*react)(uint64_t, int, const char *, size_t)) {
  CHECK(world_open(limits, MGX_POLLER_DEFAULT) != NULL);
  mgx_mgr_set_date(world.mgr, false);
  world.react = react;
  answer_len = 0;
  memset(answer, 0, 4096);
  CHECK(world_listen("http://127.0.0.1:0") == 1);
  CHECK(world_connect(world_url(1, "tcp")) == 2);
  CHECK(world_until("2:CONNECT"));
}

static bool answered(const char *bytes, size_t n) {
  for (int i = 0; i < 300 && memmem(answer, answer_len, bytes, n) == NULL; i++)
    mg_mgr_poll(world.mgr, 10);
  if (memmem(answer, answer_len, bytes, n) == NULL) {
    fprintf(stderr, "not answered, but:");
    for (size_t i = 0; i < answer_len && i < 400; i++)
      fprintf(stderr, " %02x", (unsigned) (unsigned char) answer[i]);
    fprintf(stderr, "\n%s\n", world.log);
    return false;
  }
  return true;
}

static void upgrade(void) {
  world_send(2, HANDSHAKE);
  CHECK(answered(SWITCHED, sizeof(SWITCHED) - 1));
}

static void raw(const char *bytes, size_t n) { CHECK(mgx_send(world.mgr, 2, bytes, n, NULL) == 0); }
#define RAW(literal) raw((literal), sizeof(literal) - 1)
#define ANSWERED(literal) CHECK(answered((literal), sizeof(literal) - 1))

/* A frame as a client sends it, mask 00 00 00 00 unless another is given. */
static size_t frame(char *to, uint8_t first, const char *data, size_t n, const uint8_t *key) {
  static const uint8_t zero[4];
  size_t h = mg__ws_header(to, first, n, key == NULL ? zero : key);
  mg__ws_mask(to + h, data, n, key == NULL ? zero : key, 0);
  return h + n;
}
static void send_frame(uint8_t first, const char *data, size_t n) {
  static const uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};
  static char wire[1 << 19];
  raw(wire, frame(wire, first, data, n, key));
}

static void test_the_example_of_the_rfc_is_echoed(void) {
  begin(NULL, server);
  upgrade();
  RAW("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"); /* section 5.7 */
  ANSWERED("\x81\x05Hello");
  CHECK(strstr(world.log, "3:HTTP_HDRS(/chat) 3:HTTP_MSG(/chat) 3:WS_OPEN(/chat) 3:READ ") != NULL);
  CHECK(strstr(world.log, "3:WS_MSG(Hello) 3:READ 3:WRITE ") != NULL);
  world_end();
}

static void test_frames_right_behind_the_request_are_frames(void) {
  begin(NULL, server);
  RAW(HANDSHAKE "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\x89\x80\0\0\0\0");
  ANSWERED(SWITCHED "\x81\x05Hello\x8a\x00");
  world_end();
}

/* Fragments with a ping in the middle, a multi-byte character cut in two, a close. */
static size_t conversation(char *wire) {
  static const uint8_t key[4] = {1, 2, 3, 4};
  size_t n = 0;
  n += frame(wire + n, 0x01, "caf\xc3", 4, key);
  n += frame(wire + n, 0x89, "ping", 4, key);
  n += frame(wire + n, 0x00, "", 0, key);
  n += frame(wire + n, 0x80, "\xa9!", 2, key);
  n += frame(wire + n, 0x82, "bin", 3, NULL);
  n += frame(wire + n, 0x02, "", 0, key);
  n += frame(wire + n, 0x80, "tail", 4, key);
  n += frame(wire + n, 0x81, "", 0, key);
  n += frame(wire + n, 0x88, "\x0f\xa0" "bye", 5, key);
  return n;
}
#define CONVERSATION_EVENTS \
  "WS_CTL(ping) WS_MSG(caf\xc3\xa9!) WS_MSG(bin) WS_MSG(tail) WS_MSG() " \
  "WS_CTL(\x0f\xa0" "bye) CLOSE "
#define CONVERSATION_ANSWER \
  "\x8a\x04ping\x81\x06" "caf\xc3\xa9!\x82\x03" "bin\x82\x04" "tail\x81\x00\x88\x02\x0f\xa0"

static char seen[4096]; /* the server's events without READ and WRITE */

static void remember(uint64_t conn, int ev, const char *data, size_t n) {
  size_t used = strlen(seen);
  server(conn, ev, data, n);
  if (conn != 3 || (ev != MG_EV_WS_MSG && ev != MG_EV_WS_CTL && ev != MG_EV_CLOSE)) return;
  snprintf(seen + used, sizeof(seen) - used, ev == MG_EV_CLOSE ? "%s " : "%s(%.*s) ",
           event_names[ev], (int) n, data);
}

static void converse(size_t cut1, size_t cut2) {
  char wire[256];
  size_t n = conversation(wire);
  seen[0] = '\0';
  begin(NULL, remember);
  upgrade();
  for (size_t at = 0; at < n;) {
    size_t end = at < cut1 ? cut1 : at < cut2 ? cut2 : n;
    if (end > n) end = n;
    raw(wire + at, end - at);
    mg_mgr_poll(world.mgr, 0);
    mg_mgr_poll(world.mgr, 0);
    at = end;
  }
  ANSWERED(CONVERSATION_ANSWER);
  CHECK(world_until("3:CLOSE"));
  CHECK(strcmp(seen, CONVERSATION_EVENTS) == 0);
  world_end();
}

static void test_every_split_gives_the_same_events(void) {
  char wire[256];
  size_t n = conversation(wire);
  for (size_t cut = 0; cut < n; cut++) converse(cut, cut + 1 + cut % 7);
}

static void test_bytes_one_by_one_give_the_same_events(void) {
  char wire[256];
  size_t n = conversation(wire);
  seen[0] = '\0';
  begin(NULL, remember);
  upgrade();
  for (size_t i = 0; i < n; i++) {
    raw(wire + i, 1);
    mg_mgr_poll(world.mgr, 0);
    mg_mgr_poll(world.mgr, 0);
  }
  ANSWERED(CONVERSATION_ANSWER);
  CHECK(world_until("3:CLOSE"));
  CHECK(strcmp(seen, CONVERSATION_EVENTS) == 0);
  world_end();
}

static void test_what_breaks_the_protocol_is_told_with_its_code(void) {
  static const struct {
    const char *wire;
    size_t len;
    const char *closes;
  } cases[] = {
#define CASE(wire, code) {wire, sizeof(wire) - 1, "\x88\x02" code}
      CASE("\x81\x01x", "\x03\xea"),                              /* not masked */
      CASE("\xc1\x80\0\0\0\0", "\x03\xea"),                       /* RSV1 */
      CASE("\xa1\x80\0\0\0\0", "\x03\xea"),                       /* RSV2 */
      CASE("\x99\x80\0\0\0\0", "\x03\xea"),                       /* RSV3 on a ping */
      CASE("\x83\x80\0\0\0\0", "\x03\xea"),                       /* reserved */
      CASE("\x8b\x80\0\0\0\0", "\x03\xea"),                       /* reserved */
      CASE("\x80\x80\0\0\0\0", "\x03\xea"),                       /* continues nothing */
      CASE("\x01\x80\0\0\0\0\x81\x80\0\0\0\0", "\x03\xea"),       /* a message in another */
      CASE("\x09\x80\0\0\0\0", "\x03\xea"),                       /* a ping in pieces */
      CASE("\x89\xfe\x00\x7e", "\x03\xea"),                       /* a ping of 126 */
      CASE("\x88\x81\0\0\0\0\x03", "\x03\xea"),                   /* half a code */
      CASE("\x88\x82\0\0\0\0\x03\xed", "\x03\xea"),               /* 1005 */
      CASE("\x88\x83\0\0\0\0\x03\xe8\xff", "\x03\xef"),           /* reason */
      CASE("\x81\x81\0\0\0\0\xff", "\x03\xef"),                   /* text */
      CASE("\x81\x90\0\0\0\0\xed\xa0", "\x03\xef"),               /* already before it is whole */
      CASE("\x81\x81\0\0\0\0\xc3", "\x03\xef"),                   /* ends too early */
      CASE("\x82\xff\0\0\0\0\x40\0\0\0mask", "\x03\xf1"),             /* 1 GiB */
      CASE("\x02\x81\0\0\0\0x\x80\xff\0\0\0\0\0\x30\0\0mask", "\x03\xf1"), /* in the second frame */
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    begin(NULL, server);
    upgrade();
    raw(cases[i].wire, cases[i].len);
    if (!answered(cases[i].closes, 4)) fprintf(stderr, "case %d\n", (int) i);
    CHECK(memmem(answer, answer_len, cases[i].closes, 4) != NULL);
    CHECK(world_until("3:CLOSE") && strstr(world.log, "3:ERROR(WebSocket: ") != NULL);
    CHECK(strstr(world.log, "WS_MSG") == NULL);
    world_end();
  }
}

static void test_a_message_may_have_as_many_bytes_as_the_limit_says(void) {
  static char data[1001];
  struct mgx_limits limits;
  mgx_limits_init(&limits);
  limits.ws_message = 1000;
  begin(&limits, server);
  upgrade();
  send_frame(0x02, data, 600);
  send_frame(0x80, data, 400);
  CHECK(world_until("3:WS_MSG"));
  send_frame(0x82, data, 1001);
  ANSWERED("\x88\x02\x03\xf1");
  world_end();
}

static void test_large_messages_in_large_and_tiny_pieces_arrive_whole(void) {
  static char data[300000];
  begin(NULL, server);
  upgrade();
  for (size_t i = 0; i < sizeof(data); i++) data[i] = (char) ('a' + i % 23);
  send_frame(0x81, data, sizeof(data));
  for (int i = 0; i < 500 && answer_len < sizeof(data); i++) mg_mgr_poll(world.mgr, 1);
  CHECK(memmem(answer, answer_len, data, sizeof(data)) != NULL);
  send_frame(0x01, data, 100000);
  for (size_t i = 0; i < 2000; i++) send_frame(0x00, data + i, 1);
  send_frame(0x80, data, 3);
  ANSWERED("\x81\x7f\0\0\0\0\0\x01\x8e\x73"); /* 100000 + 2000 + 3 bytes */
  world_end();
}

static void test_nothing_behind_a_close_frame_counts_and_it_is_answered_once(void) {
  begin(NULL, server);
  upgrade();
  RAW("\x88\x80\0\0\0\0\x81\x81\0\0\0\0x\x88\x80\0\0\0\0");
  ANSWERED("\x88\x00");
  CHECK(world_until("3:CLOSE"));
  CHECK(strstr(world.log, "WS_MSG") == NULL && strstr(world.log, "ERROR") == NULL);
  CHECK(answer_len == sizeof(SWITCHED) - 1 + 2);
  world_end();
}

static void test_the_server_closes_first_and_a_silent_peer_is_not_waited_for(void) {
  struct mgx_limits limits;
  mgx_limits_init(&limits);
  limits.ws_close_timeout_ms = 30;
  begin(&limits, server);
  upgrade();
  CHECK(mgx_ws_send(world.mgr, 3, "\x03\xe8", 2, WEBSOCKET_OP_CLOSE, 0) == 0);
  CHECK(mgx_ws_send(world.mgr, 3, "x", 1, WEBSOCKET_OP_TEXT, 0) == MGX_ECLOSED);
  CHECK(mgx_ws_send(world.mgr, 3, "", 0, WEBSOCKET_OP_CLOSE, 0) == MGX_ECLOSED);
  ANSWERED("\x88\x02\x03\xe8");
  CHECK(world_until("3:CLOSE"));
  CHECK(strstr(world.log, "ERROR") == NULL);
  world_end();
}

static void test_a_peer_that_is_silent_is_pinged_and_then_given_up(void) {
  struct mgx_limits limits;
  mgx_limits_init(&limits);
  limits.ws_idle_timeout_ms = 20;
  limits.ws_pong_timeout_ms = 40;
  begin(&limits, server);
  upgrade();
  ANSWERED("\x89\x00");
  RAW("\x8a\x80\0\0\0\0");
  CHECK(world_until("3:WS_CTL"));
  answer_len = 0;
  ANSWERED("\x89\x00"); /* it was heard, so it is asked again */
  CHECK(strstr(world.log, "ERROR") == NULL);
  CHECK(world_until("3:ERROR(WebSocket: no answer to a ping"));
  CHECK(world_until("3:CLOSE"));
  world_end();
}

static void test_of_many_pings_to_a_full_queue_only_the_last_is_answered(void) {
  struct mg_connection *c;
  begin(NULL, server);
  upgrade();
  mg__lock(world.mgr);
  c = mg__conn_find(world.mgr, 3);
  mg__unlock(world.mgr);
  static char much[100000];
  c->is_blocked = true; /* as if its socket took nothing */
  CHECK(mgx_ws_send(world.mgr, 3, much, sizeof(much), WEBSOCKET_OP_BINARY, 0) == 0);
  c->busy++;
  mg__lock(world.mgr);
  ws_answer_ping(c, mg__ws(c), "first", 5);
  ws_answer_ping(c, mg__ws(c), "last", 4);
  mg__unlock(world.mgr);
  c->busy--;
  ANSWERED("\x8a\x04last");
  CHECK(memmem(answer, answer_len, "first", 5) == NULL);
  world_end();
}

static void test_sending_refuses_what_would_break_the_protocol(void) {
  static char data[126];
  begin(NULL, server);
  CHECK(mgx_ws_send(world.mgr, 2, "x", 1, WEBSOCKET_OP_TEXT, 0) == MGX_EKIND);
  CHECK(mgx_ws_send(world.mgr, 99, "x", 1, WEBSOCKET_OP_TEXT, 0) == MGX_ECLOSED);
  upgrade();
  CHECK(mgx_ws_send(world.mgr, 3, "x", 1, 3, 0) == MGX_EINVAL);
  CHECK(mgx_ws_send(world.mgr, 3, "x", 1, 11, 0) == MGX_EINVAL);
  CHECK(mgx_ws_send(world.mgr, 3, "x", 1, -1, 0) == MGX_EINVAL);
  CHECK(mgx_ws_send(world.mgr, 3, "x", 1, 99, 0) == MGX_EINVAL);
  CHECK(mgx_ws_send(world.mgr, 3, data, 126, WEBSOCKET_OP_PING, 0) == MGX_EINVAL);
  CHECK(mgx_ws_send(world.mgr, 3, "", 0, WEBSOCKET_OP_PING, MGX_WS_MORE) == MGX_EINVAL);
  CHECK(mgx_ws_send(world.mgr, 3, "\x03\xed", 2, WEBSOCKET_OP_CLOSE, 0) == MGX_EINVAL);
  CHECK(mgx_ws_send(world.mgr, 3, "\xff", 1, WEBSOCKET_OP_TEXT, 0) == MGX_EINVAL);
  CHECK(mgx_ws_send(world.mgr, 3, "x", 1, WEBSOCKET_OP_TEXT, MGX_WS_DEFLATED) == MGX_EINVAL);
  CHECK(mgx_ws_send(world.mgr, 3, "x", 1, WEBSOCKET_OP_CONTINUE, 0) == MGX_ESTATE);
  CHECK(mgx_ws_send(world.mgr, 3, "ab", 2, WEBSOCKET_OP_TEXT, MGX_WS_MORE) == 0);
  CHECK(mgx_ws_send(world.mgr, 3, "x", 1, WEBSOCKET_OP_TEXT, 0) == MGX_ESTATE);
  CHECK(mgx_ws_send(world.mgr, 3, data, 1, WEBSOCKET_OP_PING, 0) == 0);
  CHECK(mgx_ws_send(world.mgr, 3, "cd", 2, WEBSOCKET_OP_CONTINUE, MGX_WS_MORE) == 0);
  CHECK(mgx_ws_send(world.mgr, 3, "ef", 2, WEBSOCKET_OP_CONTINUE, 0) == 0);
  CHECK(world_send(3, "raw") == MGX_EKIND);
  CHECK(mgx_http_reply(world.mgr, 3, 200, "", 0, "", 0) == MGX_EKIND);
  CHECK(mgx_http_chunk(world.mgr, 3, "x", 1) == MGX_EKIND);
  ANSWERED("\x01\x02" "ab\x89\x01\0\x00\x02" "cd\x80\x02" "ef");
  CHECK(answer_len == sizeof(SWITCHED) - 1 + 4 + 3 + 4 + 4);
  world_end();
}

static void refusing(uint64_t conn, int ev, const char *data, size_t n) {
  if (ev == MG_EV_HTTP_MSG) {
    CHECK(mgx_ws_upgrade(world.mgr, conn, ACCEPT, "", 0, false, true) == 0);
    CHECK(mgx_ws_upgrade(world.mgr, conn, ACCEPT, "", 0, false, true) == MGX_EANSWERED);
  } else {
    server(conn, ev, data, n);
  }
}

static void test_requests_that_are_no_handshake_are_refused(void) {
  static const struct {
    const char *text, *status;
  } cases[] = {
      {"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
       "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n\r\n", "403"},
      {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "426"},
      {"POST / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
       "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n\r\n", "400"},
      {"GET / HTTP/1.0\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
       "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n\r\n", "400"},
      {"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
       "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n\r\n", "400"},
      {"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
       "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: " KEY "\r\n\r\n", "426"},
      {"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
       "Sec-WebSocket-Version: 13\r\n\r\n", "400"},
      {"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
       "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short==\r\n\r\n", "400"},
      {"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
       "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ?GhlIHNhbXBsZSBub25jZQ==\r\n\r\n", "400"},
      {"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
       "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Key: " KEY
       "\r\n\r\n", "400"},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    char status[32];
    snprintf(status, sizeof(status), "HTTP/1.1 %s ", cases[i].status);
    begin(NULL, refusing);
    world_send(2, cases[i].text);
    CHECK(answered(status, strlen(status)));
    CHECK(world_until("3:CLOSE") && strstr(world.log, "WS_OPEN") == NULL);
    CHECK(strcmp(cases[i].status, "426") != 0 ||
          memmem(answer, answer_len, "Sec-WebSocket-Version: 13\r\n", 27) != NULL);
    world_end();
  }
}

/* ---- a client of ours, answered by hand --------------------------------------------- */

static const char request[] = "GET /c HTTP/1.1\r\nHost: a\r\n\r\n"; /* its text is the caller's */

static int64_t ws_connect(const char *url, const char *protocols, bool deflate) {
  struct mgx_ws_request ws = {.head = {request, sizeof(request) - 1},
                              .accept = {ACCEPT, sizeof(ACCEPT) - 1},
                              .protocols = {protocols, strlen(protocols)},
                              .deflate = deflate};
  struct mgx_open opts = {.ws = &ws};
  struct mgx_error err;
  return mgx_connect(world.mgr, url, strlen(url), &opts, &err);
}

static const char *by_hand; /* what the raw server answers a request with */

static void raw_server(uint64_t conn, int ev, const char *data, size_t n) {
  if (conn == 3 && ev == MG_EV_READ && answer_len + n < sizeof(answer)) {
    memcpy(answer + answer_len, data, n);
    if (answer_len == 0) world_send(3, by_hand);
    answer_len += n;
  }
}

/* A raw server at 1, our client at 2, the server's end of it at 3. */
static void begin_client(const char *reply, const char *protocols, bool deflate) {
  CHECK(world_open(NULL, MGX_POLLER_DEFAULT) != NULL);
  world.react = raw_server;
  by_hand = reply;
  answer_len = 0;
  CHECK(world_listen("tcp://127.0.0.1:0") == 1);
  CHECK(ws_connect(world_url(1, "ws"), protocols, deflate) == 2);
}

static void test_a_client_masks_what_it_sends_and_never_with_the_same_key_twice(void) {
  char first[64], *frames;
  begin_client(SWITCHED, "", false);
  CHECK(world_until("2:WS_OPEN(101)"));
  CHECK(strstr(world.log, "2:OPEN 2:RESOLVE(127.0.0.1) ") != NULL);
  CHECK(mgx_ws_send(world.mgr, 2, "Hello", 5, WEBSOCKET_OP_TEXT, 0) == 0);
  CHECK(mgx_ws_send(world.mgr, 2, "Hello", 5, WEBSOCKET_OP_TEXT, 0) == 0);
  for (int i = 0; i < 300 && answer_len < sizeof(request) - 1 + 22; i++) mg_mgr_poll(world.mgr, 10);
  CHECK(answer_len == sizeof(request) - 1 + 22);
  frames = answer + sizeof(request) - 1;
  CHECK(memcmp(frames, "\x81\x85", 2) == 0 && memcmp(frames + 11, "\x81\x85", 2) == 0);
  CHECK(memcmp(frames + 2, frames + 13, 4) != 0);
  mask_plain(first, frames + 6, 5, (const uint8_t *) frames + 2, 0);
  CHECK(memcmp(first, "Hello", 5) == 0);
  world_end();
}

static void test_frames_behind_the_101_are_frames_and_interim_answers_are_skipped(void) {
  begin_client("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" SWITCHED
               "\x81\x05Hello\x89\x01x", "", false);
  CHECK(world_until("2:WS_CTL(x)"));
  CHECK(strstr(world.log, "2:WS_OPEN(101) 2:WS_MSG(Hello) 2:WS_CTL(x) 2:READ ") != NULL);
  world_end();
}

static void test_a_client_waits_for_the_server_to_end_the_connection(void) {
  begin_client(SWITCHED "\x88\x02\x03\xe8", "", false);
  CHECK(world_until("2:WS_CTL"));
  for (int i = 0; i < 10; i++) mg_mgr_poll(world.mgr, 5);
  CHECK(strstr(world.log, "2:CLOSE") == NULL && answer_len == sizeof(request) - 1 + 8);
  mgx_close(world.mgr, 3);
  CHECK(world_until("2:CLOSE"));
  world_end();
}

#define HEAD "HTTP/1.1 101 Switching Protocols\r\n"
#define UP "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define ACC "Sec-WebSocket-Accept: " ACCEPT "\r\n"

static void test_an_answer_that_is_no_handshake_is_an_error_that_says_why(void) {
  static const struct {
    const char *text, *why;
  } cases[] = {
      {"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "the answer is 403"},
      {"HTTP/1.1 200 OK\r\n\r\n", "the answer is 200"},
      {"garbage\r\n\r\n", "the answer is not"},
      {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "the answer is not"},
      {HEAD "Connection: Upgrade\r\n" ACC "\r\n", "no Upgrade"},
      {HEAD "Upgrade: websocket\r\n" ACC "\r\n", "no Connection"},
      {HEAD UP "\r\n", "Sec-WebSocket-A"},
      {HEAD UP "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n", "Sec-WebSocket-A"},
      {HEAD UP ACC ACC "\r\n", "Sec-WebSocket-A"},
      {HEAD UP ACC "Sec-WebSocket-Protocol: c\r\n\r\n", "a subprotocol"},
      {HEAD UP ACC "Sec-WebSocket-Protocol: a, b\r\n\r\n", "a subprotocol"},
      {HEAD UP ACC "Sec-WebSocket-Extensions: x\r\n\r\n", "an extension"},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    begin_client(cases[i].text, "a,b", false);
    CHECK(world_until("2:CLOSE"));
    char expected[80];
    snprintf(expected, sizeof(expected), "2:ERROR(WebSocket handshake failed: %.12s", cases[i].why);
    if (strstr(world.log, expected) == NULL) fprintf(stderr, "%s\n%s\n", expected, world.log);
    CHECK(strstr(world.log, expected) != NULL && strstr(world.log, "WS_OPEN") == NULL);
    world_end();
  }
}

static void test_a_subprotocol_that_was_offered_is_accepted(void) {
  begin_client(HEAD UP ACC "Sec-WebSocket-Protocol: b\r\n\r\n", "a,b", false);
  CHECK(world_until("2:WS_OPEN(101)"));
  world_end();
}

static void test_a_server_that_masks_is_told_1002(void) {
  begin_client(SWITCHED "\x81\x81" "abcdx", "", false);
  CHECK(world_until("2:ERROR(WebSocket: a masked frame"));
  world_end();
}

static void test_a_client_takes_nothing_behind_a_close_frame(void) {
  begin_client(SWITCHED "\x81\x01" "a" "\x88\x02\x03\xe8" "\x81\x01" "x", "", false);
  CHECK(world_until("2:WS_CTL"));
  for (int i = 0; i < 5; i++) mg_mgr_poll(world.mgr, 1);
  CHECK(strstr(world.log, "2:WS_MSG(a)") != NULL && strstr(world.log, "2:WS_MSG(x)") == NULL);
  world_end();
}

/* ---- broadcast, shortage ---------------------------------------------------------------- */

static void test_a_broadcast_reaches_those_who_can_take_it(void) {
  uint64_t ids[] = {3, 2, 99, 3};
  begin(NULL, server);
  upgrade();
  CHECK(mgx_ws_broadcast(world.mgr, ids, 4, "news", 4, WEBSOCKET_OP_TEXT) == 2);
  CHECK(mgx_ws_broadcast(world.mgr, ids, 4, "\xff", 1, WEBSOCKET_OP_TEXT) == MGX_EINVAL);
  CHECK(mgx_ws_broadcast(world.mgr, ids, 4, "", 0, WEBSOCKET_OP_CLOSE) == MGX_EINVAL);
  ANSWERED("\x81\x04news\x81\x04news");
  world_end();
}

static void both_ends(uint64_t conn, int ev, const char *data, size_t n) {
  if (ev == MG_EV_HTTP_MSG && mgx_ws_upgrade(world.mgr, conn, ACCEPT, "", 0, false, false) < 0)
    mgx_http_fail(world.mgr, conn);
  if (ev == MG_EV_WS_OPEN && conn == 2)
    mgx_ws_send(world.mgr, conn, "hello", 5, WEBSOCKET_OP_TEXT, 0);
  if (ev == MG_EV_WS_MSG && conn == 3)
    mgx_ws_send(world.mgr, conn, data, n, WEBSOCKET_OP_TEXT, 0);
  if (ev == MG_EV_WS_MSG && conn == 2)
    mgx_ws_send(world.mgr, conn, "", 0, WEBSOCKET_OP_CLOSE, 0);
}

static bool scenario_under_memory_shortage(long nth) {
  static const char head[] = HANDSHAKE;
  struct mgx_ws_request ws = {.head = {head, sizeof(head) - 1},
                              .accept = {ACCEPT, sizeof(ACCEPT) - 1}};
  struct mgx_open opts = {.ws = &ws};
  struct mgx_error err;
  bool hit;
  mg__fail_at = nth;
  if (world_open(NULL, MGX_POLLER_DEFAULT) != NULL) {
    world.react = both_ends;
    if (world_listen("http://127.0.0.1:0") > 0) {
      const char *url = world_url(1, "ws");
      mgx_connect(world.mgr, url, strlen(url), &opts, &err);
      for (int i = 0; i < 12; i++) mg_mgr_poll(world.mgr, 2);
    }
  }
  hit = mg__fail_at < 0;
  mg__fail_at = -1;
  if (!hit) CHECK(strstr(world.log, "2:CLOSE") != NULL && strstr(world.log, "3:CLOSE") != NULL);
  world_end();
  return hit;
}

static void test_any_failing_allocation_is_survived(void) {
  long nth = 0;
  while (scenario_under_memory_shortage(nth)) nth++;
  printf("   %ld allocations failed in turn\n", nth);
  CHECK(nth > 10);
}

int main(void) {
  RUN(test_a_header_that_was_written_is_read_the_same);
  RUN(test_a_header_that_can_never_be_legal_is_refused_as_soon_as_it_shows);
  RUN(test_the_wide_mask_is_the_plain_one);
  RUN(test_a_payload_may_move_down_while_it_is_unmasked);
  RUN(test_all_sequences_of_up_to_three_bytes_are_judged_as_rfc_3629_does);
  RUN(test_wide_and_plain_utf8_agree_wherever_the_text_is_cut);
  RUN(test_close_payloads_are_judged_as_section_7_4_does);
  RUN(test_the_example_of_the_rfc_is_echoed);
  RUN(test_frames_right_behind_the_request_are_frames);
  RUN(test_every_split_gives_the_same_events);
  RUN(test_bytes_one_by_one_give_the_same_events);
  RUN(test_what_breaks_the_protocol_is_told_with_its_code);
  RUN(test_a_message_may_have_as_many_bytes_as_the_limit_says);
  RUN(test_large_messages_in_large_and_tiny_pieces_arrive_whole);
  RUN(test_nothing_behind_a_close_frame_counts_and_it_is_answered_once);
  RUN(test_the_server_closes_first_and_a_silent_peer_is_not_waited_for);
  RUN(test_a_peer_that_is_silent_is_pinged_and_then_given_up);
  RUN(test_of_many_pings_to_a_full_queue_only_the_last_is_answered);
  RUN(test_sending_refuses_what_would_break_the_protocol);
  RUN(test_requests_that_are_no_handshake_are_refused);
  RUN(test_a_client_masks_what_it_sends_and_never_with_the_same_key_twice);
  RUN(test_frames_behind_the_101_are_frames_and_interim_answers_are_skipped);
  RUN(test_a_client_waits_for_the_server_to_end_the_connection);
  RUN(test_an_answer_that_is_no_handshake_is_an_error_that_says_why);
  RUN(test_a_subprotocol_that_was_offered_is_accepted);
  RUN(test_a_server_that_masks_is_told_1002);
  RUN(test_a_client_takes_nothing_behind_a_close_frame);
  RUN(test_a_broadcast_reaches_those_who_can_take_it);
  RUN(test_any_failing_allocation_is_survived);
  return 0;
}
