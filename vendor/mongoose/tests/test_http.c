/* test_http.c: HTTP on connections, as a server, seen from a raw socket. */
#include "../src/http.h"

#include "world.h"

static char answer[65536]; /* what the raw client (connection 2) has received */
static size_t answer_len;

static void collect(uint64_t conn, int ev, const char *data, size_t n) {
  if (conn != 2 || ev != MG_EV_READ || answer_len + n >= sizeof(answer)) return;
  memcpy(answer + answer_len, data, n);
  answer_len += n;
  answer[answer_len] = '\0';
}

static int reply(uint64_t conn, int status, const char *headers, const char *body) {
  return mgx_http_reply(world.mgr, conn, status, headers, strlen(headers), body, strlen(body));
}

static void hello(uint64_t conn, int ev, const char *data, size_t n) {
  collect(conn, ev, data, n);
  if (ev == MG_EV_HTTP_MSG) CHECK(reply(conn, 200, "", "hi") == 0);
}

/* A server at 1, a raw client at 2; the accepted connection is 3. */
static void begin(const struct mgx_limits *limits,
                  void (*react)(uint64_t, int, const char *, size_t)) {
  CHECK(world_open(limits, MGX_POLLER_DEFAULT) != NULL);
  mgx_mgr_set_date(world.mgr, false);
  world.react = react;
  answer_len = 0;
  answer[0] = '\0';
  CHECK(world_listen("http://127.0.0.1:0") == 1);
  CHECK(world_connect(world_url(1, "tcp")) == 2);
  CHECK(world_until("2:CONNECT"));
}

static bool answered(const char *text) {
  for (int i = 0; i < 300 && strstr(answer, text) == NULL; i++) mg_mgr_poll(world.mgr, 10);
  if (strstr(answer, text) == NULL) fprintf(stderr, "no \"%s\" in: %s\n%s\n", text, answer, world.log);
  return strstr(answer, text) != NULL;
}

static size_t times(const char *in, const char *text) {
  size_t count = 0;
  for (const char *p = in; (p = strstr(p, text)) != NULL; p++) count++;
  return count;
}

#define OK_HI "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

static void test_pipelined_requests_are_answered_in_order(void) {
  begin(NULL, hello);
  world_send(2, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
                "GET /3 HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(answered(OK_HI OK_HI OK_HI));
  CHECK(strstr(world.log, "3:HTTP_HDRS(/1) 3:HTTP_MSG(/1) 3:HTTP_HDRS(/2) 3:HTTP_MSG(/2) "
                          "3:HTTP_HDRS(/3) 3:HTTP_MSG(/3) 3:READ 3:WRITE ") != NULL);
  world_end();
}

static void test_a_post_without_length_does_not_swallow_the_next_request(void) {
  begin(NULL, hello);
  world_send(2, "POST /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(answered(OK_HI OK_HI));
  CHECK(strstr(world.log, "HTTP_MSG(/1)") != NULL && strstr(world.log, "HTTP_MSG(/2)") != NULL);
  world_end();
}

static void test_a_server_that_is_to_end_finishes_the_answer_under_way(void) {
  begin(NULL, collect);
  world_send(2, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(world_until("3:HTTP_MSG(/1)"));
  CHECK(mgx_http_finish(world.mgr, 3) == 0 && mgx_http_finish(world.mgr, 3) == 0);
  CHECK(reply(3, 200, "", "hi") == 0);
  CHECK(world_until("2:CLOSE"));
  CHECK(strcmp(answer, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi") == 0);
  world_end();
}

static void test_a_server_that_is_to_end_closes_what_is_idle(void) {
  begin(NULL, hello);
  world_send(2, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(answered(OK_HI));
  CHECK(mgx_http_finish(world.mgr, 1) == MGX_EKIND && mgx_http_finish(world.mgr, 2) == MGX_EKIND);
  CHECK(mgx_http_finish(world.mgr, 3) == 0);
  CHECK(world_until("2:CLOSE"));
  CHECK(mgx_http_finish(world.mgr, 3) == MGX_ECLOSED && times(answer, "HTTP/1.1") == 1);
  world_end();
}

static void test_a_server_that_is_to_end_waits_for_a_request_that_has_begun(void) {
  begin(NULL, hello);
  world_send(2, "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx");
  CHECK(world_until("3:HTTP_HDRS(/1)"));
  CHECK(mgx_http_finish(world.mgr, 3) == 0);
  world_send(2, "y");
  CHECK(world_until("2:CLOSE"));
  CHECK(strstr(answer, "Connection: close") != NULL && times(answer, "HTTP/1.1") == 1);
  world_end();
}

static void streaming(uint64_t conn, int ev, const char *data, size_t n) {
  collect(conn, ev, data, n);
  if (ev == MG_EV_HTTP_MSG)
    CHECK(reply(conn, 200, "Content-Type: text/event-stream\r\n", "data: 1\n\n") == 0);
}

static void test_a_server_that_is_to_end_ends_its_event_streams(void) {
  for (int old = 0; old < 2; old++) {
    begin(NULL, streaming);
    world_send(2, old ? "GET /1 HTTP/1.0\r\n\r\n" : "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(answered("data: 1\n\n"));
    CHECK(mgx_http_finish(world.mgr, 3) == 0);
    CHECK(world_until("2:CLOSE"));
    CHECK(strstr(answer, old ? "data: 1\n\n" : "data: 1\n\n\r\n0\r\n\r\n") != NULL);
    world_end();
  }
}

static void test_nothing_is_delivered_behind_connection_close(void) {
  begin(NULL, hello);
  world_send(2, "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
                "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(world_until("2:CLOSE"));
  CHECK(strstr(answer, "Connection: close") != NULL && times(answer, "HTTP/1.1") == 1);
  CHECK(strstr(world.log, "HTTP_MSG(/2)") == NULL);
  world_end();
}

static void test_bytes_one_by_one_give_the_same_events(void) {
  static const char text[] = "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                             "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: u\r\n\r\n"
                             "PUT /q HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nxyz";
  begin(NULL, hello);
  for (size_t i = 0; i < sizeof(text) - 1; i++) {
    CHECK(mgx_send(world.mgr, 2, text + i, 1, NULL) == 0);
    mg_mgr_poll(world.mgr, 0);
    mg_mgr_poll(world.mgr, 0);
  }
  CHECK(answered(OK_HI OK_HI));
  CHECK(times(world.log, "HTTP_HDRS(/p)") == 1 && times(world.log, "HTTP_MSG(/p)") == 1);
  CHECK(times(world.log, "HTTP_HDRS(/q)") == 1 && times(world.log, "HTTP_MSG(/q)") == 1);
  world_end();
}

static void test_a_cut_body_is_an_error_and_no_message(void) {
  static const char *const heads[] = {"Content-Length: 9\r\n\r\nabc",
                                      "Transfer-Encoding: chunked\r\n\r\n9\r\nabc"};
  for (size_t i = 0; i < 2; i++) {
    begin(NULL, hello);
    world_send(2, "POST /cut HTTP/1.1\r\nHost: a\r\n");
    world_send(2, heads[i]);
    CHECK(world_until("3:HTTP_HDRS"));
    mgx_drain(world.mgr, 2);
    CHECK(world_until("3:CLOSE"));
    CHECK(strstr(world.log, "3:ERROR(truncated HTTP message") != NULL);
    CHECK(strstr(world.log, "HTTP_MSG") == NULL);
    world_end();
  }
}

static void test_a_peer_that_ends_its_side_still_gets_its_answers(void) {
  int fds, port;
  struct sockaddr_in sa = {.sin_family = AF_INET};
  struct mgx_conn_info info;
  char got[512];
  ssize_t n = 0, total = 0;
  begin(NULL, hello);
  CHECK(mgx_conn_info(world.mgr, 1, &info) == 0);
  port = info.loc.port;
  fds = socket(AF_INET, SOCK_STREAM, 0);
  sa.sin_port = htons((uint16_t) port);
  sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(connect(fds, (struct sockaddr *) &sa, sizeof(sa)) == 0);
  static const char two[] = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
  CHECK(send(fds, two, sizeof(two) - 1, 0) == (ssize_t) sizeof(two) - 1);
  CHECK(shutdown(fds, SHUT_WR) == 0);
  for (int i = 0; i < 20; i++) mg_mgr_poll(world.mgr, 5);
  while ((n = recv(fds, got + total, sizeof(got) - 1 - (size_t) total, 0)) > 0) total += n;
  got[total] = '\0';
  CHECK(n == 0 && times(got, OK_HI) == 2);
  close(fds);
  world_end();
}

static void test_malformed_input_gets_the_right_status_and_the_end(void) {
  static const struct {
    const char *text, *status;
  } cases[] = {
      {"GARBAGE\r\n\r\n", "400"},
      {"GET / HTTP/1.1\r\n\r\n", "400"},
      {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505"},
      {"HTTP/1.1 200 OK\r\n\r\n", "400"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", "501"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", "400"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n", "413"},
      {"GET / HTTP/1.1\r\nHost: a\r\nExpect: miracle\r\n\r\n", "417"},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    char status[32];
    begin(NULL, hello);
    world_send(2, cases[i].text);
    snprintf(status, sizeof(status), "HTTP/1.1 %s ", cases[i].status);
    CHECK(answered(status));
    CHECK(world_until("2:CLOSE"));
    CHECK(strstr(world.log, "HTTP_MSG") == NULL && strstr(answer, "Connection: close") != NULL);
    world_end();
  }
}

static void by_hand(uint64_t conn, int ev, const char *data, size_t n) {
  collect(conn, ev, data, n);
  if (ev != MG_EV_HTTP_MSG) return;
  CHECK(world_send(conn, "HTTP/1.1 200 OK\r\nContent-") == 0);
  CHECK(world_send(conn, "Length: 3\r\n\r\na") == 0);
  CHECK(world_send(conn, "bcd") == MGX_ELENGTH);
  CHECK(world_send(conn, "bc") == 0);
  CHECK(world_send(conn, "more") == MGX_EANSWERED);
  CHECK(reply(conn, 200, "", "again") == MGX_EANSWERED);
}

static void test_a_hand_written_answer_is_followed_to_its_end(void) {
  begin(NULL, by_hand);
  world_send(2, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(answered("Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"));
  world_end();
}

static void chunks(uint64_t conn, int ev, const char *data, size_t n) {
  collect(conn, ev, data, n);
  if (ev != MG_EV_HTTP_MSG) return;
  CHECK(mgx_http_chunk(world.mgr, conn, "x", 1) == MGX_EANSWERED);
  CHECK(reply(conn, 200, "Transfer-Encoding: chunked\r\n", "one") == 0);
  {
    const uint64_t all[] = {1, 2, conn, 99}; /* a listener, a client, this one, nobody */
    CHECK(mgx_http_chunk_many(world.mgr, all, 4, "two", 3) == 1);
    CHECK(mgx_http_chunk_many(world.mgr, all, 4, "", 0) == MGX_EINVAL);
  }
  CHECK(mgx_http_chunk(world.mgr, conn, "", 0) == 0);
  CHECK(mgx_http_chunk(world.mgr, conn, "late", 4) == MGX_EANSWERED);
}

static void test_a_chunked_answer_stays_open_until_the_empty_chunk(void) {
  begin(NULL, chunks);
  world_send(2, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(answered("Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"));
  CHECK(strstr(answer, "Content-Length") == NULL);
  world_end();
  begin(NULL, chunks);
  world_send(2, "GET /1 HTTP/1.0\r\n\r\n"); /* 1.0 knows no chunks: bytes, then the end */
  CHECK(world_until("2:CLOSE"));
  CHECK(strstr(answer, "Connection: close\r\n\r\nonetwo") != NULL);
  CHECK(strstr(answer, "chunked") == NULL);
  world_end();
}

static void test_head_204_and_304_carry_no_body(void) {
  begin(NULL, hello);
  world_send(2, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(answered("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" OK_HI));
  world_end();
}

static void stream(uint64_t conn, int ev, const char *data, size_t n) {
  collect(conn, ev, data, n);
  if (ev == MG_EV_HTTP_HDRS) CHECK(mgx_http_stream_body(world.mgr, conn) == 0);
  if (ev == MG_EV_HTTP_MSG) {
    CHECK(mgx_http_stream_body(world.mgr, conn) == MGX_ESTATE);
    CHECK(reply(conn, 200, "", "hi") == 0);
  }
}

static void test_a_streamed_body_comes_in_pieces_above_every_buffer_limit(void) {
  struct mgx_limits limits;
  mgx_limits_init(&limits);
  limits.recv_buffer = 1000;
  begin(&limits, stream);
  world_send(2, "POST /s HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
  for (int i = 0; i < 1000; i++) {
    CHECK(mgx_send(world.mgr, 2, "0123456789012345678901234567890123456789012345678901234567890123456789"
                   "012345678901234567890123456789", 100, NULL) == 0);
    if (i % 100 == 0) mg_mgr_poll(world.mgr, 0);
  }
  CHECK(answered(OK_HI));
  CHECK(times(world.log, "3:HTTP_MSG(/s)") == 1 && times(world.log, "3:READ(") > 1);
  world_send(2, "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nGET /n HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(answered(OK_HI OK_HI OK_HI));
  CHECK(strstr(world.log, "3:READ(abc) 3:READ(de) 3:HTTP_MSG(/c)") != NULL);
  world_end();
}

static void early(uint64_t conn, int ev, const char *data, size_t n) {
  collect(conn, ev, data, n);
  if (ev == MG_EV_HTTP_HDRS) CHECK(reply(conn, 403, "", "no") == 0);
}

static void test_an_answer_to_the_head_ends_a_request_whose_body_is_missing(void) {
  begin(NULL, early);
  world_send(2, "POST /s HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc");
  CHECK(answered("HTTP/1.1 403 Forbidden\r\n"));
  CHECK(world_until("2:CLOSE"));
  CHECK(strstr(world.log, "HTTP_MSG") == NULL);
  world_end();
}

static void test_expect_100_continue_is_answered_when_the_body_is_awaited(void) {
  begin(NULL, hello);
  world_send(2, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  CHECK(answered("HTTP/1.1 100 Continue\r\n\r\n"));
  world_send(2, "ab");
  CHECK(answered(OK_HI));
  world_end();
}

static void test_slow_and_idle_peers_are_given_up(void) {
  struct mgx_limits limits;
  mgx_limits_init(&limits);
  limits.header_timeout_ms = 30;
  limits.keepalive_timeout_ms = 30;
  limits.body_timeout_ms = 30;
  begin(&limits, hello);
  world_send(2, "GET / HT");
  CHECK(answered("HTTP/1.1 408 "));
  CHECK(world_until("2:CLOSE"));
  world_end();
  begin(&limits, hello);
  world_send(2, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na");
  CHECK(answered("HTTP/1.1 408 "));
  world_end();
  begin(&limits, hello);
  world_send(2, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(answered(OK_HI));
  CHECK(world_until("2:CLOSE"));
  CHECK(strstr(answer, "408") == NULL);
  world_end();
}

/* A server at 1 and raw clients at 2, 3, 4, each with requests waiting when
 * the loop turns: their messages come together. */
static void begin_three(void (*react)(uint64_t, int, const char *, size_t), const char *text) {
  begin(NULL, react);
  CHECK(world_connect(world_url(1, "tcp")) > 0);
  CHECK(world_connect(world_url(1, "tcp")) > 0);
  for (int i = 0; i < 20; i++) mg_mgr_poll(world.mgr, 1);
  world.len = 0;
  world.log[0] = '\0';
  uint64_t ids[16];
  size_t n = mgx_mgr_conns(world.mgr, ids, 16);
  for (size_t i = 0; i < n; i++)
    if (mgx_conn_flags(world.mgr, ids[i]) & MGX_IS_CLIENT) world_send(ids[i], text);
}

static int messages;
static void count_and_break(uint64_t conn, int ev, const char *data, size_t n) {
  hello(conn, ev, data, n);
  if (ev == MG_EV_HTTP_MSG && ++messages == 2) mgx_mgr_break(world.mgr);
}

static void test_messages_of_one_turn_are_each_delivered_once(void) {
  messages = 0;
  begin_three(count_and_break, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
  for (int i = 0; i < 20; i++) mg_mgr_poll(world.mgr, 1);
  CHECK(times(world.log, "HTTP_MSG(/1)") == 3 && times(world.log, "HTTP_MSG(/2)") == 3);
  CHECK(times(world.log, ":READ ") == 3);
  CHECK(strstr(answer, OK_HI OK_HI) != NULL);
  world_end();
}

static void close_all_others(uint64_t conn, int ev, const char *data, size_t n) {
  (void) data, (void) n;
  if (ev == MG_EV_HTTP_MSG)
    for (uint64_t id = 2; id < 12; id++)
      if (id != conn) mgx_close(world.mgr, id);
}

static void test_a_handler_may_close_all_that_wait_for_theirs(void) {
  begin_three(close_all_others, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
  for (int i = 0; i < 20; i++) mg_mgr_poll(world.mgr, 1);
  CHECK(times(world.log, ":CLOSE") >= 5);
  world_end();
}

static void client_and_server(uint64_t conn, int ev, const char *data, size_t n) {
  struct mgx_conn_info info;
  (void) data, (void) n;
  if (ev == MG_EV_HTTP_MSG && conn == 3) {
    if (reply(conn, 200, "X: y\r\n", "hello") != 0) mgx_http_fail(world.mgr, conn);
  } else if (ev == MG_EV_HTTP_MSG && conn == 2) {
    mgx_close(world.mgr, 2);
  } else if (ev == MG_EV_CONNECT && conn == 2) {
    static const char get[] = "GET /oom HTTP/1.1\r\nHost: a\r\n\r\n";
    if (mgx_http_request(world.mgr, 2, get, sizeof(get) - 1, false) != 0) mgx_close(world.mgr, 2);
  }
  mgx_conn_info(world.mgr, conn, &info);
}

/* One pass of everything with the n-th allocation failing: whatever is lost,
 * nothing crashes, leaks, or hangs. */
static bool scenario_under_memory_shortage(long n) {
  int64_t server, client = 0;
  bool hit;
  mg__fail_at = n;
  if (world_open(NULL, n % 2 == 0 ? MGX_POLLER_EPOLL : MGX_POLLER_POLL) != NULL) {
    world.react = client_and_server;
    mg_timer_add(world.mgr, 0, MG_TIMER_ONCE);
    mgx_handler_add(world.mgr, 0, 0);
    server = world_listen("http://127.0.0.1:0");
    if (server > 0) client = world_connect(world_url(server, "http"));
    if (server > 0) mg_wakeup_init(world.mgr);
    if (server > 0) mg_wakeup(world.mgr, (uint64_t) server, "wake", 4);
    for (int i = 0; client > 0 && i < 8; i++) mg_mgr_poll(world.mgr, 2);
  }
  hit = mg__fail_at < 0;
  mg__fail_at = -1;
  world_end();
  return hit;
}

static void test_any_failing_allocation_is_survived(void) {
  long n = 0;
  while (scenario_under_memory_shortage(n)) n++;
  printf("   %ld allocations failed in turn\n", n);
  CHECK(n > 15);
}

int main(void) {
  RUN(test_pipelined_requests_are_answered_in_order);
  RUN(test_a_post_without_length_does_not_swallow_the_next_request);
  RUN(test_a_server_that_is_to_end_finishes_the_answer_under_way);
  RUN(test_a_server_that_is_to_end_closes_what_is_idle);
  RUN(test_a_server_that_is_to_end_waits_for_a_request_that_has_begun);
  RUN(test_a_server_that_is_to_end_ends_its_event_streams);
  RUN(test_nothing_is_delivered_behind_connection_close);
  RUN(test_bytes_one_by_one_give_the_same_events);
  RUN(test_a_cut_body_is_an_error_and_no_message);
  RUN(test_a_peer_that_ends_its_side_still_gets_its_answers);
  RUN(test_malformed_input_gets_the_right_status_and_the_end);
  RUN(test_a_hand_written_answer_is_followed_to_its_end);
  RUN(test_a_chunked_answer_stays_open_until_the_empty_chunk);
  RUN(test_head_204_and_304_carry_no_body);
  RUN(test_a_streamed_body_comes_in_pieces_above_every_buffer_limit);
  RUN(test_an_answer_to_the_head_ends_a_request_whose_body_is_missing);
  RUN(test_expect_100_continue_is_answered_when_the_body_is_awaited);
  RUN(test_slow_and_idle_peers_are_given_up);
  RUN(test_messages_of_one_turn_are_each_delivered_once);
  RUN(test_a_handler_may_close_all_that_wait_for_theirs);
  RUN(test_any_failing_allocation_is_survived);
  return 0;
}
