"""A sensor gateway: MQTT, WebSocket, UDP and TCP in, a live web page and a JSON API out.

    python examples/gateway.py --demo

prints the page's address and starts sensors.py, which plays some devices.  Without
``--demo`` it waits for yours.  A measurement is a line of text,

    NAME VALUE [UNIT]          greenhouse.temperature 21.5 °C

in UTF-8, at most 200 bytes: over TCP, in a UDP datagram (one line or several), in a
message to the WebSocket ``/device`` (so too), or by MQTT 3.1.1 or 5 with ``VALUE [UNIT]``
published to ``sensors/NAME``; the broker is in here.  NAME has up to 64 of
``A-Z a-z 0-9 _ . -`` and starts with a letter or digit, VALUE is a decimal number from
-1e15 to 1e15, UNIT up to 16 printable characters without blanks that do not start with
``= + - @``.  What breaks these rules is counted, and the page shows what was wrong with
the last one; a TCP line without end closes its connection.

An actuator publishes ``on`` or ``off`` to ``actuators/NAME/state``, retained, and leaves
``offline`` there as its will.  What the page asks of it comes by ``actuators/NAME/set``,
QoS 1, retained: it holds for a device that was away, too.

    GET /                      the page (files from gateway_static/)
    GET /api/sensors           every sensor with its newest value
    GET /api/sensors/NAME      one sensor with its recent values
    GET /api/actuators         what was asked of each, and what it says it is
    GET /api/stats             counters, and who has sent something when
    GET /csv, /csv/NAME        the newest 50,000 values of the history, of all or of one
    WebSocket /live            events out: snapshot, news, stats; and commands in:
                               "switch NAME on|off", "alarm NAME LOW HIGH" ("-": no limit)

Whatever grows has a limit (constants here, in gateway_store.py and gateway_history.py), so
a gateway left alone for a year is as big as on its first day.  A browser that reads too slowly
misses news and gets a fresh snapshot when it has caught up.  Pages of other sites are
turned away, but nothing is encrypted and nobody is asked for a password: listen on the
loopback interface, which is the default, or on a network you trust.  Ctrl-C ends it.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import unquote, urlsplit

from gateway_history import History
from gateway_settings import options
from gateway_store import MAX_LINE, RECENT, Store, now_ms, parse_value
from mqtt_broker import Broker, Client, Message

from mongoose_py import Connection, Handler, HttpMessage, Limits, WsMessage

HERE = Path(__file__).resolve().parent
STATIC = HERE / "gateway_static"

MAX_SENDERS = 256  # TCP connections and WebSockets of sensors, each
MAX_BROWSERS = 64  # pages that are open
SLOW_ABOVE = 1024 * 1024  # unsent bytes at which a browser misses news; over any one event
TICK_MS = 250  # news goes to the browsers in one event per tick
LIMITS = Limits(
    recv_buffer=64 * 1024,
    send_backlog=4 * 1024 * 1024,
    ws_message=4096,
    ws_idle_timeout=30,  # a page that is gone without a word makes room for another
    mqtt_packet=4096,
    mqtt_queue=64 * 1024,
)

PAGE_HEADERS = (
    "Cache-Control: no-cache\r\n"
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\n"
)


def sender_of(conn: Connection) -> str:
    """Return the host that sends on *conn*."""
    return conn.remote_addr[0] if conn.remote_addr is not None else ""


class UdpInput(Handler):
    """Datagrams of one or more lines."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def on_read(self, conn: Connection, data: bytes) -> None:
        """Take one datagram."""
        for line in data.splitlines():
            self.store.take(line, "udp", sender_of(conn))


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
            self.store.take(line, "tcp", sender_of(conn))
        if len(unfinished) > MAX_LINE:
            self.store.reject(f"a line without end, over {MAX_LINE} bytes", "tcp")
            conn.close()
        else:
            conn.recv_keep(len(unfinished))

    def on_error(self, conn: Connection, message: str) -> None:
        """Count a connection that was lost."""
        self.store.reject(message, "tcp")

    def on_close(self, conn: Connection) -> None:
        """Forget a sender that left."""
        self.senders.discard(conn)


class Hub(Broker):
    """The broker of the MQTT devices; it listens to what they tell each other."""

    CLIENTS, SUBSCRIPTIONS, RETAINED, ROUTES = 256, 64, 1024, 1024  # at most
    LIMITS = LIMITS

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store

    def publish(self, one: Message, sender: Client | None) -> None:
        """Pass a message on and look at it; *sender* is None when it is ours."""
        super().publish(one, sender)
        name = sender.name if sender and sender.conn else ""  # without connection: a will
        kind, _, rest = one.topic.partition("/")
        actuator, _, what = rest.partition("/")
        if kind == "sensors":
            self.store.take(one.data, "mqtt", name, rest)
        elif kind == "actuators" and what in ("set", "state"):
            self.store.switch(actuator, what, one.data, name)

    def on_error(self, conn: Connection, message: str) -> None:
        """Count what is no MQTT, and connections that were lost."""
        self.store.reject(message, "mqtt")

    def connected(self) -> int:
        """Return how many MQTT devices are connected."""
        return sum(client.conn is not None for client in self.clients.values())


class Web(Handler):
    """The page, the JSON API, and the WebSockets of pages and of devices."""

    def __init__(self, store: Store, hub: Hub, senders: set[Connection], name: str) -> None:
        self.store = store
        self.hub = hub
        self.senders = senders  # by TCP
        self.names = {
            "localhost",
            name.lower() or "localhost",
        }  # of this host; its addresses are, too
        self.addresses: dict[str, str] = {}  # "udp", "tcp", "mqtt": set once known
        self.devices: dict[Connection, bool] = {}  # WebSockets that measurements come by
        self.browsers: dict[Connection, bool] = {}  # pages; True: owed a snapshot
        self.skipped = 0  # events kept from slow browsers
        self.started = time.monotonic()

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        """Find who answers."""
        path = unquote(message.uri)
        topic, _, name = path.removeprefix("/").partition("/")
        if not self.is_ours(message):
            conn.reply_json(
                {"error": "another site's page, or a Host that --name has not told"}, 403
            )
        elif message.method not in ("GET", "HEAD"):
            conn.reply_json({"error": "use GET"}, 405, headers={"Allow": "GET, HEAD"})
        elif path == "/live":
            self.welcome(conn, message, self.browsers, MAX_BROWSERS)
        elif path == "/device":
            self.welcome(conn, message, self.devices, MAX_SENDERS)
        elif topic == "api":
            what, _, which = name.partition("/")
            self.answer(conn, what, which)
        elif path == "/csv" or (topic == "csv" and name in self.store.sensors):
            self.store.save()
            filename = f'attachment; filename="{name or "history"}.csv"'
            headers = {"Content-Type": "text/csv; charset=utf-8", "Content-Disposition": filename}
            conn.reply(200, self.store.history.export(name), headers)
        else:
            conn.serve_dir(message, str(STATIC), extra_headers=PAGE_HEADERS)

    def is_ours(self, message: HttpMessage) -> bool:
        """Tell whether a request is for us, and from our page or from no page at all.

        A browser lets the page of any site open a WebSocket here, but says which it is in
        ``Origin``. And any site can let a name of its own point here: look at ``Host``.
        """
        host, origin = message.header("Host", ""), message.header("Origin")
        if origin is not None and origin.partition("://")[2] != host:
            return False
        try:
            name = urlsplit(f"//{host}").hostname
            return name in self.names or bool(ip_address(name or ""))
        except ValueError:
            return False

    def answer(self, conn: Connection, what: str, name: str) -> None:
        """Answer a request of the API."""
        store = self.store
        if what == "sensors" and name in store.sensors:
            conn.reply_json(store.sensors[name].history())
        elif what == "sensors" and not name:
            conn.reply_json([sensor.summary() for sensor in store.sensors.values()])
        elif what == "actuators" and not name:
            conn.reply_json([vars(actuator) for actuator in store.actuators.values()])
        elif what == "stats" and not name:
            conn.reply_json(self.stats())
        else:
            conn.reply_json({"error": "not found"}, 404)

    def welcome(
        self, conn: Connection, message: HttpMessage, others: dict[Connection, bool], most: int
    ) -> None:
        """Make a request a WebSocket."""
        if len(others) >= most:
            conn.reply_json({"error": "too many are here"}, 503, headers={"Retry-After": "5"})
        elif conn.ws_upgrade(message):
            others[conn] = True

    def on_error(self, conn: Connection, message: str) -> None:
        """Count what is no HTTP or WebSocket, and connections that were lost."""
        self.store.reject(message, "web")

    def on_close(self, conn: Connection) -> None:
        """Forget who has left."""
        self.devices.pop(conn, None)
        self.browsers.pop(conn, None)

    def on_ws_message(self, conn: Connection, message: WsMessage) -> None:
        """Take the lines of a device, or the command of a page."""
        if conn not in self.browsers:
            for line in message.data.splitlines():
                self.store.take(line, "ws", sender_of(conn))
            return
        try:
            self.obey(message.text.split())
        except ValueError as exc:
            conn.ws_send(json.dumps({"type": "refused", "why": str(exc)}))

    def obey(self, words: list[str]) -> None:
        """Do what a page asks for.

        Raises:
            ValueError: If it cannot be done; with a text for people.
        """
        verb, name = (*words, "", "")[:2]
        rest = words[2:]
        if verb == "switch" and name in self.store.actuators and rest in (["on"], ["off"]):
            self.hub.publish(Message(f"actuators/{name}/set", rest[0].encode(), 1, True, {}), None)
        elif verb == "alarm" and len(rest) == 2:
            low, high = (None if word == "-" else parse_value(word) for word in rest)
            self.store.set_alarm(name, low, high)
        else:
            raise ValueError(f"not a command: {' '.join(words)[:100]!r}")

    def stats(self) -> dict[str, object]:
        """Return the counters."""
        return {
            "now": now_ms(),
            "uptime": round(time.monotonic() - self.started, 3),  # seconds
            "accepted": self.store.accepted,
            "rejected": self.store.rejected,
            "last_error": self.store.last_error,
            "sensors": len(self.store.sensors),
            "senders": len(self.senders) + len(self.devices) + self.hub.connected(),
            "browsers": len(self.browsers),
            "skipped": self.skipped,
            "devices": [vars(device) for device in self.store.devices.values()],
            "listening": self.addresses,
        }

    def tick(self) -> None:
        """Send what is new; the whole to those who have just come or missed some."""
        everybody = self.store.evicted  # a page cannot tell that from news
        self.store.evicted = False
        news = self.store.news()
        snapshot = ""  # made when the first browser needs it, then shared
        ready = []
        for conn, owed in self.browsers.items():
            if conn.send_len > SLOW_ABOVE:
                self.browsers[conn] = True
                self.skipped += 1
            elif owed or everybody:
                snapshot = snapshot or self.snapshot()
                conn.ws_send(snapshot)
                self.browsers[conn] = False
            else:
                ready.append(conn)
        if news and ready:
            self.hub.manager.ws_broadcast(ready, event("news", news))

    def snapshot(self) -> str:
        """Return everything there is to show."""
        sensors = [sensor.history() for sensor in self.store.sensors.values()]
        actuators = [vars(actuator) for actuator in self.store.actuators.values()]
        return event("snapshot", {"keep": RECENT, "sensors": sensors, "actuators": actuators})

    def each_second(self) -> None:
        """Save, and send the counters; a page that hears nothing knows that we are gone."""
        self.store.save()
        ready = [conn for conn in self.browsers if conn.send_len <= SLOW_ABOVE]
        self.hub.manager.ws_broadcast(ready, event("stats", self.stats()))


def event(kind: str, data: dict[str, object]) -> str:
    """Return a message to pages."""
    return json.dumps({"type": kind, "now": now_ms(), **data})


def address(listener: Connection) -> str:
    """Return where *listener* listens, as ``host:port``."""
    assert listener.local_addr is not None  # it listens, so it has an address
    host, port, is_ipv6 = listener.local_addr
    return f"[{host}]:{port}" if is_ipv6 else f"{host}:{port}"


@contextmanager
def sensors_beside(page: str, addresses: dict[str, str]) -> Iterator[None]:
    """Run sensors.py for as long as the block runs."""
    command = [sys.executable, str(HERE / "sensors.py"), "--ws", page]
    command += [word for via, where in addresses.items() for word in (f"--{via}", where)]
    # A session of its own: Ctrl-C in the terminal reaches us alone, we tell the child.
    child = subprocess.Popen(command, start_new_session=True)
    try:
        yield
    finally:
        child.terminate()
        child.wait()


def main() -> None:
    args = options()
    logging.disable(logging.WARNING)  # what a device misses that reads too slowly
    try:
        history = History(args.database, args.history)
    except sqlite3.Error as exc:
        sys.exit(f"gateway: {args.database}: {exc}")
    store = Store(history, args.alarms)
    hub = Hub(store)
    tcp_input = TcpInput(store)
    web = Web(store, hub, tcp_input.senders, args.name)
    with closing(history), hub.manager as manager:
        try:
            page = address(manager.listen(f"http://{args.host}:{args.http_port}", web))
            udp = address(manager.listen(f"udp://{args.host}:{args.port}", UdpInput(store)))
            tcp = address(manager.listen(f"tcp://{args.host}:{args.port}", tcp_input))
            mqtt = address(manager.mqtt_listen(f"mqtt://{args.host}:{args.mqtt_port}"))
        except OSError as exc:
            sys.exit(f"gateway: {exc} (--port, --http-port and --mqtt-port choose others)")
        web.addresses = {"udp": udp, "tcp": tcp, "mqtt": mqtt}
        manager.timer_add(TICK_MS, web.tick, repeat=True)
        manager.timer_add(1000, web.each_second, repeat=True)
        print(f"gateway: measurements by udp://{udp}, tcp://{tcp} and mqtt://{mqtt}")
        print(f"gateway: open http://{page}/ in a browser; Ctrl-C ends it", flush=True)
        with sensors_beside(page, web.addresses) if args.demo else nullcontext():
            manager.run()
        store.save()
    print(f"gateway: closed after {store.accepted} measurements")


if __name__ == "__main__":
    main()
