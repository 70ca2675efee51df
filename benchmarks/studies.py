"""The measurements, one function each; every one returns a section of the report.

Servers take turns within a round, and ratios are taken round by round: a machine that
slows down while it is measured slows all alike. CPU time is that of the server process,
so the load generator's own cost, on its own CPU, does not count.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import fleet
import procfs
import rig
import wrk
from crowd import Crowd
from fleet import (
    AIOHTTP,
    CYMONGOOSE,
    EVERY_EVENT,
    HANDLER,
    LIMIT,
    ONLY_HTTP,
    PYPY,
    SOCKETIFY,
    UVICORN,
)
from report import Section, Spread, Verdict, ratio
from servers import common

PLAIN, PIPELINED, ITEM = "plain", "16 pipelined", "item"
PIPELINE = 16
CROWDS = (0, 1000, 10_000)
SLOW_ACCEPT = 10
KIB, MIB = 1024, 1024 * 1024
_NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"  # with it set, an import in place compiles each time

REQUEST_TARGETS = (
    (PLAIN, HANDLER, CYMONGOOSE, 0.78),
    (PIPELINED, HANDLER, CYMONGOOSE, 0.70),
    (PLAIN, ONLY_HTTP, CYMONGOOSE, 0.78),
    (PIPELINED, ONLY_HTTP, CYMONGOOSE, 0.70),
    (PLAIN, EVERY_EVENT, CYMONGOOSE, 0.88),
    (PIPELINED, EVERY_EVENT, CYMONGOOSE, 1.10),
    (PLAIN, HANDLER, SOCKETIFY, 0.75),
    (PIPELINED, HANDLER, SOCKETIFY, 0.35),
    (PLAIN, HANDLER, LIMIT, 1.15),
    (PLAIN, PYPY, LIMIT, 1.08),
)


@dataclass(frozen=True)
class Bench:
    """What is measured, where, and how long."""

    servers: Sequence[fleet.Server]
    server_cpu: int
    rounds: int
    seconds: float
    crowds: Sequence[int] = CROWDS

    def named(self, *names: str) -> list[fleet.Server]:
        return [server for server in self.servers if server.name in names]

    def show(self, text: str) -> None:
        """Tell what goes on, on standard error: the report has standard output."""
        print(text, file=sys.stderr, flush=True)


def cpu_per_answer(server: fleet.Running, load: Callable[[], int]) -> float:
    """Return the server's microseconds of CPU per answer while *load* runs."""
    before = procfs.cpu_ns(server.pid)
    answers = load()
    return (procfs.cpu_ns(server.pid) - before) / answers / 1000


# ---- CPU per request ----------------------------------------------------------


def requests(bench: Bench) -> Section:
    """CPU per request of every server, under three loads."""
    section = Section(
        "Server CPU per request, µs",
        ["server", PLAIN, PIPELINED, ITEM, "bytes per answer"],
        notes=[
            "Median (lowest to highest) of the rounds. `plain`: 64 connections, 14 bytes of text "
            f"answered. `{PIPELINED}`: the same, {PIPELINE} requests written at once on each. "
            "`item`: the handler reads the method, the path, three headers and a query variable "
            "and answers 1 KiB of JSON.",
            "Bytes per answer of `plain`, head included: not every server sends a date.",
        ],
    )
    lengths: dict[str, int] = {}
    measured = {
        PLAIN: _request_rounds(bench, "hello", 1, lengths),
        PIPELINED: _request_rounds(bench, "hello", PIPELINE, lengths),
        ITEM: _request_rounds(bench, "item", 1, {}),
    }
    for server in bench.servers:
        cells = [Spread.of(values[server.name]).text() for values in measured.values()]
        section.rows.append([server.name, *cells, str(lengths[server.name])])
    for load, ours, other, target in REQUEST_TARGETS:
        values = measured[load]
        if ours in values and other in values:
            what = f"{load}: {ours} / {other}"
            section.verdicts.append(Verdict(what, ratio(values[ours], values[other]), target))
    return section


def _request_rounds(
    bench: Bench, app: str, pipeline: int, lengths: dict[str, int]
) -> dict[str, list[float]]:
    """Return the microseconds of each round, by server; note how long the answers are."""
    headers = common.REQUEST_HEADERS if app == "item" else {}
    values: dict[str, list[float]] = {server.name: [] for server in bench.servers}
    with ExitStack() as stack:
        up = [
            stack.enter_context(fleet.running(server, app, bench.server_cpu))
            for server in bench.servers
        ]
        for one in up:  # a round that does not count: caches, and PyPy's compiler
            lengths[one.server.name] = fleet.answer_bytes(one.port)
            seconds = 3 * bench.seconds if one.server.name == PYPY else 1
            wrk.run(one.url, seconds, pipeline=pipeline, headers=headers)
        for number in range(bench.rounds):
            for one in up:
                url = one.url

                def load(url: str = url) -> int:
                    return wrk.run(url, bench.seconds, pipeline=pipeline, headers=headers)

                values[one.server.name].append(cpu_per_answer(one, load))
            last = "  ".join(f"{name} {v[-1]:.2f}" for name, v in values.items())
            bench.show(f"{app}, pipeline {pipeline}, round {number + 1}: {last}")
    return values


# ---- idle connections ------------------------------------------------------------


@dataclass
class _CrowdRounds:
    """What the rounds with one server gave."""

    cpu: dict[int, list[float]]
    seconds: list[float]
    bytes_each: list[float]
    alive: int = 0


def idle(bench: Bench) -> Section:
    """CPU per request beside idle connections, their memory, and the time to accept them."""
    full = bench.crowds[-1]
    section = Section(
        "Idle connections",
        [
            "server",
            *(f"CPU beside {n:,}, µs" for n in bench.crowds),
            f"accept {full:,}, s",
            "memory each, KiB",
            "still open",
        ],
        notes=[
            "`plain` as above, beside connections that have made one request each and then do "
            "nothing. Memory is what the server process grew by; the kernel's buffers are not "
            "in it. The time to accept them includes the client's own, which is most of it; "
            f"a server that takes more than {SLOW_ACCEPT} s is measured once.",
        ],
    )
    servers = [s for s in bench.servers if s.name not in (ONLY_HTTP, EVERY_EVENT, PYPY)]
    measured = {s.name: _CrowdRounds({n: [] for n in bench.crowds}, [], []) for s in servers}
    for number in range(min(bench.rounds, 3)):
        for server in servers:
            if max(measured[server.name].seconds, default=0) > SLOW_ACCEPT:
                continue
            _crowd_round(bench, server, measured[server.name])
        bench.show(f"idle, round {number + 1} done")
    for name, rounds in measured.items():
        cpu = [Spread.of(values).text() for values in rounds.cpu.values()]
        rest = [Spread.of(rounds.seconds).text(), Spread.of(rounds.bytes_each).text(1)]
        section.rows.append([name, *cpu, *rest, f"{rounds.alive:,}"])
    if HANDLER in measured:
        ours = measured[HANDLER]
        section.verdicts += [
            Verdict(
                f"CPU beside {full:,} idle / beside none",
                ratio(ours.cpu[full], ours.cpu[bench.crowds[0]]),
                1.10,
            ),
            Verdict("memory per idle connection", Spread.of(ours.bytes_each), 4, " KiB", 1),
            Verdict(f"accept {full:,} connections", Spread.of(ours.seconds), 2, " s"),
        ]
    return section


def _crowd_round(bench: Bench, server: fleet.Server, rounds: _CrowdRounds) -> None:
    seconds = 0.0
    with fleet.running(server, "hello", bench.server_cpu) as one:
        crowd = Crowd(one.port)
        wrk.run(one.url, 1)
        before = procfs.resident(one.pid)
        for size in bench.crowds:
            if size > 0:
                seconds += crowd.grow(size)
            grown = procfs.resident(one.pid) - before
            load = lambda: wrk.run(one.url, bench.seconds)  # noqa: E731  (used at once)
            rounds.cpu[size].append(cpu_per_answer(one, load))
        rounds.seconds.append(seconds)
        rounds.bytes_each.append(grown / KIB / bench.crowds[-1])
        rounds.alive = crowd.alive()
    crowd.close()


# ---- a large answer ---------------------------------------------------------------


def big(bench: Bench) -> Section:
    """Time, CPU and memory of an answer of 8 MiB."""
    size = len(common.BIG)
    section = Section(
        f"An answer of {size // MIB} MiB",
        ["server", "CPU, ms", "ns per KiB", "of the limit's CPU", "wall time, ms", "peak memory"],
        notes=[
            "One connection that reads as fast as it can. Peak memory: how much more the process "
            "ever had than one that answers 14 bytes, in bodies: 1.0 is one copy of what the "
            "handler holds.",
        ],
    )
    names = (HANDLER, LIMIT, CYMONGOOSE, SOCKETIFY, AIOHTTP, UVICORN)
    servers = bench.named(*names)
    cpu: dict[str, list[float]] = {server.name: [] for server in servers}
    wall: dict[str, list[float]] = {server.name: [] for server in servers}
    peak: dict[str, list[float]] = {server.name: [] for server in servers}
    for number in range(min(bench.rounds, 3)):
        for server in servers:
            with fleet.running(server, "hello", bench.server_cpu) as one:
                small = procfs.peak_resident(one.pid)
            with fleet.running(server, "big", bench.server_cpu) as one:
                # It has answered once. Both hold the body; the limit alone does not.
                peak[server.name].append((procfs.peak_resident(one.pid) - small) / size)
                before, start = procfs.cpu_ns(one.pid), time.perf_counter()
                answers = fleet.read_answers(one.port, bench.seconds)
                wall[server.name].append((time.perf_counter() - start) * 1000 / answers)
                cpu[server.name].append((procfs.cpu_ns(one.pid) - before) / 1e6 / answers)
        bench.show(f"big, round {number + 1} done")
    for name in cpu:
        section.rows.append(
            [
                name,
                Spread.of(cpu[name]).text(),
                Spread.of(v * 1e6 / (size / KIB) for v in cpu[name]).text(0),
                ratio(cpu[name], cpu[LIMIT]).text() if LIMIT in cpu else "-",
                Spread.of(wall[name]).text(),
                "-" if name == LIMIT else Spread.of(peak[name]).text(1),
            ]
        )
    return section


# ---- timers, memory over time, import ----------------------------------------------


def timers(bench: Bench) -> Section:
    """Cost of a poll beside 100,000 waiting timers."""
    section = Section(
        "100,000 waiting timers",
        ["module", "add one, µs", "poll without, µs", "poll with, µs", "added, µs"],
        notes=["Two managers of one process, polled in turns with a time-out of 0."],
    )
    for module in ("mongoose_py", "cymongoose"):
        if not fleet.can_import(sys.executable, module):
            continue
        command = [sys.executable, str(rig.HERE / "timers.py"), "--module", module]
        with fleet.pinned(bench.server_cpu):
            text = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
        result = {key: value / 1000 for key, value in json.loads(text).items()}
        columns = ("add_ns", "empty_ns", "full_ns", "added_ns")
        section.rows.append([module, *(f"{result[key]:,.2f}" for key in columns)])
        if module == "mongoose_py":
            added = Spread.of([result["added_ns"]])
            section.verdicts.append(Verdict("100,000 timers, per poll", added, 1, " µs"))
        bench.show(f"timers, {module} done")
    return section


def growth(bench: Bench) -> Section:
    """Memory over a million requests."""
    section = Section(
        "Memory over a million requests",
        ["server", "requests", "memory before, MiB", "after, MiB", "growth, KiB"],
        notes=[f"`item`, {PIPELINE} pipelined; a warm-up of some 100,000 requests comes before."],
    )
    for server in bench.named(HANDLER, ONLY_HTTP, EVERY_EVENT, PYPY, CYMONGOOSE):
        with fleet.running(server, "item", bench.server_cpu) as one:

            def load(at_least: int, url: str = one.url) -> int:
                answers = 0
                while answers < at_least:
                    answers += wrk.run(
                        url, bench.seconds, pipeline=PIPELINE, headers=common.REQUEST_HEADERS
                    )
                return answers

            load(100_000)
            before = procfs.resident(one.pid)
            answers = load(1_000_000)
            after = procfs.resident(one.pid)
        grown = (after - before) / KIB
        sizes = [f"{before / MIB:,.1f}", f"{after / MIB:,.1f}", f"{grown:+,.0f}"]
        section.rows.append([server.name, f"{answers:,}", *sizes])
        bench.show(f"growth, {server.name} done")
    return section


def imports(bench: Bench) -> Section:
    """How long an import takes, over an interpreter that imports nothing."""
    section = Section(
        "Import time, ms",
        ["module", "over a bare interpreter"],
        notes=[
            "CPU time of a new process, less that of one that imports nothing, in turns. "
            "Nothing is waited for, so on an idle machine it is the time that passes."
        ],
    )
    modules = ("mongoose_py", "cymongoose", "socketify", "aiohttp.web", "uvicorn")
    there = [module for module in modules if fleet.can_import(sys.executable, module)]
    added: dict[str, list[float]] = {module: [] for module in there}
    for module in there:
        _start_ms(f"import {module}")  # so that none is compiled in what follows
    with fleet.pinned(bench.server_cpu):
        for _ in range(max(3, bench.rounds * 3)):
            bare = _start_ms("pass")
            for module in there:
                added[module].append(_start_ms(f"import {module}") - bare)
    for module, values in added.items():
        section.rows.append([module, Spread.of(values).text(1)])
    if "mongoose_py" in added:
        spread = Spread.of(added["mongoose_py"])
        section.verdicts.append(Verdict("import mongoose_py", spread, 40, " ms", 1))
    bench.show("imports done")
    return section


def _start_ms(code: str) -> float:
    """Return the CPU milliseconds of an interpreter that runs *code*."""
    environ = {name: value for name, value in os.environ.items() if name != _NO_BYTECODE}
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", code], environ)
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        raise RuntimeError(f"{code!r} ended with status {status}")
    return (usage.ru_utime + usage.ru_stime) * 1000


STUDIES: dict[str, Callable[[Bench], Section]] = {
    "requests": requests,
    "idle": idle,
    "big": big,
    "timers": timers,
    "growth": growth,
    "imports": imports,
}
