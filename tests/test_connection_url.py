"""``Connection.url``, where its server is; ``Connection.manager``, whose it is."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any, Callable

import pytest
from certificates import localhost, trusting
from conftest import Recorder, pump

from mongoose_py import (
    MG_EV_ACCEPT,
    MG_EV_CLOSE,
    MG_EV_CONNECT,
    MG_EV_HTTP_MSG,
    MG_EV_MQTT_OPEN,
    MG_EV_WS_OPEN,
    Connection,
    Error,
    Manager,
)

MakeManager = Callable[..., Manager]


@pytest.mark.parametrize(
    ("asked", "start"),
    [
        ("http://127.0.0.1:0", "http://127.0.0.1:"),
        ("http://localhost:0", "http://127.0.0.1:"),
        ("http://[::1]:0", "http://[::1]:"),
        ("tcp://127.0.0.1:0", "tcp://127.0.0.1:"),
        ("udp://127.0.0.1:0", "udp://127.0.0.1:"),
        ("http://:0", "http://0.0.0.0:"),
        ("tls://127.0.0.1:0", "tls://127.0.0.1:"),
        ("https://[::1]:0", "https://[::1]:"),
        ("ws://127.0.0.1:0", "http://127.0.0.1:"),  # what its clients speak first
    ],
)
def test_a_listener_has_the_url_it_can_be_reached_at(
    make_manager: MakeManager, asked: str, start: str
) -> None:
    listener = make_manager().listen(asked)
    assert listener.local_addr is not None
    assert listener.url == f"{start}{listener.local_addr[1]}"


def test_both_ends_of_a_connection_have_the_url_of_its_server(make_manager: MakeManager) -> None:
    manager = make_manager(heard := Recorder())
    listener = manager.listen("http://[::1]:0")
    conn = manager.connect(listener.url)
    pump(manager, lambda: heard.saw(MG_EV_CONNECT)() and heard.saw(MG_EV_ACCEPT)())
    assert listener.url == conn.url == heard.conns(MG_EV_ACCEPT)[0].url
    assert conn.url.startswith("http://[::1]:")


def test_a_unix_socket_has_the_url_of_its_path(make_manager: MakeManager, tmp_path: Path) -> None:
    manager = make_manager(heard := Recorder())
    listener = manager.listen(f"unix://{tmp_path}/s", http=True)
    conn = manager.connect(listener.url)
    pump(manager, lambda: heard.saw(MG_EV_CONNECT)() and heard.saw(MG_EV_ACCEPT)())
    urls = [one.url for one in (listener, conn, *heard.conns(MG_EV_ACCEPT))]
    assert urls == [f"unix://{tmp_path}/s"] * 3


def test_the_scheme_is_what_is_spoken_now(make_manager: MakeManager) -> None:
    def upgrade(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            schemes.append(conn.url.partition(":")[0])
            conn.ws_upgrade(data)
            schemes.append(conn.url.partition(":")[0])

    schemes: list[str] = []
    manager = make_manager(heard := Recorder(upgrade))
    listener = manager.listen("http://127.0.0.1:0")
    conn = manager.ws_connect(listener.url)
    pump(manager, heard.saw(MG_EV_WS_OPEN, 2))
    assert schemes == ["http", "ws"]
    assert conn.url == listener.url.replace("http", "ws")


def test_mqtt_and_tls_stand_in_the_scheme(make_manager: MakeManager) -> None:
    def welcome(conn: Connection, ev: int, data: Any) -> None:
        if conn.is_mqtt and not conn.is_client and getattr(data, "cmd", 0) == 1:
            conn.mqtt_connack()

    manager = make_manager(heard := Recorder(welcome))
    listener = manager.mqtt_listen("mqtts://127.0.0.1:0", tls=localhost().opts)
    assert listener.url.startswith("mqtts://127.0.0.1:")
    conn = manager.mqtt_connect(listener.url, tls=trusting())
    pump(manager, heard.saw(MG_EV_MQTT_OPEN))
    assert conn.url == listener.url


def test_without_an_address_there_is_no_url(make_manager: MakeManager) -> None:
    manager = make_manager(heard := Recorder())
    listener = manager.listen("tcp://127.0.0.1:0")
    url = listener.url
    assert Connection().url == ""
    listener.close()
    pump(manager, heard.saw(MG_EV_CLOSE))
    assert url
    assert listener.url == ""


# -- Connection.manager ---------------------------------------------------------------


def test_a_handler_reaches_its_manager_by_the_connection(make_manager: MakeManager) -> None:
    def answer(conn: Connection, ev: int, data: Any) -> None:
        found.append(conn.manager)

    found: list[Manager] = []
    manager = make_manager(answer)
    conn = manager.listen("tcp://127.0.0.1:0")
    conn.close()
    pump(manager, lambda: conn.id == 0)
    assert len(found) >= 2  # MG_EV_CLOSE is the last
    assert all(one is manager for one in found)
    assert conn.manager is manager


@pytest.fixture
def dropped() -> Connection:
    """A connection that was kept longer than its manager."""
    manager = Manager()
    alive = weakref.ref(manager)
    conn = manager.listen("tcp://127.0.0.1:0")
    del manager
    gc.collect()
    assert alive() is None  # a connection does not keep its manager
    return conn


def test_a_manager_that_is_gone_cannot_be_had(dropped: Connection) -> None:
    for conn in (dropped, Connection()):
        with pytest.raises(Error, match="Manager has been closed"):
            conn.manager  # noqa: B018
