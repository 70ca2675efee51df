"""Fetch a page of any size, printing its body while it comes.

    python examples/http/http_streaming_client.py http://info.cern.ch
    python examples/http/http_streaming_client.py 127.0.0.1:8000/large-file > copy

The head of the answer goes to standard error, the body to standard output.
"""

from __future__ import annotations

import argparse
import sys

from mongoose_py import Connection, Handler, HttpMessage, Manager, url_host, url_port, url_uri


def parse_url(url: str) -> tuple[str, str, int, str]:
    """Return scheme, host, port and URI; without a scheme it is http."""
    if "://" not in url:
        url = f"http://{url}"
    return url.partition("://")[0].lower(), url_host(url), url_port(url), url_uri(url)


class Stream(Handler):
    """Writes the body down piece by piece; nothing of it is kept."""

    def __init__(self) -> None:
        self.complete = False

    def on_http_headers(self, conn: Connection, message: HttpMessage) -> None:
        """Show the head; have the body in pieces, however large it is."""
        head = [f"{message.method} {message.uri} {message.proto}"]
        head += [f"{name}: {value}" for name, value in message.headers()]
        print(*[ascii(line)[1:-1] for line in head], "", sep="\n", file=sys.stderr, flush=True)
        conn.stream_body()

    def on_read(self, conn: Connection, data: bytes) -> None:
        """Print one piece; the next one is another."""
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        """Note the end of the body; one that was cut off never gets here."""
        self.complete = True
        conn.close()

    def on_error(self, conn: Connection, message: str) -> None:
        """Say what went wrong."""
        print(f"error: {message}", file=sys.stderr)

    def on_close(self, conn: Connection) -> None:
        """Come to an end."""
        conn.manager.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description="Print a page while it comes.")
    parser.add_argument("url", nargs="?", default="http://info.cern.ch")
    scheme, host, port, uri = parse_url(parser.parse_args().url)
    with Manager() as manager:
        stream = Stream()
        try:
            conn = manager.connect(f"{scheme}://{host}:{port}", stream)
            conn.request("GET", uri, headers={"Connection": "close"})  # when it is connected
        except (OSError, ValueError) as exc:  # the URL
            print(f"error: {exc}", file=sys.stderr)
            return 1
        manager.run()
    return 0 if stream.complete else 1


if __name__ == "__main__":
    sys.exit(main())
