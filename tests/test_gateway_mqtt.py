"""MQTT devices of the gateway: what they measure, and how a page switches them.

The devices are other people's: paho-mqtt and mosquitto_pub.
"""

from __future__ import annotations

import queue
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mqttpeers import HAS_CLIENTS, NO_CLIENTS
from programs import DEADLINE, Gateway, Stream, load_example, running

pytest.importorskip("paho.mqtt", minversion="2")
import paho.mqtt.client as paho

store = load_example("gateway/store")
versions = pytest.mark.parametrize("version", [4, 5], ids=["3.1.1", "5"])


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """Run a gateway of the test's own."""
    with running() as gateway:
        yield gateway


@pytest.fixture(scope="module")
def shared() -> Iterator[Gateway]:
    """Run a gateway for the tests of what changes nothing."""
    with running() as gateway:
        yield gateway


class Device:
    """A device on paho-mqtt; what it is told is queued."""

    def __init__(self, gateway: Gateway, name: str, version: int = 4) -> None:
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id=name,
            protocol=version,
            reconnect_on_failure=False,
        )
        self.told: queue.Queue[Any] = queue.Queue()
        self.granted: queue.Queue[Any] = queue.Queue()
        self.client.on_message = lambda client, data, message: self.told.put(message)
        self.client.on_subscribe = lambda *args: self.granted.put(args[3])
        self.client.will_set("actuators/lamp/state", "offline", 1, True)
        self.client.connect("127.0.0.1", gateway.mqtt_port)
        self.client.loop_start()

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def publish(self, topic: str, payload: str, qos: int = 1, retain: bool = False) -> None:
        self.client.publish(topic, payload, qos, retain).wait_for_publish(DEADLINE)

    def subscribe(self, topic: str) -> None:
        self.client.subscribe(topic, 1)
        self.granted.get(timeout=DEADLINE)


@versions
def test_a_measurement_by_mqtt_reaches_the_view_and_the_api(gateway: Gateway, version: int) -> None:
    with Stream(gateway) as stream, Device(gateway, "desk", version) as device:
        for qos in (0, 1, 2):
            device.publish("sensors/temperature", f"2{qos}.5 °C", qos)
        values = stream.values_of("temperature")
        assert [next(values) for _ in range(3)] == [20.5, 21.5, 22.5]
    sensor = gateway.api("sensors/temperature")
    assert (sensor["unit"], sensor["via"]) == ("°C", "mqtt")
    (seen,) = gateway.api("devices")
    assert (seen["name"], seen["count"]) == ("mqtt desk", 3)
    assert 0 <= sensor["seen"] - seen["seen"] < 1000


@pytest.mark.skipif(not HAS_CLIENTS, reason=NO_CLIENTS)
@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
def test_mosquitto_pub_is_a_sensor(gateway: Gateway, version: str) -> None:
    where = ["-h", "127.0.0.1", "-p", str(gateway.mqtt_port), "-V", version, "-q", "2"]
    command = ["mosquitto_pub", *where, "-t", "sensors/a", "-m", "1 V"]
    subprocess.run(command, check=True, timeout=DEADLINE)
    assert gateway.api("sensors/a")["value"] == 1


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("sensors/a", "x"),
        ("sensors/a b", "1"),
        ("sensors/", "1"),
        ("sensors/a/b", "1"),
        ("sensors/a", "1 V V"),
        ("sensors/a", "1" * 201),
        ("actuators/lamp/state", "ON"),
        ("actuators/a b/state", "on"),
        ("actuators/nobody/set", "on"),  # nobody knows it
    ],
)
def test_what_is_no_measurement_and_no_state_is_counted(
    shared: Gateway, topic: str, payload: str
) -> None:
    before = [shared.api(what) for what in ("sensors", "actuators")]
    rejected = shared.api("stats")["rejected"]
    with Device(shared, "desk") as device:
        device.publish(topic, payload)
    assert shared.api("stats")["rejected"] == rejected + 1
    assert [shared.api(what) for what in ("sensors", "actuators")] == before


def test_other_topics_pass_between_devices_and_are_not_ours(gateway: Gateway) -> None:
    with Device(gateway, "one") as one, Device(gateway, "two") as two:
        two.subscribe("home/#")
        one.publish("home/kitchen", "warm")
        assert two.told.get(timeout=DEADLINE).payload == b"warm"
    assert gateway.api("stats")["rejected"] == 0


@versions
def test_a_page_switches_a_device_and_sees_it_asked_and_acknowledged(
    gateway: Gateway, version: int
) -> None:
    with Stream(gateway) as page, Device(gateway, "hall", version) as device:
        device.subscribe("actuators/lamp/set")
        device.publish("actuators/lamp/state", "off", retain=True)
        page.actuator("lamp", state="off", asked="")
        page.send("switch lamp on")
        told = device.told.get(timeout=DEADLINE)
        assert (told.topic, told.payload, told.qos) == ("actuators/lamp/set", b"on", 1)
        asked = page.actuator("lamp", state="off", asked="on")
        device.publish("actuators/lamp/state", "on", retain=True)
        done = page.actuator("lamp", state="on", asked="on")
        assert asked["state_at"] <= asked["asked_at"] == done["asked_at"] <= done["state_at"]
        assert gateway.api("actuators") == [done]


def test_a_device_that_was_away_gets_the_last_command_when_it_is_back(gateway: Gateway) -> None:
    with Stream(gateway) as page:
        with Device(gateway, "hall") as device:
            device.publish("actuators/lamp/state", "off", retain=True)
            page.actuator("lamp", state="off")
        for word in ("on", "off", "on"):
            page.send(f"switch lamp {word}")
            page.actuator("lamp", asked=word)
        with Device(gateway, "hall") as device:
            device.subscribe("actuators/lamp/set")
            told = device.told.get(timeout=DEADLINE)
            assert (told.payload, told.qos, told.retain) == (b"on", 1, True)
            assert device.told.empty()


def test_a_command_survives_a_restart_of_the_gateway(tmp_path: Path) -> None:
    file = str(tmp_path / "gateway.db")
    with running("--database", file) as gateway, Stream(gateway) as page:
        with Device(gateway, "hall") as device:
            device.publish("actuators/lamp/state", "off", retain=True)
            page.actuator("lamp", state="off")
        page.send("switch lamp on")
        before = page.actuator("lamp", asked="on")
    with running("--database", file) as gateway, Stream(gateway) as page:
        again = page.actuator("lamp", asked="on", state="offline")
        assert again["asked_at"] == before["asked_at"]
        with Device(gateway, "hall") as device:
            device.subscribe("actuators/lamp/set")
            assert device.told.get(timeout=DEADLINE).payload == b"on"


def test_a_device_that_is_lost_is_shown_as_offline_by_its_will(gateway: Gateway) -> None:
    with Stream(gateway) as page, Device(gateway, "hall") as device:
        device.publish("actuators/lamp/state", "on", retain=True)
        seen = page.actuator("lamp", state="on")
        device.client.socket().shutdown(2)
        lost = page.actuator("lamp", state="offline")
        assert seen["state_at"] <= lost["state_at"]


def test_a_device_that_takes_its_state_back_is_no_actuator_any_more(gateway: Gateway) -> None:
    with Device(gateway, "hall") as device:
        device.publish("actuators/lamp/state", "on", retain=True)
        assert [one["name"] for one in gateway.api("actuators")] == ["lamp"]
        device.publish("actuators/lamp/state", "", retain=True)
        assert gateway.api("actuators") == []


@pytest.mark.parametrize(
    "command",
    [
        "switch lamp",
        "switch lamp ON",
        "switch lamp on on",
        "switch none on",
        "switch",
        "",
        "alarm none 1 2",
        "alarm t 1",
        "alarm t a 2",
        "alarm t 2 1",
        "alarm t nan 1",
        "alarm t 1e16 -",
        "<script>",
    ],
)
def test_a_command_that_is_none_is_refused_with_a_reason(shared: Gateway, command: str) -> None:
    with Stream(shared) as page, Device(shared, "hall") as device:
        device.publish("actuators/lamp/state", "off", retain=True)
        device.publish("sensors/t", "1")
        page.send(command)
        assert next(data["why"] for kind, data in page.events() if kind == "refused")
    assert shared.api("actuators")[0]["asked"] == ""
    assert shared.api("sensors/t")["alarm"] == ""


def test_a_device_cannot_send_commands_of_pages(gateway: Gateway) -> None:
    with Device(gateway, "hall") as lamp, gateway.websocket("/device") as device:
        lamp.publish("actuators/lamp/state", "off", retain=True)
        device.send("switch lamp on\na 1")
        with Stream(gateway) as page:
            assert next(page.values_of("a")) == 1
    assert gateway.api("actuators")[0]["asked"] == ""


def test_of_too_many_actuators_those_heard_of_last_are_kept(gateway: Gateway) -> None:
    most = store.MOST["actuator"]
    with Stream(gateway) as page, Device(gateway, "hall") as device:
        device.publish("actuators/old/state", "on")
        page.actuator("old", state="on")
        for i in range(most):
            device.publish(f"actuators/a{i}/state", "on")
        page.actuator(f"a{most - 1}", state="on")
        next(page.events())
        next(page.events())  # what was too much went when the rest was saved
    assert {one["name"] for one in gateway.api("actuators")} == {f"a{i}" for i in range(most)}


def test_clients_beyond_the_limit_are_refused(gateway: Gateway) -> None:
    refused: queue.Queue[Any] = queue.Queue()
    for i in range(256):  # sessions that stay without a connection
        client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=f"c{i}", clean_session=False
        )
        client.connect("127.0.0.1", gateway.mqtt_port)
        client.loop()
        client.disconnect()
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="late", clean_session=False)
    client.on_connect = lambda *args: refused.put(args[3])
    client.connect("127.0.0.1", gateway.mqtt_port)
    while refused.empty():
        client.loop(1)
    assert refused.get().value == 0x88  # how paho shows the 3 of 3.1.1: server unavailable
    client.disconnect()


def test_a_packet_above_the_limit_ends_its_connection_only(gateway: Gateway) -> None:
    with Device(gateway, "other") as other:
        with Device(gateway, "huge") as device:
            gone: queue.Queue[Any] = queue.Queue()
            device.client.on_disconnect = lambda *args: gone.put(args)
            device.client.publish("sensors/a", b"x" * 5000, 1)
            gone.get(timeout=DEADLINE)
        other.publish("sensors/a", "1")
    assert gateway.api("sensors/a")["count"] == 1
