/* dns_cache.c: answers that still hold, by name and type.
 *
 * A bounded number, the longest unused goes first. The time is that of the
 * records, cut to an hour; that a name has no address is believed for half a
 * minute. Failures of servers are not kept: the next look-up asks again. */
#include "dns.h"

struct dns_cached {
  struct mg_link used; /* in cache->used */
  uint64_t key;
  uint64_t until; /* ms of the manager's clock */
  int status;
  uint16_t type;
  uint8_t name_len;
  uint8_t count;
  struct mg_ip addrs[]; /* count of them, then the name */
};

static uint8_t *cached_name(struct dns_cached *e) { return (uint8_t *) (e->addrs + e->count); }

/* FNV-1a. Whoever makes two names collide has one of them forgotten, no more: an entry
 * is compared by its name. */
uint64_t mg__dns_hash(const uint8_t *data, size_t len, uint64_t seed) {
  uint64_t h = UINT64_C(0xcbf29ce484222325) ^ seed;
  for (size_t i = 0; i < len; i++) h = (h ^ data[i]) * UINT64_C(0x100000001b3);
  return h == 0 ? 1 : h;
}

void mg__dns_cache_init(struct mg_dns_cache *cache) {
  memset(cache, 0, sizeof(*cache));
  mg__link_init(&cache->used);
}

static void cache_drop(struct mg_dns_cache *cache, struct dns_cached *e) {
  mg__idmap_del(&cache->by_key, e->key);
  mg__link_del(&e->used);
  mg__free(e);
  cache->count--;
}

static uint64_t cache_seconds(const struct mg_dns_answer *answer) {
  if (answer->status == MG_DNS_NO_NAME || answer->status == MG_DNS_NO_DATA)
    return MG_DNS_NEGATIVE_TTL;
  if (answer->status != MG_DNS_OK) return 0;
  return answer->ttl < MG_DNS_MAX_TTL ? answer->ttl : MG_DNS_MAX_TTL;
}

void mg__dns_cache_put(struct mg_dns_cache *cache, const struct mg_dns_name *name, uint16_t type,
                       const struct mg_dns_answer *answer, uint64_t now, uint64_t max) {
  uint64_t key = mg__dns_hash(name->wire, name->len, type), seconds = cache_seconds(answer);
  struct dns_cached *e = mg__idmap_get(&cache->by_key, key);
  if (e != NULL) cache_drop(cache, e);
  if (seconds == 0 || max == 0) return;
  while (cache->count >= max)
    cache_drop(cache, MG_CONTAINER(cache->used.next, struct dns_cached, used));
  e = mg__calloc(sizeof(*e) + answer->count * sizeof(e->addrs[0]) + name->len);
  if (e == NULL) return;
  if (!mg__idmap_put(&cache->by_key, key, e)) {
    mg__free(e);
    return;
  }
  e->key = key;
  e->until = now + seconds * 1000;
  e->status = answer->status;
  e->type = type;
  e->count = (uint8_t) answer->count;
  e->name_len = name->len;
  memcpy(e->addrs, answer->addrs, answer->count * sizeof(e->addrs[0]));
  memcpy(cached_name(e), name->wire, name->len);
  mg__link_init(&e->used);
  mg__link_add_tail(&cache->used, &e->used);
  cache->count++;
}

bool mg__dns_cache_get(struct mg_dns_cache *cache, const struct mg_dns_name *name, uint16_t type,
                       uint64_t now, struct mg_dns_answer *out) {
  struct dns_cached *e = mg__idmap_get(&cache->by_key, mg__dns_hash(name->wire, name->len, type));
  if (e == NULL || e->type != type || e->name_len != name->len ||
      memcmp(cached_name(e), name->wire, name->len) != 0)
    return false;
  if (now >= e->until) {
    cache_drop(cache, e);
    return false;
  }
  mg__link_del(&e->used);
  mg__link_add_tail(&cache->used, &e->used);
  out->status = e->status;
  out->ttl = (uint32_t) ((e->until - now) / 1000);
  out->count = e->count;
  memcpy(out->addrs, e->addrs, e->count * sizeof(e->addrs[0]));
  return true;
}

void mg__dns_cache_clear(struct mg_dns_cache *cache) {
  while (!mg__link_empty(&cache->used))
    cache_drop(cache, MG_CONTAINER(cache->used.next, struct dns_cached, used));
  mg__idmap_free(&cache->by_key);
}
