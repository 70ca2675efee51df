"""Look a host name up, without connecting to it.

    python examples/network/dns_client.py --hostname example.com --once
    python examples/network/dns_client.py --hostname localhost --interval 2

With ``--once`` the exit code tells whether an address was found; it waits five
seconds at most.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial

from mongoose_py import Connection, Handler, Manager


class Names(Handler):
    def __init__(self, manager: Manager, once: bool) -> None:
        self.manager = manager
        self.once = once
        self.found = False

    def on_resolve(self, conn: Connection, addresses: list[tuple[str, int, bool]]) -> None:
        """Print the addresses, best first."""
        print("found", *[ip for ip, _, _ in addresses], flush=True)
        self.found = True
        self.done()

    def on_error(self, conn: Connection, message: str) -> None:
        """Say why there is none; the socket stays open for the next try."""
        print(message, file=sys.stderr, flush=True)
        self.done()

    def done(self) -> None:
        if self.once:
            self.manager.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description="Look a host name up.")
    parser.add_argument("-H", "--hostname", default="google.com")
    parser.add_argument("-i", "--interval", type=float, default=10, metavar="SECONDS")
    parser.add_argument("--once", action="store_true", help="look it up once and end")
    args = parser.parse_args()
    with Manager() as manager:
        names = Names(manager, args.once)
        # The events of a look-up come to a connection; this one has no other purpose.
        conn = manager.listen("udp://127.0.0.1:0", names)
        look_up = partial(conn.resolve, args.hostname)
        if args.once:
            manager.timer_add(0, look_up)
            manager.timer_add(5000, manager.stop)
        else:
            manager.timer_add(args.interval * 1000, look_up, repeat=True, run_now=True)
        manager.run()
    return 1 if args.once and not names.found else 0


if __name__ == "__main__":
    sys.exit(main())
