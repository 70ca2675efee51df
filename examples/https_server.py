r"""Serve over TLS, with a certificate of each client if you like, and for many names.

    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
        -subj /CN=localhost -addext "subjectAltName=DNS:localhost,IP:127.0.0.1" \
        -keyout key.pem -out cert.pem
    python examples/https_server.py cert.pem key.pem
    curl --cacert cert.pem https://localhost:8443/
    curl --cacert cert.pem https://localhost:8443/status
    curl --cacert cert.pem -d text https://localhost:8443/echo

``--ca FILE`` wants a certificate of each client that leads to one in the file.
``--name NAME CERT KEY``, as often as needed, has another certificate for a name.
SIGHUP reads all the files again; connections that are open do not notice.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from pathlib import Path

from mongoose_py import Connection, Error, Handler, HttpMessage, Manager, TlsOpts


class Site(Handler):
    """Three pages, and a line for each handshake that fails."""

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        """Answer one request."""
        if message.uri == "/":
            conn.reply(200, "<h1>It works</h1>", {"Content-Type": "text/html; charset=utf-8"})
        elif message.uri == "/status":
            conn.reply_json(status(conn))
        elif message.uri == "/echo" and message.method == "POST":
            conn.reply(200, message.body_bytes)
        else:
            conn.reply(404, "no such page\n")

    def on_error(self, conn: Connection, message: str) -> None:
        """Say who could not be served, and why."""
        who = conn.remote_addr[0] if conn.remote_addr else "-"
        print(f"{who}: {message}", file=sys.stderr, flush=True)


def status(conn: Connection) -> dict[str, object]:
    """Tell what the client and we have agreed on."""
    info = conn.tls_info()
    if info is None:
        return {"tls": False}
    client = info.peer_certificate
    return {
        "tls": True,
        "version": info.version,
        "cipher": info.cipher,
        "resumed": info.resumed,
        "asked_for": info.server_name,
        "client": None if client is None else dict(client.subject).get("CN"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Serve over TLS.")
    parser.add_argument("cert", type=Path, help="certificate, PEM, the chain behind it")
    parser.add_argument("key", type=Path, help="its private key, PEM")
    parser.add_argument("--ca", type=Path, help="want certificates of clients that lead to these")
    parser.add_argument(
        "--name", nargs=3, action="append", default=[], metavar=("NAME", "CERT", "KEY")
    )
    parser.add_argument("--port", type=int, default=8443, help="0 picks a free one")
    args = parser.parse_args()
    names = {
        name: TlsOpts(ca=args.ca, cert=Path(cert), key=Path(key)) for name, cert, key in args.name
    }
    opts = TlsOpts(ca=args.ca, cert=args.cert, key=args.key, sni=names)
    with Manager(Site()) as manager:
        try:
            listener = manager.listen(f"https://127.0.0.1:{args.port}", tls=opts)
        except (Error, OSError, ValueError) as exc:  # a port, a file, a certificate
            print(f"error: {exc}", file=sys.stderr)
            return 1

        def reload(*_: object) -> None:
            try:
                listener.tls_reload()
                print("reloaded", flush=True)
            except (OSError, ValueError) as exc:  # the old ones stay
                print(f"not reloaded: {exc}", file=sys.stderr, flush=True)

        with contextlib.suppress(AttributeError):
            signal.signal(signal.SIGHUP, reload)
        print(f"listening on {listener.url}", flush=True)
        manager.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
