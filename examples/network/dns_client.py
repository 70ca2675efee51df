"""Look host names up, all at the same time, without connecting to them.

    python examples/network/dns_client.py --hostname example.com --once
    python examples/network/dns_client.py -H localhost -H example.org --interval 2

``--server`` asks another name server than the system's.  With ``--once`` the exit
code is 1 if a name had no address, or was not answered for within five seconds.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial

from mongoose_py import AddressError, Manager, Resolver


class Names:
    """Looks names up, and prints what is told about them."""

    def __init__(self, manager: Manager, names: list[str]) -> None:
        self.manager = manager
        self.names = names
        self.waiting = 0  # for so many answers
        self.failed = False

    def ask(self) -> None:
        """Have all of them looked up."""
        for name in self.names:
            self.manager.resolve(name, partial(self.answer, name))
            self.waiting += 1

    def answer(self, name: str, addresses: list[tuple[str, int, bool]], error: str) -> None:
        """Print the addresses, best first, or why there are none."""
        self.waiting -= 1
        if error:
            self.failed = True
            print(error, file=sys.stderr, flush=True)
        else:
            print(name, *[ip for ip, _, _ in addresses], flush=True)


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
            names = Names(manager, args.hostname or ["google.com"])
            names.ask()
            if not args.once:
                manager.timer_add(args.interval * 1000, names.ask, repeat=True)
                manager.run()
                return 0
            limit = manager.timer_add(5000, manager.stop)
            while limit.active and names.waiting:
                manager.poll(100)
            return 1 if names.failed or names.waiting else 0
    except (AddressError, ValueError) as exc:
        parser.error(str(exc))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
