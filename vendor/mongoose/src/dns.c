/* dns.c: from a host name to its addresses.
 *
 * The hosts file knows, or the cache does, or the servers are asked: for IPv6 and
 * IPv4 at the same time, for one candidate of the search list after the other.
 * Whoever asks for the same name meanwhile waits for the same resolution. How
 * many run at a time is limited; the others queue. Everything ends within
 * dns_timeout. No events are fired here: the outcome is written into the struct
 * mg_lookup of everybody who waits, and their connections have something to do. */
#include "dns.h"

enum { DNS_QUERIES = 2, DNS_ALARMS = DNS_QUERIES + 2 };

struct mg_dns {
  struct mg_dns_file hosts, resolv;
  char *servers, *search; /* of the user, blanks between; owned; NULL: those of resolv */
  int64_t ndots, attempts, timeout_ms, rotate; /* of the user; < 0: those of resolv */
  uint64_t family_delay_ms, attempt_delay_ms;
  struct mg_dns_config *config; /* in force; NULL before the first look-up */
  bool is_changed;              /* ... but the user's settings are newer */
  struct mg_dns_cache cache;
  struct mg_idmap by_host;
  struct mg_link running, queued;
  size_t num_running;
  bool is_starting; /* resolution_end() is taking them off the queue */
  unsigned next_server; /* options rotate */
};

struct mg_resolution {
  struct mg_link link;    /* dns->running or dns->queued */
  struct mg_link waiters; /* struct mg_lookup */
  struct mg_mgr *mgr;
  struct mg_dns_config *config; /* while it runs */
  struct mg_alarm total, family;
  struct mg_dns_query queries[DNS_QUERIES]; /* AAAA, A */
  struct mg_dns_name name; /* the candidate */
  unsigned candidate;
  int failure; /* of the candidates so far */
  uint64_t key;
  size_t host_len;
  char host[MG_DNS_TEXT + 2]; /* lower case */
};

/* ---- configuration ------------------------------------------------------------ */

static void dns_config_release(struct mg_dns_config *config) {
  if (config != NULL && --config->refs == 0) mg__free(config);
}

static void dns_config_user(const struct mg_os *os, const struct mg_dns *dns,
                            struct mg_dns_config *config) {
  struct mg_str rest, word;
  if (dns->servers != NULL) {
    rest = (struct mg_str){dns->servers, strlen(dns->servers)};
    config->num_servers = 0;
    while (config->num_servers < MG_DNS_SERVERS && (word = mg__dns_word(&rest)).len > 0)
      if (mg__dns_server(os, word, &config->servers[config->num_servers])) config->num_servers++;
  }
  if (dns->search != NULL) {
    rest = (struct mg_str){dns->search, strlen(dns->search)};
    config->num_search = 0;
    while ((word = mg__dns_word(&rest)).len > 0) mg__dns_config_search(config, word);
  }
  if (dns->ndots >= 0) config->ndots = (unsigned) dns->ndots;
  if (dns->attempts >= 0) config->attempts = (unsigned) dns->attempts;
  if (dns->timeout_ms >= 0) config->timeout_ms = (uint32_t) dns->timeout_ms;
  if (dns->rotate >= 0) config->rotate = dns->rotate != 0;
}

/* What holds now; false: OOM. Other servers may know other answers, so a change
 * empties the cache. */
static bool dns_config_refresh(struct mg_mgr *mgr, struct mg_dns *dns) {
  bool changed = mg__dns_file_refresh(mgr, &dns->resolv, MG_DNS_CONFIG_BYTES);
  struct mg_dns_config *config;
  if (dns->config != NULL && !changed && !dns->is_changed) return true;
  config = mg__calloc(sizeof(*config));
  if (config == NULL) {
    dns->resolv.is_read = false; /* to be looked at again */
    return false;
  }
  config->refs = 1;
  mg__dns_config_read(mgr->os, (struct mg_str){dns->resolv.text, dns->resolv.len}, config);
  dns_config_user(mgr->os, dns, config);
  dns_config_release(dns->config);
  dns->config = config;
  dns->is_changed = false;
  mg__dns_cache_clear(&dns->cache);
  return true;
}

static bool dns_copy(struct mg_str text, char **out) {
  mg__free(*out);
  *out = NULL;
  if (text.buf == NULL) return true;
  *out = mg__malloc(text.len + 1);
  if (*out == NULL) return false;
  if (text.len > 0) memcpy(*out, text.buf, text.len);
  (*out)[text.len] = '\0';
  return true;
}

static bool dns_path(struct mg_str path, struct mg_dns_file *file) {
  mg__dns_file_free(file);
  return path.len == 0 || dns_copy(path, &file->path);
}

void mgx_resolver_init(struct mgx_resolver *r) {
  static const char config[] = "/etc/resolv.conf", hosts[] = "/etc/hosts";
  memset(r, 0, sizeof(*r));
  r->config = (struct mg_str){config, sizeof(config) - 1};
  r->hosts = (struct mg_str){hosts, sizeof(hosts) - 1};
  r->ndots = r->attempts = r->timeout_ms = r->rotate = -1;
  r->family_delay_ms = 50;   /* RFC 8305 section 8: Resolution Delay */
  r->attempt_delay_ms = 250; /* ... and Connection Attempt Delay */
}

static bool dns_configure(struct mg_dns *dns, const struct mgx_resolver *r) {
  dns->ndots = r->ndots;
  dns->attempts = r->attempts;
  dns->timeout_ms = r->timeout_ms;
  dns->rotate = r->rotate;
  dns->family_delay_ms = r->family_delay_ms;
  dns->attempt_delay_ms = r->attempt_delay_ms;
  dns->is_changed = true;
  return dns_path(r->config, &dns->resolv) && dns_path(r->hosts, &dns->hosts) &&
         dns_copy(r->servers, &dns->servers) && dns_copy(r->search, &dns->search);
}

/* The resolver of this manager, made when it is needed first; NULL: OOM. */
static struct mg_dns *dns_get(struct mg_mgr *mgr) {
  struct mgx_resolver defaults;
  struct mg_dns *dns = mgr->dns;
  if (dns != NULL) return dns;
  dns = mg__calloc(sizeof(*dns));
  if (dns == NULL) return NULL;
  mg__link_init(&dns->running);
  mg__link_init(&dns->queued);
  mg__dns_cache_init(&dns->cache);
  mgx_resolver_init(&defaults);
  mgr->dns = dns;
  if (dns_configure(dns, &defaults)) return dns;
  mg__dns_free(mgr);
  return NULL;
}

/* A word of the list that is none: what is wrong, shown; or true. */
static bool dns_check(const struct mg_os *os, const struct mgx_resolver *r, struct mgx_error *err) {
  struct mg_str rest = r->servers, word;
  struct mg_dns_config config = {.refs = 0};
  size_t count = 0;
  while (rest.buf != NULL && (word = mg__dns_word(&rest)).len > 0) {
    const char *why = "is not a numeric address, with a port or not";
    struct mg_dns_server server;
    if (mg__dns_server(os, word, &server) && ++count <= MG_DNS_SERVERS) continue;
    if (count > MG_DNS_SERVERS) why = "is one server too many: three are possible";
    snprintf(err->text, sizeof(err->text), "'%.*s' %s", (int) (word.len < 128 ? word.len : 128),
             word.buf, why);
    return false;
  }
  for (rest = r->search; rest.buf != NULL && (word = mg__dns_word(&rest)).len > 0;) {
    if (mg__dns_config_search(&config, word)) continue;
    snprintf(err->text, sizeof(err->text), "'%.*s' is not a domain name, or one more than %d",
             (int) (word.len < 128 ? word.len : 128), word.buf, MG_DNS_SEARCH);
    return false;
  }
  return r->servers.buf == NULL || count > 0;
}

int mgx_mgr_set_resolver(struct mg_mgr *mgr, const struct mgx_resolver *r, struct mgx_error *err) {
  int result = MGX_OK;
  err->sys = 0;
  err->text[0] = '\0';
  if (r->ndots > 15 || r->attempts == 0 || r->attempts > 100 || r->timeout_ms == 0 ||
      r->timeout_ms > 3600 * 1000)
    return MGX_EINVAL;
  if (!dns_check(mgr == NULL ? &mg__os_posix : mgr->os, r, err)) return MGX_EINVAL;
  if (mgr == NULL) return MGX_OK;
  mg__lock(mgr);
  if (mgr->is_closed)
    result = MGX_ECLOSED;
  else if (dns_get(mgr) == NULL || !dns_configure(mgr->dns, r))
    result = MGX_ENOMEM;
  mg__unlock(mgr);
  return result;
}

uint64_t mg__dns_attempt_delay(const struct mg_mgr *mgr) {
  return mgr->dns->attempt_delay_ms;
}

/* ---- telling those who wait ---------------------------------------------------------- */

static void lookup_done(struct mg_lookup *l, int status) {
  mg__link_del(&l->waiting);
  l->status = status;
  mg__link_del(&l->link);
  mg__link_add_tail(l->done, &l->link);
  mg__conn_todo(l->c);
}

/* Is there a way to this address? The system is asked, nothing is sent. */
static bool dns_reachable(const struct mg_os *os, const struct mg_ip *ip) {
  struct mg_sockaddr addr;
  int fd, err;
  mg__ip_sockaddr(ip, MG_DNS_PORT, &addr);
  fd = os->socket(addr.u.sa.sa_family, SOCK_DGRAM);
  if (fd < 0) return false;
  err = os->connect(fd, &addr.u.sa, addr.len);
  os->close(fd);
  return err == 0;
}

/* In the order they are worth trying, RFC 8305 section 4: the families take turns,
 * IPv6 first if there is a route. */
static void lookup_set(const struct mg_os *os, struct mg_lookup *l, const struct mg_ip *six,
                       size_t num_six, const struct mg_ip *four, size_t num_four) {
  size_t i = 0, k = 0;
  bool mixed = num_six > 0 && num_four > 0 && dns_reachable(os, &six[0]);
  l->count = 0;
  while (i < num_six || k < num_four) {
    bool take_six = mixed ? (i <= k && i < num_six) || k == num_four : k == num_four;
    l->addrs[l->count++] = take_six ? six[i++] : four[k++];
  }
}

/* ---- a resolution -------------------------------------------------------------------- */

static void resolution_continue(struct mg_resolution *res);
static void resolution_run(struct mg_resolution *res);

static void resolution_free(struct mg_resolution *res) {
  struct mg_mgr *mgr = res->mgr;
  struct mg_dns *dns = mgr->dns;
  if (res->config != NULL) {
    for (size_t i = 0; i < DNS_QUERIES; i++) mg__dns_query_end(&res->queries[i]);
    dns_config_release(res->config);
    dns->num_running--;
  }
  mg__alarm_clear(mgr, &res->total);
  mg__alarm_clear(mgr, &res->family);
  mg__alarm_unreserve(mgr, DNS_ALARMS);
  if (mg__idmap_get(&dns->by_host, res->key) == res) mg__idmap_del(&dns->by_host, res->key);
  mg__link_del(&res->link);
  mg__free(res);
}

/* May another one run? */
static bool dns_has_room(const struct mg_mgr *mgr) {
  return mgr->limits.dns_queries == 0 || mgr->dns->num_running < mgr->limits.dns_queries;
}

/* Take off the queue what may run. One that ends at once comes back here: it has made
 * room for the loop that is running already. */
static void dns_run_queued(struct mg_mgr *mgr) {
  struct mg_dns *dns = mgr->dns;
  if (dns->is_starting) return;
  dns->is_starting = true;
  while (!mg__link_empty(&dns->queued) && dns_has_room(mgr))
    resolution_run(MG_CONTAINER(dns->queued.next, struct mg_resolution, link));
  dns->is_starting = false;
}

/* It has ended, well or not; the next one may begin. */
static void resolution_end(struct mg_resolution *res) {
  struct mg_mgr *mgr = res->mgr;
  resolution_free(res);
  dns_run_queued(mgr);
}

static void resolution_tell(struct mg_resolution *res, int status) {
  const struct mg_dns_answer *six = &res->queries[0].answer, *four = &res->queries[1].answer;
  while (!mg__link_empty(&res->waiters)) {
    struct mg_lookup *l = MG_CONTAINER(res->waiters.next, struct mg_lookup, waiting);
    if (status == MG_DNS_OK)
      lookup_set(res->mgr->os, l, six->addrs, six->count, four->addrs, four->count);
    lookup_done(l, status);
  }
}

/* ---- candidates */

/* Write the i-th name to try; false: there is none. A name with a dot at its end is
 * whole, one with dots enough is tried as it is first, others last. */
static bool resolution_candidate(struct mg_resolution *res, unsigned i) {
  const struct mg_dns_config *config = res->config;
  char text[2 * MG_DNS_TEXT + 4];
  unsigned dots = 0, suffix = i, bare;
  int n;
  for (size_t k = 0; k < res->host_len; k++) dots += res->host[k] == '.';
  if (res->host[res->host_len - 1] == '.')
    return i == 0 && mg__dns_name((struct mg_str){res->host, res->host_len}, &res->name);
  bare = dots >= config->ndots ? 0 : (unsigned) config->num_search;
  if (i == bare) return mg__dns_name((struct mg_str){res->host, res->host_len}, &res->name);
  if (i > config->num_search) return false;
  if (i > bare) suffix--;
  n = snprintf(text, sizeof(text), "%s.%s", res->host, config->search[suffix]);
  if (mg__dns_name((struct mg_str){text, (size_t) n}, &res->name)) return true;
  res->name.len = 0; /* longer than a name may be */
  return true;
}

/* What other servers than those in force have said is not kept. */
static void query_on_done(struct mg_dns_query *q) {
  struct mg_dns *dns = q->mgr->dns;
  struct mg_resolution *res;
  if (q->config == dns->config)
    mg__dns_cache_put(&dns->cache, q->name, q->type, &q->answer, q->mgr->os->monotonic_ms(),
                      q->mgr->limits.dns_cache);
  res = q->type == MG_DNS_AAAA ? MG_CONTAINER(q, struct mg_resolution, queries[0])
                               : MG_CONTAINER(q, struct mg_resolution, queries[1]);
  resolution_continue(res);
}

static void resolution_ask(struct mg_resolution *res) {
  struct mg_dns *dns = res->mgr->dns;
  unsigned first = res->config->rotate ? dns->next_server++ : 0;
  uint64_t now = res->mgr->os->monotonic_ms();
  for (size_t i = 0; i < DNS_QUERIES; i++) {
    struct mg_dns_query *q = &res->queries[i];
    q->is_done = res->name.len == 0 ||
                 mg__dns_cache_get(&dns->cache, &res->name, q->type, now, &q->answer);
    if (res->name.len == 0) q->answer = (struct mg_dns_answer){.status = MG_DNS_NO_NAME};
    if (!q->is_done) mg__dns_ask(q, first % (unsigned) res->config->num_servers);
  }
}

/* How the candidate has ended: the worse outcome of both families. */
static int resolution_status(const struct mg_resolution *res) {
  int a = res->queries[0].answer.status, b = res->queries[1].answer.status;
  if (a == MG_DNS_OK || b == MG_DNS_OK) return MG_DNS_OK;
  return a > b ? a : b;
}

static bool is_over(const struct mg_resolution *res) {
  return res->queries[0].is_done && res->queries[1].is_done;
}

/* Look at what has come, and go on with the next candidate, or the end. */
static void resolution_continue(struct mg_resolution *res) {
  struct mg_mgr *mgr = res->mgr;
  int status;
  for (;;) {
    if (!is_over(res)) {
      const struct mg_dns_query *done = &res->queries[res->queries[0].is_done ? 0 : 1];
      if (done->is_done && done->answer.status == MG_DNS_OK && res->family.due.pos == 0)
        mg__alarm_set(mgr, &res->family, mgr->os->monotonic_ms() + mgr->dns->family_delay_ms);
      return;
    }
    status = resolution_status(res);
    if (status > res->failure) res->failure = status;
    if (status == MG_DNS_OK || status == MG_DNS_TIMEOUT || status == MG_DNS_NO_SERVER) break;
    if (!resolution_candidate(res, ++res->candidate)) {
      status = res->failure;
      break;
    }
    resolution_ask(res);
  }
  resolution_tell(res, status);
  resolution_end(res);
}

/* Questions that are still open have had their time. */
static void resolution_cut(struct mg_resolution *res) {
  for (size_t i = 0; i < DNS_QUERIES; i++) {
    struct mg_dns_query *q = &res->queries[i];
    if (q->is_done) continue;
    mg__dns_query_end(q);
    q->answer.status = MG_DNS_TIMEOUT;
    q->answer.count = 0;
    q->is_done = true;
  }
}

/* The addresses of one family are here, the other one is late. */
static void family_on_due(struct mg_mgr *mgr, struct mg_alarm *alarm) {
  struct mg_resolution *res = MG_CONTAINER(alarm, struct mg_resolution, family);
  (void) mgr;
  resolution_cut(res);
  resolution_continue(res);
}

static void total_on_due(struct mg_mgr *mgr, struct mg_alarm *alarm) {
  struct mg_resolution *res = MG_CONTAINER(alarm, struct mg_resolution, total);
  (void) mgr;
  if (res->config != NULL) { /* it has begun */
    resolution_cut(res);
    resolution_continue(res); /* ends: a time-out has no next candidate */
    return;
  }
  resolution_tell(res, MG_DNS_TIMEOUT);
  resolution_end(res);
}

/* Its turn has come. */
static void resolution_run(struct mg_resolution *res) {
  static const uint16_t types[DNS_QUERIES] = {MG_DNS_AAAA, MG_DNS_A};
  struct mg_dns *dns = res->mgr->dns;
  mg__link_del(&res->link);
  mg__link_add_tail(&dns->running, &res->link);
  dns->num_running++;
  if (dns->is_changed) dns_config_refresh(res->mgr, dns); /* out of memory: as they were */
  res->config = dns->config;
  res->config->refs++;
  for (size_t i = 0; i < DNS_QUERIES; i++) {
    struct mg_dns_query *q = &res->queries[i];
    q->mgr = res->mgr;
    q->config = res->config;
    q->name = &res->name;
    q->type = types[i];
    q->on_done = query_on_done;
    mg__dns_query_init(q);
  }
  resolution_candidate(res, 0);
  resolution_ask(res);
  resolution_continue(res);
}

static struct mg_resolution *resolution_new(struct mg_mgr *mgr, struct mg_str host, uint64_t key) {
  struct mg_resolution *res = mg__calloc(sizeof(*res));
  uint64_t ms = mgr->limits.dns_timeout_ms;
  if (res == NULL) return NULL;
  if (!mg__alarm_reserve(mgr, DNS_ALARMS)) {
    mg__free(res);
    return NULL;
  }
  res->mgr = mgr;
  res->key = key;
  mg__link_init(&res->link);
  mg__link_init(&res->waiters);
  res->total.on_due = total_on_due;
  res->family.on_due = family_on_due;
  memcpy(res->host, host.buf, host.len);
  res->host_len = host.len;
  if (mg__idmap_get(&mgr->dns->by_host, key) == NULL &&
      !mg__idmap_put(&mgr->dns->by_host, key, res)) {
    mg__alarm_unreserve(mgr, DNS_ALARMS);
    mg__free(res);
    return NULL;
  }
  if (ms != 0) mg__alarm_set(mgr, &res->total, mgr->os->monotonic_ms() + ms);
  mg__link_add_tail(&mgr->dns->queued, &res->link);
  return res;
}

/* ---- for connections ------------------------------------------------------------------- */

/* Names that are nobody's, RFC 6761 section 6.4 and RFC 7686 section 2. */
static bool dns_is_nowhere(const struct mg_dns_name *name) {
  static const char *const tops[] = {"\7invalid", "\5onion"};
  for (size_t i = 0; i < sizeof(tops) / sizeof(tops[0]); i++) {
    size_t n = strlen(tops[i]) + 1; /* the root is its NUL */
    for (size_t at = 0; at < name->len; at += name->wire[at] + 1u)
      if (name->len - at == n && memcmp(name->wire + at, tops[i], n) == 0) return true;
  }
  return false;
}

/* What needs no server: true, and the look-up is done. */
static bool dns_known(struct mg_mgr *mgr, struct mg_dns *dns, struct mg_lookup *l) {
  struct mg_str host = {l->host, l->host_len};
  struct mg_ip found[2 * MG_DNS_ADDRS], six[2 * MG_DNS_ADDRS], four[2 * MG_DNS_ADDRS];
  size_t count, num_six = 0, num_four = 0;
  struct mg_dns_name name;
  if (!mg__dns_name(host, &name) || dns_is_nowhere(&name)) {
    lookup_done(l, MG_DNS_NO_NAME);
    return true;
  }
  mg__dns_file_refresh(mgr, &dns->hosts, MG_DNS_HOSTS_BYTES);
  count = mg__hosts_find(mgr->os, (struct mg_str){dns->hosts.text, dns->hosts.len}, host, found,
                         sizeof(found) / sizeof(found[0]));
  if (count == 0) return false;
  for (size_t i = 0; i < count; i++) {
    if (found[i].is_ip6)
      six[num_six++] = found[i];
    else
      four[num_four++] = found[i];
  }
  lookup_set(mgr->os, l, six, num_six, four, num_four);
  lookup_done(l, MG_DNS_OK);
  return true;
}

/* Is it for this host, and are those asked, or to be asked, that are in force? */
static bool resolution_fits(const struct mg_resolution *res, const struct mg_dns *dns,
                            const char *host, size_t len) {
  return res->host_len == len && memcmp(res->host, host, len) == 0 &&
         (res->config == NULL || res->config == dns->config);
}

bool mg__dns_start(struct mg_mgr *mgr, struct mg_lookup *l) {
  char lower[MG_DNS_TEXT + 2];
  struct mg_dns *dns = dns_get(mgr);
  struct mg_resolution *res;
  uint64_t key;
  bool is_new;
  if (dns == NULL) return false;
  if (dns_known(mgr, dns, l)) return true;
  if (!dns_config_refresh(mgr, dns)) return false;
  memset(lower, 0, sizeof(lower));
  for (size_t i = 0; i < l->host_len; i++)
    lower[i] = l->host[i] >= 'A' && l->host[i] <= 'Z' ? (char) (l->host[i] + 32) : l->host[i];
  key = mg__dns_hash((const uint8_t *) lower, l->host_len, 0);
  res = mg__idmap_get(&dns->by_host, key);
  is_new = res == NULL || !resolution_fits(res, dns, lower, l->host_len);
  if (is_new) res = resolution_new(mgr, (struct mg_str){lower, l->host_len}, key);
  if (res == NULL) return false;
  mg__link_add_tail(&res->waiters, &l->waiting);
  l->resolution = res;
  if (is_new) dns_run_queued(mgr);
  return true;
}

void mg__dns_cancel(struct mg_lookup *l) {
  if (mg__link_empty(&l->waiting)) return;
  mg__link_del(&l->waiting);
  if (mg__link_empty(&l->resolution->waiters)) resolution_end(l->resolution);
}

void mg__dns_free(struct mg_mgr *mgr) {
  struct mg_dns *dns = mgr->dns;
  if (dns == NULL) return;
  while (!mg__link_empty(&dns->queued))
    resolution_free(MG_CONTAINER(dns->queued.next, struct mg_resolution, link));
  while (!mg__link_empty(&dns->running))
    resolution_free(MG_CONTAINER(dns->running.next, struct mg_resolution, link));
  dns_config_release(dns->config);
  mg__dns_cache_clear(&dns->cache);
  mg__dns_file_free(&dns->hosts);
  mg__dns_file_free(&dns->resolv);
  mg__idmap_free(&dns->by_host);
  mg__free(dns->servers);
  mg__free(dns->search);
  mg__free(dns);
  mgr->dns = NULL;
}
