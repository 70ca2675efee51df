r"""Speak a protocol of lines over TCP: each line comes back in capitals.

    python examples/network/tcp_line_server.py
    printf 'one\ntwo\n' | nc -N 127.0.0.1 9000

TCP has no messages: a read may end in the middle of a line.  ``recv_keep``
leaves that piece where it is, and it comes again in front of what follows.
"""

from __future__ import annotations

import argparse

from mongoose_py import Connection, Handler, Manager

MAX_LINE = 1024  # bytes; without a limit one client could make us keep anything


class Capitals(Handler):
    """Answers every complete line at once."""

    def on_read(self, conn: Connection, data: bytes) -> None:
        """Take the complete lines of *data* and keep the rest for later."""
        *lines, unfinished = data.split(b"\n")
        for line in lines:
            conn.send(line.upper() + b"\n")
        if len(unfinished) > MAX_LINE:
            conn.send(b"LINE TOO LONG\n")
            conn.drain()  # closes once that is sent
        else:
            conn.recv_keep(len(unfinished))


def main() -> None:
    parser = argparse.ArgumentParser(description="Send lines back in capitals.")
    parser.add_argument("--port", type=int, default=9000, help="0 picks a free one")
    args = parser.parse_args()
    with Manager(Capitals()) as manager:
        listener = manager.listen(f"tcp://127.0.0.1:{args.port}")
        print(f"listening on {listener.url}", flush=True)
        manager.run()


if __name__ == "__main__":
    main()
