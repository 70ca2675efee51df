"""MQTT clients that lose their connection: what they send again, and when they come back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from time import monotonic
from typing import Any, Callable

import mqttpackets as mp
import pytest
from conftest import Recorder, pump, running, turns
from mqttpeers import CuttingProxy, Mosquitto, Peer, server_socket

from mongoose_py import (
    MG_EV_CLOSE,
    MG_EV_MQTT_MSG,
    MG_EV_MQTT_OPEN,
    Connection,
    ConnectionClosed,
    Error,
    Handler,
    Limits,
    Manager,
    MqttClientSession,
    MqttMessage,
    Reconnect,
)

SOON = Reconnect(min_delay=0.001, max_delay=0.01)


class Script:
    """A server that is a script, and our client that connects to it again and again."""

    def __init__(self, manager: Manager, stack: ExitStack, **options: Any) -> None:
        self.manager = manager
        self.version = options.get("version", 4)
        self.server, self.url = stack.enter_context(server_socket())
        self.stack = stack
        options.setdefault("client_id", "c")
        options.setdefault("clean_session", False)
        options.setdefault("reconnect", SOON)
        self.conn = manager.mqtt_connect(self.url, **options)
        session = self.conn.mqtt_session
        assert session is not None
        self.session = session

    def accept(self, present: bool = False, code: int = 0) -> Peer:
        """Take the next connection and answer its CONNECT."""
        peer = Peer.accepted(self.manager, self.server, self.version)
        self.stack.callback(peer.close)
        assert isinstance(peer.packet(), mp.Connect)
        peer.send(mp.Connack(code, present))
        if code == 0:
            pump(self.manager, lambda: self.session.state == "open")
        return peer


@pytest.fixture
def script(make_manager: Callable[..., Manager]) -> Iterator[Callable[..., Script]]:
    """Return a function that starts a client and its scripted server."""
    with ExitStack() as stack:

        def start(limits: Limits | None = None, **options: Any) -> Script:
            return Script(make_manager(limits=limits), stack, **options)

        yield start


# -- coming back ------------------------------------------------------------


def test_a_lost_client_comes_back_as_a_new_connection_with_the_same_handler(
    script: Callable[..., Script],
) -> None:
    recorder = Recorder()
    one = script(handler=recorder)
    one.conn.userdata = "mine"
    states = [one.session.state]
    one.accept().close()
    for _ in range(2):
        pump(one.manager, lambda: one.session.state != "open")
        peer = one.accept()
        states.append(one.session.state)
        peer.close()
    pump(one.manager, recorder.saw(MG_EV_CLOSE, 3))
    assert states == ["connecting", "open", "open"]
    conns = list(dict.fromkeys(recorder.conns(MG_EV_MQTT_OPEN)))
    assert len(conns) == 3
    assert all(conn.userdata == "mine" for conn in conns)
    assert all(conn.mqtt_session is one.session for conn in conns)
    for conn in conns:
        names = recorder.names(conn)
        assert (names[0], names[-1]) == ("OPEN", "CLOSE")
        assert names.count("MQTT_OPEN") == 1


def test_a_client_without_reconnect_ends_with_its_connection(
    script: Callable[..., Script],
) -> None:
    one = script(reconnect=None)
    one.accept().close()
    pump(one.manager, lambda: one.conn.id == 0)
    assert one.session.state == "closed"
    assert one.session.next_attempt is None
    turns(one.manager)
    assert one.manager.connections == ()
    with pytest.raises(ConnectionClosed):
        one.session.mqtt_pub("a", "x", 1)


@pytest.mark.parametrize("how", ["session", "disconnect", "manager"])
def test_a_client_that_was_ended_does_not_come_back(
    script: Callable[..., Script], how: str
) -> None:
    recorder = Recorder()
    one = script(handler=recorder)
    peer = one.accept()
    if how == "session":
        one.session.close()
        assert peer.packet() == mp.Disconnect()
    elif how == "disconnect":
        one.conn.mqtt_disconnect()
        assert peer.packet() == mp.Disconnect()
    else:
        one.manager.close()
    if how != "manager":
        pump(one.manager, recorder.saw(MG_EV_CLOSE))
        turns(one.manager)
        assert one.manager.connections == ()
    assert one.session.state == "closed"
    one.session.close()


def test_a_client_that_waits_can_be_ended(script: Callable[..., Script]) -> None:
    one = script(reconnect=Reconnect(60, 60))
    one.accept().close()
    pump(one.manager, lambda: one.session.state == "waiting")
    left = one.session.next_attempt
    assert left is not None
    assert 0 <= left <= 60
    assert one.session.attempts == 0
    one.session.close()
    assert (one.session.state, one.session.next_attempt) == ("closed", None)


def test_close_of_a_connection_is_a_loss_like_any_other(script: Callable[..., Script]) -> None:
    one = script()
    one.accept()
    one.conn.close()
    one.accept()
    assert one.session.connection is not one.conn


def test_a_server_that_is_not_there_is_tried_until_it_is(
    make_manager: Callable[..., Manager],
) -> None:
    recorder = Recorder()
    manager = make_manager(recorder)
    with server_socket() as (_, url):
        pass  # its port is free again
    conn = manager.mqtt_connect(url, reconnect=SOON)
    session = conn.mqtt_session
    assert session is not None
    pump(manager, lambda: session.attempts >= 3)
    assert session.last_error
    assert session.state in ("waiting", "connecting")
    assert len(recorder.data(MG_EV_MQTT_OPEN)) == 0


@pytest.mark.parametrize("code", [3, 4, 5])
def test_a_refused_client_says_why_and_tries_again(
    script: Callable[..., Script], code: int
) -> None:
    one = script()
    one.accept(code=code)
    pump(one.manager, lambda: one.session.state == "waiting")
    assert f"{code:#04x}" in str(one.session.last_error)
    one.accept()


def test_a_refused_password_is_tried_again_after_the_longest_wait(
    script: Callable[..., Script],
) -> None:
    one = script(reconnect=Reconnect(0.001, 50))
    one.accept(code=5)
    pump(one.manager, lambda: one.session.state == "waiting")
    left = one.session.next_attempt
    assert left is not None
    assert 40 < left <= 50


def test_waits_grow_up_to_the_longest_and_are_random() -> None:
    policy = Reconnect(1, 60)
    windows = [policy._window(n) for n in range(10)]
    assert windows == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert policy._window(10**9) == 60
    assert repr(Reconnect()) == "Reconnect(min_delay=1.0, max_delay=60.0)"


@pytest.mark.parametrize("delays", [(0, 1), (-1, 1), (2, 1), (1, float("inf")), (float("nan"), 1)])
def test_waits_that_make_no_sense_are_refused(delays: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="min_delay"):
        Reconnect(*delays)


def test_a_connection_that_does_not_hold_does_not_shorten_the_next_wait(
    script: Callable[..., Script],
) -> None:
    one = script(reconnect=Reconnect(0.001, 0.02))
    for _ in range(5):
        one.accept().close()
        pump(one.manager, lambda: one.session.state != "open")
    assert one.session.attempts >= 3


def test_attempts_are_counted_anew_when_a_connection_has_held(
    script: Callable[..., Script],
) -> None:
    one = script()
    for _ in range(3):
        one.accept().close()
        pump(one.manager, lambda: one.session.state != "open")
    assert one.session.attempts > 0
    peer = one.accept()
    until = monotonic() + 0.03
    pump(one.manager, lambda: monotonic() > until, 5)
    peer.close()
    pump(one.manager, lambda: one.session.state == "waiting")
    assert one.session.attempts == 0


def test_clean_start_is_asked_for_once_where_the_server_keeps_the_session(
    script: Callable[..., Script],
) -> None:
    one = script(version=5, clean_session=True, session_expiry=60)
    peer = Peer.accepted(one.manager, one.server, 5)
    assert peer.packet().clean
    peer.send(mp.Connack())
    pump(one.manager, lambda: one.session.state == "open")
    peer.close()
    with Peer.accepted(one.manager, one.server, 5) as peer:
        connect = peer.packet()
    assert (connect.clean, connect.client_id) == (False, "c")


# -- messages ---------------------------------------------------------------


def test_unacknowledged_messages_are_sent_again_in_order(
    script: Callable[..., Script], version: int
) -> None:
    one = script(version=version)
    peer = one.accept()
    ids = [one.conn.mqtt_pub("a", str(n), qos) for n, qos in enumerate([1, 2, 2, 1])]
    assert len(peer.packets(4)) == 4
    peer.send(mp.Ack(mp.PUBREC, ids[1]))
    assert peer.packet() == mp.Ack(mp.PUBREL, ids[1])
    peer.close()
    pump(one.manager, lambda: one.session.state != "open")
    peer = one.accept(present=True)
    assert peer.packets(4) == [
        mp.Ack(mp.PUBREL, ids[1]),
        mp.Publish("a", b"0", 1, ids[0], dup=True),
        mp.Publish("a", b"2", 2, ids[2], dup=True),
        mp.Publish("a", b"3", 1, ids[3], dup=True),
    ]
    peer.send(mp.Ack(mp.PUBACK, ids[0]), mp.Ack(mp.PUBCOMP, ids[1]))
    pump(one.manager, lambda: one.session.pending == 2)


def test_a_server_that_has_forgotten_the_session_gets_them_as_new_ones(
    script: Callable[..., Script],
) -> None:
    one = script()
    peer = one.accept()
    ids = [one.conn.mqtt_pub("a", str(n), 2) for n in range(2)]
    peer.packets(2)
    peer.send(mp.Ack(mp.PUBREC, ids[0]))
    peer.packet()
    peer.close()
    pump(one.manager, lambda: one.session.state != "open")
    peer = one.accept(present=False)
    publish = peer.packet()
    assert publish == mp.Publish("a", b"1", 2, publish.id)  # the first one has arrived
    assert one.session.pending == 1


def test_messages_wait_for_a_connection(script: Callable[..., Script]) -> None:
    one = script(reconnect=Reconnect(0.05, 0.05))
    one.accept().close()
    pump(one.manager, lambda: one.session.state == "waiting")
    with pytest.raises(Error, match="QoS 0"):
        one.session.mqtt_pub("a", "lost", 0)
    first, second = [one.session.mqtt_pub("a", text, 1) for text in ("1", "2")]
    assert one.session.pending == 2
    peer = one.accept(present=True)
    assert peer.packets(2) == [mp.Publish("a", b"1", 1, first), mp.Publish("a", b"2", 1, second)]


def test_messages_published_before_the_first_connection_are_sent_on_it(
    script: Callable[..., Script], version: int
) -> None:
    one = script(version=version)
    one.session.mqtt_pub("a", "1", 1)
    one.conn.mqtt_pub("a", "2", 2)
    peer = one.accept()
    assert [packet.payload for packet in peer.packets(2)] == [b"1", b"2"]


def test_the_queue_of_an_offline_session_has_an_end(script: Callable[..., Script]) -> None:
    one = script(limits=Limits(mqtt_queue=10_000), reconnect=Reconnect(60, 60))
    one.accept().close()
    pump(one.manager, lambda: one.session.state == "waiting")
    taken = 0
    with pytest.raises(Error, match="limit"):
        while True:
            one.session.mqtt_pub("a", "x" * 1000, 1)
            taken += 1
    assert 5 <= taken <= 10
    assert one.session.pending == taken
    assert taken * 1000 <= one.session.pending_bytes <= 10_000


# -- subscriptions ----------------------------------------------------------


def test_subscriptions_of_the_session_are_restored_where_the_server_has_forgotten_them(
    script: Callable[..., Script],
) -> None:
    one = script(version=5)
    one.session.mqtt_sub([("a", 1), ("b", 2)], no_local=True)
    one.session.mqtt_sub("c", properties={"subscription_identifier": 5})
    one.session.mqtt_sub("d")
    one.session.mqtt_unsub("d")
    peer = one.accept()
    wanted = [
        mp.Subscribe(1, (("a", 5), ("b", 6))),
        mp.Subscribe(2, (("c", 0),), ((0x0B, 5),)),
    ]
    assert peer.packets(2) == wanted
    peer.send(mp.Suback(1, (1, 2)), mp.Suback(2, (0,)))
    turns(one.manager, 5)
    peer.close()
    pump(one.manager, lambda: one.session.state != "open")
    peer = one.accept(present=False)
    first, second = peer.packets(2)
    assert (first.filters, second.filters) == (wanted[0].filters, wanted[1].filters)
    peer.send(mp.Suback(first.id, (1, 2)), mp.Suback(second.id, (0,)))
    turns(one.manager, 5)
    peer.close()
    pump(one.manager, lambda: one.session.state != "open")
    one.session.mqtt_unsub("c")
    peer = one.accept(present=True)
    one.session.mqtt_pub("next", "", 0)
    unsubscribe, publish = peer.packets(2)
    assert unsubscribe == mp.Unsubscribe(unsubscribe.id, ("c",))
    assert isinstance(publish, mp.Publish)


def test_a_subscription_that_was_not_answered_is_asked_for_again(
    script: Callable[..., Script],
) -> None:
    one = script()
    peer = one.accept()
    one.session.mqtt_sub("a", 1)
    assert peer.packet().filters == (("a", 1),)
    peer.close()
    pump(one.manager, lambda: one.session.state != "open")
    peer = one.accept(present=True)
    assert peer.packet().filters == (("a", 1),)


def test_a_subscription_that_the_server_cannot_take_raises(
    script: Callable[..., Script],
) -> None:
    one = script(version=5)
    peer = Peer.accepted(one.manager, one.server, 5)
    peer.packet()
    peer.send(mp.Connack(properties=((0x27, 30),)))
    pump(one.manager, lambda: one.session.state == "open")
    with pytest.raises(Error, match="peer"):
        one.session.mqtt_sub("a" * 40)
    one.session.mqtt_pub("next", "", 0)
    assert isinstance(peer.packet(), mp.Publish)
    peer.close()


# -- a network that cuts ----------------------------------------------------

MESSAGES = [str(n).encode() for n in range(4)]


class Collector(Handler):
    """Subscribes, and writes down the messages."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.subscribed = 0

    def on_mqtt_message(self, conn: Connection, message: MqttMessage) -> None:
        self.got.append(message.data)

    def on_mqtt_command(self, conn: Connection, message: MqttMessage) -> None:
        self.subscribed += message.cmd == mp.SUBACK


_names = itertools.count()
Cut = tuple[int, bool, int]  # QoS, direction, packets before it


def cuts(packets: dict[int, int]) -> list[Cut]:
    """Return every place in front of, between and behind the packets of each QoS."""
    return [(q, up, n) for q, last in packets.items() for up in (True, False) for n in range(last)]


def cut_id(cut: Cut) -> str:
    return f"qos{cut[0]}-{cut[2]}-{'up' if cut[1] else 'down'}"


def lasting(
    manager: Manager, url: str, name: str, version: int = 4, handler: Any = None
) -> MqttClientSession:
    """Connect with a session that the server keeps; it comes back soon when it is cut."""
    conn = manager.mqtt_connect(
        url,
        handler,
        client_id=name,
        clean_session=False,
        version=version,
        session_expiry=60 if version == 5 else None,
        reconnect=SOON,
    )
    assert conn.mqtt_session is not None
    return conn.mqtt_session


@pytest.mark.parametrize("cut", cuts({1: 6, 2: 10}), ids=cut_id)
def test_what_is_published_through_a_cut_arrives(
    mosquitto: Mosquitto, version: int, cut: Cut
) -> None:
    """QoS 2 exactly once, QoS 1 at least once, each in order."""
    qos, *where = cut
    topic = f"cut/{next(_names)}"
    collector = Collector()
    with Manager() as manager, CuttingProxy(mosquitto.port, *where) as proxy:
        watch = manager.mqtt_connect(mosquitto.url, collector)
        watch.mqtt_sub(topic, 2)
        pump(manager, lambda: collector.subscribed)
        session = lasting(manager, proxy.url, topic, version)
        for message in MESSAGES:
            session.mqtt_pub(topic, message, qos)
        pump(manager, lambda: session.pending == 0 and {*MESSAGES} <= {*collector.got})
        watch.mqtt_sub(topic, 2)  # when it is answered nothing is on its way any more
        pump(manager, lambda: collector.subscribed == 2)
        session.close()
        assert proxy.cut.wait(5)
    if qos == 2:
        assert collector.got == MESSAGES
    else:
        assert list(dict.fromkeys(collector.got)) == MESSAGES


@pytest.mark.parametrize("cut", cuts({1: 6, 2: 9}), ids=cut_id)
def test_what_is_received_through_a_cut_arrives(
    mosquitto: Mosquitto, version: int, cut: Cut
) -> None:
    """QoS 2 exactly once, QoS 1 at least once, each in order."""
    qos, *where = cut
    topic = f"cut/{next(_names)}"
    collector = Collector()
    with Manager() as manager, CuttingProxy(mosquitto.port, *where) as proxy:
        session = lasting(manager, proxy.url, topic, version, collector)
        session.mqtt_sub(topic, qos)
        pump(manager, lambda: collector.subscribed)
        source = manager.mqtt_connect(mosquitto.url)
        for message in MESSAGES:
            source.mqtt_pub(topic, message, qos)
        pump(manager, lambda: {*MESSAGES} <= {*collector.got})
        source.mqtt_pub(topic, b"last", qos)
        pump(manager, lambda: b"last" in collector.got and proxy.cut.is_set())
        before = collector.subscribed
        session.mqtt_sub(f"{topic}/more")  # when it is answered nothing is on its way any more
        pump(manager, lambda: collector.subscribed > before)
        session.close()
    if qos == 2:
        assert collector.got == [*MESSAGES, b"last"]
    else:
        assert list(dict.fromkeys(collector.got)) == [*MESSAGES, b"last"]


# -- threads ----------------------------------------------------------------


def test_any_thread_may_publish_through_losses(
    mosquitto: Mosquitto, make_manager: Callable[..., Manager]
) -> None:
    collector = Collector()
    manager = make_manager()
    with CuttingProxy(mosquitto.port, True, 50) as proxy:
        watch = manager.mqtt_connect(mosquitto.url, collector)
        watch.mqtt_sub("threads", 2)
        pump(manager, lambda: collector.subscribed)
        session = lasting(manager, proxy.url, "threads")
        with running(manager):
            for n in range(200):
                session.mqtt_pub("threads", str(n), 2)
        pump(manager, lambda: session.pending == 0 and len(collector.got) >= 200)
        assert proxy.cut.is_set()
        assert collector.got == [str(n).encode() for n in range(200)]
        session.close()


def test_a_handler_may_publish_and_end_its_session(script: Callable[..., Script]) -> None:
    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_MQTT_MSG:
            session = conn.mqtt_session
            assert session is not None
            session.mqtt_pub("answer", data.data, 1)
            session.close()

    one = script(handler=handle)
    peer = one.accept()
    peer.send(mp.Publish("a", b"x"))
    said = peer.until_the_end()
    assert [type(packet) for packet in said] == [mp.Publish, mp.Disconnect]
    pump(one.manager, lambda: one.session.state == "closed")
