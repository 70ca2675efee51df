"""MQTT over TLS: it verifies, it comes back, and mosquitto understands it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest
from certificates import localhost, trusting
from conftest import pump, url_of
from mqttpeers import MOSQUITTO, NO_MOSQUITTO, Mosquitto

from mongoose_py import Connection, Handler, Manager, MqttMessage, Reconnect

Make = Callable[..., Manager]
SOON = Reconnect(0.001, 0.01)

pytestmark = pytest.mark.usefixtures("engine")


class Server(Handler):
    """Hangs up on the first message of each kind, acknowledges the next."""

    def __init__(self) -> None:
        self.got: list[tuple[bytes, bool]] = []

    def on_mqtt_command(self, conn: Connection, message: MqttMessage) -> None:
        if message.cmd == 1:
            conn.mqtt_connack(0, bool(self.got))

    def on_mqtt_message(self, conn: Connection, message: MqttMessage) -> None:
        assert conn.is_tls
        self.got.append((message.data[:1], message.dup))
        if len(self.got) == 1:
            conn.close()


def test_a_session_comes_back_over_tls(make_manager: Make) -> None:
    server = Server()
    manager = make_manager()
    listener = manager.mqtt_listen("mqtts://127.0.0.1:0", server, tls=localhost().opts)
    conn = manager.mqtt_connect(
        url_of(listener, "mqtts"),
        client_id="c",
        clean_session=False,
        reconnect=SOON,
        tls=trusting(),
    )
    session = conn.mqtt_session
    assert session is not None
    session.mqtt_pub("a", "x" * 100_000, 1)
    pump(manager, lambda: session.pending == 0)
    assert server.got == [(b"x", False), (b"x", True)]
    assert session.connection is not conn
    session.close()


def test_a_server_that_cannot_be_trusted_is_named_and_tried_again(make_manager: Make) -> None:
    manager = make_manager()
    listener = manager.mqtt_listen("mqtts://127.0.0.1:0", Server(), tls=localhost().opts)
    conn = manager.mqtt_connect(url_of(listener, "mqtts"), reconnect=SOON)
    session = conn.mqtt_session
    assert session is not None
    pump(manager, lambda: session.attempts >= 2)
    assert "certificate" in str(session.last_error)
    session.close()


@pytest.mark.skipif(MOSQUITTO is None, reason=NO_MOSQUITTO)
@pytest.mark.parametrize("version", [4, 5])
def test_messages_go_through_mosquitto_over_tls(
    make_manager: Make, tmp_path: Path, version: int
) -> None:
    got: list[bytes] = []

    class Client(Handler):
        def on_mqtt_open(self, conn: Connection, code: int) -> None:
            assert code == 0
            conn.mqtt_sub("a", 2)

        def on_mqtt_command(self, conn: Connection, message: MqttMessage) -> None:
            if message.cmd == 9:
                for size in (0, 1, 16_384, 200_000):
                    conn.mqtt_pub("a", bytes(size), 2)

        def on_mqtt_message(self, conn: Connection, message: Any) -> None:
            got.append(message.data)

    pair = localhost()
    lines = (f"certfile {pair.cert}", f"keyfile {pair.key}")
    manager = make_manager(Client())
    with Mosquitto(tmp_path, *lines) as broker:
        url = broker.url.replace("mqtt:", "mqtts:")
        manager.mqtt_connect(url, version=version, tls=trusting())
        pump(manager, lambda: len(got) == 4)
    assert got == [bytes(size) for size in (0, 1, 16_384, 200_000)]
