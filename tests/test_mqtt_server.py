"""MQTT servers (OASIS MQTT 3.1.1 and 5.0), beside clients that are scripts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Callable

import mqttpackets as mp
import pytest
from conftest import Recorder, dial, pump, url_of
from mqttpeers import Peer
from mqtttalk import ROOM

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
)


class Server(Recorder):
    """Writes down a summary of each packet; welcomes everybody unless told otherwise."""

    def __init__(self, look: Callable[[Connection, MqttMessage], object] | None = None) -> None:
        super().__init__()
        self.look = look
        self.looked: list[Any] = []
        self.welcome = True

    def __call__(self, conn: Connection, ev: int, data: Any) -> None:
        kept = data
        if isinstance(data, MqttMessage):
            kept = (data.cmd, data.topic, data.data, data.id)
            if self.look is not None and ev == MG_EV_MQTT_CMD:
                self.looked.append(self.look(conn, data))
            if ev == MG_EV_MQTT_CMD and data.cmd == mp.CONNECT and self.welcome:
                conn.mqtt_connack()
        self.calls.append((conn, ev, kept))

    def commands(self) -> list[int]:
        """Return the packets' numbers in order."""
        return [data[0] for data in self.data(MG_EV_MQTT_CMD)]


@pytest.fixture
def listening(make_manager: Callable[..., Manager]) -> Iterator[Callable[..., Any]]:
    """Return a function that listens: the manager and a function that makes script clients."""
    with ExitStack() as stack:

        def listen(handler: Any, limits: Limits | None = None) -> Any:
            manager = make_manager(limits=limits)
            listener = manager.mqtt_listen("mqtt://127.0.0.1:0", handler)

            def client(version: int = 4, **fields: Any) -> Peer:
                peer = stack.enter_context(Peer.of(manager, listener, version))
                if fields.pop("connect", True):
                    fields.setdefault("client_id", "c")
                    peer.send(mp.Connect(version=version, **fields))
                return peer

            return manager, client

        yield listen


def welcome(peer: Peer, present: bool = False) -> None:
    """Read the CONNACK."""
    assert peer.packet() == mp.Connack(0, present, (ROOM,) if peer.version == 5 else ())


def welcomed(client: Callable[..., Peer], version: int = 4, **fields: Any) -> Peer:
    peer = client(version, **fields)
    welcome(peer)
    return peer


# -- CONNECT ----------------------------------------------------------------


def test_a_connect_shows_all_it_says(listening: Callable[..., Any], version: int) -> None:
    def look(conn: Connection, message: MqttMessage) -> Any:
        will = message.will
        assert will is not None
        return (
            (message.cmd, message.version, message.client_id, message.clean_session),
            (message.username, message.password, message.keepalive),
            (will.topic, will.message, will.qos, will.retain, will.properties_by_name()),
            message.properties_by_name(),
        )

    server = Server(look)
    _, client = listening(server)
    five = version == 5
    client(
        version,
        client_id="é",
        clean=False,
        username="me",
        password=b"\xff\0",
        keepalive=300,
        properties=((0x21, 7), (0x26, ("a", "b"))),
        will=mp.Will("w", b"gone", 2, True, ((0x18, 9), (0x09, b"\0"))),
    ).packet()
    assert server.looked == [
        (
            (1, version, "é", False),
            ("me", b"\xff\0", 300),
            (
                "w",
                b"gone",
                2,
                True,
                {"will_delay_interval": 9, "correlation_data": b"\0"} if five else {},
            ),
            {"receive_maximum": 7, "user_property": [("a", "b")]} if five else {},
        )
    ]


def test_a_connect_with_little_shows_that_the_rest_is_not_there(
    listening: Callable[..., Any],
) -> None:
    server = Server(lambda _, m: (m.client_id, m.username, m.password, m.will, m.properties()))
    _, client = listening(server)
    client(client_id="").packet()
    assert server.looked == [("", None, None, None, [])]


def test_a_connack_may_be_sent_as_bytes(listening: Callable[..., Any]) -> None:
    server = Server(lambda conn, m: m.cmd == mp.CONNECT and conn.send(b"\x20\x02\x00\x00"))
    server.welcome = False
    _, client = listening(server)
    peer = welcomed(client)
    peer.send(mp.Publish("a", b"x", 1, 7))
    assert peer.packet() == mp.Ack(mp.PUBACK, 7)
    (conn,) = {*server.conns(MG_EV_MQTT_MSG)}
    conn.mqtt_pub("b", "y")
    assert peer.packet() == mp.Publish("b", b"y")


def test_a_refusal_ends_the_connection(listening: Callable[..., Any], version: int) -> None:
    code = 0x87 if version == 5 else 5
    server = Server(lambda conn, m: conn.mqtt_connack(code))
    server.welcome = False
    manager, client = listening(server)
    assert client(version).until_the_end() == [mp.Connack(code)]
    pump(manager, server.saw(MG_EV_CLOSE))


def test_a_connack_of_version_5_has_properties(listening: Callable[..., Any]) -> None:
    answer = {"assigned_client_identifier": "x", "server_keep_alive": 5}
    server = Server(lambda conn, m: conn.mqtt_connack(0, False, answer))
    server.welcome = False
    _, client = listening(server)
    assert client(5, client_id="").packet() == mp.Connack(0, False, ((0x12, "x"), (0x13, 5), ROOM))


@pytest.mark.parametrize(
    "call",
    [
        lambda conn: conn.mqtt_connack(6),
        lambda conn: conn.mqtt_connack(256),
        lambda conn: conn.mqtt_connack(-1),
        lambda conn: conn.mqtt_connack(0, False, {"server_keep_alive": 5}),
        lambda conn: conn.mqtt_connack(5, True),
    ],
)
def test_a_connack_that_cannot_be_sent_raises(
    listening: Callable[..., Any], call: Callable[[Connection], object]
) -> None:
    def look(conn: Connection, message: MqttMessage) -> None:
        with pytest.raises((ValueError, OverflowError)):
            call(conn)

    _, client = listening(Server(look))
    welcomed(client)


def test_only_a_connect_is_answered_by_a_connack(listening: Callable[..., Any]) -> None:
    server = Server()
    _, client = listening(server)
    welcomed(client)
    (conn,) = server.conns(MG_EV_MQTT_CMD)
    with pytest.raises(Error, match="CONNECT"):
        conn.mqtt_connack()


def test_nothing_is_published_before_the_connack(listening: Callable[..., Any]) -> None:
    def look(conn: Connection, message: MqttMessage) -> None:
        with pytest.raises(Error, match="CONNECT"):
            conn.mqtt_pub("a", "x")

    _, client = listening(Server(look))
    welcomed(client)


@pytest.mark.parametrize(
    "wire",
    [
        b"\xc0\x00",  # PINGREQ first
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x10\x0c\0\x04MQTT\x04\x01\0\0\0\0",  # the reserved flag
        b"\x10\x0c\0\x04MQTX\x04\x02\0\0\0\0",
        b"\x10\x0c\0\x04MQTT\x04\x08\0\0\0\0",  # a QoS without a will
        b"\x10\x0c\0\x04MQTT\x04\x42\0\0\0\0",  # a password without a user
        b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\0x",  # a byte too many
        b"\x12\x0c\0\x04MQTT\x04\x02\0\0\0\0",  # flags
    ],
    ids=bytes.hex,
)
def test_whoever_does_not_begin_with_a_connect_is_sent_away(
    listening: Callable[..., Any], wire: bytes
) -> None:
    server = Server()
    manager, client = listening(server)
    peer = client(connect=False)
    peer.send(wire)
    assert peer.until_the_end() == []
    pump(manager, server.saw(MG_EV_CLOSE))
    assert server.commands() == []
    assert len(server.data(MG_EV_ERROR)) == 1


def test_a_connect_of_a_level_nobody_knows_is_for_the_handler_to_answer(
    listening: Callable[..., Any],
) -> None:
    server = Server(lambda conn, m: (m.version, m.client_id, conn.mqtt_connack(1)))
    server.welcome = False
    _, client = listening(server)
    peer = client(connect=False)
    peer.send(b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x3c\0\x01c")
    assert peer.until_the_end() == [mp.Connack(1)]
    assert server.looked == [(3, "", None)]


def test_a_second_connect_ends_the_connection(listening: Callable[..., Any], version: int) -> None:
    server = Server()
    manager, client = listening(server)
    peer = welcomed(client, version)
    peer.send(mp.Connect("c", version=version))
    said = peer.until_the_end()
    assert said == ([mp.Disconnect(0x82)] if version == 5 else [])
    pump(manager, server.saw(MG_EV_CLOSE))


def test_a_client_that_sends_no_connect_is_sent_away(listening: Callable[..., Any]) -> None:
    server = Server()
    _, client = listening(server, Limits(mqtt_connect_timeout=0.05))
    peer = client(connect=False)
    peer.send(b"\x10")
    assert peer.until_the_end() == []
    assert len(server.data(MG_EV_ERROR)) == 1


# To the second this is tested in C, on a clock of the test's.
@pytest.mark.parametrize("poller", ["epoll"], indirect=True)
def test_a_client_silent_for_one_and_a_half_times_its_keep_alive_is_gone(
    listening: Callable[..., Any],
) -> None:
    server = Server()
    _, client = listening(server)
    peers = [welcomed(client, version, keepalive=1) for version in (4, 5)]
    assert [peer.until_the_end() for peer in peers] == [[], [mp.Disconnect(0x8D)]]
    assert len(server.data(MG_EV_ERROR)) == 2


# -- packets ----------------------------------------------------------------


def test_every_packet_is_a_command_behind_its_own_event(
    listening: Callable[..., Any], version: int
) -> None:
    server = Server()
    manager, client = listening(server)
    peer = welcomed(client, version)
    peer.send(
        mp.Subscribe(1, (("a", 0),)),
        mp.Publish("a", b"x"),
        mp.Publish("b", b"y", 1, 2),
        mp.Pingreq(),
        mp.Unsubscribe(3, ("a",)),
        mp.Disconnect(),
    )
    assert peer.until_the_end() == [mp.Ack(mp.PUBACK, 2)]
    pump(manager, server.saw(MG_EV_CLOSE))
    names = [name for name in server.names() if name.startswith("MQTT")]
    assert names == ["MQTT_CMD", "MQTT_CMD", *["MQTT_MSG", "MQTT_CMD"] * 2, *["MQTT_CMD"] * 3]
    assert server.commands() == [1, 8, 3, 3, 12, 10, 14]
    assert server.data(MG_EV_ERROR) == []


def test_filters_of_subscribe_and_unsubscribe_are_readable_and_answered(
    listening: Callable[..., Any], version: int
) -> None:
    def look(conn: Connection, message: MqttMessage) -> Any:
        if message.cmd == mp.SUBSCRIBE:
            conn.mqtt_suback(message.id, [2, 0x80])
        if message.cmd == mp.UNSUBSCRIBE:
            conn.mqtt_unsuback(message.id, [0, 0x11])
        return message.subscriptions, message.topics, message.properties_by_name()

    server = Server(look)
    _, client = listening(server)
    peer = welcomed(client, version)
    five = version == 5
    options = 0b101110 if five else 2
    peer.send(mp.Subscribe(7, (("a/+", options), ("é/#", 0)), ((0x0B, 200),)))
    assert peer.packet() == mp.Suback(7, (2, 0x80))
    peer.send(mp.Unsubscribe(8, ("a/+", "é/#")))
    assert peer.packet() == mp.Unsuback(8, (0, 0x11) if five else ())
    assert server.looked[1:] == [
        ([("a/+", options), ("é/#", 0)], [], {"subscription_identifier": [200]} if five else {}),
        ([], ["a/+", "é/#"], {}),
    ]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda conn: conn.mqtt_suback(7, []), ValueError),
        (lambda conn: conn.mqtt_suback(7, [3]), ValueError),
        (lambda conn: conn.mqtt_suback(7, [256]), ValueError),
        (lambda conn: conn.mqtt_suback(0, [0]), ValueError),
        (lambda conn: conn.mqtt_suback(65536, [0]), ValueError),
        (lambda conn: conn.mqtt_suback(7, 1), TypeError),
        (lambda conn: conn.mqtt_suback(7, [0], {"content_type": "x"}), ValueError),
    ],
)
def test_answers_that_cannot_be_sent_raise(
    listening: Callable[..., Any],
    call: Callable[[Connection], object],
    error: type[Exception],
) -> None:
    def look(conn: Connection, message: MqttMessage) -> None:
        if message.cmd == mp.SUBSCRIBE:
            with pytest.raises(error):
                call(conn)
            conn.mqtt_suback(message.id, [0])

    _, client = listening(Server(look))
    peer = welcomed(client)
    peer.send(mp.Subscribe(7, (("a", 0),)))
    assert peer.packet() == mp.Suback(7, (0,))


def test_a_ping_is_for_the_handler_to_answer(listening: Callable[..., Any]) -> None:
    _, client = listening(Server(lambda conn, m: m.cmd == mp.PINGREQ and conn.mqtt_pong()))
    peer = welcomed(client)
    peer.send(mp.Pingreq())
    assert peer.packet() == mp.Pingresp()


def test_what_only_a_client_may_send_a_server_cannot(listening: Callable[..., Any]) -> None:
    server = Server()
    _, client = listening(server)
    peer = welcomed(client)
    (conn,) = server.conns(MG_EV_MQTT_CMD)
    for call in (lambda: conn.mqtt_sub("a"), lambda: conn.mqtt_unsub("a"), conn.mqtt_ping):
        with pytest.raises(Error):
            call()
    conn.mqtt_disconnect()
    assert peer.until_the_end() == []  # 3.1.1 has no DISCONNECT from servers


def test_a_server_of_version_5_says_why_it_leaves(listening: Callable[..., Any]) -> None:
    server = Server()
    _, client = listening(server)
    peer = welcomed(client, 5)
    (conn,) = server.conns(MG_EV_MQTT_CMD)
    conn.mqtt_disconnect(0x8B, {"reason_string": "closing"})
    assert peer.until_the_end() == [mp.Disconnect(0x8B, ((0x1F, "closing"),))]


@pytest.mark.parametrize(
    "wire",
    [
        b"\x82\x05\0\x01\0\x00\0",  # an empty filter
        b"\x82\x02\0\x01",  # no filter
        b"\x82\x06\0\0\0\x01a\0",  # packet identifier 0
        b"\x82\x06\0\x01\0\x01a\x03",  # QoS 3
        b"\x82\x07\0\x01\0\x02a#\0",
        b"\x80\x06\0\x01\0\x01a\0",  # flags
        b"\xa2\x02\0\x01",
        b"\x20\x02\0\0",  # CONNACK, from a client
        b"\x90\x03\0\x01\0",  # SUBACK
        b"\xd0\x00",  # PINGRESP
        b"\xe0\x01\0",  # DISCONNECT with a body
        b"\x40\x01\0",
        b"\x60\x02\0\x01",  # PUBREL without its flags
    ],
    ids=bytes.hex,
)
def test_a_client_that_breaks_the_protocol_is_sent_away(
    listening: Callable[..., Any], wire: bytes
) -> None:
    server = Server()
    manager, client = listening(server)
    peer = welcomed(client)
    peer.send(wire)
    assert peer.until_the_end() == []
    pump(manager, server.saw(MG_EV_CLOSE))
    assert server.commands() == [1]
    assert len(server.data(MG_EV_ERROR)) == 1


# -- publishing -------------------------------------------------------------


def test_a_server_publishes_with_every_qos(listening: Callable[..., Any], version: int) -> None:
    server = Server()
    _, client = listening(server)
    peer = welcomed(client, version)
    (conn,) = server.conns(MG_EV_MQTT_CMD)
    ids = [conn.mqtt_pub("a", str(qos), qos, retain=qos == 1) for qos in (0, 1, 2)]
    assert ids[0] == 0
    assert peer.packets(3) == [
        mp.Publish("a", b"0"),
        mp.Publish("a", b"1", 1, ids[1], True),
        mp.Publish("a", b"2", 2, ids[2]),
    ]
    peer.send(mp.Ack(mp.PUBACK, ids[1]), mp.Ack(mp.PUBREC, ids[2]))
    assert peer.packet() == mp.Ack(mp.PUBREL, ids[2])
    peer.send(mp.Ack(mp.PUBCOMP, ids[2]), mp.Pingreq())
    pump(peer.manager, lambda: server.commands()[-1] == mp.PINGREQ)
    assert server.commands() == [1, 4, 5, 7, 12]


def test_a_broadcast_reaches_every_version_and_passes_over_the_closed(
    listening: Callable[..., Any],
) -> None:
    server = Server()
    manager, client = listening(server)
    peers = [welcomed(client, version) for version in (4, 5, 4, 5)]
    gone = welcomed(client)
    conns = server.conns(MG_EV_MQTT_CMD)
    gone.close()
    pump(manager, server.saw(MG_EV_CLOSE))
    props = {"content_type": "t"}
    assert manager.mqtt_broadcast(conns, "a", "x" * 300, properties=props) == 4
    assert manager.mqtt_broadcast(iter(conns), "b", b"y", 1, True) == 4
    for peer in peers:
        has = ((0x03, "t"),) if peer.version == 5 else ()
        assert peer.packet() == mp.Publish("a", b"x" * 300, properties=has)
        publish = peer.packet()
        assert publish == mp.Publish("b", b"y", 1, publish.id, True)
    assert manager.mqtt_broadcast([], "a", "x") == 0


@pytest.mark.parametrize(
    "args", [("", "x"), ("a/#", "x"), ("a", "x", 3), ("a", "x", 0, False)], ids=str
)
def test_a_broadcast_checks_its_arguments(listening: Callable[..., Any], args: Any) -> None:
    server = Server()
    manager, client = listening(server)
    welcomed(client)
    conns = server.conns(MG_EV_MQTT_CMD)
    other = Manager()
    with other, pytest.raises(ValueError):
        if len(args) == 4:
            other.mqtt_broadcast(conns, *args)  # another manager's connections
        manager.mqtt_broadcast(conns, *args)


# -- sessions ---------------------------------------------------------------


class Keeper(Server):
    """Keeps one session for whoever comes."""

    def __init__(self) -> None:
        super().__init__()
        self.welcome = False
        self.manager: Manager | None = None
        self.session: Any = None

    def __call__(self, conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_MQTT_CMD and data.cmd == mp.CONNECT:
            assert self.manager is not None
            present = self.session is not None and not data.clean_session
            if not present:
                self.session = self.manager.mqtt_session()
            conn.mqtt_connack(0, present, session=self.session)
        super().__call__(conn, ev, data)


@pytest.fixture
def keeper(listening: Callable[..., Any]) -> tuple[Keeper, Callable[..., Peer]]:
    """Return a server that keeps one session, and a function that makes its clients."""
    keeper = Keeper()
    keeper.manager, client = listening(keeper)
    return keeper, client


def test_a_session_sends_again_what_was_not_acknowledged(
    keeper: tuple[Keeper, Callable[..., Peer]], version: int
) -> None:
    server, client = keeper
    with client(version, clean=False) as peer:
        peer.packet()
        assert server.session.state == "open"
        ids = [server.session.mqtt_pub("a", text, qos) for text, qos in [("1", 1), ("2", 2)]]
        ids += [server.session.mqtt_pub("a", "3", 2), server.session.mqtt_pub("a", "4", 1)]
        assert len(peer.packets(4)) == 4
        peer.send(mp.Ack(mp.PUBREC, ids[1]))
        assert peer.packet() == mp.Ack(mp.PUBREL, ids[1])
    pump(peer.manager, lambda: server.session.state == "waiting")
    assert server.session.connection is None
    later = server.session.mqtt_pub("a", "5", 1)
    with pytest.raises(Error, match="QoS 0"):
        server.session.mqtt_pub("a", "6", 0)
    assert server.session.pending == 5
    with client(version, clean=False) as peer:
        welcome(peer, present=True)
        assert peer.packets(5) == [
            mp.Ack(mp.PUBREL, ids[1]),
            mp.Publish("a", b"1", 1, ids[0], dup=True),
            mp.Publish("a", b"3", 2, ids[2], dup=True),
            mp.Publish("a", b"4", 1, ids[3], dup=True),
            mp.Publish("a", b"5", 1, later),
        ]


def test_a_session_knows_what_it_has_been_sent_already(
    keeper: tuple[Keeper, Callable[..., Peer]],
) -> None:
    server, client = keeper
    with client(clean=False) as peer:
        peer.packet()
        peer.send(mp.Publish("a", b"x", 2, 5))
        assert peer.packet() == mp.Ack(mp.PUBREC, 5)
    with client(clean=False) as peer:
        peer.packet()
        peer.send(mp.Publish("a", b"x", 2, 5, dup=True))
        assert peer.packet() == mp.Ack(mp.PUBREC, 5)
        peer.send(mp.Ack(mp.PUBREL, 5))
        assert peer.packet() == mp.Ack(mp.PUBCOMP, 5)
    assert len(server.data(MG_EV_MQTT_MSG)) == 1


def test_a_second_connection_takes_the_session_over(
    keeper: tuple[Keeper, Callable[..., Peer]], version: int
) -> None:
    server, client = keeper
    first = client(version, clean=False)
    first.packet()
    number = server.session.mqtt_pub("a", "x", 1)
    first.packet()
    second = client(version, clean=False)
    welcome(second, present=True)
    assert second.packet() == mp.Publish("a", b"x", 1, number, dup=True)
    said = first.until_the_end()
    assert said == ([mp.Disconnect(0x8E)] if version == 5 else [])
    assert server.session.state == "open"


def test_a_dropped_session_forgets_its_messages(
    keeper: tuple[Keeper, Callable[..., Peer]],
) -> None:
    server, client = keeper
    with client(clean=False) as peer:
        peer.packet()
        session = server.session
        session.mqtt_pub("a", "x", 1)
        session.close()
    pump(peer.manager, lambda: session.state == "closed")
    assert (session.pending, session.connection) == (0, None)
    with pytest.raises(Error, match="closed"):
        session.mqtt_pub("a", "x", 1)
    session.close()


def test_a_closed_session_goes_to_no_other_connection(
    listening: Callable[..., Any],
) -> None:
    def give(conn: Connection, message: MqttMessage) -> None:
        if message.cmd != mp.CONNECT:
            return
        if len(sessions) == 1:
            sessions[0].close()
            with pytest.raises(ValueError, match="session"):
                conn.mqtt_connack(session=sessions[0])
        sessions.append(manager.mqtt_session())
        conn.mqtt_connack(session=sessions[-1])

    sessions: list[Any] = []
    server = Server(give)
    server.welcome = False
    manager, client = listening(server)
    first, second = welcomed(client), welcomed(client)
    sessions[0].mqtt_pub("a", "x", 1)
    assert first.packet() == mp.Publish("a", b"x", 1, 1)  # its connection goes on
    sessions[1].mqtt_pub("a", "y", 1)
    assert second.packet() == mp.Publish("a", b"y", 1, 1)


def test_properties_that_wait_are_left_out_for_a_client_of_version_4(
    keeper: tuple[Keeper, Callable[..., Peer]],
) -> None:
    server, client = keeper
    with client(5, clean=False) as peer:
        peer.packet()
    pump(peer.manager, lambda: server.session.state == "waiting")
    server.session.mqtt_pub("a", "x", 1, properties={"content_type": "t"})
    with client(4, clean=False) as peer:
        peer.packet()
        publish = peer.packet()
        assert publish == mp.Publish("a", b"x", 1, publish.id)


def test_a_session_is_no_connections_but_its_own(listening: Callable[..., Any]) -> None:
    def look(conn: Connection, message: MqttMessage) -> None:
        with pytest.raises(TypeError, match="int"):
            conn.mqtt_connack(session=5)  # type: ignore[arg-type]

    _, client = listening(Server(look))
    welcomed(client)


def test_a_plain_tcp_client_beside_mqtt_ones_does_not_disturb(
    listening: Callable[..., Any],
) -> None:
    server = Server()
    manager, client = listening(server)
    listener = manager.connections[0]
    with dial(listener) as sock:
        welcomed(client)
        sock.sendall(b"\x00")
        pump(manager, server.saw(MG_EV_ERROR))
    assert url_of(listener, "mqtt")
