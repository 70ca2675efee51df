/* http.h: what http.c (reading), http_answer.c (writing) and http_sent.c (what
 * handlers write) share about a connection that speaks HTTP. */
#ifndef MG_HTTP_H
#define MG_HTTP_H

#include "internal.h"

enum { MG_HTTP_HEAD, MG_HTTP_BODY }; /* what is being read */

/* How far the answer to the pending request is; of a client the request being sent:
 * NONE, HEAD, LENGTH or CHUNKED. */
enum {
  MG_ANSWER_NONE,    /* no request is pending */
  MG_ANSWER_AWAITED, /* delivered or about to be, nothing sent yet */
  MG_ANSWER_HEAD,    /* the head is being sent by hand, in pieces */
  MG_ANSWER_LENGTH,  /* answer_left bytes of body to come */
  MG_ANSWER_CHUNKED, /* until the last chunk */
  MG_ANSWER_TO_END,  /* until the connection ends */
  MG_ANSWER_QUEUED   /* whole, complete once it has left (files) */
};

enum { MG_HTTP_MAX_PIPELINED = 64 }; /* requests a client may have under way */

struct mg_http {
  int reading;
  struct mg_http_framing framing; /* of the message being read */
  struct mg_chunked chunked;      /* its body, if chunked */
  size_t head_len;  /* its head: recv[0..head_len) once reading is MG_HTTP_BODY */
  size_t body_len;  /* decoded body behind it: collected so far */
  uint64_t body_left; /* MG_BODY_LENGTH: still to arrive */
  size_t looked_at; /* head: bytes of recv that were searched for the end of a line */
  size_t tried_at;  /* head: length of recv when it was last parsed in vain */
  bool head_timed;  /* the head's time-out is running */
  bool is_streamed; /* mgx_http_stream_body() */
  bool in_headers;  /* MG_EV_HTTP_HDRS is running */
  bool in_loop;     /* http.c is at work and will look at recv again by itself */
  struct mg_http_message *running; /* of the event that runs, or NULL */
  bool is_whole;    /* the message ends at recv[whole_used]; its event is still due */
  size_t whole_used;

  int answer;
  uint64_t answer_left;
  struct mg_chunked answer_chunked; /* chunks sent by hand */
  struct mg_iobuf answer_head;      /* head sent by hand so far */
  bool keep_alive;      /* the request allows another one */
  bool is_last;         /* but there will be none: mgx_http_finish() */
  bool is_stream;       /* the answer is an event stream: it has no end of its own */
  bool keep_alive_10;   /* ... if the answer says so: HTTP/1.0 */
  bool is_http10;
  bool to_head, to_connect; /* method of the pending request */

  uint64_t heads, connects; /* client: a bit for each request under way, oldest lowest */
  unsigned under_way;
  bool has_sent; /* client: something was sent since the last response */
};

static inline struct mg_http *mg__http(const struct mg_connection *c) { return c->proto_data; }

/* http.c: is the body of the message being read in the buffer, as far as lengths tell? */
bool mg__http_body_has_arrived(const struct mg_connection *c);

/* http_sent.c */
int mg__http_on_send(struct mg_connection *c, const char *data, size_t len);

/* http_answer.c */
/* The pending answer is whole: the connection drains, or the next request is read. */
void mg__http_answer_done(struct mg_connection *c, struct mg_http *h);
void mg__http_on_sent(struct mg_connection *c);
/* Answer with an error and close. Does nothing but close when an answer has begun. */
void mg__http_refuse(struct mg_connection *c, int status);

#endif
