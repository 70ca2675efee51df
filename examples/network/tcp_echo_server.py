"""Echo over TCP: a server, a client that talks to it, or both in one loop.

    python examples/network/tcp_echo_server.py
    python examples/network/tcp_echo_server.py --server
    python examples/network/tcp_echo_server.py --client --connect tcp://localhost:8765

The client connects every 15 seconds, says hello, and hangs up when it has its
words back.
"""

from __future__ import annotations

import argparse
from functools import partial

from mongoose_py import Connection, Handler, Manager

GREETING = b"Hello from the client!"


class Server(Handler):
    def on_accept(self, conn: Connection) -> None:
        print("server: somebody came", flush=True)

    def on_read(self, conn: Connection, data: bytes) -> None:
        """Send back what has just come; it is gone from the buffer afterwards."""
        print(f"server: got {data!r}", flush=True)
        conn.send(data)

    def on_close(self, conn: Connection) -> None:
        print("server: closed", flush=True)


class Client(Handler):
    def on_connect(self, conn: Connection) -> None:
        conn.send(GREETING)

    def on_read(self, conn: Connection, data: bytes) -> None:
        """Wait for the whole greeting: TCP may bring it in pieces."""
        if len(data) < len(GREETING):
            conn.recv_keep(len(data))
        else:
            print(f"client: got {data!r}", flush=True)
            conn.drain()

    def on_error(self, conn: Connection, message: str) -> None:
        print(f"client: {message}", flush=True)

    def on_close(self, conn: Connection) -> None:
        print("client: closed", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Echo over TCP.")
    parser.add_argument("-l", "--listen", default="tcp://localhost:8765", metavar="URL")
    parser.add_argument("-c", "--connect", default="tcp://localhost:8765", metavar="URL")
    parser.add_argument("--server", action="store_true", help="be the server only")
    parser.add_argument("--client", action="store_true", help="be the client only")
    args = parser.parse_args()
    with Manager() as manager:
        if args.server or not args.client:
            listener = manager.listen(args.listen, Server())
            print(f"listening on {listener.url}", flush=True)
        if args.client or not args.server:
            connect = partial(manager.connect, args.connect, Client())
            connect()  # here, so that a wrong URL ends the program
            manager.timer_add(15_000, connect, repeat=True)
        manager.run()
    print("stopped")


if __name__ == "__main__":
    main()
