"""What stands around every measurement: options, two CPUs, free ports, and the report."""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path

import report

HERE = Path(__file__).resolve().parent


def options(doc: str | None, servers: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return what a benchmark's command line takes; *servers*: those that can be chosen."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--write", action="store_true", help="put the result into README.md")
    if servers:
        parser.add_argument("--servers", nargs="+", default=servers, choices=servers)
    return parser


def two_cpus() -> tuple[int, int]:
    """Return a CPU for the servers and one for the load: the same when there is one only.

    This process moves to the second one.
    """
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpus[-1]})
    return cpus[0], cpus[-1]


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens at."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Times:
    """What was measured, round by round: of each thing measured, of each program."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], list[float]] = {}

    def add(self, what: str, program: str, value: float) -> None:
        self._values.setdefault((what, program), []).append(value)

    def has(self, what: str, *programs: str) -> bool:
        return all((what, program) in self._values for program in programs)

    def of(self, what: str, program: str) -> list[float]:
        return self._values[what, program]

    def cell(self, what: str, program: str, digits: int = 2) -> str:
        """Return the median and how far they lie apart; "-" where nothing was measured."""
        values = self._values.get((what, program))
        return report.Spread.of(values).text(digits) if values else "-"

    def table(self) -> list[list[str]]:
        """Return a row for each thing and program, in the order they were measured in."""
        return [[what, program, self.cell(what, program)] for what, program in self._values]

    def verdict(self, label: str, what: str, ours: str, other: str, most: float) -> report.Verdict:
        """Return how *ours* compares with *other*, round by round."""
        value = report.ratio(self.of(what, ours), self.of(what, other))
        return report.Verdict(label, value, most)


def hand_in(
    args: argparse.Namespace,
    name: str,
    verdicts: Sequence[report.Verdict],
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    note: str,
) -> None:
    """Print the tables; with ``--write`` put them between the markers *name* of README.md."""
    text = "\n\n".join([report.verdicts_table(verdicts), report.table(header, rows), note])
    print(text)
    if args.write:
        report.write_between_markers(HERE / "README.md", text, name)
