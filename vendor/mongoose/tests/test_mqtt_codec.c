/* test_mqtt_codec.c: MQTT packets, properties and topic filters, no connection. */
#include "../mongoose.c"

#include "check.h"

static const char *why;

/* Parse bytes that end at an unreadable page. */
static int64_t parse(const char *wire, size_t len, int version, struct mg_mqtt_packet *packet) {
  why = NULL;
  return mg__mqtt_parse(guarded(wire, len), len, version, 0, packet, &why);
}

static bool is(const char *s, size_t len, const char *text) {
  return len == strlen(text) && memcmp(s, text, len) == 0;
}

static struct mg_str text(const char *s) { return (struct mg_str){(char *) s, strlen(s)}; }

/* "10 1b 00" -> bytes. */
static size_t hex(const char *digits, char *to) {
  size_t n = 0;
  unsigned byte;
  int used;
  for (; sscanf(digits, " %2x%n", &byte, &used) == 1; digits += used) to[n++] = (char) byte;
  return n;
}

/* ---- packets that are good -------------------------------------------------------- */

static const struct {
  const char *digits;
  int version; /* 0: a server waits for CONNECT */
  int cmd;
} legal[] = {
    {"10 1b 00 04 4d 51 54 54 04 ee 00 3c 00 03 63 69 64 00 01 77 00 01 6d 00 01 75 00 01 70", 0, 1},
    {"10 0c 00 04 4d 51 54 54 04 02 00 00 00 00", 0, 1},
    {"10 0d 00 04 4d 51 54 54 05 02 00 00 00 00 00", 0, 1},
    {"10 15 00 04 4d 51 54 54 05 06 00 0a 00 00 00 00 00 01 77 00 02 68 69", 0, 1},
    {"10 10 00 04 4d 51 54 54 05 02 00 00 03 21 00 05 00 00", 0, 1},
    {"10 10 00 04 4d 51 54 54 05 42 00 00 00 00 00 00 01 70", 0, 1}, /* v5: password alone */
    {"20 02 00 00", 4, 2},
    {"20 02 01 00", 4, 2},
    {"20 02 00 05", 4, 2},
    {"20 03 00 00 00", 5, 2},
    {"20 0a 01 00 07 24 01 22 00 0a 25 00", 5, 2},
    {"30 04 00 01 77 6d", 4, 3},
    {"30 03 00 01 77", 4, 3},
    {"33 06 00 01 77 00 02 6d", 4, 3},
    {"3b 06 00 01 77 00 02 6d", 4, 3},
    {"35 06 00 01 77 ff ff 6d", 4, 3},
    {"30 85 00 00 01 77 6d 6d", 4, 3}, /* 3.1.1: a length in more bytes than needed */
    {"30 05 00 01 77 00 6d", 5, 3},
    {"30 07 00 00 03 23 00 01 6d", 5, 3}, /* a topic alias alone */
    {"40 02 00 01", 4, 4},
    {"40 02 00 01", 5, 4},
    {"40 03 00 01 10", 5, 4},
    {"40 04 00 01 00 00", 5, 4},
    {"50 02 00 01", 4, 5},
    {"62 02 00 01", 4, 6},
    {"62 03 00 01 92", 5, 6},
    {"70 02 00 01", 4, 7},
    {"82 06 00 01 00 01 77 01", 4, 8},
    {"82 0a 00 01 00 01 77 01 00 01 23 00", 4, 8},
    {"82 07 00 01 00 00 01 77 2d", 5, 8},
    {"90 03 00 01 80", 4, 9},
    {"90 05 00 01 00 00 02", 5, 9},
    {"a2 05 00 01 00 01 77", 4, 10},
    {"a2 06 00 01 00 00 01 77", 5, 10},
    {"b0 02 00 01", 4, 11},
    {"b0 04 00 01 00 11", 5, 11},
    {"c0 00", 4, 12},
    {"d0 00", 5, 13},
    {"e0 00", 4, 14},
    {"e0 00", 5, 14},
    {"e0 01 8e", 5, 14},
    {"e0 02 04 00", 5, 14},
    {"f0 00", 5, 15},
    {"f0 07 18 05 15 00 02 6f 6b", 5, 15},
};

static void test_a_packet_is_found_whole_and_every_proper_prefix_asks_for_more(void) {
  for (size_t i = 0; i < sizeof(legal) / sizeof(legal[0]); i++) {
    struct mg_mqtt_packet packet;
    char wire[64];
    size_t n = hex(legal[i].digits, wire);
    for (size_t part = 0; part < n; part++) CHECK(parse(wire, part, legal[i].version, &packet) == 0);
    CHECK(parse(wire, n, legal[i].version, &packet) == (int64_t) n);
    CHECK(packet.event.cmd == legal[i].cmd && packet.event.packet_len == n);
    memcpy(wire + n, "\xff\xff\xff", 3); /* what follows does not matter */
    CHECK(parse(wire, n + 3, legal[i].version, &packet) == (int64_t) n);
    if (n > 2) CHECK(mg__mqtt_length(wire, n < 5 ? n : 5, legal[i].version, &why) == (int64_t) n);
  }
}

static void test_a_byte_more_or_less_in_a_packet_is_malformed(void) {
  for (size_t i = 0; i < sizeof(legal) / sizeof(legal[0]); i++) {
    struct mg_mqtt_packet packet;
    char wire[64];
    size_t n = hex(legal[i].digits, wire);
    int cmd = legal[i].cmd;
    int64_t result;
    if (cmd == MQTT_CMD_PUBLISH || (wire[1] & 0x80)) continue;
    wire[1]++;
    wire[n] = 0;
    result = parse(wire, n + 1, legal[i].version, &packet);
    /* a code more, a reason where none was, or a length of properties: */
    if (cmd == MQTT_CMD_SUBACK || (cmd == MQTT_CMD_UNSUBACK && legal[i].version == 5) ||
        (legal[i].version == 5 && ((cmd >= MQTT_CMD_PUBACK && cmd <= MQTT_CMD_PUBCOMP) ||
                                  cmd >= MQTT_CMD_DISCONNECT)))
      continue;
    CHECK(result < 0);
    CHECK(why != NULL);
  }
}

/* ---- packets that are not ------------------------------------------------------------- */

static const struct {
  const char *digits;
  int version, reason;
} not_legal[] = {
    /* the fixed header */
    {"00", 4, 0x81},
    {"f0", 4, 0x81},
    {"11", 0, 0x81},
    {"21", 4, 0x81},
    {"36", 4, 0x81},
    {"3e", 4, 0x81},
    {"38", 4, 0x81},
    {"41", 4, 0x81},
    {"60", 4, 0x81},
    {"61", 5, 0x81},
    {"63", 5, 0x81},
    {"80", 4, 0x81},
    {"83", 4, 0x81},
    {"a0", 4, 0x81},
    {"c1", 4, 0x81},
    {"e1", 4, 0x81},
    {"30 ff ff ff ff", 4, 0x81},
    {"30 80 80 80 80", 5, 0x81},
    {"c0 80 00", 5, 0x81},
    {"30 85 80 00", 5, 0x81},
    /* first packet */
    {"c0 00", 0, 0x82},
    {"30 03 00 01 77", 0, 0x82},
    /* CONNECT */
    {"10 00", 0, 0x84},
    {"10 0c 00 04 4d 51 54 55 04 02 00 00 00 00", 0, 0x84},
    {"10 0e 00 06 4d 51 49 73 64 70 04 02 00 00 00 00", 0, 0x84},
    {"10 0c 00 04 4d 51 54 54 04 03 00 00 00 00", 0, 0x81}, /* reserved flag */
    {"10 0c 00 04 4d 51 54 54 04 0a 00 00 00 00", 0, 0x81}, /* QoS of no will */
    {"10 0c 00 04 4d 51 54 54 04 22 00 00 00 00", 0, 0x81}, /* retain of no will */
    {"10 12 00 04 4d 51 54 54 04 1e 00 00 00 00 00 01 77 00 01 6d", 0, 0x81}, /* will QoS 3 */
    {"10 12 00 04 4d 51 54 54 04 06 00 00 00 00 00 01 23 00 01 6d", 0, 0x90}, /* to # */
    {"10 0f 00 04 4d 51 54 54 04 42 00 00 00 00 00 01 70", 0, 0x81}, /* password, no user */
    {"10 0d 00 04 4d 51 54 54 04 02 00 00 00 01 00", 0, 0x81},       /* NUL in the client id */
    {"10 0d 00 04 4d 51 54 54 04 02 00 00 00 00 00", 0, 0x81},       /* a byte too many */
    {"10 0b 00 04 4d 51 54 54 04 02 00 00 00", 0, 0x81},             /* a byte too few */
    {"10 0c 00 04 4d 51 54 54 04 02 00 00 00 05", 0, 0x81},
    {"10 13 00 04 4d 51 54 54 05 02 00 00 06 21 00 05 21 00 05 00 00", 0, 0x82}, /* twice */
    {"10 10 00 04 4d 51 54 54 05 02 00 00 03 21 00 00 00 00", 0, 0x82}, /* receive maximum 0 */
    {"10 0f 00 04 4d 51 54 54 05 02 00 00 02 24 01 00 00", 0, 0x81},    /* not for CONNECT */
    {"10 11 00 04 4d 51 54 54 05 02 00 00 04 16 00 01 78 00 00", 0, 0x82}, /* data, no method */
    {"10 12 00 04 4d 51 54 54 05 02 00 00 05 27 00 00 00 00 00 00", 0, 0x82},
    /* CONNACK */
    {"20 02 02 00", 4, 0x81},
    {"20 01 00", 4, 0x81},
    {"20 03 00 00 00", 4, 0x81},
    {"20 02 00 00", 5, 0x81},
    {"20 05 00 00 02 24 02", 5, 0x82},
    /* PUBLISH */
    {"30 00", 4, 0x81},
    {"30 02 00 01", 4, 0x81},
    {"30 02 00 00", 4, 0x90},
    {"30 03 00 00 00", 5, 0x90},
    {"30 03 00 01 2b", 4, 0x90},
    {"30 04 00 02 61 23", 4, 0x90},
    {"30 03 00 01 00", 4, 0x81},
    {"30 03 00 01 ff", 4, 0x81},
    {"30 05 00 03 ed a0 80", 4, 0x81},
    {"32 03 00 01 77", 4, 0x81},
    {"32 05 00 01 77 00 00", 4, 0x81},
    {"30 07 00 00 03 23 00 00 6d", 5, 0x94},
    {"30 04 00 01 77 01", 5, 0x81},
    {"30 06 00 01 77 02 01 02", 5, 0x82},          /* a flag that is 2 */
    {"30 05 00 01 77 01 7f", 5, 0x81},             /* no such property */
    {"30 06 00 01 77 80 00 6d", 5, 0x81},          /* a length in more bytes than needed */
    {"30 06 00 01 77 02 0b 00", 5, 0x82},          /* subscription identifier 0 */
    {"30 07 00 01 77 03 0b 81 00", 5, 0x81},       /* ... in more bytes than needed */
    {"30 08 00 01 77 04 08 00 01 2b", 5, 0x82},    /* a response topic with a wildcard */
    {"30 08 00 01 77 04 03 00 01 00", 5, 0x81},    /* NUL */
    {"30 07 00 01 77 03 03 00 01", 5, 0x81},       /* a text beyond the properties */
    {"30 0b 00 01 77 06 26 00 01 61 00 05 62", 5, 0x81},
    /* acknowledgements */
    {"40 02 00 00", 4, 0x81},
    {"40 01 00", 4, 0x81},
    {"40 03 00 01 00", 4, 0x81},
    {"40 05 00 01 00 00 00", 5, 0x81},
    {"62 02 00 00", 5, 0x81},
    {"90 02 00 01", 4, 0x82},
    {"90 02 00 01", 5, 0x81},
    {"b0 03 00 01 00", 4, 0x81},
    {"b0 03 00 01 00", 5, 0x82},
    /* SUBSCRIBE and UNSUBSCRIBE */
    {"82 02 00 01", 4, 0x82},
    {"82 06 00 00 00 01 77 01", 4, 0x81},
    {"82 06 00 01 00 01 77 03", 4, 0x81},
    {"82 06 00 01 00 01 77 04", 4, 0x81},
    {"82 05 00 01 00 01 77", 4, 0x81},
    {"82 05 00 01 00 00 01", 4, 0x8f},
    {"82 07 00 01 00 02 61 23 00", 4, 0x8f},
    {"82 07 00 01 00 00 01 77 40", 5, 0x81},
    {"82 07 00 01 00 00 01 77 30", 5, 0x81},
    {"82 11 00 01 00 00 0b 24 73 68 61 72 65 2f 67 2f 74 74 04", 5, 0x82}, /* No Local */
    {"82 0b 00 01 04 0b 01 0b 01 00 01 77 00", 5, 0x82}, /* two subscription identifiers */
    {"a2 02 00 01", 4, 0x82},
    {"a2 06 00 01 00 01 77 00", 4, 0x81},
    /* the end */
    {"c0 01 00", 4, 0x81},
    {"e0 01 00", 4, 0x81},
    {"e0 03 00 01 00", 5, 0x81},
};

static void test_a_packet_that_is_not_legal_is_refused_with_its_reason(void) {
  for (size_t i = 0; i < sizeof(not_legal) / sizeof(not_legal[0]); i++) {
    struct mg_mqtt_packet packet;
    char wire[64];
    size_t n = hex(not_legal[i].digits, wire);
    int64_t result = parse(wire, n, not_legal[i].version, &packet);
    if (result != -not_legal[i].reason) fprintf(stderr, "%s: %d\n", not_legal[i].digits, (int) result);
    CHECK(result == -not_legal[i].reason && why != NULL);
    for (size_t part = 0; part < n; part++) {
      result = parse(wire, part, not_legal[i].version, &packet);
      CHECK(result == 0 || result == -not_legal[i].reason);
    }
  }
}

static void test_a_packet_above_the_limit_is_refused_by_its_header(void) {
  struct mg_mqtt_packet packet;
  const char *reason = NULL;
  CHECK(mg__mqtt_parse("\x30\x80\x01", 3, 4, 130, &packet, &reason) == -MG_MQTT_TOO_LARGE);
  CHECK(reason != NULL);
  CHECK(mg__mqtt_parse("\x30\x80\x01", 3, 4, 131, &packet, &reason) == 0);
  CHECK(mg__mqtt_parse("\x30\x80\x01", 3, 4, 0, &packet, &reason) == 0);
}

static void test_a_connect_of_another_version_is_looked_at_no_further(void) {
  struct mg_mqtt_packet packet;
  struct mgx_mqtt_connect f;
  char wire[64];
  size_t n = hex("10 0e 00 06 4d 51 49 73 64 70 03 02 00 00 00 00", wire);
  CHECK(parse(wire, n, 0, &packet) == (int64_t) n && packet.event.version == 3);
  CHECK(mgx_mqtt_connect_fields(wire, n, &f) == MGX_EINVAL);
  n = hex("10 09 00 04 4d 51 54 54 06 ff ff", wire);
  CHECK(parse(wire, n, 0, &packet) == (int64_t) n && packet.event.version == 6);
  n = hex("10 0c 00 04 4d 51 54 54 84 02 00 00 00 00", wire); /* a bridge */
  CHECK(parse(wire, n, 0, &packet) == (int64_t) n && packet.event.version == 0x84);
}

/* ---- what is in them --------------------------------------------------------------------- */

static void test_a_publish_gives_its_parts(void) {
  struct mg_mqtt_packet packet;
  const struct mgx_mqtt_event *e = &packet.event;
  struct mg_mqtt_prop prop;
  char wire[64];
  size_t n = hex("3d 1a 00 03 61 2f 62 12 34 10 03 00 01 63 26 00 01 6b 00 01 76 0b ff 7f 01 01 68 69",
                 wire), ofs;
  CHECK(parse(wire, n, 5, &packet) == (int64_t) n);
  CHECK(is(e->topic, e->topic_len, "a/b") && is(e->data, e->data_len, "hi"));
  CHECK(e->id == 0x1234 && e->first == 0x3d && e->version == 5 && packet.alias == 0);
  ofs = mg_mqtt_next_prop(e->props, e->props_len, 0, &prop);
  CHECK(prop.id == 3 && prop.type == MQTT_PROP_TYPE_STRING && is(prop.val.buf, prop.val.len, "c"));
  ofs = mg_mqtt_next_prop(e->props, e->props_len, ofs, &prop);
  CHECK(prop.id == 0x26 && is(prop.key.buf, prop.key.len, "k") && is(prop.val.buf, prop.val.len, "v"));
  ofs = mg_mqtt_next_prop(e->props, e->props_len, ofs, &prop);
  CHECK(prop.id == 0x0b && prop.iv == 16383);
  ofs = mg_mqtt_next_prop(e->props, e->props_len, ofs, &prop);
  CHECK(prop.id == 1 && prop.iv == 1 && ofs == e->props_len);
  CHECK(mg_mqtt_next_prop(e->props, e->props_len, ofs, &prop) == 0);
  CHECK(mg_mqtt_next_prop(NULL, 0, 0, &prop) == 0);
}

static void test_a_connect_gives_its_fields(void) {
  struct mgx_mqtt_connect f;
  char wire[64];
  size_t n = hex(legal[0].digits, wire);
  CHECK(mgx_mqtt_connect_fields(guarded(wire, n), n, &f) == 0);
  CHECK(f.version == 4 && f.keepalive == 60 && f.clean);
  CHECK(is(f.client_id.buf, f.client_id.len, "cid") && f.has_will && f.will_qos == 1);
  CHECK(f.will_retain && is(f.will_topic.buf, f.will_topic.len, "w"));
  CHECK(is(f.will_data.buf, f.will_data.len, "m") && f.has_user && f.has_pass);
  CHECK(is(f.user.buf, f.user.len, "u") && is(f.pass.buf, f.pass.len, "p"));
  for (size_t part = 0; part < n; part++)
    CHECK(mgx_mqtt_connect_fields(guarded(wire, part), part, &f) == MGX_EINVAL);
}

static void test_the_filters_of_a_subscribe_are_iterated(void) {
  struct mg_mqtt_packet packet;
  struct mg_str filter;
  uint8_t options;
  char wire[64];
  size_t n = hex("82 0c 00 07 00 01 61 01 00 03 62 2f 23 02", wire), ofs;
  CHECK(parse(wire, n, 4, &packet) == (int64_t) n && packet.event.id == 7);
  ofs = mg_mqtt_next_filter(packet.event.data, packet.event.data_len, 0, &filter, &options);
  CHECK(ofs == 4 && is(filter.buf, filter.len, "a") && options == 1);
  ofs = mg_mqtt_next_filter(packet.event.data, packet.event.data_len, ofs, &filter, &options);
  CHECK(ofs == 10 && is(filter.buf, filter.len, "b/#") && options == 2);
  CHECK(mg_mqtt_next_filter(packet.event.data, packet.event.data_len, ofs, &filter, &options) == 0);
  CHECK(mg_mqtt_next_filter("\0\5ab", 4, 0, &filter, NULL) == 0);
}

static void test_a_subscribe_with_a_thousand_filters_is_taken(void) {
  static char wire[8192];
  struct mg_mqtt_packet packet;
  size_t n = 5, count = 0, ofs = 0;
  struct mg_str filter;
  uint8_t options;
  memcpy(wire, "\x82\x8a\x27\0\1", 5); /* 2 + 1000 * 5 = 5002 */
  for (int i = 0; i < 1000; i++, n += 5) memcpy(wire + n, "\0\2ab\1", 5);
  CHECK(parse(wire, n, 4, &packet) == (int64_t) n);
  while ((ofs = mg_mqtt_next_filter(packet.event.data, packet.event.data_len, ofs, &filter,
                                    &options)) > 0)
    count++;
  CHECK(count == 1000);
}

/* ---- writing -------------------------------------------------------------------------------- */

static void expect(const char *wire, size_t n, const char *digits) {
  char want[64];
  CHECK(n == hex(digits, want));
  CHECK(memcmp(wire, want, n) == 0);
}

static void test_packets_are_written_as_the_standard_has_them(void) {
  char wire[64];
  struct mgx_mqtt_connect f = {.client_id = text("cid"), .user = text("u"), .pass = text("p"),
                               .will_topic = text("w"), .will_data = text("m"), .has_user = true,
                               .has_pass = true, .has_will = true, .will_retain = true,
                               .clean = true, .will_qos = 1, .version = 4, .keepalive = 60};
  struct mg_mqtt_publish p = {.topic = text("w"), .data = text("m"), .id = 2, .flags = 3};
  struct mg_mqtt_form sub = {0x82, false, {"\0\1", 2}, {NULL, 0}, {"\0\1w\1", 4}};
  struct mg_mqtt_form suback = {0x90, true, {"\0\1", 2}, {"\x1f\0\1x", 4}, {"\1", 1}};
  CHECK(mg__mqtt_connect_length(&f) == 29);
  expect(wire, mg__mqtt_connect_write(&f, wire), legal[0].digits);
  CHECK(mg__mqtt_publish_length(&p, 4) == 8);
  expect(wire, mg__mqtt_publish_write(&p, 4, wire), "33 06 00 01 77 00 02 6d");
  CHECK(mg__mqtt_publish_length(&p, 5) == 9);
  expect(wire, mg__mqtt_publish_write(&p, 5, wire), "33 07 00 01 77 00 02 00 6d");
  p.props = (struct mg_str){"\1\1", 2};
  CHECK(mg__mqtt_publish_length(&p, 5) == 11);
  expect(wire, mg__mqtt_publish_write(&p, 5, wire), "33 09 00 01 77 00 02 02 01 01 6d");
  CHECK(mg__mqtt_form_length(&sub) == 8);
  expect(wire, mg__mqtt_form_write(&sub, wire), "82 06 00 01 00 01 77 01");
  CHECK(mg__mqtt_form_length(&suback) == 10);
  expect(wire, mg__mqtt_form_write(&suback, wire), "90 08 00 01 04 1f 00 01 78 01");
}

static void test_a_length_is_written_in_as_few_bytes_as_it_needs_and_never_wraps(void) {
  static const size_t sizes[] = {0, 127, 128, 16383, 16384, 2097151, 2097152, 268435455};
  static char wire[8];
  for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
    struct mg_mqtt_form form = {0xd0, false, {NULL, 0}, {NULL, 0}, {NULL, sizes[i]}};
    uint32_t remaining = 0;
    size_t head = mg__mqtt_form_length(&form) - sizes[i];
    char *end = mqtt_put_varint(wire + 1, sizes[i]);
    CHECK(head == 2 + i / 2 && end == wire + head);
    wire[0] = (char) 0xd0;
    CHECK(mqtt_header(wire, head, 5, &remaining, &why) == (int) head && remaining == sizes[i]);
    form.tail.len++;
    CHECK(i < 7 || mg__mqtt_form_length(&form) == 0);
    form.tail.len = SIZE_MAX - 3;
    CHECK(mg__mqtt_form_length(&form) == 0);
  }
}

static void test_a_publish_that_no_packet_can_hold_has_no_length(void) {
  struct mg_mqtt_publish p = {.topic = text("t"), .data = {"", 268435455 - 3}};
  CHECK(mg__mqtt_publish_length(&p, 4) == (size_t) 268435455 + 5);
  CHECK(mg__mqtt_publish_length(&p, 5) == 0);
  p.data.len++;
  CHECK(mg__mqtt_publish_length(&p, 4) == 0);
  p.data.len = SIZE_MAX;
  CHECK(mg__mqtt_publish_length(&p, 4) == 0);
}

/* ---- filters and topics -------------------------------------------------------------------------- */

static bool match(const char *filter, const char *topic) {
  return mgx_mqtt_match(filter, strlen(filter), topic, strlen(topic));
}

static void test_filters_match_as_section_4_7_says(void) {
  static const char *const yes[][2] = {
      {"a", "a"}, {"a/b", "a/b"}, {"/", "/"}, {"#", "a"}, {"#", "/a/b"}, {"#", "a/"},
      {"sport/tennis/player1/#", "sport/tennis/player1"},
      {"sport/tennis/player1/#", "sport/tennis/player1/ranking"}, {"sport/#", "sport"},
      {"sport/tennis/+", "sport/tennis/player1"}, {"sport/+", "sport/"}, {"+/+", "/finance"},
      {"/+", "/finance"}, {"+", "a"}, {"+/#", "a"}, {"+/#", "a/b/c"}, {"a/+/c", "a//c"},
      {"$SYS/#", "$SYS/x"}, {"$SYS/+", "$SYS/x"}, {"a/#", "a/$b"}, {"$share/g/a/+", "a/b"},
      {"$share/g/#", "x/y"}, {"$share", "$share"}, {"+/b/#", "a/b"}, {"a/+", "a/$"},
  };
  static const char *const no[][2] = {
      {"a", "b"}, {"a", "a/"}, {"a/", "a"}, {"a", "/a"}, {"a/b", "a"}, {"a", "a/b"},
      {"sport/tennis/+", "sport/tennis/player1/ranking"}, {"sport/+", "sport"}, {"+", "/finance"},
      {"#", "$SYS/x"}, {"+/x", "$SYS/x"}, {"+", "$x"}, {"a/#", "b"}, {"a/#", "ab"}, {"a+", "ab"},
      {"a#", "a"}, {"#/a", "a"}, {"+a", "aa"}, {"", "a"}, {"a", ""}, {"#", ""}, {"", ""},
      {"$share/g/#", "$SYS/x"}, {"$share/g/", "a"}, {"$share//a", "a"}, {"$share/g", "a"},
      {"$share/g+/a", "a"}, {"A", "a"}, {"a/+/", "a/b"}, {"+/", "a"},
  };
  for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) CHECK(match(yes[i][0], yes[i][1]));
  for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
    if (match(no[i][0], no[i][1])) fprintf(stderr, "%s takes %s\n", no[i][0], no[i][1]);
    CHECK(!match(no[i][0], no[i][1]));
  }
}

static void test_what_may_be_subscribed_and_published_to(void) {
  static const char *const filters[] = {"a", "#", "+", "/", "//", "a/#", "a/+/b", "+/+/#", "$SYS/#",
                                        "$share/g/a", "$share/g/#", "$share", "a b", "\xc3\xa9"};
  static const char *const no_filters[] = {"", "a#", "#/", "#a", "a/#/b", "a+", "+a", "a/+b/c", "##",
                                           "++", "$share/", "$share/g", "$share/g/", "$share//a",
                                           "$share/+/a", "$share/#/a", "\xff", "\xed\xa0\x80"};
  static char large[65537];
  for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++)
    CHECK(mgx_mqtt_filter_ok(guarded(filters[i], strlen(filters[i])), strlen(filters[i])));
  for (size_t i = 0; i < sizeof(no_filters) / sizeof(no_filters[0]); i++)
    CHECK(!mgx_mqtt_filter_ok(guarded(no_filters[i], strlen(no_filters[i])), strlen(no_filters[i])));
  CHECK(!mgx_mqtt_filter_ok("a\0b", 3) && !mgx_mqtt_topic_ok("a\0b", 3));
  CHECK(mgx_mqtt_topic_ok("$SYS/a", 6) && mgx_mqtt_topic_ok("/", 1));
  CHECK(!mgx_mqtt_topic_ok("", 0) && !mgx_mqtt_topic_ok("a/+", 3) && !mgx_mqtt_topic_ok("#", 1));
  memset(large, 'a', sizeof(large));
  CHECK(mgx_mqtt_topic_ok(large, 65535) && !mgx_mqtt_topic_ok(large, 65536));
  CHECK(mgx_mqtt_filter_ok(large, 65535) && !mgx_mqtt_filter_ok(large, 65536));
}

int main(void) {
  RUN(test_a_packet_is_found_whole_and_every_proper_prefix_asks_for_more);
  RUN(test_a_byte_more_or_less_in_a_packet_is_malformed);
  RUN(test_a_packet_that_is_not_legal_is_refused_with_its_reason);
  RUN(test_a_packet_above_the_limit_is_refused_by_its_header);
  RUN(test_a_connect_of_another_version_is_looked_at_no_further);
  RUN(test_a_publish_gives_its_parts);
  RUN(test_a_connect_gives_its_fields);
  RUN(test_the_filters_of_a_subscribe_are_iterated);
  RUN(test_a_subscribe_with_a_thousand_filters_is_taken);
  RUN(test_packets_are_written_as_the_standard_has_them);
  RUN(test_a_length_is_written_in_as_few_bytes_as_it_needs_and_never_wraps);
  RUN(test_a_publish_that_no_packet_can_hold_has_no_length);
  RUN(test_filters_match_as_section_4_7_says);
  RUN(test_what_may_be_subscribed_and_published_to);
  printf("%d checks\n", check_count);
  return 0;
}
