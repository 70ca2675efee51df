"""Push events to browsers: server-sent events and a timer.

    python examples/http/http_sse_server.py --interval 1
    curl -N http://127.0.0.1:8000/events
    curl http://127.0.0.1:8000/trigger

Or open http://127.0.0.1:8000/ in a browser.
"""

from __future__ import annotations

import argparse
import json
from datetime import datetime, timezone
from functools import partial

from mongoose_py import Connection, Handler, HttpMessage, Manager

PAGE = """<!doctype html>
<title>Server-sent events</title>
<ul></ul>
<script>
const source = new EventSource("/events");
for (const name of ["connected", "update", "manual"]) {
  source.addEventListener(name, (event) => {
    const item = document.createElement("li");
    item.textContent = `${name}: ${event.data}`;
    document.querySelector("ul").prepend(item);
  });
}
</script>
"""
STREAM = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}


class Events(Handler):
    """Keeps the open streams and writes to all of them."""

    def __init__(self) -> None:
        self.watchers: set[Connection] = set()
        self.ticks = self.sent = 0

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        """Answer; the type of a stream says that events follow."""
        if (message.method, message.uri) == ("GET", "/events"):
            conn.reply(200, headers=STREAM)
            conn.http_sse("connected", json.dumps({"id": conn.id}))
            self.watchers.add(conn)
        elif message.uri == "/trigger":
            self.send(conn.manager, "manual", {"time": now()})
            conn.reply(200, f"sent to {len(self.watchers)}\n")
        elif message.uri == "/stats":
            conn.reply_json({"active_connections": len(self.watchers), "events_sent": self.sent})
        elif message.uri == "/":
            conn.reply(200, PAGE, {"Content-Type": "text/html; charset=utf-8"})
        else:
            conn.reply(404, "the events are at /events\n")

    def on_close(self, conn: Connection) -> None:
        """Forget a watcher that left."""
        self.watchers.discard(conn)

    def tick(self, manager: Manager) -> None:
        """Count, and tell everyone."""
        self.ticks += 1
        self.send(manager, "update", {"number": self.ticks, "time": now()})

    def send(self, manager: Manager, name: str, data: object) -> None:
        """Send an event to everyone; who is gone or does not read misses it."""
        self.sent += manager.sse_broadcast(self.watchers, name, json.dumps(data))


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def main() -> None:
    parser = argparse.ArgumentParser(description="Push server-sent events.")
    parser.add_argument("-l", "--listen", default="http://127.0.0.1:8000", metavar="URL")
    parser.add_argument("-i", "--interval", type=int, default=5, metavar="SECONDS")
    args = parser.parse_args()
    events = Events()
    with Manager(events) as manager:
        listener = manager.listen(args.listen)
        print(f"listening on {listener.url}/", flush=True)
        tick = partial(events.tick, manager)
        manager.timer_add(args.interval * 1000, tick, repeat=True)
        manager.run()
    print("stopped")


if __name__ == "__main__":
    main()
