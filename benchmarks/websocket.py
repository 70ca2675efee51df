"""Measure WebSocket echo: server CPU per message, ours beside others.

    python benchmarks/websocket.py
    python benchmarks/websocket.py --rounds 2 --servers mongoose_handler picows
    python benchmarks/websocket.py --write      # and put the tables into README.md

Linux, a C compiler, and whatever of picows, cymongoose, websockets and uvloop is to be
compared with. Servers take turns within a round, and ratios are taken round by round.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import procfs
import rig

SERVERS = ("mongoose_handler", "mongoose_callable", "cymongoose", "picows", "websockets")
NAMES = {name: name for name in SERVERS} | {
    "mongoose_handler": "mongoose_py, `Handler`",
    "mongoose_callable": "mongoose_py, function",
}
LOADS = {"64 B": (32, 1, 64), "64 B, 16 in flight": (32, 16, 64), "16 KiB": (32, 1, 16384)}
TARGETS = (
    ("64 B", "mongoose_handler", "picows", 0.85),
    ("64 B", "mongoose_handler", "cymongoose", 0.75),
    ("64 B, 16 in flight", "mongoose_handler", "cymongoose", 0.90),
    ("16 KiB", "mongoose_handler", "picows", 0.80),
)


@contextmanager
def running(name: str, cpu: int) -> Iterator[tuple[int, int]]:
    """Start an echo server; give its port and process number."""
    port = rig.free_port()
    command = [sys.executable, str(rig.HERE / "servers" / "ws_echo.py"), name, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        if process.stdout.readline().strip() != b"ready":
            raise RuntimeError(f"{name} does not start")
        os.sched_setaffinity(process.pid, {cpu})
        yield port, process.pid
        process.kill()


def hand_in(times: rig.Times, args: argparse.Namespace) -> None:
    rows = [[NAMES[name], *(times.cell(what, name) for what in LOADS)] for name in args.servers]
    verdicts = [
        times.verdict(f"{what}: {NAMES[ours]} / {other}", what, ours, other, target)
        for what, ours, other, target in TARGETS
        if times.has(what, ours, other)
    ]
    note = (
        f"- Server CPU per echoed message, µs: median (lowest to highest) of {args.rounds} rounds "
        f"of {args.seconds:g} s; 32 connections; text frames, echoed as bytes. picows and "
        "websockets run on uvloop."
    )
    rig.hand_in(args, "websocket", verdicts, ["server", *LOADS], rows, note)


def cost(load: str, name: str, cpu: int, *numbers: float) -> float:
    """Return a server's CPU per echoed message, in microseconds."""
    with running(name, cpu) as (port, pid):
        before = procfs.cpu_ns(pid)
        command = [load, str(port), *map(str, numbers)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        return (procfs.cpu_ns(pid) - before) / int(done.stdout) / 1000


def main() -> int:
    args = rig.options(__doc__, SERVERS).parse_args()
    cpu, _ = rig.two_cpus()
    times = rig.Times()
    with tempfile.TemporaryDirectory() as folder:
        load = str(Path(folder) / "ws_load")
        compiler = os.environ.get("CC", "cc")
        subprocess.run([compiler, "-O2", "-o", load, str(rig.HERE / "ws_load.c")], check=True)
        for _ in range(args.rounds):
            for what, numbers in LOADS.items():
                for name in args.servers:
                    times.add(what, name, cost(load, name, cpu, *numbers, args.seconds))
    hand_in(times, args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
