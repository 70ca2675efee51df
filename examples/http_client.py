"""Fetch a page and print its body.

    python examples/http_hello.py &
    python examples/http_client.py http://127.0.0.1:8000/

The status goes to standard error.  The exit code is 0 for a 2xx answer and 1
for any other, for an error, and when nothing has come after ten seconds.
"""

from __future__ import annotations

import sys

from mongoose_py import Connection, Handler, HttpMessage, Manager, url_uri


class Fetch(Handler):
    """One GET request: sent when connected, done when answered."""

    def __init__(self, manager: Manager, path: str) -> None:
        self.manager = manager
        self.path = path
        self.exit_code = 1

    def on_connect(self, conn: Connection) -> None:
        """Ask, and say that one answer is all we want."""
        conn.request("GET", self.path, headers={"Connection": "close"})

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        """Print the answer."""
        status = message.status() or 0
        print(f"{status} {message.proto}", file=sys.stderr)
        sys.stdout.buffer.write(message.body_bytes)
        self.exit_code = 0 if 200 <= status < 300 else 1

    def on_error(self, conn: Connection, message: str) -> None:
        """Say what went wrong: no such host, refused, a broken answer."""
        print(f"error: {message}", file=sys.stderr)

    def on_close(self, conn: Connection) -> None:
        """Come to an end; this is the last event, whatever happened before."""
        self.manager.stop()


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: http_client.py URL", file=sys.stderr)
        return 2
    url = sys.argv[1]
    with Manager() as manager:
        fetch = Fetch(manager, url_uri(url))
        manager.connect(url, fetch)
        manager.timer_add(10_000, manager.stop)
        manager.run()
    return fetch.exit_code


if __name__ == "__main__":
    sys.exit(main())
