"""TLS for the tests: both ends in one manager, and ends that break the rules."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any, Callable

import certificates
from conftest import DEADLINE, Recorder, pump, url_of

from mongoose_py import (
    MG_EV_CLOSE,
    MG_EV_ERROR,
    MG_EV_READ,
    MG_EV_TLS_HS,
    Connection,
    Manager,
    TlsOpts,
)


def echo(conn: Connection, ev: int, data: Any) -> None:
    """Send back what was received: an answer for a Recorder."""
    if ev == MG_EV_READ and data:
        conn.send(data)


def shown(conn: Connection) -> bytes:
    """Return the certificate that a connection was shown, in DER."""
    info = conn.tls_info()
    assert info is not None
    assert info.peer_certificate is not None
    return info.peer_certificate.der


class Ends:
    """A listener, a client of it, and what each of them was told."""

    def __init__(
        self,
        manager: Manager,
        server_opts: Any = None,
        client_opts: Any = None,
        *,
        scheme: str = "tls",
        server: Recorder | None = None,
        client: Recorder | None = None,
        host: str | None = None,
    ) -> None:
        """Listen and connect; *host*: what the client calls the server."""
        self.manager = manager
        self.server = server or Recorder()
        self.client = client or Recorder()
        opts = certificates.localhost().opts if server_opts is None else server_opts
        self.listener = manager.listen(f"{scheme}://127.0.0.1:0", self.server, tls=opts)
        self.url = url_of(self.listener, scheme)
        if host is not None:
            self.url = self.url.replace("127.0.0.1", host)
        self.conn = self.connect(client_opts)

    def connect(self, client_opts: Any = None) -> Connection:
        """Connect (again)."""
        opts = certificates.trusting() if client_opts is None else client_opts
        return self.manager.connect(self.url, self.client, tls=opts)

    def shake(self, count: int = 1) -> Ends:
        """Poll until both ends have finished so many handshakes."""
        client, server = self.client.saw(MG_EV_TLS_HS, count), self.server.saw(MG_EV_TLS_HS, count)
        pump(self.manager, lambda: (client() and server()) or self.errors())
        assert not self.errors()
        return self

    @property
    def accepted(self) -> Connection:
        """The server's end of the last connection that finished its handshake."""
        return self.server.conns(MG_EV_TLS_HS)[-1]

    def errors(self) -> list[str]:
        """Return the errors of both ends, the client's first."""
        return self.client.data(MG_EV_ERROR) + self.server.data(MG_EV_ERROR)

    def refused(self) -> tuple[str, str]:
        """Poll until both ends have closed; return what the client and the server said."""
        closed = [self.client.saw(MG_EV_CLOSE), self.server.saw(MG_EV_CLOSE)]
        pump(self.manager, lambda: all(over() for over in closed))
        assert not self.client.data(MG_EV_READ)
        assert not self.server.data(MG_EV_READ)
        told = [recorder.data(MG_EV_ERROR) for recorder in (self.client, self.server)]
        assert all(len(errors) <= 1 for errors in told), told
        return "".join(told[0]), "".join(told[1])


def client_context(
    *, ca: certificates.Pair | None = None, version: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    """Return a context of Python's for a client that trusts the tests' root."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(str((ca or certificates.root()).cert))
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def server_context(pair: certificates.Pair | None = None) -> ssl.SSLContext:
    """Return a context of Python's for a server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    used = pair or certificates.localhost()
    context.load_cert_chain(str(used.cert), str(used.key))
    return context


@contextlib.contextmanager
def tls_client(
    address: tuple[str, int], context: ssl.SSLContext | None = None, name: str = "localhost"
) -> Iterator[ssl.SSLSocket]:
    """Give a connection of Python's own ssl module to *address*."""
    used = context or client_context()
    with (
        socket.create_connection(address, DEADLINE) as plain,
        used.wrap_socket(plain, server_hostname=name) as sock,
    ):
        yield sock


@contextlib.contextmanager
def on_thread(work: Callable[[], object]) -> Iterator[None]:
    """Run *work* on a thread; leaving waits for it and raises what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as exc:
            raised.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join(DEADLINE)
    assert not thread.is_alive()
    if raised:
        raise raised[0]


@contextlib.contextmanager
def one_client(serve: Callable[[socket.socket], object]) -> Iterator[tuple[str, int]]:
    """Give the address of a listener whose first connection *serve* gets, on a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE)

        def work() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.settimeout(DEADLINE)
                serve(sock)

        with on_thread(work):
            yield listener.getsockname()


class Relay:
    """Between a client and a server: passes on what *pieces* makes of each piece.

    *pieces* gets a direction ("up" is towards the server) and bytes, and yields what is to
    be sent one by one; ``None`` ends the connection on both sides.
    """

    def __init__(
        self,
        target: tuple[str, int],
        pieces: Callable[[str, bytes], Iterator[bytes | None]],
    ) -> None:
        self.target, self.pieces = target, pieces
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(DEADLINE)
        self.port: int = self.listener.getsockname()[1]

    def __enter__(self) -> Relay:
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()
        self.thread.join(DEADLINE)
        assert not self.thread.is_alive()

    def _run(self) -> None:
        try:
            near, _ = self.listener.accept()
        except OSError:  # nobody came
            return
        with near, socket.create_connection(self.target, DEADLINE) as far:
            for sock in (near, far):
                sock.settimeout(DEADLINE)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=self._pass_on, args=("down", far, near))
            back.start()
            self._pass_on("up", near, far)
            back.join(DEADLINE)

    def _pass_on(self, direction: str, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                for piece in self.pieces(direction, data):
                    if piece is None:
                        for sock in (source, sink):
                            sock.shutdown(socket.SHUT_RDWR)
                        return
                    sink.sendall(piece)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


def single_bytes(_direction: str, data: bytes) -> Iterator[bytes | None]:
    """Pass everything on byte by byte."""
    return (data[i : i + 1] for i in range(len(data)))


def options(pair: certificates.Pair, **more: Any) -> TlsOpts:
    """Return options with the certificate of *pair*, and *more*."""
    return TlsOpts(cert=pair.cert, key=pair.key, **more)
