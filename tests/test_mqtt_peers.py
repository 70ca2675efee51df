"""Other people's MQTT: mosquitto and its tools, the paho-mqtt library."""

from __future__ import annotations

import itertools
import queue
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable

import pytest
from conftest import DEADLINE, pump, running
from mqttpeers import HAS_CLIENTS, NO_CLIENTS, Mosquitto

from mongoose_py import (
    MG_EV_MQTT_CMD,
    MG_EV_MQTT_MSG,
    MG_EV_MQTT_OPEN,
    Connection,
    Handler,
    Manager,
    MqttMessage,
    Reconnect,
    mqtt_match,
)

paho = pytest.importorskip("paho.mqtt.client")
from paho.mqtt.enums import CallbackAPIVersion  # noqa: E402
from paho.mqtt.packettypes import PacketTypes  # noqa: E402
from paho.mqtt.properties import Properties  # noqa: E402
from paho.mqtt.subscribeoptions import SubscribeOptions  # noqa: E402

needs_clients = pytest.mark.skipif(not HAS_CLIENTS, reason=NO_CLIENTS)
PAYLOADS = [b"", b"x", bytes(range(256)), b"y" * 16384, b"z" * 300_000]
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


class Collector(Handler):
    """Subscribes when it is open, and writes down what comes."""

    def __init__(self, topic: Any, qos: int = 0, **options: Any) -> None:
        self.topic, self.qos, self.options = topic, qos, options
        self.subscribed: list[list[int]] = []
        self.got: list[tuple[str, bytes, int, bool]] = []
        self.properties: list[dict[str, Any]] = []

    def on_mqtt_open(self, conn: Connection, code: int) -> None:
        assert code == 0
        conn.mqtt_sub(self.topic, self.qos, **self.options)

    def on_mqtt_command(self, conn: Connection, message: MqttMessage) -> None:
        if message.cmd == 9:
            self.subscribed.append(message.reason_codes)

    def on_mqtt_message(self, conn: Connection, message: MqttMessage) -> None:
        self.got.append((message.topic, message.data, message.qos, message.retain))
        self.properties.append(message.properties_by_name())


def subscriber(manager: Manager, broker: Mosquitto, collector: Collector, **options: Any) -> Any:
    conn = manager.mqtt_connect(broker.url, collector, **options)
    pump(manager, lambda: collector.subscribed)
    return conn


# -- mosquitto --------------------------------------------------------------


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_go_through_mosquitto_and_back(
    mosquitto: Mosquitto, make_manager: Callable[..., Manager], version: int, qos: int
) -> None:
    manager = make_manager()
    collector = Collector("back/+/#", 2)
    conn = subscriber(manager, mosquitto, collector, version=version)
    for payload in PAYLOADS:
        conn.mqtt_pub(f"back/{qos}/é", payload, qos)
    pump(manager, lambda: len(collector.got) == len(PAYLOADS))
    assert collector.got == [(f"back/{qos}/é", payload, qos, False) for payload in PAYLOADS]
    pump(manager, lambda: conn.mqtt_session.pending == 0)
    conn.mqtt_disconnect()
    pump(manager, lambda: conn.id == 0)


def test_mosquitto_passes_properties_on(
    mosquitto: Mosquitto, make_manager: Callable[..., Manager]
) -> None:
    manager = make_manager()
    options = {"properties": {"subscription_identifier": 77}}
    collector = Collector("props", 1, **options)
    conn = subscriber(manager, mosquitto, collector, version=5)
    given = {
        "payload_format_indicator": 1,
        "content_type": "text/plain",
        "response_topic": "answer/here",
        "correlation_data": b"\0\xff",
        "user_property": [("a", "1"), ("a", "2")],
    }
    conn.mqtt_pub("props", "x", 1, properties=given)
    pump(manager, lambda: collector.got)
    assert collector.properties == [{**given, "subscription_identifier": [77]}]


def test_mosquitto_keeps_retained_messages(
    mosquitto: Mosquitto, make_manager: Callable[..., Manager], version: int
) -> None:
    manager = make_manager()
    topic = f"retained/{version}"
    conn = manager.mqtt_connect(mosquitto.url, version=version)
    conn.mqtt_pub(topic, "kept", 1, True)
    pump(manager, lambda: conn.mqtt_session.pending == 0)
    collector = Collector(topic)
    subscriber(manager, mosquitto, collector, version=version)
    pump(manager, lambda: collector.got)
    assert collector.got == [(topic, b"kept", 0, True)]
    conn.mqtt_pub(topic, "", 1, True)


def test_mosquitto_publishes_our_will(
    mosquitto: Mosquitto, make_manager: Callable[..., Manager], version: int
) -> None:
    manager = make_manager()
    collector = Collector("will/#", 2)
    subscriber(manager, mosquitto, collector)
    conn = manager.mqtt_connect(
        mosquitto.url,
        version=version,
        will_topic="will/é",
        will_message=b"\0gone",
        will_qos=2,
    )
    pump(manager, lambda: conn.mqtt_session.state == "open")
    conn.close()
    pump(manager, lambda: collector.got)
    assert collector.got == [("will/é", b"\0gone", 2, False)]


def test_options_of_subscriptions_reach_mosquitto(
    mosquitto: Mosquitto, make_manager: Callable[..., Manager]
) -> None:
    manager = make_manager()
    deaf = Collector("options", 0, no_local=True, retain_as_published=True, retain_handling=2)
    conn = subscriber(manager, mosquitto, deaf, version=5)
    other = manager.mqtt_connect(mosquitto.url)
    conn.mqtt_pub("options", "own")
    other.mqtt_pub("options", "not own", 0, True)
    pump(manager, lambda: deaf.got)
    assert deaf.got == [("options", b"not own", 0, True)]
    late = Collector("options", 0, retain_handling=2)
    subscriber(manager, mosquitto, late, version=5)
    other.mqtt_pub("options", "", 0, True)
    pump(manager, lambda: late.got)
    assert late.got == [("options", b"", 0, False)]


def test_a_client_comes_back_to_a_restarted_mosquitto(
    tmp_path: Path, make_manager: Callable[..., Manager], mosquitto: Mosquitto
) -> None:
    """What it has subscribed to comes before what it has to say."""
    manager = make_manager()
    collector = Collector("never")
    with Mosquitto(tmp_path) as broker:
        conn = manager.mqtt_connect(
            broker.url, collector, reconnect=Reconnect(0.01, 0.05), client_id="c"
        )
        session = conn.mqtt_session
        assert session is not None
        session.mqtt_sub("restart", 1)
        pump(manager, lambda: len(collector.subscribed) == 2)
    pump(manager, lambda: session.state != "open")
    session.mqtt_pub("restart", "in between", 1)
    with Mosquitto(tmp_path, port=broker.port):
        pump(manager, lambda: collector.got)
        assert collector.got == [("restart", b"in between", 1, False)]


_numbers = itertools.count()


@contextmanager
def tool(command: list[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Run one of mosquitto's tools; it does not outlive the block."""
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            process.kill()


@needs_clients
@pytest.mark.parametrize("qos", ["0", "1", "2"])
def test_mosquitto_sub_gets_what_we_publish(
    mosquitto: Mosquitto, make_manager: Callable[..., Manager], version: int, qos: str
) -> None:
    manager = make_manager()
    name = f"tool-{next(_numbers)}"
    topic = f"tools/{name}"
    command = ["mosquitto_sub", "-p", str(mosquitto.port), "-t", f"+/{name}", "-q", qos]
    command += ["-V", "5" if version == 5 else "311", "-C", "3", "-v", "-i", name]
    with tool(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pump(manager, lambda: any(f"SUBACK to {name}" in line for line in mosquitto.log))
        conn = manager.mqtt_connect(mosquitto.url, version=version)
        for text in ("one", "zwei", "trois é"):
            conn.mqtt_pub(topic, text, int(qos))
        pump(manager, lambda: process.poll() is not None)
        said = process.stdout.read().splitlines()
    assert said == [f"{topic} one", f"{topic} zwei", f"{topic} trois é"]


@needs_clients
@pytest.mark.parametrize("qos", ["0", "1", "2"])
def test_mosquitto_pub_reaches_our_server(
    make_manager: Callable[..., Manager], version: int, qos: str
) -> None:
    got: list[tuple[str, bytes, int, bool]] = []

    class Server(Handler):
        def on_mqtt_command(self, conn: Connection, message: MqttMessage) -> None:
            if message.cmd == 1:
                assert (message.username, message.password) == ("me", b"secret")
                conn.mqtt_connack()

        def on_mqtt_message(self, conn: Connection, message: MqttMessage) -> None:
            got.append((message.topic, message.data, message.qos, message.retain))

    manager = make_manager()
    listener = manager.mqtt_listen("mqtt://127.0.0.1:0", Server())
    assert listener.local_addr is not None
    command = ["mosquitto_pub", "-p", str(listener.local_addr[1]), "-t", "a/b", "-q", qos, "-r"]
    command += ["-V", "5" if version == 5 else "311", "-u", "me", "-P", "secret", "-l"]
    with tool(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"one\ntwo\n")
        process.stdin.close()
        pump(manager, lambda: process.poll() is not None)
        assert process.returncode == 0
    assert got == [("a/b", b"one", int(qos), True), ("a/b", b"two", int(qos), True)]


# -- paho-mqtt --------------------------------------------------------------


class Paho:
    """A paho-mqtt client on a thread of its own."""

    def __init__(self, port: int, version: int, **options: Any) -> None:
        self.messages: queue.Queue[Any] = queue.Queue()
        self.events: queue.Queue[Any] = queue.Queue()
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2,
            protocol=paho.MQTTv5 if version == 5 else paho.MQTTv311,
            **options,
        )
        self.client.on_message = lambda _c, _u, message: self.messages.put(message)
        self.client.on_connect = lambda *args: self.events.put(("open", args[3]))
        self.client.on_subscribe = lambda *args: self.events.put(("sub", args[3]))
        self.client.on_disconnect = lambda *args: self.events.put(("end", args[3]))
        self.port = port

    def __enter__(self) -> Paho:
        self.client.connect("127.0.0.1", self.port)
        self.client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def event(self) -> Any:
        """Return the next event."""
        return self.events.get(timeout=DEADLINE)

    def message(self) -> tuple[str, bytes, int, bool]:
        """Return the next message."""
        one = self.messages.get(timeout=DEADLINE)
        return one.topic, one.payload, one.qos, one.retain


class Echo(Handler):
    """A server that grants everything and publishes to a client what it has published."""

    def on_mqtt_command(self, conn: Connection, message: MqttMessage) -> None:
        if message.cmd == 1:
            if message.client_id == "bad":
                conn.mqtt_connack(0x87 if message.version == 5 else 5)
            else:
                conn.mqtt_connack()
        elif message.cmd == 8:
            conn.userdata = [name for name, _ in message.subscriptions]
            conn.mqtt_suback(message.id, [options & 3 for _, options in message.subscriptions])
        elif message.cmd == 10:
            conn.mqtt_unsuback(message.id, [0] * len(message.topics))
        elif message.cmd == 12:
            conn.mqtt_pong()

    def on_mqtt_message(self, conn: Connection, message: MqttMessage) -> None:
        topic = message.topic
        if any(mqtt_match(name, topic) for name in conn.userdata or ()):
            props = message.properties_by_name() if message.version == 5 else None
            conn.mqtt_pub(topic, message.data, message.qos, properties=props)


@contextmanager
def echo(manager: Manager) -> Iterator[int]:
    listener = manager.mqtt_listen("mqtt://127.0.0.1:0", Echo())
    assert listener.local_addr is not None
    with running(manager):
        yield listener.local_addr[1]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_paho_gets_back_what_it_sends_to_our_server(
    make_manager: Callable[..., Manager], version: int, qos: int
) -> None:
    with echo(make_manager()) as port, Paho(port, version) as client:
        assert client.event() == ("open", 0)
        client.client.subscribe([("a/+", qos), ("b", 0)])
        assert [code.value for code in client.event()[1]] == [qos, 0]
        for payload in PAYLOADS:
            client.client.publish("a/é", payload, qos).wait_for_publish(DEADLINE)
        assert [client.message() for _ in PAYLOADS] == [
            ("a/é", payload, qos, False) for payload in PAYLOADS
        ]
        client.client.disconnect()
        assert client.event()[0] == "end"


def test_paho_sees_a_refusal_of_our_server(
    make_manager: Callable[..., Manager], version: int
) -> None:
    with echo(make_manager()) as port, Paho(port, version, client_id="bad") as client:
        kind, code = client.event()
    assert (kind, str(code)) == ("open", "Not authorized")


def test_paho_gets_its_properties_back(make_manager: Callable[..., Manager]) -> None:
    with echo(make_manager()) as port, Paho(port, 5) as client:
        client.event()
        client.client.subscribe("a", options=SubscribeOptions(qos=1, noLocal=False))
        client.event()
        props = Properties(PacketTypes.PUBLISH)
        props.ContentType = "text/plain"
        props.CorrelationData = b"\0\xff"
        props.UserProperty = ("k", "v")
        props.MessageExpiryInterval = 30
        client.client.publish("a", "x", 1, properties=props)
        got = client.messages.get(timeout=DEADLINE).properties
    assert (got.ContentType, got.CorrelationData) == ("text/plain", b"\0\xff")
    assert (got.UserProperty, got.MessageExpiryInterval) == ([("k", "v")], 30)


@pytest.mark.parametrize("poller", ["epoll"], indirect=True)
def test_paho_pings_our_server_and_stays(make_manager: Callable[..., Manager]) -> None:
    with echo(make_manager()) as port:
        one = Paho(port, 4)
        one.client.keepalive = 1
        with one as client:
            client.event()
            client.client.subscribe("a")
            client.event()
            with pytest.raises(queue.Empty):
                client.events.get(timeout=2.5)  # no end within three keep-alives
            client.client.publish("a", "still here")
            assert client.message() == ("a", b"still here", 0, False)


def test_our_client_and_paho_talk_through_mosquitto(
    mosquitto: Mosquitto, make_manager: Callable[..., Manager], version: int
) -> None:
    manager = make_manager()
    collector = Collector(f"both/{version}/to-us", 2)
    with Paho(mosquitto.port, version) as client:
        client.event()
        client.client.subscribe(f"both/{version}/to-paho", 2)
        client.event()
        conn = subscriber(manager, mosquitto, collector, version=version)
        for qos in (0, 1, 2):
            conn.mqtt_pub(f"both/{version}/to-paho", str(qos), qos)
            client.client.publish(f"both/{version}/to-us", str(qos), qos)
        pump(manager, lambda: len(collector.got) == 3 and conn.mqtt_session.pending == 0)
        got = [client.message() for _ in range(3)]
    assert [(data, qos) for _, data, qos, _ in got] == [(b"0", 0), (b"1", 1), (b"2", 2)]
    assert [(data, qos) for _, data, qos, _ in collector.got] == [(b"0", 0), (b"1", 1), (b"2", 2)]


def test_a_callable_sees_every_packet_from_mosquitto(
    mosquitto: Mosquitto, make_manager: Callable[..., Manager]
) -> None:
    seen: list[tuple[int, int]] = []

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_MQTT_OPEN:
            seen.append((ev, data))
            conn.mqtt_sub("callable", 1)
            conn.mqtt_ping()
            conn.mqtt_pub("callable", "x", 1)
        elif ev in (MG_EV_MQTT_CMD, MG_EV_MQTT_MSG):
            seen.append((ev, data.cmd))

    manager = make_manager()
    manager.mqtt_connect(mosquitto.url, handle)
    pump(manager, lambda: len(seen) >= 7)
    assert sorted(seen) == sorted(
        [
            (MG_EV_MQTT_OPEN, 0),
            (MG_EV_MQTT_CMD, 2),
            (MG_EV_MQTT_CMD, 9),
            (MG_EV_MQTT_CMD, 13),
            (MG_EV_MQTT_CMD, 4),
            (MG_EV_MQTT_MSG, 3),
            (MG_EV_MQTT_CMD, 3),
        ]
    )
