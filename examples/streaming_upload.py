"""Take an upload of any size without holding it in memory.

    python examples/streaming_upload.py
    curl -T some-large-file http://127.0.0.1:8000/

The answer is the SHA-256 of what arrived, as ``sha256sum`` prints it.
"""

from __future__ import annotations

import argparse
import hashlib

from mongoose_py import Connection, Handler, HttpMessage, Manager


class Upload(Handler):
    """Hashes the body of a PUT request while it arrives."""

    def on_http_headers(self, conn: Connection, message: HttpMessage) -> None:
        """Decide, before the body comes, to have it in pieces."""
        if message.method == "PUT":
            conn.userdata = hashlib.sha256()
            conn.stream_body()

    def on_read(self, conn: Connection, data: bytes) -> None:
        """Take one piece; it is gone from memory when this returns."""
        conn.userdata.update(data)

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        """Answer: the body is complete.  An upload cut short never gets here."""
        if message.method == "PUT":
            conn.reply(200, f"{conn.userdata.hexdigest()}  -\n")
        else:
            conn.reply(405, "send a file with PUT\n", headers={"Allow": "PUT"})


def main() -> None:
    parser = argparse.ArgumentParser(description="Hash uploads of any size.")
    parser.add_argument("--port", type=int, default=8000, help="0 picks a free one")
    args = parser.parse_args()
    with Manager(Upload()) as manager:
        listener = manager.listen(f"http://127.0.0.1:{args.port}")
        assert listener.local_addr is not None  # it listens, so it has an address
        print(f"listening on http://127.0.0.1:{listener.local_addr[1]}", flush=True)
        manager.run()


if __name__ == "__main__":
    main()
