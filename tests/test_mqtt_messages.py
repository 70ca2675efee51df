"""What MQTT clients publish, receive and subscribe to (OASIS MQTT 3.1.1 and 5.0)."""

from __future__ import annotations

from typing import Any, Callable

import mqttpackets as mp
import pytest
from conftest import pump
from mqtttalk import TOO_LONG, Listener

from mongoose_py import (
    MG_EV_MQTT_MSG,
    Error,
    Limits,
)

# -- publishing -------------------------------------------------------------


def test_publish_is_sent_as_the_specification_writes_it(opened: Callable[..., Any]) -> None:
    manager, conn, peer = opened()
    assert conn.mqtt_pub("w", "m") == 0
    assert conn.mqtt_pub("w", b"m", 1, True) == 1
    assert conn.mqtt_pub("w", bytearray(b"m"), qos=2) == 2
    wire = bytes.fromhex("30 04 0001 77 6d  33 06 0001 77 0001 6d  34 06 0001 77 0002 6d")
    pump(manager, lambda: peer.receive() or len(peer.wire) >= len(wire))
    assert peer.wire == wire


def test_all_bytes_arrive(opened: Callable[..., Any], version: int) -> None:
    _, conn, peer = opened(version=version)
    for size in (0, 1, 127, 128, 16383, 16384, 100_000):
        payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
        conn.mqtt_pub("t", payload)
        assert peer.packet() == mp.Publish("t", payload)


def test_properties_are_sent_with_a_message(opened: Callable[..., Any]) -> None:
    _, conn, peer = opened(version=5)
    conn.mqtt_pub(
        "a",
        "x",
        properties={
            "message_expiry_interval": 60,
            "response_topic": "b",
            "correlation_data": b"\0\xff",
            "payload_format_indicator": True,
            "user_property": {"k": "v", "l": ""},
        },
    )
    assert peer.packet() == mp.Publish(
        "a",
        b"x",
        properties=(
            (0x02, 60),
            (0x08, "b"),
            (0x09, b"\0\xff"),
            (0x01, 1),
            (0x26, ("k", "v")),
            (0x26, ("l", "")),
        ),
    )


@pytest.mark.parametrize(
    ("args", "error", "shows"),
    [
        (("", "x"), ValueError, "empty"),
        (("a/+", "x"), ValueError, r"a/\+"),
        (("#", "x"), ValueError, "#"),
        (("a\0", "x"), ValueError, "NUL"),
        ((TOO_LONG, "x"), ValueError, "65536"),
        ((5, "x"), TypeError, "int"),
        ((b"a", "x"), TypeError, "bytes"),
        (("a", 5), TypeError, "int"),
        (("a", None), TypeError, "None"),
        (("a", "x", 3), ValueError, "3"),
        (("a", "x", 300), ValueError, "300"),
        (("a", "x", -1), ValueError, "-1"),
        (("\ud800", "x"), ValueError, "surrogate"),
    ],
)
def test_what_cannot_be_published_raises_and_sends_nothing(
    opened: Callable[..., Any], args: Any, error: type[Exception], shows: str
) -> None:
    _, conn, peer = opened()
    with pytest.raises(error, match=shows):
        conn.mqtt_pub(*args)
    with pytest.raises(error, match=shows):
        conn.mqtt_session.mqtt_pub(*args)
    conn.mqtt_pub("next", "x")
    assert peer.packet() == mp.Publish("next", b"x")


@pytest.mark.parametrize(
    "properties",
    [
        {"receive_maximum": 5},  # not of a PUBLISH
        {"content_type": TOO_LONG},
        {"payload_format_indicator": 2},
        {"response_topic": "a/#"},
        [("content_type", "a"), ("content_type", "b")],
        {"topic_alias": 1},  # they have announced none
    ],
    ids=str,
)
def test_properties_that_do_not_fit_raise_and_send_nothing(
    opened: Callable[..., Any], properties: Any
) -> None:
    _, conn, peer = opened(version=5)
    with pytest.raises((ValueError, Error)):
        conn.mqtt_pub("a", "x", properties=properties)
    conn.mqtt_pub("next", "x")
    assert peer.packet() == mp.Publish("next", b"x")


@pytest.mark.parametrize(
    ("properties", "shows"),
    [
        (5, "properties must be .* not 5"),
        ("ab", "properties must be .* not 'ab'"),
        ([5], "not 5"),
        ([("content_type",)], "content_type"),
        ({"user_property": 7}, "user_property must be .* not 7"),
        ({"user_property": ["ab"]}, "user_property: a pair is wanted, not 'ab'"),
        ({"user_property": [("a", "b", "c")]}, "'c'"),
        ({"user_property": [("a", 1)]}, "user_property must be str, not int"),
        ({"message_expiry_interval": "x"}, "message_expiry_interval must be .* not 'x'"),
        ({"message_expiry_interval": 1.5}, "message_expiry_interval must be .* not 1.5"),
        ({"correlation_data": 1}, "correlation_data"),
    ],
    ids=str,
)
def test_properties_of_the_wrong_type_are_shown(
    opened: Callable[..., Any], properties: Any, shows: str
) -> None:
    _, conn, peer = opened(version=5)
    with pytest.raises(TypeError, match=shows):
        conn.mqtt_pub("a", "x", properties=properties)
    conn.mqtt_pub("next", "x")
    assert peer.packet() == mp.Publish("next", b"x")


def test_version_4_has_no_properties_and_says_so(opened: Callable[..., Any]) -> None:
    _, conn, peer = opened()
    with pytest.raises(ValueError, match="content_type"):
        conn.mqtt_pub("a", "x", properties={"content_type": "x"})
    with pytest.raises(ValueError, match="version=5"):
        conn.mqtt_sub("a", no_local=True)
    with pytest.raises(ValueError):
        conn.mqtt_unsub("a", properties={"user_property": [("a", "b")]})
    conn.mqtt_disconnect()
    assert peer.until_the_end() == [mp.Disconnect()]


def test_what_the_server_has_ruled_out_is_not_sent(opened: Callable[..., Any]) -> None:
    answer = mp.Connack(properties=((0x24, 1), (0x25, 0), (0x27, 40)))
    _, conn, peer = opened(version=5, answer=answer)
    for args in [("a", "x", 2), ("a", "x", 0, True), ("a", "x" * 40)]:
        with pytest.raises(Error, match="peer"):
            conn.mqtt_pub(*args)
    conn.mqtt_pub("a", "x", 1)
    assert peer.packet() == mp.Publish("a", b"x", 1, 1)


def test_no_more_messages_are_under_way_than_the_server_takes(opened: Callable[..., Any]) -> None:
    _, conn, peer = opened(version=5, answer=mp.Connack(properties=((0x21, 2),)))
    session = conn.mqtt_session
    ids = [conn.mqtt_pub("a", str(n), 1) for n in range(5)]
    assert session.pending == 5
    first, second = peer.packets(2)
    assert (first.payload, second.payload) == (b"0", b"1")
    conn.mqtt_pub("a", "not held back")
    assert peer.packet() == mp.Publish("a", b"not held back")
    for n in range(5):
        peer.send(mp.Ack(mp.PUBACK, ids[n]))
        if n < 3:
            assert peer.packet() == mp.Publish("a", str(n + 2).encode(), 1, ids[n + 2])
    pump(peer.manager, lambda: session.pending == 0)


def test_a_message_of_qos_2_takes_four_packets(opened: Callable[..., Any], version: int) -> None:
    _, conn, peer = opened(version=version)
    number = conn.mqtt_pub("a", "x", 2)
    assert peer.packet() == mp.Publish("a", b"x", 2, number)
    peer.send(mp.Ack(mp.PUBREC, number))
    assert peer.packet() == mp.Ack(mp.PUBREL, number)
    assert conn.mqtt_session.pending == 1
    peer.send(mp.Ack(mp.PUBCOMP, number))
    pump(peer.manager, lambda: conn.mqtt_session.pending == 0)


def test_a_failed_pubrec_ends_it(opened: Callable[..., Any]) -> None:
    _, conn, peer = opened(version=5)
    number = conn.mqtt_pub("a", "x", 2)
    peer.packet()
    peer.send(mp.Ack(mp.PUBREC, number, 0x97))
    pump(peer.manager, lambda: conn.mqtt_session.pending == 0)
    conn.mqtt_pub("next", "x")
    assert peer.packet() == mp.Publish("next", b"x")


def test_packet_identifiers_are_used_again_only_when_they_are_free(
    opened: Callable[..., Any],
) -> None:
    _, conn, peer = opened(limits=Limits(mqtt_inflight=0))
    held = conn.mqtt_pub("a", "held", 1)
    assert peer.packet().id == held
    seen = set()
    for _ in range(70):
        some = [conn.mqtt_pub("a", "", 1) for _ in range(1000)]
        peer.send(*[mp.Ack(mp.PUBACK, packet.id) for packet in peer.packets(1000)])
        pump(peer.manager, lambda: conn.mqtt_session.pending == 1)
        seen.update(some)
    assert seen == {*range(1, 65536)} - {held}


def test_messages_above_the_queue_limit_are_refused(opened: Callable[..., Any]) -> None:
    _, conn, peer = opened(limits=Limits(mqtt_queue=1000))
    conn.mqtt_pub("a", "x" * 600, 1)
    with pytest.raises(Error, match="600 bytes"):
        conn.mqtt_pub("a", "x" * 600, 1)
    assert conn.mqtt_session.pending == 1
    peer.send(mp.Ack(mp.PUBACK, peer.packet().id))
    pump(peer.manager, lambda: conn.mqtt_session.pending == 0)
    assert conn.mqtt_session.pending_bytes == 0
    conn.mqtt_pub("a", "x" * 600, 1)


# -- receiving --------------------------------------------------------------


def test_messages_are_acknowledged_by_themselves(opened: Callable[..., Any], version: int) -> None:
    recorder = Listener()
    _, _, peer = opened(recorder, version=version)
    peer.send(mp.Publish("a", b"0"), mp.Publish("a", b"1", 1, 10), mp.Publish("a", b"2", 2, 11))
    assert peer.packets(2) == [mp.Ack(mp.PUBACK, 10), mp.Ack(mp.PUBREC, 11)]
    peer.send(mp.Ack(mp.PUBREL, 11))
    assert peer.packet() == mp.Ack(mp.PUBCOMP, 11)
    assert [data[2] for data in recorder.data(MG_EV_MQTT_MSG)] == [b"0", b"1", b"2"]


def test_a_message_of_qos_2_that_comes_again_is_delivered_once(
    opened: Callable[..., Any], version: int
) -> None:
    recorder = Listener()
    _, _, peer = opened(recorder, version=version)
    for dup in (False, True, True):
        peer.send(mp.Publish("a", b"x", 2, 9, dup=dup))
        assert peer.packet() == mp.Ack(mp.PUBREC, 9)
    peer.send(mp.Ack(mp.PUBREL, 9))
    peer.packet()
    peer.send(mp.Publish("a", b"another", 2, 9))  # the identifier is free again
    peer.packet()
    assert [data[2] for data in recorder.data(MG_EV_MQTT_MSG)] == [b"x", b"another"]


def test_a_pubrel_nobody_waits_for_is_answered_with_0x92(opened: Callable[..., Any]) -> None:
    _, _, peer = opened(version=5)
    peer.send(mp.Ack(mp.PUBREL, 9))
    assert peer.packet() == mp.Ack(mp.PUBCOMP, 9, 0x92)


def test_topic_aliases_are_what_they_stand_for(opened: Callable[..., Any]) -> None:
    recorder = Listener()
    manager, _, peer = opened(recorder, version=5, properties={"topic_alias_maximum": 2})
    peer.send(
        mp.Publish("a/b", b"1", properties=((0x23, 1),)),
        mp.Publish("c", b"2", properties=((0x23, 2),)),
        mp.Publish("", b"3", properties=((0x23, 1),)),
        mp.Publish("d", b"4", properties=((0x23, 1),)),
        mp.Publish("", b"5", properties=((0x23, 1),)),
        mp.Publish("", b"6", properties=((0x23, 2),)),
    )
    pump(manager, recorder.saw(MG_EV_MQTT_MSG, 6))
    topics = [data[1] for data in recorder.data(MG_EV_MQTT_MSG)]
    assert topics == ["a/b", "c", "a/b", "d", "d", "c"]


# -- subscribing ------------------------------------------------------------


def test_subscribe_is_sent_as_the_specification_writes_it(opened: Callable[..., Any]) -> None:
    manager, conn, peer = opened()
    assert conn.mqtt_sub("w", 1) == 1
    assert conn.mqtt_unsub("w") == 2
    wire = bytes.fromhex("82 06 0001 0001 77 01  a2 05 0002 0001 77")
    pump(manager, lambda: peer.receive() or len(peer.wire) >= len(wire))
    assert peer.wire == wire


def test_several_filters_go_in_one_packet(opened: Callable[..., Any]) -> None:
    _, conn, peer = opened()
    conn.mqtt_sub([("a/+", 1), "b/#", ("$share/g/c", 2)], 2)
    assert peer.packet() == mp.Subscribe(1, (("a/+", 1), ("b/#", 2), ("$share/g/c", 2)))
    conn.mqtt_unsub(["a/+", "b/#"])
    assert peer.packet() == mp.Unsubscribe(2, ("a/+", "b/#"))


def test_subscriptions_of_version_5_have_options(opened: Callable[..., Any]) -> None:
    _, conn, peer = opened(version=5)
    conn.mqtt_sub(
        "a",
        1,
        no_local=True,
        retain_as_published=True,
        retain_handling=2,
        properties={"subscription_identifier": 268_435_455},
    )
    assert peer.packet() == mp.Subscribe(1, (("a", 0b101101),), ((0x0B, 268_435_455),))
    conn.mqtt_unsub("a", properties={"user_property": ("a", "b")})
    assert peer.packet() == mp.Unsubscribe(2, ("a",), ((0x26, ("a", "b")),))


@pytest.mark.parametrize(
    ("args", "shows"),
    [
        (("",), "''"),
        (("a#",), "a#"),
        (("a/#/b",), "a/#/b"),
        (("a+/b",), r"a\+/b"),
        (("a\0",), "NUL"),
        ((TOO_LONG,), "65536"),
        (("$share/g",), "share"),
        (("$share//a",), "share"),
        (("$share/+/a",), "share"),
        (("a", 3), "3"),
        (([("a", 4)],), "4"),
        (([],), "at least one"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_subscribed_to_raises_and_sends_nothing(
    opened: Callable[..., Any], args: Any, shows: str
) -> None:
    _, conn, peer = opened()
    for topic in (5, b"a", [5], ["a", ("a",)], [("a", 1, 2)]):
        with pytest.raises(TypeError, match="topic"):
            conn.mqtt_sub(topic)
    with pytest.raises(ValueError, match=shows):
        conn.mqtt_sub(*args)
    if len(args) == 1 and isinstance(args[0], str):
        with pytest.raises(ValueError, match=shows):
            conn.mqtt_unsub(*args)
    conn.mqtt_sub("next")
    assert peer.packet() == mp.Subscribe(1, (("next", 0),))
