"""A sensor gateway: MQTT, WebSocket, UDP and TCP in, a live web page and a JSON API out.

    python examples/gateway/gateway.py
    echo 'desk.temperature 21.5 °C' > /dev/udp/127.0.0.1/9000

README.md says what devices may send, what there is to ask for and how to change it.  All of
it runs in one event loop, on one thread.  Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Callable
from urllib.parse import urlsplit

sys.path.append(str(Path(__file__).resolve().parent.parent))  # where mqtt_broker.py is

from mqtt_broker import Broker, Client, Message
from store import MAX_LINE, RECENT, Store, now_ms

from mongoose_py import Connection, Error, Handler, HttpMessage, Limits, TlsOpts, WsMessage

PAGE = Path(__file__).resolve().parent / "page"
SLOW_ABOVE = 1024 * 1024  # unsent bytes at which a page is cut off; above any one event
PAGE_HEADERS = (
    "Cache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\n"
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'\r\n"
)


def sender(conn: Connection) -> str:
    """Return the address that *conn* is from."""
    return conn.remote_addr[0] if conn.remote_addr else ""


class Lines(Handler):
    """Lines of text, in datagrams or over TCP."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def on_read(self, conn: Connection, data: bytes) -> None:
        """Take the complete lines; over TCP an unfinished one comes again with the rest."""
        *lines, unfinished = [*data.splitlines(), b""] if conn.is_udp else data.split(b"\n")
        self.store.take("udp" if conn.is_udp else "tcp", sender(conn), *lines)
        if len(unfinished) > MAX_LINE:
            self.store.reject(f"tcp: a line without end, over {MAX_LINE} bytes")
            conn.close()
        elif unfinished:
            conn.recv_keep(len(unfinished))

    def on_error(self, conn: Connection, message: str) -> None:
        """Count a connection that was lost."""
        self.store.reject(f"tcp: {message}")


def command(name: str, word: str) -> Message:
    """Return what an actuator is asked by; one that is away learns of it when it is back."""
    return Message(f"actuators/{name}/set", word.encode(), 1, True, {})


class Mqtt(Broker):
    """The broker of the MQTT devices; it listens to what they tell each other."""

    CLIENTS, SUBSCRIPTIONS, RETAINED, ROUTES = 256, 64, 1024, 1024  # at most
    LIMITS = Limits(
        connections=500,  # of devices and pages; further ones are refused
        recv_buffer=64 * 1024,
        send_backlog=4 * 1024 * 1024,
        ws_message=4096,
        ws_idle_timeout=30,  # a page that is gone without a word makes room for another
        mqtt_packet=4096,
        mqtt_queue=64 * 1024,
    )

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        for one in store.rows("SELECT * FROM actuator WHERE asked != ''"):  # before a restart
            super().publish(command(one["name"], one["asked"]), None)

    def publish(self, one: Message, sender: Client | None) -> None:
        """Pass a message on and look at it; *sender* is None when it is ours."""
        super().publish(one, sender)
        kind, _, rest = one.topic.partition("/")
        name, _, what = rest.rpartition("/")
        if kind == "sensors" and sender:
            self.store.take("mqtt", sender.name, f"{rest} ".encode() + one.data)
        elif kind == "actuators" and what in ("set", "state"):
            if sender and sender.conn:  # without a connection it is a will
                self.store.put("device", f"mqtt {sender.name}")
            self.store.switch(name, what, one.data.decode("utf-8", "replace"))

    def on_error(self, conn: Connection, message: str) -> None:
        """Count what is no MQTT, and connections that were lost."""
        self.store.reject(f"mqtt: {message}")


class Web(Handler):
    """The page, the JSON API, and the WebSockets of pages and of devices."""

    def __init__(self, store: Store, mqtt: Mqtt, name: str) -> None:
        self.store, self.mqtt, self.names = store, mqtt, {"localhost", name.lower()}
        self.started = time.monotonic()
        self.urls: dict[str, str] = {}  # where we listen, by setting
        self.pages: set[Connection] = set()  # WebSockets; others are devices'
        self.answers: dict[str, Callable[[], Any]] = {
            "/api/sensors": lambda: store.rows("SELECT * FROM sensor_now"),
            "/api/actuators": lambda: store.rows("SELECT * FROM actuator ORDER BY name"),
            "/api/devices": lambda: store.rows("SELECT * FROM device ORDER BY name"),
            "/api/stats": self.stats,
        }

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        """Find who answers."""
        folder, _, name = message.uri.rpartition("/")
        if not self.is_ours(message):
            conn.reply_json({"error": "a name that --name has not told"}, 403)
        elif message.method not in ("GET", "HEAD"):
            conn.reply_json({"error": "use GET"}, 405, headers={"Allow": "GET, HEAD"})
        elif message.uri in ("/live", "/device"):
            self.welcome(conn, message)
        elif message.uri in self.answers:
            conn.reply_json(self.answers[message.uri]())
        elif folder == "/api/sensors" and name in self.store.names("sensor"):
            conn.reply_json(self.store.sensor(name))
        elif message.uri == "/csv" or (folder == "/csv" and name in self.store.names("sensor")):
            filename = f'attachment; filename="{name}.csv"'
            headers = {"Content-Type": "text/csv; charset=utf-8", "Content-Disposition": filename}
            conn.reply(200, self.store.csv(name if folder else ""), headers)
        else:
            conn.serve_dir(message, str(PAGE), extra_headers=PAGE_HEADERS)

    def is_ours(self, message: HttpMessage) -> bool:
        """Tell whether we are meant: any site can let a name of its own point here."""
        try:
            name = urlsplit(f"//{message.header('Host', '')}").hostname or ""
            return name in self.names or bool(ip_address(name))
        except ValueError:
            return False

    def welcome(self, conn: Connection, message: HttpMessage) -> None:
        """Make a request a WebSocket; a page gets all there is to show."""
        if not conn.ws_upgrade(message, origins=("same", None)):  # our page, or no page at all
            return
        if message.uri == "/live":
            self.tick()  # so that no news of before comes behind the snapshot
            self.pages.add(conn)
            everything = [self.store.sensor(name) for name in self.store.names("sensor")]
            self.tell([conn], "snapshot", everything)

    def on_ws_message(self, conn: Connection, message: WsMessage) -> None:
        """Take the lines of a device, or the command of a page."""
        if conn not in self.pages:
            return self.store.take("ws", sender(conn), *message.data.splitlines())
        try:
            self.obey(*message.text.split())
        except ValueError as exc:
            conn.ws_send(json.dumps({"type": "refused", "why": f"{message.text[:100]}: {exc}"}))

    def obey(self, verb: str = "", name: str = "", *words: str) -> None:
        """Do what a page asks for: "switch NAME on|off" or "alarm NAME LOW HIGH"; "-": none."""
        is_actuator, is_sensor = (name in self.store.names(kind) for kind in ("actuator", "sensor"))
        if verb == "switch" and is_actuator and words in (("on",), ("off",)):
            self.mqtt.publish(command(name, *words), None)
        elif verb == "alarm" and is_sensor and len(words) == 2:
            low, high = (None if word == "-" else float(word) for word in words)
            self.store.set_alarm(name, low, high)
        else:
            raise ValueError("not a command")

    def on_close(self, conn: Connection) -> None:
        """Forget who has left."""
        self.pages.discard(conn)

    def on_error(self, conn: Connection, message: str) -> None:
        """Count what is no HTTP or WebSocket, and connections that were lost."""
        self.store.reject(f"web: {message}")

    def stats(self) -> dict[str, object]:
        """Return the counters."""
        return {
            **self.store.counts,
            "pages": len(self.pages),
            "uptime": round(time.monotonic() - self.started, 3),  # seconds
            "listening": self.urls,
        }

    def tell(self, pages: Iterable[Connection], kind: str, sensors: list[Any]) -> None:
        """Send an event to pages: a "snapshot" of everything, or "news"."""
        event = {"type": kind, "now": now_ms(), "keep": RECENT, "sensors": sensors}
        for name in ("actuators", "devices", "stats"):
            event[name] = self.answers[f"/api/{name}"]()
        self.mqtt.manager.ws_broadcast(pages, json.dumps(event))

    def tick(self) -> None:
        """Tell pages what is new, and save it; one that reads too slowly has to come again."""
        for page in self.pages:
            if page.send_len > SLOW_ABOVE:
                page.close()
        self.tell(self.pages, "news", self.store.news())
        self.store.save()


def settings() -> argparse.Namespace:
    """Read the command line, and the file of settings it may name."""
    parser = argparse.ArgumentParser(description="Sensors in, a live page and JSON out.")
    add = parser.add_argument
    add("--settings", metavar="FILE", help="a TOML file with any of the others; see gateway.toml")
    add("--web", default="http://127.0.0.1:8000", metavar="URL", help="the page; also https")
    add("--udp", default="udp://127.0.0.1:9000", metavar="URL", help="datagrams")
    add("--tcp", default="tcp://127.0.0.1:9000", metavar="URL", help="lines; also tls")
    add("--mqtt", default="mqtt://127.0.0.1:1883", metavar="URL", help="the broker; also mqtts")
    add("--name", default="localhost", help="of this host, if browsers know it by one")
    add("--database", default=":memory:", metavar="FILE", help="keeps all the gateway knows")
    add("--history", default=500_000, type=int, help="measurements kept (%(default)s)")
    add("--tick", default=250, type=int, metavar="MS", help="how often pages get news")
    add("--certificate", default="gateway.pem", type=Path, help="with its key; made if missing")
    args = parser.parse_args(namespace=argparse.Namespace(alarms={}))
    if args.settings is not None:
        try:
            import tomllib

            found = tomllib.loads(Path(args.settings).read_text("utf-8"))
        except ImportError:
            sys.exit("gateway: --settings needs Python 3.11 or newer, which has tomllib")
        except (OSError, ValueError) as exc:
            sys.exit(f"gateway: {args.settings}: {exc}")
        args.alarms = found.pop("alarms", {})
        words = [f"--{name}={value}" for name, value in found.items()]
        parser.parse_args([*words, *sys.argv[1:]], args)  # the command line goes first
    return args


def certificate(path: Path, name: str) -> TlsOpts:
    """Return what TLS needs; where there is no certificate, make one that nobody vouches for."""
    if not path.exists():
        words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650"
        words += f" -subj /CN={name} -addext subjectAltName=DNS:localhost,IP:127.0.0.1,DNS:{name}"
        try:
            made = subprocess.run([*words.split(), "-keyout", "-"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as exc:
            sys.exit(f"gateway: TLS needs a certificate, but there is no {path}, and {exc}")
        path.touch(0o600)
        path.write_bytes(made.stdout)
        print(f"gateway: {path} is a new certificate, which browsers will warn of")
    return TlsOpts(cert=path)  # its key is in it, too


@contextmanager
def listening(args: argparse.Namespace) -> Iterator[Web]:
    """Listen while the block lasts, in which the manager has to be run."""
    try:
        store = Store(args.database, args.history)
    except sqlite3.Error as exc:
        sys.exit(f"gateway: {args.database}: {exc}")
    mqtt, lines = Mqtt(store), Lines(store)
    web = Web(store, mqtt, args.name)
    with closing(store.db), mqtt.manager as manager:
        try:
            for name, limits in args.alarms.items():
                store.set_alarm(name, **limits)
        except (AttributeError, TypeError, ValueError):
            sys.exit(f"gateway: not the limits of alarms: {args.alarms}")
        for way, handler in (("udp", lines), ("tcp", lines), ("mqtt", mqtt), ("web", web)):
            url = getattr(args, way)
            is_tls = url.startswith(("https:", "mqtts:", "tls:"))
            listen = manager.mqtt_listen if way == "mqtt" else manager.listen
            try:
                tls = certificate(args.certificate, args.name) if is_tls else None
                web.urls[way] = listen(url, handler, tls=tls).url
            except (Error, OSError, ValueError) as exc:
                sys.exit(f"gateway: {exc} (see --{way})")
        manager.timer_add(args.tick, web.tick, repeat=True)
        print("gateway: measurements by {udp}, {tcp} and {mqtt}".format(**web.urls))
        print("gateway: open {web}/ in a browser; Ctrl-C ends it".format(**web.urls), flush=True)
        yield web
        store.save()
    print(f"gateway: closed after {store.counts['accepted']} measurements")


def main() -> None:
    with listening(settings()) as web:
        web.mqtt.manager.run()


if __name__ == "__main__":
    main()
