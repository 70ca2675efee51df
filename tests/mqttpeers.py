"""Who is at the other end of an MQTT connection: a script, mosquitto, a bad network."""

from __future__ import annotations

import os
import queue
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import mqttpackets as mp
import rawpeer
from conftest import DEADLINE, dial, pump
from ports import free_port

from mongoose_py import Connection, Manager

os.environ["PATH"] += os.pathsep + "/usr/sbin"  # where Debian puts mosquitto
MOSQUITTO = shutil.which("mosquitto")
NO_MOSQUITTO = "mosquitto is not installed"
NO_CLIENTS = "mosquitto_pub and mosquitto_sub are not installed"
HAS_CLIENTS = bool(shutil.which("mosquitto_pub") and shutil.which("mosquitto_sub"))


class Peer(rawpeer.Peer):
    """The other end of an MQTT connection; speaks what it is told to."""

    def __init__(self, manager: Manager, sock: socket.socket, version: int = 4) -> None:
        super().__init__(manager, sock)
        self.version = version

    @classmethod
    def of(cls, manager: Manager, listener: Connection, version: int = 4) -> Peer:
        """Connect to *listener*."""
        return cls(manager, dial(listener), version)

    @classmethod
    def accepted(cls, manager: Manager, server: socket.socket, version: int = 4) -> Peer:
        """Wait for the manager's client at *server*."""
        found: list[socket.socket] = []
        server.setblocking(False)

        def arrived() -> bool:
            with suppress(BlockingIOError):
                found.append(server.accept()[0])
            return bool(found)

        pump(manager, arrived, 2)
        return cls(manager, found[0], version)

    def send(self, *packets: mp.Packet | bytes) -> None:
        """Send packets, or bytes as they are; poll when the socket is full."""
        self.send_bytes(
            b"".join([p if isinstance(p, bytes) else mp.encode(p, self.version) for p in packets])
        )

    def packet(self) -> mp.Packet:
        """Return the next packet."""
        return self.next(lambda wire: mp.decode(wire, self.version))

    def packets(self, count: int) -> list[mp.Packet]:
        """Return the next packets."""
        return [self.packet() for _ in range(count)]

    def until_the_end(self) -> list[mp.Packet]:
        """Return all packets up to the end of the connection."""
        return mp.decode_all(self.rest(), self.version)


@contextmanager
def server_socket() -> Iterator[tuple[socket.socket, str]]:
    """Give a listening socket and the URL of it, for scripted brokers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server, f"mqtt://127.0.0.1:{server.getsockname()[1]}"


# -- mosquitto --------------------------------------------------------------


class Mosquitto:
    """A running mosquitto with a configuration of its own.

    Args:
        folder: Where it can keep files.
        lines: More lines for its configuration.
        port: Where to listen; 0: at a free port.
    """

    def __init__(self, folder: Path, *lines: str, port: int = 0) -> None:
        assert MOSQUITTO is not None
        for _ in range(5):  # somebody else may take the port in between
            self.port = port or free_port()
            config = folder / f"mosquitto-{self.port}.conf"
            settings = [
                f"listener {self.port} 127.0.0.1",
                "allow_anonymous true",
                "log_dest stderr",
                "log_type all",
                "max_queued_messages 0",
                # Behind a lost connection it counts what is under way twice, and drops
                # messages of QoS 2 that it believes are too many.
                "max_inflight_messages 0",
                "set_tcp_nodelay true",
                "user root",  # else it cannot read what pytest's folders hold, started as root
                *lines,
            ]
            config.write_text("\n".join(settings) + "\n")
            self.process = subprocess.Popen(
                [MOSQUITTO, "-c", str(config)], stderr=subprocess.PIPE, text=True
            )
            self.log: list[str] = []
            self._said: queue.Queue[str] = queue.Queue()
            self._reader = threading.Thread(target=self._read, daemon=True)
            self._reader.start()
            if self._runs():
                return
            self.stop()
        raise RuntimeError("mosquitto does not start:\n" + "".join(self.log))

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            self._said.put(line)
        self._said.put("")

    def _runs(self) -> bool:
        for line in iter(lambda: self._said.get(timeout=DEADLINE), ""):
            if " running" in line:  # it listens by then
                return True
        return False

    @property
    def url(self) -> str:
        """Where it is."""
        return f"mqtt://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def __enter__(self) -> Mosquitto:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


# -- a network that cuts ----------------------------------------------------


def whole_packet(data: bytes) -> int:
    """Return how long the first packet is, 0 when it is not all there."""
    length = 0
    for i, byte in enumerate(data[1:5]):
        length |= (byte & 127) << 7 * i
        if byte < 128:
            end = 2 + i + length
            return end if len(data) >= end else 0
    return 0


class CuttingProxy:
    """Passes packets between clients and a broker, and cuts the line once.

    After *after* packets in one direction both sides see the end of the stream: they have
    got everything up to there, and nothing that was still on its way.

    Args:
        port: The broker's.
        up: Whether to count what clients send.
        after: How many packets to let through; negative: it never cuts.
    """

    def __init__(self, port: int, up: bool, after: int) -> None:
        self.broker = port
        self.cut = threading.Event()
        self.passed = {True: 0, False: 0}  # packets, by direction
        self._up, self._after = up, after
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._socks: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"mqtt://127.0.0.1:{self.port}"

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):  # the proxy is closed
            while True:
                client = self._server.accept()[0]
                broker = socket.create_connection(("127.0.0.1", self.broker), DEADLINE)
                broker.settimeout(None)
                for sock in (client, broker):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._socks += [client, broker]
                over = threading.Event()  # this pair of connections has been cut
                with self._lock:
                    self._cut_if_due(client, broker, over)
                self._start(self._pump, client, broker, True, over)
                self._start(self._pump, broker, client, False, over)

    def _cut_if_due(self, a: socket.socket, b: socket.socket, over: threading.Event) -> None:
        if not self.cut.is_set() and self.passed[self._up] == self._after:
            self.cut.set()
            over.set()
            for sock in (a, b):
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_WR)

    def _pump(
        self, src: socket.socket, dst: socket.socket, up: bool, over: threading.Event
    ) -> None:
        buffer = b""
        with suppress(OSError):
            while data := src.recv(65536):
                buffer += data
                while size := whole_packet(buffer):
                    with self._lock:
                        if over.is_set():
                            buffer = b""
                            break
                        dst.sendall(buffer[:size])
                        self.passed[up] += 1
                        buffer = buffer[size:]
                        self._cut_if_due(src, dst, over)
        with suppress(OSError):
            dst.shutdown(socket.SHUT_WR)

    def __enter__(self) -> CuttingProxy:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._threads[0].join(DEADLINE)  # then there are no more
        for sock in self._socks:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join(DEADLINE)
        for sock in self._socks:
            sock.close()
