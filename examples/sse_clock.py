"""Push the time of day to browsers, once a second, as server-sent events.

    python examples/sse_clock.py
    curl -N http://127.0.0.1:8000/time

In a page: ``new EventSource("/time").addEventListener("tick", ...)``.
"""

from __future__ import annotations

import argparse
import time

from mongoose_py import Connection, Handler, HttpMessage, Manager

STREAM = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}


class Clock(Handler):
    """Keeps the open streams and writes to all of them on each tick."""

    def __init__(self) -> None:
        self.watchers: set[Connection] = set()

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        """Begin an answer that stays open: the type says that events follow."""
        if (message.method, message.uri) == ("GET", "/time"):
            conn.reply(200, headers=STREAM)
            self.watchers.add(conn)
        else:
            conn.reply(404, "the events are at /time\n")

    def on_close(self, conn: Connection) -> None:
        """Forget a watcher that left."""
        self.watchers.discard(conn)

    def tick(self) -> None:
        """Send the time to everyone."""
        for conn in self.watchers:
            conn.http_sse("tick", time.strftime("%H:%M:%S"))


def main() -> None:
    parser = argparse.ArgumentParser(description="Push the time as server-sent events.")
    parser.add_argument("--port", type=int, default=8000, help="0 picks a free one")
    args = parser.parse_args()
    clock = Clock()
    with Manager(clock) as manager:
        listener = manager.listen(f"http://127.0.0.1:{args.port}")
        assert listener.local_addr is not None  # it listens, so it has an address
        print(f"listening on http://127.0.0.1:{listener.local_addr[1]}/time", flush=True)
        manager.timer_add(1000, clock.tick, repeat=True)
        manager.run()


if __name__ == "__main__":
    main()
