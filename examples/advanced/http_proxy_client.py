"""Fetch a page through an HTTP proxy, by a tunnel (CONNECT).

    python examples/advanced/http_proxy_client.py http://127.0.0.1:3128 http://example.com/

Prints the status, how many header lines and body bytes came, and the first 500
bytes of them.  Behind https:// the target is verified, and the proxy sees nothing
of what is said.  The exit code is 0 for a 2xx answer, and 1 for any other, for an
error, and after 30 seconds.
"""

from __future__ import annotations

import sys

from mongoose_py import (
    Connection,
    Handler,
    HttpMessage,
    Manager,
    TlsOpts,
    url_host,
    url_port,
    url_uri,
)

MOST = 10_000_000  # bytes of an answer


def parse_url(url: str) -> tuple[str, str, int, str]:
    """Return scheme, host, port and URI; without a scheme it is http."""
    if "://" not in url:
        url = f"http://{url}"
    return url.partition("://")[0].lower(), url_host(url), url_port(url), url_uri(url)


class Tunnel(Handler):
    """First a conversation with the proxy, then one with the target on the same connection."""

    def __init__(self, target: str) -> None:
        self.scheme, self.host, self.port, self.uri = parse_url(target)
        self.answer = bytearray()
        self.exit_code = 1

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        """Take the proxy's answer: behind a 2xx the connection leads to the target."""
        status = message.status() or 0
        if 200 <= status < 300:
            if self.scheme == "https":
                conn.tls_init(TlsOpts(name=self.host.strip("[]")))
            # Version 1.0, so that the answer comes as it is, without chunks.
            conn.send(f"GET {self.uri} HTTP/1.0\r\nHost: {self.host}:{self.port}\r\n\r\n")
        else:
            print(f"error: the proxy says {status}", file=sys.stderr)
            conn.close()

    def on_read(self, conn: Connection, data: bytes) -> None:
        """Collect the target's answer; from here on the connection is a raw one."""
        self.answer += data
        if len(self.answer) > MOST:
            conn.error(f"more than {MOST} bytes")

    def on_error(self, conn: Connection, message: str) -> None:
        print(f"error: {message}", file=sys.stderr)

    def on_close(self, conn: Connection) -> None:
        """Show what came."""
        head, _, body = bytes(self.answer).partition(b"\r\n\r\n")
        start, *headers = head.decode("latin-1").split("\r\n")
        if start.startswith("HTTP/"):
            print(f"{ascii(start)[1:-1]}\n{len(headers)} headers, {len(body)} bytes", flush=True)
            sys.stdout.buffer.write(body[:500])
            self.exit_code = 0 if start.partition(" ")[2].startswith("2") else 1
        conn.manager.stop()


def main() -> int:
    if len(sys.argv) != 3:
        print("usage: http_proxy_client.py PROXY_URL TARGET_URL", file=sys.stderr)
        return 1
    with Manager() as manager:
        tunnel = Tunnel(sys.argv[2])
        target = f"{tunnel.host}:{tunnel.port}"
        try:
            conn = manager.connect(sys.argv[1], tunnel)
            conn.request("CONNECT", target, headers={"Host": target})  # when it is connected
        except (OSError, ValueError) as exc:  # a URL
            print(f"error: {exc}", file=sys.stderr)
            return 1
        manager.timer_add(30_000, manager.stop)
        manager.run()
    return tunnel.exit_code


if __name__ == "__main__":
    sys.exit(main())
