"""Laws of MQTT packets and sessions, whatever is sent and however it is cut."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import mqttpackets as mp
import pytest
from conftest import pump
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from mqttpeers import Peer
from strategies import spoiled

from mongoose_py import (
    MG_EV_CLOSE,
    MG_EV_ERROR,
    MG_EV_MQTT_CMD,
    MG_EV_MQTT_MSG,
    Connection,
    Error,
    Limits,
    Manager,
    MqttMessage,
    Reconnect,
    mqtt,
    mqtt_match,
)

# -- what is drawn from -----------------------------------------------------

LEVELS = ["", "a", "b", "$", "$a", "é", "a" * 200]
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12) | st.just(
    "x" * 300
)
blobs = st.binary(max_size=20) | st.sampled_from([120, 127, 128, 16383, 16384, 40_000]).map(bytes)
topics = st.lists(st.sampled_from(LEVELS), min_size=1, max_size=4).map("/".join).filter(bool)
filters = st.tuples(
    st.sampled_from(["", "", "", "$share/g/"]),
    st.lists(st.sampled_from([*LEVELS, "+", "+"]), min_size=1, max_size=4),
    st.sampled_from(["", "", "/#"]),
).map(lambda parts: parts[0] + "/".join(parts[1]) + parts[2]).filter(mp.is_filter) | st.just("#")
ids = st.integers(1, 65535)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    mp.BYTE: st.integers(0, 1),
    mp.SHORT: st.integers(1, 65535),
    mp.INT: st.integers(1, 2**32 - 1),
    mp.VARINT: st.sampled_from([1, 127, 128, 16383, 16384, 2097151, 2097152, 268_435_455]),
    mp.STRING: texts,
    mp.BINARY: st.binary(max_size=20),
    mp.PAIR: st.tuples(texts, texts),
}


@st.composite
def properties(draw: st.DrawFn, place: int) -> tuple[tuple[int, mp.Value], ...]:
    """Return properties that a packet may have; no alias, which needs an agreement."""
    able = [n for n, (_, _, places) in mp.PROPERTIES.items() if place in places and n != 0x23]
    chosen = draw(st.lists(st.sampled_from(able), max_size=4, unique=True))
    if 0x16 in chosen and 0x15 not in chosen:
        chosen.append(0x15)
    chosen += [0x26] * draw(st.integers(0, 2)) * (0x26 in able)
    found = []
    for number in chosen:
        value = topics if number == 0x08 else _VALUES[mp.PROPERTIES[number][1]]
        found.append((number, draw(value)))
    return tuple(found)


@st.composite
def publishes(draw: st.DrawFn, version: int) -> mp.Publish:
    qos = draw(st.integers(0, 2))
    props = draw(properties(mp.PUBLISH)) if version == 5 else ()
    dup = qos > 0 and draw(st.booleans())
    number = draw(ids) if qos else 0
    return mp.Publish(draw(topics), draw(blobs), qos, number, draw(st.booleans()), dup, props)


@st.composite
def connects(draw: st.DrawFn, version: int) -> mp.Connect:
    five = version == 5
    will = None
    if draw(st.booleans()):
        will = mp.Will(
            draw(topics),
            draw(st.binary(max_size=20)),
            draw(st.integers(0, 2)),
            draw(st.booleans()),
            draw(properties(mp.WILL)) if five else (),
        )
    username = draw(st.none() | texts)
    password = draw(st.none() | st.binary(max_size=9)) if five or username is not None else None
    return mp.Connect(
        draw(texts),
        draw(st.booleans()),
        draw(st.integers(0, 65535)),
        username,
        password,
        will,
        draw(properties(mp.CONNECT)) if five else (),
        version,
    )


def requests(version: int) -> st.SearchStrategy[mp.Packet]:
    """Return what a client may send behind its CONNECT without having been asked."""
    five = version == 5
    none: st.SearchStrategy[Any] = st.just(())
    options = st.sampled_from([0, 1, 2, 0x2A, 0x18] if five else [0, 1, 2])
    return st.one_of(
        publishes(version).filter(lambda packet: all(n != 0x0B for n, _ in packet.properties)),
        st.builds(
            mp.Subscribe,
            ids,
            st.lists(st.tuples(filters, options), min_size=1, max_size=4).map(tuple),
            properties(mp.SUBSCRIBE) if five else none,
        ),
        st.builds(
            mp.Unsubscribe,
            ids,
            st.lists(filters, min_size=1, max_size=4).map(tuple),
            properties(mp.UNSUBSCRIBE) if five else none,
        ),
        st.just(mp.Pingreq()),
    )


def any_packets(version: int) -> st.SearchStrategy[mp.Packet]:
    """Return packets of every kind."""
    five = version == 5

    def props(place: int) -> st.SearchStrategy[Any]:
        return properties(place) if five else st.just(())

    codes = st.sampled_from([0, 1, 2, 0x80])
    code = st.sampled_from([0, 0x80, 0x97]) if five else st.just(0)
    present = st.builds(mp.Connack, st.just(0), st.booleans(), props(mp.CONNACK))
    return st.one_of(
        requests(version),
        connects(version),
        present,
        *[
            st.builds(mp.Ack, st.just(cmd), ids, code, props(cmd))
            for cmd in (mp.PUBACK, mp.PUBREC, mp.PUBREL, mp.PUBCOMP)
        ],
        st.builds(
            mp.Suback, ids, st.lists(codes, min_size=1, max_size=4).map(tuple), props(mp.SUBACK)
        ),
        st.builds(
            mp.Unsuback,
            ids,
            st.lists(codes, min_size=1, max_size=4).map(tuple) if five else st.just(()),
            props(mp.UNSUBACK),
        ),
        st.just(mp.Pingresp()),
        st.builds(mp.Disconnect, code, props(mp.DISCONNECT)),
        *([st.builds(mp.Auth, st.sampled_from([0, 0x18]), props(mp.AUTH))] if five else []),
    )


versions = st.sampled_from([4, 5])
versioned = versions.flatmap(lambda v: st.tuples(st.just(v), any_packets(v)))


# -- the plain codec --------------------------------------------------------


@given(versioned, st.binary(max_size=3))
def test_the_plain_codec_of_these_tests_reads_what_it_wrote(
    one: tuple[int, mp.Packet], behind: bytes
) -> None:
    version, packet = one
    wire = mp.encode(packet, version)
    assert mp.decode(wire + behind, version) == (packet, behind)
    assert mp.decode(wire[:-1], version) is None


# -- what a server makes of what it is sent ---------------------------------

Summary = tuple[Any, ...]


def seen(message: MqttMessage) -> mp.Packet | Summary:
    """Return what a handler sees of a packet as the plain codec would have it."""
    props = tuple(
        (one["id"], value_of(one, message.properties_by_name())) for one in message.properties()
    )
    if message.cmd == mp.CONNECT:
        will = message.will
        found = None
        if will is not None:
            block = tuple(
                (one["id"], value_of(one, will.properties_by_name())) for one in will.properties()
            )
            found = mp.Will(will.topic, will.message, will.qos, will.retain, block)
        return mp.Connect(
            message.client_id,
            message.clean_session,
            message.keepalive,
            message.username,
            message.password,
            found,
            props,
            message.version,
        )
    if message.cmd == mp.PUBLISH:
        return mp.Publish(
            message.topic,
            message.data,
            message.qos,
            message.id,
            message.retain,
            message.dup,
            props,
        )
    if message.cmd == mp.SUBSCRIBE:
        return mp.Subscribe(message.id, tuple(message.subscriptions), props)
    if message.cmd == mp.UNSUBSCRIBE:
        return mp.Unsubscribe(message.id, tuple(message.topics), props)
    if message.cmd == mp.PINGREQ:
        return mp.Pingreq()
    if message.cmd == mp.DISCONNECT:
        return mp.Disconnect(message.reason_codes[0], props)
    return (message.cmd, message.id, tuple(message.reason_codes), props)


def value_of(one: dict[str, Any], by_name: dict[str, Any]) -> mp.Value:
    name, form, _ = mp.PROPERTIES[one["id"]]
    if form == mp.PAIR:
        return one["key"], one["val"]
    if form == mp.STRING:
        return str(one["val"])
    if form == mp.BINARY:
        value: bytes = by_name[name]
        assert one["val"] == value.decode("utf-8", "surrogateescape")
        return value
    return int(one["iv"])


class Server:
    """Writes down what its newest client sends, and what becomes of it."""

    def __init__(self) -> None:
        self.packets: list[Any] = []
        self.errors: list[str] = []
        self.ended = False
        self.conn: Connection | None = None
        self.manager = Manager(self.handle)
        self.listener = self.manager.mqtt_listen("mqtt://127.0.0.1:0")

    def handle(self, conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_MQTT_CMD and data.cmd == mp.CONNECT:
            self.packets, self.errors, self.ended, self.conn = [], [], False, conn
            self.packets.append(seen(data))
            conn.mqtt_connack()
        elif conn is not self.conn:
            return
        elif ev == MG_EV_MQTT_CMD:
            self.packets.append(seen(data))
        elif ev == MG_EV_ERROR:
            self.errors.append(data)
        elif ev == MG_EV_CLOSE:
            self.ended = True

    def receive(
        self,
        connect: mp.Connect,
        wire: bytes,
        cuts: set[int] = frozenset(),  # type: ignore[assignment]
    ) -> list[Any]:
        """Return the packets seen when *wire* comes in pieces, then the end of the stream."""
        self.conn = None
        with Peer.of(self.manager, self.listener, connect.version) as peer:
            peer.send(connect)
            peer.packet()
            at = 0
            for cut in [*sorted(cut for cut in cuts if 0 < cut < len(wire)), len(wire)]:
                peer.send(wire[at:cut])
                self.manager.poll(0)
                self.manager.poll(0)
                at = cut
            with suppress(OSError):  # they may have hung up before
                peer.sock.shutdown(socket.SHUT_WR)
            pump(self.manager, lambda: self.ended, 2)
        return self.packets[1:]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    one = Server()
    with one.manager:
        yield one


def plain_connect(version: int) -> mp.Connect:
    return mp.Connect("c", keepalive=0, version=version)


@settings(max_examples=100)
@given(versions.flatmap(connects))
def test_a_connect_shows_what_it_says(server: Server, connect: mp.Connect) -> None:
    assume(not any(number in (0x21, 0x27) for number, _ in connect.properties))
    server.receive(connect, b"")
    assert server.packets == [connect]
    assert server.errors == []


@settings(max_examples=100)
@given(
    versions.flatmap(lambda v: st.tuples(st.just(v), st.lists(requests(v), max_size=5))),
    st.sets(st.integers(1, 600), max_size=12),
)
def test_packets_come_as_they_were_sent_however_the_stream_is_cut(
    server: Server, said: tuple[int, list[mp.Packet]], cuts: set[int]
) -> None:
    version, packets = said
    used: set[int] = set()  # a message of QoS 2 is no second one while the first is open
    for packet in packets:
        if isinstance(packet, mp.Publish) and packet.qos == 2:
            assume(packet.id not in used)
            used.add(packet.id)
    wire = b"".join(mp.encode(packet, version) for packet in packets)
    assert server.receive(plain_connect(version), wire, cuts) == packets
    assert server.errors == []


def from_client(packet: mp.Packet) -> bool:
    """Whether a client may send it at this moment."""
    if isinstance(packet, mp.Publish):
        return all(number not in (0x23, 0x0B) for number, _ in packet.properties)
    return isinstance(
        packet, (mp.Subscribe, mp.Unsubscribe, mp.Pingreq, mp.Disconnect)
    )  # acknowledgements are left out: nothing awaits them


@settings(max_examples=300)
@given(
    versioned.flatmap(lambda one: st.tuples(st.just(one[0]), spoiled(mp.encode(one[1], one[0]))))
)
@example((4, b"\xd0\xd0\x00"))
@example((5, b"\xd0\xd0\x00"))
@example((4, b"\xe0\x00"))
@example((5, b"\xe0\x01\x04"))
@example((5, b"\xe0\x02\x00\x00"))
@example((4, b"\x30\x03\0\x01a"))
@example((5, b"\x30\x07\0\x01a\x03\x0b\x80\x01"))
def test_a_spoiled_packet_is_taken_or_refused_as_the_plain_codec_does(
    server: Server, one: tuple[int, bytes]
) -> None:
    version, wire = one
    try:
        found = mp.decode(wire, version)
    except mp.Malformed:
        got = server.receive(plain_connect(version), wire)
        assert (got, len(server.errors)) == ([], 1)
        return
    if found is None:
        assert server.receive(plain_connect(version), wire) == []
        return
    packet, _ = found
    got = server.receive(plain_connect(version), wire[: len(wire) - len(found[1])])
    if from_client(packet):
        assert (got, server.errors) == ([packet], [])
    elif not isinstance(packet, (mp.Ack, mp.Auth, mp.Publish)):
        assert (got, len(server.errors)) == ([], 1)


@settings(max_examples=60)
@given(versions.flatmap(lambda v: st.tuples(st.just(v), requests(v))), st.data())
def test_every_proper_prefix_of_a_packet_asks_for_more(
    server: Server, one: tuple[int, mp.Packet], data: st.DataObject
) -> None:
    version, packet = one
    wire = mp.encode(packet, version)
    end = data.draw(st.integers(0, len(wire) - 1))
    assert server.receive(plain_connect(version), wire[:end]) == []
    assert server.errors == []


@settings(max_examples=150)
@given(versions, st.lists(st.binary(max_size=20), max_size=4).map(b"".join))
@example(5, b"\xf0\x00")
@example(4, b"\x62\x02\x00\x01" * 2)
def test_any_bytes_give_packets_and_then_at_most_one_error(
    server: Server, version: int, wire: bytes
) -> None:
    server.receive(plain_connect(version), wire)
    assert len(server.errors) <= 1


# -- what Python reads and writes -------------------------------------------


@given(st.sampled_from([mp.PUBLISH, mp.CONNECT, mp.WILL, mp.CONNACK]).flatmap(properties))
def test_properties_are_read_as_they_were_written(
    given_ones: tuple[tuple[int, mp.Value], ...],
) -> None:
    pairs = [(mp.PROPERTIES[number][0], value) for number, value in given_ones]
    block = mqtt.properties_block(pairs)
    assert mp.varint(len(block)) + block == mp.properties_block(given_ones)
    assert tuple(mqtt._read_properties(mqtt._Reader(block))) == given_ones


@given(st.integers(0, 268_435_455))
def test_variable_integers_are_those_of_the_plain_codec(number: int) -> None:
    assert mqtt.varint(number) == mp.varint(number)


raw_filters = st.lists(
    st.sampled_from(["a", "/", "/", "+", "#", "$share/", "$", "é", "$share"]), max_size=7
).map("".join)


@settings(max_examples=500)
@given(filters | raw_filters, topics)
@example("#", "$SYS/a")
@example("+/a", "$SYS/a")
@example("$SYS/#", "$SYS/a")
@example("a/#", "a")
@example("+", "/a")
@example("/+", "/a")
@example("$share/g/#", "$SYS/a")
def test_topics_are_matched_as_level_by_level_on_paper(topic_filter: str, topic: str) -> None:
    expected = mp.is_filter(topic_filter) and mp.matches(topic_filter, topic)
    assert mqtt_match(topic_filter, topic) == expected


@settings(max_examples=500)
@given(filters | raw_filters)
def test_filters_are_those_of_the_specification(text: str) -> None:
    assert mqtt.is_filter(text) == mp.is_filter(text)


@pytest.mark.parametrize("args", [(5, "a"), ("a", 5), (b"a", "a"), ("a", None)])
def test_only_texts_are_matched(args: Any) -> None:
    with pytest.raises(TypeError, match="str"):
        mqtt_match(*args)


# -- a session, against a plain model ---------------------------------------


class Outgoing:
    """A message as the model has it."""

    def __init__(self, number: int, payload: bytes, qos: int) -> None:
        self.id, self.payload, self.qos = number, payload, qos
        self.state = "waiting"  # then "sent", and for QoS 2 "released"


class Session(RuleBasedStateMachine):
    """A client's session does what a list of messages with their states would do."""

    def __init__(self) -> None:
        super().__init__()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.peer: Peer | None = None
        self.out: list[Outgoing] = []
        self.received: set[int] = set()  # messages of QoS 2 that came and were not released
        self.got: list[bytes] = []
        self.expected: list[bytes] = []
        self.count = 0

    def handle(self, conn: Connection, ev: int, message: Any) -> None:
        self.got.append(message.data)

    @initialize(version=versions, window=st.sampled_from([1, 2, 5, 65535]))
    def begin(self, version: int, window: int) -> None:
        self.version, self.window = version, window
        limits = Limits(mqtt_inflight=window)  # of 3.1.1; 5.0 announces it
        self.manager = Manager(self.handle, events=[MG_EV_MQTT_MSG], limits=limits)
        self.session: Any = self.manager.mqtt_connect(
            f"mqtt://127.0.0.1:{self.server.getsockname()[1]}",
            client_id="c",
            clean_session=False,
            keepalive=0,
            version=version,
            reconnect=Reconnect(0.0005, 0.001),
        ).mqtt_session
        self.connect(False)

    def teardown(self) -> None:
        if self.peer is not None:
            self.peer.close()
        self.server.close()
        self.manager.close()

    def connect(self, present: bool) -> None:
        self.peer = Peer.accepted(self.manager, self.server, self.version)
        assert isinstance(self.peer.packet(), mp.Connect)
        self.peer.send(mp.Connack(0, present, ((0x21, self.window),)))
        pump(self.manager, lambda: self.session.state == "open")

    # What the model expects on the wire.

    def may_send(self) -> list[Outgoing]:
        """Take waiting messages that the window has room for."""
        flying = sum(one.state != "waiting" for one in self.out)
        sent = []
        for one in self.out:
            if one.state == "waiting" and flying < self.window:
                one.state = "sent"
                flying += 1
                sent.append(one)
        return sent

    def expect(self, fresh: list[Outgoing], dup: bool = False) -> None:
        assert self.peer is not None
        for one in fresh:
            assert self.peer.packet() == mp.Publish("t", one.payload, one.qos, one.id, dup=dup)

    def nothing_else(self) -> None:
        """Check that no packet has come that nobody expected."""
        assert self.peer is not None
        for _ in range(2):
            self.manager.poll(0)
            self.peer.receive()
        assert self.peer.wire == b""
        assert self.session.pending == len(self.out)
        assert self.got == self.expected

    @rule(qos=st.sampled_from([1, 1, 2, 2]))
    def publish(self, qos: int) -> None:
        self.count += 1
        payload = str(self.count).encode()
        number = self.session.mqtt_pub("t", payload, qos)
        assert number not in {one.id for one in self.out}
        self.out.append(Outgoing(number, payload, qos))
        if self.peer is not None:
            self.expect(self.may_send())
            self.nothing_else()

    @rule()
    def publish_without_acknowledgement(self) -> None:
        if self.peer is None:
            with pytest.raises(Error):
                self.session.mqtt_pub("t", b"0", 0)
            return
        assert self.session.mqtt_pub("t", b"0", 0) == 0
        assert self.peer.packet() == mp.Publish("t", b"0")

    @precondition(lambda self: self.peer is not None and self.out)
    @rule(data=st.data())
    def peer_acknowledges(self, data: st.DataObject) -> None:
        assert self.peer is not None
        flying = [one for one in self.out if one.state != "waiting"]
        one = data.draw(st.sampled_from(flying))
        if one.qos == 2 and one.state == "sent":
            self.peer.send(mp.Ack(mp.PUBREC, one.id))
            one.state = "released"
            assert self.peer.packet() == mp.Ack(mp.PUBREL, one.id)
        else:
            self.peer.send(mp.Ack(mp.PUBACK if one.qos == 1 else mp.PUBCOMP, one.id))
            self.out.remove(one)
            self.expect(self.may_send())
        pump(self.manager, lambda: self.session.pending == len(self.out))
        self.nothing_else()

    @precondition(lambda self: self.peer is not None)
    @rule(number=st.integers(1, 3), dup=st.booleans())
    def peer_publishes(self, number: int, dup: bool) -> None:
        assert self.peer is not None
        self.count += 1
        payload = str(self.count).encode()
        self.peer.send(mp.Publish("in", payload, 2, number, dup=dup))
        if number not in self.received:
            self.expected.append(payload)
            self.received.add(number)
        assert self.peer.packet() == mp.Ack(mp.PUBREC, number)
        self.nothing_else()

    @precondition(lambda self: self.peer is not None)
    @rule(number=st.integers(1, 3))
    def peer_releases(self, number: int) -> None:
        assert self.peer is not None
        self.peer.send(mp.Ack(mp.PUBREL, number))
        known = number in self.received or self.version == 4
        self.received.discard(number)
        assert self.peer.packet() == mp.Ack(mp.PUBCOMP, number, 0 if known else 0x92)
        self.nothing_else()

    @precondition(lambda self: self.peer is not None)
    @rule()
    def cut(self) -> None:
        assert self.peer is not None
        self.peer.close()
        self.peer = None
        pump(self.manager, lambda: self.session.state != "open")

    @precondition(lambda self: self.peer is None)
    @rule()
    def come_back_to_a_server_that_knows(self) -> None:
        self.connect(True)
        assert self.peer is not None
        again = [one for one in self.out if one.state == "sent"]
        released = [one.id for one in self.out if one.state == "released"]
        packets = self.peer.packets(len(again) + len(released))
        assert [p for p in packets if isinstance(p, mp.Publish)] == [
            mp.Publish("t", one.payload, one.qos, one.id, dup=True) for one in again
        ]
        assert sorted(p.id for p in packets if isinstance(p, mp.Ack)) == sorted(released)
        self.expect(self.may_send())
        self.nothing_else()

    @precondition(lambda self: self.peer is None)
    @rule()
    def come_back_to_a_server_that_has_forgotten(self) -> None:
        self.connect(False)
        assert self.peer is not None
        self.received.clear()
        self.out = [one for one in self.out if one.state != "released"]
        for one in self.out:
            one.state = "waiting"
        for one in self.may_send():
            packet = self.peer.packet()
            one.id = packet.id
            assert packet == mp.Publish("t", one.payload, one.qos, one.id)
        self.nothing_else()


TestSession = Session.TestCase
TestSession.settings = settings(max_examples=40, stateful_step_count=30)
