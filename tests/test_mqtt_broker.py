"""The example broker, asked by clients that are not ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Callable

import mqttpackets as mp
import pytest
from conftest import pump, running
from mqttpeers import Peer
from programs import EXAMPLES, Program, load_example

from mongoose_py import Manager

EXAMPLE = "mqtt_broker.py"


@pytest.fixture
def broker() -> Iterator[Any]:
    """Return the broker of the example, polled by whoever waits for its clients."""
    one = load_example("mqtt_broker").Broker()
    with one.manager:
        one.listener = one.manager.mqtt_listen("mqtt://127.0.0.1:0")
        yield one


@pytest.fixture
def client(broker: Any) -> Iterator[Callable[..., Peer]]:
    """Return a function that connects a scripted client."""
    with contextlib.ExitStack() as stack:

        def connect(name: str, version: int = 4, present: bool = False, **fields: Any) -> Peer:
            peer = stack.enter_context(Peer.of(broker.manager, broker.listener, version))
            peer.send(mp.Connect(name, version=version, **fields))
            answer = peer.packet()
            assert (answer.code, answer.session_present) == (0, present)
            return peer

        yield connect


def subscribe(peer: Peer, *filters: tuple[str, int]) -> list[int]:
    peer.send(mp.Subscribe(1, filters))
    answer = peer.packet()
    assert isinstance(answer, mp.Suback)
    return list(answer.codes)


def flush(peer: Peer) -> None:
    """Have the broker read everything that *peer* has sent."""
    peer.send(mp.Pingreq())
    assert peer.packet() == mp.Pingresp()


def test_the_example_is_short() -> None:
    lines = (EXAMPLES / EXAMPLE).read_text().splitlines()
    assert len(lines) <= 200


@pytest.mark.parametrize("granted", [0, 1, 2])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_message_goes_to_whoever_wants_it_with_the_lower_qos(
    client: Callable[..., Peer], version: int, qos: int, granted: int
) -> None:
    one, other = client("one", version), client("other", version)
    assert subscribe(one, ("a/+", granted)) == [granted]
    assert subscribe(other, ("b", 2)) == [2]
    other.send(mp.Publish("a/x", b"hello", qos, 7 if qos else 0))
    publish = one.packet()
    assert publish == mp.Publish("a/x", b"hello", min(qos, granted), publish.id)
    if qos == 2:
        assert other.packet() == mp.Ack(mp.PUBREC, 7)
        other.send(mp.Ack(mp.PUBREL, 7))
        assert other.packet() == mp.Ack(mp.PUBCOMP, 7)
    elif qos == 1:
        assert other.packet() == mp.Ack(mp.PUBACK, 7)


def test_overlapping_filters_give_one_message_with_the_highest_qos(
    client: Callable[..., Peer],
) -> None:
    one = client("one")
    subscribe(one, ("#", 0), ("a/b", 2), ("a/+", 1))
    one.send(mp.Publish("a/b", b"x", 2, 5))
    got = sorted(one.packets(2), key=mp.kind)
    assert got == [mp.Publish("a/b", b"x", 2, got[0].id), mp.Ack(mp.PUBREC, 5)]
    flush(one)


def test_topics_that_begin_with_a_dollar_are_not_for_wildcards(
    client: Callable[..., Peer],
) -> None:
    one = client("one")
    subscribe(one, ("#", 0), ("+/b", 0))
    one.send(mp.Publish("$a/b", b"x"))
    flush(one)
    subscribe(one, ("$a/#", 0))
    one.send(mp.Publish("$a/b", b"y"))
    assert one.packet() == mp.Publish("$a/b", b"y")


def test_whoever_unsubscribes_gets_nothing_any_more(
    client: Callable[..., Peer], version: int
) -> None:
    one = client("one", version)
    subscribe(one, ("a", 0), ("b", 0))
    one.send(mp.Unsubscribe(9, ("a", "c")))
    assert one.packet() == mp.Unsuback(9, (0, 0x11) if version == 5 else ())
    one.send(mp.Publish("a", b"x"), mp.Publish("b", b"y"))
    assert one.packet() == mp.Publish("b", b"y")


def test_a_retained_message_waits_for_subscribers(
    client: Callable[..., Peer], version: int
) -> None:
    one, other = client("one", version), client("other", version)
    one.send(mp.Publish("a/b", b"old", 0, retain=True), mp.Publish("a/b", b"new", 0, retain=True))
    flush(one)
    subscribe(other, ("a/#", 1))
    assert other.packet() == mp.Publish("a/b", b"new", retain=True)
    one.send(mp.Publish("a/b", b"", retain=True))  # forget it
    assert other.packet() == mp.Publish("a/b", b"")
    subscribe(other, ("a/b", 1))
    flush(other)


def test_retained_messages_are_sent_as_the_subscription_says(client: Callable[..., Peer]) -> None:
    one = client("one", 5)
    one.send(mp.Publish("a", b"x", retain=True))
    subscribe(one, ("a", 0x20))  # never
    subscribe(one, ("a", 0x10))  # only when it is new
    flush(one)
    subscribe(one, ("a", 0x08))  # always, and retained stays retained
    assert one.packet() == mp.Publish("a", b"x", retain=True)
    one.send(mp.Publish("a", b"y", retain=True))
    assert one.packet() == mp.Publish("a", b"y", retain=True)


def test_no_local_means_not_my_own(client: Callable[..., Peer]) -> None:
    one, other = client("one", 5), client("other", 5)
    subscribe(one, ("a", 4))
    one.send(mp.Publish("a", b"own"))
    flush(one)
    other.send(mp.Publish("a", b"other's"))
    assert one.packet() == mp.Publish("a", b"other's")


def test_properties_are_passed_on(client: Callable[..., Peer]) -> None:
    one, old = client("one", 5), client("old", 4)
    subscribe(one, ("a", 0))
    subscribe(old, ("a", 0))
    given = ((0x03, "t"), (0x09, b"\xff"), (0x26, ("k", "v")))
    one.send(mp.Publish("a", b"x", properties=given))
    assert one.packet() == mp.Publish("a", b"x", properties=given)
    assert old.packet() == mp.Publish("a", b"x")


@pytest.mark.parametrize("goodbye", [True, False])
def test_a_will_is_published_when_nobody_said_goodbye(
    client: Callable[..., Peer], version: int, goodbye: bool
) -> None:
    watch = client("watch", version)
    subscribe(watch, ("last/#", 2))
    one = client("one", version, will=mp.Will("last/will", b"gone", 1))
    if goodbye:
        one.send(mp.Disconnect())
        one.until_the_end()
        flush(watch)
    else:
        one.close()
        publish = watch.packet()
        assert publish == mp.Publish("last/will", b"gone", 1, publish.id)


def test_a_will_may_be_asked_for_and_may_wait(client: Callable[..., Peer]) -> None:
    watch = client("watch", 5)
    subscribe(watch, ("last", 0))
    one = client("one", 5, will=mp.Will("last", b"asked for"))
    one.send(mp.Disconnect(4))
    assert watch.packet() == mp.Publish("last", b"asked for")
    will = mp.Will("last", b"late", properties=((0x18, 1),))
    client("one", 5, will=will, properties=((0x11, 100),)).close()
    assert watch.packet() == mp.Publish("last", b"late")
    will = mp.Will("last", b"never", properties=((0x18, 100),))
    client("one", 5, True, clean=False, will=will, properties=((0x11, 100),)).close()
    client("one", 5, True, clean=False, properties=((0x11, 100),))
    flush(watch)


def test_a_session_waits_for_its_client(
    broker: Any, client: Callable[..., Peer], version: int
) -> None:
    keep = {"clean": False, "properties": ((0x11, 100),)}
    one, other = client("one", version, **keep), client("other", version)
    subscribe(one, ("a", 2))
    one.close()
    pump(broker.manager, lambda: broker.clients["one"].conn is None)
    other.send(mp.Publish("a", b"0"), mp.Publish("a", b"1", 1, 1), mp.Publish("a", b"2", 2, 2))
    other.packets(2)
    one = client("one", version, True, **keep)
    first, second = one.packets(2)
    assert (first, second) == (
        mp.Publish("a", b"1", 1, first.id),
        mp.Publish("a", b"2", 2, second.id),
    )
    one.send(mp.Ack(mp.PUBREC, second.id))
    assert one.packet() == mp.Ack(mp.PUBREL, second.id)
    one.close()
    one = client("one", version, True, **keep)
    assert one.packets(2) == [
        mp.Ack(mp.PUBREL, second.id),
        mp.Publish("a", b"1", 1, first.id, dup=True),
    ]
    one.close()
    one = client("one", version)  # clean
    one.close()
    client("one", version, False, **keep)


def test_a_session_is_forgotten_after_its_time(broker: Any, client: Callable[..., Peer]) -> None:
    one = client("one", 5, properties=((0x11, 1),))
    subscribe(one, ("a", 1))
    one.close()
    pump(broker.manager, lambda: broker.clients == {})
    assert broker.routes.cache_info().currsize == 0


def test_a_second_client_of_the_same_name_takes_over(
    client: Callable[..., Peer], version: int
) -> None:
    keep = {"clean": False, "properties": ((0x11, 100),)}
    first = client("one", version, **keep)
    subscribe(first, ("a", 1))
    second = client("one", version, True, **keep)
    assert first.until_the_end() == ([mp.Disconnect(0x8E)] if version == 5 else [])
    second.send(mp.Publish("a", b"x"))
    assert second.packet() == mp.Publish("a", b"x")


def test_whoever_has_no_name_is_given_one(broker: Any, client: Callable[..., Peer]) -> None:
    with Peer.of(broker.manager, broker.listener, 5) as peer:
        peer.send(mp.Connect("", version=5))
        assert (0x12, "auto-2") in peer.packet().properties
    with Peer.of(broker.manager, broker.listener) as peer:
        peer.send(mp.Connect("", clean=False))
        assert peer.until_the_end() == [mp.Connack(2)]
    with Peer.of(broker.manager, broker.listener) as peer:
        peer.send(b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x3c\0\x01c")
        assert peer.until_the_end() == [mp.Connack(1)]


def test_shared_subscriptions_are_refused(client: Callable[..., Peer], version: int) -> None:
    one = client("one", version)
    refused = 0x9E if version == 5 else 0x80
    assert subscribe(one, ("$share/g/a", 1), ("b", 1)) == [refused, 1]


def test_a_client_that_does_not_read_costs_the_broker_a_bounded_amount(
    broker: Any, client: Callable[..., Peer]
) -> None:
    keep = {"clean": False}
    one, other = client("one", **keep), client("other")
    subscribe(one, ("a", 1))
    one.close()
    pump(broker.manager, lambda: broker.clients["one"].conn is None)
    other.send(*[mp.Publish("a", b"x" * 60_000, 1, n) for n in range(1, 41)])
    other.packets(40)
    session = broker.clients["one"].session
    assert session.pending < 20
    assert session.pending_bytes <= 1 << 20


def test_our_clients_get_along_with_it(broker: Any) -> None:
    got: list[str] = []
    port = broker.listener.local_addr[1]
    with running(broker.manager), Manager() as manager:

        def handle(conn: Any, ev: int, data: Any) -> None:
            if ev == 16:  # MG_EV_MQTT_MSG
                got.append(data.text)

        url = f"mqtt://127.0.0.1:{port}"
        one = manager.mqtt_connect(url, handle, version=5)
        one.mqtt_sub("a/#", 2)
        pump(manager, lambda: any(client.subscriptions for client in [*broker.clients.values()]))
        two = manager.mqtt_connect(url)
        for n in range(100):
            two.mqtt_pub("a/b", str(n), n % 3)
        pump(manager, lambda: len(got) == 100)
    for qos in (0, 1, 2):  # QoS 0 does not wait for the others' windows
        assert [n for n in map(int, got) if n % 3 == qos] == [*range(qos, 100, 3)]


def test_the_program_serves_until_ctrl_c() -> None:
    with Program(EXAMPLE, "--port", "0") as program:
        port = int(program.line(r"listening on mqtt://127\.0\.0\.1:(\d+)")[1])
        with Manager() as manager:
            conn = manager.mqtt_connect(f"mqtt://127.0.0.1:{port}")
            session = conn.mqtt_session
            assert session is not None
            pump(manager, lambda: session.state == "open")
            conn.mqtt_disconnect()
            pump(manager, lambda: conn.id == 0)
        program.stop()
