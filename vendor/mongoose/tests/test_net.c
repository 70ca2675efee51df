/* Addresses from and to text. */
#include "../src/internal.h"

#include "../src/net.c"
#include "check.h"

/* Parsed from a copy that ends at an unreadable page. */
static bool aton(const char *text, size_t len, struct mg_sockaddr *out) {
  struct mg_str s = {guarded(text, len), len};
  return mg_aton(s, out);
}

/* The text of what was parsed, "" when it was refused. */
static const char *again(const char *text) {
  static struct mgx_addr addr;
  struct mg_sockaddr a;
  memset(&addr, 0, sizeof(addr));
  if (aton(text, strlen(text), &a)) mg__addr_text(&a, &addr);
  return addr.ip;
}

static bool is_refused(const char *text) {
  struct mg_sockaddr a, before;
  memset(&a, 0x5a, sizeof(a));
  before = a;
  return !aton(text, strlen(text), &a) && memcmp(&a, &before, sizeof(a)) == 0;
}

static void test_dotted_quads_are_read(void) {
  struct mg_sockaddr a;
  CHECK(aton("1.2.3.255", 9, &a));
  CHECK(a.u.in.sin_family == AF_INET && a.len == sizeof(a.u.in) && a.u.in.sin_port == 0);
  CHECK(ntohl(a.u.in.sin_addr.s_addr) == 0x010203ff);
  CHECK(strcmp(again("0.0.0.0"), "0.0.0.0") == 0);
  CHECK(strcmp(again("255.255.255.255"), "255.255.255.255") == 0);
}

static void test_nothing_means_any_address_and_localhost_this_machine(void) {
  CHECK(strcmp(again(""), "0.0.0.0") == 0);
  CHECK(strcmp(again("localhost"), "127.0.0.1") == 0);
  CHECK(strcmp(again("LocalHost"), "127.0.0.1") == 0);
  CHECK(is_refused("localhos") && is_refused("localhost.") && is_refused("[localhost]"));
  CHECK(is_refused("\x0cocalhost")); /* not a letter, though it differs in one bit */
}

static void test_sloppy_ip4_is_refused(void) {
  static const char *const bad[] = {
      "0", "1.2.3", "1.2.3.", ".1.2.3", "1..2.3", "1.2.3.4.", "1.2.3.4.5", "256.1.1.1",
      "1.1.1.999", "1.2.3.1000", "01.2.3.4", "1.2.3.04", "00.0.0.0", "0x7f.0.0.1", "1.2.3.4 ",
      " 1.2.3.4", "1,2,3,4", "-1.2.3.4", "1.2.3.4:80", "[1.2.3.4]", "2130706433", "a.b.c.d"};
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) CHECK(is_refused(bad[i]));
}

static void test_ip6_is_read_with_and_without_brackets(void) {
  struct mg_sockaddr a;
  CHECK(strcmp(again("::1"), "::1") == 0 && strcmp(again("[::1]"), "::1") == 0);
  CHECK(strcmp(again("::"), "::") == 0 && strcmp(again("1::"), "1::") == 0);
  CHECK(aton("1:2:3:4:5:6:7:8", 15, &a) && a.u.in6.sin6_family == AF_INET6);
  CHECK(a.len == sizeof(a.u.in6) && a.u.in6.sin6_port == 0 && a.u.in6.sin6_scope_id == 0);
}

static void test_a_scope_is_kept_apart_from_the_address(void) {
  struct mg_sockaddr a;
  CHECK(aton("[fe80::1%2]", 11, &a) && a.u.in6.sin6_scope_id == 2);
  CHECK(a.u.in6.sin6_addr.s6_addr[0] == 0xfe && a.u.in6.sin6_addr.s6_addr[15] == 1);
  CHECK(strcmp(again("fe80::1%2"), "fe80::1%2") == 0);
  CHECK(strcmp(again("fe80::1%255"), "fe80::1%255") == 0);
  CHECK(is_refused("fe80::1%") && is_refused("fe80::1%256") && is_refused("fe80::1%eth0"));
  CHECK(is_refused("fe80::1%2%3") && is_refused("1.2.3.4%1") && is_refused("%1"));
}

static void test_sloppy_ip6_is_refused(void) {
  static const char *const bad[] = {
      "12345::1", "1:::2", "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", ":", ":1", "1:",
      "1:2:3:4:5:6:7:8::", "[::1", "::1]", "[]", "[", "]", "[[::1]]", "::g", "::1 ",
      "::ffff:1.2.3", "::ffff:1.2.3.256",
      "0000000000000000000000000000000000000000000000000000000000000001::"};
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) CHECK(is_refused(bad[i]));
}

static void test_a_nul_inside_is_not_an_end(void) {
  struct mg_sockaddr a;
  CHECK(!aton("1.2.3.4\0", 8, &a) && !aton("::1\0", 4, &a) && !aton("\0", 1, &a));
}

static void test_ip6_text_is_canonical(void) { /* RFC 5952, section 4 */
  CHECK(strcmp(again("2001:0DB8:0:0:0:0:0:1"), "2001:db8::1") == 0);
  CHECK(strcmp(again("2001:db8:0:0:1:0:0:1"), "2001:db8::1:0:0:1") == 0);
  CHECK(strcmp(again("2001:db8:0:1:1:1:1:1"), "2001:db8:0:1:1:1:1:1") == 0);
}

static void test_mapped_ip4_is_shown_as_ip4(void) {
  struct mg_sockaddr a;
  struct mgx_addr text;
  CHECK(aton("::ffff:127.0.0.1", 16, &a) && a.u.sa.sa_family == AF_INET6);
  mg__addr_set_port(&a, 8080);
  mg__addr_text(&a, &text);
  CHECK(strcmp(text.ip, "127.0.0.1") == 0 && !text.is_ip6 && text.port == 8080);
}

static const char *print(const char *host, uint16_t port) {
  static char buf[160];
  struct mg_sockaddr a;
  CHECK(aton(host, strlen(host), &a));
  mg__addr_set_port(&a, port);
  return mg__addr_print(&a, buf, sizeof(buf));
}

static void test_printing_puts_brackets_around_ip6(void) {
  CHECK(strcmp(print("127.0.0.1", 80), "127.0.0.1:80") == 0);
  CHECK(strcmp(print("::1", 65535), "[::1]:65535") == 0);
  CHECK(strcmp(print("fe80::1%2", 1), "[fe80::1%2]:1") == 0);
  CHECK(strcmp(print("::ffff:1.2.3.4", 0), "1.2.3.4:0") == 0);
}

static void test_printing_is_cut_to_the_room_there_is(void) {
  struct mg_sockaddr a;
  char buf[8];
  CHECK(aton("127.0.0.1", 9, &a));
  CHECK(strcmp(mg__addr_print(&a, buf, sizeof(buf)), "127.0.0") == 0);
}

/* An address of the kind accept() and getsockname() give. */
static struct mg_sockaddr unix_addr(const char *path, size_t len) {
  struct mg_sockaddr a;
  memset(&a, 0, sizeof(a));
  a.u.un.sun_family = AF_UNIX;
  memcpy(a.u.un.sun_path, path, len);
  a.len = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + len);
  return a;
}

static void test_unix_addresses_show_their_path(void) {
  char longest[sizeof(((struct sockaddr_un *) 0)->sun_path)], buf[160];
  struct mg_sockaddr a = unix_addr("/tmp/s", 7);
  struct mgx_addr text;
  mg__addr_text(&a, &text);
  CHECK(strcmp(text.ip, "/tmp/s") == 0 && text.port == 0 && !text.is_ip6);
  CHECK(strcmp(mg__addr_print(&a, buf, sizeof(buf)), "/tmp/s") == 0);
  memset(longest, 'p', sizeof(longest)); /* no room for a NUL behind it */
  a = unix_addr(longest, sizeof(longest));
  mg__addr_text(&a, &text);
  CHECK(strlen(text.ip) == sizeof(longest));
}

static void test_unnamed_and_abstract_unix_addresses_are_text_too(void) {
  struct mg_sockaddr a = unix_addr("", 0);
  struct mgx_addr text;
  mg__addr_text(&a, &text);
  CHECK(strcmp(text.ip, "") == 0);
  a = unix_addr("\0name\0x", 7);
  mg__addr_text(&a, &text);
  CHECK(strcmp(text.ip, "@name@x") == 0);
}

static void test_an_unknown_address_is_empty(void) {
  struct mg_sockaddr a;
  struct mgx_addr text;
  char buf[16];
  memset(&a, 0, sizeof(a));
  mg__addr_text(&a, &text);
  CHECK(strcmp(text.ip, "") == 0 && text.port == 0 && !text.is_ip6);
  CHECK(strcmp(mg__addr_print(&a, buf, sizeof(buf)), "") == 0);
}

static void test_whatever_is_read_can_be_printed_and_read_again(void) {
  static const char alphabet[] = "0123459af:.%[]::::....";
  uint32_t state = 1, read = 0;
  for (int round = 0; round < 300000; round++) {
    char text[24];
    size_t len = 0, want;
    struct mg_sockaddr a, b;
    struct mgx_addr first, second;
    state = state * 1664525u + 1013904223u;
    want = (state >> 16) % sizeof(text);
    while (len < want) {
      state = state * 1664525u + 1013904223u;
      text[len++] = alphabet[(state >> 16) % (sizeof(alphabet) - 1)];
    }
    if (!aton(text, len, &a)) continue;
    read++;
    mg__addr_text(&a, &first);
    CHECK(aton(first.ip, strlen(first.ip), &b));
    mg__addr_text(&b, &second);
    CHECK(strcmp(first.ip, second.ip) == 0 && first.is_ip6 == second.is_ip6);
  }
  CHECK(read > 1000);
}

int main(void) {
  RUN(test_dotted_quads_are_read);
  RUN(test_nothing_means_any_address_and_localhost_this_machine);
  RUN(test_sloppy_ip4_is_refused);
  RUN(test_ip6_is_read_with_and_without_brackets);
  RUN(test_a_scope_is_kept_apart_from_the_address);
  RUN(test_sloppy_ip6_is_refused);
  RUN(test_a_nul_inside_is_not_an_end);
  RUN(test_ip6_text_is_canonical);
  RUN(test_mapped_ip4_is_shown_as_ip4);
  RUN(test_printing_puts_brackets_around_ip6);
  RUN(test_printing_is_cut_to_the_room_there_is);
  RUN(test_unix_addresses_show_their_path);
  RUN(test_unnamed_and_abstract_unix_addresses_are_text_too);
  RUN(test_an_unknown_address_is_empty);
  RUN(test_whatever_is_read_can_be_printed_and_read_again);
  return 0;
}
