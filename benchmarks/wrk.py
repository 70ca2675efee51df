"""Run wrk, the load generator, and read what it prints."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

PIPELINE = Path(__file__).with_name("pipeline.lua")


def version() -> str | None:
    """Return wrk's name and version, or None when it is not installed."""
    if shutil.which("wrk") is None:
        return None
    # It gives its version with its usage, and that with status 1.
    text = subprocess.run(["wrk", "-v"], stdout=subprocess.PIPE, text=True, check=False).stdout
    match = re.match(r"wrk (\S+)", text)
    return f"wrk {match[1]}" if match else "wrk"


def run(
    url: str,
    seconds: float,
    *,
    connections: int = 64,
    pipeline: int = 1,
    headers: Mapping[str, str] | None = None,
) -> int:
    """Load *url* from one thread, on the CPU of this process; return the answers counted.

    Args:
        url: What to ask for.
        seconds: How long; wrk takes whole ones only.
        connections: How many are open at a time.
        pipeline: Requests written at once on each of them.
        headers: To send with each request.

    Raises:
        RuntimeError: If an answer was missing or was not a 2xx.
    """
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout=10s"]
    for name, value in (headers or {}).items():
        command += ["-H", f"{name}: {value}"]
    if pipeline > 1:
        command += ["-s", str(PIPELINE), url, "--", str(pipeline)]
    else:
        command.append(url)
    text = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return answers(text)


def answers(text: str) -> int:
    """Return how many good answers wrk's report *text* counts."""
    trouble = re.search(r"^ *(Socket errors|Non-2xx).*", text, re.MULTILINE)
    if trouble:
        raise RuntimeError(trouble[0].strip())
    match = re.search(r"(\d+) requests in", text)
    if match is None or match[1] == "0":
        raise RuntimeError(f"no answer: {text!r}")
    return int(match[1])
