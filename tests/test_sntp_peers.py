"""SNTP with a server that is not ours: chrony, where it is installed."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import DEADLINE, Recorder, pump
from ports import free_port

from mongoose_py import MG_EV_CLOSE, MG_EV_ERROR, MG_EV_READ, MG_EV_SNTP_TIME, Limits, Manager

CHRONYD = shutil.which("chronyd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

pytestmark = pytest.mark.skipif(CHRONYD is None, reason="chrony is not installed")


@contextmanager
def chrony(directory: Path, *config: str) -> Iterator[str]:
    """Run chronyd on a free port, far from the clock of this machine; give its URL."""
    port = free_port()
    lines = [
        f"port {port}",
        "bindaddress 127.0.0.1",
        "allow 127.0.0.1",
        "cmdport 0",
        f"pidfile {directory}/pid",
        *config,
    ]
    (directory / "chrony.conf").write_text("\n".join(lines) + "\n")
    assert CHRONYD is not None
    command = [CHRONYD, "-d", "-x", "-U", "-u", getpass.getuser()]
    with subprocess.Popen(
        [*command, "-f", f"{directory}/chrony.conf"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            url = f"udp://127.0.0.1:{port}"
            wait_for(url, process)
            yield url
        finally:
            process.kill()
            process.communicate()


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Return when the server answers anything at all."""
    end = time.monotonic() + DEADLINE
    while not answers(url):
        assert time.monotonic() < end, "chronyd does not answer"
        assert process.poll() is None, process.communicate()[0].decode()


def answers(url: str) -> bool:
    seen = Recorder()
    with Manager(seen, limits=Limits(sntp_timeout=0.1)) as manager:
        conn = manager.sntp_connect(url)
        pump(manager, lambda: conn.is_closing or conn.sntp_result)
    return not any("no answer" in text for text in seen.data(MG_EV_ERROR))


def test_chrony_tells_the_time_of_this_machine(tmp_path: Path) -> None:
    seen = Recorder()
    with chrony(tmp_path, "local stratum 8") as url, Manager(seen) as manager:
        conn = manager.sntp_connect(url)
        for done in range(10):
            pump(manager, seen.saw(MG_EV_READ, done + 1))
            result = conn.sntp_result
            assert result is not None
            assert (result.stratum, result.leap) == (8, 0)
            assert abs(result.offset) <= result.delay / 2 + 0.01
            assert abs(result.time_ms / 1000 - time.time()) < 2
            conn.sntp_request()
        assert len(seen.data(MG_EV_SNTP_TIME)) == 10


def test_chrony_without_a_clock_to_follow_is_not_believed(tmp_path: Path) -> None:
    seen = Recorder()
    with chrony(tmp_path) as url, Manager(seen) as manager:
        manager.sntp_connect(url)
        pump(manager, seen.saw(MG_EV_CLOSE))
        assert seen.data(MG_EV_ERROR) == ["SNTP: the server's clock is not synchronized"]
