/* test_sntp.c: SNTP: the codec alone, then a client against a scripted server. */
#include "../mongoose.c"

#include "world.h"

/* ---- the codec ----------------------------------------------------------------- */

static const uint64_t COOKIE = 0x0123456789abcdef;
static const uint64_t IN_2024 = 3913056000u; /* 2024-01-01, seconds since 1900 */
static const int64_t UNIX_2024_MS = 1704067200000;

static void stamp(char *to, uint64_t n) {
  for (int i = 0; i < 8; i++) to[i] = (char) (n >> (56 - 8 * i));
}

/* A server's answer; times in seconds since 1900, 32 bits of fraction. */
static char *answer(uint64_t cookie, uint64_t received, uint64_t sent) {
  static char wire[MG_SNTP_SIZE];
  memset(wire, 0, sizeof(wire));
  wire[0] = 4 << 3 | 4;
  wire[1] = 1;
  memcpy(wire + 12, "GPS", 4);
  stamp(wire + 24, cookie);
  stamp(wire + 32, received);
  stamp(wire + 40, sent);
  return wire;
}

static struct mgx_sntp_result result;
static char why[MG_SNTP_REASON];

static int judge(const char *wire, size_t len, int64_t elapsed_ns) {
  memset(&result, 0x55, sizeof(result));
  memset(why, 0, sizeof(why));
  return mg__sntp_answer(guarded(wire, len), len, COOKIE, elapsed_ns, UNIX_2024_MS * 1000000,
                         &result, why);
}

static int judge_times(uint64_t received, uint64_t sent, int64_t elapsed_ns) {
  return judge(answer(COOKIE, received, sent), MG_SNTP_SIZE, elapsed_ns);
}

static void test_a_request_tells_nothing_but_its_cookie(void) {
  char wire[MG_SNTP_SIZE];
  memset(wire, 0x55, sizeof(wire));
  mg__sntp_request(wire, COOKIE);
  CHECK(wire[0] == 0x23);
  for (int i = 1; i < 40; i++) CHECK(wire[i] == 0);
  CHECK(memcmp(wire + 40, "\x01\x23\x45\x67\x89\xab\xcd\xef", 8) == 0);
}

static void test_an_answer_gives_time_offset_and_delay(void) {
  /* Received at 0.25, sent at 0.5: 250 ms at the server; 350 ms in all, so 100 on the way. */
  uint64_t at = IN_2024 << 32;
  CHECK(judge_times(at | 0x40000000, at | 0x80000000, 350000000) == MG_SNTP_TIME);
  CHECK(result.delay_ns == 100000000);
  CHECK(result.time_ms == UNIX_2024_MS + 550);
  CHECK(result.offset_ns == 550000000);
  CHECK(result.stratum == 1 && result.leap == 0);
}

static void test_bytes_behind_the_packet_are_passed_over(void) {
  char wire[MG_SNTP_SIZE + 20] = {0};
  memcpy(wire, answer(COOKIE, IN_2024 << 32, IN_2024 << 32), MG_SNTP_SIZE);
  CHECK(judge(wire, sizeof(wire), 0) == MG_SNTP_TIME);
}

static void test_every_proper_prefix_is_no_answer(void) {
  char *wire = answer(COOKIE, IN_2024 << 32, IN_2024 << 32);
  for (size_t n = 0; n < MG_SNTP_SIZE; n++) CHECK(judge(wire, n, 0) == MG_SNTP_STRANGE);
  CHECK(judge(wire, MG_SNTP_SIZE, 0) == MG_SNTP_TIME);
}

static void test_who_has_not_seen_the_request_cannot_answer_it(void) {
  uint64_t at = IN_2024 << 32;
  for (int bit = 0; bit < 64; bit++)
    CHECK(judge(answer(COOKIE ^ (uint64_t) 1 << bit, at, at), MG_SNTP_SIZE, 0) == MG_SNTP_STRANGE);
  /* Not even when nothing is under way, which is written as 0. */
  CHECK(mg__sntp_answer(answer(0, at, at), MG_SNTP_SIZE, 0, 0, 0, &result, why) == MG_SNTP_STRANGE);
}

static void test_only_servers_of_version_3_and_4_answer(void) {
  for (unsigned first = 0; first < 256; first++) {
    unsigned leap = first >> 6, version = first >> 3 & 7, mode = first & 7;
    char *wire = answer(COOKIE, IN_2024 << 32, IN_2024 << 32);
    int wanted = leap == 3 ? MG_SNTP_BAD : MG_SNTP_TIME;
    if (mode != 4 || (version != 3 && version != 4)) wanted = MG_SNTP_STRANGE;
    wire[0] = (char) first;
    CHECK(judge(wire, MG_SNTP_SIZE, 0) == wanted);
    if (wanted == MG_SNTP_TIME) CHECK(result.leap == leap);
    if (wanted == MG_SNTP_BAD) CHECK(strcmp(why, "the server's clock is not synchronized") == 0);
  }
}

static void test_a_stratum_is_1_to_15(void) {
  for (unsigned stratum = 1; stratum < 256; stratum++) {
    char *wire = answer(COOKIE, IN_2024 << 32, IN_2024 << 32);
    wire[1] = (char) stratum;
    CHECK(judge(wire, MG_SNTP_SIZE, 0) == (stratum < 16 ? MG_SNTP_TIME : MG_SNTP_BAD));
    if (stratum < 16) CHECK(result.stratum == stratum);
  }
  CHECK(strcmp(why, "the server's stratum is 255, not 1 to 15") == 0);
}

static void test_a_kiss_of_death_tells_its_code(void) {
  static const struct {
    const char *code, *text;
  } cases[] = {{"RATE", "the server answers RATE: it is asked too often"},
               {"DENY", "the server answers DENY: it refuses to serve us"},
               {"RSTR", "the server answers RSTR: it refuses to serve us"},
               {"INIT", "the server answers INIT"},
               {"X\0\x1b\xff", "the server's clock is not synchronized"},
               {"\0\0\0\0", "the server's clock is not synchronized"}};
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    char *wire = answer(COOKIE, 0, 0);
    wire[0] = (char) 0xe4; /* as servers send it: leap 3 */
    wire[1] = 0;
    memcpy(wire + 12, cases[i].code, 4);
    CHECK(judge(wire, MG_SNTP_SIZE, 0) == MG_SNTP_BAD);
    CHECK(strcmp(why, cases[i].text) == 0);
    stamp(wire + 24, COOKIE + 1); /* nor can it be forged */
    CHECK(judge(wire, MG_SNTP_SIZE, 0) == MG_SNTP_STRANGE);
  }
}

static void test_timestamps_are_there_and_in_order(void) {
  uint64_t at = IN_2024 << 32;
  CHECK(judge_times(0, at, 0) == MG_SNTP_BAD && judge_times(at, 0, 0) == MG_SNTP_BAD);
  CHECK(strcmp(why, "the answer lacks a timestamp") == 0);
  CHECK(judge_times(0, 1, 1) == MG_SNTP_BAD); /* nor at the turn of the era */
  CHECK(judge_times(at + 1, at, 0) == MG_SNTP_BAD);
  CHECK(strcmp(why, "the answer was sent before the request was received") == 0);
  CHECK(judge_times(at, at, 0) == MG_SNTP_TIME);
}

static void test_a_delay_is_0_to_3_seconds(void) {
  uint64_t at = IN_2024 << 32;
  CHECK(judge_times(at, at, 3000000000) == MG_SNTP_TIME && result.delay_ns == 3000000000);
  CHECK(result.time_ms == UNIX_2024_MS + 1500);
  CHECK(judge_times(at, at, 3000000001) == MG_SNTP_BAD);
  CHECK(strcmp(why, "a round-trip delay of 3000000 us, not 0 to 3 s") == 0);
  CHECK(judge_times(at, at, -1) == MG_SNTP_BAD);
  CHECK(judge_times(at, at + ((uint64_t) 1 << 32), 999999999) == MG_SNTP_BAD); /* a second too long */
  CHECK(judge_times(at, at + ((uint64_t) 1 << 32), 1000000000) == MG_SNTP_TIME);
  CHECK(judge_times(at, at - 1 + ((uint64_t) 1 << 63), INT64_MAX) == MG_SNTP_BAD);
  CHECK(judge_times(at, at - 1 + ((uint64_t) 1 << 63), INT64_MIN / 2) == MG_SNTP_BAD);
}

static void test_the_era_that_begins_in_2036_is_known(void) {
  static const uint64_t last = UINT64_MAX; /* 2036-02-07 06:28:16, less the least */
  static const int64_t turn_ms = 2085978496000;
  CHECK(judge_times(last, last, 0) == MG_SNTP_TIME && result.time_ms == turn_ms - 1);
  CHECK(judge_times(1, 1, 0) == MG_SNTP_TIME && result.time_ms == turn_ms);
  CHECK(judge_times(last - 9, 10, 20) == MG_SNTP_TIME && result.time_ms == turn_ms);
  CHECK(judge_times(last, last, 2000000000) == MG_SNTP_TIME && result.time_ms == turn_ms + 999);
}

static void test_times_are_within_2020_to_2099(void) {
  static const uint64_t first = (uint64_t) 3786825600u << 32, end = (uint64_t) 2016466304u << 32;
  CHECK(judge_times(first, first, 0) == MG_SNTP_TIME && result.time_ms == 1577836800000);
  CHECK(judge_times(first - 1, first - 1, 0) == MG_SNTP_BAD);
  CHECK(strcmp(why, "the server's time is not within 2020 to 2099") == 0);
  CHECK(judge_times(end - 4, end - 4, 0) == MG_SNTP_TIME && result.time_ms == 4102444799999);
  CHECK(judge_times(end, end, 0) == MG_SNTP_BAD);
  CHECK(judge_times(end - 4, end - 4, 1000) == MG_SNTP_BAD); /* it is 2100 when it is here */
}

/* ---- a connection ----------------------------------------------------------------- */

static int server = -1;         /* a UDP socket that the client asks */
static struct sockaddr_in peer; /* ... and who asked last */

static int64_t ask(const struct mgx_limits *limits, const char *scheme) {
  struct mgx_open opts = {.sntp = true};
  struct mgx_error err;
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct timeval patience = {3, 0};
  socklen_t len = sizeof(at);
  char url[64];
  CHECK(world_open(limits, MGX_POLLER_DEFAULT) != NULL);
  server = socket(AF_INET, SOCK_DGRAM, 0);
  CHECK(bind(server, (struct sockaddr *) &at, len) == 0);
  CHECK(getsockname(server, (struct sockaddr *) &at, &len) == 0);
  CHECK(setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0);
  snprintf(url, sizeof(url), "%s://127.0.0.1:%u", scheme, (unsigned) ntohs(at.sin_port));
  return mgx_connect(world.mgr, url, strlen(url), &opts, &err);
}

static void over(void) {
  world_end();
  close(server);
}

/* The cookie of the next request. */
static uint64_t asked(void) {
  char wire[MG_SNTP_SIZE + 1];
  socklen_t len = sizeof(peer);
  CHECK(recvfrom(server, wire, sizeof(wire), 0, (struct sockaddr *) &peer, &len) == MG_SNTP_SIZE);
  CHECK(wire[0] == 0x23);
  return sntp_get(wire + 40);
}

static void say(const char *wire) {
  CHECK(sendto(server, wire, MG_SNTP_SIZE, 0, (struct sockaddr *) &peer, sizeof(peer)) ==
        MG_SNTP_SIZE);
}

static void say_seconds(uint64_t cookie, uint64_t seconds) {
  say(answer(cookie, seconds << 32, seconds << 32));
}

static int count(const char *text) {
  int n = 0;
  for (const char *p = world.log; (p = strstr(p, text)) != NULL; p++) n++;
  return n;
}

static void test_a_request_is_sent_by_itself_and_the_connection_stays(void) {
  struct mgx_sntp_result seen;
  CHECK(ask(NULL, "sntp") == 1);
  CHECK(strcmp(world.log, "1:OPEN 1:RESOLVE(127.0.0.1) 1:CONNECT 1:WRITE ") == 0);
  CHECK(mgx_sntp_result(world.mgr, 1, &seen) == MGX_ESTATE);
  say_seconds(asked(), IN_2024);
  CHECK(world_until("1:SNTP_TIME(17040672"));
  CHECK(world_until("1:READ "));
  CHECK(mgx_sntp_result(world.mgr, 1, &seen) == 0 && seen.delay_ns > 0 && seen.stratum == 1);
  CHECK(seen.time_ms - UNIX_2024_MS == seen.delay_ns / 2000000);
  mg_mgr_poll(world.mgr, 0);
  CHECK(strstr(world.log, "CLOSE") == NULL);
  over();
}

static void test_every_request_has_a_cookie_of_its_own(void) {
  uint64_t seen[20];
  struct mgx_error err;
  ask(NULL, "udp");
  for (int i = 0; i < 20; i++) {
    seen[i] = asked();
    for (int k = 0; k < i; k++) CHECK(seen[i] != seen[k]);
    world.len = 0;
    world.log[0] = '\0';
    say_seconds(seen[i], IN_2024);
    CHECK(world_until("READ"));
    CHECK(mgx_sntp_request(world.mgr, 1, &err) == 0);
  }
  over();
}

static void test_requests_wait_for_each_other_and_each_is_answered(void) {
  struct mgx_error err;
  char none;
  ask(NULL, "udp");
  for (int i = 0; i < 3; i++) CHECK(mgx_sntp_request(world.mgr, 1, &err) == 0);
  for (int i = 0; i < 4; i++) {
    uint64_t cookie = asked();
    CHECK(recv(server, &none, 1, MSG_DONTWAIT) < 0);
    say_seconds(cookie, IN_2024 + (uint64_t) i * 1000);
    while (count("SNTP_TIME") <= i) mg_mgr_poll(world.mgr, 10);
  }
  CHECK(recv(server, &none, 1, MSG_DONTWAIT) < 0);
  CHECK(count("WRITE") == 4 && count("READ") == 4);
  over();
}

static void test_what_is_forged_or_comes_twice_is_passed_over(void) {
  uint64_t cookie;
  struct mgx_error err;
  ask(NULL, "udp");
  cookie = asked();
  say_seconds(cookie ^ 1, IN_2024 + 1000000);
  say_seconds(0, IN_2024 + 1000000);
  say_seconds(cookie, IN_2024);
  say_seconds(cookie, IN_2024 + 1000000);
  CHECK(world_until("SNTP_TIME(17040672"));
  CHECK(mgx_sntp_request(world.mgr, 1, &err) == 0);
  say_seconds(cookie, IN_2024 + 1000000);
  say_seconds(asked(), IN_2024 + 86400);
  CHECK(world_until("SNTP_TIME(17041536"));
  CHECK(count("SNTP_TIME") == 2 && count("READ") == 2 && count("ERROR") == 0);
  over();
}

static void test_an_answer_of_no_use_ends_the_connection_with_its_reason(void) {
  char *wire;
  ask(NULL, "udp");
  wire = answer(asked(), 0, 0);
  wire[1] = 0;
  memcpy(wire + 12, "RATE", 4);
  say(wire);
  CHECK(world_until("1:ERROR(SNTP: the server answers RATE: it is ask) 1:CLOSE "));
  CHECK(count("SNTP_TIME") == 0 && count("READ") == 0);
  over();
}

static void test_silence_ends_the_connection(void) {
  struct mgx_limits limits;
  mgx_limits_init(&limits);
  CHECK(limits.sntp_timeout_ms == 3000);
  limits.sntp_timeout_ms = 40;
  ask(&limits, "udp");
  say_seconds(asked() ^ 1, IN_2024); /* still silence */
  CHECK(world_until("1:ERROR(SNTP: no answer for 40 ms (sntp_timeout)) 1:CLOSE "));
  over();
}

static void test_after_an_answer_silence_is_fine(void) {
  struct mgx_limits limits;
  mgx_limits_init(&limits);
  limits.sntp_timeout_ms = 20;
  ask(&limits, "udp");
  say_seconds(asked(), IN_2024);
  CHECK(world_until("SNTP_TIME"));
  for (int i = 0; i < 5; i++) mg_mgr_poll(world.mgr, 10);
  CHECK(count("ERROR") == 0);
  over();
}

static bool no_chance(void *buf, size_t len) {
  (void) buf, (void) len;
  return false;
}

static void test_without_random_bytes_nothing_is_asked(void) {
  struct mg_os os = mg__os_posix;
  struct mgx_error err = {0, ""};
  os.random = no_chance;
  ask(NULL, "udp");
  say_seconds(asked(), IN_2024);
  CHECK(world_until("SNTP_TIME"));
  world.mgr->os = &os;
  CHECK(mgx_sntp_request(world.mgr, 1, &err) == MGX_ESYSTEM && err.sys == EIO);
  CHECK(strcmp(err.text, "the system has no random bytes for a request") == 0);
  world.mgr->os = &mg__os_posix;
  CHECK(mgx_sntp_request(world.mgr, 1, &err) == 0); /* the connection goes on */
  over();
}

static ssize_t unreachable(int fd, const void *buf, size_t len, bool more) {
  (void) fd, (void) buf, (void) len, (void) more;
  return -ENETUNREACH;
}

static void test_a_request_that_the_system_refuses_was_not_made(void) {
  struct mg_os os = mg__os_posix;
  struct mgx_error err = {0, ""};
  os.send = unreachable;
  ask(NULL, "udp");
  say_seconds(asked(), IN_2024);
  CHECK(world_until("SNTP_TIME"));
  world.mgr->os = &os;
  CHECK(mgx_sntp_request(world.mgr, 1, &err) == MGX_ESYSTEM && err.sys == ENETUNREACH);
  CHECK(strncmp(err.text, "cannot send 48 bytes to 127.0.0.1:", 34) == 0);
  CHECK(count("WRITE") == 1);
  world.mgr->os = &mg__os_posix;
  CHECK(mgx_sntp_request(world.mgr, 1, &err) == 0);
  say_seconds(asked(), IN_2024 + 86400);
  CHECK(world_until("SNTP_TIME(17041536"));
  over();
}

static void again(uint64_t conn, int ev, const char *data, size_t n) {
  struct mgx_error err;
  (void) ev, (void) data, (void) n;
  /* While it connects the first request is still to come: no second one is needed. */
  if (count("SNTP_TIME") == 2) mgx_close(world.mgr, conn);
  CHECK(mgx_sntp_request(world.mgr, conn, &err) == (count("SNTP_TIME") == 2 ? MGX_ECLOSED : 0));
}

static void test_a_handler_may_ask_again_and_close_at_any_time(void) {
  struct mgx_open opts = {.sntp = true};
  struct mgx_error err;
  struct mgx_conn_info info;
  char none;
  ask(NULL, "udp");
  CHECK(mgx_conn_info(world.mgr, 1, &info) == 0);
  asked();
  world.react = again;
  {
    char url[64];
    snprintf(url, sizeof(url), "udp://127.0.0.1:%u", (unsigned) info.rem.port);
    CHECK(mgx_connect(world.mgr, url, strlen(url), &opts, &err) == 2);
  }
  for (int i = 0; i < 2; i++) {
    say_seconds(asked(), IN_2024);
    while (count("SNTP_TIME") <= i) mg_mgr_poll(world.mgr, 10);
  }
  CHECK(world_until("2:CLOSE"));
  CHECK(count("2:SNTP_TIME") == 2 && recv(server, &none, 1, MSG_DONTWAIT) < 0);
  world.react = NULL;
  over();
}

static void test_other_connections_and_urls_are_refused(void) {
  struct mgx_open opts = {.sntp = true};
  struct mgx_error err;
  struct mgx_sntp_result seen;
  ask(NULL, "udp");
  CHECK(world_listen("udp://127.0.0.1:0") == 2);
  CHECK(world_connect(world_url(2, "udp")) == 3);
  for (uint64_t id = 2; id <= 3; id++) {
    CHECK(mgx_sntp_request(world.mgr, id, &err) == MGX_EKIND);
    CHECK(mgx_sntp_result(world.mgr, id, &seen) == MGX_EKIND);
  }
  CHECK(mgx_sntp_request(world.mgr, 99, &err) == MGX_ECLOSED);
  CHECK(mgx_sntp_result(world.mgr, 99, &seen) == MGX_ECLOSED);
  CHECK(world_send(1, "raw bytes") == MGX_EKIND);
  CHECK(mgx_connect(world.mgr, "tcp://127.0.0.1:123", 19, &opts, &err) == MGX_EADDR);
  CHECK(strcmp(err.text, "SNTP runs over UDP: sntp://host or udp://host:port") == 0);
  CHECK(mgx_connect(world.mgr, "udp://127.0.0.1", 15, &opts, &err) == MGX_EADDR);
  over();
}

static void test_a_url_without_a_port_means_123(void) {
  struct mgx_open opts = {.sntp = true};
  struct mgx_error err;
  struct mgx_conn_info info;
  CHECK(world_open(NULL, MGX_POLLER_DEFAULT) != NULL);
  CHECK(mgx_connect(world.mgr, "SNTP://127.0.0.1", 16, &opts, &err) == 1);
  CHECK(mgx_conn_info(world.mgr, 1, &info) == 0 && info.rem.port == 123);
  world_end();
}

static bool scenario_under_memory_shortage(long nth) {
  bool hit;
  int64_t id;
  struct mgx_error err;
  struct mgx_open opts = {.sntp = true};
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof(at);
  char url[64];
  server = socket(AF_INET, SOCK_DGRAM, 0);
  CHECK(bind(server, (struct sockaddr *) &at, len) == 0);
  CHECK(getsockname(server, (struct sockaddr *) &at, &len) == 0);
  snprintf(url, sizeof(url), "udp://127.0.0.1:%u", (unsigned) ntohs(at.sin_port));
  mg__fail_at = nth;
  if (world_open(NULL, MGX_POLLER_DEFAULT) != NULL) {
    id = mgx_connect(world.mgr, url, strlen(url), &opts, &err);
    CHECK(id == 1 || id == MGX_ENOMEM);
    if (id == 1 && count("WRITE") == 1) say_seconds(asked(), IN_2024);
    for (int i = 0; i < 4; i++) mg_mgr_poll(world.mgr, 2);
  }
  hit = mg__fail_at < 0;
  mg__fail_at = -1;
  if (!hit) CHECK(count("SNTP_TIME") == 1);
  over();
  return hit;
}

static void test_any_failing_allocation_is_survived(void) {
  long nth = 0;
  while (scenario_under_memory_shortage(nth)) nth++;
  printf("   %ld allocations failed in turn\n", nth);
  CHECK(nth > 5);
}

int main(void) {
  RUN(test_a_request_tells_nothing_but_its_cookie);
  RUN(test_an_answer_gives_time_offset_and_delay);
  RUN(test_bytes_behind_the_packet_are_passed_over);
  RUN(test_every_proper_prefix_is_no_answer);
  RUN(test_who_has_not_seen_the_request_cannot_answer_it);
  RUN(test_only_servers_of_version_3_and_4_answer);
  RUN(test_a_stratum_is_1_to_15);
  RUN(test_a_kiss_of_death_tells_its_code);
  RUN(test_timestamps_are_there_and_in_order);
  RUN(test_a_delay_is_0_to_3_seconds);
  RUN(test_the_era_that_begins_in_2036_is_known);
  RUN(test_times_are_within_2020_to_2099);
  RUN(test_a_request_is_sent_by_itself_and_the_connection_stays);
  RUN(test_every_request_has_a_cookie_of_its_own);
  RUN(test_requests_wait_for_each_other_and_each_is_answered);
  RUN(test_what_is_forged_or_comes_twice_is_passed_over);
  RUN(test_an_answer_of_no_use_ends_the_connection_with_its_reason);
  RUN(test_silence_ends_the_connection);
  RUN(test_after_an_answer_silence_is_fine);
  RUN(test_without_random_bytes_nothing_is_asked);
  RUN(test_a_request_that_the_system_refuses_was_not_made);
  RUN(test_a_handler_may_ask_again_and_close_at_any_time);
  RUN(test_other_connections_and_urls_are_refused);
  RUN(test_a_url_without_a_port_means_123);
  RUN(test_any_failing_allocation_is_survived);
  return 0;
}
