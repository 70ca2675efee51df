"""Ask a time server what time it is, and how far the clock of this machine is off.

    python examples/network/sntp_client.py --once
    python examples/network/sntp_client.py --server sntp://pool.ntp.org --interval 60

Each answer is a line: the time, the same in milliseconds since 1970, how far off this
machine is, and when it was started.  With ``--once`` the exit code tells whether there
was an answer.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import datetime, timezone

from mongoose_py import Connection, Error, Handler, Manager


class Clock(Handler):
    """Prints each answer; connects again after an error."""

    def __init__(self, manager: Manager, url: str, once: bool) -> None:
        self.manager = manager
        self.url = url
        self.once = once
        self.last: str | None = None
        self.conn: Connection | None = None

    def ask(self) -> None:
        """Connect, which asks by itself, or ask again."""
        try:
            if self.conn is None:
                self.conn = self.manager.sntp_connect(self.url, self)
            else:
                self.conn.sntp_request()
        except Error as exc:  # the URL, or the system says no
            print(exc, file=sys.stderr, flush=True)
            if self.once:
                self.manager.stop()

    def on_sntp_time(self, conn: Connection, time_ms: int) -> None:
        """Print the answer."""
        result = conn.sntp_result
        assert result is not None  # this event has set it
        self.last = iso(time_ms / 1000)
        clock = "slow" if result.offset > 0 else "fast"
        off = f"{abs(result.offset):.3f} s {clock}, within {result.delay / 2:.3f} s"
        booted = iso(time_ms / 1000 - uptime())
        print(f"{self.last} {time_ms} this clock is {off}; booted {booted}", flush=True)
        if self.once:
            self.manager.stop()

    def on_error(self, conn: Connection, message: str) -> None:
        print(message, file=sys.stderr, flush=True)

    def on_close(self, conn: Connection) -> None:
        self.conn = None
        if self.once:
            self.manager.stop()


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")


def uptime() -> float:
    """Return for how many seconds this machine has been up, where the system tells."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


def main() -> int:
    parser = argparse.ArgumentParser(description="Ask a time server what time it is.")
    parser.add_argument("-s", "--server", default="udp://time.google.com:123", metavar="URL")
    parser.add_argument("-i", "--interval", type=float, default=30, metavar="SECONDS")
    parser.add_argument("--once", action="store_true", help="ask once and end")
    args = parser.parse_args()
    with Manager() as manager:
        clock = Clock(manager, args.server, args.once)
        if args.once:
            clock.ask()
        else:
            manager.timer_add(args.interval * 1000, clock.ask, repeat=True, run_now=True)
        manager.run()
    if not args.once:
        print(f"last synchronisation: {clock.last or 'none'}")
    return 1 if args.once and clock.last is None else 0


if __name__ == "__main__":
    sys.exit(main())
