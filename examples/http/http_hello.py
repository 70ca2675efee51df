"""Answer HTTP requests.

    python examples/http/http_hello.py
    curl http://127.0.0.1:8000/
    curl -i http://127.0.0.1:8000/nowhere

The first answers ``hello, world``, the second 404.  Ctrl-C ends the server.
"""

from __future__ import annotations

import argparse

from mongoose_py import Connection, Handler, HttpMessage, Manager


class Hello(Handler):
    """Says hello at ``/`` and knows no other page."""

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        """Answer one request, on whichever connection it came."""
        if message.uri == "/":
            conn.reply(200, "hello, world\n")
        else:
            conn.reply(404, "no such page\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Answer HTTP requests.")
    parser.add_argument("--port", type=int, default=8000, help="0 picks a free one")
    args = parser.parse_args()
    with Manager(Hello()) as manager:
        listener = manager.listen(f"http://127.0.0.1:{args.port}")
        print(f"listening on {listener.url}", flush=True)
        manager.run()


if __name__ == "__main__":
    main()
