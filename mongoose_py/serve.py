"""``python -m mongoose_py serve``: put a directory on the web.

The files are :meth:`Connection.serve_dir`'s business; here is what makes a program of
it: options, an access log on standard output, and an orderly end.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mongoose_py import Connection, Error, Handler, HttpMessage, Manager, TlsOpts

if TYPE_CHECKING:  # generic for the type checker only
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(commands: Commands) -> None:
    """Add ``serve`` and its options to the commands of the program."""
    parser = commands.add_parser(
        "serve",
        help="put a directory on the web",
        description="Serve the files below a directory over HTTP or HTTPS until Ctrl-C or SIGTERM, "
        "with a line on standard output for each request.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "directory", nargs="?", default=".", type=directory, metavar="DIR", help="what to serve"
    )
    parser.add_argument(
        "--port", type=port, default=8000, help="TCP port; 0 takes a free one and shows it"
    )
    parser.add_argument(
        "--bind", default="127.0.0.1", metavar="ADDRESS", help="address to listen at"
    )
    parser.add_argument(
        "--listing", action="store_true", help="list directories that have no index.html"
    )
    parser.add_argument(
        "--tls-cert",
        type=Path,
        metavar="FILE",
        help="serve over HTTPS with this certificate (PEM, the chain behind it)",
    )
    parser.add_argument(
        "--tls-key", type=Path, metavar="FILE", help="its private key, if it is not in that file"
    )
    parser.set_defaults(run=run)


def directory(text: str) -> str:
    """Check an argument that is to name a directory."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"there is no directory {text!r}")
    return text


def port(text: str) -> int:
    """Check an argument that is to be a port."""
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"a port is 0 to 65535, not {text!r}")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal comes; return the exit code."""
    host = f"[{args.bind}]" if ":" in args.bind else args.bind
    if args.tls_key and not args.tls_cert:
        print("mongoose_py serve: --tls-key needs --tls-cert", file=sys.stderr)
        return 2
    tls = TlsOpts(cert=args.tls_cert, key=args.tls_key) if args.tls_cert else None
    scheme = "https" if tls else "http"
    with Manager(Site(args.directory, listing=args.listing)) as manager:
        try:
            listener = manager.listen(f"{scheme}://{host}:{args.port}", tls=tls)
        except (Error, OSError, ValueError) as exc:  # a port, a file, a certificate
            print(f"mongoose_py serve: {exc}", file=sys.stderr)
            return 1
        banner = f"Serving {args.directory!r} at {listener.url}/ (stop with Ctrl-C)"
        # Told by the loop: who reads it may send a signal at once, and run() is ready.
        manager.timer_add(0, lambda: print(banner, flush=True))
        manager.run()
    return 0


class Site(Handler):
    """Answers each request with a file below a directory, and logs it."""

    def __init__(self, root: str, *, listing: bool = False) -> None:
        self.root = root
        self.listing = listing

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        """Answer *message*."""
        queued = conn.send_len
        status = conn.serve_dir(message, self.root, listing=self.listing)
        line = log_line(conn, message, status, conn.send_len - queued)
        # A log that can't be written, on a full disk or a closed pipe, is no
        # reason to stop serving.
        with contextlib.suppress(OSError):
            print(line, flush=True)


def log_line(conn: Connection, message: HttpMessage, status: int, size: int) -> str:
    """Return a line of the common log format; *size* counts the head of the answer too."""
    client = conn.remote_addr[0] if conn.remote_addr else "-"
    at = time.strftime("%d/%b/%Y:%H:%M:%S %z")
    target = f"{message.uri}?{message.query}" if message.query else message.uri
    request = escaped(f"{message.method} {target} {message.proto}")
    return f'{client} - - [{at}] "{request}" {status} {size}'


def escaped(text: str) -> str:
    r"""Return *text* with quotes, backslashes and all but plain ASCII as ``\xNN``.

    What a stranger sends must neither steer the terminal that shows the log nor look
    like a line of its own.
    """
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f"\\x{byte:02x}"
        for byte in text.encode("utf-8", "surrogateescape")
    )
