"""Look host names up, all at the same time, without connecting to them.

    python examples/network/dns_client.py --hostname example.com --once
    python examples/network/dns_client.py -H localhost -H example.org --interval 2

``--server`` asks another name server than the system's.  With ``--once`` the exit
code is 1 if a name had no address, or was not answered for within five seconds.
"""

from __future__ import annotations

import argparse
import sys

from mongoose_py import AddressError, Connection, Handler, Manager, Resolver


class Name(Handler):
    """Looks one name up: the events of a look-up come to a connection."""

    def __init__(self, manager: Manager, name: str) -> None:
        self.name = name
        self.asked = 0
        self.found: list[bool] = []  # of each answer
        # It has no other purpose; a UDP socket on a free port is the cheapest.
        self.conn = manager.listen("udp://127.0.0.1:0", self)

    def ask(self) -> None:
        self.asked += 1
        self.conn.resolve(self.name)

    def on_resolve(self, conn: Connection, addresses: list[tuple[str, int, bool]]) -> None:
        """Print the addresses, best first."""
        print(self.name, *[ip for ip, _, _ in addresses], flush=True)
        self.found.append(True)

    def on_error(self, conn: Connection, message: str) -> None:
        """Say why there is none; the socket stays open for the next time."""
        print(message, file=sys.stderr, flush=True)
        self.found.append(False)


def main() -> int:
    parser = argparse.ArgumentParser(description="Look host names up.")
    parser.add_argument("-H", "--hostname", action="append", help="default google.com; repeatable")
    parser.add_argument("-i", "--interval", type=float, default=10, metavar="SECONDS")
    parser.add_argument("--once", action="store_true", help="look them up once and end")
    parser.add_argument("--server", action="append", help="address of a name server; repeatable")
    args = parser.parse_args()
    try:
        resolver = Resolver(servers=args.server)
        with Manager(resolver=resolver) as manager:
            names = [Name(manager, name) for name in args.hostname or ["google.com"]]
            for name in names:
                name.ask()
                if not args.once:
                    manager.timer_add(args.interval * 1000, name.ask, repeat=True)
            if not args.once:
                manager.run()
                return 0
            limit = manager.timer_add(5000, manager.stop)
            while limit.active and any(len(name.found) < name.asked for name in names):
                manager.poll(100)
            return 0 if all(name.found == [True] for name in names) else 1
    except (AddressError, ValueError) as exc:
        parser.error(str(exc))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
