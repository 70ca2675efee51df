/* internal.h: what the core's own files share.
 *
 * Layers, each knowing only those above it in this list:
 *
 *   os_posix.c poller_*.c   the operating system, behind struct mg_os
 *   iobuf.c idmap.c heap.c list (below)   data structures
 *   mgr.c emit.c conn.c io.c net.c timer.c wakeup.c watch.c log.c   the loop: knows
 *                           no protocol
 *   dns*.c dial.c           host names, see dns.h
 *   tls*.c                  TLS between socket and buffers, see tls.h
 *   http_*.c ws_*.c sntp*.c protocols: struct mg_proto is how the loop calls them
 *   utf8.c url.c match.c json.c multipart.c   text: no manager at all
 *
 * Everything named mg__ runs with the manager's lock held, unless it takes no
 * manager. A callback (mg__emit_*) lets the lock go while it runs; after it
 * returns everything must be looked at afresh, but for one promise: a
 * connection that is being processed (c->busy) is marked by a close, not
 * freed, and its receive buffer stays where it is. */
#ifndef MG_INTERNAL_H
#define MG_INTERNAL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#ifndef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64 /* off_t on 32-bit systems */
#endif
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../mongoose.h"
#if defined(MG_OLD_GLIBC) && defined(__GLIBC__)
#include "old_glibc.h"
#endif

enum {
  MG_IO_SIZE = 16384,           /* one pooled buffer block, one socket read */
  MG_POOL_BLOCKS = 64,          /* free blocks a manager keeps: 1 MiB */
  MG_ARENA_SIZE = 256 * 1024,   /* for buffers that live for a turn */
  MG_ACCEPT_BUDGET = 64,        /* per listener and turn */
  MG_HANDSHAKE_BUDGET = 32,     /* steps of TLS handshakes per turn: a signature is a millisecond */
  MG_DATAGRAM_BUDGET = 64,      /* per UDP socket and turn */
  MG_READ_BUDGET = 256 * 1024,  /* bytes per connection and turn */
  MG_WRITE_BUDGET = 1024 * 1024,
  MG_DIRECT_SIZE = 16 * 1024,   /* so many bytes are written at once rather than copied */
  MG_LINGER_BYTES = 1024 * 1024, /* discarded from a peer after we drained */
  MG_LINGER_MS = 2000,
  MG_ACCEPT_PAUSE_MS = 100, /* a listener rests this long when descriptors run out */
  MG_EVENTS = 512,          /* readiness reports per turn */
  MG_MAX_HEADERS = 1000,    /* ceiling of limits.header_count */
  MG_ENTROPY = 256,         /* random bytes fetched at a time */
  MG_INTERFACE_NAME = 64,   /* of a network interface, NUL included */
};

#define MG_CONTAINER(ptr, type, field) ((type *) (void *) ((char *) (ptr) - offsetof(type, field)))

/* Allocation goes through these so that tests can make the n-th one fail. */
void *mg__malloc(size_t n);
void *mg__calloc(size_t n);
void *mg__realloc(void *p, size_t n);
void mg__free(void *p);

/* ---- doubly linked ring ------------------------------------------------ */

struct mg_link {
  struct mg_link *next, *prev; /* itself when in no list */
};
static inline void mg__link_init(struct mg_link *l) { l->next = l->prev = l; }
static inline bool mg__link_empty(const struct mg_link *l) { return l->next == l; }
static inline void mg__link_del(struct mg_link *l) {
  l->prev->next = l->next;
  l->next->prev = l->prev;
  mg__link_init(l);
}
static inline void mg__link_add_tail(struct mg_link *list, struct mg_link *l) {
  l->next = list;
  l->prev = list->prev;
  list->prev->next = l;
  list->prev = l;
}
/* Move everything from one list to the end of another. */
static inline void mg__link_splice(struct mg_link *to, struct mg_link *from) {
  if (mg__link_empty(from)) return;
  from->next->prev = to->prev;
  to->prev->next = from->next;
  from->prev->next = to;
  to->prev = from->prev;
  mg__link_init(from);
}

/* ---- byte buffer: iobuf.c ---------------------------------------------- */

struct mg_iobuf {
  char *buf;   /* first valid byte */
  size_t len;  /* valid bytes */
  size_t size; /* bytes from buf to the end of the allocation; len <= size, always */
  size_t gap;  /* bytes consumed in front of buf, inside the allocation */
  bool in_arena; /* a slice of the pool's arena, not an allocation of its own */
};

/* Where buffers come from. A small or new buffer is a slice of the arena: most
 * live for less than a turn, so one after the other they lie close together in
 * the cache, and when none is left the arena starts again from its beginning.
 * One that outlives the turn moves out (mg__iobuf_settle). */
struct mg_pool {
  void *free; /* blocks of MG_IO_SIZE bytes */
  size_t count;
  char *arena;
  size_t arena_used, arena_slices;
};
void mg__pool_free(struct mg_pool *pool);

/* Make room for n more bytes behind len: false on OOM, buffer untouched. The
 * first block comes from the pool. Grows by half at least. */
bool mg__iobuf_reserve(struct mg_pool *pool, struct mg_iobuf *io, size_t n);
/* The same, but when the arena is full an empty buffer gets no more than it needs:
 * for one of thousands that are written at once. */
bool mg__iobuf_reserve_exact(struct mg_pool *pool, struct mg_iobuf *io, size_t n);
/* Reading is over: give the room behind len back that the arena can use. */
void mg__iobuf_trim(struct mg_pool *pool, struct mg_iobuf *io);
/* reserve + copy; all or nothing. */
bool mg__iobuf_add(struct mg_pool *pool, struct mg_iobuf *io, const void *data, size_t n);
/* Drop n <= len bytes from the front; O(1). Keeps the allocation. */
void mg__iobuf_del(struct mg_iobuf *io, size_t n);
/* Give memory back that an idle connection does not need: all of it when
 * empty, most of it when a short tail sits in a big block or in the arena. */
void mg__iobuf_settle(struct mg_pool *pool, struct mg_iobuf *io);
void mg__iobuf_free(struct mg_pool *pool, struct mg_iobuf *io);

/* ---- number -> pointer: idmap.c ---------------------------------------- */

struct mg_idmap { /* open addressing */
  struct mg_idmap_slot {
    uint64_t id; /* 0: free */
    void *ptr;
  } *slots;
  size_t mask, count; /* mask + 1 slots, a power of two, or none at all */
};
bool mg__idmap_put(struct mg_idmap *map, uint64_t id, void *ptr); /* false: OOM */
void *mg__idmap_get(const struct mg_idmap *map, uint64_t id);     /* NULL: not there */
void mg__idmap_del(struct mg_idmap *map, uint64_t id);
void mg__idmap_free(struct mg_idmap *map);

/* ---- deadlines: heap.c, a 4-ary heap ------------------------------------ */

struct mg_deadline {
  uint64_t at;  /* ms of the manager's clock */
  uint64_t seq; /* equal times fire in this order */
  size_t pos;   /* index in the heap + 1; 0: not in it */
};
struct mg_heap {
  struct mg_deadline **nodes;
  size_t len, cap;
};
/* Room for one more node, so that the next push can't fail; false: OOM. */
bool mg__heap_reserve(struct mg_heap *heap, size_t n);
/* Put it in or move it; call mg__heap_reserve() first when it is not in. */
void mg__heap_set(struct mg_heap *heap, struct mg_deadline *d, uint64_t at);
void mg__heap_del(struct mg_heap *heap, struct mg_deadline *d); /* no-op when not in */
void mg__heap_free(struct mg_heap *heap);

/* ---- the operating system: os_posix.c, poller_*.c ----------------------- */

enum { MG_POLL_IN = 1, MG_POLL_OUT = 2, MG_POLL_ERR = 4 };

struct mg_ready {
  uint64_t id;
  unsigned what; /* MG_POLL_... */
};

struct mg_poller; /* each backend's own */
struct mg_poller_ops {
  const char *name;
  /* 0 or -errno. All but wait() are called with the manager's lock held. what == 0:
   * nothing is reported, not even a hang-up. */
  int (*open)(struct mg_poller **out);
  void (*close)(struct mg_poller *p);
  int (*add)(struct mg_poller *p, int fd, uint64_t id, unsigned what);
  int (*mod)(struct mg_poller *p, int fd, uint64_t id, unsigned what);
  void (*del)(struct mg_poller *p, int fd);
  /* Take a snapshot of the interest for the coming wait(): 0 or -errno. */
  int (*prepare)(struct mg_poller *p);
  /* Without the lock. At most max reports to out; count, or -errno. */
  int (*wait)(struct mg_poller *p, struct mg_ready *out, int max, int ms);
  int (*fd)(struct mg_poller *p); /* a descriptor for foreign loops, or -1 */
};
extern const struct mg_poller_ops mg__poller_epoll, mg__poller_poll;

struct mg_file_stamp { /* by which a change of a file shows */
  bool exists; /* and is a regular file; else the others are 0 */
  uint64_t device, inode, size;
  int64_t modified_ns, changed_ns;
};

/* Every question to the system about sockets, time and chance goes through
 * here, so that a simulated world can take its place. Socket calls return
 * what POSIX's do but -errno for -1. */
struct mg_os {
  const struct mg_poller_ops *pollers[2]; /* epoll or NULL, poll */
  int (*socket)(int domain, int type);     /* non-blocking, close-on-exec */
  int (*close)(int fd);
  int (*bind)(int fd, const struct sockaddr *sa, socklen_t len);
  int (*listen)(int fd);
  int (*accept)(int fd, struct sockaddr *sa, socklen_t *len); /* non-blocking, close-on-exec */
  int (*connect)(int fd, const struct sockaddr *sa, socklen_t len);
  int (*connect_result)(int fd); /* SO_ERROR as -errno */
  int (*getsockname)(int fd, struct sockaddr *sa, socklen_t *len);
  int (*setsockopt)(int fd, int level, int name, int value);
  int (*shutdown_write)(int fd);
  ssize_t (*recv)(int fd, void *buf, size_t len);
  ssize_t (*send)(int fd, const void *buf, size_t len, bool more);
  ssize_t (*send2)(int fd, const void *first, size_t first_len, const void *second,
                   size_t second_len);
  ssize_t (*recvfrom)(int fd, void *buf, size_t len, struct sockaddr *sa, socklen_t *salen);
  ssize_t (*sendto)(int fd, const void *buf, size_t len, const struct sockaddr *sa, socklen_t salen);
  ssize_t (*sendfile)(int fd, int file, uint64_t ofs, size_t len);
  int (*wake_open)(int fds[2]);  /* fds[0] is readable after a signal; fds[1] may be the same */
  void (*wake_signal)(int fd);   /* async-signal-safe */
  void (*wake_clear)(int fd);
  uint64_t (*monotonic_ms)(void);
  int64_t (*monotonic_ns)(void);
  time_t (*wall_s)(void);
  int64_t (*wall_ns)(void); /* since 1970 */
  bool (*random)(void *buf, size_t len);
  uint64_t (*max_descriptors)(void);
  /* Small text files of the system: resolv.conf, hosts. */
  void (*file_stamp)(const char *path, struct mg_file_stamp *out);
  ssize_t (*file_read)(const char *path, char *buf, size_t cap); /* the first cap bytes */
  unsigned (*interface_index)(const char *name); /* 0: no such one */
};
extern const struct mg_os mg__os_posix;

/* ---- sockets and times of the core's own: watch.c ------------------------ */

struct mg_watch { /* fd and on_ready are set by its owner, fd -1 while there is none */
  int fd;
  unsigned what; /* MG_POLL_... */
  uint64_t id;   /* 0: not watched */
  void (*on_ready)(struct mg_mgr *mgr, struct mg_watch *w, unsigned what); /* may free it */
};
int mg__watch_add(struct mg_mgr *mgr, struct mg_watch *w, unsigned what); /* 0 or -errno */
int mg__watch_for(struct mg_mgr *mgr, struct mg_watch *w, unsigned what); /* 0 or -errno */
/* Watch it no more: the descriptor, which is the caller's now. */
int mg__watch_release(struct mg_mgr *mgr, struct mg_watch *w);
void mg__watch_close(struct mg_mgr *mgr, struct mg_watch *w); /* harmless when repeated */
void mg__watch_ready(struct mg_mgr *mgr, uint64_t id, unsigned what);

struct mg_alarm {
  struct mg_deadline due;
  void (*on_due)(struct mg_mgr *mgr, struct mg_alarm *a); /* may free it */
};
/* Room for n more alarms, so that none of them can fail to be set; false: OOM. */
bool mg__alarm_reserve(struct mg_mgr *mgr, size_t n);
void mg__alarm_unreserve(struct mg_mgr *mgr, size_t n); /* they are gone for good */
void mg__alarm_set(struct mg_mgr *mgr, struct mg_alarm *a, uint64_t at);
void mg__alarm_clear(struct mg_mgr *mgr, struct mg_alarm *a);
void mg__alarms_run(struct mg_mgr *mgr);

/* ---- addresses: net.c --------------------------------------------------- */

struct mg_sockaddr {
  union {
    struct sockaddr sa;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
  } u;
  socklen_t len; /* 0: not known */
};
/* Text form; an IPv4-mapped IPv6 address becomes plain IPv4. */
void mg__addr_text(const struct mg_sockaddr *a, struct mgx_addr *out);
/* "a.b.c.d", "::1", "[fe80::1%2]", "localhost" (any case), "" (0.0.0.0): true.
 * *out is touched on success only; its port is 0. */
bool mg_aton(struct mg_str host, struct mg_sockaddr *out);
void mg__addr_set_port(struct mg_sockaddr *a, uint16_t port);
/* "127.0.0.1:80", "[::1]:80", for messages. */
const char *mg__addr_print(const struct mg_sockaddr *a, char *buf, size_t size);

/* ---- connection --------------------------------------------------------- */

struct mg_connection;

/* A protocol on top of a connection. All are called with the lock held and
 * c->busy set; any of them may fire events, close, or take the protocol off. */
struct mg_proto {
  const char *name;
  /* It is connected, and MG_EV_CONNECT was told. May be NULL. */
  void (*on_connect)(struct mg_connection *c);
  /* recv has grown, or reading was resumed, or an answer is complete: take what can
   * be taken. */
  void (*on_data)(struct mg_connection *c);
  /* The peer will send no more. Left-over bytes are in recv. */
  void (*on_eof)(struct mg_connection *c);
  /* The send queue has run empty. May be NULL. */
  void (*on_sent)(struct mg_connection *c);
  /* c->deadline has passed. */
  void (*on_timeout)(struct mg_connection *c);
  /* Bytes the user wants to send: look at them first. 0 or MGX_E... */
  int (*on_send)(struct mg_connection *c, const char *data, size_t len);
  /* How much may wait in recv before reading stops. */
  uint64_t (*recv_limit)(const struct mg_connection *c);
  /* The connection goes away: release c->proto_data. */
  void (*free)(struct mg_connection *c);
};

struct mg_connection {
  struct mg_link link;  /* mgr->conns, newest last */
  struct mg_link todo;  /* mgr->todo: has deferred events or unread input to process */
  struct mg_link dirty; /* mgr->dirty: has something to flush or to close */
  struct mg_link polls; /* mgr->polls: subscribes to MG_EV_POLL */
  struct mg_mgr *mgr;
  uint64_t id;
  int fd;            /* -1: none (yet) */
  int handler;
  uint32_t mask;     /* wanted events, 1 << MG_EV_... */
  unsigned interest; /* what the poller watches for, MG_POLL_...; ~0u: not registered */
  struct mg_sockaddr loc, rem;
  struct mg_iobuf recv, send;
  const struct mg_proto *proto; /* NULL: raw */
  void *proto_data;             /* owned by proto */
  struct mg_tls *tls;           /* owned; a listener's is its children's; NULL: plain, or not yet */
  struct mg_dial *dial;         /* dial.c: names it waits for; owned, NULL for most */
  struct mg_deadline timer;     /* in mgr->deadlines; may be earlier than deadline */
  uint64_t deadline;            /* ms; 0: none. mg__conn_set_deadline() */
  uint64_t linger_left;         /* bytes still to be discarded while lingering */
  size_t expect;                /* protocol: bytes worth reading at once; 0: a block */
  size_t keep;                  /* mgx_recv_keep() of the running MG_EV_READ */
  size_t event_len;             /* bytes the running MG_EV_READ was given */
  int file;                     /* being sent after `send`, or -1 */
  uint64_t file_ofs, file_left;
  char *name; /* unix listener: its path, removed on close; client: the host of its URL; owned */
  uint64_t stall_at;            /* ms; 0: none. When a peer that does not read is given up */
  uint32_t deferred;            /* 1 << MG_EV_...: events left to the loop by another thread */
  char *error_text;             /* of a deferred MG_EV_ERROR; owned */
  size_t kept;                  /* recv[0..kept) was seen by the handler and kept */
  unsigned busy;                /* on somebody's stack: not to be freed */
  bool accept_http; /* listener: accepted connections speak HTTP */
  bool accept_mqtt; /* ... or MQTT */
  bool is_listening, is_client, is_accepted, is_connecting, is_tls, is_udp, is_unix, is_websocket;
  bool is_tls_url;   /* its URL says so: never plain text */
  bool has_read;     /* some bytes of the peer have come: it was spoken with */
  bool is_readable, is_writable;
  bool is_closing;   /* goes away at the end of the turn, or now if nobody polls */
  bool is_draining;  /* closes once the send queue is empty; its input is discarded */
  bool is_lingering; /* closed to the user; waiting for the peer's end */
  bool is_paused;    /* mgx_pause() */
  bool is_eof;       /* the peer has sent its last byte */
  bool is_error;     /* MG_EV_ERROR was fired: once only */
  bool is_closed;    /* MG_EV_CLOSE was fired */
  bool is_known;     /* the binding has seen its number: tell it of the end */
  bool is_reset;     /* the peer cut the connection instead of ending it */
  bool is_resting;   /* listener: out of descriptors until the deadline */
  bool in_read;      /* MG_EV_READ with data is running */
  bool quiet_read;   /* protocol: these bytes were told by MG_EV_READ already */
  bool is_blocked;   /* the last write found no room */
  bool has_sent;     /* bytes left outside of mg__io_flush(), which owes an MG_EV_WRITE */
  bool is_posted;    /* a message of it is held back: its input goes on in mg__io_resume() */
  bool input_grown;  /* ... which owes it an MG_EV_READ */
  int input_result;  /* ... and what read_stream() had said: 1, 0, -errno */
};

enum { MG_EVENT_BATCH = 64 };

struct mg_event_batch { /* events without data that are delivered together */
  size_t count;
  struct mg_connection *conns[MG_EVENT_BATCH]; /* busy */
  uint64_t ids[MG_EVENT_BATCH];
  int evs[MG_EVENT_BATCH];
};

struct mg_tls_ctx;

struct mg_handler { /* what the binding calls a handler: see mongoose.h */
  uint32_t mask, accepted_mask;
  int refs; /* connections that have it */
  bool is_used;
};

struct mg_dns;

struct mg_mgr {
  pthread_mutex_t lock;
  uint32_t tag;
  const struct mgx_callbacks *cb;
  const struct mg_os *os;
  const struct mg_poller_ops *poller_ops;
  struct mg_poller *poller;
  struct mgx_limits limits;
  struct mg_link conns, todo, dirty, polls;
  struct mg_link lingering; /* connections the user has seen the end of */
  unsigned emitting;        /* callbacks that run right now, on whatever thread */
  struct mg_idmap by_id, timers_by_id;
  struct mg_idmap mqtt_sessions; /* mqtt_session.c; they outlive connections */
  uint64_t next_mqtt_session;
  uint64_t nextid, next_timer, next_seq;
  size_t num_conns; /* lingering ones included */
  struct mg_heap deadlines, timers;
  struct mg_idmap watches; /* watch.c */
  uint64_t next_watch;
  struct mg_heap alarms;
  size_t num_alarms; /* there is room for */
  struct mg_dns *dns; /* dns.c: owned; NULL until a name is asked for */
  uint64_t timers_now; /* `now` when mg__timers_run() last looked */
  struct mg_pool pool;
  struct mg_handler *handlers; /* mgr.c */
  int num_handlers;
  struct mg_tls_ctx **tls_ctxs; /* tls_context.c: by number; owned */
  int num_tls_ctxs;
  struct mg_link handshakes; /* tls.c: of accepted connections, oldest first */
  size_t num_handshakes;
  int handshakes_left; /* steps of them in this turn */
  struct mg_link wakeups;      /* wakeup.c */
  uint64_t wakeup_bytes;       /* in it */
  uint64_t wakeup_id;
  int wake_fds[2];
  bool wake_signalled;
  uint64_t now; /* ms, read once a turn */
  time_t date_at;      /* second that date[] is for */
  char date[40];       /* "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n" */
  size_t date_len;
  bool send_date;
  bool is_polling;  /* mg_mgr_poll() is active ... */
  pthread_t poller_thread; /* ... on this thread */
  bool is_waiting;  /* ... and waits without the lock */
  bool is_external; /* somebody watches mgx_mgr_fd() */
  bool is_closed;
  bool interrupted; /* the next wait ends at once */
  bool leave;       /* mgx_mgr_break() */
  bool is_forked;   /* mg_mgr_free() runs in a child of the process that made it */
  pid_t pid;        /* the process that made it */
  void *http_scratch; /* http.c: the messages being looked at; owned */
  /* Events that a protocol holds back to deliver them together: called when it
   * has no room for another one, and at the end of each stage of a turn. */
  void (*run_posted)(struct mg_mgr *mgr);
  size_t posted;     /* how many there are */
  bool posted_full;
  struct mg_ws_batch *ws_batch; /* the same for WebSocket messages; owned, or NULL */
  uint8_t entropy[MG_ENTROPY]; /* ws.c: random bytes, each used once */
  size_t entropy_left;
  struct mg_ready ready[MG_EVENTS];
  struct mg_event_batch events;
  struct mg_log_line *log_first, *log_last; /* log.c: lines waiting for a moment without the lock */
  size_t log_count;
};

static inline void mg__lock(struct mg_mgr *mgr) { pthread_mutex_lock(&mgr->lock); }
static inline void mg__unlock(struct mg_mgr *mgr) { pthread_mutex_unlock(&mgr->lock); }

/* conn.c */
struct mg_connection *mg__conn_find(struct mg_mgr *mgr, uint64_t id); /* NULL: gone */
/* A connection without a socket, in mgr->conns, with handler 0's events off
 * until mg__conn_set_handler(). NULL: OOM or too many. */
struct mg_connection *mg__conn_new(struct mg_mgr *mgr);
void mg__conn_set_handler(struct mg_connection *c, int handler);
/* Set or (at == 0) clear the time after which on_timeout() runs; cheap when it
 * moves into the future. */
void mg__conn_set_deadline(struct mg_connection *c, uint64_t at);
/* The earlier one of deadline and stall_at; 0: none. */
uint64_t mg__conn_due(const struct mg_connection *c);
/* The send queue waits for a peer that does not read. */
void mg__conn_stalled(struct mg_connection *c);
/* When a peer is given up that does not go on; instead of what mg__conn_stalled() set. */
void mg__conn_set_stall(struct mg_connection *c, uint64_t at);
/* Tell the poller what c is waiting for now. */
void mg__conn_watch(struct mg_connection *c);
/* Mark: MG_EV_CLOSE and the end come from the loop. */
void mg__conn_close(struct mg_connection *c);
/* Close once everything queued has left. */
void mg__conn_drain(struct mg_connection *c);
/* Fire MG_EV_ERROR (once per connection), then close. */
void mg__conn_error(struct mg_connection *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void mg__conn_fail(struct mg_connection *c, const char *text, size_t len);
/* Fire MG_EV_ERROR (once per connection), but let what is queued leave before
 * it closes: it tells the peer why. */
void mg__conn_abandon(struct mg_connection *c, const char *text, size_t len);
/* Append n bytes, for which there is room, to the send queue. Many are written to the
 * socket at once as far as it takes them, and not copied. */
void mg__conn_append(struct mg_connection *c, const void *data, size_t n);
/* Append to the send queue without asking the protocol. 0, MGX_ELIMIT,
 * MGX_ENOMEM: all or nothing. */
int mg__conn_queue(struct mg_connection *c, const void *data, size_t len);
/* Room for n more bytes, so that queueing them can't fail. */
int mg__conn_queue_reserve(struct mg_connection *c, size_t len);
/* The same for one of many that get these bytes at once: an empty queue takes no
 * more memory than it needs. */
int mg__conn_queue_exact(struct mg_connection *c, size_t len);
/* Send file[ofs..ofs+len) after what is queued; owns the descriptor from now on. */
void mg__conn_queue_file(struct mg_connection *c, int file, uint64_t ofs, uint64_t len);
/* Forget all that is queued. */
void mg__conn_drop_queue(struct mg_connection *c);
/* Unsent bytes, the file's included. */
uint64_t mg__conn_unsent(const struct mg_connection *c);
/* Have on_data() called (again) in this or the next turn. */
void mg__conn_todo(struct mg_connection *c);
void mg__conn_dirty(struct mg_connection *c);
/* open.c: what every TCP socket gets. */
void mg__stream_options(const struct mg_os *os, int fd);
/* Register the socket with the poller; 0 or -errno. */
int mg__conn_register(struct mg_connection *c);
/* Bytes that may wait in recv before reading stops. */
uint64_t mg__conn_recv_limit(const struct mg_connection *c);
/* Take the protocol off: from now on the connection is raw. */
void mg__conn_detach(struct mg_connection *c);
/* Fire MG_EV_CLOSE, release everything (or go on lingering). Loop only. */
void mg__conn_finish(struct mg_connection *c);
/* Release without any event. */
void mg__conn_free(struct mg_connection *c);

/* io.c: what the loop does with a connection. */
void mg__io_ready(struct mg_connection *c, unsigned what);
void mg__io_input(struct mg_connection *c, bool grown); /* hand recv to protocol or handler */
void mg__io_resume(struct mg_connection *c); /* a posted event was delivered */
void mg__io_more(struct mg_connection *c);   /* there is input that no readiness tells of */
void mg__io_flush(struct mg_connection *c);
void mg__io_flushed(struct mg_connection *c); /* its second half, behind MG_EV_WRITE */
void mg__io_timeout(struct mg_connection *c);
void mg__io_connected(struct mg_connection *c); /* the socket of a client is there */
void mg__io_failed(struct mg_connection *c, int err); /* -errno: MG_EV_ERROR, and close */
int mg__io_send_datagram(struct mg_connection *c, const char *data, size_t len,
                         struct mgx_error *err);

/* emit.c: callbacks. Each fires only what the mask wants and returns false when the
 * caller should stop delivering: the connection is closing, or the loop is to
 * be left. */
static inline bool mg__wants(const struct mg_connection *c, int ev) {
  return (c->mask >> ev) & 1u;
}
bool mg__emit(struct mg_connection *c, int ev);
/* The same, but held back to be delivered together with others of this stage
 * of the turn. After an MG_EV_WRITE mg__io_flushed() is called. Loop only. */
void mg__post(struct mg_connection *c, int ev);
void mg__run_events(struct mg_mgr *mgr);
bool mg__emit_data(struct mg_connection *c, int ev, const char *data, size_t len);
bool mg__emit_http(struct mg_connection *c, int ev, const struct mgx_http_event *event);
size_t mg__emit_http_batch(struct mg_mgr *mgr, struct mg_connection *const *c, const uint64_t *conns,
                           const struct mgx_http_event *events, size_t count);
bool mg__emit_ws_open(struct mg_connection *c, const struct mgx_http_event *event);
bool mg__emit_ws(struct mg_connection *c, int ev, int first, const char *data, size_t len);
bool mg__emit_mqtt(struct mg_connection *c, int ev, const struct mgx_mqtt_event *event);
int mg__emit_tls_name(struct mg_connection *c, const char *name, size_t len);
void mg__emit_tls_step(struct mg_connection *c, struct mgx_tls_step *step);
bool mg__emit_sntp(struct mg_connection *c, const struct mgx_sntp_result *result);
size_t mg__emit_ws_batch(struct mg_mgr *mgr, struct mg_connection *const *c, const uint64_t *conns,
                         const uint8_t *firsts, const uint32_t *ends, const char *data,
                         size_t count);
bool mg__emit_resolve(struct mg_connection *c); /* its address: c->rem */
/* mg__may_emit() holds: */
bool mg__emit_addrs(struct mg_connection *c, const struct mgx_addr *addrs, size_t count);
void mg__emit_deferred(struct mg_connection *c);
void mg__emit_close(struct mg_connection *c);
/* May this thread run callbacks now? If not they are left to the loop. */
bool mg__may_emit(const struct mg_mgr *mgr);

/* mgr.c */
struct mg_handler *mg__handler(struct mg_mgr *mgr, int h); /* NULL: no such one */
void mg__interrupt(struct mg_mgr *mgr);
struct mg_str mg__date_line(struct mg_mgr *mgr); /* with CR LF; "" when switched off */

/* log.c */
void mg__log(struct mg_mgr *mgr, int level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void mg__log_flush(struct mg_mgr *mgr); /* lets the lock go while lines are handed over */
void mg__log_free(struct mg_mgr *mgr);

/* dns.c */
void mg__dns_free(struct mg_mgr *mgr);
/* dial.c */
/* An address, or a name that means this machine: no look-up is needed. */
bool mg__host_literal(struct mg_str host, struct mg_sockaddr *out);
bool mg__host_is_name(struct mg_str host);
/* Make c a client that will connect to a host by its name; false: OOM, c is to be freed.
 * Then mg__dial_start() begins. */
bool mg__dial_new(struct mg_connection *c, struct mg_str host, uint16_t port);
void mg__dial_start(struct mg_connection *c);
/* Names were looked up: tell, connect. Loop only. */
void mg__dial_run(struct mg_connection *c);
/* A datagram from a client that is not connected yet waits; 0 or MGX_E... */
bool mg__dial_holds(const struct mg_connection *c);
int mg__dial_queue(struct mg_connection *c, const char *data, size_t len);
/* Drop all that it waits for; harmless when there is nothing. */
void mg__dial_free(struct mg_connection *c);

/* timer.c */
void mg__timers_run(struct mg_mgr *mgr);
void mg__timers_free(struct mg_mgr *mgr);
/* wakeup.c */
void mg__wakeups_run(struct mg_mgr *mgr);
void mg__wakeups_free(struct mg_mgr *mgr);

/* ---- TLS: tls.c; only for connections with is_tls ---------------------------- */

/* Have it speak TLS; ctx NULL: the context is still to come. 0 or MGX_E... */
int mg__tls_set(struct mg_connection *c, struct mg_tls_ctx *ctx, struct mg_str name);
int mg__tls_inherit(struct mg_connection *c, const struct mg_connection *listener);
struct mg_tls_ctx *mg__tls_ctx(struct mg_mgr *mgr, int number); /* NULL: no such one */
void mg__tls_ctx_free_all(struct mg_mgr *mgr);
/* Start the handshake if everything is there and it has not begun. */
void mg__tls_begin(struct mg_connection *c);
/* The handshake is not done: nothing leaves the send queue, but for what mg__tls_flush_plain()
 * writes: the last words that were meant to be plain. */
bool mg__tls_holds(const struct mg_connection *c);
void mg__tls_flush_plain(struct mg_connection *c);
unsigned mg__tls_interest(const struct mg_connection *c); /* meanwhile: MG_POLL_... */
/* The socket is ready: go on with the handshake. Is there data to be read and written? */
bool mg__tls_ready(struct mg_connection *c, unsigned what);
/* Its turn on the to-do list. */
void mg__tls_todo(struct mg_connection *c);
/* The rest: only where c->tls is set. Before the first mg__tls_recv() of a turn: */
void mg__tls_pump(struct mg_connection *c);
/* As struct mg_os.recv; what is behind the bytes given may be there already. */
ssize_t mg__tls_recv(struct mg_connection *c, char *buf, size_t len);
/* Send what reading has called for. */
void mg__tls_answer(struct mg_connection *c);
/* Has the engine more, of which no readiness tells? */
bool mg__tls_has_more(const struct mg_connection *c);
/* Say what was wrong with the stream, if that is known and to be said. */
bool mg__tls_recv_failed(struct mg_connection *c, int err);
/* Encrypt and write some of what is queued: bytes of progress, or -errno. */
ssize_t mg__tls_flush(struct mg_connection *c, size_t budget);
/* Encrypt and write what is queued and then these bytes: how many of these were taken. */
size_t mg__tls_send_now(struct mg_connection *c, const char *data, size_t len);
uint64_t mg__tls_unsent(const struct mg_connection *c); /* ciphertext */
/* The peer has ended the stream without close_notify. */
bool mg__tls_is_cut(const struct mg_connection *c);
/* Queue close_notify and write what goes, if everything else has left. */
void mg__tls_goodbye(struct mg_connection *c);
void mg__tls_free(struct mg_connection *c);

/* ---- text ---------------------------------------------------------------- */

/* utf8.c: length (1 to 4) of the character at the start of s[0..len), or 0
 * when there is none: RFC 3629 strictly. */
size_t mg__utf8(const char *s, size_t len);
/* url.c: 0 to 15, or -1. */
int mg__hex_digit(char ch);

/* ---- HTTP: parsing apart from I/O --------------------------------------- */

/* What a byte may be part of. */
enum {
  MG_HTTP_TOKEN = 1,  /* tchar, RFC 9110 section 5.6.2 */
  MG_HTTP_PATH = 2,   /* a request target before its '?' */
  MG_HTTP_QUERY = 4,  /* ... and behind */
  MG_HTTP_TEXT = 8,   /* a field value or reason: VCHAR, obs-text, SP, HTAB */
  MG_HTTP_HOST = 16,  /* a registered name, RFC 3986 section 3.2.2, escapes aside */
};
extern const uint8_t mg__http_class[256]; /* http_parse.c */
static inline bool mg__http_is(char ch, unsigned cls) {
  return (mg__http_class[(unsigned char) ch] & cls) != 0;
}

/* http_parse.c. All parsers here: > 0 consumed, 0 more needed, < 0 never: the
 * negative of the status code that fits (-400, -413, -414, -431, -501, -505). */

/* Parse a head (start line to empty line) at buf[0..len). Grammar only:
 * RFC 9112 sections 2 to 5, strict as spec'd there; responses are told from
 * requests by "HTTP/" at the start. `headers` has room for `cap` lines. Fills
 * msg but for body (empty, right behind the head). Touches no byte behind
 * len. Never allocates. */
int mg__http_parse(const char *buf, size_t len, const struct mgx_limits *limits,
                   struct mg_http_message *msg, struct mg_http_header *headers, size_t cap);

enum { MG_BODY_NONE, MG_BODY_LENGTH, MG_BODY_CHUNKED, MG_BODY_TO_END };
struct mg_http_framing {
  int kind;
  uint64_t length;       /* of MG_BODY_LENGTH */
  int status;            /* responses: the status code */
  bool keep_alive;       /* the connection may be used again after this message */
  bool keep_alive_token; /* "Connection: keep-alive" was said: HTTP/1.0 wants to hear it back */
  bool expect_continue;
  bool http10;
};
/* Decide how a message's body is framed: the one place, for servers and
 * clients alike (RFC 9112 section 6.3). Requests: also checks version, target
 * form, Host and Expect (-417). to_head: the response is to a HEAD request; to_connect: to
 * CONNECT. 0, or -status. */
int mg__http_framing_request(const struct mg_http_message *msg, struct mg_http_framing *out);
int mg__http_framing_response(const struct mg_http_message *msg, bool to_head, bool to_connect,
                              struct mg_http_framing *out);
/* Does the comma list in any header called name hold this token (case ignored)? */
bool mg__http_has_token(const struct mg_http_message *msg, const char *name, const char *token);

/* http_chunked.c: RFC 9112 section 7.1, incremental. */
struct mg_chunked {
  uint64_t left;   /* data bytes still to come of this chunk */
  uint32_t line;   /* bytes of extension or trailer line so far */
  uint32_t trailer; /* bytes of trailers so far */
  uint32_t lines;   /* trailer lines so far */
  uint8_t state, digits;
};
void mg__chunked_init(struct mg_chunked *d);
enum { MG_CHUNK_MORE, MG_CHUNK_DATA, MG_CHUNK_END };
/* Look at buf[0..len): *used bytes are taken off the front. MG_CHUNK_DATA:
 * *data is a piece inside buf; MG_CHUNK_END: the body is over, what is behind
 * *used is the next message; MG_CHUNK_MORE: everything was taken, more is
 * needed; or -400. Call again while it gives MG_CHUNK_DATA. */
int mg__chunked_feed(struct mg_chunked *d, const struct mgx_limits *limits, const char *buf,
                     size_t len, size_t *used, struct mg_str *data);

bool mg__streq_nocase(struct mg_str s, const char *lower); /* ASCII */

/* http_status.c */
const char *mg__http_reason(int status); /* "" when unknown */

/* http.c */
extern const struct mg_proto mg__proto_http;
/* Make c speak HTTP; false: OOM. */
bool mg__http_attach(struct mg_connection *c);
/* msg, flat. */
struct mgx_http_event mg__http_event(const struct mg_connection *c, struct mg_http_message *msg);
/* The message of the HTTP event that runs on c now, or NULL. */
struct mg_http_message *mg__http_running(struct mg_connection *c);
/* Begin an answer to the pending request for a file: writes the status line, Date,
 * Connection, then `head` (header lines, framing included) and the empty
 * line, then body. The answer is complete once everything queued has left. For a
 * body that follows by mg__conn_queue_file() pass NULL. 0 or as mgx_http_reply(). */
int mg__http_answer(struct mg_connection *c, int status, const char *head, size_t head_len,
                    const char *body, size_t body_len);
/* Parse the head at the front of recv[0..len) as mg__http_parse() does; *msg is good
 * until the next head of this manager is parsed. */
int mg__http_parse_head(struct mg_connection *c, size_t len, struct mg_http_message **msg);

/* ws_batch.c: deliver what is held back. */
bool mg__ws_is_posted(const struct mg_mgr *mgr);
bool mg__ws_posted_full(const struct mg_mgr *mgr);
void mg__ws_run_posted(struct mg_mgr *mgr);

/* ws_handshake.c */
/* Make c, a client without a protocol, a WebSocket: its request is queued. false:
 * OOM; c is to be freed. */
bool mg__ws_begin(struct mg_connection *c, const struct mgx_ws_request *request);

/* mqtt_open.c, mqtt.c, mqtt_session.c */
extern const struct mg_proto mg__proto_mqtt;
/* Make c, which has no protocol, speak MQTT; false: OOM. */
bool mg__mqtt_attach(struct mg_connection *c);
/* Make c, a client without a protocol, one of MQTT: its CONNECT is queued. 0; MGX_ENOMEM,
 * MGX_EBUSY, MGX_ECLOSED (no such session): c is to be freed. */
int mg__mqtt_begin(struct mg_connection *c, const struct mgx_mqtt_connect *connect);
/* Is this a CONNECT that may be sent? NULL, or what is wrong with it. */
const char *mg__mqtt_connect_wrong(const struct mgx_mqtt_connect *connect);
void mg__mqtt_sessions_free(struct mg_mgr *mgr);

/* sntp.c */
extern const struct mg_proto mg__proto_sntp;
/* Make c, a UDP client without a protocol, ask for the time once it is connected. false:
 * OOM; c is to be freed. */
bool mg__sntp_attach(struct mg_connection *c);

#endif
