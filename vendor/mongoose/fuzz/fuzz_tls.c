/* fuzz_tls.c: somebody between a client and a server who speak TLS, and any bytes as
 * options.
 *
 * The input says what the one in between does: pass so many bytes on, change, insert or
 * drop some, cut the stream. Beyond what the sanitizers see: what one side is given is
 * the beginning of what the other has sent, whatever was done; nothing comes before
 * the handshake, nor after an error; and if all bytes went through as they were, in
 * whatever pieces, so did all the data. The two are made with a certificate from the
 * openssl command; where that is missing only options are fed. */
#include "../mongoose.c"

#define MUST(cond) ((cond) ? (void) 0 : abort())
enum { CLIENT, SERVER, STREAM = 1 << 17, FD = 1000000 };

static struct side { /* of the two */
  struct mg_connection *c;
  char wire[STREAM];   /* what was written to its socket */
  size_t wire_len, passed; /* ... and how much of it has been read on the other side */
  char sent[STREAM];   /* plaintext */
  size_t sent_len, got; /* ... and how much of the other's has come */
  char in[STREAM];     /* what its socket will give */
  size_t in_len, in_read;
  bool in_end, is_ready, has_failed, is_closed;
} sides[2];

static char own[8192], own_key[8192];
static uint8_t counter;

/* ---- a socket in memory ------------------------------------------------------------- */

static ssize_t fake_recv(int fd, void *buf, size_t len) {
  struct side *s = &sides[fd - FD];
  size_t n = s->in_len - s->in_read;
  if (n == 0) return s->in_end ? 0 : -EAGAIN;
  if (n > len) n = len;
  memcpy(buf, s->in + s->in_read, n);
  s->in_read += n;
  return (ssize_t) n;
}

static ssize_t fake_send(int fd, const void *buf, size_t len, bool more) {
  struct side *s = &sides[fd - FD];
  size_t room = STREAM - s->wire_len;
  (void) more;
  if (room == 0) return -EPIPE;
  if (len > room) len = room;
  if (++counter % 5 == 0 && len > 1) len /= 2; /* a socket takes what it likes */
  if (counter % 7 == 0) return -EAGAIN;
  memcpy(s->wire + s->wire_len, buf, len);
  s->wire_len += len;
  return (ssize_t) len;
}

static int fake_close(int fd) {
  (void) fd;
  return 0;
}

/* ---- what the two are told --------------------------------------------------------------- */

static struct side *side_of(uint64_t conn) { return &sides[conn - 1]; }

static void on_event(uint32_t tag, uint64_t conn, int ev) {
  struct side *s = side_of(conn);
  (void) tag;
  MUST(!s->is_closed);
  if (ev == MG_EV_TLS_HS) {
    MUST(!s->is_ready && !s->has_failed);
    s->is_ready = true;
  }
}

static void on_data(uint32_t tag, uint64_t conn, int ev, const char *data, size_t len) {
  struct side *s = side_of(conn), *other = &sides[1 - (s - sides)];
  (void) tag;
  MUST(!s->has_failed && !s->is_closed);
  if (ev == MG_EV_ERROR) {
    s->has_failed = true;
    return;
  }
  MUST(ev == MG_EV_READ && s->is_ready);
  MUST(len <= other->sent_len - s->got && memcmp(data, other->sent + s->got, len) == 0);
  s->got += len;
}

static void on_close(uint32_t tag, uint64_t conn, int wanted) {
  (void) tag, (void) wanted;
  side_of(conn)->is_closed = true;
  side_of(conn)->c = NULL;
}

static const struct mgx_callbacks callbacks = {
    .on_event = on_event, .on_data = on_data, .on_close = on_close};

/* ---- the one in between ---------------------------------------------------------------------- */

static void look(struct mg_mgr *mgr, struct side *s) {
  mg__lock(mgr);
  if (s->c != NULL && !s->is_closed) {
    s->c->busy++;
    mg__io_ready(s->c, MG_POLL_IN | MG_POLL_OUT);
    s->c->busy--;
  }
  mg__unlock(mgr);
  mg_mgr_poll(mgr, 0);
}

static void give(struct side *to, const char *data, size_t n) {
  if (n > STREAM - to->in_len) n = STREAM - to->in_len;
  memcpy(to->in + to->in_len, data, n);
  to->in_len += n;
}

static size_t pass(struct side *from, struct side *to, size_t n, char change) {
  char *data = from->wire + from->passed;
  if (n > from->wire_len - from->passed) n = from->wire_len - from->passed;
  if (n > 0) data[n - 1] ^= change;
  give(to, data, n);
  from->passed += n;
  return n;
}

static void say(struct mg_mgr *mgr, struct side *s, size_t n) {
  if (n > STREAM / 4 - s->sent_len || s->is_closed) return;
  for (size_t i = 0; i < n; i++) s->sent[s->sent_len + i] = (char) (s->sent_len + i * 7);
  if (mgx_send(mgr, (uint64_t) (s - sides) + 1, s->sent + s->sent_len, n, NULL) == 0)
    s->sent_len += n;
}

static void become(struct mg_mgr *mgr, struct side *s, int tls) {
  struct mg_connection *c = mg__conn_new(mgr);
  MUST(c != NULL);
  c->fd = FD + (int) (s - sides);
  c->is_client = s == &sides[CLIENT];
  c->is_accepted = !c->is_client;
  c->is_tls_url = true;
  mg__conn_set_handler(c, 0);
  MUST(mg__tls_set(c, mg__tls_ctx(mgr, tls), (struct mg_str){"localhost", 9}) == MGX_OK);
  s->c = c;
  c->busy++;
  mg__tls_begin(c);
  c->busy--;
}

static void conversation(struct mg_mgr *mgr, const uint8_t *data, size_t len) {
  struct mgx_tls_opts server = {.cert = {own, strlen(own)}, .key = {own_key, strlen(own_key)}};
  struct mgx_tls_opts client = {.ca = {own, strlen(own)}};
  struct mgx_error err;
  bool tampered = false;
  int s, c;
  client.max_version = data[0] & 1 ? 0x0303 : 0;
  counter = data[0];
  s = mgx_tls_new(mgr, &server, &err);
  c = mgx_tls_new(mgr, &client, &err);
  MUST(s > 0 && c > 0);
  mg__lock(mgr);
  become(mgr, &sides[CLIENT], c);
  become(mgr, &sides[SERVER], s);
  mg__unlock(mgr);
  for (size_t i = 1; i + 1 < len; i += 2) {
    struct side *from = &sides[data[i] >> 7], *to = &sides[1 - (data[i] >> 7)];
    size_t n = data[i + 1];
    switch (data[i] & 7) {
      case 0: case 1: pass(from, to, n + 1, 0); break;
      case 2: pass(from, to, n * 64 + 1, 0); break;
      case 3: tampered |= pass(from, to, n * 8 + 1, (char) (1 << (data[i] >> 3 & 7))) > 0; break;
      case 4: say(mgr, from, n * n); break;
      case 5: give(to, (const char *) data + i, 1 + n % (len - i)), tampered = true; break;
      case 6: to->in_end = tampered = true; break;
      default:
        if (from->wire_len > from->passed) from->passed++, tampered = true;
    }
    look(mgr, to);
  }
  for (int i = 0; i < 200; i++) { /* the rest goes through, until there is no more */
    size_t moved = pass(&sides[0], &sides[1], STREAM, 0) + pass(&sides[1], &sides[0], STREAM, 0);
    look(mgr, &sides[0]);
    look(mgr, &sides[1]);
    if (moved == 0 && i > 20) break;
  }
  if (!tampered)
    for (int i = 0; i < 2; i++)
      MUST(sides[i].is_ready && !sides[i].has_failed && sides[i].got == sides[1 - i].sent_len);
}

static void options(struct mg_mgr *mgr, const uint8_t *data, size_t len) {
  struct mgx_tls_opts opts = {.lenient = data[0] & 8};
  struct mg_str text = {(const char *) data + 1, len - 1};
  struct mgx_error err;
  int tls;
  if (data[0] & 16) opts.ca = text;
  if (data[0] & 32) opts.cert = text;
  if (data[0] & 64) opts.key = text;
  if (data[0] & 1) opts.ciphers = text;
  if (data[0] & 2) opts.alpn = text;
  if (data[0] & 4) opts.password = text;
  tls = mgx_tls_new(mgr, &opts, &err);
  MUST(tls > 0 || (tls == MGX_EINVAL && err.text[0] != '\0') || tls == MGX_ENOMEM);
  if (tls > 0) MUST(mgx_tls_add_name(mgr, tls, text.buf, text.len, tls) == MGX_EINVAL);
}

/* ---- the target ------------------------------------------------------------------------------- */

static void slurp(const char *path, char *to, size_t size) {
  FILE *file = fopen(path, "rb");
  size_t n = file == NULL ? 0 : fread(to, 1, size - 1, file);
  to[n] = '\0';
  if (file != NULL) fclose(file);
  unlink(path);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv) {
  char command[512], cert[64], key[64];
  struct mgx_error err;
  (void) argc, (void) argv;
  if (mgx_tls_open_library(NULL, &err) != MGX_OK) {
    fprintf(stderr, "no OpenSSL here, nothing to be fed: %s\n", err.text);
    exit(0);
  }
  snprintf(cert, sizeof(cert), "/tmp/fuzz_tls_%d.crt", (int) getpid());
  snprintf(key, sizeof(key), "/tmp/fuzz_tls_%d.key", (int) getpid());
  snprintf(command, sizeof(command),
           "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "
           "/CN=a -addext subjectAltName=DNS:localhost -keyout %s -out %s 2>/dev/null",
           key, cert);
  if (system(command) != 0) fprintf(stderr, "no openssl command: options only\n");
  slurp(cert, own, sizeof(own));
  slurp(key, own_key, sizeof(own_key));
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  static const uint32_t all = ~(1u << MG_EV_POLL | 1u << MGX_READ_WITH_DATA_SHIFT);
  static struct mg_os os;
  struct mgx_error err;
  struct mg_mgr *mgr;
  if (len < 2) return 0;
  memset(sides, 0, sizeof(sides));
  mgr = mgx_mgr_new(1, &callbacks, NULL, MGX_POLLER_POLL, &err);
  MUST(mgr != NULL);
  os = mg__os_posix;
  mgx_handler_set(mgr, 0, all, all);
  if (data[0] & 0x80 || own[0] == '\0') {
    options(mgr, data, len);
  } else {
    os.recv = fake_recv;
    os.send = fake_send;
    os.shutdown_write = fake_close;
    os.close = fake_close;
    mgr->os = &os;
    conversation(mgr, data, len);
    while (!mg__link_empty(&mgr->conns)) {
      mg__lock(mgr);
      mg__conn_finish(MG_CONTAINER(mgr->conns.prev, struct mg_connection, link));
      mg__unlock(mgr);
    }
    while (!mg__link_empty(&mgr->lingering))
      mg__conn_free(MG_CONTAINER(mgr->lingering.prev, struct mg_connection, link));
    mgr->os = &mg__os_posix;
  }
  mg_mgr_free(mgr);
  mgx_mgr_delete(mgr);
  return 0;
}
