/* dns.h: what the files of the resolver share.
 *
 *   dns_codec.c    messages: bytes in, a verdict and addresses out
 *   dns_config.c   resolv.conf and hosts
 *   dns_cache.c    answers that still hold
 *   dns_query.c    one question and the servers it is put to
 *   dns.c          from a host name to addresses: both families, search list, cache
 *   dial.c         connections that wait for a name or for one of its addresses
 *
 * None but dial.c knows connections, and none but dial.c fires events: what the
 * resolver has found it leaves in a struct mg_lookup. */
#ifndef MG_DNS_H
#define MG_DNS_H

#include "internal.h"

enum {
  MG_DNS_A = 1, /* record types */
  MG_DNS_CNAME = 5,
  MG_DNS_AAAA = 28,
  MG_DNS_IN = 1,       /* class */
  MG_DNS_NAME = 255,   /* bytes of a name in wire form, RFC 1035 section 2.3.4 */
  MG_DNS_LABEL = 63,
  MG_DNS_TEXT = 253,   /* characters of a name without a dot at its end */
  MG_DNS_HEADER = 12,
  MG_DNS_QUERY = MG_DNS_HEADER + MG_DNS_NAME + 4,
  MG_DNS_JUMPS = 16,   /* compression pointers followed in one name */
  MG_DNS_LINKS = 8,    /* CNAMEs followed in one answer */
  MG_DNS_ADDRS = 16,   /* addresses taken per family */
  MG_DNS_SERVERS = 3,  /* as the C library */
  MG_DNS_SEARCH = 6,
  MG_DNS_PORT = 53,
  MG_DNS_MAX_TTL = 3600, /* seconds an answer is kept at most */
  MG_DNS_NEGATIVE_TTL = 30,
  MG_DNS_CONFIG_BYTES = 64 * 1024,       /* of resolv.conf that are read */
  MG_DNS_HOSTS_BYTES = 8 * 1024 * 1024,  /* of hosts */
};

struct mg_ip {
  uint8_t bytes[16]; /* IPv4: the first four */
  uint32_t scope;    /* of a link-local address, else 0 */
  bool is_ip6;
};
static inline bool mg__ip_same(const struct mg_ip *a, const struct mg_ip *b) {
  return a->is_ip6 == b->is_ip6 && a->scope == b->scope &&
         memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

/* ---- dns_codec.c ---------------------------------------------------------- */

/* A name in wire form: labels in lower case, not compressed, root included. */
struct mg_dns_name {
  uint8_t len; /* 1..255 */
  uint8_t wire[MG_DNS_NAME];
};

/* What a message has to say to a question, or how a question has ended. */
enum {
  MG_DNS_FOREIGN,   /* not an answer to this question: as if it had not come */
  MG_DNS_OK,        /* one address at least */
  MG_DNS_NO_NAME,   /* there is no such name */
  MG_DNS_NO_DATA,   /* ... there is, but without an address of this family */
  MG_DNS_TRUNCATED, /* to be asked for over TCP */
  MG_DNS_FAILED,    /* the server can't tell, or what it tells is malformed */
  MG_DNS_TIMEOUT,   /* nobody has answered */
  MG_DNS_NO_SERVER, /* nobody could be asked */
};

struct mg_dns_answer {
  int status;    /* MG_DNS_... */
  uint32_t ttl;  /* seconds; of MG_DNS_OK */
  size_t count;  /* <= MG_DNS_ADDRS */
  struct mg_ip addrs[MG_DNS_ADDRS];
};

/* A host name: labels of 1 to 63 letters, digits, '-' and '_', at most 253
 * characters in all, a dot at its end or not. The last label is no number:
 * such a text is a mistyped address. false: it is none; *out is undefined. */
bool mg__dns_name(struct mg_str text, struct mg_dns_name *out);
/* Write a query with recursion desired, RFC 1035 section 4; its length. */
size_t mg__dns_query_write(uint8_t to[MG_DNS_QUERY], uint16_t id, const struct mg_dns_name *name,
                           uint16_t type);
/* Read buf[0..len) as the answer to that query; out->status and what belongs
 * to it. Touches no byte behind len, allocates nothing. */
void mg__dns_parse(const uint8_t *buf, size_t len, uint16_t id, const struct mg_dns_name *name,
                   uint16_t type, struct mg_dns_answer *out);

/* ---- dns_config.c --------------------------------------------------------- */

struct mg_dns_server {
  struct mg_sockaddr addr;
  bool is_tcp;
};

struct mg_dns_config {
  unsigned refs; /* those who look at it; freed with the last */
  size_t num_servers, num_search;
  struct mg_dns_server servers[MG_DNS_SERVERS];
  char search[MG_DNS_SEARCH][MG_DNS_TEXT + 1];
  uint32_t timeout_ms; /* before a try is repeated */
  unsigned ndots, attempts;
  bool rotate;
};

/* resolv.conf(5): nameserver, domain, search, options. Lines it can't use it
 * leaves out; without a server it is 127.0.0.1. */
void mg__dns_config_read(const struct mg_os *os, struct mg_str text, struct mg_dns_config *out);
/* "address", "address:port", "udp://...", "tcp://...", addresses numeric. */
bool mg__dns_server(const struct mg_os *os, struct mg_str text, struct mg_dns_server *out);
/* Take the next word, blanks around it dropped, off the front of *rest; its
 * len is 0 when there is none. */
struct mg_str mg__dns_word(struct mg_str *rest);
/* Append a suffix of the search list if it is a name and there is room. */
bool mg__dns_config_search(struct mg_dns_config *config, struct mg_str suffix);
/* The addresses of name in the text of hosts(5), case and a dot at the end
 * ignored, at most cap. */
size_t mg__hosts_find(const struct mg_os *os, struct mg_str text, struct mg_str name,
                      struct mg_ip *out, size_t cap);
bool mg__ip_from(const struct mg_sockaddr *a, struct mg_ip *out);
void mg__ip_sockaddr(const struct mg_ip *ip, uint16_t port, struct mg_sockaddr *out);
/* "x.localhost": RFC 6761 section 6.3. ("localhost" itself included.) */
bool mg__dns_is_loopback(struct mg_str host);

/* A text file that is read again when it has changed. */
struct mg_dns_file {
  char *path; /* owned; NULL: none */
  struct mg_file_stamp stamp;
  bool is_read; /* text is what the file held at that stamp */
  char *text;   /* owned */
  size_t len;
};
/* true: the text is another one than before. */
bool mg__dns_file_refresh(struct mg_mgr *mgr, struct mg_dns_file *file, size_t max);
void mg__dns_file_free(struct mg_dns_file *file);

/* ---- dns_cache.c ----------------------------------------------------------- */

struct mg_dns_cache {
  struct mg_idmap by_key;
  struct mg_link used; /* longest unused first */
  size_t count;
};
void mg__dns_cache_init(struct mg_dns_cache *cache);
/* Keep an answer (MG_DNS_OK, MG_DNS_NO_NAME, MG_DNS_NO_DATA; others are not
 * kept) for its time; at most max of them. Out of memory: it is not kept. */
void mg__dns_cache_put(struct mg_dns_cache *cache, const struct mg_dns_name *name, uint16_t type,
                       const struct mg_dns_answer *answer, uint64_t now, uint64_t max);
bool mg__dns_cache_get(struct mg_dns_cache *cache, const struct mg_dns_name *name, uint16_t type,
                       uint64_t now, struct mg_dns_answer *out);
void mg__dns_cache_clear(struct mg_dns_cache *cache);
uint64_t mg__dns_hash(const uint8_t *data, size_t len, uint64_t seed); /* never 0 */

/* ---- dns_query.c ------------------------------------------------------------ */

struct mg_dns_query;

struct mg_dns_slot { /* one server, as far as a question was put to it */
  struct mg_watch watch;
  struct mg_dns_query *query;
  uint16_t id;
  bool is_tcp, is_failed;
  uint8_t *in; /* TCP: the answer, its two bytes of length included; owned */
  size_t in_len, in_size, sent;
};

struct mg_dns_query { /* one question: a name, a type */
  struct mg_mgr *mgr;
  const struct mg_dns_config *config;
  const struct mg_dns_name *name;
  uint16_t type;
  unsigned tries;  /* so far */
  unsigned server; /* asked last */
  bool is_done;    /* answer.status tells how */
  bool was_asked;  /* a server took the question */
  struct mg_alarm alarm; /* when the running try has had its time */
  struct mg_dns_slot slots[MG_DNS_SERVERS];
  struct mg_dns_answer answer;
  void (*on_done)(struct mg_dns_query *q); /* may free it; not called inside mg__dns_ask() */
};
/* Before all else, once. */
void mg__dns_query_init(struct mg_dns_query *q);
/* Ask; a question that was asked before is over. mgr, config, name, type and on_done are
 * the caller's to set; room for its alarm was reserved. */
void mg__dns_ask(struct mg_dns_query *q, unsigned first_server);
/* Close its sockets; harmless when repeated. */
void mg__dns_query_end(struct mg_dns_query *q);

/* ---- dns.c -------------------------------------------------------------------- */

struct mg_resolution;

struct mg_lookup { /* a host name that a connection waits for */
  struct mg_link link;    /* in a list of the connection's */
  struct mg_link *done;   /* that list of the connection where it goes when it is done */
  struct mg_link waiting; /* in a list of the resolution's; alone when it does not wait */
  struct mg_resolution *resolution; /* it waits for */
  struct mg_connection *c;
  bool for_connect;
  uint16_t port;
  int status;   /* once it is done: MG_DNS_OK, MG_DNS_NO_NAME, _NO_DATA, _FAILED, _TIMEOUT, _NO_SERVER */
  size_t count;
  struct mg_ip addrs[2 * MG_DNS_ADDRS]; /* best first */
  size_t host_len;
  char host[MG_DNS_TEXT + 2]; /* as it was asked for */
};

/* Have the host looked up. It is done now, or later; then it is moved to l->done, and
 * its connection has something to do. false: out of memory. */
bool mg__dns_start(struct mg_mgr *mgr, struct mg_lookup *l);
/* Forget about it: nothing will be written to it any more. */
void mg__dns_cancel(struct mg_lookup *l);
/* Milliseconds between two attempts to connect. A name has been asked for. */
uint64_t mg__dns_attempt_delay(const struct mg_mgr *mgr);

#endif
