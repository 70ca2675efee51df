/* ws_load.c: a WebSocket client that loads an echo server.
 *
 *     ws_load PORT CONNECTIONS IN_FLIGHT BYTES SECONDS
 *
 * Each connection writes IN_FLIGHT messages at once and waits until that many
 * bytes have come back. Prints how many messages were echoed. What comes back is
 * counted, not looked at, but for its first byte. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define MUST(cond) ((cond) ? (void) 0 : (perror(#cond), exit(1)))
enum { MAX_CONNECTIONS = 4096 };

static const char handshake[] =
    "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

static char *wire; /* IN_FLIGHT masked frames */
static size_t wire_len, answer_len;
static struct { int fd; size_t sent, got; } conns[MAX_CONNECTIONS];

static size_t header_size(size_t n) { return n <= 125 ? 2 : n <= 65535 ? 4 : 10; }

static void make_wire(int in_flight, size_t bytes) {
  static const uint8_t key[4] = {0x12, 0x34, 0x56, 0x78};
  size_t h = header_size(bytes);
  char *p = wire = malloc((size_t) in_flight * (h + 4 + bytes));
  MUST(wire != NULL);
  for (int i = 0; i < in_flight; i++) {
    *p++ = (char) 0x81;
    *p++ = (char) (0x80 | (h == 2 ? bytes : h == 4 ? 126 : 127));
    for (size_t k = h - 2; k > 0; k--) *p++ = (char) (bytes >> 8 * (k - 1));
    memcpy(p, key, 4);
    p += 4;
    for (size_t k = 0; k < bytes; k++) *p++ = (char) (('a' + k % 26) ^ key[k & 3]);
  }
  wire_len = (size_t) (p - wire);
  answer_len = (size_t) in_flight * (h + bytes);
}

static int dial(int port) {
  struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t) port)};
  char head[4096];
  size_t n = 0;
  int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  MUST(fd >= 0 && connect(fd, (struct sockaddr *) &sa, sizeof(sa)) == 0);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  MUST(send(fd, handshake, sizeof(handshake) - 1, 0) == (ssize_t) sizeof(handshake) - 1);
  do {
    ssize_t got = recv(fd, head + n, 1, 0);
    MUST(got == 1 && ++n < sizeof(head));
    head[n] = '\0';
  } while (strstr(head, "\r\n\r\n") == NULL);
  MUST(strncmp(head, "HTTP/1.1 101", 12) == 0);
  return fd;
}

static void send_more(int i) {
  ssize_t n = send(conns[i].fd, wire + conns[i].sent, wire_len - conns[i].sent,
                   MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n > 0) conns[i].sent += (size_t) n;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  static char waste[1 << 20];
  struct epoll_event events[256];
  int ep = epoll_create1(0), count, in_flight;
  long echoed = 0;
  double end;
  MUST(argc == 6 && (count = atoi(argv[2])) <= MAX_CONNECTIONS);
  in_flight = atoi(argv[3]);
  make_wire(in_flight, (size_t) atol(argv[4]));
  for (int i = 0; i < count; i++) {
    struct epoll_event ev = {.events = EPOLLIN, .data.u32 = (uint32_t) i};
    conns[i].fd = dial(atoi(argv[1]));
    MUST(epoll_ctl(ep, EPOLL_CTL_ADD, conns[i].fd, &ev) == 0);
  }
  end = now() + atof(argv[5]);
  for (int i = 0; i < count; i++) send_more(i);
  while (now() < end) {
    int n = epoll_wait(ep, events, 256, 20);
    for (int e = 0; e < n; e++) {
      int i = (int) events[e].data.u32;
      ssize_t got = recv(conns[i].fd, waste, sizeof(waste), MSG_DONTWAIT);
      MUST(got > 0 && (conns[i].got > 0 || waste[0] == (char) 0x81));
      conns[i].got += (size_t) got;
      if (conns[i].sent < wire_len) send_more(i);
      if (conns[i].got < answer_len) continue;
      echoed += in_flight;
      conns[i].got = conns[i].sent = 0;
      send_more(i);
    }
    for (int i = 0; n == 0 && i < count; i++)
      if (conns[i].sent < wire_len) send_more(i);
  }
  printf("%ld\n", echoed);
  return 0;
}
