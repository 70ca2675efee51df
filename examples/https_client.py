"""Fetch a page over TLS and print its body; on standard error what TLS came to.

    python examples/https_server.py cert.pem key.pem &
    python examples/https_client.py --ca cert.pem https://localhost:8443/status

``--ca FILE`` trusts the authorities in the file instead of the system's, ``--cert`` and
``--key`` show a certificate to servers that ask for one, ``--insecure`` verifies nothing.
The exit code is 0 for a 2xx answer and 1 for any other and for an error.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from mongoose_py import Connection, Handler, HttpMessage, Manager, TlsOpts, url_uri


class Fetch(Handler):
    """One GET request."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.exit_code = 1

    def on_tls(self, conn: Connection) -> None:
        """Show whom we talk to."""
        info = conn.tls_info()
        assert info is not None  # the handshake is done
        print(f"{info.version} {info.cipher}", file=sys.stderr)
        certificate = info.peer_certificate
        if certificate is not None:
            names = ", ".join(value for _, value in certificate.alt_names)
            ends = time.strftime("%Y-%m-%d", time.gmtime(certificate.not_after))
            print(f"certificate for {names} until {ends}", file=sys.stderr)

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        """Print the answer."""
        status = message.status() or 0
        print(f"{status} {message.proto}", file=sys.stderr)
        sys.stdout.buffer.write(message.body_bytes)
        self.exit_code = 0 if 200 <= status < 300 else 1

    def on_error(self, conn: Connection, message: str) -> None:
        """Say what went wrong: refused, expired, of somebody else."""
        print(f"error: {message}", file=sys.stderr)

    def on_close(self, conn: Connection) -> None:
        """Come to an end; this is the last event, whatever happened before."""
        conn.manager.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description="Fetch a page over TLS.")
    parser.add_argument("url")
    parser.add_argument("--ca", type=Path, help="trust these instead of the system's authorities")
    parser.add_argument("--cert", type=Path, help="certificate to show")
    parser.add_argument("--key", type=Path, help="its private key")
    parser.add_argument("--insecure", action="store_true", help="take any certificate")
    args = parser.parse_args()
    opts = TlsOpts(ca=args.ca, cert=args.cert, key=args.key, skip_verification=args.insecure)
    with Manager() as manager:
        fetch = Fetch(url_uri(args.url))
        try:
            conn = manager.connect(args.url, fetch, tls=opts)
        except (OSError, ValueError) as exc:  # a file, a certificate, the URL
            print(f"error: {exc}", file=sys.stderr)
            return 1
        conn.request("GET", fetch.path, headers={"Connection": "close"})
        manager.timer_add(10_000, manager.stop)
        manager.run()
    return fetch.exit_code


if __name__ == "__main__":
    sys.exit(main())
