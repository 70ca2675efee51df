"""What every measured server has in common: its arguments and its answers.

Each server is a program `python -m servers.NAME --app APP --port PORT` that serves one
of three applications at 127.0.0.1, says "ready" on standard output when a connection can be
made, and runs until SIGTERM:

- `hello`: 14 bytes of text, whatever the request.
- `item`: looks at the method, the path, three headers and a query variable, answers
  1 KiB of JSON, or 400 when one of them is not the expected one.
- `big`: 8 MiB of bytes.

One application per process keeps routing out of the measurement.
"""

from __future__ import annotations

import argparse
import json

HELLO = b"Hello, world!\n"
ITEM = json.dumps({"name": "temperature", "unit": "C", "log": [20.5] * 161}).encode().ljust(1024)
BIG = b"0123456789abcdef" * (512 * 1024)

PATH = "/items/42"
QUERY = "since=0&name=temperature"
NAME = "temperature"
ACCEPT = "application/json"
AUTHORIZATION = "Bearer 0123456789abcdef"
REQUEST_ID = "7d444840-9dc0-11d1-b245-5ffdce74fad2"

REQUEST_HEADERS = {
    "Accept": ACCEPT,
    "Authorization": AUTHORIZATION,
    "X-Request-Id": REQUEST_ID,
}
JSON_HEADERS = {"Content-Type": "application/json"}

APPS = ("hello", "item", "big")


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the arguments that every server takes."""
    result = argparse.ArgumentParser(description=description)
    result.add_argument("--app", choices=APPS, required=True)
    result.add_argument("--port", type=int, required=True)
    return result


def ready() -> None:
    """Tell whoever started this program that a connection can be made now."""
    print("ready", flush=True)
