"""Serve HTTPS.

    python examples/advanced/tls_https_server.py
    curl -k https://127.0.0.1:8443/api/status
    curl -k -d text https://127.0.0.1:8443/api/echo

Without ``--cert`` and ``--key`` it makes itself a certificate that nobody vouches
for, by the openssl command.  ``--ca`` wants a certificate of each client that
leads to one in the file.  See https_server.py for what else there is.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from mongoose_py import Connection, Error, Handler, HttpMessage, Manager, TlsOpts

PAGE = """<!doctype html>
<title>HTTPS</title>
<h1>It works</h1>
<p><a href="/api/status">What TLS says</a>
"""


class Server(Handler):
    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        """Answer one request; the connection ends when the answer is sent."""
        if message.uri == "/":
            conn.reply(200, PAGE, {"Content-Type": "text/html; charset=utf-8"})
        elif message.uri == "/api/status":
            info = conn.tls_info()
            conn.reply_json({"tls": conn.is_tls, "version": info.version if info else None})
        elif (message.method, message.uri) == ("POST", "/api/echo"):
            conn.reply(200, message.body_bytes)
        else:
            conn.reply(404, "no such page\n")
        conn.drain()

    def on_error(self, conn: Connection, message: str) -> None:
        """Say why somebody could not be served."""
        print(message, file=sys.stderr, flush=True)


def self_signed() -> TlsOpts:
    """Make a certificate for localhost that nobody vouches for, with the openssl command."""
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30"
    words += " -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
    command = [*words.split(), "-keyout", "-", "-out", "-"]
    made = subprocess.run(command, check=True, capture_output=True)
    return TlsOpts(cert=made.stdout)  # the key is in it, too


def main() -> int:
    parser = argparse.ArgumentParser(description="Serve HTTPS.")
    parser.add_argument("-l", "--listen", default="https://127.0.0.1:8443", metavar="URL")
    parser.add_argument("--cert", type=Path, help="certificate, PEM, the chain behind it")
    parser.add_argument("--key", type=Path, help="its private key; default: it is in --cert")
    parser.add_argument("--ca", type=Path, help="want certificates of clients that lead to these")
    parser.add_argument("--skip-verify", action="store_true", help="but take any of them")
    args = parser.parse_args()
    with Manager(Server()) as manager:
        try:
            opts = TlsOpts(cert=args.cert, key=args.key) if args.cert else self_signed()
            opts.ca, opts.skip_verification = args.ca, args.skip_verify
            listener = manager.listen(args.listen, tls=opts)
        except (Error, OSError, ValueError, subprocess.CalledProcessError) as exc:
            print(f"error: {exc}", file=sys.stderr)
            return 1
        print(f"listening on {listener.url}/", flush=True)
        manager.run()
    print("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
