/* fuzz_dns.c: any bytes as an answer, as a host name, as resolv.conf and hosts.
 *
 * Beyond what the sanitizers see: an answer has one reading, and every address in
 * it stands in the message; what the codec takes for a name it writes and reads
 * again; a message that is cut somewhere never has more to say than the whole one;
 * what the files say keeps to its bounds, line by line. */
#include "../mongoose.c"

#define MUST(cond) ((cond) ? (void) 0 : abort())

static struct mg_str copy(const uint8_t *data, size_t size) {
  char *s = malloc(size > 0 ? size : 1);
  if (size > 0) memcpy(s, data, size);
  return (struct mg_str){s, size};
}

static bool contains(struct mg_str m, const uint8_t *bytes, size_t len) {
  for (size_t i = 0; i + len <= m.len; i++)
    if (memcmp(m.buf + i, bytes, len) == 0) return true;
  return false;
}

static void check_answer(const uint8_t *data, size_t size, uint16_t id,
                         const struct mg_dns_name *name, uint16_t type) {
  struct mg_str m = copy(data, size);
  struct mg_dns_answer one, two;
  memset(&one, 0, sizeof(one));
  memset(&two, 0xff, sizeof(two));
  mg__dns_parse((const uint8_t *) m.buf, m.len, id, name, type, &one);
  mg__dns_parse((const uint8_t *) m.buf, m.len, id, name, type, &two);
  MUST(one.status == two.status && one.count == two.count && one.ttl == two.ttl);
  MUST(one.count <= MG_DNS_ADDRS && (one.count > 0) == (one.status == MG_DNS_OK));
  for (size_t i = 0; i < one.count; i++) {
    MUST(mg__ip_same(&one.addrs[i], &two.addrs[i]) && one.addrs[i].is_ip6 == (type == MG_DNS_AAAA));
    MUST(contains(m, one.addrs[i].bytes, type == MG_DNS_A ? 4 : 16));
    for (size_t k = 0; k < i; k++) MUST(!mg__ip_same(&one.addrs[i], &one.addrs[k]));
  }
  if (size > 0) { /* without its last byte: the same, cut short, or nothing at all */
    struct mg_str part = copy(data, size - 1);
    mg__dns_parse((const uint8_t *) part.buf, part.len, id, name, type, &two);
    MUST(two.status == one.status || two.status == MG_DNS_FAILED || two.status == MG_DNS_FOREIGN);
    free((void *) (uintptr_t) part.buf);
  }
  free((void *) (uintptr_t) m.buf);
}

/* The input stands behind the question that was asked, as the answer section. */
static void fuzz_records(const uint8_t *data, size_t size, uint16_t type) {
  uint8_t m[MG_DNS_QUERY + 4096];
  struct mg_dns_name name;
  size_t n;
  if (size < 3 || size > 4096) return;
  MUST(mg__dns_name((struct mg_str){"a.test", 6}, &name));
  n = mg__dns_query_write(m, 7, &name, type);
  m[2] = 0x80 | (data[0] & 7);
  m[3] = data[1];
  m[7] = data[2];
  memcpy(m + n, data + 3, size - 3);
  check_answer(m, n + size - 3, 7, &name, type);
}

static void fuzz_name(const uint8_t *data, size_t size) {
  struct mg_str text = copy(data, size);
  struct mg_dns_name name, again;
  uint8_t m[MG_DNS_QUERY];
  size_t n;
  if (mg__dns_name(text, &name)) {
    MUST(name.len >= 3 && size >= 1 && size <= MG_DNS_TEXT + 1 && mg__host_is_name(text));
    n = mg__dns_query_write(m, 1, &name, MG_DNS_A);
    MUST(dns_expand((struct dns_message){m, n}, MG_DNS_HEADER, &again) == n - 4);
    MUST(dns_same(&name, &again));
  }
  free((void *) (uintptr_t) text.buf);
}

static void fuzz_files(const uint8_t *data, size_t size) {
  struct mg_str text = copy(data, size), name = {"db", 2};
  struct mg_dns_config config;
  struct mg_ip ips[4], fewer[1];
  size_t n;
  mg__dns_config_read(&mg__os_posix, text, &config);
  MUST(config.num_servers >= 1 && config.num_servers <= MG_DNS_SERVERS && config.ndots <= 15);
  MUST(config.num_search <= MG_DNS_SEARCH && config.attempts >= 1 && config.attempts <= 5);
  MUST(config.timeout_ms >= 1000 && config.timeout_ms <= 30000);
  for (size_t i = 0; i < config.num_search; i++)
    MUST(mg__host_is_name((struct mg_str){config.search[i], strlen(config.search[i])}));
  n = mg__hosts_find(&mg__os_posix, text, name, ips, 4);
  MUST(n <= 4 && (n == 0 || contains(text, (const uint8_t *) "b", 1) ||
                  contains(text, (const uint8_t *) "B", 1)));
  MUST(mg__hosts_find(&mg__os_posix, text, name, fewer, 1) == (n > 0));
  MUST(n == 0 || mg__ip_same(&ips[0], &fewer[0]));
  free((void *) (uintptr_t) text.buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct mg_dns_name name;
  uint16_t type = size > 0 && data[0] & 1 ? MG_DNS_A : MG_DNS_AAAA;
  if (size == 0) return 0;
  MUST(mg__dns_name((struct mg_str){"a.test", 6}, &name));
  if (data[0] >> 1 == 0)
    check_answer(data + 1, size - 1, 0x6161, &name, type);
  else if (data[0] >> 1 == 1)
    fuzz_name(data + 1, size - 1);
  else if (data[0] >> 1 == 2)
    fuzz_files(data + 1, size - 1);
  else
    fuzz_records(data + 1, size - 1, type);
  return 0;
}
