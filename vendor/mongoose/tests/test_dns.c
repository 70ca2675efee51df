/* test_dns.c: host names in the loop, with a name server in the test, and a system
 * that has black holes, no routes and a clock of the test's. */
#include "../mongoose.c"

#include "world.h"

static int pollers[] = {MGX_POLLER_EPOLL, MGX_POLLER_POLL};

/* ---- a system to order ------------------------------------------------------------- */

static struct mg_os os; /* the real one but for ... */
static uint64_t clock_ahead;
static bool no_ip6, no_sockets, no_random;
static int holes[2]; /* a pipe that is full: nothing can be written to it */

static uint64_t fake_clock(void) { return mg__os_posix.monotonic_ms() + clock_ahead; }

static int fake_socket(int domain, int type) {
  if (no_sockets) return -EMFILE;
  return mg__os_posix.socket(domain, type);
}

static bool fake_random(void *buf, size_t len) {
  return !no_random && mg__os_posix.random(buf, len);
}

/* 127.66.x.x swallows what is sent to it; 10.x.x.x and fd00:: can be "connected" by UDP,
 * which is how routes are looked for. */
static int fake_connect(int fd, const struct sockaddr *sa, socklen_t len) {
  const struct sockaddr_in *in = (const void *) sa;
  uint32_t ip = sa->sa_family == AF_INET ? ntohl(in->sin_addr.s_addr) : 0;
  if (sa->sa_family == AF_INET6 && no_ip6) return -ENETUNREACH;
  if (ip >> 16 == (127u << 8 | 66)) {
    CHECK(dup2(holes[1], fd) == fd);
    return -EINPROGRESS;
  }
  return mg__os_posix.connect(fd, sa, len);
}

static void order_system(void) {
  char bytes[4096] = {0};
  clock_ahead = 0;
  no_ip6 = no_sockets = no_random = false;
  os = mg__os_posix;
  os.monotonic_ms = fake_clock;
  os.socket = fake_socket;
  os.connect = fake_connect;
  os.random = fake_random;
  if (holes[1] == 0) {
    CHECK(pipe2(holes, O_NONBLOCK | O_CLOEXEC) == 0);
    while (write(holes[1], bytes, sizeof(bytes)) > 0) continue;
    while (write(holes[1], bytes, 1) > 0) continue;
  }
}

/* ---- a name server ------------------------------------------------------------------- */

static int server = -1;
static char server_url[32];
static int questions;
static bool is_mute;

static void server_open(void) {
  struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof(in);
  server = mg__os_posix.socket(AF_INET, SOCK_DGRAM);
  CHECK(bind(server, (void *) &in, len) == 0 && getsockname(server, (void *) &in, &len) == 0);
  snprintf(server_url, sizeof(server_url), "127.0.0.1:%u", (unsigned) ntohs(in.sin_port));
  questions = 0;
  is_mute = false;
}

/* "h" + number + ".test" has 127.0.0.<number>; "both" 10.0.0.1 and fd00::1; "holes"
 * 127.66.0.1, 127.66.0.2 and 127.0.0.1; others do not exist. */
static size_t answers(const char *name, unsigned type, uint8_t out[3][16]) {
  memset(out, 0, 3 * 16);
  out[0][0] = out[1][0] = out[2][0] = 127;
  if (*name == 'h' && name[1] >= '1' && name[1] <= '9') {
    out[0][3] = (uint8_t) atoi(name + 1);
    return type == MG_DNS_A ? 1 : 0;
  }
  if (strcmp(name, "holes") == 0) {
    out[0][1] = out[1][1] = 66;
    out[0][3] = out[2][3] = 1;
    out[1][3] = 2;
    return type == MG_DNS_A ? 3 : 0;
  }
  if (strcmp(name, "both") != 0) return SIZE_MAX;
  out[0][0] = type == MG_DNS_A ? 10 : 0xfd;
  out[0][type == MG_DNS_A ? 3 : 15] = 1;
  return 1;
}

static void server_run(void) {
  uint8_t m[600], found[3][16];
  struct sockaddr_in from;
  socklen_t len = sizeof(from);
  ssize_t n;
  while ((n = recvfrom(server, m, 512, 0, (void *) &from, &len)) > 0) {
    unsigned type = dns_u16(m + n - 4);
    size_t size = type == MG_DNS_A ? 4 : 16, count = answers((char *) m + 13, type, found);
    questions++;
    if (is_mute) continue;
    m[2] = 0x81, m[3] = count == SIZE_MAX ? 0x83 : 0x80;
    for (size_t i = 0; count != SIZE_MAX && i < count; i++) {
      uint8_t record[] = {0xc0, 12, 0, (uint8_t) type, 0, 1, 0, 0, 0, 60, 0, (uint8_t) size};
      memcpy(m + n, record, sizeof(record));
      memcpy(m + n + sizeof(record), found[i], size);
      n += (ssize_t) (sizeof(record) + size);
      m[7]++;
    }
    CHECK(sendto(server, m, (size_t) n, 0, (void *) &from, len) == n);
    len = sizeof(from);
  }
}

static const char hosts_path[] = "/dev/null";

static int set_resolver(uint64_t attempt_delay) {
  struct mgx_resolver r;
  struct mgx_error err;
  mgx_resolver_init(&r);
  r.servers = (struct mg_str){server_url, strlen(server_url)};
  r.search = (struct mg_str){"", 0};
  r.config = (struct mg_str){NULL, 0};
  r.hosts = (struct mg_str){hosts_path, strlen(hosts_path)};
  r.family_delay_ms = 100000;
  r.attempt_delay_ms = attempt_delay;
  return mgx_mgr_set_resolver(world.mgr, &r, &err);
}

/* NULL when memory is short. */
static struct mg_mgr *open_with(const struct mgx_limits *limits, int poller, uint64_t attempt_delay) {
  if (server < 0) server_open();
  if (world_open(limits, poller) == NULL) return NULL;
  world.mgr->os = &os;
  if (set_resolver(attempt_delay) == MGX_OK) return world.mgr;
  world_end();
  return NULL;
}

static void close_all(void) {
  world_end();
  close(server);
  server = -1;
}

static bool until(const char *text) {
  for (int i = 0; i < 500; i++) {
    server_run();
    if (strstr(world.log, text) != NULL) return true;
    mg_mgr_poll(world.mgr, 2);
  }
  fprintf(stderr, "no \"%s\" in: %s\n", text, world.log);
  return false;
}

/* "scheme://host:port" with the port of a listener. */
static const char *named(int64_t listener, const char *scheme, const char *host) {
  static char url[80];
  snprintf(url, sizeof(url), "%s://%s%s", scheme, host, strrchr(world_url(listener, scheme), ':'));
  return url;
}

static int resolve(uint64_t conn, const char *url) {
  struct mgx_error err;
  return mgx_resolve(world.mgr, conn, url, strlen(url), &err);
}

/* ---- tests ------------------------------------------------------------------------------ */

static void test_a_client_connects_by_name_on_both_pollers(void) {
  for (size_t i = 0; i < 2; i++) {
    struct mgx_conn_info info;
    order_system();
    CHECK(open_with(NULL, pollers[i], 250) != NULL);
    CHECK(world_listen("tcp://127.0.0.1:0") == 1);
    CHECK(world_connect(named(1, "tcp", "h1.test")) == 2);
    CHECK(world_send(2, "early") == 0);
    CHECK(until(":READ(early)"));
    CHECK(strstr(world.log, "2:OPEN 2:RESOLVE(127.0.0.1) ") != NULL && questions == 2);
    CHECK(mgx_conn_info(world.mgr, 2, &info) == 0 && strcmp(info.rem.ip, "127.0.0.1") == 0);
    CHECK(mgx_mgr_conns(world.mgr, NULL, 0) == 3);
    CHECK(mg__conn_find(world.mgr, 2)->dial == NULL); /* nothing is kept of it */
    CHECK(world.mgr->watches.count == 0 && world.mgr->alarms.len == 0);
    CHECK(world.mgr->num_alarms == 0 && world.mgr->dns->num_running == 0);
    close_all();
  }
}

static void test_black_holes_are_passed_by_one_delay_each(void) {
  order_system();
  CHECK(open_with(NULL, MGX_POLLER_DEFAULT, 1000) != NULL);
  CHECK(world_listen("tcp://127.0.0.1:0") == 1);
  CHECK(world_connect(named(1, "tcp", "holes")) == 2 && until("2:RESOLVE"));
  CHECK(world.mgr->watches.count == 1);
  mg_mgr_poll(world.mgr, 0);
  CHECK(world.mgr->watches.count == 1);
  clock_ahead += 1000;
  mg_mgr_poll(world.mgr, 0);
  CHECK(world.mgr->watches.count == 2 && strstr(world.log, "2:CONNECT") == NULL);
  clock_ahead += 1000;
  CHECK(until("2:CONNECT"));
  CHECK(world.mgr->watches.count == 0 && world.mgr->num_alarms == 0);
  close_all();
}

static void test_connect_timeout_ends_all_attempts(void) {
  order_system();
  CHECK(open_with(NULL, MGX_POLLER_DEFAULT, 100000) != NULL);
  CHECK(world_connect("tcp://holes:9") == 1 && until("1:RESOLVE"));
  clock_ahead += 10000;
  CHECK(until("1:ERROR(socket error: Connection timed out (127."));
  CHECK(world_until("1:CLOSE") && world.mgr->watches.count == 0 && world.mgr->num_alarms == 0);
  close_all();
}

static struct mgx_addr told[32];
static size_t num_told;
static void remember(uint32_t tag, uint64_t conn, const struct mgx_addr *a, size_t n) {
  CHECK(n <= 32);
  memcpy(told, a, n * sizeof(*a));
  num_told = n;
  world_resolve(tag, conn, a, n);
}

static void test_ip6_comes_first_if_there_is_a_route_else_last(void) {
  for (int i = 0; i < 2; i++) {
    struct mgx_callbacks callbacks = world_callbacks;
    order_system();
    CHECK(open_with(NULL, MGX_POLLER_DEFAULT, 250) != NULL);
    callbacks.on_resolve = remember;
    world.mgr->cb = &callbacks;
    no_ip6 = i == 1;
    os.connect = no_ip6 ? fake_connect : mg__os_posix.connect;
    if (!no_ip6) { /* a route for sure */
      struct mg_lookup l = {.count = 0};
      struct mg_ip six = {.is_ip6 = true, .bytes = {[15] = 1}}, four = {.bytes = {127, 0, 0, 1}};
      lookup_set(&os, &l, &six, 1, &four, 1);
      CHECK(l.count == 2 && l.addrs[0].is_ip6 && !l.addrs[1].is_ip6);
    } else {
      CHECK(world_listen("udp://127.0.0.1:0") == 1 && resolve(1, "both") == 0 && until("1:RESOLVE"));
      CHECK(num_told == 2 && !told[0].is_ip6 && told[1].is_ip6);
      CHECK(strcmp(told[0].ip, "10.0.0.1") == 0 && strcmp(told[1].ip, "fd00::1") == 0);
    }
    close_all();
  }
}

static void test_answers_are_asked_for_again_when_their_time_is_over(void) {
  order_system();
  CHECK(open_with(NULL, MGX_POLLER_DEFAULT, 250) != NULL);
  CHECK(world_listen("udp://127.0.0.1:0") == 1);
  CHECK(resolve(1, "h7") == 0 && until("1:RESOLVE(127.0.0.7)") && questions == 2);
  clock_ahead += 29000; /* that there is no IPv6 holds for 30 s, the address for 60 */
  world.len = 0, world.log[0] = 0;
  CHECK(resolve(1, "H7.") == 0 && until("1:RESOLVE(127.0.0.7)") && questions == 2);
  clock_ahead += 2000;
  world.len = 0, world.log[0] = 0;
  CHECK(resolve(1, "h7") == 0 && until("1:RESOLVE(127.0.0.7)") && questions == 3);
  clock_ahead += 30000;
  world.len = 0, world.log[0] = 0;
  CHECK(resolve(1, "h7") == 0 && until("1:RESOLVE(127.0.0.7)") && questions == 5);
  close_all();
}

static void test_what_was_asked_of_other_servers_is_neither_kept_nor_waited_for(void) {
  order_system();
  CHECK(open_with(NULL, MGX_POLLER_DEFAULT, 250) != NULL);
  CHECK(world_listen("udp://127.0.0.1:0") == 1 && world_listen("udp://127.0.0.1:0") == 2);
  CHECK(resolve(1, "h7") == 0 && set_resolver(250) == MGX_OK && resolve(2, "h7") == 0);
  CHECK(until("1:RESOLVE(127.0.0.7)") && until("2:RESOLVE(127.0.0.7)") && questions == 4);
  world.len = 0, world.log[0] = 0;
  CHECK(resolve(1, "h8") == 0 && set_resolver(250) == MGX_OK && until("1:RESOLVE(127.0.0.8)"));
  CHECK(questions == 6);
  CHECK(resolve(2, "h8") == 0 && until("2:RESOLVE(127.0.0.8)") && questions == 8);
  close_all();
}

static void test_a_name_that_was_queued_is_asked_for_as_the_settings_are_when_it_runs(void) {
  struct mgx_limits limits;
  order_system();
  mgx_limits_init(&limits);
  limits.dns_queries = 1;
  CHECK(open_with(&limits, MGX_POLLER_DEFAULT, 250) != NULL);
  CHECK(world_listen("udp://127.0.0.1:0") == 1);
  CHECK(resolve(1, "h7") == 0 && resolve(1, "h8") == 0 && set_resolver(250) == MGX_OK);
  CHECK(until("1:RESOLVE(127.0.0.7)") && until("1:RESOLVE(127.0.0.8)") && questions == 4);
  world.len = 0, world.log[0] = 0;
  CHECK(resolve(1, "h8") == 0 && until("1:RESOLVE(127.0.0.8)") && questions == 4);
  close_all();
}

static void test_questions_are_repeated_each_second_and_given_up_after_three(void) {
  order_system();
  CHECK(open_with(NULL, MGX_POLLER_DEFAULT, 250) != NULL);
  is_mute = true;
  CHECK(world_connect("tcp://h7:1") == 1);
  for (int second = 0; second < 3; second++) {
    server_run();
    CHECK(questions == 2 * (second + 1));
    CHECK(mgx_mgr_next_timeout(world.mgr) > 0 && mgx_mgr_next_timeout(world.mgr) <= 1000);
    clock_ahead += 1000;
    mg_mgr_poll(world.mgr, 0);
  }
  CHECK(until("1:ERROR(DNS timeout: nobody has answered for h7)") && until("1:CLOSE"));
  CHECK(questions == 6 && world.mgr->watches.count == 0);
  close_all();
}

static void test_without_sockets_or_random_bytes_nobody_is_asked(void) {
  order_system();
  CHECK(open_with(NULL, MGX_POLLER_DEFAULT, 250) != NULL);
  no_random = true;
  CHECK(world_connect("tcp://h7:1") == 1);
  CHECK(until("1:ERROR(resolver: no server could be asked for h)") && until("1:CLOSE"));
  no_random = false;
  no_sockets = true;
  CHECK(world_connect("tcp://h7:1") == 2);
  CHECK(until("2:ERROR(resolver: no server could be asked for h)") && until("2:CLOSE"));
  CHECK(questions == 0);
  close_all();
}

static void test_two_thousand_queued_names_end_without_recursion(void) {
  struct mgx_limits limits;
  mgx_limits_init(&limits);
  limits.dns_queries = 1;
  order_system();
  CHECK(open_with(&limits, MGX_POLLER_DEFAULT, 250) != NULL);
  CHECK(world_listen("udp://127.0.0.1:0") == 1);
  mgx_handler_set(world.mgr, 0, 0, 0);
  mgx_conn_set_handler(world.mgr, 1, 0);
  is_mute = true;
  CHECK(resolve(1, "h1") == 0); /* holds up the others */
  for (int i = 0; i < 2000; i++) {
    char name[32];
    snprintf(name, sizeof(name), "n%d.test", i);
    CHECK(resolve(1, name) == 0);
  }
  CHECK(world.mgr->dns->num_running == 1);
  no_sockets = true; /* each of them fails at once now */
  clock_ahead += 2999;
  mg__dns_cancel(MG_CONTAINER(mg__conn_find(world.mgr, 1)->dial->lookups.next, struct mg_lookup, link));
  CHECK(world.mgr->dns->num_running == 0 && mg__link_empty(&world.mgr->dns->queued));
  CHECK(mgx_resolve_cancel(world.mgr, 1) == 0);
  CHECK(world.mgr->num_alarms == 0);
  close_all();
}

static void close_it(uint64_t conn, int ev, const char *data, size_t n) {
  (void) data, (void) n;
  if (ev == MG_EV_RESOLVE) mgx_resolve_cancel(world.mgr, conn);
  if (ev == MG_EV_RESOLVE || ev == MG_EV_ERROR) mgx_close(world.mgr, conn);
}

static void test_handlers_may_cancel_and_close_in_any_event(void) {
  order_system();
  CHECK(open_with(NULL, MGX_POLLER_DEFAULT, 250) != NULL);
  world.react = close_it;
  CHECK(world_connect("tcp://h7:1") == 1 && resolve(1, "h8") == 0 && resolve(1, "nobody") == 0);
  CHECK(world_listen("tcp://127.0.0.1:0") == 2 && resolve(2, "nobody") == 0);
  CHECK(resolve(2, "h9") == 0);
  CHECK(until("1:CLOSE") && until("2:CLOSE"));
  CHECK(resolve(1, "h7") == MGX_ECLOSED && mgx_resolve_cancel(world.mgr, 1) == MGX_ECLOSED);
  close_all();
}

static void leave_it(uint64_t conn, int ev, const char *data, size_t n) {
  (void) conn, (void) data, (void) n;
  if (ev == MG_EV_RESOLVE || ev == MG_EV_ERROR) mgx_mgr_break(world.mgr);
}

static void test_what_a_break_leaves_is_told_in_the_next_turns(void) {
  order_system();
  CHECK(open_with(NULL, MGX_POLLER_DEFAULT, 250) != NULL);
  world.react = leave_it;
  CHECK(world_listen("tcp://127.0.0.1:0") == 1);
  CHECK(world_connect(named(1, "tcp", "h1")) == 2 && world_send(2, "late") == 0);
  for (int i = 2; i < 6; i++) {
    char name[16];
    snprintf(name, sizeof(name), "h%d", i);
    CHECK(resolve(1, name) == 0 && resolve(1, "nobody") == 0);
  }
  CHECK(until(":READ(late)"));
  for (int i = 2; i < 6; i++) {
    char text[32];
    snprintf(text, sizeof(text), "1:RESOLVE(127.0.0.%d)", i);
    CHECK(until(text));
  }
  CHECK(until("2:CONNECT"));
  close_all();
}

static void test_a_closed_manager_resolves_nothing(void) {
  struct mgx_resolver r;
  struct mgx_error err;
  order_system();
  CHECK(open_with(NULL, MGX_POLLER_DEFAULT, 250) != NULL);
  is_mute = true;
  CHECK(world_connect("tcp://h7:1") == 1 && world_listen("udp://127.0.0.1:0") == 2);
  CHECK(resolve(2, "h8") == 0);
  CHECK(mg_mgr_free(world.mgr) == 0);
  CHECK(resolve(2, "h8") == MGX_ECLOSED);
  mgx_resolver_init(&r);
  CHECK(mgx_mgr_set_resolver(world.mgr, &r, &err) == MGX_ECLOSED);
  close_all();
}

/* ---- memory --------------------------------------------------------------------------------- */

static bool scenario_under_memory_shortage(long nth) {
  struct mgx_limits limits;
  bool hit;
  int64_t conn = 0;
  order_system();
  mgx_limits_init(&limits);
  if (server < 0) server_open(); /* is no part of it */
  mg__fail_at = nth;
  if (open_with(&limits, nth % 2 == 0 ? MGX_POLLER_EPOLL : MGX_POLLER_POLL, 1) != NULL) {
    if (world_listen("tcp://127.0.0.1:0") > 0) {
      conn = world_connect(named(1, "tcp", "holes"));
      resolve(1, "h8");
      resolve(1, "nobody");
      if (world_connect(named(1, "udp", "h1")) > 0) world_send(world.mgr->nextid, "datagram");
      for (int i = 0; i < 20; i++) {
        server_run();
        mg_mgr_poll(world.mgr, 2);
      }
      if (conn > 0) CHECK(strstr(world.log, "2:ERROR") != NULL || until("2:CONNECT"));
    }
  }
  hit = mg__fail_at < 0;
  mg__fail_at = -1;
  if (!hit) CHECK(strstr(world.log, "1:RESOLVE(127.0.0.8)") != NULL);
  close_all();
  return hit;
}

static void test_any_failing_allocation_is_survived(void) {
  long nth = 0;
  while (scenario_under_memory_shortage(nth)) nth++;
  printf("   %ld allocations failed in turn\n", nth);
  CHECK(nth > 20);
}

int main(void) {
  RUN(test_a_client_connects_by_name_on_both_pollers);
  RUN(test_black_holes_are_passed_by_one_delay_each);
  RUN(test_connect_timeout_ends_all_attempts);
  RUN(test_ip6_comes_first_if_there_is_a_route_else_last);
  RUN(test_answers_are_asked_for_again_when_their_time_is_over);
  RUN(test_what_was_asked_of_other_servers_is_neither_kept_nor_waited_for);
  RUN(test_a_name_that_was_queued_is_asked_for_as_the_settings_are_when_it_runs);
  RUN(test_questions_are_repeated_each_second_and_given_up_after_three);
  RUN(test_without_sockets_or_random_bytes_nobody_is_asked);
  RUN(test_two_thousand_queued_names_end_without_recursion);
  RUN(test_handlers_may_cancel_and_close_in_any_event);
  RUN(test_what_a_break_leaves_is_told_in_the_next_turns);
  RUN(test_a_closed_manager_resolves_nothing);
  RUN(test_any_failing_allocation_is_survived);
  return 0;
}
