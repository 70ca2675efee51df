/* mqtt_session.c: messages of QoS 1 and 2 on their way, MQTT 5.0 sections 4.1,
 * 4.3 and 4.4.
 *
 * A session knows what was sent and not acknowledged, what waits to be sent,
 * and which messages of QoS 2 were received and not released. Clients and
 * servers have the same, as both send and receive. One with a number outlives
 * its connection; a message in it keeps its parts, not its packet, for the next
 * connection may be of another version. */
#include "mqtt.h"

enum {
  MQTT_IDS = 65536,
  MQTT_FIRST_IDS = 16,              /* size of a session's first table */
  MQTT_PUMP_BACKLOG = 256 * 1024,   /* unsent bytes above which messages wait in the session */
};

static struct mg_mqtt_out *mqtt_out(struct mg_link *l) {
  return MG_CONTAINER(l, struct mg_mqtt_out, link);
}

void mg__mqtt_session_init(struct mg_mqtt_session *s) {
  memset(s, 0, sizeof(*s));
  mg__link_init(&s->queue);
  mg__link_init(&s->released);
  mg__link_init(&s->others);
  s->next = &s->queue;
}

/* ---- identifiers ------------------------------------------------------------------ */

static struct mg_mqtt_out *mqtt_find(const struct mg_mqtt_session *s, uint16_t id) {
  struct mg_mqtt_out *out = s->by_id == NULL ? NULL : s->by_id[id & s->id_mask];
  return out != NULL && out->id == id ? out : NULL;
}

/* Twice as large: what did not collide before does not now. */
static bool mqtt_ids_grow(struct mg_mqtt_session *s) {
  size_t old = s->by_id == NULL ? 0 : s->id_mask + 1, size = old == 0 ? MQTT_FIRST_IDS : 2 * old;
  struct mg_mqtt_out **more = mg__calloc(size * sizeof(struct mg_mqtt_out *));
  if (more == NULL) return false;
  for (size_t i = 0; i < old; i++)
    if (s->by_id[i] != NULL) more[s->by_id[i]->id & (size - 1)] = s->by_id[i];
  mg__free(s->by_id);
  s->by_id = more;
  s->id_mask = size - 1;
  return true;
}

/* The next identifier that is not in use; its place in the table is free. 0: out of memory. */
static uint16_t mqtt_next_id(struct mg_mqtt_session *s) {
  uint16_t id = s->last_id;
  assert(s->in_use < MQTT_IDS - 1);
  do {
    id = id == UINT16_MAX ? 1 : (uint16_t) (id + 1);
  } while (mqtt_find(s, id) != NULL);
  while (s->by_id == NULL || s->by_id[id & s->id_mask] != NULL)
    if (!mqtt_ids_grow(s)) return 0;
  s->last_id = id;
  return id;
}

static void mqtt_ids_put(struct mg_mqtt_session *s, struct mg_mqtt_out *out) {
  s->by_id[out->id & s->id_mask] = out;
  s->in_use++;
}

/* ---- what is in it ------------------------------------------------------------------ */

static size_t mqtt_out_size(const struct mg_mqtt_out *out) {
  size_t bytes = out->is_kept ? out->topic_len + (size_t) out->props_len + out->data_len : 0;
  return sizeof(*out) + bytes;
}

static void mqtt_unlink(struct mg_mqtt_session *s, struct mg_mqtt_out *out) {
  if (s->next == &out->link) s->next = out->link.next;
  mg__link_del(&out->link);
}

/* It is through, or given up: the identifier is free again. */
static void mqtt_done(struct mg_mqtt_session *s, struct mg_mqtt_out *out) {
  mqtt_unlink(s, out);
  s->by_id[out->id & s->id_mask] = NULL;
  s->in_use--;
  if (out->state == MG_MQTT_SENT || out->state == MG_MQTT_RELEASED) s->under_way--;
  if (out->state != MG_MQTT_OTHER) {
    s->pending--;
    s->bytes -= mqtt_out_size(out);
  }
  mg__free(out);
}

static void mqtt_all_done(struct mg_mqtt_session *s, struct mg_link *list) {
  while (!mg__link_empty(list)) mqtt_done(s, mqtt_out(list->next));
}

static void mqtt_forget_received(struct mg_mqtt_session *s) {
  mg__free(s->received);
  s->received = NULL;
  s->num_received = 0;
}

void mg__mqtt_session_clear(struct mg_mqtt_session *s) {
  mqtt_all_done(s, &s->queue);
  mqtt_all_done(s, &s->released);
  mqtt_all_done(s, &s->others);
  mqtt_forget_received(s);
  mg__free(s->by_id);
  s->by_id = NULL;
}

/* ---- sending ---------------------------------------------------------------------------- */

static bool mqtt_may_send(const struct mg_mqtt_session *s) {
  return s->conn != NULL && !s->conn->is_closing && mg__mqtt(s->conn)->may_publish &&
         s->under_way < mg__mqtt(s->conn)->receive_maximum &&
         mg__conn_unsent(s->conn) < MQTT_PUMP_BACKLOG;
}

static struct mg_mqtt_publish mqtt_parts(struct mg_mqtt_out *out) {
  char *props = out->bytes + out->topic_len, *data = props + out->props_len;
  return (struct mg_mqtt_publish){
      .topic = {out->bytes, out->topic_len},
      .data = {data, out->data_len},
      .props = {props, out->props_len},
      .id = out->id,
      .flags = (uint8_t) (out->flags | (out->is_repeat ? MG_MQTT_DUP : 0)),
  };
}

void mg__mqtt_session_pump(struct mg_mqtt_session *s) {
  while (s->next != &s->queue && mqtt_may_send(s)) {
    struct mg_mqtt_out *out = mqtt_out(s->next);
    struct mg_mqtt_publish publish = mqtt_parts(out);
    int err = mg__mqtt_send_publish(s->conn, &publish);
    if (err == MGX_EPEER) { /* what the peer can take was not known when it came in */
      mg__log(s->conn->mgr, MG_LL_ERROR,
              "connection %llu: MQTT message %u dropped: larger than the server takes, or of a "
              "QoS or RETAIN it does not",
              (unsigned long long) s->conn->id, (unsigned) out->id);
      mqtt_done(s, out);
      continue;
    }
    if (err != MGX_OK) return; /* goes on when something has left */
    out->state = MG_MQTT_SENT;
    s->next = s->next->next;
    s->under_way++;
  }
}

static struct mg_mqtt_out *mqtt_out_new(const struct mg_mqtt_publish *p, bool is_kept) {
  size_t bytes = is_kept ? p->topic.len + p->props.len + p->data.len : 0;
  struct mg_mqtt_out *out = mg__malloc(sizeof(*out) + bytes);
  if (out == NULL) return NULL;
  memset(out, 0, sizeof(*out));
  out->flags = p->flags;
  out->is_kept = is_kept;
  out->topic_len = (uint16_t) p->topic.len;
  out->props_len = (uint32_t) p->props.len;
  out->data_len = (uint32_t) p->data.len;
  mg__link_init(&out->link);
  if (!is_kept) return out;
  memcpy(out->bytes, p->topic.buf, p->topic.len);
  if (p->props.len > 0) memcpy(out->bytes + p->topic.len, p->props.buf, p->props.len);
  if (p->data.len > 0) memcpy(out->bytes + p->topic.len + p->props.len, p->data.buf, p->data.len);
  return out;
}

static bool mqtt_queue_full(const struct mg_mgr *mgr, const struct mg_mqtt_session *s,
                            const struct mg_mqtt_publish *p) {
  uint64_t limit = mgr->limits.mqtt_queue;
  uint64_t size = sizeof(struct mg_mqtt_out) + p->topic.len + p->props.len + p->data.len;
  return s->in_use == MQTT_IDS - 1 ||
         (limit != 0 && (s->bytes > limit || size > limit - s->bytes));
}

/* It goes at once if it may and nothing goes before it. One that can't be sent again, for
 * its session ends with the connection, need not be kept then. */
int mg__mqtt_session_publish(struct mg_mgr *mgr, struct mg_mqtt_session *s,
                             struct mg_mqtt_publish *publish) {
  bool now = s->next == &s->queue && mqtt_may_send(s);
  struct mg_mqtt_out *out;
  int err = MGX_OK;
  if (mqtt_queue_full(mgr, s, publish)) return MGX_ELIMIT;
  out = mqtt_out_new(publish, !now || s->id != 0);
  if (out == NULL) return MGX_ENOMEM;
  publish->id = out->id = mqtt_next_id(s);
  if (out->id == 0)
    err = MGX_ENOMEM;
  else if (now)
    err = mg__mqtt_send_publish(s->conn, publish);
  if (err != MGX_OK) {
    mg__free(out);
    return err;
  }
  mqtt_ids_put(s, out);
  s->pending++;
  s->bytes += mqtt_out_size(out);
  mg__link_add_tail(&s->queue, &out->link);
  if (!now) {
    if (s->next == &s->queue) s->next = &out->link;
    return out->id;
  }
  out->state = MG_MQTT_SENT;
  s->under_way++;
  return out->id;
}

int mg__mqtt_session_take_id(struct mg_mqtt_session *s) {
  struct mg_mqtt_out *out;
  if (s->in_use == MQTT_IDS - 1) return MGX_ELIMIT;
  out = mg__calloc(sizeof(*out));
  if (out == NULL) return MGX_ENOMEM;
  out->state = MG_MQTT_OTHER;
  out->id = mqtt_next_id(s);
  if (out->id == 0) {
    mg__free(out);
    return MGX_ENOMEM;
  }
  mqtt_ids_put(s, out);
  mg__link_add_tail(&s->others, &out->link);
  return out->id;
}

void mg__mqtt_session_answered(struct mg_mqtt_session *s, uint16_t id) {
  struct mg_mqtt_out *out = mqtt_find(s, id);
  if (out != NULL && out->state == MG_MQTT_OTHER) mqtt_done(s, out);
}

/* ---- acknowledgements -------------------------------------------------------------------- */

static struct mg_mqtt_out *mqtt_find_at(struct mg_mqtt_session *s, uint16_t id, int state,
                                        unsigned qos) {
  struct mg_mqtt_out *out = mqtt_find(s, id);
  return out != NULL && out->state == state && (out->flags & MG_MQTT_QOS) == qos << 1 ? out : NULL;
}

bool mg__mqtt_session_puback(struct mg_mqtt_session *s, uint16_t id) {
  struct mg_mqtt_out *out = mqtt_find_at(s, id, MG_MQTT_SENT, 1);
  if (out != NULL) mqtt_done(s, out);
  return out != NULL;
}

/* The peer has the message: what is kept from now on is that it has. */
static void mqtt_released(struct mg_mqtt_session *s, struct mg_mqtt_out *out) {
  struct mg_mqtt_out *less;
  mqtt_unlink(s, out);
  s->bytes -= mqtt_out_size(out);
  out->is_kept = false;
  out->state = MG_MQTT_RELEASED;
  less = mg__realloc(out, sizeof(*out));
  if (less != NULL) out = less;
  s->by_id[out->id & s->id_mask] = out;
  s->bytes += mqtt_out_size(out);
  mg__link_add_tail(&s->released, &out->link);
}

bool mg__mqtt_session_pubrec(struct mg_mqtt_session *s, uint16_t id, bool refused) {
  struct mg_mqtt_out *out = mqtt_find_at(s, id, MG_MQTT_SENT, 2);
  if (out == NULL) return mqtt_find_at(s, id, MG_MQTT_RELEASED, 2) != NULL;
  if (refused)
    mqtt_done(s, out);
  else
    mqtt_released(s, out);
  return true;
}

bool mg__mqtt_session_pubcomp(struct mg_mqtt_session *s, uint16_t id) {
  struct mg_mqtt_out *out = mqtt_find_at(s, id, MG_MQTT_RELEASED, 2);
  if (out != NULL) mqtt_done(s, out);
  return out != NULL;
}

/* ---- receiving ------------------------------------------------------------------------------ */

int mg__mqtt_session_receive(struct mg_mqtt_session *s, uint16_t id) {
  uint8_t bit = (uint8_t) (1u << (id & 7));
  if (s->received == NULL) s->received = mg__calloc(MQTT_IDS / 8);
  if (s->received == NULL) return MGX_ENOMEM;
  if (s->received[id >> 3] & bit) return 0;
  s->received[id >> 3] |= bit;
  s->num_received++;
  return 1;
}

bool mg__mqtt_session_release(struct mg_mqtt_session *s, uint16_t id) {
  uint8_t bit = (uint8_t) (1u << (id & 7));
  if (s->received == NULL || (s->received[id >> 3] & bit) == 0) return false;
  s->received[id >> 3] &= (uint8_t) ~bit;
  s->num_received--;
  return true;
}

size_t mg__mqtt_session_waiting(const struct mg_mqtt_session *s) {
  size_t count = 0;
  for (const struct mg_link *l = s->next; l != &s->queue; l = l->next) count++;
  return count;
}

/* ---- from connection to connection -------------------------------------------------------------- */

/* What came before CONNECT was answered. */
static void mqtt_merge_received(struct mg_mqtt_session *s, struct mg_mqtt_session *own) {
  for (unsigned id = 1; own->num_received > 0 && id < MQTT_IDS; id++)
    if (mg__mqtt_session_release(own, (uint16_t) id)) mg__mqtt_session_receive(s, (uint16_t) id);
}

void mg__mqtt_session_attach(struct mg_mqtt_session *s, struct mg_connection *c) {
  assert(s->conn == NULL && mg__mqtt(c)->session == &mg__mqtt(c)->own);
  mqtt_merge_received(s, &mg__mqtt(c)->own);
  s->conn = c;
  mg__mqtt(c)->session = s;
}

/* What was sent waits again: nobody knows whether it arrived. */
static void mqtt_unsend(struct mg_mqtt_session *s) {
  for (struct mg_link *l = s->queue.next; l != s->next; l = l->next) {
    mqtt_out(l)->state = MG_MQTT_WAITS;
    mqtt_out(l)->is_repeat = true;
    s->under_way--;
  }
  s->next = s->queue.next;
  mqtt_all_done(s, &s->others);
}

static void mqtt_session_free(struct mg_mgr *mgr, struct mg_mqtt_session *s) {
  mg__idmap_del(&mgr->mqtt_sessions, s->id);
  mg__mqtt_session_clear(s);
  mg__free(s);
}

void mg__mqtt_session_detach(struct mg_connection *c) {
  struct mg_mqtt *m = mg__mqtt(c);
  struct mg_mqtt_session *s = m->session;
  if (s == &m->own) return;
  m->session = &m->own;
  s->conn = NULL;
  mqtt_unsend(s);
  if (s->is_freed) mqtt_session_free(c->mgr, s);
}

/* false: the connection has failed; who has the session now is not known. */
static bool mqtt_send_again(struct mg_mqtt_session *s) {
  struct mg_link *l = s->released.next;
  for (; l != &s->released; l = l->next)
    if (!mg__mqtt_send_ack(s->conn, MQTT_CMD_PUBREL, mqtt_out(l)->id, 0)) return false;
  return true;
}

/* The peer has forgotten: what it never had is new to it, what it had is through. */
static void mqtt_start_again(struct mg_mqtt_session *s) {
  mqtt_all_done(s, &s->released);
  mqtt_forget_received(s);
  for (struct mg_link *l = s->queue.next; l != &s->queue; l = l->next)
    mqtt_out(l)->is_repeat = false;
}

void mg__mqtt_session_resume(struct mg_mqtt_session *s, bool present) {
  if (!present) mqtt_start_again(s);
  if (present && !mqtt_send_again(s)) return;
  mg__mqtt_session_pump(s);
}

/* ---- by number ----------------------------------------------------------------------------------- */

struct mg_mqtt_session *mg__mqtt_session(struct mg_mgr *mgr, uint64_t id) {
  return id == 0 || mgr->is_closed ? NULL : mg__idmap_get(&mgr->mqtt_sessions, id);
}

struct mg_mqtt_session *mg__mqtt_session_to_give(struct mg_mgr *mgr, uint64_t id) {
  struct mg_mqtt_session *s = mg__mqtt_session(mgr, id);
  return s == NULL || s->is_freed ? NULL : s;
}

int64_t mgx_mqtt_session_new(struct mg_mgr *mgr) {
  struct mg_mqtt_session *s;
  int64_t result = MGX_ECLOSED;
  mg__lock(mgr);
  if (!mgr->is_closed) {
    result = MGX_ENOMEM;
    s = mg__malloc(sizeof(*s));
    if (s != NULL && mg__idmap_put(&mgr->mqtt_sessions, mgr->next_mqtt_session + 1, s)) {
      mg__mqtt_session_init(s);
      s->id = ++mgr->next_mqtt_session;
      result = (int64_t) s->id;
    } else {
      mg__free(s);
    }
  }
  mg__unlock(mgr);
  return result;
}

int mgx_mqtt_session_free(struct mg_mgr *mgr, uint64_t session) {
  struct mg_mqtt_session *s;
  mg__lock(mgr);
  s = mg__mqtt_session(mgr, session);
  if (s != NULL && s->conn == NULL)
    mqtt_session_free(mgr, s);
  else if (s != NULL)
    s->is_freed = true;
  mg__unlock(mgr);
  return s == NULL ? MGX_ECLOSED : MGX_OK;
}

int mgx_mqtt_session_info(struct mg_mgr *mgr, uint64_t session,
                          struct mgx_mqtt_session_info *info) {
  struct mg_mqtt_session *s;
  mg__lock(mgr);
  s = mg__mqtt_session(mgr, session);
  if (s != NULL)
    *info = (struct mgx_mqtt_session_info){s->conn == NULL ? 0 : s->conn->id, s->pending, s->bytes};
  mg__unlock(mgr);
  return s == NULL ? MGX_ECLOSED : MGX_OK;
}

void mg__mqtt_sessions_free(struct mg_mgr *mgr) {
  struct mg_idmap *map = &mgr->mqtt_sessions;
  for (size_t i = 0; map->slots != NULL && i <= map->mask; i++) {
    if (map->slots[i].id == 0) continue;
    mg__mqtt_session_clear(map->slots[i].ptr);
    mg__free(map->slots[i].ptr);
  }
  mg__idmap_free(map);
}
