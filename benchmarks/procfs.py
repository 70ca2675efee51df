"""What the kernel counts for a process: CPU time and memory, from /proc.

Times are nanoseconds of the process itself, user and system together, all its threads;
what the kernel did for it in interrupts is counted where the interrupt hit.
"""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")


def cpu_ns(pid: int) -> int:
    """Return the CPU time that the live threads of *pid* have used so far."""
    try:
        tasks = list((PROC / str(pid) / "task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)
    except FileNotFoundError:  # a kernel without schedstat counts in ticks of 10 ms
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * (10**9 // os.sysconf("SC_CLK_TCK"))


def resident(pid: int) -> int:
    """Return the bytes of *pid* that are in memory."""
    return _status(pid, "VmRSS")


def peak_resident(pid: int) -> int:
    """Return the most bytes of *pid* that ever were in memory."""
    return _status(pid, "VmHWM")


def _status(pid: int, field: str) -> int:
    for line in (PROC / str(pid) / "status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise RuntimeError(f"/proc/{pid}/status has no {field}")


def cpu_model() -> str:
    """Return the processor's name as the kernel gives it."""
    for line in (PROC / "cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return value.strip()
    return "unknown processor"
