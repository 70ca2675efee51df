"""MQTT clients of ours beside a server that is a script.

One of the plugins that conftest.py names, for the fixtures ``dialled``, ``opened`` and
``version``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Callable

import mqttpackets as mp
import pytest
from conftest import Recorder, pump
from mqttpeers import Peer, server_socket

from mongoose_py import Connection, Limits, Manager, MqttMessage

ROOM = (0x27, Limits().recv_buffer)  # the largest packet we take: we say so
TOO_LONG = "x" * 65536  # for a text of MQTT


class Listener(Recorder):
    """Writes down what a message says, for it is gone when the handler returns."""

    def __call__(self, conn: Connection, ev: int, data: Any) -> None:
        if isinstance(data, MqttMessage):
            data = (data.cmd, data.topic, data.data, data.qos, data.id, data.retain, data.dup)
        super().__call__(conn, ev, data)


@pytest.fixture
def dialled(make_manager: Callable[..., Manager]) -> Iterator[Callable[..., Any]]:
    """Return a function that connects a client to a script: manager, connection, script."""
    with ExitStack() as stack:
        server, url = stack.enter_context(server_socket())

        def dial(handler: Any = None, limits: Limits | None = None, **options: Any) -> Any:
            manager = make_manager(limits=limits)
            conn = manager.mqtt_connect(url, handler, **options)
            peer = Peer.accepted(manager, server, options.get("version", 4))
            stack.callback(peer.close)
            return manager, conn, peer

        yield dial


@pytest.fixture
def opened(dialled: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that does so up to the CONNACK."""

    def open_it(handler: Any = None, answer: Any = None, **options: Any) -> Any:
        manager, conn, peer = dialled(handler, **options)
        assert isinstance(peer.packet(), mp.Connect)
        peer.send(answer or mp.Connack())
        pump(manager, lambda: conn.mqtt_session.state == "open")
        return manager, conn, peer

    return open_it


@pytest.fixture(params=[4, 5])
def version(request: pytest.FixtureRequest) -> int:
    """Run the test for MQTT 3.1.1 and for 5.0."""
    number: int = request.param
    return number
