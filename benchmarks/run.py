"""Measure mongoose_py beside other servers, and print how they compare.

    python benchmarks/run.py            everything, some ten minutes
    python benchmarks/run.py --quick    the same in short, for a look
    python benchmarks/run.py --write    and put the tables into README.md

Needs Linux, wrk, a C compiler, and whatever of the other servers is to be compared with
(the extra `bench` installs them); one that is not there is named in the report. What is
measured and how: README.md beside this file.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import fleet
import procfs
import report
import rig
import studies
import wrk

PACKAGES = (
    "mongoose_py",
    "cffi",
    "cymongoose",
    "socketify",
    "aiohttp",
    "uvicorn",
    "httptools",
    "uvloop",
)
SPARE_DESCRIPTORS = 500
"""What a process has open besides idle connections, generously."""


def main() -> int:
    args = arguments()
    missing = missing_tools()
    if missing:
        print(missing, file=sys.stderr)
        return 2
    descriptors = raise_descriptor_limit(studies.CROWDS[-1] + SPARE_DESCRIPTORS)
    server_cpu, _ = rig.two_cpus()  # wrk and what is done here have the other one
    started, load = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as directory:
        servers, absent = find_servers(Path(directory), args.pypy, server_cpu)
        if args.servers:
            servers = [s for s in servers if any(word in s.name for word in args.servers)]
        bench = studies.Bench(
            servers,
            server_cpu,
            rounds=1 if args.quick else args.rounds,
            seconds=1 if args.quick else args.seconds,
            crowds=[n for n in studies.CROWDS if n + SPARE_DESCRIPTORS <= descriptors],
        )
        sections = [section(name, bench) for name in args.only or studies.STUDIES]
    minutes = (time.monotonic() - started) / 60
    facts = [
        *machine(),
        f"{bench.rounds} rounds of {bench.seconds:g} s; {minutes:.0f} minutes in all; load average "
        f"before: {load:.1f}",
    ]
    text = full_report(sections, facts, absent)
    print(text)
    if args.write:
        report.write_between_markers(rig.HERE / "README.md", text)
    return 0


def section(name: str, bench: studies.Bench) -> report.Section:
    """Return a study's section; one that failed does not take the others with it."""
    try:
        return studies.STUDIES[name](bench)
    except (RuntimeError, OSError) as exc:
        return report.Section(f"The study `{name}` failed", ["reason"], [[str(exc)]])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(studies.STUDIES), metavar="STUDY")
    parser.add_argument("--servers", nargs="+", metavar="WORD", help="those with WORD in the name")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of load per round and server")
    parser.add_argument("--quick", action="store_true", help="one round of one second")
    parser.add_argument("--write", action="store_true", help="put the result into README.md")
    parser.add_argument("--pypy", default="pypy3", help="a PyPy to measure too, if it is there")
    return parser.parse_args()


def missing_tools() -> str | None:
    """Return what has to be installed first, or None."""
    if not sys.platform.startswith("linux"):
        return "The benchmarks read /proc and use epoll: they need Linux."
    if wrk.version() is None:
        return "wrk is not installed; the Debian and Ubuntu package is called wrk."
    if shutil.which(os.environ.get("CC", "cc")) is None:
        return "No C compiler: install one or set CC."
    return None


def raise_descriptor_limit(wanted: int) -> int:
    """Let this process and the servers have *wanted* descriptors; return how many they get."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted or soft == resource.RLIM_INFINITY:
        return wanted
    for limit in (wanted, hard):  # the second one is what everybody may have
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, max(limit, hard)))
            return limit
        except (ValueError, OSError):
            continue
    return soft


def find_servers(directory: Path, pypy: str, cpu: int) -> tuple[list[fleet.Server], list[str]]:
    """Return what can be measured, and for the rest why it can't."""
    servers = [fleet.build_limit(directory)]
    absent = []
    found, reason = fleet.pypy_with_package(pypy, directory)
    if found is None:
        absent.append(f"{fleet.PYPY} is not measured: {reason}")
    for server, modules in fleet.candidates(found):
        python = server.command[0]
        if not fleet.can_import(python, modules):
            problem: str | None = f"`import {modules}` fails"
        else:
            problem = fleet.trouble(server, cpu)
        if problem is None:
            servers.append(server)
        else:
            absent.append(f"{server.name} is not measured: {problem}")
    return servers, absent


def full_report(sections: Sequence[report.Section], facts: list[str], absent: list[str]) -> str:
    """Return the report: the machine, the targets, then every section."""
    verdicts = [verdict for section in sections for verdict in section.verdicts]
    lines = [f"- {fact}" for fact in [*facts, *absent]]
    parts = ["\n".join(lines), "### Targets", report.verdicts_table(verdicts)]
    return "\n\n".join([*parts, *(section.text() for section in sections)])


def machine() -> list[str]:
    """Return what one has to know of the machine to read the numbers."""
    compiler = subprocess.run(
        [os.environ.get("CC", "cc"), "--version"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.splitlines()[0]
    return [
        f"{procfs.cpu_model()}, {os.cpu_count()} CPUs; "
        f"{platform.system()} {platform.release()}, {platform.machine()}",
        f"{platform.python_implementation()} {platform.python_version()}; {compiler}; "
        f"{wrk.version()}",
        ", ".join(f"{name} {version(name)}" for name in PACKAGES),
    ]


def version(package: str) -> str:
    """Return the version of an installed package, or "-"."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "-"


if __name__ == "__main__":
    sys.exit(main())
