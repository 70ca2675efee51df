"""A sensor gateway: UDP and TCP in, a live web page and a JSON API out.

    python examples/gateway.py --demo

prints the page's address and starts sensors.py, which plays some sensors.
Without ``--demo`` it waits for yours.  A measurement is a line of text,

    NAME VALUE [UNIT]          greenhouse.temperature 21.5 °C

in UTF-8, at most 200 bytes, sent over TCP or in a UDP datagram (one line or
several).  NAME has up to 64 of ``A-Z a-z 0-9 _ . -`` and starts with a letter
or digit, VALUE is a decimal number from -1e15 to 1e15, UNIT up to 16 printable
characters without blanks.  A line that breaks these rules is counted, and the
page shows what was wrong with the last one; a TCP line without end closes its
connection.

    GET /                      the page (files from gateway_static/)
    GET /api/sensors           every sensor with its newest value
    GET /api/sensors/NAME      one sensor with its recent values
    GET /api/stats             counters
    GET /events                server-sent events: snapshot, readings, stats

Whatever grows has a limit (the constants here and in gateway_store.py), so a gateway left alone for
a year is as big as on its first day.  A browser that reads too slowly misses
readings and gets a fresh snapshot when it has caught up.  Nothing is encrypted
and nobody is asked for a password: listen on the loopback interface, which is
the default, or on a network you trust.  Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from urllib.parse import unquote

from gateway_store import MAX_LINE, RECENT, Store, now_ms

from mongoose_py import Connection, Handler, HttpMessage, Manager

HERE = Path(__file__).resolve().parent
STATIC = HERE / "gateway_static"

MAX_SENDERS = 256  # TCP connections of sensors
MAX_BROWSERS = 64  # open event streams
SLOW_ABOVE = 1024 * 1024  # unsent bytes at which a browser misses readings; over any one event
TICK_MS = 250  # readings go to the browsers in one event per tick

STREAM_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
PAGE_HEADERS = (
    "Cache-Control: no-cache\r\n"
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\n"
)


class UdpInput(Handler):
    """Datagrams of one or more lines."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def on_read(self, conn: Connection, data: bytes) -> None:
        """Take one datagram."""
        for line in data.splitlines():
            self.store.take(line, "udp")


class TcpInput(Handler):
    """Streams of lines."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.senders: set[Connection] = set()

    def on_accept(self, conn: Connection) -> None:
        """Take a sender, or turn it away when there are too many."""
        if len(self.senders) >= MAX_SENDERS:
            conn.close()
        else:
            self.senders.add(conn)

    def on_read(self, conn: Connection, data: bytes) -> None:
        """Take the complete lines; the unfinished one comes again with the rest."""
        *lines, unfinished = data.split(b"\n")
        for line in lines:
            self.store.take(line, "tcp")
        if len(unfinished) > MAX_LINE:
            self.store.reject(f"a line without end, over {MAX_LINE} bytes", "tcp")
            conn.close()
        else:
            conn.recv_keep(len(unfinished))

    def on_close(self, conn: Connection) -> None:
        """Forget a sender that left."""
        self.senders.discard(conn)


class Web(Handler):
    """The page, the JSON API and the event streams."""

    def __init__(self, store: Store, senders: set[Connection]) -> None:
        self.store = store
        self.senders = senders
        self.addresses: dict[str, str] = {}  # "udp", "tcp": where to send; set once known
        self.browsers: dict[Connection, bool] = {}  # event streams; True: owed a snapshot
        self.skipped = 0  # events kept from slow browsers
        self.started = time.monotonic()

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        """Find who answers."""
        path = unquote(message.uri)
        if message.method not in ("GET", "HEAD"):
            conn.reply_json({"error": "use GET"}, 405, headers={"Allow": "GET, HEAD"})
        elif path == "/events":
            self._open_stream(conn, message)
        elif path == "/api/stats":
            conn.reply_json(self.stats())
        elif path == "/api/sensors":
            conn.reply_json([s.summary() for s in self.store.sensors.values()])
        elif path.startswith("/api/"):
            sensor = self.store.sensors.get(path.removeprefix("/api/sensors/"))
            if sensor is not None:
                conn.reply_json(sensor.history())
            else:
                conn.reply_json({"error": "not found", "path": path}, 404)
        else:
            conn.serve_dir(message, str(STATIC), extra_headers=PAGE_HEADERS)

    def on_close(self, conn: Connection) -> None:
        """Forget a browser that left."""
        self.browsers.pop(conn, None)

    def _open_stream(self, conn: Connection, message: HttpMessage) -> None:
        if len(self.browsers) >= MAX_BROWSERS:
            conn.reply_json({"error": "too many browsers"}, 503, headers={"Retry-After": "5"})
            return
        conn.reply(200, headers=STREAM_HEADERS)
        if message.method == "GET":
            conn.http_chunk("retry: 1000\n\n")  # milliseconds until a browser comes back
            self.browsers[conn] = True  # also when it comes back: it starts from a snapshot

    def stats(self) -> dict[str, object]:
        """Return the counters."""
        return {
            "now": now_ms(),
            "uptime": round(time.monotonic() - self.started, 3),  # seconds
            "accepted": self.store.accepted,
            "rejected": self.store.rejected,
            "last_error": self.store.last_error,
            "sensors": len(self.store.sensors),
            "senders": len(self.senders),
            "browsers": len(self.browsers),
            "skipped": self.skipped,
            "listening": self.addresses,
        }

    def tick(self) -> None:
        """Send what is new; the whole to those who have just come or missed some."""
        forgot = self.store.forget_silent()
        news = self.store.take_fresh()
        update = json.dumps({"now": now_ms(), "sensors": news})
        snapshot = ""  # made when the first browser needs it, then shared
        for conn, owed in self.browsers.items():
            if conn.send_len > SLOW_ABOVE:
                self.browsers[conn] = True
                self.skipped += 1
            elif owed or forgot:
                snapshot = snapshot or self._snapshot()
                conn.http_sse("snapshot", snapshot)
                self.browsers[conn] = False
            elif news:
                conn.http_sse("readings", update)

    def _snapshot(self) -> str:
        sensors = [s.history() for s in self.store.sensors.values()]
        return json.dumps({"now": now_ms(), "keep": RECENT, "sensors": sensors})

    def tell_stats(self) -> None:
        """Send the counters; a page that hears nothing knows that we are gone."""
        stats = json.dumps(self.stats())
        for conn in self.browsers:
            if conn.send_len <= SLOW_ABOVE:
                conn.http_sse("stats", stats)


def address(listener: Connection) -> str:
    """Return where *listener* listens, as ``host:port``."""
    assert listener.local_addr is not None  # it listens, so it has an address
    host, port, is_ipv6 = listener.local_addr
    return f"[{host}]:{port}" if is_ipv6 else f"{host}:{port}"


@contextmanager
def sensors_beside(udp: str, tcp: str) -> Iterator[None]:
    """Run sensors.py for as long as the block runs."""
    command = [sys.executable, str(HERE / "sensors.py"), "--udp", udp, "--tcp", tcp]
    # A session of its own: Ctrl-C in the terminal reaches us alone, we tell the child.
    child = subprocess.Popen(command, start_new_session=True)
    try:
        yield
    finally:
        child.terminate()
        child.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="Sensors in, a live page and JSON out.")
    parser.add_argument("--demo", action="store_true", help="play some sensors as well")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (%(default)s)")
    parser.add_argument("--http-port", type=int, default=8000, help="page and API; 0: any free")
    parser.add_argument("--port", type=int, default=9000, help="UDP and TCP; 0: any free")
    args = parser.parse_args()

    store = Store()
    tcp_input = TcpInput(store)
    web = Web(store, tcp_input.senders)
    with Manager() as manager:
        try:
            page = address(manager.listen(f"http://{args.host}:{args.http_port}", web))
            udp = address(manager.listen(f"udp://{args.host}:{args.port}", UdpInput(store)))
            tcp = address(manager.listen(f"tcp://{args.host}:{args.port}", tcp_input))
        except OSError as exc:
            sys.exit(f"gateway: {exc} (--port and --http-port choose others)")
        web.addresses = {"udp": udp, "tcp": tcp}
        manager.timer_add(TICK_MS, web.tick, repeat=True)
        manager.timer_add(1000, web.tell_stats, repeat=True)
        print(f"gateway: measurements by udp://{udp} and tcp://{tcp}")
        print(f"gateway: open http://{page}/ in a browser; Ctrl-C ends it", flush=True)
        with sensors_beside(udp, tcp) if args.demo else nullcontext():
            manager.run()
    print(f"gateway: closed after {store.accepted} measurements")


if __name__ == "__main__":
    main()
