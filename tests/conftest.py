"""Running managers for the tests, and how to wait without sleeping.

Two ways to drive a manager, both on port 0 of the loopback: :func:`pump` polls on
the test's own thread until something holds, with plain sockets as the other side;
the ``serve`` fixture polls on a thread, for clients that block.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from time import monotonic
from typing import Any, Callable

import pytest
from hypothesis import HealthCheck, settings

from mongoose_py import Connection, HttpMessage, Limits, Manager, event_name, tls_context

pytest_plugins = ["httptalk", "mqtttalk", "staticsite"]  # more fixtures, for some of the tests
DEADLINE = 30.0  # seconds; only ever reached by a failure

settings.register_profile("dev", deadline=None)
settings.register_profile("thorough", deadline=None, max_examples=500)
settings.register_profile(
    "ci", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))


def pytest_configure() -> None:
    """Take SIGINT, which a shell has its background jobs and their children ignore."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# POLLERS=epoll leaves the other one out, where it has been seen elsewhere.
@pytest.fixture(params=os.environ.get("POLLERS", "epoll,poll").split(","))
def poller(request: pytest.FixtureRequest) -> str:
    """Each way to wait for the system; what asks for this runs with both."""
    name: str = request.param
    return name


@pytest.fixture(params=["openssl", "ssl"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each way to do TLS: the system's OpenSSL, or Python's ``ssl`` for want of it."""
    name: str = request.param
    if name == "ssl":
        monkeypatch.setattr(tls_context.library, "is_open", False)
        monkeypatch.setattr(tls_context.library, "tried", ["nothing"])
    elif not tls_context.library.open():
        pytest.skip("there is no OpenSSL that can be opened")
    return name


@pytest.fixture
def make_manager(poller: str) -> Iterator[Callable[..., Manager]]:
    """Return ``Manager`` with a poller chosen, closed when the test is over."""
    with ExitStack() as stack:

        def make(*args: Any, **kwargs: Any) -> Manager:
            return stack.enter_context(Manager(*args, poller=poller, **kwargs))

        yield make


@pytest.fixture
def serve(make_manager: Callable[..., Manager]) -> Iterator[Callable[..., str]]:
    """Return a function that runs a handler and gives the URL it answers at."""
    with ExitStack() as stack:

        def start(handler: Any, scheme: str = "http", **kwargs: Any) -> str:
            manager = make_manager(handler, **kwargs)
            host, port, _ = manager.listen(f"{scheme}://127.0.0.1:0").local_addr
            stack.enter_context(running(manager))
            return f"{scheme}://{host}:{port}"

        yield start


@pytest.fixture
def name_server() -> Iterator[Callable[..., Any]]:
    """Return a function that runs a name server, see dnsserver.py; it ends with the test."""
    from dnsserver import Server, zone

    with ExitStack() as stack:

        def start(answer: Any, host: str = "127.0.0.1") -> Server:
            function = zone(answer) if isinstance(answer, dict) else answer
            return stack.enter_context(Server(function, host))

        yield start


@pytest.fixture
def ask_for(make_manager: Callable[..., Manager]) -> Callable[..., Any]:
    """Return a function that looks a name up with a manager of its own."""
    from dnsserver import look_up, resolver

    def ask(name: str, *servers: Any, limits: Limits | None = None, **options: Any) -> Any:
        manager = make_manager(
            resolver=resolver(*servers, **options), limits=limits or Limits(dns_timeout=60)
        )
        return look_up(manager, name)

    return ask


@contextmanager
def running(manager: Manager) -> Iterator[threading.Thread]:
    """Poll *manager* on a thread; leaving joins it and raises what it raised."""
    done = threading.Event()
    raised: list[BaseException] = []

    def loop() -> None:
        try:
            while not done.is_set():
                manager.poll(1000)
        except BaseException as exc:
            raised.append(exc)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield thread
    finally:
        done.set()
        manager.stop()  # ends the wait
        thread.join(DEADLINE)
    assert not thread.is_alive()
    if raised:
        raise raised[0]


def pump(manager: Manager, until: Callable[[], object], ms: float = 20) -> None:
    """Poll *manager* until *until()* is true."""
    deadline = monotonic() + DEADLINE
    while not until():
        assert monotonic() < deadline, "it did not happen"
        manager.poll(ms)


def turns(manager: Manager, count: int = 3) -> None:
    """Give *manager* the chance to do what it should not do."""
    for _ in range(count):
        manager.poll(0)


def dial(listener: Connection) -> socket.socket:
    """Return a plain TCP client of *listener*; close it."""
    host, port, _ = listener.local_addr
    return socket.create_connection((host, port), DEADLINE)


def udp_socket() -> socket.socket:
    """Return a plain UDP socket on the loopback; close it."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(DEADLINE)
    sock.bind(("127.0.0.1", 0))
    return sock


def url_of(listener: Connection, scheme: str = "tcp") -> str:
    """Return the URL that leads to *listener*."""
    host, port, is_ipv6 = listener.local_addr
    return f"{scheme}://[{host}]:{port}" if is_ipv6 else f"{scheme}://{host}:{port}"


def receive_until(sock: socket.socket, end: bytes) -> bytes:
    """Read from a blocking socket up to and with *end*."""
    data = b""
    while not data.endswith(end):
        piece = sock.recv(65536)
        assert piece, f"the connection ended after {data!r}"
        data += piece
    return data


def receive_all(sock: socket.socket) -> bytes:
    """Read from a blocking socket to the end of its stream."""
    return b"".join(iter(lambda: sock.recv(65536), b""))


def exchange(manager: Manager, sock: socket.socket, data: bytes, end: bytes) -> bytes:
    """Send *data* and poll until an answer that ends in *end* has come."""
    sock.sendall(data)
    answer = bytearray()

    def complete() -> bool:
        sock.setblocking(False)
        try:
            answer.extend(sock.recv(65536))
        except BlockingIOError:
            pass
        finally:
            sock.settimeout(DEADLINE)
        return answer.endswith(end)

    pump(manager, complete, ms=5)
    return bytes(answer)


class Recorder:
    """A handler that writes down what it is called with; ``answer`` runs after that."""

    def __init__(self, answer: Callable[[Connection, int, Any], object] | None = None) -> None:
        self.calls: list[tuple[Connection, int, Any]] = []
        self.answer = answer

    def __call__(self, conn: Connection, ev: int, data: Any) -> None:
        kept = (data.method, data.uri, data.body_bytes) if isinstance(data, HttpMessage) else data
        self.calls.append((conn, ev, kept))
        if self.answer is not None:
            self.answer(conn, ev, data)

    def names(self, conn: Connection | None = None) -> list[str]:
        """Return the events in order, polls left out; those of *conn* only, if given."""
        names = [event_name(ev)[6:] for c, ev, _ in self.calls if conn is None or c is conn]
        return [name for name in names if name != "POLL"]

    def data(self, ev: int) -> list[Any]:
        """Return what came with each event of one kind."""
        return [data for _, number, data in self.calls if number == ev]

    def conns(self, ev: int) -> list[Connection]:
        """Return the connections that had an event."""
        return [conn for conn, number, _ in self.calls if number == ev]

    def saw(self, ev: int, count: int = 1) -> Callable[[], bool]:
        """Return a condition for :func:`pump`: the event has come so often."""
        return lambda: len(self.data(ev)) >= count


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return a running mosquitto, somebody else's MQTT broker."""
    from mqttpeers import MOSQUITTO, NO_MOSQUITTO, Mosquitto

    if MOSQUITTO is None:
        pytest.skip(NO_MOSQUITTO)
    with Mosquitto(tmp_path_factory.mktemp("mosquitto")) as broker:
        yield broker


@pytest.fixture
def sockets() -> Iterator[Callable[[socket.socket], socket.socket]]:
    """Return a function that has a socket closed when the test is over."""
    with ExitStack() as stack:
        yield lambda sock: stack.enter_context(closing(sock))
