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
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from http.client import HTTPMessage
from pathlib import Path
from types import ModuleType
from typing import Any

from websockets.sync.client import connect

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


GATEWAY, DEMO = "gateway/gateway.py", "demo/demo.py"
# Port 0 takes a free one, and the program says which. What the tests wait for comes quickly.
QUICK = [
    *("--web", "http://127.0.0.1:0", "--udp", "udp://127.0.0.1:0", "--tcp", "tcp://127.0.0.1:0"),
    *("--mqtt", "mqtt://127.0.0.1:0", "--tick", "10"),
]


class Gateway:
    """A running gateway and ways to talk to it."""

    def __init__(self, program: Program) -> None:
        self.program = program
        inputs = program.line(r" udp://.*:(\d+), \w+://.*:(\d+) and \w+://127\.0\.0\.1:(\d+)$")
        self.udp_port, self.tcp_port, self.mqtt_port = map(int, inputs.groups())
        self.url = program.line(r"open (https?://127\.0\.0\.1:\d+)/ ")[1]
        self.http_port = int(self.url.rpartition(":")[2])

    def send_udp(self, datagram: bytes) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(datagram, ("127.0.0.1", self.udp_port))

    def tcp(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.tcp_port), DEADLINE)

    def http(self) -> closing[http.client.HTTPConnection]:
        return closing(http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=DEADLINE))

    def websocket(self, path: str, **options: Any) -> AbstractContextManager[Any]:
        url = f"ws://127.0.0.1:{self.http_port}{path}"
        times: dict[str, Any] = {"open_timeout": DEADLINE, "close_timeout": DEADLINE}
        # No pings: their thread may wait for the end of the reading one at the same time as
        # ours, and on PyPy one of the two then fails.
        found: AbstractContextManager[Any] = connect(
            url, max_size=None, ping_interval=None, **times, **options
        )
        return found

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, HTTPMessage, bytes]:
        with self.http() as client:
            client.request(method, path, headers=headers)
            response = client.getresponse()
            return response.status, response.headers, response.read()

    def api(self, path: str) -> Any:
        status, headers, body = self.ask(f"/api/{path}")
        assert (status, headers["Content-Type"]) == (200, "application/json")
        return json.loads(body)


@contextmanager
def running(*args: str) -> Iterator[Gateway]:
    """Run a gateway that nobody sends to yet; Ctrl-C must end it cleanly."""
    with Program(GATEWAY, *QUICK, *args) as program:
        gateway = Gateway(program)
        yield gateway
        gateway.api("stats")
        assert re.match(r"gateway: closed after \d+ measurements", program.stop())


class Stream:
    """An open live view: its messages, read as a page reads them."""

    def __init__(self, gateway: Gateway) -> None:
        self.connecting = gateway.websocket("/live")

    def __enter__(self) -> Stream:
        self.socket = self.connecting.__enter__()
        return self

    def __exit__(self, *problem: Any) -> None:
        self.connecting.__exit__(*problem)

    def send(self, command: str) -> None:
        self.socket.send(command)

    def events(self) -> Iterator[tuple[str, Any]]:
        """Yield the messages, as type and decoded data; there is one each tick."""
        deadline = time.monotonic() + DEADLINE
        while True:
            assert time.monotonic() < deadline, "what was waited for did not come"
            message = json.loads(self.socket.recv(DEADLINE))
            yield message["type"], message

    def stats(self, **known: object) -> Any:
        """Return the counters once they are like this."""
        stats = (data["stats"] for name, data in self.events() if name != "refused")
        return next(one for one in stats if known.items() <= one.items())

    def actuator(self, name: str, **known: str) -> Any:
        """Return an actuator once this is known of it."""
        for kind, data in self.events():
            for one in data["actuators"] if kind != "refused" else ():
                if one["name"] == name and known.items() <= one.items():
                    return one
        raise AssertionError("the view has ended")

    def values_of(self, sensor: str) -> Iterator[float]:
        """Yield the values of one sensor as they come, those of a snapshot first."""
        for name, data in self.events():
            for one in data["sensors"] if name != "refused" else ():
                if one["name"] == sensor:
                    yield from (value for _, value in one["recent"])


def load_example(name: str) -> ModuleType:
    """Import an example as a module, together with those that it imports."""
    for folder in (EXAMPLES, (EXAMPLES / name).parent):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module
