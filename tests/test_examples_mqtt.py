"""The examples about MQTT do what their docstrings say, with mosquitto and the paho-mqtt library.

The larger broker, mqtt_broker.py, has a file of its own: test_mqtt_broker.py.
"""

from __future__ import annotations

import queue
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mqttpackets as mp
import pytest
from conftest import DEADLINE
from exampletalk import listening
from mqttpeers import HAS_CLIENTS, MOSQUITTO, NO_CLIENTS, NO_MOSQUITTO, Mosquitto, Peer
from programs import Program, load_example

from mongoose_py import Manager

paho = pytest.importorskip("paho.mqtt.client")
from paho.mqtt.enums import CallbackAPIVersion  # noqa: E402

needs_clients = pytest.mark.skipif(not HAS_CLIENTS, reason=NO_CLIENTS)
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason=NO_MOSQUITTO)
SERVER = "mqtt/mqtt_server.py"


class Paho:
    """A client by the paho-mqtt library, on a thread of its own."""

    def __init__(self, port: int, *filters: str, version: int = 4, qos: int = 0) -> None:
        self.got: queue.Queue[tuple[str, bytes]] = queue.Queue()
        ready = threading.Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=version)
        self.client.on_connect = lambda *_: self.client.subscribe([(one, qos) for one in filters])
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.on_message = lambda _c, _u, one: self.got.put((one.topic, one.payload))
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert ready.wait(DEADLINE)

    def publish(self, topic: str, data: bytes, qos: int = 0, retain: bool = False) -> None:
        self.client.publish(topic, data, qos, retain).wait_for_publish(DEADLINE)

    def next(self) -> tuple[str, bytes]:
        """Return topic and payload of the next message."""
        return self.got.get(timeout=DEADLINE)

    def __enter__(self) -> Paho:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.mark.parametrize(
    ("topic", "name", "expected"),
    [
        ("test/topic", "test/topic", True),
        ("test/topic", "test/+", True),
        ("test/topic/sub", "test/+", False),
        ("test/topic/sub", "test/#", True),
        ("test", "#", True),
        ("test/topic", "test/other", False),
        ("test", "test/+", False),
    ],
)
def test_topic_match_knows_wildcards(topic: str, name: str, expected: bool) -> None:
    assert load_example("mqtt/mqtt_server").topic_match(topic, name) is expected


# -- mqtt_server ------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_mqtt_server_passes_messages_on_to_whoever_wants_them(version: int, qos: int) -> None:
    with listening(SERVER, scheme="mqtt") as (program, port):
        with (
            Paho(port, "home/+/temperature", version=version, qos=qos) as exact,
            Paho(port, "home/#", "home/kitchen/+", version=9 - version, qos=qos) as everything,
        ):
            for topic in (
                "kitchen/light",
                "kitchen/temperature",
                "temperature",
                "hall/temperature",
            ):
                exact.publish(f"home/{topic}", topic.encode(), qos)
                exact.publish("elsewhere", b"x", qos)
            assert exact.next() == ("home/kitchen/temperature", b"kitchen/temperature")
            assert exact.next() == ("home/hall/temperature", b"hall/temperature")
            assert [everything.next()[1] for _ in range(4)] == [
                b"kitchen/light",  # and once, though two filters match
                b"kitchen/temperature",
                b"temperature",
                b"hall/temperature",
            ]
        assert program.stop() == "stopped\n"


@needs_clients
def test_mqtt_server_serves_the_tools_that_its_docstring_names() -> None:
    with listening(SERVER, scheme="mqtt") as (program, port):
        where = ["-h", "127.0.0.1", "-p", str(port)]
        with Paho(port, "home/+/temperature") as client:
            command = ["mosquitto_pub", *where, "-t", "home/kitchen/temperature", "-m", "21.5"]
            subprocess.run(command, check=True, timeout=DEADLINE)
            assert client.next() == ("home/kitchen/temperature", b"21.5")
        program.stop()


@contextmanager
def broker() -> Iterator[tuple[Manager, Any]]:
    """Run the example's broker in this process, polled by whoever waits for it."""
    module = load_example("mqtt/mqtt_server")
    with Manager(module.Broker()) as manager:
        yield manager, manager.mqtt_listen("mqtt://127.0.0.1:0")


def test_mqtt_server_answers_unsubscribe_and_ping() -> None:
    with broker() as (manager, listener), Peer.of(manager, listener) as peer:
        peer.send(mp.Connect("one"), mp.Subscribe(1, (("a", 1), ("$share/g/a", 1))))
        assert peer.packets(2)[1] == mp.Suback(1, (1, 0x80))
        peer.send(mp.Pingreq())
        assert peer.packet() == mp.Pingresp()
        peer.send(mp.Unsubscribe(2, ("a",)), mp.Publish("a", b"x", 0, 0), mp.Pingreq())
        assert [type(packet).__name__ for packet in peer.packets(2)] == ["Unsuback", "Pingresp"]


def test_mqtt_server_lets_the_newer_of_two_clients_with_one_name_stay() -> None:
    with (
        broker() as (manager, listener),
        Peer.of(manager, listener) as old,
        Peer.of(manager, listener) as new,
    ):
        old.send(mp.Connect("one"))
        old.packet()
        new.send(mp.Connect("one"), mp.Subscribe(1, (("a", 0),)))
        new.packets(2)
        old.until_the_end()
        new.send(mp.Publish("a", b"x", 0, 0))
        assert new.packet() == mp.Publish("a", b"x", 0, 0)


# -- mqtt_client ------------------------------------------------------------


@needs_mosquitto
def test_mqtt_client_answers_each_message_and_says_goodbye(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as mosquitto:
        words = ["--url", mosquitto.url, "--sub-topic", "to/+", "--pub-topic", "from"]
        with Program("mqtt/mqtt_client.py", *words, "--qos", "2") as program:
            program.line("^connected$")
            with Paho(mosquitto.port, "from", qos=2) as other:
                # Retained: it is there for whoever subscribes a moment later.
                other.publish("to/us", b"\xff", 2, retain=True)
                program.line(r"^got 'to/us' b'\\xff'$")
                assert other.next() == ("from", b"Got to/us -> \xff")
            assert program.stop() == "disconnected\nstopped\n"
        mosquitto.stop()
        assert any("Received DISCONNECT" in line for line in mosquitto.log)


@needs_mosquitto
def test_mqtt_client_comes_back_to_a_broker_that_was_away(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as first:
        port = first.port
        with Program("mqtt/mqtt_client.py", "--url", first.url) as program:
            program.line("^connected$")
            first.stop()
            program.line("^disconnected$")
            with Mosquitto(tmp_path, port=port):
                while program.line("^(connected|disconnected)$")[1] != "connected":
                    pass  # attempts that came too early
                with Paho(port, "mg/123/tx") as other:
                    other.publish("mg/123/rx", b"again", retain=True)
                    assert other.next() == ("mg/123/tx", b"Got mg/123/rx -> again")
                program.process.terminate()
                code, output, _ = program.finish()
    assert (code, output[-21:]) == (0, "disconnected\nstopped\n")
