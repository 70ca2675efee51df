/* mongoose.h: one event loop that speaks TCP, UDP, TLS, HTTP, WebSocket, MQTT and SNTP.
 *
 * An independent implementation of the part of the documented Mongoose 7.x C
 * API that a language binding needs (README.md says what that leaves out).
 *
 * The ideas to hold:
 *
 * - A connection is named by its number (`uint64_t`, 1, 2, 3 ... per manager,
 *   never used twice), not by a pointer. A number that is no longer there
 *   gives MGX_ECLOSED; it can never reach freed memory.
 * - Every function may be called from any thread, also from inside a
 *   callback. One lock per manager is held while the core works and let go
 *   while it waits and while a callback runs. Only mg_mgr_poll() and
 *   mg_mgr_free() refuse (MGX_EBUSY) while another mg_mgr_poll() is active.
 * - Callbacks run on the thread that polls; those that a call causes by
 *   itself (MG_EV_OPEN in mgx_listen()) run inside the call when it is made
 *   on that thread or while nobody polls, else in the loop.
 * - Whatever a callback is given is borrowed: it is valid until the callback
 *   returns. Whatever a function is given is copied.
 * - Text goes by pointer and length and need not end in NUL.
 *
 * Names: mg_ is the documented API, mgx_ is ours, MGX_E* are errors, always
 * negative; 0 or a count is success.
 */
#ifndef MONGOOSE_H
#define MONGOOSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* cffi: begin: what follows is read by the binding as well, so it holds plain
 * declarations only: no attributes, no #if, no inline functions. */

/* ---- errors ---------------------------------------------------------- */

enum {
  MGX_OK = 0,
  MGX_ENOMEM = -1,     /* out of memory; nothing was changed */
  MGX_ECLOSED = -2,    /* no such connection (any more), or the manager is closed */
  MGX_EBUSY = -3,      /* another mg_mgr_poll() of this manager is active */
  MGX_EINVAL = -4,     /* an argument is out of its range */
  MGX_EADDR = -5,      /* the URL is malformed */
  MGX_ESYSTEM = -6,    /* the system said no; see struct mgx_error */
  MGX_ELIMIT = -7,     /* a limit of struct mgx_limits stands against it */
  MGX_ESTATE = -8,     /* not now: see the function */
  MGX_EANSWERED = -9,  /* the request was answered already, or none awaits an answer */
  MGX_ELENGTH = -10,   /* more body than the Content-Length that was announced */
  MGX_EKIND = -11,     /* not for this kind of connection */
  MGX_ENOTLS = -12,    /* no TLS library is open */
  MGX_EPEER = -13      /* the peer has announced that it does not take this */
};

/* Why mgx_listen() and mgx_connect() failed, and mgx_send() on UDP. */
struct mgx_error {
  int sys;        /* errno of MGX_ESYSTEM, else 0 */
  char text[256]; /* what was tried, NUL-terminated; "" when there is nothing to add */
};

/* ---- events ---------------------------------------------------------- */

enum {
  MG_EV_ERROR,     /* data: the message; MG_EV_CLOSE follows, but for mgx_resolve() */
  MG_EV_OPEN,      /* the connection exists */
  MG_EV_POLL,      /* once per turn of the loop, to subscribers only */
  MG_EV_RESOLVE,   /* addresses are known */
  MG_EV_CONNECT,   /* connected */
  MG_EV_ACCEPT,    /* accepted; on the new connection, after its MG_EV_OPEN */
  MG_EV_TLS_HS,    /* TLS handshake done */
  MG_EV_READ,      /* raw: data, consumed on return but for mgx_recv_keep(); protocol: no data */
  MG_EV_WRITE,     /* bytes have left the send queue */
  MG_EV_CLOSE,     /* exactly once, last */
  MG_EV_HTTP_HDRS, /* head complete, body not yet */
  MG_EV_HTTP_MSG,  /* whole message */
  MG_EV_WS_OPEN,   /* handshake done: the request on servers, the response on clients */
  MG_EV_WS_MSG,    /* a whole text or binary message */
  MG_EV_WS_CTL,    /* close, ping or pong */
  MG_EV_MQTT_CMD,  /* every MQTT packet, behind its own event if it has one */
  MG_EV_MQTT_MSG,  /* a PUBLISH */
  MG_EV_MQTT_OPEN, /* on clients: a CONNACK; unless its code is 0 MG_EV_CLOSE follows */
  MG_EV_SNTP_TIME, /* an SNTP server has answered */
  MG_EV_WAKEUP, /* data: payload of mg_wakeup() */
  MG_EV_MDNS_REQ,   /* reserved, never fired */
  MG_EV_MDNS_RESP,  /* reserved, never fired */
  MG_EV_MODBUS_REQ, /* reserved, never fired */
  MG_EV_USER        /* first number free for users */
};

struct mg_str {
  const char *buf;
  size_t len;
};

struct mg_http_header {
  struct mg_str name, value;
};

/* A request or a response. Borrowed: every pointer aims into the receive
 * buffer and dies when the callback returns. In a response `method` is the
 * version, `uri` the status code's digits, `proto` the reason phrase. */
struct mg_http_message {
  struct mg_str method, uri, query, proto;
  struct mg_str body;    /* in MG_EV_HTTP_HDRS: what has arrived of it */
  struct mg_str head;    /* start line to the empty line, both included */
  struct mg_http_header *headers; /* in order of arrival, values trimmed */
  size_t num_headers;
};

/* The same message for a binding that decodes the head by itself: flat, since
 * to follow a nested struct costs a binding more than to cut a string. */
struct mgx_http_event {
  uint64_t conn;
  struct mg_http_message *msg;
  const char *head, *body;
  size_t head_len, body_len;
};

/* A packet of MQTT 3.1.1 or 5.0, looked through and found well-formed. Borrowed: every
 * pointer dies when the callback returns. Parts that a packet has not are empty. */
struct mgx_mqtt_event {
  const char *topic; /* PUBLISH; an alias was replaced by what it stands for */
  const char *data;  /* PUBLISH: the payload; SUBSCRIBE, UNSUBSCRIBE: the filters, as they
                        are in the packet; SUBACK, UNSUBACK: the reason codes */
  const char *props; /* the properties, without their length: mg_mqtt_next_prop() */
  const char *packet; /* all of it, fixed header included */
  size_t topic_len, data_len, props_len, packet_len;
  uint16_t id;     /* packet identifier, or 0 */
  uint8_t cmd;     /* MQTT_CMD_... */
  uint8_t first;   /* first byte: 8 DUP, 6 QoS, 1 RETAIN */
  uint8_t ack;     /* CONNACK: its code; else the (first) reason code, 0 when it has none */
  uint8_t version; /* 4 (3.1.1) or 5; in a CONNECT of another version what that says */
  bool session_present; /* CONNACK */
  bool wanted;     /* in the handler's mask; see on_mqtt */
};

/* What an SNTP server's answer says, RFC 5905 section 8. */
struct mgx_sntp_result {
  int64_t time_ms;   /* milliseconds since 1970, UTC, at the moment the answer came */
  int64_t offset_ns; /* what to add to the clock of this system to get there */
  int64_t delay_ns;  /* there and back, without the time at the server */
  uint8_t leap;      /* 1: the day's last minute has 61 seconds; 2: it has 59; else 0 */
  uint8_t stratum;   /* 1: it has a reference clock of its own; at most 15 */
};

/* An address in text form. */
struct mgx_addr {
  char ip[112]; /* "127.0.0.1", "::1", "fe80::1%2", or a unix socket's path; NUL-terminated */
  uint16_t port;
  bool is_ip6;
};

/* One step of a connection whose TLS is the binding's (struct mgx_tls_opts.foreign): what
 * it is given, and what it has done when it returns. Ciphertext for the peer goes
 * out by mgx_tls_output() within the step. */
struct mgx_tls_step {
  int tls;                 /* its context */
  bool is_server;
  struct mg_str name;      /* clients: the server's name, to ask for and to verify */
  struct mg_str input;     /* ciphertext that has arrived; to be taken whole */
  bool input_end;          /* ... and is the last: the peer has ended the stream */
  struct mg_str plain;     /* plaintext to be sent; empty during the handshake */
  bool shutdown;           /* send close_notify */
  char *out;               /* plaintext that was received goes here ... */
  size_t out_cap;          /* ... at most so much; 0: none is wanted now */
  size_t out_len;          /* done: bytes in out */
  size_t plain_taken;      /* done: bytes of plain */
  bool has_more;           /* done: more plaintext is there than fits out */
  bool is_ready;           /* done: the handshake is complete */
  bool is_end;             /* done: close_notify has come */
  bool failed;             /* done: it cannot go on, and error says why */
  char error[400];         /* NUL-terminated */
};

/* Which callbacks the core calls. All must be set but where NULL is allowed. None may
 * throw. The first argument is the `tag` given to mgx_mgr_new(). */
struct mgx_callbacks {
  /* An event without data. */
  void (*on_event)(uint32_t tag, uint64_t conn, int ev);
  /* Two or more of them in the same stage of a turn, each of another connection. Returns
   * how many were delivered, in order; the others come in the next turn. NULL: they
   * come one by one. */
  size_t (*on_events)(uint32_t tag, const uint64_t *conns, const int *evs, size_t count);
  /* MG_EV_ERROR (always, wanted or not), MG_EV_READ on raw connections and
   * streamed bodies, MG_EV_WAKEUP. */
  void (*on_data)(uint32_t tag, uint64_t conn, int ev, const char *data, size_t len);
  /* MG_EV_HTTP_HDRS, MG_EV_HTTP_MSG. */
  void (*on_http)(uint32_t tag, uint64_t conn, int ev, const struct mgx_http_event *event);
  /* Two or more MG_EV_HTTP_MSG of as many server connections, ready in the same turn:
   * conns[i] is events[i].conn. To enter a language once for all of them costs less.
   * Returns how many were delivered, in order; the others come in the next turn.
   * NULL: they come one by one. */
  size_t (*on_http_batch)(uint32_t tag, const uint64_t *conns,
                          const struct mgx_http_event *events, size_t count);
  /* MG_EV_WS_OPEN. */
  void (*on_ws_open)(uint32_t tag, uint64_t conn, const struct mgx_http_event *event);
  /* MG_EV_WS_MSG, MG_EV_WS_CTL: unmasked payload; `first` is the first byte of
   * the (first) frame: FIN 0x80, RSV1 0x40 when compressed, opcode below. Text is
   * UTF-8 unless compressed; a close frame is well-formed. */
  void (*on_ws)(uint32_t tag, uint64_t conn, int ev, int first, const char *data, size_t len);
  /* MG_EV_MQTT_OPEN, MG_EV_MQTT_MSG, MG_EV_MQTT_CMD. On clients MG_EV_MQTT_OPEN and the
   * MG_EV_MQTT_CMD of a SUBACK and an UNSUBACK come always, wanted or not. */
  void (*on_mqtt)(uint32_t tag, uint64_t conn, int ev, const struct mgx_mqtt_event *event);
  /* A TLS client asks a server, whose context has ask_name set, for a name that the
   * context has no entry for: the number of the context to go on with, 0: as it is,
   * < 0: refuse. NULL: always 0. */
  int (*on_tls_name)(uint32_t tag, uint64_t conn, const char *name, size_t len);
  /* A connection of a foreign context has something to do. NULL: there are none. */
  void (*on_tls_step)(uint32_t tag, uint64_t conn, struct mgx_tls_step *step);
  /* MG_EV_SNTP_TIME. */
  void (*on_sntp)(uint32_t tag, uint64_t conn, const struct mgx_sntp_result *result);
  /* Two or more short MG_EV_WS_MSG that came in the same turn, those of a connection one
   * after the other: message i is data[ends[i - 1]..ends[i]), of connection conns[i].
   * Returns how many were delivered, in order. If that is not all, the next one's
   * connection was paused: its others wait, those of further connections are delivered
   * by another call; or the loop is to be left, and all of them wait.
   * NULL: they come one by one. */
  size_t (*on_ws_batch)(uint32_t tag, const uint64_t *conns, const uint8_t *firsts,
                        const uint32_t *ends, const char *data, size_t count);
  /* MG_EV_RESOLVE: best address first. */
  void (*on_resolve)(uint32_t tag, uint64_t conn, const struct mgx_addr *addrs, size_t count);
  /* MG_EV_CLOSE; wanted == 0: not in the mask, but the binding knows this
   * number and may forget it now. */
  void (*on_close)(uint32_t tag, uint64_t conn, int wanted);
  /* A timer fired; active == 0: it was its last time. */
  void (*on_timer)(uint32_t tag, uint64_t timer, int active);
  /* A log line. Called without the lock, in the loop. */
  void (*on_log)(uint32_t tag, int level, const char *text, size_t len);
};

/* Limits of one manager. 0 switches a time-out or a maximum off. Bytes,
 * counts, milliseconds (names end in _ms). mgx_limits_init() sets defaults. */
struct mgx_limits {
  uint64_t recv_buffer;       /* 3 MiB: bytes waiting in a connection's receive buffer, a whole
                                 HTTP message included unless its body is streamed */
  uint64_t send_backlog;      /* 64 MiB: unsent bytes of a connection; then MGX_ELIMIT */
  uint64_t header_bytes;      /* 65536: HTTP head, start line included; then 431 */
  uint64_t header_count;      /* 100: HTTP header lines; then 431. At most 1000 */
  uint64_t request_line;      /* 8192: HTTP start line; then 414 */
  uint64_t chunk_extension;   /* 256: bytes after the digits of a chunk-size line; then 400 */
  uint64_t header_timeout_ms; /* 30000: from a message's first byte to its whole head */
  uint64_t body_timeout_ms;   /* 60000: without progress in a body, or in sending to a peer
                                 that does not read */
  uint64_t keepalive_timeout_ms; /* 75000: idle between two requests */
  uint64_t connect_timeout_ms;   /* 10000: TCP connect, to whichever address of a host */
  uint64_t tls_handshake_timeout_ms; /* 10000: from the start of a TLS handshake to its end */
  uint64_t tls_handshakes;       /* 4096: of accepted connections, under way at a time; then the
                                    one that began first is given up */
  uint64_t dns_timeout_ms;       /* 3000: to look a host name up, all servers included */
  uint64_t dns_queries;          /* 32: names that are looked up at a time; others wait */
  uint64_t dns_cache;            /* 256: answers kept, two per name; 0: none */
  uint64_t ws_message;          /* 3 MiB: one WebSocket message; then it is failed with 1009 */
  uint64_t ws_close_timeout_ms; /* 5000: from our close frame to the end of the connection */
  uint64_t ws_idle_timeout_ms;  /* 0: of silence on a WebSocket before a ping is sent */
  uint64_t ws_pong_timeout_ms;  /* 20000: of silence after that ping; then MG_EV_ERROR */
  uint64_t mqtt_packet;       /* 3 MiB: one MQTT packet received; then it is failed with 0x95 */
  uint64_t mqtt_queue;        /* 64 MiB: messages of QoS 1 and 2 that wait or are not yet
                                 acknowledged, per MQTT session; then MGX_ELIMIT */
  uint64_t mqtt_inflight;     /* 20: messages of QoS 1 and 2 that a 3.1.1 client has under way,
                                 for its server cannot announce how many it takes */
  uint64_t mqtt_connect_timeout_ms; /* 30000: from accept to CONNECT, from our CONNECT to
                                       CONNACK; then MG_EV_ERROR */
  uint64_t sntp_timeout_ms;     /* 3000: from an SNTP request to its answer; then MG_EV_ERROR */
  uint64_t wakeup_payload;       /* 16 MiB: one wake-up; then MGX_ELIMIT */
  uint64_t wakeup_queue;         /* 256 MiB: all waiting wake-ups; then MGX_ELIMIT */
  uint64_t connections;          /* RLIMIT_NOFILE - 64: then new ones are refused */
};
void mgx_limits_init(struct mgx_limits *limits);

/* ---- manager --------------------------------------------------------- */

struct mg_mgr;

enum { MGX_POLLER_DEFAULT, MGX_POLLER_EPOLL, MGX_POLLER_POLL };

/* A new manager, or NULL with *err filled. `limits` NULL: defaults; copied.
 * `callbacks` is borrowed for the manager's life. Release: mgx_mgr_delete(). */
struct mg_mgr *mgx_mgr_new(uint32_t tag, const struct mgx_callbacks *callbacks,
                           const struct mgx_limits *limits, int poller, struct mgx_error *err);
/* Release the memory; closes first, without callbacks, when mg_mgr_free() was
 * not called. No other thread may be inside a call. NULL is fine. */
void mgx_mgr_delete(struct mg_mgr *mgr);
/* One turn of the loop, waiting at most ms milliseconds for something to do
 * (ms < 0: without limit). MGX_EBUSY, MGX_ECLOSED, else 0. */
int mg_mgr_poll(struct mg_mgr *mgr, int ms);
/* Close every connection, newest first, each with its MG_EV_CLOSE, then end
 * timers and the poller. The memory stays, so late calls get MGX_ECLOSED.
 * MGX_EBUSY while mg_mgr_poll() is active; 0, also the second time. */
int mg_mgr_free(struct mg_mgr *mgr);
/* Leave the running mg_mgr_poll() as soon as the current callback returns;
 * what is left undelivered comes in the next one. */
void mgx_mgr_break(struct mg_mgr *mgr);
/* End the wait of a mg_mgr_poll(), now or the next one. Any thread. */
void mgx_mgr_interrupt(struct mg_mgr *mgr);
/* A descriptor that is readable when there is work: epoll's own. MGX_EKIND with the
 * poll(2) poller, MGX_ECLOSED. */
int mgx_mgr_fd(struct mg_mgr *mgr);
/* Milliseconds one may wait before the next mg_mgr_poll(): 0 work is pending,
 * -1 without limit. */
int64_t mgx_mgr_next_timeout(struct mg_mgr *mgr);
/* Numbers of the live connections, newest first: at most cap are written to
 * ids, the count of all is returned. The binding counts as knowing them. */
size_t mgx_mgr_conns(struct mg_mgr *mgr, uint64_t *ids, size_t cap);
/* Send `Date` in the answers of the HTTP server (default true). */
void mgx_mgr_set_date(struct mg_mgr *mgr, bool on);

enum { /* beside the events in a mask */
  MGX_MQTT_NO_PUBLISH_CMD_SHIFT = 30, /* a PUBLISH gives MG_EV_MQTT_MSG only */
  MGX_READ_WITH_DATA_SHIFT = 31       /* MG_EV_READ comes only where it carries data */
};

/* Handlers: what the binding calls a handler is a number and two event masks
 * (bit 1 << MG_EV_...) to the core: one for the connections it is set on, one
 * for accepted connections. Number 0 is the default handler of the manager;
 * its masks are 0 until set. */

/* A number > 0, or MGX_ENOMEM. */
int mgx_handler_add(struct mg_mgr *mgr, uint32_t mask, uint32_t accepted_mask);
/* Change the masks of handler h for connections that get it from now on. */
int mgx_handler_set(struct mg_mgr *mgr, int h, uint32_t mask, uint32_t accepted_mask);
/* How many connections have handler h. */
int mgx_handler_refs(struct mg_mgr *mgr, int h);
/* Forget handler h if no connection has it: 1 forgotten, 0 in use. */
int mgx_handler_drop(struct mg_mgr *mgr, int h);

/* ---- connections ----------------------------------------------------- */

enum { MGX_HTTP_BY_SCHEME = -1, MGX_HTTP_OFF = 0, MGX_HTTP_ON = 1 };

/* A WebSocket client's handshake. Sent as soon as it is connected. */
struct mgx_ws_request {
  struct mg_str head;      /* the whole request */
  struct mg_str accept;    /* the 28 characters of Sec-WebSocket-Accept that answer its key */
  struct mg_str protocols; /* subprotocols it offers: names with a comma between two */
  bool deflate;            /* it offers permessage-deflate, RFC 7692 */
};

/* An MQTT client's CONNECT. Sent as soon as it is connected. */
struct mgx_mqtt_connect {
  uint64_t session;  /* of mgx_mqtt_session_new(); 0: one that ends with the connection */
  struct mg_str client_id, user, pass, props;
  struct mg_str will_topic, will_data, will_props;
  bool has_user, has_pass, has_will, will_retain;
  bool clean;        /* clean session (3.1.1), clean start (5.0) */
  uint8_t will_qos;  /* 0..2 */
  uint8_t version;   /* 4: MQTT 3.1.1, 5: MQTT 5.0 */
  uint16_t keepalive; /* seconds; 0: off. By itself a PINGREQ leaves after three quarters of it */
};

struct mgx_open {    /* options of mgx_listen() and mgx_connect() */
  int handler;       /* number of mgx_handler_add(), 0 the default one */
  int http;          /* MGX_HTTP_... */
  bool reuse_port;   /* listeners: SO_REUSEPORT */
  const struct mgx_ws_request *ws; /* clients: become a WebSocket; else NULL */
  bool mqtt;         /* listeners: what they accept speaks MQTT, whatever `http` says */
  const struct mgx_mqtt_connect *mqtt_connect; /* clients: speak MQTT; else NULL */
  int tls;                 /* context of mgx_tls_new() for a TLS URL; 0: mgx_tls_init() is to
                              follow, in MG_EV_ACCEPT or MG_EV_CONNECT at the latest */
  struct mg_str tls_name;  /* clients: as in mgx_tls_init() */
  bool sntp;         /* clients: ask the SNTP server at a udp or sntp URL, at once */
};

/* Listen at / connect to url. The number of the connection (> 0), or a
 * negative error with *err filled: MGX_EADDR, MGX_ESYSTEM, MGX_ENOMEM,
 * MGX_ECLOSED; of an mqtt_connect also MGX_EINVAL (what is wrong is in err->text) and
 * MGX_EBUSY (another connection has the session). A connect that fails later tells by
 * MG_EV_ERROR. */
int64_t mgx_listen(struct mg_mgr *mgr, const char *url, size_t len, const struct mgx_open *opts,
                   struct mgx_error *err);
int64_t mgx_connect(struct mg_mgr *mgr, const char *url, size_t len, const struct mgx_open *opts,
                    struct mgx_error *err);

enum { /* bits of struct mgx_conn_info.flags */
  MGX_IS_LISTENING = 1 << 0,
  MGX_IS_CLIENT = 1 << 1,
  MGX_IS_ACCEPTED = 1 << 2,
  MGX_IS_TLS = 1 << 3,
  MGX_IS_UDP = 1 << 4,
  MGX_IS_WEBSOCKET = 1 << 5,
  MGX_IS_READABLE = 1 << 6,
  MGX_IS_WRITABLE = 1 << 7,
  MGX_IS_CLOSING = 1 << 8,
  MGX_IS_FULL = 1 << 9, /* reading stopped: paused, or the buffer is full */
  MGX_IS_DRAINING = 1 << 10,
  MGX_IS_HTTP = 1 << 11,
  MGX_IS_CONNECTING = 1 << 12,
  MGX_IS_MQTT = 1 << 13
};

struct mgx_conn_info {
  uint32_t flags;
  int handler;
  uint64_t recv_len, recv_size, send_len, send_size;
  bool has_loc, has_rem;
  struct mgx_addr loc, rem;
};

/* All of these: 0 or as said; MGX_ECLOSED when the connection is gone. */

/* MGX_IS_... bits (>= 0). The binding counts as knowing the connection. */
int mgx_conn_flags(struct mg_mgr *mgr, uint64_t conn);
int mgx_conn_info(struct mg_mgr *mgr, uint64_t conn, struct mgx_conn_info *info);
/* Number of its handler (>= 0). The binding counts as knowing the connection. */
int mgx_conn_handler(struct mg_mgr *mgr, uint64_t conn);
int mgx_conn_set_handler(struct mg_mgr *mgr, uint64_t conn, int h);
/* Append to the send queue; UDP: one datagram, at once. MGX_ELIMIT above
 * send_backlog, MGX_ENOMEM, MGX_EKIND on TCP listeners, MGX_ESYSTEM with *err
 * for a datagram the system refused; MGX_EANSWERED and MGX_ELENGTH on HTTP
 * server connections, where the bytes are the answer to the pending request.
 * Nothing is sent on an error. `err` may be NULL. */
int mgx_send(struct mg_mgr *mgr, uint64_t conn, const char *data, size_t len,
             struct mgx_error *err);
/* Close without flushing / after the send queue has left. */
int mgx_close(struct mg_mgr *mgr, uint64_t conn);
int mgx_drain(struct mg_mgr *mgr, uint64_t conn);
/* Stop and go on reading. */
int mgx_pause(struct mg_mgr *mgr, uint64_t conn, bool on);
/* Raise MG_EV_ERROR with this text and close. */
int mgx_conn_error(struct mg_mgr *mgr, uint64_t conn, const char *text, size_t len);
/* Copy the front of the receive buffer / send queue, at most cap bytes;
 * returns how many. */
int64_t mgx_recv_data(struct mg_mgr *mgr, uint64_t conn, char *buf, size_t cap);
int64_t mgx_send_data(struct mg_mgr *mgr, uint64_t conn, char *buf, size_t cap);
/* Inside MG_EV_READ on a raw TCP connection: keep the last n bytes of what
 * the handler was given; they come again in front of the next ones. MGX_EINVAL: n is
 * more than there is; MGX_ESTATE: no such event is running. */
int mgx_recv_keep(struct mg_mgr *mgr, uint64_t conn, size_t n);
/* Drop the first n bytes of the receive buffer of a raw connection whose
 * handler takes no MG_EV_READ. MGX_EINVAL: n is more than there is;
 * MGX_ESTATE: the bytes belong to a running event or to a protocol. */
int mgx_recv_consume(struct mg_mgr *mgr, uint64_t conn, size_t n);

/* ---- host names: RFC 1035, RFC 5452, RFC 8305 -------------------------- */

/* How names are looked up. Numbers below 0: as the config file says. */
struct mgx_resolver {
  struct mg_str servers; /* at most 3: "address", "address:port", "tcp://..."; numeric, with
                            blanks between; buf NULL: those of the config file */
  struct mg_str search;  /* at most 6 domains, blanks between; buf NULL: as servers */
  struct mg_str config;  /* path of a resolv.conf(5), "/etc/resolv.conf"; empty: none */
  struct mg_str hosts;   /* path of a hosts(5), "/etc/hosts"; empty: none */
  int64_t timeout_ms;    /* before a question goes to the next server, or again */
  int64_t attempts;      /* tries per server; 1..100 */
  int64_t ndots;         /* dots in a name that is tried as it is first; ..15 */
  int64_t rotate;        /* 1: begin with another server each time; 0: always with the first */
  uint64_t family_delay_ms;  /* 50: wait for the other family when one has answered */
  uint64_t attempt_delay_ms; /* 250: between attempts to connect to a host's addresses */
};
void mgx_resolver_init(struct mgx_resolver *r); /* the defaults */
/* Copied; for look-ups from now on, and the cache is emptied. NULL for mgr: is only
 * checked. MGX_EINVAL: a number out
 * of its range, or *err says which word is wrong; MGX_ENOMEM, MGX_ECLOSED. */
int mgx_mgr_set_resolver(struct mg_mgr *mgr, const struct mgx_resolver *r, struct mgx_error *err);
/* Look up the host of a URL, or of "host", "host:port". MG_EV_RESOLVE on this connection
 * tells the addresses, MG_EV_ERROR that there are none; nothing else happens to it, but
 * that a TCP listener shows the first one as its peer. An address and localhost are
 * told inside the call. MGX_EADDR with *err, MGX_ENOMEM, MGX_ECLOSED. */
int mgx_resolve(struct mg_mgr *mgr, uint64_t conn, const char *url, size_t len,
                struct mgx_error *err);
/* Drop what mgx_resolve() has begun on this connection: no event will tell of it. */
int mgx_resolve_cancel(struct mg_mgr *mgr, uint64_t conn);

/* ---- timers and wake-up ---------------------------------------------- */

enum { MG_TIMER_ONCE = 0, MG_TIMER_REPEAT = 1, MG_TIMER_RUN_NOW = 2 };

/* A timer's number (> 0), MGX_ENOMEM, MGX_ECLOSED, or MGX_EINVAL for a
 * repeating timer of 0 ms. Counts from this call. A late repeating timer
 * drops the ticks it missed. */
int64_t mg_timer_add(struct mg_mgr *mgr, uint64_t ms, unsigned flags);
/* 1: it will not fire any more; 0: there is no such timer. */
int mg_timer_free(struct mg_mgr *mgr, uint64_t timer);

/* Set up wake-ups: the number that stands for the manager itself (> 0), the
 * same one each time; MGX_ECLOSED. */
int64_t mg_wakeup_init(struct mg_mgr *mgr);
/* Deliver MG_EV_WAKEUP with these bytes to a connection, in the loop, in
 * order. 1 taken; 0 no mg_wakeup_init(), or no such connection; MGX_ELIMIT,
 * MGX_ENOMEM, MGX_ECLOSED. To the manager's own number: only ends the wait. */
int mg_wakeup(struct mg_mgr *mgr, uint64_t conn, const char *data, size_t len);

/* ---- HTTP: RFC 9110, RFC 9112 ---------------------------------------- */

/* Send a whole answer to the pending request: status line, Date, `headers`
 * (lines, each ended by CR LF, checked by the caller), framing, body. With
 * "Transfer-Encoding: chunked" or "Content-Type: text/event-stream" among
 * `headers` the answer is chunked and stays open until mgx_http_chunk() with
 * no data. A Content-Length among them is replaced by the true one. No body
 * goes out for HEAD, 1xx, 204 and 304. MGX_EANSWERED, MGX_ELIMIT, MGX_ENOMEM,
 * MGX_EINVAL (status outside 100..999). On a listener: 0, and nothing is sent. On a
 * raw TCP connection: just the bytes. */
int mgx_http_reply(struct mg_mgr *mgr, uint64_t conn, int status, const char *headers,
                   size_t headers_len, const char *body, size_t body_len);
/* Send a piece of the body of an answer that was begun (or of a request, on a
 * client), framed as its head announced: a chunk, or as it is. len == 0 ends
 * it. MGX_EANSWERED: nothing was begun. On a raw TCP connection: a chunk. */
int mgx_http_chunk(struct mg_mgr *mgr, uint64_t conn, const char *data, size_t len);
/* The same piece, not empty, of the answers of many server connections. How many took
 * it: those that mgx_http_chunk() would refuse, or that are no HTTP server's, are left out.
 * MGX_EINVAL: it is empty; MGX_ECLOSED. */
int64_t mgx_http_chunk_many(struct mg_mgr *mgr, const uint64_t *conns, size_t count,
                            const char *data, size_t len);
/* Send a request head and body that the caller built; no_body: a HEAD
 * request, whose response has none. MGX_EKIND: not an HTTP client. */
int mgx_http_request(struct mg_mgr *mgr, uint64_t conn, const char *data, size_t len,
                     bool no_body);
/* In MG_EV_HTTP_HDRS: have the body delivered as MG_EV_READ pieces, then
 * MG_EV_HTTP_MSG with an empty body. MGX_ESTATE elsewhere. */
int mgx_http_stream_body(struct mg_mgr *mgr, uint64_t conn);
/* The handler failed: answer 500 if no byte of an answer was queued, then
 * close in any case. */
int mgx_http_fail(struct mg_mgr *mgr, uint64_t conn);
/* The server is to end: close when the answer under way is whole, at once when there is
 * none. An event stream is ended here. MGX_EKIND: not a server's HTTP connection. */
int mgx_http_finish(struct mg_mgr *mgr, uint64_t conn);

struct mg_http_serve_opts {
  struct mg_str root;          /* directory; of serve_file: the file */
  struct mg_str extra_headers; /* lines, each ended by CR LF */
  struct mg_str mime_types;    /* "ext=type,ext=type"; "*=type" for all */
  struct mg_str page404;       /* file sent with status 200 instead of the 404 text */
  bool listing;                /* list directories without an index file */
  bool fallthrough;            /* send nothing when there is no such file: the result is 0 */
};
/* Answer the message of the running event of this connection with a file below
 * opts->root / with that file; links that leave the root are not followed.
 * The status code that was sent (> 0, also 404 and the like), 0: see fallthrough, or an
 * error as mgx_http_reply(); MGX_ESTATE: no such message is running; MGX_EINVAL:
 * extra_headers is malformed. */
int mg_http_serve_dir(struct mg_mgr *mgr, uint64_t conn, const struct mg_http_serve_opts *opts);
int mg_http_serve_file(struct mg_mgr *mgr, uint64_t conn, const struct mg_http_serve_opts *opts);

/* The header's value: the first of that name, case ignored, whatever comes
 * first for repeated ones. NULL when there is none. Any thread. */
const struct mg_str *mg_http_get_header(const struct mg_http_message *msg, const char *name,
                                        size_t len);

/* One part of a multipart body, RFC 7578. */
struct mg_http_part {
  struct mg_str head; /* header lines, each ended by CR LF */
  struct mg_str body;
};
/* The part at offset ofs of body (0, then what was returned). `boundary`:
 * from the Content-Type, or NULL to take the one of the first line. The next
 * offset, or 0 when no complete part is left. Any thread. */
size_t mg_http_next_multipart(const char *body, size_t len, size_t ofs, const char *boundary,
                              size_t boundary_len, struct mg_http_part *part);

/* ---- WebSocket: RFC 6455 ----------------------------------------------- */

enum {
  WEBSOCKET_OP_CONTINUE = 0,
  WEBSOCKET_OP_TEXT = 1,
  WEBSOCKET_OP_BINARY = 2,
  WEBSOCKET_OP_CLOSE = 8,
  WEBSOCKET_OP_PING = 9,
  WEBSOCKET_OP_PONG = 10
};

enum { /* how a message is sent, or-ed */
  MGX_WS_MORE = 1,     /* more of it follows as WEBSOCKET_OP_CONTINUE */
  MGX_WS_DEFLATED = 2, /* the payload is compressed, RFC 7692 */
  MGX_WS_UTF8 = 4      /* the caller vouches that the text is UTF-8: it is not checked again */
};

/* Answer the request whose HTTP event is running with 101 and make the connection
 * a WebSocket; MG_EV_WS_OPEN fires inside the call. `accept`: the 28 characters that
 * answer its Sec-WebSocket-Key (anything when it has none). `headers`: lines, each
 * ended by CR LF, checked by the caller. `deflate`: they agree to permessage-deflate.
 * `forbidden`: the caller does not want it from this origin. 1 done; 0: refused, with
 * 400 or 426, for it is no proper handshake, or with 403; MGX_ESTATE: no such event is
 * running on this thread; MGX_EANSWERED, MGX_ELIMIT, MGX_ENOMEM. */
int mgx_ws_upgrade(struct mg_mgr *mgr, uint64_t conn, const char *accept, const char *headers,
                   size_t len, bool deflate, bool forbidden);
/* Send one frame, masked on clients. `how`: MGX_WS_... bits. A close frame begins (or
 * ends) the closing handshake: nothing can be sent behind it. MGX_EKIND: not a
 * WebSocket, or not yet; MGX_EINVAL: the opcode, a control frame above 125 bytes, a
 * malformed close payload, a whole text that is not UTF-8; MGX_ESTATE:
 * WEBSOCKET_OP_CONTINUE without a message begun, or the reverse; MGX_ECLOSED, also
 * when a close frame was sent; MGX_ELIMIT, MGX_ENOMEM. */
int mgx_ws_send(struct mg_mgr *mgr, uint64_t conn, const char *data, size_t len, int op,
                unsigned how);
/* Send the same unfragmented message or ping to many. How many took it: those that
 * mgx_ws_send() would refuse are left out. MGX_EINVAL as there, MGX_ECLOSED. */
int64_t mgx_ws_broadcast(struct mg_mgr *mgr, const uint64_t *conns, size_t count,
                         const char *data, size_t len, int op);
/* The payload is unacceptable: send a close frame with this status, raise MG_EV_ERROR
 * with this text, close. MGX_EKIND, MGX_EINVAL (a code that may not be sent). */
int mgx_ws_fail(struct mg_mgr *mgr, uint64_t conn, int code, const char *why, size_t len);

/* ---- MQTT: OASIS MQTT 3.1.1 and 5.0 -------------------------------------- */

enum { /* packet types */
  MQTT_CMD_CONNECT = 1,
  MQTT_CMD_CONNACK = 2,
  MQTT_CMD_PUBLISH = 3,
  MQTT_CMD_PUBACK = 4,
  MQTT_CMD_PUBREC = 5,
  MQTT_CMD_PUBREL = 6,
  MQTT_CMD_PUBCOMP = 7,
  MQTT_CMD_SUBSCRIBE = 8,
  MQTT_CMD_SUBACK = 9,
  MQTT_CMD_UNSUBSCRIBE = 10,
  MQTT_CMD_UNSUBACK = 11,
  MQTT_CMD_PINGREQ = 12,
  MQTT_CMD_PINGRESP = 13,
  MQTT_CMD_DISCONNECT = 14,
  MQTT_CMD_AUTH = 15
};

enum { /* how a property is written */
  MQTT_PROP_TYPE_BYTE,
  MQTT_PROP_TYPE_STRING,
  MQTT_PROP_TYPE_STRING_PAIR,
  MQTT_PROP_TYPE_BINARY_DATA,
  MQTT_PROP_TYPE_VARIABLE_INT,
  MQTT_PROP_TYPE_INT,
  MQTT_PROP_TYPE_SHORT
};

/* The core answers by itself what needs no thought: PUBACK, PUBREC, PUBREL, PUBCOMP; it
 * sends PINGREQ on clients and closes when the keep-alive is over; it delivers a message
 * of QoS 2 once. What is left to the handler of a server connection: to answer CONNECT,
 * SUBSCRIBE, UNSUBSCRIBE, PINGREQ and AUTH. Packets that come behind a CONNECT are
 * delivered before that is answered: mgx_pause() holds them back. Whatever breaks the
 * protocol ends the connection: a DISCONNECT (or CONNACK) with the reason code where the
 * version has one, MG_EV_ERROR, MG_EV_CLOSE.
 *
 * `props` are properties as they stand in a packet, without their length, checked here
 * (section 2.2.2: which one belongs where, its range, how often): MGX_EINVAL. On a
 * connection of version 4 there are none: MGX_EINVAL unless props_len is 0.
 *
 * All of these: MGX_EKIND: not an MQTT connection, or not one of this side; MGX_ECLOSED,
 * also behind a DISCONNECT; MGX_EINVAL; MGX_ELIMIT; MGX_ENOMEM; MGX_EPEER: too large, a
 * QoS or a RETAIN that the peer has ruled out. On an error nothing was sent. */

/* Publish. `flags` as in the packet: QoS << 1 | RETAIN; `props` without a topic alias. The
 * packet identifier, 0 for QoS 0. A message of QoS 1 or 2 waits in the session while the
 * peer's receive maximum (or what is unsent) stands against it. Before CONNACK: 3.1.1
 * clients send at once as long as the session is new, all others keep it until then.
 * MGX_ESTATE: on a server connection before its CONNACK. */
int mgx_mqtt_pub(struct mg_mgr *mgr, uint64_t conn, const char *topic, size_t topic_len,
                 const char *data, size_t len, unsigned flags, const char *props,
                 size_t props_len);
/* Publish the same to many. How many took it: those that mgx_mqtt_pub() would refuse are
 * left out. Properties are left out where the version has none. ids, unless NULL, gets
 * what mgx_mqtt_pub() returns for each. MGX_EINVAL as there, MGX_ECLOSED. */
int64_t mgx_mqtt_pub_many(struct mg_mgr *mgr, const uint64_t *conns, size_t count,
                          const char *topic, size_t topic_len, const char *data, size_t len,
                          unsigned flags, const char *props, size_t props_len, int *ids);
/* Subscribe and unsubscribe, on clients. `filters` is the payload of the packet: for each
 * filter its length in two bytes, the filter, and to subscribe its options byte. The
 * packet identifier. */
int mgx_mqtt_sub(struct mg_mgr *mgr, uint64_t conn, const char *filters, size_t len,
                 const char *props, size_t props_len);
int mgx_mqtt_unsub(struct mg_mgr *mgr, uint64_t conn, const char *filters, size_t len,
                   const char *props, size_t props_len);
/* PINGREQ, on clients. */
int mgx_mqtt_ping(struct mg_mgr *mgr, uint64_t conn);
/* PINGRESP, on servers. */
int mgx_mqtt_pong(struct mg_mgr *mgr, uint64_t conn);
/* Send DISCONNECT, then close once everything has left. 3.1.1 has neither reason nor
 * properties, and its servers just close. */
int mgx_mqtt_disconnect(struct mg_mgr *mgr, uint64_t conn, int reason, const char *props,
                        size_t props_len);
/* AUTH, version 5, both sides. */
int mgx_mqtt_auth(struct mg_mgr *mgr, uint64_t conn, int reason, const char *props,
                  size_t props_len);
/* Answer a CONNECT; a code other than 0 closes. `session`, unless 0: the connection goes
 * on with it; with `present` what is left in it is sent, without it is forgotten. It is
 * taken away from a connection that still has it, which is told (0x8e) and closed.
 * MGX_ESTATE: no CONNECT awaits an answer. */
int mgx_mqtt_connack(struct mg_mgr *mgr, uint64_t conn, int code, bool present,
                     const char *props, size_t props_len, uint64_t session);
/* Answer a SUBSCRIBE or UNSUBSCRIBE (cmd MQTT_CMD_SUBACK or MQTT_CMD_UNSUBACK): one code
 * for each filter, in order. An UNSUBACK of 3.1.1 has none: they are left out. */
int mgx_mqtt_suback(struct mg_mgr *mgr, uint64_t conn, int cmd, uint16_t id, const char *codes,
                    size_t count, const char *props, size_t props_len);

struct mgx_mqtt_info { /* of a connection */
  uint8_t version;     /* 0: no CONNECT yet */
  bool is_open;        /* CONNACK with code 0 has come, or was sent */
  uint16_t keepalive;  /* seconds, as agreed */
  uint16_t receive_maximum; /* what the peer has announced (or limits.mqtt_inflight) ... */
  uint16_t topic_alias_maximum;
  uint8_t maximum_qos;
  bool retain_available;
  uint32_t maximum_packet_size; /* 0: no maximum */
  uint64_t session;    /* 0: its own */
  uint64_t pending;    /* messages of QoS 1 and 2 not yet acknowledged */
  uint64_t waiting;    /* ... of these not yet sent on this connection */
};
int mgx_mqtt_conn_info(struct mg_mgr *mgr, uint64_t conn, struct mgx_mqtt_info *info);

/* Sessions: what one end knows of its messages of QoS 1 and 2, and what outlives a
 * connection. When a connection ends its session stays; the next one that gets it sends
 * again, in order, what was not acknowledged if the peer has kept the session too
 * (session present), else as new messages. So nothing is lost, and a message of QoS 2
 * comes once as long as the peer keeps the session. */

/* A session's number (> 0, never used twice), MGX_ENOMEM, MGX_ECLOSED. */
int64_t mgx_mqtt_session_new(struct mg_mgr *mgr);
/* Forget it, as soon as no connection has it; no other one gets it. 0; MGX_ECLOSED: there is
 * none. */
int mgx_mqtt_session_free(struct mg_mgr *mgr, uint64_t session);
/* Publish on the connection that has the session; without one keep it for the next.
 * MGX_ESTATE: QoS 0, which is not kept. MGX_ECLOSED: there is no such session. */
int mgx_mqtt_session_pub(struct mg_mgr *mgr, uint64_t session, const char *topic,
                         size_t topic_len, const char *data, size_t len, unsigned flags,
                         const char *props, size_t props_len);
struct mgx_mqtt_session_info {
  uint64_t conn;    /* that has it, or 0 */
  uint64_t pending; /* messages not yet acknowledged */
  uint64_t bytes;   /* what of limits.mqtt_queue they use */
};
int mgx_mqtt_session_info(struct mg_mgr *mgr, uint64_t session,
                          struct mgx_mqtt_session_info *info);

/* Without a manager, any thread: */

/* Does the filter take the topic? Section 4.7: + # $ and $share/name/. A malformed one
 * takes nothing. */
bool mgx_mqtt_match(const char *filter, size_t filter_len, const char *topic, size_t topic_len);
/* May this be published to / subscribed to? Sections 1.5.4, 4.7, 4.8.2. */
bool mgx_mqtt_topic_ok(const char *topic, size_t len);
bool mgx_mqtt_filter_ok(const char *filter, size_t len);

struct mg_mqtt_prop {
  uint8_t id, type;       /* type: MQTT_PROP_TYPE_... */
  uint32_t iv;            /* numbers */
  struct mg_str key, val; /* val: strings, bytes; key too: pairs */
};
/* The property at offset ofs (0, then what was returned). The next offset; 0 when none is
 * left, or what follows is no property. */
size_t mg_mqtt_next_prop(const char *props, size_t len, size_t ofs, struct mg_mqtt_prop *prop);
/* The filter at offset ofs of the data of a SUBSCRIBE (*options: its options byte) or,
 * options NULL, of an UNSUBSCRIBE. The next offset; 0 when none is left. */
size_t mg_mqtt_next_filter(const char *data, size_t len, size_t ofs, struct mg_str *filter,
                           uint8_t *options);
/* The fields of a whole CONNECT packet; the views aim into it. MGX_EINVAL: it is not one,
 * or not of version 4 or 5. */
int mgx_mqtt_connect_fields(const char *packet, size_t len, struct mgx_mqtt_connect *fields);

/* ---- TLS: RFC 8446 (1.3), RFC 5246 (1.2) ------------------------------- */

/* OpenSSL (1.1.0 or newer) does it. It is opened at run time, once for the process. */

/* Open the library at path (NUL-terminated), or at one of the usual names when NULL.
 * 0, also when one is open already; MGX_ESYSTEM: err->text says what was tried and what was
 * wrong with it. Any thread. */
int mgx_tls_open_library(const char *path, struct mgx_error *err);
/* Its version ("OpenSSL 3.0.2 15 Mar 2022"), NULL when none is open. Any thread. */
const char *mgx_tls_library(void);

enum { /* what a server asks its clients for */
  MGX_TLS_AUTH_BY_CA,    /* a certificate is required when `ca` is given, unless verification is
                            skipped */
  MGX_TLS_AUTH_NONE,
  MGX_TLS_AUTH_OPTIONAL, /* verified if there is one */
  MGX_TLS_AUTH_REQUIRED
};

struct mgx_tls_opts {      /* all zero: what a client needs */
  struct mg_str ca;        /* trust anchors, PEM (any number) or DER; none: the system's */
  struct mg_str cert;      /* own certificate, PEM with the chain behind it, or DER */
  struct mg_str key;       /* its private key, PEM or DER; none: it stands in cert */
  struct mg_str password;  /* of an encrypted key */
  struct mg_str ciphers;   /* OpenSSL's list, the most wanted first; names that begin with TLS_
                              are for TLS 1.3. None: a server's are all AEAD with forward
                              secrecy, a client's are OpenSSL's */
  struct mg_str alpn;      /* protocols, best first, each with a byte of length in front */
  struct mg_str ca_file, ca_dir; /* more of the system's trust anchors, for want of ca */
  int min_version, max_version;  /* 0x0303, 0x0304; 0: 1.2 and whatever is newest */
  int client_auth;         /* MGX_TLS_AUTH_... */
  bool skip_verification;  /* of chain and name */
  bool is_server;          /* for connections that are accepted: a server's ciphers, in its own
                              order, and its groups */
  bool no_tickets;         /* no resumption */
  bool ask_name;           /* on_tls_name() for names without an entry */
  bool lenient;            /* unusable options give a context all the same: it refuses each
                              connection and says why */
  bool foreign;            /* the binding does TLS, by on_tls_step(); the options are its own */
};

/* A context: an option set made ready, for any number of listeners and connections,
 * which share its sessions. Its number (> 0), which the caller holds until
 * mgx_tls_drop(); or with *err filled MGX_EINVAL (what is wrong with which option),
 * MGX_ENOTLS, MGX_ENOMEM, MGX_ECLOSED. */
int mgx_tls_new(struct mg_mgr *mgr, const struct mgx_tls_opts *opts, struct mgx_error *err);
/* The caller's hold on the number ends; whatever uses the context keeps it alive. */
int mgx_tls_drop(struct mg_mgr *mgr, int tls);
/* Servers with this context go on with `other` when a client asks for this name (case
 * ignored; "*.example.com": any one label). Again for the same name: replaces it.
 * MGX_EINVAL, also when one of them is foreign, `other` has names or `tls` is itself
 * the other of one; MGX_ENOMEM, MGX_ECLOSED. */
int mgx_tls_add_name(struct mg_mgr *mgr, int tls, const char *name, size_t len, int other);

/* Have a connection speak TLS: its handshake starts when the running event is over; what is
 * sent meanwhile waits. So does what was sent before, unless the two have spoken in plain
 * text already (STARTTLS): then it leaves first. On a listener: its children will; replaces
 * what was given before, for new connections. `name`: of the server, for clients; empty:
 * the host of the URL. MGX_EINVAL (no such context), MGX_EKIND (UDP), MGX_ESTATE (its handshake has begun),
 * MGX_ENOMEM, MGX_ECLOSED. */
int mgx_tls_init(struct mg_mgr *mgr, uint64_t conn, int tls, const char *name, size_t len);
/* Undo mgx_tls_init(). A connection whose handshake has begun is drained: there is no way
 * back to plain text. */
int mgx_tls_free(struct mg_mgr *mgr, uint64_t conn);

struct mgx_tls_info {
  int tls;            /* number of its context; 0: that was dropped */
  bool is_ready;      /* the handshake is done; nothing below is set before */
  bool resumed;
  bool has_cert;      /* the peer has shown a certificate */
  int version;        /* 0x0303, 0x0304 */
  char cipher[64];    /* NUL-terminated */
  char alpn[256];     /* NUL-terminated; "": none */
  char name[256];     /* the server's name that was asked for; "": none */
};
/* MGX_EKIND: does not speak TLS; MGX_ECLOSED. */
int mgx_tls_info(struct mg_mgr *mgr, uint64_t conn, struct mgx_tls_info *info);

/* Write the peer's certificate, DER, to buf if cap is enough. Its length, 0: there is none;
 * MGX_EKIND, MGX_ECLOSED. */
int64_t mgx_tls_cert(struct mg_mgr *mgr, uint64_t conn, char *buf, size_t cap);
/* Inside on_tls_step(): ciphertext for the peer. MGX_ESTATE elsewhere; MGX_ENOMEM, MGX_ECLOSED. */
int mgx_tls_output(struct mg_mgr *mgr, uint64_t conn, const char *data, size_t len);

/* ---- SNTP: RFC 4330, RFC 5905 ------------------------------------------ */

/* On a connection opened with `sntp` a request is sent as soon as it is connected. An
 * answer is accepted when it carries the request's 64 random bits and is from a server
 * that is synchronized: it fires MG_EV_SNTP_TIME, and the connection stays open.
 * MG_EV_ERROR: the server's answer is of no use, or there was none for sntp_timeout_ms. */

/* Ask again; while a request is under way this one waits for its answer. MGX_EKIND: not an
 * SNTP connection; MGX_ECLOSED; MGX_ESYSTEM with *err filled. */
int mgx_sntp_request(struct mg_mgr *mgr, uint64_t conn, struct mgx_error *err);
/* The last result. MGX_ESTATE: there is none yet; MGX_EKIND, MGX_ECLOSED. */
int mgx_sntp_result(struct mg_mgr *mgr, uint64_t conn, struct mgx_sntp_result *out);

/* ---- text: URLs, patterns, JSON --------------------------------------- */

/* A URL's parts, RFC 3986 as far as "[scheme://][user[:pass]@]host[:port][/path]"
 * goes. Views into the text, nothing is decoded. `uri` is all that stands
 * behind the authority; it may begin with '?' or '#'. */
struct mgx_url {
  struct mg_str scheme, user, pass, host, uri; /* host with its brackets; uri "/" when absent */
  int port;                                    /* explicit, else of the scheme, else 0; -1: malformed */
  bool has_port;
  bool is_tls; /* https wss mqtts ssl tls tcps, any case */
};
void mgx_url_parse(const char *url, size_t len, struct mgx_url *parts);
/* Percent-encode all but A-Z a-z 0-9 - . _ ~ with lower-case digits. The
 * length; nothing is written when cap is less (3 * len is always enough). */
size_t mg_url_encode(const char *s, size_t len, char *to, size_t cap);
/* Percent-decode; form: '+' is a blank. The length (never above len), or
 * MGX_EINVAL for a malformed escape or when cap is too small. `to` may be s. */
int64_t mg_url_decode(const char *s, size_t len, char *to, size_t cap, bool form);

/* Match s against a pattern: ? one character (UTF-8; a byte that belongs to
 * none is one), * any run without '/', # any run, the rest stands for itself.
 * caps[0..cap) gets one slice per wildcard; an earlier wildcard takes as little
 * as it can. The number of wildcards, MGX_MATCH_NO, or MGX_MATCH_ENOMEM. Time
 * is bounded by O(length * pattern), memory by an eighth of that. */
enum { MGX_MATCH_NO = -1, MGX_MATCH_ENOMEM = -2 };
int mg_match(const char *s, size_t len, const char *pattern, size_t pattern_len,
             struct mg_str *caps, size_t cap);

enum { MG_JSON_TOO_DEEP = -1, MG_JSON_INVALID = -2, MG_JSON_NOT_FOUND = -3 };
/* Offset of the value at path ("$.a[0].b") in an RFC 8259 text, its length in
 * *toklen (0 on failure); or MG_JSON_.... Strings keep their quotes. At most 30
 * levels. What stands behind the value is not looked at. The first of equal
 * keys counts. A key fits the path as it is written in the text or unescaped,
 * so a key with a dot in it can be reached ("$.b.c" finds "b.c"). Any thread. */
int64_t mg_json_get(const char *json, size_t len, const char *path, size_t path_len,
                    size_t *toklen);
/* Unescape a JSON string token (quotes included) to UTF-8; a lone surrogate
 * escape becomes U+FFFD. The length (less than len), or MG_JSON_INVALID, also
 * when cap is too small. */
int64_t mg_json_unescape(const char *tok, size_t len, char *to, size_t cap);

/* ---- process-wide ----------------------------------------------------- */

enum { MG_LL_NONE, MG_LL_ERROR, MG_LL_INFO, MG_LL_DEBUG, MG_LL_VERBOSE };
/* Lines above the level are not made. Default MG_LL_NONE. */
void mg_log_set(int level);
int mg_log_get(void);
/* Milliseconds of a monotonic clock. */
uint64_t mg_millis(void);

/* cffi: end */

#ifdef __cplusplus
}
#endif
#endif
