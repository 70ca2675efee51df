"""The example programs, started as a user starts them.

A program is up when it has answered something: only then do its signal
handlers stand for certain, so the tests talk to it before they end it.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import queue
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
DEADLINE = 30.0  # seconds; only ever reached by a failure


class Program:
    """One running example; leaving the ``with`` block kills what is left of it."""

    def __init__(self, name: str, *args: str) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, __exit__ closes it
        self.process = subprocess.Popen(
            [sys.executable, "-X", "dev", str(EXAMPLES / name), *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            encoding="utf-8",
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put("")  # the end: neither it nor a child of it can print any more

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(DEADLINE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._errors.close()

    def line(self, pattern: str) -> re.Match[str]:
        """Return the match of *pattern* in the next line that is printed."""
        text = self._lines.get(timeout=DEADLINE)
        match = re.search(pattern, text)
        assert match, (pattern, text, self.errors())
        return match

    def errors(self) -> str:
        """Return what came on standard error so far."""
        self._errors.seek(0)
        return self._errors.read()

    def finish(self) -> tuple[int, str, str]:
        """Wait for the end; return exit code, the rest of the output, the errors."""
        code = self.process.wait(DEADLINE)
        rest = "".join(iter(lambda: self._lines.get(timeout=DEADLINE), ""))
        return code, rest, self.errors()

    def stop(self, signum: int = signal.SIGINT) -> str:
        """End it as Ctrl-C does, see that it goes cleanly, return the rest of its output."""
        self.process.send_signal(signum)
        code, rest, errors = self.finish()
        assert (code, errors) == (0, ""), (code, errors)
        return rest


class Gateway:
    """A running gateway and ways to talk to it."""

    def __init__(self, program: Program) -> None:
        self.program = program
        inputs = program.line(r"udp://127\.0\.0\.1:(\d+) and tcp://127\.0\.0\.1:(\d+)")
        self.udp_port, self.tcp_port = int(inputs[1]), int(inputs[2])
        self.http_port = int(program.line(r"open http://127\.0\.0\.1:(\d+)/ ")[1])

    def send_udp(self, datagram: bytes) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(datagram, ("127.0.0.1", self.udp_port))

    def tcp(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.tcp_port), DEADLINE)

    def http(self) -> closing[http.client.HTTPConnection]:
        return closing(http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=DEADLINE))

    def ask(self, path: str, method: str = "GET") -> tuple[int, http.client.HTTPMessage, bytes]:
        with self.http() as client:
            client.request(method, path)
            response = client.getresponse()
            return response.status, response.headers, response.read()

    def api(self, path: str) -> Any:
        status, headers, body = self.ask(f"/api/{path}")
        assert (status, headers["Content-Type"]) == (200, "application/json")
        return json.loads(body)


class Stream:
    """An open event stream, read as a browser reads it."""

    def __init__(self, gateway: Gateway) -> None:
        self.client = gateway.http().thing
        self.client.request("GET", "/events")
        self.response = self.client.getresponse()
        assert self.response.status == 200
        assert self.response.headers["Content-Type"] == "text/event-stream"

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.response.close()
        self.client.close()

    def events(self) -> Iterator[tuple[str, Any]]:
        """Yield the events, as name and decoded data."""
        fields: dict[str, str] = {}
        for line in self.response:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                fields[name] = value
            elif "data" in fields:
                yield fields["event"], json.loads(fields["data"])
                fields = {}

    def until(self, event: str, key: str, value: object) -> Any:
        """Return the data of the first *event* whose *key* has that *value*."""
        return next(d for name, d in self.events() if name == event and d[key] == value)

    def values_of(self, sensor: str) -> Iterator[float]:
        """Yield the values of one sensor as they come, those of a snapshot first."""
        for name, data in self.events():
            for one in data["sensors"] if name in ("snapshot", "readings") else ():
                if one["name"] == sensor:
                    yield from (value for _, value in one["recent"])


def load_example(name: str) -> ModuleType:
    """Import an example as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module
