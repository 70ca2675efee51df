"""What waiting timers cost a poll; run by run.py, prints JSON.

Two managers of one process take turns, one without timers, one with many that are an
hour away, so that whatever happens to the machine happens to both.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import time
from typing import Any

BLOCK_SECONDS = 0.02
BLOCKS = 60
HOUR_MS = 3_600_000


def poll_ns(manager: Any) -> float:
    """Return nanoseconds per `poll(0)`, over BLOCK_SECONDS of them."""
    poll, clock = manager.poll, time.perf_counter_ns
    count, start = 0, clock()
    end = start + int(BLOCK_SECONDS * 1e9)
    while (now := clock()) < end:
        poll(0)
        count += 1
    return (now - start) / count


def nothing() -> None:
    """Never called: its time does not come."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--module", default="mongoose_py")
    parser.add_argument("--timers", type=int, default=100_000)
    args = parser.parse_args()
    module = importlib.import_module(args.module)
    with module.Manager() as empty, module.Manager() as full:
        start = time.perf_counter_ns()
        for number in range(args.timers):
            full.timer_add(HOUR_MS + number, nothing)
        add_ns = (time.perf_counter_ns() - start) / args.timers
        full.poll(0)
        pairs = [(poll_ns(empty), poll_ns(full)) for _ in range(BLOCKS)]
    result = {
        "add_ns": add_ns,
        "empty_ns": statistics.median(without for without, _ in pairs),
        "full_ns": statistics.median(with_timers for _, with_timers in pairs),
        "added_ns": statistics.median(full - without for without, full in pairs),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
