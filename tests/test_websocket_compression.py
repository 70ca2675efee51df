"""permessage-deflate, RFC 7692, on both sides."""

from __future__ import annotations

import gc
import random
import zlib
from typing import Any, Callable

import pytest
from conftest import dial, pump, url_of
from wsecho import Echo, serving
from wsframes import (
    BINARY,
    CLOSE,
    CONTINUE,
    PING,
    TEXT,
    Frame,
    Peer,
    binary,
    decode,
    encode,
    handshake,
    text,
)

from mongoose_py import (
    MG_EV_CLOSE,
    MG_EV_ERROR,
    MG_EV_WS_MSG,
    MG_EV_WS_OPEN,
    WEBSOCKET_OP_BINARY,
    Connection,
    Error,
    Limits,
    Manager,
)

Make = Callable[..., Manager]


def deflated(data: bytes, op: int = TEXT, **kwargs: Any) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    payload = packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)
    return encode(Frame(op, payload[:-4], rsv=4, mask=b"abcd", **kwargs))


def inflated(frames: list[Frame]) -> list[bytes]:
    inflater = zlib.decompressobj(-15)
    return [inflater.decompress(f.payload + b"\x00\x00\xff\xff") for f in frames]


OFFER = "Sec-WebSocket-Extensions: permessage-deflate"


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        ("permessage-deflate", "permessage-deflate"),
        ("permessage-deflate; client_max_window_bits", "permessage-deflate"),
        ("permessage-deflate; client_max_window_bits=9", "permessage-deflate"),
        (
            'x-webkit, permessage-deflate; server_max_window_bits="10"',
            "permessage-deflate; server_max_window_bits=10",
        ),
        (
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ),
        ("permessage-deflate; what=1, permessage-deflate", "permessage-deflate"),
        ("permessage-deflate; server_max_window_bits=16", None),
        ("permessage-deflate; a; a", None),
        ("x-other", None),
    ],
)
def test_an_offer_is_answered_with_what_was_agreed(
    make_manager: Make, offer: str, answer: str | None
) -> None:
    manager, listener, _ = serving(make_manager, upgrade={"compression": True})
    with Peer(manager, dial(listener)) as peer:
        peer.send(handshake(f"Sec-WebSocket-Extensions: {offer}"))
        found = [x for x in peer.head().split("\r\n") if x.startswith("Sec-WebSocket-Ext")]
        assert found == ([f"Sec-WebSocket-Extensions: {answer}"] if answer else [])


def test_compression_is_off_unless_both_sides_want_it(make_manager: Make) -> None:
    for lines, compression in (([OFFER], False), ([], True)):
        upgrade = {"compression": compression}
        manager, listener, _ = serving(make_manager, upgrade=upgrade)
        with Peer.of(manager, listener, *lines) as peer:
            peer.send(deflated(b"x"))
            assert peer.until_the_end() == [Frame(CLOSE, b"\x03\xea")]


def test_compressed_messages_come_in_and_go_out(make_manager: Make) -> None:
    manager, listener, echo = serving(make_manager, upgrade={"compression": True})
    with Peer.of(manager, listener, OFFER) as peer:
        data = b"again and again and " * 50
        peer.send(deflated(data), deflated(data, BINARY), text("plain"))
        frames = [peer.frame() for _ in range(3)]
        assert [f.rsv for f in frames] == [4, 4, 0]
        assert inflated(frames[:2]) == [data, data]
        assert len(frames[1].payload) < len(frames[0].payload) < 60  # the window is kept
        assert frames[2] == Frame(TEXT, b"plain")
    assert echo.messages == [(TEXT, data), (BINARY, data), (TEXT, b"plain")]


def test_a_compressed_message_may_come_in_fragments(make_manager: Make) -> None:
    manager, listener, echo = serving(make_manager, upgrade={"compression": True})
    with Peer.of(manager, listener, OFFER) as peer:
        whole = decode(deflated(b"in two parts"))
        assert whole is not None
        payload = whole[0].payload
        peer.send(encode(Frame(TEXT, payload[:5], fin=False, rsv=4, mask=b"abcd")))
        peer.send(binary(b"", PING))
        peer.send(encode(Frame(CONTINUE, payload[5:], mask=b"abcd")))
        pump(manager, lambda: echo.messages)
    assert echo.messages == [(TEXT, b"in two parts")]


def test_a_window_that_is_not_kept_starts_anew_with_each_message(make_manager: Make) -> None:
    manager, listener, _ = serving(make_manager, upgrade={"compression": True})
    offer = f"{OFFER}; server_no_context_takeover; client_no_context_takeover"
    with Peer.of(manager, listener, offer) as peer:
        data = bytes(range(200))
        peer.send(deflated(data, BINARY), deflated(data, BINARY))
        frames = [peer.frame(), peer.frame()]
    assert [inflated([f]) for f in frames] == [[data], [data]]


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (deflated(bytes(1_000_000), BINARY), 1009),
        (encode(Frame(BINARY, b"\xff\xff\xff", rsv=4, mask=b"abcd")), 1007),
        (deflated(b"\xff\xfe"), 1007),
        (encode(Frame(BINARY, b"\x03\x00" * 20, rsv=4, mask=b"abcd")), 1007),
        (encode(Frame(CONTINUE, b"", rsv=4, mask=b"abcd")), 1002),
        (encode(Frame(PING, b"", rsv=4, mask=b"abcd")), 1002),
        (
            encode(Frame(TEXT, b"a", fin=False, rsv=4, mask=b"abcd"))
            + encode(Frame(CONTINUE, b"b", rsv=4, mask=b"abcd")),  # RSV1 is of first frames
            1002,
        ),
    ],
)
def test_bombs_and_garbage_are_refused(make_manager: Make, wire: bytes, code: int) -> None:
    upgrade = {"compression": True}
    limits = Limits(ws_message=100_000)
    manager, listener, echo = serving(make_manager, upgrade=upgrade, limits=limits)
    with Peer.of(manager, listener, OFFER) as peer:
        peer.send(wire)
        assert peer.until_the_end() == [Frame(CLOSE, code.to_bytes(2, "big"))]
        pump(manager, echo.saw(MG_EV_CLOSE))
    assert echo.messages == []
    assert len(echo.data(MG_EV_ERROR)) == 1


def test_a_message_that_ends_its_deflate_stream_is_taken(make_manager: Make) -> None:
    manager, listener, echo = serving(make_manager, upgrade={"compression": True})
    packer = zlib.compressobj(wbits=-15)
    payload = packer.compress(b"final") + packer.flush(zlib.Z_FINISH) + b"\x00"
    with Peer.of(manager, listener, OFFER) as peer:
        peer.send(encode(Frame(TEXT, payload, rsv=4, mask=b"abcd")), deflated(b"next"))
        pump(manager, lambda: len(echo.messages) == 2)
    assert echo.messages == [(TEXT, b"final"), (TEXT, b"next")]


def test_a_message_that_was_not_sent_is_not_in_the_window(make_manager: Make) -> None:
    limits = Limits(send_backlog=3000)
    upgrade = {"compression": True}
    manager, listener, echo = serving(make_manager, upgrade=upgrade, limits=limits)
    with Peer.of(manager, listener, OFFER) as peer:
        conn = echo.conn
        assert conn is not None
        data = random.Random(1).randbytes(8000)  # cannot be made smaller
        with pytest.raises(Error, match="limit"):
            conn.ws_send(data, WEBSOCKET_OP_BINARY)
        conn.ws_send(data[:1000], WEBSOCKET_OP_BINARY)
        frame = peer.frame()
        assert inflated([frame]) == [data[:1000]]


def test_a_client_of_ours_and_a_server_of_ours_compress(make_manager: Make) -> None:
    echo = Echo(compression=True)
    manager = make_manager()
    url = url_of(manager.listen("http://127.0.0.1:0", echo), "ws")
    texts = ["", "short", "long and " * 1000, "long and " * 1000]
    seen: list[str] = []

    def client(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_WS_OPEN:
            for one in texts:
                conn.ws_send(one)
        elif ev == MG_EV_WS_MSG:
            seen.append(data.text)

    manager.ws_connect(url, client, compression=True)
    pump(manager, lambda: len(seen) == len(texts))
    assert seen == texts


# -- lifetimes -----------------------------------------------------------------


def test_closed_websockets_leave_nothing_behind(make_manager: Make) -> None:
    manager, listener, echo = serving(make_manager, upgrade={"compression": True})
    echo.calls = _Forgetful()
    for _ in range(20):
        with Peer.of(manager, listener, OFFER) as peer:
            peer.send(deflated(b"x" * 200))
            peer.frame()
    pump(manager, lambda: len(manager.connections) == 1)
    echo.conn = None
    gc.collect()
    alive = [o for o in gc.get_objects() if type(o) is Connection and o is not listener]
    assert [o for o in alive if o.id] == []


class _Forgetful(list):  # type: ignore[type-arg]
    """A list that keeps nothing."""

    def append(self, item: object) -> None:
        pass
