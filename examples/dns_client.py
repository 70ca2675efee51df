"""Look host names up, all at the same time, and print their addresses.

    python examples/dns_client.py example.com example.org
    python examples/dns_client.py example.com --server 9.9.9.9 --interval 10

Without ``--interval`` it asks once; the exit code is 1 if a name had no address.
"""

from __future__ import annotations

import argparse
import sys

from mongoose_py import AddressError, Connection, Handler, Manager, Resolver


class Names(Handler):
    """Prints what has come of one name."""

    def __init__(self, done: DoneWith, name: str) -> None:
        self.done = done
        self.name = name

    def on_resolve(self, conn: Connection, addresses: list[tuple[str, int, bool]]) -> None:
        print(self.name, *(ip for ip, _, _ in addresses), flush=True)
        self.done(ok=True)

    def on_error(self, conn: Connection, message: str) -> None:
        print(message, file=sys.stderr, flush=True)
        self.done(ok=False)


class DoneWith:
    """Counts the answers; ends the loop when the last one is there."""

    def __init__(self, manager: Manager, count: int) -> None:
        self.manager = manager
        self.left = count
        self.failed = False

    def __call__(self, ok: bool) -> None:
        self.left -= 1
        self.failed = self.failed or not ok
        if self.left == 0:
            self.manager.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description="Look host names up.")
    parser.add_argument("names", nargs="+", help="host names")
    parser.add_argument("--server", action="append", help="address of a name server; repeatable")
    parser.add_argument("--interval", type=float, default=0, help="seconds between look-ups")
    args = parser.parse_args()
    try:
        resolver = Resolver(servers=args.server)
    except ValueError as exc:
        parser.error(str(exc))
    with Manager(resolver=resolver) as manager:
        done = DoneWith(manager, 0 if args.interval > 0 else len(args.names))
        # Any connection can look names up; a UDP socket on a free port is the cheapest.
        conns = [manager.listen("udp://127.0.0.1:0", Names(done, name)) for name in args.names]

        def ask() -> None:
            for name, conn in zip(args.names, conns):
                conn.resolve(name)

        try:
            ask()
        except AddressError as exc:
            parser.error(str(exc))
        if args.interval > 0:
            manager.timer_add(args.interval * 1000, ask, repeat=True)
        if args.interval > 0 or done.left:
            manager.run()
    return int(done.failed and args.interval <= 0)


if __name__ == "__main__":
    sys.exit(main())
