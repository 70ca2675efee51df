/* test_mqtt.c: MQTT connections, seen from raw sockets: servers, clients, both. */
#include "../src/mqtt.h"

#include "mqtt_world.h"

/* ---- servers -------------------------------------------------------------------------- */

static char seen[4096]; /* what a server's handler has read in its events */

static void server(uint64_t conn, int ev, const char *data, size_t n) {
  const struct mgx_mqtt_event *e = world.packet;
  size_t used = strlen(seen);
  (void) data, (void) n;
  if (ev != MG_EV_MQTT_CMD && ev != MG_EV_MQTT_MSG) return;
  if (ev == MG_EV_MQTT_MSG)
    snprintf(seen + used, sizeof(seen) - used, "%.*s=%.*s/%d ", (int) e->topic_len, e->topic,
             (int) e->data_len, e->data, (e->first & 6) >> 1);
  else if (e->cmd == MQTT_CMD_CONNECT)
    CHECK(mgx_mqtt_connack(world.mgr, conn, 0, false, NULL, 0, 0) == 0);
  else if (e->cmd == MQTT_CMD_SUBSCRIBE)
    CHECK(mgx_mqtt_suback(world.mgr, conn, MQTT_CMD_SUBACK, e->id, "\1", 1, NULL, 0) == 0);
  else if (e->cmd == MQTT_CMD_UNSUBSCRIBE)
    CHECK(mgx_mqtt_suback(world.mgr, conn, MQTT_CMD_UNSUBACK, e->id, "\0", 1, NULL, 0) == 0);
  else if (e->cmd == MQTT_CMD_PINGREQ)
    CHECK(mgx_mqtt_pong(world.mgr, conn) == 0);
}

static void serve4(const struct mgx_limits *limits) {
  seen[0] = '\0';
  serve(limits, server);
  says(CONNECT4);
  CHECK(hears("20 02 00 00"));
}

static void serve5(const struct mgx_limits *limits) {
  seen[0] = '\0';
  serve(limits, server);
  says(CONNECT5);
  CHECK(hears("20 08 00 00 05 27 00 30 00 00"));
}

static void test_a_server_answers_what_its_handler_says_and_the_rest_by_itself(void) {
  serve4(NULL);
  says("82 06 00 01 00 01 77 01  c0 00  a2 05 00 02 00 01 77");
  CHECK(hears("90 03 00 01 01  d0 00  b0 02 00 02"));
  says("30 04 00 01 77 6d");
  says("32 06 00 01 77 00 05 6d");
  CHECK(hears("40 02 00 05"));
  says("34 06 00 01 77 00 06 6d");
  CHECK(hears("50 02 00 06"));
  says("62 02 00 06");
  CHECK(hears("70 02 00 06"));
  CHECK(strcmp(seen, "w=m/0 w=m/1 w=m/2 ") == 0);
  CHECK(logged("3:MQTT_CMD(1) 3:READ 3:WRITE"));
  CHECK(logged("3:MQTT_MSG(w) 3:MQTT_CMD(3) "));
  says("e0 00");
  CHECK(world_until("3:CLOSE"));
  CHECK(logged("3:MQTT_CMD(14)") && strstr(world.log, "ERROR") == NULL);
  world_end();
}

static void test_a_message_of_qos_2_is_delivered_once_however_often_it_comes(void) {
  serve4(NULL);
  says("34 06 00 01 77 00 06 6d  3c 06 00 01 77 00 06 6d  3c 06 00 01 77 00 06 6d");
  CHECK(hears("50 02 00 06  50 02 00 06  50 02 00 06"));
  CHECK(strcmp(seen, "w=m/2 ") == 0);
  says("62 02 00 06 62 02 00 06");
  CHECK(hears("70 02 00 06 70 02 00 06")); /* 3.1.1 has no code for a second one */
  says("34 06 00 01 77 00 06 6e"); /* the identifier is free again */
  CHECK(hears("50 02 00 06"));
  CHECK(strcmp(seen, "w=m/2 w=n/2 ") == 0);
  world_end();
}

static void test_version_5_has_properties_and_reason_codes(void) {
  serve5(NULL);
  says("32 0b 00 01 77 00 05 04 03 00 01 78 6d");
  CHECK(hears("40 02 00 05"));
  says("62 02 00 09");
  CHECK(hears("70 03 00 09 92")); /* no such identifier */
  says("50 02 00 09");
  CHECK(hears("62 03 00 09 92"));
  says("50 03 00 09 80"); /* refused: that ends it */
  says("82 07 00 01 00 00 01 77 01 a2 06 00 02 00 00 01 77");
  CHECK(hears("90 04 00 01 00 01 b0 04 00 02 00 00"));
  says("e0 01 04"); /* with the will */
  CHECK(world_until("3:CLOSE"));
  CHECK(strstr(world.log, "ERROR") == NULL);
  world_end();
}

static size_t conversation(char *wire) {
  return hex(CONNECT5 "82 07 00 01 00 00 01 77 01  c0 00  30 05 00 01 77 00 6d"
             "32 07 00 01 77 00 05 00 6d  34 07 00 01 77 00 06 00 6d  62 02 00 06"
             "3d 09 00 01 77 00 07 02 0b 00 6d",
             wire); /* the last is a client's PUBLISH with a malformed property */
}
#define CONVERSATION                                                                \
  "20 08 00 00 05 27 00 30 00 00 90 04 00 01 00 01 d0 00 40 02 00 05 50 02 00 06 " \
  "70 02 00 06 e0 01 82"

static void converse(size_t cut1, size_t cut2, bool bytewise) {
  char wire[256];
  size_t n = conversation(wire);
  seen[0] = '\0';
  serve(NULL, server);
  for (size_t at = 0; at < n;) {
    size_t end = bytewise ? at + 1 : at < cut1 ? cut1 : at < cut2 ? cut2 : n;
    if (end > n) end = n;
    CHECK(mgx_send(world.mgr, peer, wire + at, end - at, NULL) == 0);
    mg_mgr_poll(world.mgr, 0);
    mg_mgr_poll(world.mgr, 0);
    at = end;
  }
  CHECK(hears(CONVERSATION));
  CHECK(world_until("3:CLOSE"));
  CHECK(strcmp(seen, "w=m/0 w=m/1 w=m/2 ") == 0);
  CHECK(logged("3:ERROR(MQTT: a property out of its range (0x82"));
  world_end();
}

static void test_every_split_gives_the_same_events_and_answers(void) {
  char wire[256];
  size_t n = conversation(wire);
  for (size_t cut = 0; cut < n; cut += 3) converse(cut, cut + 1 + cut % 7, false);
  converse(0, 0, true);
}

static void test_what_breaks_the_protocol_ends_the_connection_with_its_reason(void) {
  static const struct {
    const char *says, *hears, *why;
  } cases[] = {
      {CONNECT5 "20 03 00 00 00", "e0 01 82", "a packet that the other side sends (0x82"},
      {CONNECT5 CONNECT5, "e0 01 82", "a second CONNECT (0x82"},
      {CONNECT5 "f1", "e0 01 81", "wrong flags (0x81"},
      {CONNECT5 "30 ff ff ff 7f", "e0 01 95", "a packet above the mqtt_p"},
      {CONNECT5 "30 07 00 00 03 23 00 01 6d", "e0 01 94", "a topic alias that was"},
      {CONNECT5 "30 04 00 01 2b 00", "e0 01 90", "a topic that is none (0x90"},
      {CONNECT5 "30 06 00 01 77 02 0b 01", "e0 01 82", "a client's PUBLISH with"},
      {CONNECT5 "82 08 00 01 00 00 02 61 23 00", "e0 01 8f", "a topic filter that is"},
      {CONNECT4 "20 02 00 00", "", "a packet that the other side sends (0x82"},
      {CONNECT4 "f0 00", "", "a reserved packet type (0x81"},
      {"c0 00", "", "another packet than CONNECT"},
      {"47 45 54 20 2f", "", "wrong flags (0x81"}, /* GET / */
      {"37 71 00 04 4d 51 54 54 05 00", "", "a PUBLISH with QoS 3 (0x8"}, /* no CONNECT of 5.0 */
      {"10 0b 00 04 4d 51 54 54 05 02 00 00 00", "20 03 00 81 00", "a CONNECT of another leng"},
      {"10 0c 00 04 4d 51 54 54 04 03 00 00 00 00", "", "a CONNECT with its reserv"},
      {"10 0d 00 04 4d 51 54 54 05 03 00 00 00 00 00", "20 03 00 81 00", "a CONNECT with"},
      {"10 0f 00 04 4d 51 54 54 05 02 00 00 02 24 01 00 00", "20 03 00 81 00", "a property that"},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    char text[128];
    seen[0] = '\0';
    serve(NULL, server);
    says(cases[i].says);
    CHECK(world_until("3:CLOSE"));
    snprintf(text, sizeof(text), "3:ERROR(MQTT: %.25s", cases[i].why);
    if (strstr(world.log, text) == NULL) fprintf(stderr, "%s\n%s\n", text, world.log);
    CHECK(strstr(world.log, text) != NULL);
    snprintf(text, sizeof(text), "%s %s",
             strncmp(cases[i].says, CONNECT5, 20) == 0   ? "20 08 00 00 05 27 00 30 00 00"
             : strncmp(cases[i].says, CONNECT4, 40) == 0 ? "20 02 00 00"
                                                         : "",
             cases[i].hears);
    CHECK(hears(text));
    world_end();
  }
}

static void refuses(uint64_t conn, int ev, const char *data, size_t n) {
  (void) data, (void) n;
  if (ev != MG_EV_MQTT_CMD || conn != 3) return;
  CHECK(mgx_mqtt_connack(world.mgr, conn, 5, true, NULL, 0, 0) == MGX_EINVAL);
  CHECK(mgx_mqtt_connack(world.mgr, conn, 6, false, NULL, 0, 0) == MGX_EINVAL);
  CHECK(mgx_mqtt_connack(world.mgr, conn, 5, false, NULL, 0, 0) == 0);
}

static void test_nothing_behind_a_connect_that_is_refused_is_looked_at(void) {
  serve(NULL, refuses);
  says(CONNECT4 "32 06 00 01 77 00 05 6d 82 06 00 01 00 01 77 01");
  CHECK(hears("20 02 00 05"));
  CHECK(world_until("3:CLOSE"));
  CHECK(strstr(world.log, "MQTT_MSG") == NULL && strstr(world.log, "CMD(8)") == NULL);
  CHECK(strstr(world.log, "ERROR") == NULL);
  world_end();
}

static void test_a_connect_of_another_version_is_refused_if_the_handler_does_not(void) {
  serve(NULL, NULL);
  says("10 0e 00 06 4d 51 49 73 64 70 03 02 00 3c 00 00");
  CHECK(hears("20 02 00 01"));
  CHECK(world_until("3:CLOSE") && logged("3:MQTT_CMD(1)"));
  world_end();
  serve(NULL, NULL);
  says("10 0d 00 04 4d 51 54 54 06 02 00 3c 00 00 00");
  CHECK(hears("20 03 00 84 00"));
  CHECK(world_until("3:CLOSE"));
  world_end();
}

static void test_what_needs_our_answer_waits_for_our_connack(void) {
  serve(NULL, NULL);
  says(CONNECT4 "30 04 00 01 77 6d 32 06 00 01 77 00 05 6d 30 04 00 01 78 6d");
  CHECK(world_until("3:MQTT_MSG(w)"));
  turns(5);
  CHECK(strstr(world.log, "MQTT_MSG(x)") == NULL);
  CHECK(pub(3, "w", "m", 0) == MGX_ESTATE && pub(3, "w", "m", 2) == MGX_ESTATE);
  CHECK(world_send(3, "\x20\x02") == 0); /* cut in two it is no packet that can be told */
  CHECK(mgx_mqtt_connack(world.mgr, 3, 0, false, NULL, 0, 99) == MGX_EINVAL);
  CHECK(mgx_mqtt_connack(world.mgr, 3, 0, false, "\x24\1", 2, 0) == MGX_EINVAL);
  CHECK(mgx_send(world.mgr, 3, "\x20\x02\0\0", 4, NULL) == 0);
  CHECK(mgx_mqtt_connack(world.mgr, 3, 0, false, NULL, 0, 0) == MGX_ESTATE);
  CHECK(world_until("3:MQTT_MSG(x)"));
  CHECK(hears("20 02 20 02 00 00 40 02 00 05"));
  CHECK(pub(3, "w", "m", 2) == 1);
  CHECK(hears("32 06 00 01 77 00 01 6d"));
  world_end();
}

static void test_time_outs_name_their_limit(void) {
  struct mgx_limits limits;
  mgx_limits_init(&limits);
  limits.mqtt_connect_timeout_ms = 30;
  serve(&limits, NULL);
  CHECK(world_until("3:ERROR(MQTT: no CONNECT for 30 ms (mqtt_conn"));
  world_end();
  serve(&limits, NULL);
  says("10 0d 00 04");
  CHECK(world_until("3:ERROR(MQTT: no CONNECT for 30 ms (mqtt_conn"));
  world_end();
  serve(&limits, NULL);
  says(CONNECT4 "32 06 00 01 77 00 05 6d");
  CHECK(world_until("3:ERROR(MQTT: no CONNACK for 30 ms (mqtt_conn"));
  world_end();
  limits.body_timeout_ms = 30;
  serve4(&limits);
  says("30 04 00");
  CHECK(world_until("3:ERROR(body_timeout: no more of a packet for "));
  world_end();
}

static void test_a_client_that_keeps_silent_is_given_up_after_one_and_a_half_keep_alives(void) {
  seen[0] = '\0';
  serve(NULL, server);
  says("10 0e 00 04 4d 51 54 54 05 02 00 3c 00 00 01 63"); /* 60 s */
  CHECK(hears("20 08 00 00 05 27 00 30 00 00"));
  clock_ahead += 80000;
  says("c0 00");
  CHECK(hears("d0 00"));
  clock_ahead += 89000;
  turns(3);
  CHECK(strstr(world.log, "3:ERROR") == NULL);
  clock_ahead += 1000;
  CHECK(hears("e0 01 8d") && logged("3:ERROR(MQTT: keep-alive: "));
  world_end();
}

static void test_a_server_without_keep_alive_waits_for_ever(void) {
  seen[0] = '\0';
  serve(NULL, server);
  says("10 0e 00 04 4d 51 54 54 05 02 00 00 00 00 01 63");
  CHECK(hears("20 08 00 00 05 27 00 30 00 00"));
  clock_ahead += 1000000000;
  turns(3);
  CHECK(strstr(world.log, "3:ERROR") == NULL && strstr(world.log, "3:CLOSE") == NULL);
  world_end();
}

static void test_a_server_obeys_what_its_client_announces(void) {
  seen[0] = '\0';
  serve(NULL, server); /* receive maximum 2, packets of at most 20 bytes */
  says("10 16 00 04 4d 51 54 54 05 02 00 3c 08 21 00 02 27 00 00 00 14 00 01 63");
  CHECK(hears("20 08 00 00 05 27 00 30 00 00"));
  CHECK(pub(3, "w", "0123456789abcdef", 0) == MGX_EPEER);
  CHECK(pub(3, "w", "0123456789abcde", 2) == MGX_EPEER);
  CHECK(pub(3, "w", "1", 2) == 1 && pub(3, "w", "2", 4) == 2 && pub(3, "w", "3", 2) == 3);
  CHECK(hears("32 07 00 01 77 00 01 00 31 34 07 00 01 77 00 02 00 32"));
  says("50 02 00 02");
  CHECK(hears("62 02 00 02")); /* still on its way */
  says("70 02 00 02 40 02 00 03 40 02 00 09"); /* acknowledging what was not sent is nothing */
  CHECK(hears("32 07 00 01 77 00 03 00 33"));
  says("40 02 00 01 40 02 00 03 40 02 00 03");
  turns(5);
  struct mgx_mqtt_info info;
  CHECK(mgx_mqtt_conn_info(world.mgr, 3, &info) == 0);
  CHECK(info.version == 5 && info.is_open && info.pending == 0 && info.waiting == 0);
  CHECK(info.receive_maximum == 2 && info.maximum_packet_size == 20 && info.keepalive == 60);
  world_end();
}

static void keep_short(uint64_t conn, int ev, const char *data, size_t n) {
  if (ev == MG_EV_MQTT_CMD && world.packet->cmd == MQTT_CMD_CONNECT)
    CHECK(mgx_mqtt_connack(world.mgr, conn, 0, false,
                           "\x21\0\1\x22\0\2\x27\0\0\0\x14\x13\0\x0a", 14, 0) == 0);
  else
    server(conn, ev, data, n);
}

static void test_what_a_server_announces_is_held_against_its_client(void) {
  static const char *const connack = "20 11 00 00 0e 21 00 01 22 00 02 27 00 00 00 14 13 00 0a";
  struct mgx_mqtt_info info;
  char text[256];
  seen[0] = '\0';
  serve(NULL, keep_short);
  says(CONNECT5 "30 08 00 01 61 03 23 00 01 6d 30 08 00 01 62 03 23 00 02 6e"
       "30 07 00 00 03 23 00 01 6f 30 08 00 01 63 03 23 00 01 70 30 07 00 00 03 23 00 01 71");
  CHECK(hears(connack));
  CHECK(strcmp(seen, "a=m/0 b=n/0 a=o/0 c=p/0 c=q/0 ") == 0);
  CHECK(mgx_mqtt_conn_info(world.mgr, 3, &info) == 0 && info.keepalive == 10);
  says("34 07 00 01 77 00 01 00 6d 34 07 00 01 77 00 02 00 6d"); /* two where one may be */
  CHECK(hears("50 02 00 01 e0 01 93"));
  world_end();
  seen[0] = '\0';
  serve(NULL, keep_short);
  says(CONNECT5 "30 13"); /* 21 bytes */
  snprintf(text, sizeof(text), "%s e0 01 95", connack);
  CHECK(hears(text));
  world_end();
}

static void test_calls_refuse_what_would_break_the_protocol(void) {
  struct mgx_open opts = {.mqtt = true};
  struct mgx_error err;
  static char large[65536];
  memset(large, 'a', sizeof(large));
  serve4(NULL);
  CHECK(mgx_listen(world.mgr, "udp://127.0.0.1:0", 17, &opts, &err) == MGX_EADDR);
  CHECK(pub(1, "w", "m", 0) == MGX_EKIND && pub(2, "w", "m", 0) == MGX_EKIND);
  CHECK(pub(99, "w", "m", 0) == MGX_ECLOSED);
  CHECK(pub(3, "", "m", 0) == MGX_EINVAL && pub(3, "a/#", "m", 0) == MGX_EINVAL);
  CHECK(pub(3, "w", "m", 6) == MGX_EINVAL && pub(3, "w", "m", 8) == MGX_EINVAL);
  CHECK(mgx_mqtt_pub(world.mgr, 3, large, 65536, "", 0, 0, NULL, 0) == MGX_EINVAL);
  CHECK(mgx_mqtt_pub(world.mgr, 3, "a", 1, large, 268435456, 0, NULL, 0) == MGX_EINVAL);
  CHECK(mgx_mqtt_pub(world.mgr, 3, "a", 1, "", 0, 0, "\1\1", 2) == MGX_EINVAL); /* 3.1.1 */
  CHECK(mgx_mqtt_sub(world.mgr, 3, "\0\1w\0", 4, NULL, 0) == MGX_EKIND);
  CHECK(mgx_mqtt_unsub(world.mgr, 3, "\0\1w", 3, NULL, 0) == MGX_EKIND);
  CHECK(mgx_mqtt_ping(world.mgr, 3) == MGX_EKIND && mgx_mqtt_ping(world.mgr, 1) == MGX_EKIND);
  CHECK(mgx_mqtt_pong(world.mgr, 2) == MGX_EKIND);
  CHECK(mgx_mqtt_auth(world.mgr, 3, 0, NULL, 0) == MGX_EKIND);
  CHECK(mgx_mqtt_suback(world.mgr, 3, MQTT_CMD_SUBACK, 0, "\0", 1, NULL, 0) == MGX_EINVAL);
  CHECK(mgx_mqtt_suback(world.mgr, 3, MQTT_CMD_SUBACK, 1, "\0", 0, NULL, 0) == MGX_EINVAL);
  CHECK(mgx_mqtt_suback(world.mgr, 3, MQTT_CMD_PUBACK, 1, "\0", 1, NULL, 0) == MGX_EINVAL);
  CHECK(mgx_mqtt_suback(world.mgr, 3, MQTT_CMD_SUBACK, 1, "\1\3", 2, NULL, 0) == MGX_EINVAL);
  CHECK(mgx_mqtt_suback(world.mgr, 3, MQTT_CMD_SUBACK, 1, "\x87", 1, NULL, 0) == MGX_EINVAL);
  CHECK(mgx_mqtt_disconnect(world.mgr, 3, 256, NULL, 0) == MGX_EINVAL);
  CHECK(mgx_mqtt_disconnect(world.mgr, 1, 0, NULL, 0) == MGX_EKIND);
  CHECK(mgx_mqtt_disconnect(world.mgr, 3, 0, NULL, 0) == 0); /* 3.1.1: it just closes */
  CHECK(pub(3, "w", "m", 0) == MGX_ECLOSED && mgx_mqtt_pong(world.mgr, 3) == MGX_ECLOSED);
  CHECK(world_until("3:CLOSE") && hears(""));
  world_end();
  serve5(NULL);
  CHECK(mgx_mqtt_pub(world.mgr, 3, "a", 1, "", 0, 0, "\x23\0\1", 3) == MGX_EINVAL);
  CHECK(mgx_mqtt_pub(world.mgr, 3, "a", 1, "", 0, 0, "\1\2", 2) == MGX_EINVAL);
  CHECK(mgx_mqtt_pub(world.mgr, 3, "a", 1, "", 0, 0, "\x0b\5\x0b\6", 4) == 0);
  CHECK(hears("30 08 00 01 61 04 0b 05 0b 06"));
  CHECK(mgx_mqtt_auth(world.mgr, 3, 0x18, "\x15\0\1x", 4) == 0);
  CHECK(mgx_mqtt_disconnect(world.mgr, 3, 0x8b, "\x1f\0\1x", 4) == 0);
  CHECK(hears("f0 06 18 04 15 00 01 78 e0 06 8b 04 1f 00 01 78"));
  world_end();
}

static void test_a_message_for_many_reaches_those_who_can_take_it(void) {
  uint64_t ids[] = {3, 1, 99, 5, 3};
  int result[5];
  serve4(NULL);
  another_peer();
  says(CONNECT5);
  CHECK(hears("20 08 00 00 05 27 00 30 00 00"));
  CHECK(mgx_mqtt_pub_many(world.mgr, ids, 5, "w", 1, "m", 1, 3, "\1\1", 2, result) == 3);
  CHECK(result[0] == 1 && result[1] == MGX_EKIND && result[2] == MGX_ECLOSED);
  CHECK(result[3] == 1 && result[4] == 2);
  CHECK(hears("33 09 00 01 77 00 01 02 01 01 6d"));
  peer = 2;
  CHECK(mgx_mqtt_pub_many(world.mgr, ids, 5, "+", 1, "m", 1, 3, NULL, 0, NULL) == MGX_EINVAL);
  world_end();
}

/* ---- clients ------------------------------------------------------------------------------- */

static void test_a_client_says_connect_first_and_opens_with_connack(void) {
  struct mgx_mqtt_connect connect = plain_connect;
  call(NULL, &connect, NULL);
  CHECK(hears(CONNECT4));
  CHECK(pub(2, "w", "m", 0) == 0 && pub(2, "w", "m", 3) == 1); /* at once */
  CHECK(mgx_mqtt_sub(world.mgr, 2, "\0\1w\1", 4, NULL, 0) == 2);
  CHECK(hears("30 04 00 01 77 6d 33 06 00 01 77 00 01 6d 82 06 00 02 00 01 77 01"));
  says("20 02 00 00 90 03 00 02 01 40 02 00 01");
  CHECK(world_until("2:MQTT_CMD(9)"));
  CHECK(world_until("2:MQTT_CMD(4)"));
  CHECK(logged("2:OPEN 2:RESOLVE(127.0.0.1) "));
  CHECK(logged("2:MQTT_OPEN(0) 2:MQTT_CMD(2) 2:MQTT_CMD(9)"));
  CHECK(mgx_mqtt_unsub(world.mgr, 2, "\0\1w", 3, NULL, 0) == 3 && mgx_mqtt_ping(world.mgr, 2) == 0);
  CHECK(hears("a2 05 00 03 00 01 77 c0 00"));
  says("30 04 00 01 61 62 32 06 00 01 61 00 09 62");
  CHECK(world_until("2:MQTT_MSG(a) 2:MQTT_CMD(3) 2:MQTT_MSG(a) 2:MQTT_CMD(3) 2:READ"));
  CHECK(hears("40 02 00 09"));
  CHECK(mgx_mqtt_disconnect(world.mgr, 2, 0, NULL, 0) == 0);
  CHECK(hears("e0 00"));
  CHECK(world_until("2:CLOSE"));
  CHECK(strstr(world.log, "ERROR") == NULL);
  world_end();
}

static void test_a_client_of_version_5_sends_nothing_that_connack_may_rule_out(void) {
  struct mgx_mqtt_connect connect = plain_connect;
  connect.version = 5;
  call(NULL, &connect, NULL);
  CHECK(hears(CONNECT5));
  CHECK(pub(2, "a", "1", 0) == 0 && pub(2, "a", "2", 2) == 1 && pub(2, "a", "3", 4) == 2);
  CHECK(pub(2, "a", "4", 1) == 0 && pub(2, "a", "5", 3) == 3);
  CHECK(pub(2, "a", "longer than the server takes", 0) == 0);
  CHECK(pub(2, "a", "longer than the server takes", 2) == 4);
  CHECK(mgx_mqtt_sub(world.mgr, 2, "\0\1w\1", 4, NULL, 0) == 5);
  CHECK(hears(""));
  says("20 0f 00 00 0c 25 00 24 01 27 00 00 00 14 21 00 05"); /* no RETAIN, QoS 1, 20 bytes */
  CHECK(hears("30 05 00 01 61 00 31  82 07 00 05 00 00 01 77 01  32 07 00 01 61 00 01 00 32"));
  CHECK(pub(2, "a", "x", 1) == MGX_EPEER && pub(2, "a", "x", 4) == MGX_EPEER);
  world_end();
}

static void test_a_refused_connect_opens_with_its_code_and_closes(void) {
  struct mgx_mqtt_connect connect = plain_connect;
  call(NULL, &connect, NULL);
  says("20 02 00 05");
  CHECK(world_until("2:CLOSE"));
  CHECK(logged("2:MQTT_OPEN(5) 2:MQTT_CMD(2) 2:READ 2:"));
  CHECK(strstr(world.log, "ERROR") == NULL);
  world_end();
}

static void test_a_server_that_breaks_the_protocol_is_left(void) {
  static const struct {
    const char *says, *hears, *why;
    int version;
  } cases[] = {
      {"30 05 00 01 77 00 6d", "e0 01 82", "MQTT: another packet than CONNACK", 5},
      {"20 03 00 00 00 20 03 00 00 00", "e0 01 82", "MQTT: a second CONNACK (0x82", 5},
      {"20 03 00 00 00 c0 00", "e0 01 82", "MQTT: a packet that the other side", 5},
      {"20 03 00 00 00 82 07 00 01 00 00 01 77 01", "e0 01 82", "MQTT: a packet that the", 5},
      {"20 03 01 00 00", "e0 01 82", "MQTT: a session that was to be new", 5},
      {"20 03 00 00 00 e0 01 8b", "", "MQTT: the server ended the connection", 5},
      {"20 03 00 00 00 30 07 00 00 03 23 00 01 6d", "e0 01 94", "MQTT: a topic alias", 5},
      {"20 02 00 00 e0 00", "", "MQTT: a packet that the other side", 4},
      {"20 02 02 00", "", "MQTT: a CONNACK with reserved flags", 4},
      {"48 54 54 50", "", "MQTT: wrong flags", 4},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    struct mgx_mqtt_connect connect = plain_connect;
    char text[128];
    connect.version = (uint8_t) cases[i].version;
    call(NULL, &connect, NULL);
    CHECK(hears(cases[i].version == 5 ? CONNECT5 : CONNECT4));
    says(cases[i].says);
    CHECK(hears(cases[i].hears));
    CHECK(world_until("2:CLOSE"));
    snprintf(text, sizeof(text), "2:ERROR(%.37s", cases[i].why);
    if (strstr(world.log, text) == NULL) fprintf(stderr, "%s\n%s\n", text, world.log);
    CHECK(strstr(world.log, text) != NULL);
    world_end();
  }
}

static void test_a_server_that_does_not_answer_is_given_up(void) {
  struct mgx_mqtt_connect connect = plain_connect;
  struct mgx_limits limits;
  mgx_limits_init(&limits);
  limits.mqtt_connect_timeout_ms = 30;
  call(&limits, &connect, NULL);
  CHECK(world_until("2:ERROR(MQTT: no CONNACK for 30 ms (mqtt_conn"));
  world_end();
  call(NULL, &connect, NULL);
  CHECK(hears(CONNECT4));
  mgx_close(world.mgr, peer);
  CHECK(world_until("2:ERROR(MQTT: the connection ended before CONNA"));
  CHECK(world_until("2:CLOSE"));
  world_end();
}

static void test_a_client_pings_before_its_keep_alive_is_over_and_notices_a_dead_peer(void) {
  call(NULL, &plain_connect, NULL); /* 60 s */
  CHECK(hears(CONNECT4));
  says("20 02 00 00");
  CHECK(world_until("2:MQTT_OPEN"));
  clock_ahead += 44000;
  CHECK(hears(""));
  clock_ahead += 1000;
  CHECK(hears("c0 00"));
  says("d0 00");
  CHECK(world_until("2:MQTT_CMD(13)"));
  clock_ahead += 44000;
  CHECK(hears(""));
  clock_ahead += 1000;
  CHECK(hears("c0 00"));
  clock_ahead += 44000;
  turns(3);
  CHECK(strstr(world.log, "2:ERROR") == NULL);
  clock_ahead += 1000;
  CHECK(world_until("2:ERROR(MQTT: no answer to a PINGREQ for 45000 m"));
  world_end();
}

static void test_the_topics_of_all_aliases_together_are_bounded(void) {
  struct mgx_limits limits;
  mgx_limits_init(&limits);
  limits.recv_buffer = 10;
  seen[0] = '\0';
  serve(&limits, keep_short); /* topic alias maximum 2 */
  says(CONNECT5);
  turns(5);
  got_len = 0;
  says("30 0c 00 06 61 61 61 61 61 61 03 23 00 01  30 0c 00 06 62 62 62 62 62 62 03 23 00 01");
  says("30 0a 00 04 63 63 63 63 03 23 00 02");
  CHECK(hears(""));
  says("30 0b 00 05 63 63 63 63 63 03 23 00 02");
  CHECK(hears("e0 01 97") && logged("3:ERROR(MQTT: topic aliases above the recv_buff"));
  world_end();
}

static void test_a_connect_that_would_be_malformed_is_refused(void) {
  static char large[65536];
  struct mgx_mqtt_connect connect = plain_connect;
  const struct mgx_mqtt_connect good = connect;
  memset(large, 'a', sizeof(large));
  mqtt_world(NULL, NULL);
  CHECK(world_listen("tcp://127.0.0.1:0") == 1);
#define REFUSED(change)                 \
  do {                                  \
    connect = good;                     \
    change;                             \
    CHECK(dial(&connect) == MGX_EINVAL); \
  } while (0)
  REFUSED(connect.version = 3);
  REFUSED(connect.version = 6);
  REFUSED(connect.client_id = mg__mqtt_str(large, 65536));
  REFUSED(connect.client_id = mg__mqtt_str("\xff", 1));
  REFUSED((connect.client_id.len = 0, connect.clean = false));
  REFUSED((connect.has_pass = true, connect.pass = mg__mqtt_str("p", 1)));
  REFUSED(connect.will_qos = 1);
  REFUSED(connect.will_retain = true);
  REFUSED(connect.has_will = true);
  REFUSED((connect.has_will = true, connect.will_topic = mg__mqtt_str("#", 1)));
  REFUSED((connect.has_will = true, connect.will_topic = mg__mqtt_str("w", 1), connect.will_qos = 3));
  REFUSED((connect.has_will = true, connect.will_topic = mg__mqtt_str("w", 1),
           connect.will_data = mg__mqtt_str(large, 65536)));
  REFUSED(connect.props = mg__mqtt_str("\x21\0\1", 3));
  REFUSED((connect.version = 5, connect.props = mg__mqtt_str("\x21\0\0", 3)));
  REFUSED((connect.version = 5, connect.props = mg__mqtt_str("\x21\0", 2)));
  connect = good;
  connect.session = 7;
  CHECK(dial(&connect) == MGX_ECLOSED);
  world_end();
}

/* ---- handlers that do anything ----------------------------------------------------------------- */

static int close_at; /* the event in which the connection is closed */

static void closes(uint64_t conn, int ev, const char *data, size_t n) {
  (void) data, (void) n;
  if (conn == peer || ev != close_at) return;
  pub(conn, "x", "from inside", 2);
  mgx_close(world.mgr, conn);
  CHECK(pub(conn, "x", "too late", 2) == MGX_ECLOSED);
}

static void test_a_handler_may_close_the_connection_in_any_event(void) {
  static const int evs[] = {MG_EV_MQTT_OPEN, MG_EV_MQTT_MSG, MG_EV_MQTT_CMD, MG_EV_READ};
  for (size_t i = 0; i < sizeof(evs) / sizeof(evs[0]); i++) {
    struct mgx_mqtt_connect connect = plain_connect;
    close_at = evs[i];
    call(NULL, &connect, closes);
    says("20 02 00 00 34 06 00 01 77 00 05 6d 90 03 00 02 01 30 04 00 01 77 6d");
    CHECK(world_until("2:CLOSE"));
    world_end();
  }
}

static void leaves(uint64_t conn, int ev, const char *data, size_t n) {
  size_t used = strlen(seen);
  if (conn != 2 || world.packet == NULL) return;
  snprintf(seen + used, sizeof(seen) - used, "%s(%.*s) ", event_names[ev], (int) n, data);
  mgx_mgr_break(world.mgr);
}

static void test_a_loop_that_is_left_in_every_event_tells_each_once(void) {
  struct mgx_mqtt_connect connect = plain_connect;
  seen[0] = '\0';
  call(NULL, &connect, leaves);
  says("20 02 00 00 34 06 00 01 77 00 05 6d 30 04 00 01 78 6d 50 02 00 07");
  CHECK(world_until("2:MQTT_CMD(5)"));
  CHECK(strcmp(seen, "MQTT_OPEN(0) MQTT_CMD(2) MQTT_MSG(w) MQTT_CMD(3) MQTT_MSG(x) MQTT_CMD(3) "
                     "MQTT_CMD(5) ") == 0);
  CHECK(hears(CONNECT4 "50 02 00 05 62 02 00 07"));
  world_end();
}

static void test_a_paused_connection_holds_its_packets_back(void) {
  serve4(NULL);
  CHECK(mgx_pause(world.mgr, 3, true) == 0);
  says("30 04 00 01 77 6d");
  turns(10);
  CHECK(strcmp(seen, "") == 0);
  CHECK(mgx_pause(world.mgr, 3, false) == 0);
  CHECK(world_until("3:MQTT_MSG(w)"));
  world_end();
}

static void test_a_peer_that_reads_no_acknowledgements_is_bounded(void) {
  struct mg_connection *c;
  struct mgx_limits limits;
  uint16_t sent = 0;
  mgx_limits_init(&limits);
  limits.send_backlog = 1000;
  serve4(&limits);
  mg__lock(world.mgr);
  c = mg__conn_find(world.mgr, 3);
  c->busy++;
  while (sent < 1000 && mg__mqtt_send_ack(c, MQTT_CMD_PUBACK, 1, 0)) sent++;
  c->busy--;
  mg__unlock(world.mgr);
  CHECK(sent == 250);
  CHECK(logged("3:ERROR(MQTT: an acknowledgement cannot be sent:"));
  CHECK(world_until("3:CLOSE"));
  world_end();
}

/* ---- both ends, shortage ----------------------------------------------------------------------- */

static void both_ends(uint64_t conn, int ev, const char *data, size_t n) {
  (void) data, (void) n;
  if (ev == MG_EV_MQTT_CMD && world.packet->cmd == MQTT_CMD_CONNECT)
    mgx_mqtt_connack(world.mgr, conn, 0, false, "\x22\0\5", 3, 0);
  if (ev == MG_EV_MQTT_OPEN) {
    mgx_mqtt_sub(world.mgr, conn, "\0\1w\2", 4, NULL, 0);
    pub(conn, "w", "hello", 4);
    pub(conn, "w", "hello", 2);
  }
  if (ev == MG_EV_MQTT_MSG && conn == 3)
    mgx_mqtt_pub(world.mgr, conn, "w", 1, "back", 4, 4, "\1\1", 2);
  if (ev == MG_EV_MQTT_CMD && conn == 2 && world.packet->cmd == MQTT_CMD_PUBREL)
    mgx_mqtt_disconnect(world.mgr, conn, 0, NULL, 0);
}

static bool scenario_under_memory_shortage(long nth) {
  struct mgx_mqtt_connect connect = plain_connect;
  struct mgx_open listen = {.mqtt = true}, dial_opts = {.mqtt_connect = &connect};
  struct mgx_error err;
  int64_t session;
  bool hit;
  connect.version = 5;
  mg__fail_at = nth;
  if (world_open(NULL, MGX_POLLER_DEFAULT) != NULL) {
    world.react = both_ends;
    session = mgx_mqtt_session_new(world.mgr);
    if (session > 0) {
      connect.session = (uint64_t) session;
      mgx_mqtt_session_pub(world.mgr, connect.session, "w", 1, "early", 5, 2, NULL, 0);
    }
    if (mgx_listen(world.mgr, "mqtt://127.0.0.1:0", 18, &listen, &err) > 0) {
      const char *url = world_url(1, "mqtt");
      mgx_connect(world.mgr, url, strlen(url), &dial_opts, &err);
      for (int i = 0; i < 20; i++) mg_mgr_poll(world.mgr, 2);
    }
  }
  hit = mg__fail_at < 0;
  mg__fail_at = -1;
  if (!hit) CHECK(logged("2:CLOSE") && logged("3:CLOSE"));
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
  RUN(test_a_server_answers_what_its_handler_says_and_the_rest_by_itself);
  RUN(test_a_message_of_qos_2_is_delivered_once_however_often_it_comes);
  RUN(test_version_5_has_properties_and_reason_codes);
  RUN(test_every_split_gives_the_same_events_and_answers);
  RUN(test_what_breaks_the_protocol_ends_the_connection_with_its_reason);
  RUN(test_nothing_behind_a_connect_that_is_refused_is_looked_at);
  RUN(test_a_connect_of_another_version_is_refused_if_the_handler_does_not);
  RUN(test_what_needs_our_answer_waits_for_our_connack);
  RUN(test_time_outs_name_their_limit);
  RUN(test_a_client_that_keeps_silent_is_given_up_after_one_and_a_half_keep_alives);
  RUN(test_a_server_without_keep_alive_waits_for_ever);
  RUN(test_a_server_obeys_what_its_client_announces);
  RUN(test_what_a_server_announces_is_held_against_its_client);
  RUN(test_calls_refuse_what_would_break_the_protocol);
  RUN(test_a_message_for_many_reaches_those_who_can_take_it);
  RUN(test_a_client_says_connect_first_and_opens_with_connack);
  RUN(test_a_client_of_version_5_sends_nothing_that_connack_may_rule_out);
  RUN(test_a_refused_connect_opens_with_its_code_and_closes);
  RUN(test_a_server_that_breaks_the_protocol_is_left);
  RUN(test_a_server_that_does_not_answer_is_given_up);
  RUN(test_a_client_pings_before_its_keep_alive_is_over_and_notices_a_dead_peer);
  RUN(test_the_topics_of_all_aliases_together_are_bounded);
  RUN(test_a_connect_that_would_be_malformed_is_refused);
  RUN(test_a_handler_may_close_the_connection_in_any_event);
  RUN(test_a_loop_that_is_left_in_every_event_tells_each_once);
  RUN(test_a_paused_connection_holds_its_packets_back);
  RUN(test_a_peer_that_reads_no_acknowledgements_is_bounded);
  RUN(test_any_failing_allocation_is_survived);
  return 0;
}
