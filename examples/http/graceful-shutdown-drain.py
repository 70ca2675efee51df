"""End a server without cutting anybody off: on a signal, send what waits first.

    python examples/http/graceful-shutdown-drain.py
    curl --limit-rate 10M http://127.0.0.1:8000/ > answer

Press Ctrl-C meanwhile: new connections are refused at once, and the answer has
five seconds more to get to its end.
"""

from __future__ import annotations

import argparse
import signal
import time

from mongoose_py import Connection, Handler, HttpMessage, Manager

ANSWER = b"x" * 20_000_000
PATIENCE = 5.0  # seconds


class Server(Handler):
    """Knows who is connected."""

    def __init__(self) -> None:
        self.there: set[Connection] = set()

    def on_accept(self, conn: Connection) -> None:
        self.there.add(conn)

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        """Answer with more than the network takes at once."""
        conn.reply(200, ANSWER)

    def on_close(self, conn: Connection) -> None:
        self.there.discard(conn)


def main() -> None:
    parser = argparse.ArgumentParser(description="End without cutting anybody off.")
    parser.add_argument("-l", "--listen", default="http://127.0.0.1:8000", metavar="URL")
    args = parser.parse_args()
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: signals.append(number))
    server = Server()
    with Manager(server) as manager:
        listener = manager.listen(args.listen)
        print(f"listening on {listener.url}/", flush=True)
        while not signals:
            manager.poll(100)
        listener.close()
        for conn in server.there:
            conn.drain()  # closes once everything is sent
        began = reported = time.monotonic()
        print(f"draining {len(server.there)}", flush=True)
        while server.there and time.monotonic() - began < PATIENCE and len(signals) < 2:
            manager.poll(100)
            if time.monotonic() - reported >= 1:
                reported += 1
                print(f"{len(server.there)} left", flush=True)
    print("stopped")


if __name__ == "__main__":
    main()
