"""Serve files, a little JSON, and take uploads from a form.

    python examples/http/http_server.py --root web_root
    curl http://127.0.0.1:8000/api/info
    curl -F file=@README.md http://127.0.0.1:8000/upload

``--tls`` makes it HTTPS with a certificate that nobody vouches for: ``curl -k``.
Open http://127.0.0.1:8000/upload.html for the form.  What is uploaded goes to
``./uploads/`` and is held in memory first; see http_file_upload.py for more
than a few megabytes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from functools import partial
from pathlib import Path

from mongoose_py import (
    MG_EV_HTTP_MSG,
    Connection,
    HttpMessage,
    Manager,
    TlsOpts,
    __version__,
    http_parse_multipart,
)

UPLOADS = Path("uploads")
PAGES = {
    "index.html": "<h1>It works</h1><a href=upload.html>Upload a file</a>",
    "upload.html": "<form method=post action=upload enctype=multipart/form-data>"
    "<input type=file name=file multiple> <button>Upload</button></form>",
}


def handler(
    conn: Connection, event: int, message: HttpMessage, root: Path = Path("web_root")
) -> None:
    """Answer one request; ``events=`` sees to it that nothing else comes here."""
    print(message.method, message.uri, flush=True)
    if message.uri == "/api/info":
        about = {"server": "mongoose_py", "version": __version__, "protocol": message.proto}
        conn.reply_json(about)
    elif message.uri == "/upload" and message.method == "POST":
        saved = save_files(message)
        if saved:
            conn.reply_json({"saved": saved})
        else:
            conn.reply_json({"error": "no file with a usable name"}, 400)
    elif message.uri.startswith("/api/"):
        conn.reply_json({"error": "no such page"}, 404)
    else:
        conn.serve_dir(message, root, extra_headers="Access-Control-Allow-Origin: *")


def save_files(message: HttpMessage) -> list[str]:
    """Write the parts that have a file name below UPLOADS; return the names."""
    saved = []
    boundary = message.header_var("Content-Type", "boundary")
    offset, part = http_parse_multipart(message.body_bytes, boundary=boundary)
    while part is not None:
        # The name is what the client wrote: only its last step counts, on any system.
        name = part["filename"].replace("\\", "/").rpartition("/")[2]
        if name not in ("", ".", "..") and "\0" not in name and len(os.fsencode(name)) < 200:
            UPLOADS.mkdir(exist_ok=True)
            (UPLOADS / name).write_bytes(part["body"])
            saved.append(name)
        offset, part = http_parse_multipart(message.body_bytes, offset, boundary=boundary)
    return saved


def self_signed() -> TlsOpts:
    """Make a certificate for localhost that nobody vouches for, with the openssl command."""
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30"
    words += " -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
    command = [*words.split(), "-keyout", "-", "-out", "-"]
    made = subprocess.run(command, check=True, capture_output=True)
    return TlsOpts(cert=made.stdout)  # the key is in it, too


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve files and take uploads.")
    parser.add_argument("--port", type=int, default=8000, help="0 picks a free one")
    parser.add_argument("--root", type=Path, default=Path("web_root"), help="what to serve")
    parser.add_argument("--tls", action="store_true", help="serve HTTPS")
    args = parser.parse_args()
    args.root.mkdir(parents=True, exist_ok=True)
    for name, text in PAGES.items():
        if not (args.root / name).exists():
            (args.root / name).write_text(f"<!doctype html>\n{text}\n", encoding="utf-8")
    with Manager(partial(handler, root=args.root), events=[MG_EV_HTTP_MSG]) as manager:
        scheme, tls = ("https", self_signed()) if args.tls else ("http", None)
        listener = manager.listen(f"{scheme}://127.0.0.1:{args.port}", tls=tls)
        print(f"listening on {listener.url}/", flush=True)
        manager.run()
    print("stopped")


if __name__ == "__main__":
    main()
