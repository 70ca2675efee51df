/* mqtt_match.c: topic names and topic filters, MQTT 5.0 sections 1.5.4 and 4.7.
 *
 * Which texts are one, and which filter takes which topic. Bytes in, a verdict
 * out. Version 3.1.1 has the same rules but for shared subscriptions, which
 * servers of that version offer under the same name. */
#include "mqtt.h"

static const char mqtt_share[] = "$share/";
enum { MQTT_SHARE_LEN = sizeof(mqtt_share) - 1 };

bool mg__mqtt_text_ok(struct mg_str s) {
  size_t i = 0;
  while (i < s.len) {
    unsigned char byte = (unsigned char) s.buf[i];
    size_t n = byte < 0x80 ? byte != 0 : mg__utf8(s.buf + i, s.len - i);
    if (n == 0) return false;
    i += n;
  }
  return true;
}

static bool mqtt_is_wildcard(char ch) { return ch == '+' || ch == '#'; }

bool mgx_mqtt_topic_ok(const char *topic, size_t len) {
  if (len == 0 || len > UINT16_MAX) return false;
  for (size_t i = 0; i < len; i++)
    if (mqtt_is_wildcard(topic[i])) return false;
  return mg__mqtt_text_ok((struct mg_str){topic, len});
}

/* Where the filter proper begins: behind "$share/name/". 0 when it is not shared, len
 * when that prefix is malformed. */
static size_t mqtt_share_prefix(const char *filter, size_t len) {
  size_t i = MQTT_SHARE_LEN;
  if (len < MQTT_SHARE_LEN || memcmp(filter, mqtt_share, MQTT_SHARE_LEN) != 0) return 0;
  while (i < len && filter[i] != '/' && !mqtt_is_wildcard(filter[i])) i++;
  return i == MQTT_SHARE_LEN || i == len || filter[i] != '/' ? len : i + 1;
}

bool mg__mqtt_is_shared(struct mg_str filter) {
  return mqtt_share_prefix(filter.buf, filter.len) > 0;
}

/* A wildcard has its level for itself, and # is the last one: section 4.7.1. */
static bool mqtt_wildcards_ok(const char *filter, size_t len) {
  for (size_t i = 0; i < len; i++) {
    if (!mqtt_is_wildcard(filter[i])) continue;
    if (i > 0 && filter[i - 1] != '/') return false;
    if (i + 1 < len && (filter[i] == '#' || filter[i + 1] != '/')) return false;
  }
  return true;
}

bool mgx_mqtt_filter_ok(const char *filter, size_t len) {
  size_t start;
  if (len == 0 || len > UINT16_MAX) return false;
  start = mqtt_share_prefix(filter, len);
  return start < len && mqtt_wildcards_ok(filter + start, len - start) &&
         mg__mqtt_text_ok((struct mg_str){filter, len});
}

/* Level by level. A filter that is no proper one has a wildcard where it cannot be equal
 * to anything, for a topic has none. */
static bool mqtt_match_levels(const char *f, const char *f_end, const char *t, const char *t_end) {
  for (;;) {
    if (f < f_end && *f == '#') return f + 1 == f_end;
    if (f < f_end && *f == '+') {
      f++;
      while (t < t_end && *t != '/') t++;
    } else {
      while (f < f_end && t < t_end && *f == *t && *f != '/') f++, t++;
    }
    if (t == t_end) return f == f_end || (f_end - f == 2 && f[0] == '/' && f[1] == '#');
    if (f == f_end || *f != '/' || *t != '/') return false;
    f++, t++;
  }
}

bool mgx_mqtt_match(const char *filter, size_t filter_len, const char *topic, size_t topic_len) {
  size_t start = mqtt_share_prefix(filter, filter_len);
  if (start == filter_len || topic_len == 0) return false;
  if (mqtt_is_wildcard(filter[start]) && topic[0] == '$') return false; /* section 4.7.2 */
  return mqtt_match_levels(filter + start, filter + filter_len, topic, topic + topic_len);
}
