"""Laws of a WebSocket connection, whatever is sent and however it is cut."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import pytest
from conftest import pump
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from wsframes import BINARY, CLOSE, CONTINUE, PING, PONG, TEXT, Frame, Peer, decode, encode, masked

from mongoose_py import (
    MG_EV_CLOSE,
    MG_EV_ERROR,
    MG_EV_HTTP_MSG,
    MG_EV_WS_CTL,
    MG_EV_WS_MSG,
    Connection,
    ConnectionClosed,
    Error,
    Limits,
    Manager,
)
from mongoose_py.websocket import Deflate, Unacceptable

LIMIT = 70_000
OFFER = "Sec-WebSocket-Extensions: permessage-deflate"
Event = tuple[str, int, bytes]


class Said(NamedTuple):
    """One message in any number of frames, control frames between."""

    frames: list[Frame]  # as the peer sends them
    events: list[Event]
    answers: list[Frame]  # of a server that echoes

    def __repr__(self) -> str:
        return f"Said({[frame[:3] for frame in self.frames]!r:.500})"


class Server:
    """Writes down what its newest WebSocket is told; with ``echo`` it answers messages."""

    def __init__(self, echo: bool) -> None:
        self.echo = echo
        self.events: list[Event] = []
        self.conn: Connection | None = None
        self.manager = Manager(self.handle, limits=Limits(ws_message=LIMIT))
        self.listener = self.manager.listen("http://127.0.0.1:0")

    def handle(self, conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            self.events, self.conn = [], conn
            conn.ws_upgrade(data, compression=True)
        elif conn is not self.conn:
            return
        elif ev == MG_EV_WS_MSG:
            self.events.append(("message", data.flags, data.data))
            if self.echo:
                conn.ws_send(data.data, data.flags)
        elif ev == MG_EV_WS_CTL:
            self.events.append(("control", data.flags, data.data))
        elif ev == MG_EV_ERROR:
            self.events.append(("error", 0, b""))
        elif ev == MG_EV_CLOSE:
            self.events.append(("end", 0, b""))

    def receive(self, wire: bytes, cuts: set[int], *lines: str) -> tuple[list[Event], list[Frame]]:
        """Return events and answers when *wire* comes in pieces, then the end of the stream."""
        with Peer.of(self.manager, self.listener, *lines) as peer:
            at = 0
            for cut in [*sorted(cut for cut in cuts if 0 < cut < len(wire)), len(wire)]:
                peer.send(wire[at:cut])
                self.manager.poll(0)
                self.manager.poll(0)
                at = cut
            with suppress(OSError):  # they may have hung up before
                peer.sock.shutdown(socket.SHUT_WR)
            answers = peer.until_the_end()
        pump(self.manager, lambda: self.events[-1:] == [("end", 0, b"")], 2)
        return self.events, answers


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    one = Server(echo=True)
    with one.manager:
        yield one


masks = st.binary(min_size=4, max_size=4)
sizes = st.sampled_from([0, 1, 7, 8, 31, 32, 33, 124, 125, 126, 127, 4000])
texts = st.one_of(st.text(max_size=20), sizes.map(lambda n: "x" * n)).map(str.encode)
blobs = st.one_of(st.binary(max_size=40), sizes.map(bytes))
controls = st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125))


@st.composite
def messages(draw: st.DrawFn) -> Said:
    op = draw(st.sampled_from([TEXT, BINARY]))
    data = draw(texts if op == TEXT else blobs)
    cuts = sorted(draw(st.sets(st.integers(0, len(data)), max_size=3)))
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)])]
    frames: list[Frame] = []
    events: list[Event] = []
    answers: list[Frame] = []
    for i, piece in enumerate(pieces):
        if i and draw(st.booleans()):
            between, payload = draw(controls)
            frames.append(Frame(between, payload, mask=draw(masks)))
            events.append(("control", between, payload))
            answers += [Frame(PONG, payload)] if between == PING else []
        last = i == len(pieces) - 1
        frames.append(Frame(CONTINUE if i else op, piece, fin=last, mask=draw(masks)))
    events.append(("message", op, data))
    answers.append(Frame(op, data))
    return Said(frames, events, answers)


@given(
    st.builds(
        Frame,
        st.integers(0, 15),
        blobs,
        st.booleans(),
        st.integers(0, 7),
        st.one_of(st.none(), masks),
    ),
    st.binary(max_size=3),
)
def test_the_plain_codec_of_these_tests_reads_what_it_wrote(frame: Frame, behind: bytes) -> None:
    wire = encode(frame)
    assert decode(wire + behind) == (frame, behind)
    assert decode(wire[:-1]) is None


@settings(max_examples=60)
@given(
    st.lists(messages(), max_size=4),
    st.sets(st.integers(1, 400), max_size=12),
    st.sampled_from([None, b"", b"\x03\xe8", b"\x0f\xa0why"]),
)
def test_messages_come_as_they_were_sent_however_the_stream_is_cut(
    server: Server,
    said: list[Said],
    cuts: set[int],
    closing: bytes | None,
) -> None:
    wire = b"".join(encode(frame) for one in said for frame in one.frames)
    events = [event for one in said for event in one.events]
    answers = [frame for one in said for frame in one.answers]
    if closing is not None:
        wire += encode(Frame(CLOSE, closing, mask=b"\x01\x02\x03\x04"))
        events.append(("control", CLOSE, closing))
        answers.append(Frame(CLOSE, closing[:2]))
    assert server.receive(wire, cuts) == ([*events, ("end", 0, b"")], answers)


@settings(max_examples=150)
@given(st.lists(st.one_of(st.binary(max_size=30), messages()), max_size=5))
@example([b"\x81\x85\x01"])
@example([b"\xc1\x86\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff"])
def test_any_bytes_give_messages_and_then_at_most_one_error_with_its_code(
    server: Server, parts: list[bytes | Said]
) -> None:
    wire = b"".join(
        part if isinstance(part, bytes) else b"".join(map(encode, part.frames)) for part in parts
    )
    events, answers = server.receive(wire, set(), OFFER)
    kinds = [kind for kind, _, _ in events]
    assert set(kinds[:-1]) <= {"message", "control", "error"}
    assert "error" not in kinds[:-2]  # behind it comes only the end
    closes = [frame for frame in answers if frame.op == CLOSE]
    assert closes in ([], answers[-1:])
    if "error" in kinds:
        (close,) = closes
        assert int.from_bytes(close.payload, "big") in (1002, 1007, 1009)


@given(masks, blobs)
def test_masking_twice_changes_nothing(key: bytes, data: bytes) -> None:
    assert masked(masked(data, key), key) == data


@settings(max_examples=60)
@given(
    st.lists(st.one_of(blobs, st.binary(max_size=20).map(lambda b: b * 50)), max_size=6),
    st.integers(8, 15),
    st.booleans(),
)
def test_what_was_deflated_is_inflated_again(data: list[bytes], bits: int, keeps: bool) -> None:
    one, other = Deflate(bits, keeps, keeps), Deflate(15, keeps, keeps)
    for i, message in enumerate(data):
        packed = one.deflate(message)
        if packed is not None:
            assert other.inflate(packed, BINARY, len(message)) == message
        if i % 3 == 2:
            one.forget()


@given(st.binary(max_size=200), st.integers(0, 300))
@example(b"\x03\x00" * 20, 0)
def test_inflating_any_bytes_gives_bytes_within_the_limit_or_our_error(
    data: bytes, limit: int
) -> None:
    try:
        message = Deflate(15, True, True).inflate(data, BINARY, limit)
    except Unacceptable as exc:
        assert exc.code in (1007, 1009)
    else:
        assert limit == 0 or len(message) <= limit


class Conversation(RuleBasedStateMachine):
    """Both ends of one connection do what a plain model says."""

    def __init__(self) -> None:
        super().__init__()
        self.server = Server(echo=False)
        self.peer = Peer.of(self.server.manager, self.server.listener)
        assert self.server.conn is not None
        self.conn = self.server.conn
        self.events: list[Event] = []  # that the server has to be told
        self.open_in = b""  # fragments that the peer has begun
        self.in_op = 0
        self.out = False  # a fragmented message of the server's is open
        self.we_closed = self.they_closed = False

    def teardown(self) -> None:
        self.peer.close()
        self.server.manager.close()

    def settle(self) -> None:
        pump(self.server.manager, lambda: len(self.server.events) >= len(self.events), 1)
        assert self.server.events == self.events

    @property
    def ended(self) -> bool:
        return self.we_closed and self.they_closed

    @precondition(lambda self: not self.they_closed and not self.in_op)
    @rule(op=st.sampled_from([TEXT, BINARY]), data=st.binary(max_size=30), key=masks)
    def peer_sends(self, op: int, data: bytes, key: bytes) -> None:
        data = data.hex().encode() if op == TEXT else data
        self.peer.send(encode(Frame(op, data, mask=key)))
        self.events.append(("message", op, data))
        self.settle()

    @precondition(lambda self: not self.they_closed)
    @rule(data=st.binary(max_size=9), last=st.booleans(), key=masks)
    def peer_sends_a_fragment(self, data: bytes, last: bool, key: bytes) -> None:
        op = CONTINUE if self.in_op else BINARY
        self.peer.send(encode(Frame(op, data, fin=last, mask=key)))
        self.in_op, self.open_in = BINARY, self.open_in + data
        if last:
            self.events.append(("message", BINARY, self.open_in))
            self.in_op, self.open_in = 0, b""
        self.settle()

    @precondition(lambda self: not self.they_closed)
    @rule(data=st.binary(max_size=125), key=masks)
    def peer_pings(self, data: bytes, key: bytes) -> None:
        self.peer.send(encode(Frame(PING, data, mask=key)))
        self.events.append(("control", PING, data))
        self.settle()
        if not self.we_closed:
            assert self.peer.frame() == Frame(PONG, data)

    @precondition(lambda self: not self.they_closed)
    @rule(code=st.sampled_from([1000, 1001, 3000, 4999]), key=masks)
    def peer_closes(self, code: int, key: bytes) -> None:
        payload = code.to_bytes(2, "big")
        self.peer.send(encode(Frame(CLOSE, payload, mask=key)))
        self.events += [("control", CLOSE, payload), ("end", 0, b"")]
        self.they_closed = True
        answers = [] if self.we_closed else [Frame(CLOSE, payload)]
        self.we_closed = True
        assert self.peer.until_the_end() == answers
        self.settle()

    @rule(op=st.sampled_from([TEXT, BINARY, PING]), data=st.binary(max_size=60), fin=st.booleans())
    def server_sends(self, op: int, data: bytes, fin: bool) -> None:
        data = data.hex().encode() if op == TEXT else data
        fin = fin or op == PING
        if self.we_closed:
            with pytest.raises(ConnectionClosed):
                self.conn.ws_send(data, op, fin=fin)
        elif self.out and op != PING:
            with pytest.raises(Error):
                self.conn.ws_send(data, op, fin=fin)
        else:
            self.conn.ws_send(data, op, fin=fin)
            assert self.peer.frame() == Frame(op, data, fin=fin)
            self.out = self.out or not fin

    @precondition(lambda self: not self.we_closed)
    @rule(data=st.binary(max_size=60), fin=st.booleans())
    def server_continues(self, data: bytes, fin: bool) -> None:
        if not self.out:
            with pytest.raises(Error):
                self.conn.ws_send(data, CONTINUE, fin=fin)
            return
        self.conn.ws_send(data, CONTINUE, fin=fin)
        assert self.peer.frame() == Frame(CONTINUE, data, fin=fin)
        self.out = not fin

    @rule(code=st.sampled_from([1000, 1011, 4000]), reason=st.text("abcé", max_size=9))
    def server_closes(self, code: int, reason: str) -> None:
        if self.ended:
            with pytest.raises(ConnectionClosed):
                self.conn.ws_close(code, reason)
            return
        self.conn.ws_close(code, reason)
        if not self.we_closed:
            assert self.peer.frame() == Frame(CLOSE, code.to_bytes(2, "big") + reason.encode())
        self.we_closed = True


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=40, stateful_step_count=25)
