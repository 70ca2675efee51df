r"""Make one HTTP request and print the answer.

    python examples/http/http_hello.py &
    python examples/http/http_client.py http://127.0.0.1:8000/
    python examples/http/http_client.py http://127.0.0.1:8000/ \
        --method POST --data text --header "X-Why: to show it"

The exit code is 0 for a 2xx answer and 1 for any other, for an error, and when
nothing has come in time.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Union

from mongoose_py import (
    MG_EV_CLOSE,
    MG_EV_CONNECT,
    MG_EV_ERROR,
    MG_EV_HTTP_MSG,
    Connection,
    Manager,
    TlsOpts,
    url_is_ssl,
    url_uri,
)

Headers = Union[Mapping[str, str], Iterable[tuple[str, str]]]


class HttpClient:
    """One request; done when it is answered or has failed."""

    def __init__(
        self,
        url: str,
        method: str = "GET",
        data: str | None = None,
        headers: Headers | None = None,
        timeout: float = 10,
        ca_cert: str | None = None,
    ) -> None:
        self.url = url
        self.method = method
        self.data = data
        self.headers = headers or {}
        self.timeout = timeout  # seconds
        self.ca_cert = ca_cert  # trust this instead of the system's authorities
        self.done = False
        self.response_code: int | None = None
        self.verbose = False

    def handler(self, conn: Connection, ev: int, data: Any) -> None:
        """Print the answer, or tell what went wrong."""
        if ev == MG_EV_CONNECT:
            self.note(f"connected to {conn.remote_addr}")
        elif ev == MG_EV_HTTP_MSG:
            self.response_code = data.status()
            for name, value in data.headers():
                self.note(f"{name}: {value}")
            print(f"HTTP {self.response_code}\n", flush=True)
            sys.stdout.buffer.write(data.body_bytes)
            self.done = True
        elif ev == MG_EV_ERROR:
            print(f"error: {data}", file=sys.stderr)
        elif ev == MG_EV_CLOSE:
            self.done = True  # the last event, whatever happened before

    def note(self, text: str) -> None:
        """Print what only the curious want to see."""
        if self.verbose:
            print(f"* {ascii(text)[1:-1]}", file=sys.stderr)

    def execute(self) -> bool:
        """Make the request; return whether the answer was 2xx."""
        with Manager(self.handler) as manager:
            tls = TlsOpts(ca=Path(self.ca_cert)) if self.ca_cert and url_is_ssl(self.url) else None
            conn = manager.connect(self.url, tls=tls)  # https: verified in any case
            conn.request(self.method, url_uri(self.url), self.headers, self.data or "")
            deadline = time.monotonic() + self.timeout
            while not self.done and time.monotonic() < deadline:
                manager.poll(100)
            if not self.done:
                print(f"error: no answer within {self.timeout:g} s", file=sys.stderr)
        return self.response_code is not None and 200 <= self.response_code < 300


def main() -> int:
    parser = argparse.ArgumentParser(description="Make one HTTP request.")
    parser.add_argument("url")
    parser.add_argument("--method", choices=["GET", "POST", "PUT", "DELETE"], default="GET")
    parser.add_argument("--data", help="body of the request")
    parser.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'")
    parser.add_argument("--timeout", type=float, default=10, help="seconds")
    parser.add_argument("--ca-cert", metavar="FILE", help="authorities to trust, PEM")
    parser.add_argument("-v", "--verbose", action="store_true")
    args = parser.parse_args()
    lines = [line.partition(":") for line in args.header]
    headers = [(name.strip(), value.strip()) for name, _, value in lines]
    client = HttpClient(args.url, args.method, args.data, headers, args.timeout, args.ca_cert)
    client.verbose = args.verbose
    try:
        return 0 if client.execute() else 1
    except (OSError, ValueError) as exc:  # the URL, a header, the file
        print(f"error: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
