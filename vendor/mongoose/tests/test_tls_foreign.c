/* test_tls_foreign.c: a binding that does TLS itself, here by a toy. */
#include "../src/tls.h"

#include "tls_world.h"

static size_t arrived;

/* ---- a foreign engine ------------------------------------------------------------------------------------------------ */

/* Its handshake is an 'H' from each side; a byte is itself with its bits turned over; 'E'
 * ends the stream, 'X' is an error. */
static size_t held[16];
static char held_text[16][65536];

static void toy_output(uint64_t conn, const char *data, size_t len) {
  char out[65536];
  for (size_t i = 0; i < len; i++) out[i] = (char) ~data[i];
  CHECK(mgx_tls_output(world.mgr, conn, out, len) == 0);
}

static bool toy_greeted[16], toy_said[16];

static void toy_step(uint32_t tag, uint64_t conn, struct mgx_tls_step *step) {
  size_t slot = conn % 16;
  (void) tag;
  if (!toy_said[slot]) {
    toy_said[slot] = true;
    CHECK(mgx_tls_output(world.mgr, conn, "H", 1) == 0);
  }
  for (size_t i = 0; i < step->input.len; i++) {
    char ch = step->input.buf[i];
    if (!toy_greeted[slot]) {
      toy_greeted[slot] = ch == 'H';
      if (ch != 'H') {
        step->failed = true;
        snprintf(step->error, sizeof(step->error), "no greeting");
        return;
      }
    } else {
      CHECK(held[slot] < sizeof(held_text[slot]));
      held_text[slot][held[slot]++] = (char) ~ch;
    }
  }
  step->is_ready = toy_greeted[slot];
  if (!step->is_ready) return;
  if (step->plain.len > 0) {
    step->plain_taken = step->plain.len > 1000 ? 1000 : step->plain.len;
    toy_output(conn, step->plain.buf, step->plain_taken);
  }
  if (step->out_cap > 0 && held[slot] > 0) {
    size_t n = held[slot] < step->out_cap ? held[slot] : step->out_cap;
    char *end = memchr(held_text[slot], 'E', n), *bad = memchr(held_text[slot], 'X', n);
    if (end != NULL) n = (size_t) (end - held_text[slot]);
    if (bad != NULL) step->failed = true;
    memcpy(step->out, held_text[slot], n);
    step->out_len = n;
    step->is_end = end != NULL;
    held[slot] -= n;
    memmove(held_text[slot], held_text[slot] + n, held[slot]);
    step->has_more = held[slot] > 0 && end == NULL;
  }
  if (step->shutdown) toy_output(conn, "E", 1);
}

static void open_foreign_world(void) {
  static struct mgx_callbacks callbacks;
  struct mgx_error err;
  callbacks = world_callbacks;
  callbacks.on_tls_step = toy_step;
  memset(&world, 0, sizeof(world));
  memset(held, 0, sizeof(held));
  memset(toy_greeted, 0, sizeof(toy_greeted));
  memset(toy_said, 0, sizeof(toy_said));
  world.mgr = mgx_mgr_new(1, &callbacks, NULL, MGX_POLLER_DEFAULT, &err);
  CHECK(world.mgr != NULL);
  mgx_handler_set(world.mgr, 0, all_events, all_events);
}

static int foreign_context(void) {
  struct mgx_tls_opts opts = {.foreign = true};
  return context(&opts);
}

static void test_a_foreign_engine_carries_a_conversation_to_its_end(void) {
  open_foreign_world();
  world.react = echo;
  pair(foreign_context(), foreign_context(), NULL);
  CHECK(world_send(2, "abc") == 0);
  CHECK(world_until("2:READ(abc)") && logged("2:TLS_HS") && logged("3:TLS_HS"));
  CHECK(mgx_tls_output(world.mgr, 2, "x", 1) == MGX_ESTATE);
  CHECK(mgx_drain(world.mgr, 2) == 0);
  CHECK(world_until("2:CLOSE") && world_until("3:CLOSE") && !logged("ERROR"));
  world_end();
}

static void send_some(uint64_t conn, int ev, const char *data, size_t n) {
  if (ev == MG_EV_TLS_HS && conn == 3) {
    CHECK(mgx_send(world.mgr, 3, large, 300000, NULL) == 0);
    CHECK(mgx_drain(world.mgr, 3) == 0);
  } else if (ev == MG_EV_READ && conn == 2) {
    CHECK(memcmp(large + arrived, data, n) == 0);
    arrived += n;
  }
}

static void test_a_foreign_engine_moves_much(void) {
  for (size_t i = 0; i < 300000; i++) large[i] = (char) ('a' + i % 23);
  arrived = 0;
  open_foreign_world();
  world.react = send_some;
  pair(foreign_context(), foreign_context(), NULL);
  CHECK(world_until("2:CLOSE") && !logged("ERROR") && arrived == 300000);
  world_end();
}

static void test_what_a_foreign_engine_refuses_is_told(void) {
  open_foreign_world();
  CHECK(listen_tls("tls://127.0.0.1:0", foreign_context()) == 1);
  int fd = dial(1);
  CHECK(write(fd, "Q", 1) == 1);
  CHECK(world_until("2:ERROR(TLS handshake failed: no greeting)") && world_until("2:CLOSE"));
  close(fd);
  fd = dial(1);
  CHECK(write(fd, "H\xa7", 2) == 2);
  CHECK(world_until("3:ERROR(TLS: ") && world_until("3:CLOSE"));
  close(fd);
  fd = dial(1);
  CHECK(write(fd, "H\x9e", 2) == 2 && shutdown(fd, SHUT_WR) == 0);
  CHECK(world_until("4:READ(a) 4:ERROR(TLS: the stream was cut off") && world_until("4:CLOSE"));
  close(fd);
  fd = dial(1);
  CHECK(shutdown(fd, SHUT_WR) == 0);
  CHECK(world_until("5:ERROR(TLS handshake failed: the peer has ended") && world_until("5:CLOSE"));
  close(fd);
  world_end();
}

int main(void) {
  large = malloc(LARGE);
  CHECK(large != NULL);
  RUN(test_a_foreign_engine_carries_a_conversation_to_its_end);
  RUN(test_a_foreign_engine_moves_much);
  RUN(test_what_a_foreign_engine_refuses_is_told);
  free(large);
  return 0;
}
