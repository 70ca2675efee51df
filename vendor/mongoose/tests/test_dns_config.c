/* resolv.conf(5), hosts(5), and the cache of answers. */
#include "../mongoose.c"

#include "check.h"

#include <sys/stat.h>

static unsigned fake_index(const char *name) { return strcmp(name, "eth0") == 0 ? 7 : 0; }

static struct mg_os fake_os(void) {
  struct mg_os os = mg__os_posix;
  os.interface_index = fake_index;
  return os;
}

static struct mg_str text_of(const char *text) {
  return (struct mg_str){guarded(text, strlen(text)), strlen(text)};
}

/* ---- resolv.conf ------------------------------------------------------------------- */

static struct mg_dns_config config;
static void read_config(const char *text) {
  struct mg_os os = fake_os();
  mg__dns_config_read(&os, text_of(text), &config);
}

/* "1.2.3.4:53 [::1]:53 " of the servers. */
static const char *servers(void) {
  static char all[400];
  size_t n = 0;
  all[0] = '\0';
  for (size_t i = 0; i < config.num_servers; i++) {
    char one[100];
    n += (size_t) snprintf(all + n, sizeof(all) - n, "%s ",
                           mg__addr_print(&config.servers[i].addr, one, sizeof(one)));
  }
  return all;
}

static void test_without_a_file_this_machine_is_the_server(void) {
  read_config("");
  CHECK(strcmp(servers(), "127.0.0.1:53 ") == 0 && config.num_search == 0);
  CHECK(config.ndots == 1 && config.attempts == 3 && config.timeout_ms == 1000 && !config.rotate);
}

static void test_servers_search_list_and_options_are_read(void) {
  read_config("# a comment\n; another\n\n"
              "nameserver 10.0.0.1\n"
              "nameserver\t 2001:db8::53  # no comment here, but no part of it either\n"
              "search one.example two.example.\n"
              "options ndots:2 timeout:3 attempts:4 rotate edns0\n");
  CHECK(strcmp(servers(), "10.0.0.1:53 [2001:db8::53]:53 ") == 0);
  CHECK(config.num_search == 2 && strcmp(config.search[0], "one.example") == 0);
  CHECK(strcmp(config.search[1], "two.example") == 0);
  CHECK(config.ndots == 2 && config.timeout_ms == 3000 && config.attempts == 4 && config.rotate);
}

static void test_three_servers_and_six_domains_are_taken(void) {
  read_config("nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n"
              "search a b c d e f g h");
  CHECK(strcmp(servers(), "10.0.0.1:53 10.0.0.2:53 10.0.0.3:53 ") == 0);
  CHECK(config.num_search == 6 && strcmp(config.search[5], "f") == 0);
}

static void test_the_last_domain_or_search_line_counts(void) {
  read_config("search a b\ndomain c d\n");
  CHECK(config.num_search == 1 && strcmp(config.search[0], "c") == 0);
  read_config("domain c\nsearch a b\n");
  CHECK(config.num_search == 2);
  read_config("search a\nsearch\n");
  CHECK(config.num_search == 0);
}

static void test_lines_without_sense_are_left_out(void) {
  read_config("nameserver\nnameserver localhost\nnameserver 1.2.3\nnameserver [::1]\n"
              "nameserverx 10.0.0.9\n nameserver 10.0.0.1\nNAMESERVER 10.0.0.8\n"
              "search .. -ok bad..name 1.2 fine\noptions ndots: ndots:x timeout:-1 attempts:1x\n");
  CHECK(strcmp(servers(), "10.0.0.1:53 ") == 0);
  CHECK(config.num_search == 2 && strcmp(config.search[0], "-ok") == 0);
  CHECK(config.ndots == 1 && config.timeout_ms == 1000 && config.attempts == 3);
}

static void test_options_are_cut_to_what_the_c_library_allows(void) {
  read_config("options ndots:99999999999999999999 timeout:31 attempts:6");
  CHECK(config.ndots == 15 && config.timeout_ms == 30000 && config.attempts == 5);
  read_config("options ndots:0 timeout:0 attempts:0");
  CHECK(config.ndots == 0 && config.timeout_ms == 1000 && config.attempts == 1);
}

static void test_use_vc_means_tcp(void) {
  read_config("options use-vc\nnameserver 10.0.0.1\nnameserver 10.0.0.2\n");
  CHECK(config.num_servers == 2 && config.servers[0].is_tcp && config.servers[1].is_tcp);
  read_config("nameserver 10.0.0.1\n");
  CHECK(!config.servers[0].is_tcp);
}

static void test_a_link_local_server_names_its_interface(void) {
  read_config("nameserver fe80::1%eth0\nnameserver fe80::2%3\nnameserver fe80::3%nowhere\n"
              "nameserver 10.0.0.1%eth0\n");
  CHECK(strcmp(servers(), "[fe80::1%7]:53 [fe80::2%3]:53 ") == 0);
}

static void test_a_file_from_another_system_is_read_too(void) {
  read_config("nameserver 10.0.0.1\r\nsearch a.example\r\n");
  CHECK(strcmp(servers(), "10.0.0.1:53 ") == 0 && strcmp(config.search[0], "a.example") == 0);
}

static void test_long_lines_and_odd_bytes_harm_nothing(void) {
  static char text[200000];
  memset(text, 'x', sizeof(text) - 1);
  memcpy(text, "search ", 7);
  read_config(text);
  CHECK(config.num_search == 0);
  memset(text, '1', sizeof(text) - 1);
  memcpy(text, "nameserver ", 11);
  read_config(text);
  CHECK(strcmp(servers(), "127.0.0.1:53 ") == 0);
  memcpy(text, "options ndots:", 14);
  read_config(text);
  CHECK(config.ndots == 15);
  uint32_t state = 1;
  for (int round = 0; round < 300; round++) {
    static const char *const words[] = {"nameserver", "search", "options", "domain", " ", "\n", "\t",
                                        "\0", "1.2.3.4", "::", "%", "ndots:", "9", "a.b", "\xff"};
    size_t len = 0;
    for (int i = 0; i < 60; i++) {
      const char *word = words[((state = state * 1664525u + 1013904223u) >> 16) % 15];
      size_t n = *word == '\0' ? 1 : strlen(word);
      memcpy(text + len, word, n);
      len += n;
    }
    struct mg_os os = fake_os();
    mg__dns_config_read(&os, (struct mg_str){guarded(text, len), len}, &config);
    CHECK(config.num_servers >= 1 && config.num_servers <= 3 && config.num_search <= 6);
  }
}

static bool is_server(const char *text, const char *addr, bool is_tcp) {
  struct mg_os os = fake_os();
  struct mg_dns_server server;
  char buf[100];
  if (!mg__dns_server(&os, text_of(text), &server)) return addr == NULL;
  return addr != NULL && strcmp(mg__addr_print(&server.addr, buf, sizeof(buf)), addr) == 0 &&
         server.is_tcp == is_tcp;
}

static void test_servers_are_given_in_several_ways(void) {
  CHECK(is_server("10.0.0.1", "10.0.0.1:53", false));
  CHECK(is_server("10.0.0.1:5353", "10.0.0.1:5353", false));
  CHECK(is_server("::1", "[::1]:53", false) && is_server("[::1]", "[::1]:53", false));
  CHECK(is_server("[::1]:99", "[::1]:99", false) && is_server("fe80::1%eth0", "[fe80::1%7]:53", false));
  CHECK(is_server("udp://10.0.0.1", "10.0.0.1:53", false));
  CHECK(is_server("tcp://10.0.0.1:99", "10.0.0.1:99", true));
  CHECK(is_server("TCP://[::1]", "[::1]:53", true));
  static const char *const bad[] = {"", "name", "localhost", "localhost:53", "10.0.0.1:0", "10.0.0.1:x",
                                    "10.0.0.1:65536", "http://10.0.0.1", "udp://10.0.0.1/x",
                                    "udp://me@10.0.0.1", "udp://", "1.2.3", "tls://10.0.0.1"};
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) CHECK(is_server(bad[i], NULL, false));
}

/* ---- hosts -------------------------------------------------------------------------- */

static const char hosts[] =
    "127.0.0.1 localhost\n"
    "# 10.0.0.1 comment\n"
    "10.0.0.1\tdb.example db  # 10.0.0.2 db\n"
    "10.0.0.3 other\r\n"
    "fd00::1   DB\n"
    "10.0.0.1 db\n"
    "nonsense bad\n"
    "1.2.3 bad\n"
    "fe80::5%eth0 link\n"
    "10.0.0.9";

static const char *look(const char *name) {
  static char all[400];
  struct mg_os os = fake_os();
  struct mg_ip found[4];
  size_t n = 0, count = mg__hosts_find(&os, text_of(hosts), (struct mg_str){name, strlen(name)}, found, 4);
  all[0] = '\0';
  for (size_t i = 0; i < count; i++) {
    struct mg_sockaddr addr;
    struct mgx_addr text;
    mg__ip_sockaddr(&found[i], 0, &addr);
    mg__addr_text(&addr, &text);
    n += (size_t) snprintf(all + n, sizeof(all) - n, "%s ", text.ip);
  }
  return all;
}

static void test_names_and_aliases_of_hosts_are_found_case_ignored(void) {
  CHECK(strcmp(look("db.example"), "10.0.0.1 ") == 0);
  CHECK(strcmp(look("Db"), "10.0.0.1 fd00::1 ") == 0);
  CHECK(strcmp(look("db."), "10.0.0.1 fd00::1 ") == 0);
  CHECK(strcmp(look("other"), "10.0.0.3 ") == 0);
  CHECK(strcmp(look("link"), "fe80::5%7 ") == 0);
}

static void test_comments_addresses_and_malformed_lines_are_no_names(void) {
  CHECK(strcmp(look("comment"), "") == 0 && strcmp(look("bad"), "") == 0);
  CHECK(strcmp(look("10.0.0.1"), "") == 0 && strcmp(look("10.0.0.9"), "") == 0);
  CHECK(strcmp(look("example"), "") == 0 && strcmp(look("#"), "") == 0);
  CHECK(strcmp(look(""), "") == 0 && strcmp(look("."), "") == 0);
}

static void test_no_more_addresses_are_written_than_there_is_room_for(void) {
  struct mg_os os = fake_os();
  struct mg_ip one[1];
  CHECK(mg__hosts_find(&os, text_of(hosts), (struct mg_str){"db", 2}, one, 1) == 1);
  CHECK(mg__hosts_find(&os, text_of(hosts), (struct mg_str){"db", 2}, one, 0) == 0);
}

/* ---- files --------------------------------------------------------------------------- */

static void write_file(const char *path, const char *text) {
  FILE *f = fopen(path, "w");
  CHECK(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void test_a_file_is_read_again_when_it_has_changed(void) {
  struct mg_mgr *mgr = calloc(1, sizeof(*mgr));
  struct mg_dns_file file = {.path = NULL};
  char path[64];
  mgr->os = &mg__os_posix;
  CHECK(!mg__dns_file_refresh(mgr, &file, 100));
  snprintf(path, sizeof(path), "/tmp/mg-test-dns-%d", (int) getpid());
  file.path = mg__malloc(sizeof(path));
  memcpy(file.path, path, sizeof(path));
  unlink(path);
  CHECK(mg__dns_file_refresh(mgr, &file, 100) && file.len == 0);
  CHECK(!mg__dns_file_refresh(mgr, &file, 100));
  write_file(path, "one\n");
  CHECK(mg__dns_file_refresh(mgr, &file, 100) && file.len == 4 && memcmp(file.text, "one\n", 4) == 0);
  CHECK(!mg__dns_file_refresh(mgr, &file, 100));
  write_file(path, "two lines\nof it\n");
  mg__fail_at = 0;
  CHECK(!mg__dns_file_refresh(mgr, &file, 12) && file.len == 4); /* no memory: as it was */
  CHECK(mg__dns_file_refresh(mgr, &file, 12) && file.len == 10); /* no half lines */
  unlink(path);
  CHECK(mg__dns_file_refresh(mgr, &file, 100) && file.len == 0);
  CHECK(mkfifo(path, 0600) == 0); /* nobody writes to it: it must not be waited for */
  CHECK(!mg__dns_file_refresh(mgr, &file, 100) && file.len == 0);
  unlink(path);
  mg__dns_file_free(&file);
  free(mgr);
}

/* ---- cache ----------------------------------------------------------------------------- */

static struct mg_dns_name name_of(const char *text) {
  struct mg_dns_name name;
  CHECK(mg__dns_name((struct mg_str){text, strlen(text)}, &name));
  return name;
}

static void keep(struct mg_dns_cache *cache, const char *name, int status, uint32_t ttl,
                 uint64_t now, uint64_t max) {
  struct mg_dns_name n = name_of(name);
  struct mg_dns_answer answer = {.status = status, .ttl = ttl};
  if (status == MG_DNS_OK) answer.count = 2, answer.addrs[1].bytes[0] = (uint8_t) *name;
  mg__dns_cache_put(cache, &n, MG_DNS_A, &answer, now, max);
}

static bool kept(struct mg_dns_cache *cache, const char *name, uint64_t now) {
  struct mg_dns_name n = name_of(name);
  struct mg_dns_answer answer;
  CHECK(!mg__dns_cache_get(cache, &n, MG_DNS_AAAA, now, &answer));
  if (!mg__dns_cache_get(cache, &n, MG_DNS_A, now, &answer)) return false;
  if (answer.status == MG_DNS_OK)
    CHECK(answer.count == 2 && answer.addrs[1].bytes[0] == (uint8_t) *name);
  return true;
}

static void test_answers_hold_for_their_time_and_an_hour_at_most(void) {
  struct mg_dns_cache cache;
  mg__dns_cache_init(&cache);
  keep(&cache, "a", MG_DNS_OK, 5, 1000, 9);
  keep(&cache, "b", MG_DNS_OK, 1000000, 1000, 9);
  keep(&cache, "c", MG_DNS_OK, 0, 1000, 9);
  keep(&cache, "d", MG_DNS_NO_NAME, 0, 1000, 9);
  keep(&cache, "e", MG_DNS_NO_DATA, 0, 1000, 9);
  keep(&cache, "f", MG_DNS_FAILED, 9, 1000, 9);
  keep(&cache, "g", MG_DNS_TIMEOUT, 9, 1000, 9);
  CHECK(kept(&cache, "a", 5999) && !kept(&cache, "a", 6000) && !kept(&cache, "a", 1000));
  CHECK(kept(&cache, "d", 30999) && !kept(&cache, "d", 31000));
  CHECK(kept(&cache, "e", 30999) && !kept(&cache, "e", 31000));
  CHECK(kept(&cache, "b", 3600999) && !kept(&cache, "b", 3601000));
  CHECK(!kept(&cache, "c", 1000) && !kept(&cache, "f", 1000) && !kept(&cache, "g", 1000));
  CHECK(cache.count == 0);
  mg__dns_cache_clear(&cache);
}

static void test_the_longest_unused_answer_goes_first(void) {
  struct mg_dns_cache cache;
  mg__dns_cache_init(&cache);
  keep(&cache, "a", MG_DNS_OK, 9, 0, 3);
  keep(&cache, "b", MG_DNS_OK, 9, 0, 3);
  keep(&cache, "c", MG_DNS_OK, 9, 0, 3);
  CHECK(kept(&cache, "a", 1));
  keep(&cache, "d", MG_DNS_OK, 9, 0, 3);
  CHECK(kept(&cache, "a", 1) && !kept(&cache, "b", 1) && kept(&cache, "c", 1) && kept(&cache, "d", 1));
  CHECK(cache.count == 3);
  keep(&cache, "a", MG_DNS_OK, 2, 0, 3); /* in the place of the older one */
  CHECK(cache.count == 3 && !kept(&cache, "a", 2000));
  keep(&cache, "x", MG_DNS_OK, 9, 0, 0);
  CHECK(!kept(&cache, "x", 0));
  mg__dns_cache_clear(&cache);
  CHECK(cache.count == 0 && !kept(&cache, "c", 1));
}

/* Names that collide are rare; an entry that says it is of another one is as good. */
static void test_an_answer_is_given_to_its_own_name_and_type_only(void) {
  struct mg_dns_name a = name_of("a");
  struct mg_dns_answer answer;
  struct mg_dns_cache cache;
  struct dns_cached *e;
  mg__dns_cache_init(&cache);
  keep(&cache, "a", MG_DNS_OK, 9, 0, 9);
  e = mg__idmap_get(&cache.by_key, mg__dns_hash(a.wire, a.len, MG_DNS_A));
  CHECK(e != NULL && kept(&cache, "a", 1));
  cached_name(e)[1] = 'b';
  CHECK(!mg__dns_cache_get(&cache, &a, MG_DNS_A, 1, &answer));
  cached_name(e)[1] = 'a';
  e->type = MG_DNS_AAAA;
  CHECK(!mg__dns_cache_get(&cache, &a, MG_DNS_A, 1, &answer));
  mg__dns_cache_clear(&cache);
}

static void test_without_memory_an_answer_is_not_kept_and_others_are(void) {
  struct mg_dns_cache cache;
  mg__dns_cache_init(&cache);
  keep(&cache, "a", MG_DNS_OK, 9, 0, 9);
  for (long n = 0; n < 2; n++) {
    mg__fail_at = n;
    keep(&cache, "b", MG_DNS_OK, 9, 0, 9);
    if (mg__fail_at < 0) CHECK(!kept(&cache, "b", 1) && cache.count == 1);
    mg__fail_at = -1;
  }
  CHECK(kept(&cache, "a", 1));
  mg__dns_cache_clear(&cache);
}

static void test_loopback_names_are_told_apart(void) {
  static const char *const yes[] = {"localhost", "LocalHost.", "a.localhost", "a.b.localhost."};
  static const char *const no[] = {"", ".", "localhost.a", "alocalhost", "localhos", "localhost.."};
  for (size_t i = 0; i < 4; i++) CHECK(mg__dns_is_loopback(text_of(yes[i])));
  for (size_t i = 0; i < 6; i++) CHECK(!mg__dns_is_loopback(text_of(no[i])));
}

int main(void) {
  RUN(test_without_a_file_this_machine_is_the_server);
  RUN(test_servers_search_list_and_options_are_read);
  RUN(test_three_servers_and_six_domains_are_taken);
  RUN(test_the_last_domain_or_search_line_counts);
  RUN(test_lines_without_sense_are_left_out);
  RUN(test_options_are_cut_to_what_the_c_library_allows);
  RUN(test_use_vc_means_tcp);
  RUN(test_a_link_local_server_names_its_interface);
  RUN(test_a_file_from_another_system_is_read_too);
  RUN(test_long_lines_and_odd_bytes_harm_nothing);
  RUN(test_servers_are_given_in_several_ways);
  RUN(test_names_and_aliases_of_hosts_are_found_case_ignored);
  RUN(test_comments_addresses_and_malformed_lines_are_no_names);
  RUN(test_no_more_addresses_are_written_than_there_is_room_for);
  RUN(test_a_file_is_read_again_when_it_has_changed);
  RUN(test_answers_hold_for_their_time_and_an_hour_at_most);
  RUN(test_the_longest_unused_answer_goes_first);
  RUN(test_an_answer_is_given_to_its_own_name_and_type_only);
  RUN(test_without_memory_an_answer_is_not_kept_and_others_are);
  RUN(test_loopback_names_are_told_apart);
  return 0;
}
