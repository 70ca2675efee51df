/* DNS messages: byte-exact queries, and which answers count. */
#include "../src/internal.h"

#include "../src/http_parse.c"
#include "../src/dns_codec.c"
#include "check.h"

static struct mg_dns_name name_of(const char *text) {
  struct mg_dns_name name;
  CHECK(mg__dns_name((struct mg_str){guarded(text, strlen(text)), strlen(text)}, &name));
  return name;
}

static bool is_name(const char *text, size_t len) {
  struct mg_dns_name name;
  return mg__dns_name((struct mg_str){guarded(text, len), len}, &name);
}

/* ---- names and queries ------------------------------------------------------------ */

static void test_a_query_is_written_byte_for_byte(void) {
  static const char wire[] =
      "\x12\x34"                  /* id */
      "\x01\x00"                  /* flags: recursion desired */
      "\0\1" "\0\0" "\0\0" "\0\0" /* one question, nothing else */
      "\4host\7example\0"         /* name */
      "\0\x1c" "\0\1";            /* AAAA, IN */
  struct mg_dns_name name = name_of("Host.EXAMPLE");
  uint8_t to[MG_DNS_QUERY];
  CHECK(mg__dns_query_write(to, 0x1234, &name, MG_DNS_AAAA) == sizeof(wire) - 1);
  CHECK(memcmp(to, wire, sizeof(wire) - 1) == 0);
}

static void test_labels_have_1_to_63_characters_and_names_253(void) {
  char text[300];
  memset(text, 'a', sizeof(text));
  CHECK(is_name(text, 63) && !is_name(text, 64) && !is_name("", 0) && !is_name(".", 1));
  for (size_t i = 63; i < sizeof(text); i += 64) text[i] = '.';
  CHECK(is_name(text, 253) && !is_name(text, 254) && !is_name(text, 255));
  text[253] = '.';
  CHECK(is_name(text, 254)); /* the dot at the end is the root */
  struct mg_dns_name name;
  CHECK(mg__dns_name((struct mg_str){text, 253}, &name) && name.len == 255);
  CHECK(!is_name("a..b", 4) && !is_name(".a", 2) && !is_name("a..", 3));
}

static void test_a_name_has_letters_digits_hyphens_and_underscores(void) {
  for (int ch = 0; ch < 256; ch++) {
    char text[3] = {'a', (char) ch, 'b'};
    bool ok = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
              ch == '-' || ch == '_' || ch == '.';
    CHECK(is_name(text, 3) == ok);
  }
}

static void test_a_mistyped_address_is_no_name(void) {
  static const char *const bad[] = {"1.2.3",   "256.1.1.1", "0177.0.0.1", "1.2.3.4.5", "80",
                                    "0x7f.1",  "a.0x7F",    "1.2.3.4.",   "a.1",       "0x"};
  static const char *const good[] = {"1.a", "3com", "1a.1b", "a.0xg", "a.x1", "x"};
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) CHECK(!is_name(bad[i], strlen(bad[i])));
  for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
    CHECK(is_name(good[i], strlen(good[i])));
}

/* ---- answers ------------------------------------------------------------------------ */

/* A message under construction. */
static struct {
  uint8_t buf[65536];
  size_t len;
} m;

static void put(const void *bytes, size_t len) {
  CHECK(len <= sizeof(m.buf) - m.len);
  memcpy(m.buf + m.len, bytes, len);
  m.len += len;
}
static void put16(unsigned value) {
  uint8_t bytes[2] = {(uint8_t) (value >> 8), (uint8_t) value};
  put(bytes, 2);
}
static void put_name(const char *text) {
  struct mg_dns_name name = name_of(text);
  put(name.wire, name.len);
}
enum { ID = 0x1234 };
static void begin(unsigned flags, const char *name, unsigned type) {
  m.len = 0;
  put16(ID), put16(0x8180 | flags), put16(1), put16(0), put16(0), put16(0);
  put_name(name), put16(type), put16(1);
}
/* A record's fields up to its data; counts it. The owner was put before. */
static void record(unsigned type, unsigned class, unsigned ttl, size_t len) {
  unsigned count = dns_u16(m.buf + 6) + 1;
  m.buf[6] = (uint8_t) (count >> 8), m.buf[7] = (uint8_t) count;
  put16(type), put16(class), put16(ttl >> 16), put16(ttl), put16((unsigned) len);
}
static void put_a(const char *owner, const char *bytes, unsigned ttl) {
  put_name(owner);
  record(MG_DNS_A, 1, ttl, 4);
  put(bytes, 4);
}
static void put_cname(const char *owner, const char *target, unsigned ttl) {
  put_name(owner);
  record(MG_DNS_CNAME, 1, ttl, strlen(target) + 2);
  put_name(target);
}

static struct mg_dns_answer out;
static int parse_as(const char *name, unsigned type) {
  struct mg_dns_name asked = name_of(name);
  const uint8_t *buf = (const uint8_t *) guarded(m.buf, m.len);
  mg__dns_parse(buf, m.len, ID, &asked, (uint16_t) type, &out);
  CHECK((out.count > 0) == (out.status == MG_DNS_OK) && out.count <= MG_DNS_ADDRS);
  return out.status;
}
static int parse(void) { return parse_as("a.test", MG_DNS_A); }

static void test_addresses_of_the_name_are_taken_with_the_least_ttl(void) {
  begin(0, "a.test", MG_DNS_A);
  put_a("A.Test", "\1\2\3\4", 300);
  put_a("a.test", "\5\6\7\10", 60);
  put_a("a.test", "\1\2\3\4", 600); /* again: not twice */
  CHECK(parse() == MG_DNS_OK && out.count == 2 && out.ttl == 60);
  CHECK(!out.addrs[0].is_ip6 && memcmp(out.addrs[0].bytes, "\1\2\3\4", 4) == 0);
  CHECK(memcmp(out.addrs[1].bytes, "\5\6\7\10", 4) == 0);
}

static void test_ip6_addresses_have_16_bytes(void) {
  begin(0, "a.test", MG_DNS_AAAA);
  put_name("a.test");
  record(MG_DNS_AAAA, 1, 5, 16);
  put("0123456789abcdef", 16);
  CHECK(parse_as("a.test", MG_DNS_AAAA) == MG_DNS_OK && out.count == 1 && out.addrs[0].is_ip6);
  CHECK(memcmp(out.addrs[0].bytes, "0123456789abcdef", 16) == 0);
}

static void test_at_most_sixteen_addresses_are_taken(void) {
  begin(0, "a.test", MG_DNS_A);
  for (int i = 0; i < 30; i++) {
    char bytes[4] = {10, 0, 0, (char) i};
    put_a("a.test", bytes, 1);
  }
  CHECK(parse() == MG_DNS_OK && out.count == MG_DNS_ADDRS);
}

static void test_an_alias_is_followed_whatever_the_order(void) {
  begin(0, "a.test", MG_DNS_A);
  put_a("c.test", "\1\2\3\4", 50);
  put_cname("b.test", "c.test", 20);
  put_cname("a.test", "B.test", 30);
  CHECK(parse() == MG_DNS_OK && out.count == 1 && out.ttl == 20);
}

static void test_addresses_of_other_names_do_not_count(void) {
  begin(0, "a.test", MG_DNS_A);
  put_a("b.test", "\1\2\3\4", 50);
  put_a("test", "\1\2\3\4", 50);
  put_a("a.a.test", "\1\2\3\4", 50);
  CHECK(parse() == MG_DNS_NO_DATA);
  put_name("a.test"), record(MG_DNS_A, 3, 50, 4), put("\1\2\3\4", 4); /* class CHAOS */
  put_name("a.test"), record(16, 1, 50, 4), put("\3abc", 4);          /* TXT */
  CHECK(parse() == MG_DNS_NO_DATA);
  put_cname("b.test", "c.test", 1);
  put_cname("a.test", "d.test", 1);
  CHECK(parse() == MG_DNS_NO_DATA); /* the alias leads to nothing */
}

static void test_eight_aliases_are_followed_and_not_nine(void) {
  for (int links = 8; links <= 9; links++) {
    char from[8] = "a.test", to[8] = "b.test";
    begin(0, "a.test", MG_DNS_A);
    for (int i = 0; i < links; i++, from[0]++, to[0]++) put_cname(from, to, 9);
    put_a(from, "\1\2\3\4", 9);
    CHECK(parse() == (links == 8 ? MG_DNS_OK : MG_DNS_FAILED));
  }
}

static void test_aliases_in_a_circle_are_an_error(void) {
  begin(0, "a.test", MG_DNS_A);
  put_cname("a.test", "a.test", 9);
  CHECK(parse() == MG_DNS_FAILED);
  begin(0, "a.test", MG_DNS_A);
  put_cname("a.test", "b.test", 9);
  put_cname("b.test", "a.test", 9);
  CHECK(parse() == MG_DNS_FAILED);
}

static void test_two_aliases_that_differ_are_an_error(void) {
  begin(0, "a.test", MG_DNS_A);
  put_cname("a.test", "b.test", 9);
  put_cname("a.test", "b.test", 9); /* the same one twice is not */
  put_a("b.test", "\1\2\3\4", 9);
  CHECK(parse() == MG_DNS_OK);
  put_cname("a.test", "c.test", 9);
  CHECK(parse() == MG_DNS_FAILED);
}

static void test_what_is_no_answer_to_our_question_is_not_read(void) {
  begin(0, "a.test", MG_DNS_A);
  put_a("a.test", "\1\2\3\4", 9);
  CHECK(parse() == MG_DNS_OK);
  CHECK(parse_as("b.test", MG_DNS_A) == MG_DNS_FOREIGN);
  CHECK(parse_as("a.test", MG_DNS_AAAA) == MG_DNS_FOREIGN);
  CHECK(parse_as("a.test.test", MG_DNS_A) == MG_DNS_FOREIGN);
  static const struct { size_t at; uint8_t flip; } spoil[] = {
      {0, 1}, {1, 1}, {2, 0x80}, {2, 0x08}, {4, 1}, {5, 1}, {5, 3}, {21, 2}, {23, 2}};
  for (size_t i = 0; i < sizeof(spoil) / sizeof(spoil[0]); i++) {
    m.buf[spoil[i].at] ^= spoil[i].flip;
    CHECK(parse() == MG_DNS_FOREIGN);
    m.buf[spoil[i].at] ^= spoil[i].flip;
  }
  for (m.len = 0; m.len < 24; m.len++) CHECK(parse() == MG_DNS_FOREIGN);
}

static void test_the_codes_of_the_server_have_their_meaning(void) {
  begin(3, "a.test", MG_DNS_A);
  CHECK(parse() == MG_DNS_NO_NAME);
  begin(0, "a.test", MG_DNS_A);
  CHECK(parse() == MG_DNS_NO_DATA);
  for (unsigned code = 1; code < 16; code++) {
    begin(code, "a.test", MG_DNS_A);
    put_a("a.test", "\1\2\3\4", 9); /* whatever it says besides */
    CHECK(parse() == (code == 3 ? MG_DNS_NO_NAME : MG_DNS_FAILED));
  }
  begin(0x200, "a.test", MG_DNS_A);
  put_a("a.test", "\1\2\3\4", 9);
  CHECK(parse() == MG_DNS_TRUNCATED);
  begin(0x202, "a.test", MG_DNS_A);
  CHECK(parse() == MG_DNS_FAILED);
}

static void test_every_shorter_answer_is_an_error(void) {
  size_t whole;
  begin(0, "a.test", MG_DNS_A);
  put_cname("a.test", "b.test", 9);
  put_a("b.test", "\1\2\3\4", 9);
  whole = m.len;
  for (m.len = 24; m.len < whole; m.len++) CHECK(parse() == MG_DNS_FAILED);
  CHECK(parse() == MG_DNS_OK);
  put("\0\0\0", 3); /* what comes behind the answers has no say */
  CHECK(parse() == MG_DNS_OK);
}

static void test_an_address_of_a_wrong_size_is_an_error(void) {
  for (size_t len = 0; len < 20; len++) {
    begin(0, "a.test", MG_DNS_A);
    put_name("a.test"), record(MG_DNS_A, 1, 9, len), put("01234567890123456789", len);
    CHECK(parse() == (len == 4 ? MG_DNS_OK : MG_DNS_FAILED));
    begin(0, "a.test", MG_DNS_A);
    put_name("a.test"), record(MG_DNS_AAAA, 1, 9, len), put("01234567890123456789", len);
    CHECK(parse() == (len == 16 ? MG_DNS_NO_DATA : MG_DNS_FAILED));
  }
}

static void test_an_alias_that_is_not_one_name_is_an_error(void) {
  begin(0, "a.test", MG_DNS_A);
  put_name("a.test"), record(MG_DNS_CNAME, 1, 9, 7), put("\1b\4test\0", 8); /* goes on behind it */
  CHECK(parse() == MG_DNS_FAILED);
  begin(0, "a.test", MG_DNS_A);
  put_name("a.test"), record(MG_DNS_CNAME, 1, 9, 9), put("\1b\4test\0x", 9);
  CHECK(parse() == MG_DNS_FAILED);
}

static void test_a_ttl_with_its_top_bit_set_is_zero(void) {
  begin(0, "a.test", MG_DNS_A);
  put_a("a.test", "\1\2\3\4", 0x80000001);
  CHECK(parse() == MG_DNS_OK && out.ttl == 0);
  begin(0, "a.test", MG_DNS_A);
  put_a("a.test", "\1\2\3\4", 0x7fffffff);
  CHECK(parse() == MG_DNS_OK && out.ttl == 0x7fffffff);
}

/* ---- compression ----------------------------------------------------------------------- */

static void test_names_are_compressed_in_any_way(void) {
  begin(0, "a.test", MG_DNS_A); /* "test" is at 14 */
  put("\xc0\x0c", 2), record(MG_DNS_CNAME, 1, 9, 4), put("\1b\xc0\x0e", 4); /* target at 36 */
  put("\xc0\x24", 2), record(MG_DNS_A, 1, 9, 4), put("\1\2\3\4", 4);
  CHECK(parse() == MG_DNS_OK && out.count == 1);
}

static void test_pointers_lead_back_only(void) {
  begin(0, "a.test", MG_DNS_A);
  put("\xc0\x18", 2), record(MG_DNS_A, 1, 9, 4), put("\1\2\3\4", 4); /* to itself, at 24 */
  CHECK(parse() == MG_DNS_FAILED);
  m.buf[25] = 0x1a; /* ahead */
  CHECK(parse() == MG_DNS_FAILED);
  m.buf[25] = 0x0b; /* into the header */
  CHECK(parse() == MG_DNS_FAILED);
  m.buf[25] = 0x0c;
  CHECK(parse() == MG_DNS_OK);
  m.buf[24] = 0xff; /* beyond the end */
  CHECK(parse() == MG_DNS_FAILED);
  begin(0, "a.test", MG_DNS_A); /* a circle of labels: "x" at 24, then back to 24 */
  put("\1x\xc0\x18", 4), record(MG_DNS_A, 1, 9, 4), put("\1\2\3\4", 4);
  CHECK(parse() == MG_DNS_FAILED);
}

static void test_sixteen_pointers_are_followed_and_not_more(void) {
  for (unsigned jumps = 16; jumps <= 17; jumps++) {
    unsigned at = 0x0c, i;
    begin(0, "a.test", MG_DNS_A);
    put_name("x"), record(16, 1, 9, 2 * (jumps - 1)); /* a place to put pointers */
    for (i = 1; i < jumps; i++) {
      unsigned here = (unsigned) m.len;
      put16(0xc000 | at);
      at = here;
    }
    put16(0xc000 | at), record(MG_DNS_A, 1, 9, 4), put("\1\2\3\4", 4);
    CHECK(parse() == (jumps == 16 ? MG_DNS_OK : MG_DNS_FAILED));
  }
}

static void test_reserved_kinds_of_labels_are_an_error(void) {
  for (unsigned kind = 0x40; kind < 0xc0; kind += 0x20) {
    uint8_t label[2] = {(uint8_t) kind, 0};
    begin(0, "a.test", MG_DNS_A);
    put(label, 2), record(MG_DNS_A, 1, 9, 4), put("\1\2\3\4", 4);
    CHECK(parse() == MG_DNS_FAILED);
  }
}

static void test_a_name_longer_than_255_bytes_is_an_error(void) {
  for (size_t last = 61; last <= 62; last++) { /* 3 * 64 + 1 + last + 1 */
    uint8_t label[64];
    memset(label, 'x', sizeof(label));
    begin(0, "a.test", MG_DNS_A);
    label[0] = 63;
    for (int i = 0; i < 3; i++) put(label, 64);
    label[0] = (uint8_t) last;
    put(label, last + 1), put("\0", 1);
    record(16, 1, 9, 0);
    CHECK(parse() == (last == 61 ? MG_DNS_NO_DATA : MG_DNS_FAILED));
  }
}

static void test_a_message_full_of_records_is_read_in_bounded_time(void) {
  begin(0, "a.test", MG_DNS_A);
  for (char from = 'a'; from < 'i'; from++) { /* eight links, then as many records as fit */
    char owner[8] = "a.test", target[8] = "b.test";
    owner[0] = from, target[0] = (char) (from + 1);
    put_cname(owner, target, 9);
  }
  while (sizeof(m.buf) - m.len > 20) put("\0", 1), record(16, 1, 9, 0);
  CHECK(parse() == MG_DNS_NO_DATA);
}

int main(void) {
  RUN(test_a_query_is_written_byte_for_byte);
  RUN(test_labels_have_1_to_63_characters_and_names_253);
  RUN(test_a_name_has_letters_digits_hyphens_and_underscores);
  RUN(test_a_mistyped_address_is_no_name);
  RUN(test_addresses_of_the_name_are_taken_with_the_least_ttl);
  RUN(test_ip6_addresses_have_16_bytes);
  RUN(test_at_most_sixteen_addresses_are_taken);
  RUN(test_an_alias_is_followed_whatever_the_order);
  RUN(test_addresses_of_other_names_do_not_count);
  RUN(test_eight_aliases_are_followed_and_not_nine);
  RUN(test_aliases_in_a_circle_are_an_error);
  RUN(test_two_aliases_that_differ_are_an_error);
  RUN(test_what_is_no_answer_to_our_question_is_not_read);
  RUN(test_the_codes_of_the_server_have_their_meaning);
  RUN(test_every_shorter_answer_is_an_error);
  RUN(test_an_address_of_a_wrong_size_is_an_error);
  RUN(test_an_alias_that_is_not_one_name_is_an_error);
  RUN(test_a_ttl_with_its_top_bit_set_is_zero);
  RUN(test_names_are_compressed_in_any_way);
  RUN(test_pointers_lead_back_only);
  RUN(test_sixteen_pointers_are_followed_and_not_more);
  RUN(test_reserved_kinds_of_labels_are_an_error);
  RUN(test_a_name_longer_than_255_bytes_is_an_error);
  RUN(test_a_message_full_of_records_is_read_in_bounded_time);
  return 0;
}
