/* test_mqtt_session.c: messages of QoS 1 and 2 across lost connections. */
#include "../mongoose.c"

#include "mqtt_world.h"

static struct mgx_mqtt_connect connect_with; /* keeps its session from connection to connection */

static void begin(int version, const struct mgx_limits *limits) {
  mqtt_world(limits, NULL);
  CHECK(world_listen("tcp://127.0.0.1:0") == 1);
  connect_with = plain_connect;
  connect_with.version = (uint8_t) version;
  connect_with.clean = false;
  connect_with.session = (uint64_t) mgx_mqtt_session_new(world.mgr);
  CHECK(connect_with.session == 1);
}

static int64_t open_with(const char *connack) {
  int64_t c = dial(&connect_with);
  CHECK(c > 0);
  while (got_len < 15) mg_mgr_poll(world.mgr, 5); /* CONNECT */
  got_len = 0;
  says(connack);
  return c;
}

static void lose(int64_t c) {
  char text[24];
  mgx_close(world.mgr, (uint64_t) c);
  snprintf(text, sizeof(text), "%d:CLOSE", (int) c);
  CHECK(world_until(text));
  snprintf(text, sizeof(text), "%d:CLOSE", (int) c + 1);
  CHECK(world_until(text));
}

static int later(const char *topic, const char *data, unsigned flags) {
  return mgx_mqtt_session_pub(world.mgr, 1, topic, strlen(topic), data, strlen(data), flags, NULL, 0);
}

static struct mgx_mqtt_session_info info(void) {
  struct mgx_mqtt_session_info info = {0, 0, 0};
  CHECK(mgx_mqtt_session_info(world.mgr, 1, &info) == 0);
  return info;
}

static void test_what_was_not_acknowledged_is_sent_again_in_order_with_dup(void) {
  int64_t c;
  begin(4, NULL);
  c = open_with("20 02 00 00");
  CHECK(pub((uint64_t) c, "a", "1", 2) == 1 && pub((uint64_t) c, "a", "2", 4) == 2);
  CHECK(pub((uint64_t) c, "a", "3", 3) == 3 && pub((uint64_t) c, "a", "4", 4) == 4);
  CHECK(hears("32 06 00 01 61 00 01 31 34 06 00 01 61 00 02 32 33 06 00 01 61 00 03 33 "
              "34 06 00 01 61 00 04 34"));
  says("40 02 00 01 50 02 00 02");
  CHECK(hears("62 02 00 02"));
  CHECK(info().pending == 3 && info().conn == (uint64_t) c);
  lose(c);
  CHECK(info().pending == 3 && info().conn == 0);
  c = open_with("20 02 01 00");
  CHECK(hears("62 02 00 02 3b 06 00 01 61 00 03 33 3c 06 00 01 61 00 04 34"));
  says("70 02 00 02 40 02 00 03 50 02 00 04");
  CHECK(hears("62 02 00 04"));
  says("70 02 00 04");
  turns(5);
  CHECK(info().pending == 0 && info().bytes == 0);
  world_end();
}

static void test_only_the_acknowledgement_that_is_due_ends_a_message(void) {
  begin(4, NULL);
  open_with("20 02 00 00");
  CHECK(later("a", "1", 2) == 1 && later("a", "2", 4) == 2);
  CHECK(hears("32 06 00 01 61 00 01 31 34 06 00 01 61 00 02 32"));
  says("70 02 00 01 70 02 00 02 40 02 00 02"); /* PUBCOMP and PUBACK of what was only sent */
  turns(5);
  CHECK(info().pending == 2);
  says("50 02 00 02");
  CHECK(hears("62 02 00 02"));
  says("40 02 00 02");
  turns(5);
  CHECK(info().pending == 2);
  says("40 02 00 01 70 02 00 02");
  turns(5);
  CHECK(info().pending == 0);
  world_end();
}

static void test_a_server_that_has_forgotten_gets_new_messages(void) {
  int64_t c;
  begin(4, NULL);
  c = open_with("20 02 00 00");
  CHECK(pub((uint64_t) c, "a", "1", 4) == 1 && pub((uint64_t) c, "a", "2", 4) == 2);
  CHECK(hears("34 06 00 01 61 00 01 31 34 06 00 01 61 00 02 32"));
  says("50 02 00 01"); /* it has the first one */
  CHECK(hears("62 02 00 01"));
  lose(c);
  open_with("20 02 00 00");
  CHECK(hears("34 06 00 01 61 00 02 32"));
  CHECK(info().pending == 1);
  world_end();
}

static void test_a_message_of_qos_2_is_delivered_once_across_connections(void) {
  int64_t c;
  begin(5, NULL);
  c = open_with("20 03 00 00 00");
  says("34 07 00 01 61 00 09 00 31");
  CHECK(hears("50 02 00 09"));
  CHECK(logged("2:MQTT_MSG(a)"));
  lose(c);
  open_with("20 03 01 00 00");
  says("3c 07 00 01 61 00 09 00 31");
  CHECK(hears("50 02 00 09"));
  CHECK(strstr(world.log, "4:MQTT_MSG(a)") == NULL);
  says("62 02 00 09");
  CHECK(hears("70 02 00 09"));
  says("34 07 00 01 61 00 09 00 31");
  CHECK(hears("50 02 00 09") && logged("4:MQTT_MSG(a)"));
  lose(4);
  open_with("20 03 00 00 00"); /* it has forgotten, so this is a new one */
  says("34 07 00 01 61 00 09 00 31");
  CHECK(hears("50 02 00 09") && logged("6:MQTT_MSG(a)"));
  world_end();
}

static void test_messages_wait_for_a_connection_and_for_the_receive_maximum(void) {
  int64_t c;
  begin(5, NULL);
  CHECK(later("a", "0", 0) == MGX_ESTATE && later("a", "1", 2) == 1 && later("a", "2", 4) == 2);
  CHECK(later("a", "3", 2) == 3 && later("+", "", 2) == MGX_EINVAL);
  CHECK(mgx_mqtt_session_pub(world.mgr, 9, "a", 1, "", 0, 2, NULL, 0) == MGX_ECLOSED);
  CHECK(info().pending == 3 && info().conn == 0);
  c = open_with("20 06 00 00 03 21 00 01"); /* one at a time */
  CHECK(hears("32 07 00 01 61 00 01 00 31"));
  CHECK(later("a", "4", 2) == 4 && later("a", "0", 0) == 0);
  CHECK(hears("30 05 00 01 61 00 30"));
  says("40 02 00 01");
  CHECK(hears("34 07 00 01 61 00 02 00 32"));
  lose(c);
  open_with("20 06 01 00 03 21 00 02"); /* two at a time */
  CHECK(hears("3c 07 00 01 61 00 02 00 32 32 07 00 01 61 00 03 00 33"));
  says("50 02 00 02 40 02 00 03");
  CHECK(hears("62 02 00 02 32 07 00 01 61 00 04 00 34"));
  CHECK(info().pending == 2);
  world_end();
}

static void test_a_client_of_3_1_1_has_a_window_for_its_server_cannot_tell_one(void) {
  struct mgx_limits limits;
  struct mgx_mqtt_info now;
  mgx_limits_init(&limits);
  limits.mqtt_inflight = 2;
  begin(4, &limits);
  open_with("20 02 00 00");
  CHECK(pub(2, "a", "1", 4) == 1 && pub(2, "a", "2", 2) == 2 && pub(2, "a", "3", 2) == 3);
  CHECK(hears("34 06 00 01 61 00 01 31 32 06 00 01 61 00 02 32"));
  CHECK(mgx_mqtt_conn_info(world.mgr, 2, &now) == 0 && now.pending == 3 && now.waiting == 1);
  says("50 02 00 01");
  CHECK(hears("62 02 00 01"));
  says("70 02 00 01");
  CHECK(hears("32 06 00 01 61 00 03 33"));
  world_end();
}

static void test_a_message_that_was_released_counts_on_the_next_connection_too(void) {
  int64_t c;
  struct mgx_limits limits;
  mgx_limits_init(&limits);
  limits.mqtt_inflight = 2;
  begin(4, &limits);
  c = open_with("20 02 00 00");
  CHECK(pub(2, "a", "1", 4) == 1 && pub(2, "a", "2", 4) == 2 && pub(2, "a", "3", 4) == 3);
  CHECK(hears("34 06 00 01 61 00 01 31 34 06 00 01 61 00 02 32"));
  says("50 02 00 01");
  CHECK(hears("62 02 00 01"));
  lose(c);
  open_with("20 02 01 00");
  CHECK(hears("62 02 00 01 3c 06 00 01 61 00 02 32"));
  says("70 02 00 01");
  CHECK(hears("34 06 00 01 61 00 03 33"));
  world_end();
}

static void subscribe_in_open(uint64_t conn, int ev, const char *data, size_t n) {
  (void) data, (void) n;
  if (ev == MG_EV_MQTT_OPEN) CHECK(mgx_mqtt_sub(world.mgr, conn, "\0\1a\1", 4, NULL, 0) > 0);
}

static void test_a_subscribe_made_when_it_opens_goes_before_the_messages_that_wait(void) {
  begin(5, NULL);
  mqtt_react = subscribe_in_open;
  CHECK(later("a", "1", 2) == 1);
  open_with("20 03 01 00 00");
  CHECK(hears("82 07 00 02 00 00 01 61 01 32 07 00 01 61 00 01 00 31"));
  world_end();
}

static void disconnect_in_open(uint64_t conn, int ev, const char *data, size_t n) {
  (void) data, (void) n;
  if (ev == MG_EV_MQTT_OPEN) CHECK(mgx_mqtt_disconnect(world.mgr, conn, 0, NULL, 0) == 0);
}

static void test_nothing_is_sent_behind_a_disconnect(void) {
  begin(5, NULL);
  mqtt_react = disconnect_in_open;
  CHECK(later("a", "1", 2) == 1);
  open_with("20 03 01 00 00");
  CHECK(hears("e0 00") && world_until("2:CLOSE"));
  CHECK(info().pending == 1);
  world_end();
}

static void test_a_message_that_the_server_cannot_take_is_dropped_and_the_others_go_on(void) {
  begin(5, NULL);
  CHECK(later("a", "1", 4) == 1 && later("a", "2", 2) == 2 && later("a", "3", 3) == 3);
  CHECK(later("a", "0123456789abcdef", 2) == 4 && later("a", "5", 2) == 5);
  open_with("20 0c 00 00 09 24 01 25 00 27 00 00 00 14"); /* no QoS 2, no RETAIN, 20 bytes */
  CHECK(hears("32 07 00 01 61 00 02 00 32 32 07 00 01 61 00 05 00 35"));
  CHECK(info().pending == 2);
  world_end();
}

static void test_properties_wait_with_their_message_and_are_left_out_of_3_1_1(void) {
  int64_t c;
  begin(5, NULL);
  CHECK(mgx_mqtt_session_pub(world.mgr, 1, "a", 1, "1", 1, 2, "\1\1", 2) == 1);
  c = open_with("20 03 00 00 00");
  CHECK(hears("32 09 00 01 61 00 01 02 01 01 31"));
  lose(c);
  connect_with.version = 4;
  open_with("20 02 01 00");
  CHECK(hears("3a 06 00 01 61 00 01 31"));
  world_end();
}

static void test_a_session_is_bounded_by_its_limit(void) {
  struct mgx_limits limits;
  mgx_limits_init(&limits);
  limits.mqtt_queue = 200;
  begin(4, &limits);
  CHECK(later("a", "0123456789012345678901234567890123456789", 2) == 1);
  CHECK(later("a", "0123456789012345678901234567890123456789", 2) == 2);
  CHECK(later("a", "0123456789012345678901234567890123456789", 2) == MGX_ELIMIT);
  CHECK(info().bytes <= 200);
  open_with("20 02 00 00");
  says("40 02 00 01");
  CHECK(world_until("2:MQTT_CMD(4)"));
  CHECK(later("a", "0123456789012345678901234567890123456789", 2) == 3);
  world_end();
}

static void test_identifiers_are_used_again_when_they_are_free_and_never_twice(void) {
  static bool used[65536];
  struct mg_mqtt_session *s;
  begin(4, NULL);
  for (int i = 1; i <= 65535; i++) CHECK(later("a", "", 2) == i);
  CHECK(later("a", "", 2) == MGX_ELIMIT);
  mg__lock(world.mgr);
  s = mg__mqtt_session(world.mgr, 1);
  for (int i = 1; i <= 65535; i += 7) mqtt_done(s, mqtt_find(s, (uint16_t) i));
  mg__unlock(world.mgr);
  for (int i = 1; i <= 65535; i += 7) {
    int id = later("a", "", 2);
    CHECK(id > 0 && id % 7 == 1 && !used[id]);
    used[id] = true;
  }
  CHECK(later("a", "", 2) == MGX_ELIMIT);
  world_end();
}

static void test_a_subscribe_holds_its_identifier_until_it_is_answered_or_lost(void) {
  int64_t c;
  begin(4, NULL);
  c = open_with("20 02 00 00");
  CHECK(mgx_mqtt_sub(world.mgr, (uint64_t) c, "\0\1w\1", 4, NULL, 0) == 1);
  CHECK(mgx_mqtt_unsub(world.mgr, (uint64_t) c, "\0\1w", 3, NULL, 0) == 2);
  mg__lock(world.mgr);
  CHECK(mg__mqtt_session(world.mgr, 1)->in_use == 2);
  mg__unlock(world.mgr);
  says("90 03 00 01 00 40 02 00 02"); /* the second is no message */
  CHECK(world_until("2:MQTT_CMD(4)"));
  mg__lock(world.mgr);
  CHECK(mg__mqtt_session(world.mgr, 1)->in_use == 1);
  mg__unlock(world.mgr);
  lose(c);
  mg__lock(world.mgr);
  CHECK(mg__mqtt_session(world.mgr, 1)->in_use == 0);
  mg__unlock(world.mgr);
  CHECK(info().pending == 0);
  world_end();
}

static int64_t reopened;

static void reopen_in_close(uint64_t conn, int ev, const char *data, size_t n) {
  struct mgx_open opts = {.mqtt_connect = &connect_with};
  struct mgx_error err;
  const char *url = world_url(1, "mqtt");
  (void) data, (void) n;
  if (conn != 2 || ev != MG_EV_CLOSE) return;
  reopened = mgx_connect(world.mgr, url, strlen(url), &opts, &err);
}

static void test_a_session_has_one_connection_and_moves_when_that_is_closing(void) {
  begin(4, NULL);
  open_with("20 02 00 00");
  CHECK(dial(&connect_with) == MGX_EBUSY);
  CHECK(pub(2, "a", "1", 2) == 1);
  turns(3);
  mqtt_react = reopen_in_close;
  mgx_close(world.mgr, 2);
  CHECK(world_until("2:CLOSE"));
  CHECK(reopened > 0 && info().conn == (uint64_t) reopened && info().pending == 1);
  CHECK(pub(2, "a", "2", 2) == MGX_ECLOSED);
  world_end();
}

static void test_a_session_may_be_freed_with_and_without_a_connection(void) {
  struct mgx_mqtt_session_info nothing;
  begin(4, NULL);
  CHECK(later("a", "1", 2) == 1);
  CHECK(mgx_mqtt_session_free(world.mgr, 1) == 0 && mgx_mqtt_session_free(world.mgr, 1) == MGX_ECLOSED);
  CHECK(dial(&connect_with) == MGX_ECLOSED);
  connect_with.session = (uint64_t) mgx_mqtt_session_new(world.mgr);
  CHECK(connect_with.session == 2);
  open_with("20 02 00 00");
  CHECK(mgx_mqtt_session_free(world.mgr, 2) == 0);
  CHECK(mgx_mqtt_session_info(world.mgr, 2, &nothing) == 0); /* its connection still has it */
  CHECK(pub((uint64_t) nothing.conn, "a", "1", 2) == 1);
  lose((int64_t) nothing.conn);
  CHECK(mgx_mqtt_session_info(world.mgr, 2, &nothing) == MGX_ECLOSED);
  CHECK(mgx_mqtt_session_new(world.mgr) == 3);
  mg_mgr_free(world.mgr);
  CHECK(mgx_mqtt_session_new(world.mgr) == MGX_ECLOSED);
  CHECK(mgx_mqtt_session_info(world.mgr, 3, &nothing) == MGX_ECLOSED);
  world_end();
}

/* ---- on servers ------------------------------------------------------------------------ */

static bool session_is_there;

static void keeps_sessions(uint64_t conn, int ev, const char *data, size_t n) {
  (void) data, (void) n;
  if (ev == MG_EV_MQTT_CMD && world.packet->cmd == MQTT_CMD_CONNECT)
    CHECK(mgx_mqtt_connack(world.mgr, conn, 0, session_is_there, NULL, 0, 1) == 0);
}

static void test_a_server_keeps_a_session_for_a_client_and_ends_its_old_connection(void) {
  serve(NULL, keeps_sessions);
  CHECK(mgx_mqtt_session_new(world.mgr) == 1);
  session_is_there = false;
  CHECK(later("a", "0", 2) == 1); /* is forgotten, for the client is new */
  says(CONNECT5);
  CHECK(hears("20 08 00 00 05 27 00 30 00 00"));
  CHECK(later("a", "1", 2) == 2);
  CHECK(hears("32 07 00 01 61 00 02 00 31"));
  session_is_there = true;
  another_peer();
  says(CONNECT5);
  CHECK(hears("20 08 01 00 05 27 00 30 00 00 3a 07 00 01 61 00 02 00 31"));
  CHECK(world_until("2:READ(\xe0\x01\x8e)") && world_until("3:CLOSE"));
  CHECK(pub(3, "a", "2", 2) == MGX_ECLOSED && info().conn == 5);
  says("34 07 00 01 61 00 01 00 31");
  CHECK(hears("50 02 00 01"));
  mgx_close(world.mgr, peer);
  CHECK(world_until("5:CLOSE"));
  CHECK(later("a", "2", 4) == 3 && later("a", "3", 0) == MGX_ESTATE);
  another_peer();
  says(CONNECT4);
  CHECK(hears("20 02 01 00 3a 06 00 01 61 00 02 31 34 06 00 01 61 00 03 32"));
  says("3c 06 00 01 61 00 01 31");
  CHECK(hears("50 02 00 01"));
  CHECK(strstr(world.log, "7:MQTT_MSG") == NULL); /* the message was delivered by the other one */
  world_end();
}

static void frees_what_it_is_to_give(uint64_t conn, int ev, const char *data, size_t n) {
  (void) data, (void) n;
  if (ev != MG_EV_MQTT_CMD || world.packet->cmd != MQTT_CMD_CONNECT) return;
  if (conn == 3) {
    CHECK(mgx_mqtt_connack(world.mgr, conn, 0, false, NULL, 0, 1) == 0);
    return;
  }
  CHECK(mgx_mqtt_session_free(world.mgr, 1) == 0);
  CHECK(mgx_mqtt_connack(world.mgr, conn, 0, true, NULL, 0, 1) == MGX_EINVAL);
  CHECK(mgx_mqtt_connack(world.mgr, conn, 0, false, NULL, 0, 0) == 0);
}

static void test_a_freed_session_goes_to_no_other_connection(void) {
  struct mgx_mqtt_session_info nothing;
  serve(NULL, frees_what_it_is_to_give);
  CHECK(mgx_mqtt_session_new(world.mgr) == 1);
  says(CONNECT4);
  CHECK(hears("20 02 00 00"));
  another_peer();
  says(CONNECT4);
  CHECK(hears("20 02 00 00"));
  CHECK(info().conn == 3 && pub(3, "a", "1", 2) == 1); /* the one that has it goes on */
  mgx_close(world.mgr, 3);
  CHECK(world_until("3:CLOSE"));
  CHECK(mgx_mqtt_session_info(world.mgr, 1, &nothing) == MGX_ECLOSED);
  world_end();
}

static void dial_again_in_close(uint64_t conn, int ev, const char *data, size_t n) {
  const char *url = world_url(1, "mqtt");
  struct mgx_open opts = {.mqtt_connect = &connect_with};
  struct mgx_error err;
  (void) data, (void) n;
  if (conn != 2 || ev != MG_EV_CLOSE) return;
  CHECK(mgx_mqtt_session_free(world.mgr, 1) == 0);
  CHECK(mgx_connect(world.mgr, url, strlen(url), &opts, &err) == MGX_ECLOSED);
}

static void test_a_freed_session_goes_to_no_other_client(void) {
  struct mgx_mqtt_session_info nothing;
  begin(4, NULL);
  mqtt_react = dial_again_in_close;
  CHECK(open_with("20 02 00 00") == 2);
  lose(2);
  CHECK(mgx_mqtt_session_info(world.mgr, 1, &nothing) == MGX_ECLOSED);
  world_end();
}

/* ---- exactly once, in order, whatever is cut ---------------------------------------------- */

enum { MESSAGES = 400 };

static uint32_t seed;
static uint32_t chance(uint32_t below) {
  seed = seed * 1664525u + 1013904223u;
  return (seed >> 8) % below;
}

static struct {
  uint64_t client, server; /* connections, 0: none */
  int sent[2], next[2];    /* messages from client and server; the one to come at the other end */
} run;

static void end_to_end(uint64_t conn, int ev, const char *data, size_t n) {
  const struct mgx_mqtt_event *e = world.packet;
  (void) data, (void) n;
  world.len = 0; /* the log would overflow */
  if (ev == MG_EV_MQTT_CMD && e->cmd == MQTT_CMD_CONNECT) {
    run.server = conn;
    CHECK(mgx_mqtt_connack(world.mgr, conn, 0, true, NULL, 0, 2) == 0);
  }
  if (ev == MG_EV_MQTT_MSG) {
    int side = conn == run.client ? 1 : 0, number = 0;
    CHECK(e->data_len == sizeof(number));
    memcpy(&number, e->data, sizeof(number));
    CHECK(number == run.next[side]); /* none is missing, none comes twice */
    run.next[side]++;
  }
  if (ev == MG_EV_CLOSE && conn == run.client) run.client = 0;
  if (ev == MG_EV_CLOSE && conn == run.server) run.server = 0;
}

static void test_qos_2_is_exactly_once_and_in_order_both_ways_whatever_is_cut(void) {
  struct mgx_open listen = {.mqtt = true}, opts = {.mqtt_connect = &connect_with};
  struct mgx_error err;
  for (uint32_t round = 0; round < 12; round++) {
    long turn = 0, cuts = 0;
    seed = round + 1;
    memset(&run, 0, sizeof(run));
    mqtt_world(NULL, NULL);
    world.react = end_to_end;
    connect_with = plain_connect;
    connect_with.version = round % 2 ? 5 : 4;
    connect_with.clean = false;
    CHECK(mgx_listen(world.mgr, "mqtt://127.0.0.1:0", 18, &listen, &err) == 1);
    CHECK(mgx_mqtt_session_new(world.mgr) == 1 && mgx_mqtt_session_new(world.mgr) == 2);
    connect_with.session = 1;
    while ((run.next[0] < MESSAGES || run.next[1] < MESSAGES) && turn++ < 200000) {
      if (run.client == 0) {
        const char *url = world_url(1, "mqtt");
        int64_t c = mgx_connect(world.mgr, url, strlen(url), &opts, &err);
        CHECK(c > 0 || c == MGX_EBUSY);
        if (c > 0) run.client = (uint64_t) c;
      }
      for (int side = 0; side < 2; side++)
        while (run.sent[side] < MESSAGES && chance(3) != 0) {
          int number = run.sent[side];
          if (mgx_mqtt_session_pub(world.mgr, (uint64_t) side + 1, "a", 1, (const char *) &number,
                                   sizeof(number), 4, NULL, 0) > 0)
            run.sent[side]++;
        }
      mg_mgr_poll(world.mgr, 0);
      if (chance(12) == 0 && cuts < 200) {
        mgx_close(world.mgr, chance(2) ? run.client : run.server);
        cuts++;
      }
    }
    CHECK(run.next[0] == MESSAGES && run.next[1] == MESSAGES && cuts > 5);
    for (int i = 0; i < 20; i++) mg_mgr_poll(world.mgr, 1);
    CHECK(run.client == 0 || info().pending == 0);
    world_end();
  }
}

int main(void) {
  RUN(test_what_was_not_acknowledged_is_sent_again_in_order_with_dup);
  RUN(test_only_the_acknowledgement_that_is_due_ends_a_message);
  RUN(test_a_server_that_has_forgotten_gets_new_messages);
  RUN(test_a_message_of_qos_2_is_delivered_once_across_connections);
  RUN(test_messages_wait_for_a_connection_and_for_the_receive_maximum);
  RUN(test_a_client_of_3_1_1_has_a_window_for_its_server_cannot_tell_one);
  RUN(test_a_message_that_was_released_counts_on_the_next_connection_too);
  RUN(test_a_subscribe_made_when_it_opens_goes_before_the_messages_that_wait);
  RUN(test_nothing_is_sent_behind_a_disconnect);
  RUN(test_a_message_that_the_server_cannot_take_is_dropped_and_the_others_go_on);
  RUN(test_properties_wait_with_their_message_and_are_left_out_of_3_1_1);
  RUN(test_a_session_is_bounded_by_its_limit);
  RUN(test_identifiers_are_used_again_when_they_are_free_and_never_twice);
  RUN(test_a_subscribe_holds_its_identifier_until_it_is_answered_or_lost);
  RUN(test_a_session_has_one_connection_and_moves_when_that_is_closing);
  RUN(test_a_session_may_be_freed_with_and_without_a_connection);
  RUN(test_a_server_keeps_a_session_for_a_client_and_ends_its_old_connection);
  RUN(test_a_freed_session_goes_to_no_other_connection);
  RUN(test_a_freed_session_goes_to_no_other_client);
  RUN(test_qos_2_is_exactly_once_and_in_order_both_ways_whatever_is_cut);
  return 0;
}
