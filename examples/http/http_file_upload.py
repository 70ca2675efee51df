"""Store uploads of any size without holding them in memory.

    python examples/http/http_file_upload.py --upload-dir /tmp/uploads
    curl --data-binary @some-large-file http://127.0.0.1:8000/upload/its-name

A file appears under its name when it is complete, in place of an older one.
One that is cut short leaves nothing behind.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from urllib.parse import unquote

from mongoose_py import Connection, Handler, HttpMessage, Manager, random_str

HELP = "POST a file to /upload/NAME:\n\ncurl --data-binary @FILE http://HOST/upload/NAME\n"


class Receiver:
    """One upload: written to a file of its own, then put in its place."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.part = path.with_name(f".{random_str(12)}.part")
        self.file = self.part.open("xb")

    def finish(self) -> None:
        """Give the complete file its name, in one step."""
        self.file.close()
        self.part.replace(self.path)

    def abandon(self) -> None:
        """Leave nothing behind, unless it is finished."""
        self.file.close()
        self.part.unlink(missing_ok=True)


class Uploads(Handler):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_http_headers(self, conn: Connection, message: HttpMessage) -> None:
        """Decide, before the body comes, where it goes."""
        conn.userdata = None
        if message.method != "POST" or not message.uri.startswith("/upload/"):
            return
        name = unquote(message.uri[len("/upload/") :], errors="surrogateescape") or "upload.bin"
        if name in (".", "..") or "/" in name or "\0" in name or len(os.fsencode(name)) > 200:
            conn.reply(400, "not a name of a file\n")
        else:
            conn.userdata = Receiver(self.folder / name)
            conn.stream_body()

    def on_read(self, conn: Connection, data: bytes) -> None:
        """Write one piece; it is gone from memory when this returns."""
        conn.userdata.file.write(data)
        conn.userdata.size += len(data)

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        """Answer: the body is complete.  An upload cut short never gets here."""
        if conn.userdata is not None:
            conn.userdata.finish()
            conn.reply(200, f"{conn.userdata.size} bytes uploaded successfully\n")
            conn.drain()
        elif (message.method, message.uri) == ("GET", "/"):
            conn.reply(200, HELP)
        else:
            conn.reply(404, "no such page\n")

    def on_error(self, conn: Connection, message: str) -> None:
        """Say why an upload was cut short."""
        print(message, flush=True)

    def on_close(self, conn: Connection) -> None:
        """Throw away what was cut short."""
        if conn.userdata is not None:
            conn.userdata.abandon()


def main() -> None:
    parser = argparse.ArgumentParser(description="Store uploads of any size.")
    parser.add_argument("-l", "--listen", default="http://127.0.0.1:8000", metavar="URL")
    parser.add_argument("-d", "--upload-dir", type=Path, default=Path("/tmp"), metavar="DIR")
    args = parser.parse_args()
    args.upload_dir.mkdir(parents=True, exist_ok=True)
    with Manager(Uploads(args.upload_dir)) as manager:
        listener = manager.listen(args.listen)
        print(f"listening on {listener.url}/", flush=True)
        manager.run()
    print("stopped")


if __name__ == "__main__":
    main()
