"""Answer a JSON API, one page of it in chunks.

    python examples/http/http_restful_server.py
    curl http://127.0.0.1:8000/api/stats
    curl http://127.0.0.1:8000/api/f2/anything
    curl -d '{"a": [1, 2]}' http://127.0.0.1:8000/api/data

``--root-dir DIR`` serves the files below it as well.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from mongoose_py import Connection, Handler, HttpMessage, Manager, match

HELP = """<!doctype html>
<title>A JSON API</title>
<ul>
<li><a href="/api/stats">/api/stats</a>: the connections there are
<li><a href="/api/f2/anything">/api/f2/...</a>: the path comes back
<li>POST /api/data: JSON comes back
</ul>
"""


class Api(Handler):
    def __init__(self, root: Path | None) -> None:
        self.root = root

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        """Find out what is asked for, and answer."""
        if message.uri == "/api/stats":
            self.stats(conn)
        elif match(message.uri, "/api/f2/*")[0]:
            conn.reply_json({"result": message.uri})
        elif (message.method, message.uri) == ("POST", "/api/data"):
            self.data(conn, message.body_bytes)
        elif message.uri == "/":
            conn.reply(200, HELP, {"Content-Type": "text/html; charset=utf-8"})
        elif self.root is None or not conn.serve_dir(message, self.root, fallthrough=True):
            conn.reply_json({"error": "Not found", "path": message.uri}, 404)

    def stats(self, conn: Connection) -> None:
        """Send a table, a chunk for each line."""
        line = "{:>4} {:5} {:9} {:21} {}\n".format
        conn.reply(200, headers={"Transfer-Encoding": "chunked", "Content-Type": "text/plain"})
        conn.http_chunk(line("ID", "PROTO", "TYPE", "LOCAL", "REMOTE"))
        for one in conn.manager.connections:
            proto = "ws" if one.is_websocket else "udp" if one.is_udp else "http"
            kind = "listener" if one.is_listening else "client" if one.is_client else "accepted"
            ends = [f"{a[0]}:{a[1]}" if a else "-" for a in (one.local_addr, one.remote_addr)]
            conn.http_chunk(line(one.id, proto, kind, *ends))
        conn.http_chunk("")  # the end

    def data(self, conn: Connection, body: bytes) -> None:
        """Send back what came, unless it is no JSON: NaN and infinities are none."""
        try:
            received = json.loads(body)
            conn.reply_json(
                {"status": "success", "received": received, "timestamp": int(time.time())}
            )
        except (ValueError, RecursionError):
            conn.reply_json({"error": "Invalid JSON"}, 400)


def main() -> None:
    parser = argparse.ArgumentParser(description="Answer a JSON API.")
    parser.add_argument("-l", "--listen", default="http://127.0.0.1:8000", metavar="URL")
    parser.add_argument("-r", "--root-dir", type=Path, metavar="DIR", help="serve its files too")
    args = parser.parse_args()
    with Manager(Api(args.root_dir)) as manager:
        listener = manager.listen(args.listen)
        print(f"listening on {listener.url}/", flush=True)
        manager.run()
    print("stopped")


if __name__ == "__main__":
    main()
