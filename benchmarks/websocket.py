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
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import procfs
import report

HERE = Path(__file__).resolve().parent
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


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def running(name: str, cpu: int) -> Iterator[tuple[int, int]]:
    """Start an echo server; give its port and process number."""
    port = free_port()
    command = [sys.executable, str(HERE / "servers" / "ws_echo.py"), name, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        if process.stdout.readline().strip() != b"ready":
            raise RuntimeError(f"{name} does not start")
        os.sched_setaffinity(process.pid, {cpu})
        yield port, process.pid
        process.kill()


def as_text(measured: dict[tuple[str, str], list[float]], args: argparse.Namespace) -> str:
    """Return the tables."""
    rows = [
        [NAMES[name], *(report.Spread.of(measured[what, name]).text() for what in LOADS)]
        for name in args.servers
    ]
    verdicts = [
        report.Verdict(
            f"{what}: {NAMES[ours]} / {other}",
            report.ratio(measured[what, ours], measured[what, other]),
            target,
        )
        for what, ours, other, target in TARGETS
        if (what, ours) in measured and (what, other) in measured
    ]
    note = (
        f"- Server CPU per echoed message, µs: median (lowest to highest) of {args.rounds} rounds "
        f"of {args.seconds:g} s; 32 connections; text frames, echoed as bytes. picows and "
        "websockets run on uvloop."
    )
    return "\n\n".join(
        [report.verdicts_table(verdicts), report.table(["server", *LOADS], rows), note]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--write", action="store_true", help="put the result into README.md")
    parser.add_argument("--servers", nargs="+", default=SERVERS, choices=SERVERS)
    args = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpus[-1]})
    measured: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        load = str(Path(folder) / "ws_load")
        compiler = os.environ.get("CC", "cc")
        subprocess.run([compiler, "-O2", "-o", load, str(HERE / "ws_load.c")], check=True)
        for _ in range(args.rounds):
            for what, (connections, in_flight, size) in LOADS.items():
                for name in args.servers:
                    with running(name, cpus[0]) as (port, pid):
                        numbers = map(str, (port, connections, in_flight, size))
                        before = procfs.cpu_ns(pid)
                        done = subprocess.run(
                            [load, *numbers, str(args.seconds)], stdout=subprocess.PIPE, check=True
                        )
                        spent = procfs.cpu_ns(pid) - before
                    measured.setdefault((what, name), []).append(spent / int(done.stdout) / 1000)
    text = as_text(measured, args)
    print(text)
    if args.write:
        report.write_between_markers(HERE / "README.md", text, "websocket")
    return 0


if __name__ == "__main__":
    sys.exit(main())
