"""A name server on the loopback that answers as a test wants, forgeries included.

Its codec is written for these tests from :rfc:`1035`, without regard to the one in C: it
is the plain model of it as well. What the server answers with is up to a function that
gets each :class:`Query` and returns the messages to send, none, one or several; a zone
is the usual case, see :func:`zone`. What is to be late is sent later, by the test:
:meth:`Server.send`. So nothing here waits for time to pass.
"""

from __future__ import annotations

import contextlib
import ipaddress
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from conftest import DEADLINE, Recorder, pump

from mongoose_py import MG_EV_ERROR, MG_EV_RESOLVE, Limits, Manager, Resolver

A, NS, CNAME, TXT, AAAA = 1, 2, 5, 16, 28
IN = 1
NO_ERROR, FORMERR, SERVFAIL, NXDOMAIN, REFUSED = 0, 1, 2, 3, 5
RESPONSE, TRUNCATED, RECURSION = 0x8000, 0x0200, 0x0180
HEADER = struct.Struct("!6H")


class Malformed(ValueError):
    """No DNS message."""


class Record(NamedTuple):
    """A record of the answer section; *data* is a name, an address, or bytes."""

    owner: str
    type: int
    data: str | bytes
    ttl: int = 60
    rclass: int = IN


class Query(NamedTuple):
    """A question as it came in."""

    id: int
    name: str  # lower case, no dot at its end
    type: int
    is_tcp: bool = False
    source: tuple[str, int] = ("", 0)
    wire: bytes = b""


# -- writing ---------------------------------------------------------------------------


def name_wire(name: str) -> bytes:
    """Return *name* as labels, not compressed."""
    labels = name.rstrip(".").encode("latin-1").split(b".") if name.rstrip(".") else []
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def data_wire(record: Record) -> bytes:
    if isinstance(record.data, bytes):
        return record.data
    if record.type in (A, AAAA):
        return ipaddress.ip_address(record.data).packed
    return name_wire(record.data)


def record_wire(record: Record) -> bytes:
    data = data_wire(record)
    fixed = struct.pack("!HHIH", record.type, record.rclass, record.ttl, len(data))
    return name_wire(record.owner) + fixed + data


def query_wire(number: int, name: str, kind: int) -> bytes:
    question = name_wire(name) + struct.pack("!HH", kind, IN)
    return HEADER.pack(number, 0x0100, 1, 0, 0, 0) + question


def reply(
    query: Query,
    records: Iterable[Record] = (),
    code: int = NO_ERROR,
    *,
    flags: int = RESPONSE | RECURSION,
    number: int | None = None,
    questions: Sequence[tuple[str, int, int]] | None = None,
) -> bytes:
    """Return an answer to *query*; the keywords are for those who lie."""
    records = list(records)
    if questions is None:
        questions = [(query.name, query.type, IN)]
    head = HEADER.pack(
        query.id if number is None else number, flags | code, len(questions), len(records), 0, 0
    )
    asked = b"".join(name_wire(n) + struct.pack("!HH", t, c) for n, t, c in questions)
    return head + asked + b"".join(map(record_wire, records))


# -- reading ---------------------------------------------------------------------------


def read_name(wire: bytes, at: int) -> tuple[str, int]:
    """Return the name at an offset, in lower case, and the offset behind it."""
    labels: list[str] = []
    size, jumps, end, piece = 1, 0, 0, at
    while True:
        if at >= len(wire):
            raise Malformed("a name goes on behind the end")
        length = wire[at]
        if length == 0:
            return ".".join(labels), end or at + 1
        if length >= 0xC0:
            if at + 2 > len(wire):
                raise Malformed("half a pointer")
            to = (length & 0x3F) << 8 | wire[at + 1]
            jumps += 1
            if jumps > 16 or not 12 <= to < piece:
                raise Malformed("a pointer that does not lead back")
            end = end or at + 2
            at = piece = to
            continue
        size += length + 1
        if length > 63 or at + 1 + length > len(wire) or size > 255:
            raise Malformed("a label or name too long")
        labels.append(wire[at + 1 : at + 1 + length].decode("latin-1").translate(_LOWER))
        at += 1 + length


_LOWER = {c: c + 32 for c in range(ord("A"), ord("Z") + 1)} | {ord("."): "\\."}


def read_query(wire: bytes) -> Query:
    """Read a query of the only kind that we send, strictly."""
    if len(wire) < 12:
        raise Malformed("half a header")
    number, flags, *counts = HEADER.unpack_from(wire)
    if flags != 0x0100 or counts != [1, 0, 0, 0]:
        raise Malformed(f"not a plain query: {wire!r}")
    name, at = read_name(wire, 12)
    if len(wire) != at + 4 or wire[at + 2 :] != b"\0\1":
        raise Malformed(f"not one question of class IN: {wire!r}")
    return Query(number, name, int.from_bytes(wire[at : at + 2], "big"), wire=wire)


def read_answers(wire: bytes, at: int) -> list[Record]:
    """Return the records of the answer section, which begins at an offset."""
    records = []
    for _ in range(int.from_bytes(wire[6:8], "big")):
        owner, at = read_name(wire, at)
        if at + 10 > len(wire):
            raise Malformed("half a record")
        kind, rclass, ttl, size = struct.unpack_from("!HHIH", wire, at)
        at += 10
        data: str | bytes = wire[at : at + size]
        if len(data) < size:
            raise Malformed("half the data")
        if rclass == IN and kind in (A, AAAA):
            if size != {A: 4, AAAA: 16}[kind]:
                raise Malformed("an address of a wrong size")
            data = str(ipaddress.ip_address(data))
        elif rclass == IN and kind == CNAME:
            data, end = read_name(wire, at)
            if end != at + size:
                raise Malformed("an alias that is not one name")
        at += size
        records.append(Record(owner, kind, data, ttl, rclass))
    return records


def verdict(query: Query, wire: bytes) -> list[str] | str:
    """Return what *wire* has to say to *query*: its addresses, or why there are none.

    ``"foreign"`` (not an answer to it), ``"truncated"``, ``"failed"``, ``"no name"`` or
    ``"no data"``; the rules of :rfc:`5452`, section 6, and :rfc:`1034`, section 3.6.2.
    """
    try:
        number, flags, questions, *_ = HEADER.unpack_from(wire)
        name, at = read_name(wire, 12)
        kind, rclass = struct.unpack_from("!HH", wire, at)
    except (Malformed, struct.error):
        return "foreign"
    if (number, flags & 0xF800, questions) != (query.id, RESPONSE, 1):
        return "foreign"
    if (name, kind, rclass) != (query.name, query.type, IN):
        return "foreign"
    if flags & 0xF not in (NO_ERROR, NXDOMAIN):
        return "failed"
    if flags & TRUNCATED:
        return "truncated"
    if flags & 0xF == NXDOMAIN:
        return "no name"
    try:
        return addresses_in(read_answers(wire, at + 4), name, kind)
    except Malformed:
        return "failed"


def addresses_in(records: list[Record], name: str, kind: int) -> list[str] | str:
    """Follow the aliases from *name*, at most eight."""
    owned = [record for record in records if record.rclass == IN]
    for _ in range(9):
        found = [str(r.data) for r in owned if (r.owner, r.type) == (name, kind)]
        aliases = {str(r.data) for r in owned if (r.owner, r.type) == (name, CNAME)}
        if len(aliases) > 1:
            return "failed"
        if found:
            return list(dict.fromkeys(found))[:16]
        if not aliases:
            return "no data"
        (name,) = aliases
    return "failed"


# -- the server ------------------------------------------------------------------------

Answer = Callable[[Query], "Iterable[bytes]"]


def zone(records: Mapping[str, Sequence[str]]) -> Answer:
    """Answer from *records*: a name's addresses, or one other name that it stands for."""

    def answer(query: Query) -> list[bytes]:
        if query.name not in records:
            return [reply(query, code=NXDOMAIN)]
        chain: list[Record] = []
        name = query.name
        while True:
            data = records.get(name, [])
            kinds = [kind_of(text) for text in data]
            if kinds != [CNAME]:
                break
            chain.append(Record(name, CNAME, data[0]))
            name = data[0]
        found = [Record(name, kind, text) for kind, text in zip(kinds, data) if kind == query.type]
        return [reply(query, chain + found)]

    return answer


def kind_of(text: str) -> int:
    """Return the type of the record that *text* is the data of."""
    try:
        return A if ipaddress.ip_address(text).version == 4 else AAAA
    except ValueError:
        return CNAME


class Server:
    """A server on a UDP and a TCP socket with the same port; use it in a ``with`` block."""

    def __init__(self, answer: Answer, host: str = "127.0.0.1") -> None:
        self.answer = answer
        self.queries: list[Query] = []  # in order of arrival
        self.refuses_tcp = False
        self._came = threading.Condition()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        while True:
            self._udp = socket.socket(family, socket.SOCK_DGRAM)
            self._tcp = socket.socket(family)
            self._udp.bind((host, 0))
            try:
                self._tcp.bind((host, self._udp.getsockname()[1]))
                break
            except OSError:  # somebody has that port
                self._udp.close()
                self._tcp.close()
        self._tcp.listen()
        self.port: int = self._udp.getsockname()[1]
        self.url = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self._wake, self._woken = socket.socketpair()
        self._conns: dict[socket.socket, bytearray] = {}
        self._streams: dict[tuple[str, int], socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        for sock in (self._udp, self._tcp, self._woken):
            self._selector.register(sock, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._wake.close()
        self._thread.join(DEADLINE)
        for sock in (self._udp, self._tcp, self._woken, *self._conns):
            sock.close()
        self._selector.close()
        assert not self._thread.is_alive()

    def send(self, query: Query, *messages: bytes) -> None:
        """Send messages to whoever asked, on the way the question came."""
        for message in messages:
            with contextlib.suppress(OSError):  # they may have gone
                if query.is_tcp:
                    self._streams[query.source].sendall(struct.pack("!H", len(message)) + message)
                else:
                    self._udp.sendto(message, query.source)

    def send_pieces(self, query: Query, pieces: Iterable[bytes]) -> None:
        """Send bytes over TCP, each piece by itself."""
        stream = self._streams[query.source]
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):  # they have heard enough
            for piece in pieces:
                stream.sendall(piece)

    def wait_for(self, count: int) -> list[Query]:
        """Return the queries once there are *count* of them."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.queries) >= count, DEADLINE)
            return list(self.queries)

    def asked(self) -> list[tuple[str, int]]:
        """Return names and types of the questions so far, sorted."""
        return sorted({(query.name, query.type) for query in self.queries})

    def _take(self, query: Query) -> None:
        with self._came:
            self.queries.append(query)
            self._came.notify_all()
        self.send(query, *self.answer(query))

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if sock is self._woken:
                    return
                if sock is self._udp:
                    wire, source = sock.recvfrom(65536)
                    self._take(read_query(wire)._replace(source=source[:2]))
                elif sock is self._tcp:
                    self._accept()
                else:
                    self._read(sock)

    def _accept(self) -> None:
        conn, source = self._tcp.accept()
        if self.refuses_tcp:
            conn.close()
            return
        self._conns[conn] = bytearray()
        self._streams[source[:2]] = conn
        self._selector.register(conn, selectors.EVENT_READ)

    def _read(self, conn: socket.socket) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = conn.recv(65536)
        if not data:
            self._selector.unregister(conn)
            conn.close()
            del self._conns[conn]
            return
        got = self._conns[conn]
        got += data
        while len(got) >= 2 and len(got) >= 2 + int.from_bytes(got[:2], "big"):
            size = int.from_bytes(got[:2], "big")
            query = read_query(bytes(got[2 : 2 + size]))
            del got[: 2 + size]
            self._take(query._replace(is_tcp=True, source=conn.getpeername()[:2]))


def pairs(addresses: Iterable[str], port: int) -> Iterator[tuple[str, int, bool]]:
    """Yield addresses as an event has them."""
    for text in addresses:
        yield text, port, ":" in text


# -- asking ------------------------------------------------------------------------------

PATIENT = Limits(dns_timeout=60)  # for a busy machine
MakeManager = Callable[..., Manager]
StartServer = Callable[..., Server]
Ask = Callable[..., Any]


def resolver(*servers: Server | str, **options: Any) -> Resolver:
    """Return one that asks these servers only, with time enough for a busy machine."""
    urls = [server.url if isinstance(server, Server) else server for server in servers]
    settings: dict[str, Any] = {
        "servers": urls or None,
        "search": [],
        "config": None,
        "hosts": None,
        "timeout": 5.0,
        "family_delay": 5.0,
    }
    return Resolver(**{**settings, **options})


def look_up(manager: Manager, url: str) -> Any:
    """Return the addresses of *url*, or the text of the error."""
    seen = Recorder()
    listener = manager.listen("tcp://127.0.0.1:0", seen)
    del seen.calls[:]
    listener.resolve(url)
    pump(manager, seen.names)
    listener.close()
    (found,) = seen.data(MG_EV_RESOLVE) or seen.data(MG_EV_ERROR)
    return found


def silent(query: Query) -> list[bytes]:
    """Answer nothing."""
    return []


def evil(query: Query) -> Record:
    """Return what nobody should ever be told."""
    return Record(query.name, query.type, "6.6.6.6" if query.type == A else "6::6")
