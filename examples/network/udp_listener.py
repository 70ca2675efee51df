"""Print the datagrams that arrive, and acknowledge each to its sender.

    python examples/network/udp_listener.py
    echo hello | nc -u -w1 127.0.0.1 9000

The sender gets ``6 bytes`` back; here a line names the sender and the text.
"""

from __future__ import annotations

import argparse

from mongoose_py import Connection, Handler, Manager


class Listener(Handler):
    """One ``on_read`` is one datagram, even an empty one."""

    def on_read(self, conn: Connection, data: bytes) -> None:
        """Print *data*; ``send`` goes to whoever sent it."""
        assert conn.remote_addr is not None  # inside on_read: the sender
        host, port, _ = conn.remote_addr
        print(f"{host}:{port} {data!r}", flush=True)
        conn.send(f"{len(data)} bytes\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the datagrams that arrive.")
    parser.add_argument("--port", type=int, default=9000, help="0 picks a free one")
    args = parser.parse_args()
    with Manager(Listener()) as manager:
        listener = manager.listen(f"udp://127.0.0.1:{args.port}")
        print(f"listening on {listener.url}", flush=True)
        manager.run()


if __name__ == "__main__":
    main()
