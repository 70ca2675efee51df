"""Echo over UDP: a server, a client that talks to it, or both in one loop.

    python examples/network/udp_echo_server.py
    python examples/network/udp_echo_server.py --server
    python examples/network/udp_echo_server.py --client --connect udp://localhost:8765

The client sends a datagram every 15 seconds from a socket of its own, and
closes that when it has its words back or ten seconds have gone by: a datagram
may get lost.
"""

from __future__ import annotations

import argparse
from functools import partial

from mongoose_py import Connection, Handler, Manager

GREETING = b"Hello from the client!"


class Server(Handler):
    def on_read(self, conn: Connection, data: bytes) -> None:
        """Answer one datagram; ``send`` goes to whoever sent it."""
        print(f"server: got {data!r}", flush=True)
        conn.send(data)


class Client(Handler):
    def on_read(self, conn: Connection, data: bytes) -> None:
        print(f"client: got {data!r}", flush=True)
        conn.close()

    def on_error(self, conn: Connection, message: str) -> None:
        print(f"client: {message}", flush=True)

    def on_close(self, conn: Connection) -> None:
        print("client: closed", flush=True)


def greet(manager: Manager, url: str, client: Client) -> None:
    """Send one datagram."""
    conn = manager.connect(url, client)
    conn.send(GREETING)
    manager.timer_add(10_000, conn.close)


def main() -> None:
    parser = argparse.ArgumentParser(description="Echo over UDP.")
    parser.add_argument("-l", "--listen", default="udp://localhost:8765", metavar="URL")
    parser.add_argument("-c", "--connect", default="udp://localhost:8765", metavar="URL")
    parser.add_argument("--server", action="store_true", help="be the server only")
    parser.add_argument("--client", action="store_true", help="be the client only")
    args = parser.parse_args()
    with Manager() as manager:
        if args.server or not args.client:
            listener = manager.listen(args.listen, Server())
            print(f"listening on {listener.url}", flush=True)
        if args.client or not args.server:
            connect = partial(greet, manager, args.connect, Client())
            connect()  # here, so that a wrong URL ends the program
            manager.timer_add(15_000, connect, repeat=True)
        manager.run()
    print("stopped")


if __name__ == "__main__":
    main()
