"""Ask a time server what time it is, and how far the clock of this machine is off.

    python examples/sntp_clock.py sntp://pool.ntp.org
    python examples/sntp_clock.py sntp://pool.ntp.org --interval 60

Without ``--interval`` it asks once; the exit code is 1 if there was no answer.
"""

from __future__ import annotations

import argparse
import sys
from datetime import datetime, timezone

from mongoose_py import Connection, Handler, Manager


class Clock(Handler):
    """Prints each answer; connects again after an error."""

    def __init__(self, manager: Manager, url: str, repeats: bool) -> None:
        self.manager = manager
        self.url = url
        self.repeats = repeats
        self.failed = False
        self.conn: Connection | None = None

    def ask(self) -> None:
        if self.conn is None:
            self.conn = self.manager.sntp_connect(self.url, self)
        else:
            self.conn.sntp_request()

    def on_sntp_time(self, conn: Connection, time_ms: int) -> None:
        result = conn.sntp_result
        assert result is not None  # this event has set it
        now = datetime.fromtimestamp(time_ms / 1000, timezone.utc)
        clock = "slow" if result.offset > 0 else "fast"
        off = f"{abs(result.offset):.3f} s {clock}, within {result.delay / 2:.3f} s"
        print(f"{now.isoformat(timespec='milliseconds')} this clock is {off}", flush=True)
        if not self.repeats:
            self.manager.stop()

    def on_error(self, conn: Connection, message: str) -> None:
        print(message, file=sys.stderr, flush=True)
        self.failed = True

    def on_close(self, conn: Connection) -> None:
        self.conn = None
        if not self.repeats:
            self.manager.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description="Ask a time server what time it is.")
    parser.add_argument("url", help="sntp://host or udp://host:port")
    parser.add_argument("--interval", type=float, default=0, help="seconds between requests")
    args = parser.parse_args()
    with Manager() as manager:
        clock = Clock(manager, args.url, repeats=args.interval > 0)
        if clock.repeats:
            manager.timer_add(args.interval * 1000, clock.ask, repeat=True)
        clock.ask()
        manager.run()
    return int(clock.failed and not clock.repeats)


if __name__ == "__main__":
    sys.exit(main())
