"""MQTT clients (OASIS MQTT 3.1.1 and 5.0), beside a server that is a script."""

from __future__ import annotations

import gc
import weakref
from typing import Any, Callable

import mqttpackets as mp
import pytest
from conftest import pump, turns, url_of
from mqttpeers import Peer, server_socket
from mqtttalk import ROOM, TOO_LONG, Listener

from mongoose_py import (
    MG_EV_CLOSE,
    MG_EV_ERROR,
    MG_EV_MQTT_CMD,
    MG_EV_MQTT_MSG,
    MG_EV_MQTT_OPEN,
    Connection,
    ConnectionClosed,
    Error,
    Handler,
    Limits,
    Manager,
    MqttMessage,
)

# -- CONNECT ----------------------------------------------------------------


def test_connect_is_sent_as_the_specification_writes_it(dialled: Callable[..., Any]) -> None:
    _, _, peer = dialled(
        client_id="cid",
        username="u",
        password="p",
        will_topic="w",
        will_message="m",
        will_qos=1,
        will_retain=True,
    )
    pump(peer.manager, lambda: peer.receive() or len(peer.wire) >= 29)
    assert peer.wire == bytes.fromhex(
        "10 1b 0004 4d515454 04 ee 003c 0003 636964 0001 77 0001 6d 0001 75 0001 70"
    )


def test_connect_of_version_5_has_properties_and_those_of_the_will(
    dialled: Callable[..., Any],
) -> None:
    _, _, peer = dialled(
        client_id="é",
        password=b"\xff\0",
        version=5,
        keepalive=65535,
        session_expiry=3600,
        properties={"receive_maximum": 10, "user_property": [("a", "b"), ("a", "c")]},
        will_topic="last/will",
        will_properties={"will_delay_interval": 5, "content_type": "text"},
    )
    assert peer.packet() == mp.Connect(
        client_id="é",
        keepalive=65535,
        password=b"\xff\0",
        version=5,
        properties=((0x21, 10), (0x26, ("a", "b")), (0x26, ("a", "c")), (0x11, 3600), ROOM),
        will=mp.Will("last/will", properties=((0x18, 5), (0x03, "text"))),
    )


def test_a_made_up_client_id_is_of_letters_and_digits_and_means_a_clean_session(
    dialled: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    names = set()
    for _ in range(3):
        _, conn, peer = dialled(clean_session=False)
        connect = peer.packet()
        assert connect.clean
        assert len(connect.client_id) == 19
        assert connect.client_id.isalnum()
        assert conn.mqtt_session.client_id == connect.client_id
        names.add(connect.client_id)
    assert len(names) == 3
    assert "clean session" in caplog.text


def test_a_session_of_version_5_is_kept_for_good_unless_told_otherwise(
    dialled: Callable[..., Any],
) -> None:
    _, _, peer = dialled(client_id="a", clean_session=False, version=5)
    connect = peer.packet()
    assert (connect.clean, connect.properties) == (False, ((0x11, 0xFFFFFFFF), ROOM))
    _, _, peer = dialled(client_id="a", clean_session=False, version=5, session_expiry=7)
    assert peer.packet().properties == ((0x11, 7), ROOM)


def test_credentials_may_stand_in_the_url(make_manager: Callable[..., Manager]) -> None:
    manager = make_manager()
    with server_socket() as (server, url):
        manager.mqtt_connect(url.replace("//", "//me:secret@"))
        with Peer.accepted(manager, server) as peer:
            connect = peer.packet()
    assert (connect.username, connect.password) == ("me", b"secret")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "error", "shows"),
    [
        ({"version": 3}, ValueError, "3"),
        ({"keepalive": 65536}, OverflowError, "65536"),
        ({"keepalive": -1}, OverflowError, "-1"),
        ({"password": "p"}, ValueError, "username"),
        ({"client_id": TOO_LONG}, ValueError, "65536"),
        ({"client_id": "a\0"}, ValueError, "NUL"),
        ({"username": TOO_LONG}, ValueError, "65536"),
        ({"username": "u", "password": TOO_LONG}, ValueError, "65536"),
        ({"username": 5}, TypeError, "int"),
        ({"will_topic": "a/#"}, ValueError, "a/#"),
        ({"will_topic": ""}, ValueError, "empty"),
        ({"will_topic": "a", "will_qos": 3}, ValueError, "3"),
        ({"will_topic": "a", "will_message": TOO_LONG}, ValueError, "65536"),
        ({"will_message": "x"}, ValueError, "will_topic"),
        ({"will_topic": "a", "will_properties": {"content_type": "x"}}, ValueError, "version=5"),
        ({"properties": {"receive_maximum": 1}}, ValueError, "version=5"),
        ({"session_expiry": 1}, ValueError, "version=5"),
        ({"version": 5, "session_expiry": 2**32}, ValueError, str(2**32)),
        ({"version": 5, "properties": {"no_such": 1}}, ValueError, "no_such"),
        ({"version": 5, "properties": {"topic_alias": 1}}, ValueError, "propert"),
        ({"version": 5, "properties": {"receive_maximum": 0}}, ValueError, "propert"),
        ({"version": 5, "properties": {"receive_maximum": 65536}}, ValueError, "65536"),
        ({"version": 5, "properties": {"user_property": "ab"}}, TypeError, "ab"),
        ({"version": 5, "properties": "ab"}, TypeError, "'ab'"),
        ({"reconnect": 5}, TypeError, "int"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_connect_does_not_take_it_shows(
    make_manager: Callable[..., Manager],
    options: dict[str, Any],
    error: type[Exception],
    shows: str,
) -> None:
    manager = make_manager()
    with pytest.raises(error, match=shows):
        manager.mqtt_connect("mqtt://127.0.0.1:1", **options)
    assert manager.connections == ()


# -- events -----------------------------------------------------------------


def test_events_of_a_client_come_in_order(dialled: Callable[..., Any], version: int) -> None:
    recorder = Listener()
    manager, conn, peer = dialled(recorder, client_id="c", version=version)
    peer.packet()
    peer.send(mp.Connack(), mp.Publish("a/b", b"payload"))
    pump(manager, recorder.saw(MG_EV_MQTT_MSG))
    conn.mqtt_disconnect()
    assert peer.packet() == mp.Disconnect()
    pump(manager, lambda: conn.id == 0)
    names = [name for name in recorder.names(conn) if name not in ("READ", "WRITE")]
    assert names == [
        "OPEN",
        "RESOLVE",
        "CONNECT",
        "MQTT_OPEN",
        "MQTT_CMD",
        "MQTT_MSG",
        "MQTT_CMD",
        "CLOSE",
    ]
    assert recorder.data(MG_EV_MQTT_OPEN) == [0]
    assert [data[0] for data in recorder.data(MG_EV_MQTT_CMD)] == [2, 3]
    assert recorder.data(MG_EV_MQTT_MSG) == [(3, "a/b", b"payload", 0, 0, False, False)]


def test_a_refusal_is_told_by_its_code_and_ends_the_connection(
    dialled: Callable[..., Any],
) -> None:
    recorder = Listener()
    manager, conn, peer = dialled(recorder)
    session = conn.mqtt_session
    peer.packet()
    peer.send(mp.Connack(5))
    pump(manager, lambda: conn.id == 0)
    names = [name for name in recorder.names() if name.startswith(("MQTT", "CLOSE", "ERR"))]
    assert names == ["MQTT_OPEN", "MQTT_CMD", "CLOSE"]
    assert recorder.data(MG_EV_MQTT_OPEN) == [5]
    assert (session.state, session.last_error) == (
        "closed",
        "refused by the server: 0x05, not authorized",
    )


def test_a_handler_object_gets_what_it_has_methods_for(opened: Callable[..., Any]) -> None:
    calls: list[tuple[Any, ...]] = []

    class Client(Handler):
        def on_mqtt_open(self, conn: Connection, code: int) -> None:
            calls.append(("open", code))

        def on_mqtt_message(self, conn: Connection, message: MqttMessage) -> None:
            calls.append(("message", message.topic, message.text))

        def on_mqtt_command(self, conn: Connection, message: MqttMessage) -> None:
            calls.append(("command", message.cmd, message.reason_codes))

    manager, conn, peer = opened(Client())
    number = conn.mqtt_sub([("a", 1), ("b", 2)])
    peer.packet()
    peer.send(mp.Suback(number, (1, 0x80)), mp.Publish("a", b"x"), mp.Pingresp())
    pump(manager, lambda: len(calls) == 5)
    assert calls == [
        ("open", 0),
        ("command", 2, [0]),
        ("command", 9, [1, 0x80]),
        ("message", "a", "x"),
        ("command", 13, []),
    ]


def test_a_handler_that_wants_no_mqtt_event_costs_the_session_nothing(
    opened: Callable[..., Any],
) -> None:
    class Deaf(Handler):
        def on_close(self, conn: Connection) -> None:
            pass

    _, conn, peer = opened(Deaf())
    conn.mqtt_session.mqtt_sub("a")
    subscribe = peer.packet()
    peer.send(mp.Suback(subscribe.id, (0,)), mp.Publish("a", b"x", 1, 3))
    assert peer.packet() == mp.Ack(mp.PUBACK, 3)


def test_a_message_is_empty_once_its_handler_has_returned(opened: Callable[..., Any]) -> None:
    kept: list[MqttMessage] = []
    manager, _, peer = opened(
        lambda conn, ev, data: kept.append(data) if isinstance(data, MqttMessage) else None
    )
    peer.send(mp.Publish("a", b"x", 1, 3, retain=True))
    pump(manager, lambda: len(kept) == 3)  # CONNACK, and the PUBLISH twice
    for message in (*kept, MqttMessage.__new__(MqttMessage)):
        assert not message
        assert (message.topic, message.data, message.text, message.raw) == ("", b"", "", b"")
        assert (message.cmd, message.id, message.qos, message.ack, message.version) == (0,) * 5
        assert (message.retain, message.dup, message.session_present) == (False,) * 3
        assert (message.properties(), message.properties_by_name()) == ([], {})
        assert (message.reason_codes, message.subscriptions, message.topics) == ([], [], [])
        assert (message.client_id, message.username, message.password) == ("", None, None)
        assert (message.keepalive, message.clean_session, message.will) == (0, False, None)
        assert repr(message) == "<MqttMessage stale>"


def test_a_published_message_shows_everything_it_has(opened: Callable[..., Any]) -> None:
    seen: list[Any] = []

    def look(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_MQTT_MSG:
            seen.append(
                (
                    data.topic,
                    data.text,
                    (data.qos, data.retain, data.dup, data.id, data.version, data.cmd),
                    data.properties(),
                    data.properties_by_name(),
                    data.raw,
                )
            )

    manager, _, peer = opened(look, version=5)
    packet = mp.Publish(
        "é/水",
        "grüße".encode(),
        2,
        77,
        True,
        True,
        (
            (0x01, 1),
            (0x09, b"\xff\0"),
            (0x26, ("k", "v")),
            (0x0B, 300),
            (0x0B, 1),
            (0x03, "text/plain"),
            (0x02, 2**32 - 1),
        ),
    )
    peer.send(packet)
    pump(manager, lambda: bool(seen))
    assert seen == [
        (
            "é/水",
            "grüße",
            (2, True, True, 77, 5, 3),
            [
                {"id": 0x01, "iv": 1, "key": "", "val": ""},
                {"id": 0x09, "iv": 0, "key": "", "val": "\udcff\0"},
                {"id": 0x26, "iv": 0, "key": "k", "val": "v"},
                {"id": 0x0B, "iv": 300, "key": "", "val": ""},
                {"id": 0x0B, "iv": 1, "key": "", "val": ""},
                {"id": 0x03, "iv": 0, "key": "", "val": "text/plain"},
                {"id": 0x02, "iv": 2**32 - 1, "key": "", "val": ""},
            ],
            {
                "payload_format_indicator": 1,
                "correlation_data": b"\xff\0",
                "user_property": [("k", "v")],
                "subscription_identifier": [300, 1],
                "content_type": "text/plain",
                "message_expiry_interval": 2**32 - 1,
            },
            mp.encode(packet, 5),
        )
    ]


# -- the end ----------------------------------------------------------------


def test_disconnect_sends_what_waits_says_goodbye_and_closes(opened: Callable[..., Any]) -> None:
    manager, conn, peer = opened(version=5)
    conn.mqtt_pub("a", "x" * 100_000)
    conn.mqtt_disconnect(4, {"reason_string": "bye"})
    with pytest.raises(ConnectionClosed):
        conn.mqtt_pub("a", "too late")
    publish, disconnect = peer.until_the_end()
    assert len(publish.payload) == 100_000
    assert disconnect == mp.Disconnect(4, ((0x1F, "bye"),))
    pump(manager, lambda: conn.id == 0)
    assert conn.mqtt_session.state == "closed"


def test_a_closed_connection_says_so(opened: Callable[..., Any]) -> None:
    manager, conn, _ = opened()
    conn.close()
    pump(manager, lambda: conn.id == 0)
    calls: list[Callable[[], object]] = [
        lambda: conn.mqtt_pub("a", "x"),
        lambda: conn.mqtt_sub("a"),
        lambda: conn.mqtt_unsub("a"),
        conn.mqtt_ping,
        conn.mqtt_pong,
        conn.mqtt_disconnect,
        conn.mqtt_connack,
        lambda: conn.mqtt_suback(1, [0]),
        lambda: conn.mqtt_unsuback(1),
        conn.mqtt_auth,
        lambda: conn.mqtt_session.mqtt_pub("a", "x", 1),
        lambda: conn.mqtt_session.mqtt_sub("a"),
        lambda: conn.mqtt_session.mqtt_unsub("a"),
    ]
    for call in calls:
        with pytest.raises(ConnectionClosed, match="closed"):
            call()
    conn.mqtt_session.close()
    with pytest.raises(Error, match="not the connection of an MQTT client"):
        Connection().mqtt_session  # noqa: B018


def test_a_ping_may_be_asked_for(opened: Callable[..., Any]) -> None:
    _, conn, peer = opened()
    conn.mqtt_ping()
    assert peer.packet() == mp.Pingreq()


# To the second this is tested in C, on a clock of the test's.
@pytest.mark.parametrize("poller", ["epoll"], indirect=True)
def test_a_silent_client_pings_and_leaves_a_server_that_does_not_answer(
    opened: Callable[..., Any],
) -> None:
    recorder = Listener()
    manager, conn, peer = opened(recorder, keepalive=1)
    assert peer.packet() == mp.Pingreq()
    pump(manager, lambda: conn.id == 0)
    assert len(recorder.data(MG_EV_ERROR)) == 1
    assert conn.mqtt_session.last_error == recorder.data(MG_EV_ERROR)[0]


def test_a_server_that_does_not_answer_connect_is_gone(dialled: Callable[..., Any]) -> None:
    recorder = Listener()
    manager, conn, _ = dialled(recorder, limits=Limits(mqtt_connect_timeout=0.05))
    pump(manager, lambda: conn.id == 0)
    assert len(recorder.data(MG_EV_ERROR)) == 1


@pytest.mark.parametrize(
    "wire",
    [
        b"\x00\x00",  # no such packet
        b"\xf0\x00",  # AUTH is of version 5
        b"\x31\x03\0\x01+",  # a topic with a wildcard
        b"\x30\x02\0\0",  # an empty topic
        b"\x36\x05\0\x01a\0\x01",  # QoS 3
        b"\x32\x05\0\x01a\0\0",  # packet identifier 0
        b"\x38\x03\0\x01a",  # DUP with QoS 0
        b"\x20\x02\0\0",  # a second CONNACK
        b"\x10\x00",  # CONNECT, from a server
        b"\x82\x06\0\x01\0\x01a\0",  # SUBSCRIBE, from a server
        b"\x30\xff\xff\xff\xff\x01",  # a length in five bytes
        b"\xd0\x01\0",  # PINGRESP with a body
        b"\x30\x04\0\x02\xc3\x28",  # not UTF-8
        b"\x30\x03\0\x01\0",  # U+0000
    ],
    ids=bytes.hex,
)
def test_a_server_that_breaks_the_protocol_is_left(opened: Callable[..., Any], wire: bytes) -> None:
    recorder = Listener()
    manager, conn, peer = opened(recorder)
    peer.send(wire)
    pump(manager, lambda: conn.id == 0)
    assert recorder.data(MG_EV_MQTT_MSG) == []
    assert len(recorder.data(MG_EV_ERROR)) == 1
    assert recorder.names()[-1] == "CLOSE"


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (b"\x30\x04\0\x01a\x01", 0x81),  # properties cut off
        (b"\x30\x06\0\x01a\x02\x23\x00", 0x81),
        (mp.encode(mp.Publish("a", b"", properties=((0x23, 1),)), 5), 0x94),  # none announced
        (mp.encode(mp.Publish("a", b"", properties=((0x21, 1),)), 5), 0x81),
        (b"\x30\x06\0\x02\xc3\x28\0\0", 0x81),
        (mp.encode(mp.Publish("a", b"", properties=((0x01, 1),) * 2), 5), 0x82),
        (b"\x30\xff\xff\xff\x7f", 0x95),
    ],
    ids=lambda value: value.hex() if isinstance(value, bytes) else hex(value),
)
def test_a_server_of_version_5_is_told_what_it_did_wrong(
    opened: Callable[..., Any], wire: bytes, code: int
) -> None:
    recorder = Listener()
    manager, conn, peer = opened(recorder, version=5)
    peer.send(wire)
    said = peer.until_the_end()
    assert [(type(p), p.code) for p in said] == [(mp.Disconnect, code)]
    pump(manager, lambda: conn.id == 0)
    assert len(recorder.data(MG_EV_ERROR)) == 1


def test_the_reason_a_server_gives_is_an_error_of_that_text(opened: Callable[..., Any]) -> None:
    recorder = Listener()
    manager, conn, peer = opened(recorder, version=5)
    peer.send(mp.Disconnect(0x8B, ((0x1F, "back in an hour"),)))
    pump(manager, lambda: conn.id == 0)
    (error,) = recorder.data(MG_EV_ERROR)
    assert "0x8b" in error
    assert conn.mqtt_session.last_error == error


def test_a_message_above_the_packet_limit_is_refused_from_its_header(
    opened: Callable[..., Any],
) -> None:
    recorder = Listener()
    manager, _, peer = opened(recorder, version=5, limits=Limits(mqtt_packet=1000))
    peer.send(mp.Publish("a", b"x" * 900))
    pump(manager, recorder.saw(MG_EV_MQTT_MSG))
    peer.send(mp.encode(mp.Publish("a", b"x" * 1100), 5)[:5])
    assert [p.code for p in peer.until_the_end()] == [0x95]


# -- on what is not MQTT ----------------------------------------------------


@pytest.mark.parametrize("scheme", ["tcp", "http", "udp"])
def test_mqtt_calls_are_harmless_where_no_mqtt_is_spoken(
    make_manager: Callable[..., Manager], scheme: str
) -> None:
    manager = make_manager()
    listener = manager.listen(f"{scheme}://127.0.0.1:0")
    for qos in (0, 1, 2):
        assert isinstance(listener.mqtt_pub("a", "x", qos), int)
        listener.mqtt_sub("a", qos)
    listener.mqtt_unsub("a")
    listener.mqtt_ping()
    listener.mqtt_pong()
    listener.mqtt_disconnect()
    turns(manager)
    assert listener.is_listening
    assert not listener.is_mqtt
    with pytest.raises(Error, match="not the connection of an MQTT client"):
        listener.mqtt_session  # noqa: B018


def test_an_mqtt_connection_says_that_it_is_one(opened: Callable[..., Any]) -> None:
    manager, conn, _ = opened()
    listener = manager.mqtt_listen("mqtt://127.0.0.1:0")
    assert conn.is_mqtt
    assert listener.is_mqtt
    assert url_of(listener, "mqtt")


def test_a_client_of_a_dropped_manager_leaves_nothing_behind() -> None:
    with server_socket() as (server, url):
        manager = Manager()
        conn = manager.mqtt_connect(url, reconnect=True)
        session = conn.mqtt_session
        assert session is not None
        gone = weakref.ref(manager)
        with Peer.accepted(manager, server) as peer:
            peer.manager = None  # type: ignore[assignment]
            del manager
            gc.collect()
            assert gone() is None
            assert session.state == "closed"
            assert session.pending == 0
            with pytest.raises(Error):
                session.mqtt_pub("a", "x", 1)


def test_the_events_asked_for_are_all_that_come(opened: Callable[..., Any]) -> None:
    recorder = Listener()
    manager, _, peer = opened(recorder, events=[MG_EV_MQTT_MSG, MG_EV_CLOSE])
    peer.send(mp.Publish("a", b"x"))
    pump(manager, recorder.saw(MG_EV_MQTT_MSG))
    assert recorder.names() == ["MQTT_MSG"]
