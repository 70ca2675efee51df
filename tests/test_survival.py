"""Whatever a handler closes, and whenever: the loop goes on."""

from __future__ import annotations

import socket
import threading
from contextlib import closing, suppress
from typing import Any, Callable

import pytest
from conftest import DEADLINE, pump, receive_all, running
from scene import EVENTS, GET, IDS, LAST, SCENE, Scene

from mongoose_py import (
    MG_EV_HTTP_MSG,
    MG_EV_OPEN,
    MG_EV_RESOLVE,
    Connection,
    ConnectionClosed,
    Error,
    Manager,
)

MakeManager = Callable[..., Manager]


# -- closing from anywhere -----------------------------------------------------


def close(scene: Scene, conn: Connection) -> None:
    conn.close()
    if not conn.is_closing:
        raise AssertionError("close() marks at once")
    with pytest.raises(Error):
        conn.send("too late")
    conn.close()
    conn.drain()


def close_all_others(scene: Scene, conn: Connection) -> None:
    for other in scene.manager.connections:
        if other not in (conn, scene.listener):
            other.close()
            other.set_handler(None)


def fail(scene: Scene, conn: Connection) -> None:
    with suppress(ConnectionClosed):  # in MG_EV_CLOSE
        conn.error("no more")


def drain_and_take_another_handler(scene: Scene, conn: Connection) -> None:
    conn.drain()
    conn.set_handler(scene.handle, events=EVENTS)


ACTIONS = [close, close_all_others, fail, drain_and_take_another_handler]


@pytest.mark.parametrize("act", ACTIONS)
@pytest.mark.parametrize(("side", "ev"), SCENE, ids=IDS)
def test_connections_can_be_ended_in_any_event(
    make_manager: MakeManager, side: str, ev: int, act: Callable[[Scene, Connection], None]
) -> None:
    scene = Scene(make_manager, side, ev, act)
    assert scene.run() == []
    assert scene.raised == []
    scene.ended_in_order()
    scene.still_serves()


@pytest.mark.parametrize(("side", "ev"), SCENE, ids=IDS)
def test_everything_can_be_closed_in_any_event(
    make_manager: MakeManager, side: str, ev: int
) -> None:
    def act(scene: Scene, conn: Connection) -> None:
        for one in scene.manager.connections:
            one.close()

    scene = Scene(make_manager, side, ev, act)
    assert scene.run() == []
    pump(scene.manager, lambda: not scene.manager.connections)
    scene.ended_in_order()
    assert scene.names[scene.listener] == ["OPEN", "CLOSE"]


@pytest.mark.parametrize(("side", "ev"), SCENE, ids=IDS)
def test_the_manager_refuses_to_be_closed_or_polled_in_any_event(
    make_manager: MakeManager, side: str, ev: int
) -> None:
    def act(scene: Scene, conn: Connection) -> None:
        for call in (scene.manager.close, scene.manager.poll, scene.manager.run):
            if (
                side == "client"
                and ev in (MG_EV_OPEN, MG_EV_RESOLVE)
                and call != scene.manager.close
            ):
                continue  # inside connect(), when nobody polls: a poll is fine
            with pytest.raises(Error):
                call()

    scene = Scene(make_manager, side, ev, act)
    assert scene.run() == []
    assert scene.raised == []
    scene.ended_in_order()
    scene.still_serves()


def test_connections_can_be_closed_by_another_thread_while_they_talk(
    make_manager: MakeManager,
) -> None:
    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            conn.reply(200, b"x" * 10_000)

    manager = make_manager(handle)
    listener = manager.listen("http://127.0.0.1:0")
    host, port, _ = listener.local_addr
    done = threading.Event()

    def talk() -> None:
        for _ in range(100):
            sock = socket.create_connection((host, port), DEADLINE)
            with closing(sock), suppress(OSError):
                sock.sendall(GET * 5 + LAST)
                receive_all(sock)

    def cut() -> None:
        while not done.is_set():
            for conn in manager.connections[:-1]:
                conn.close()

    with running(manager):
        talkers = [threading.Thread(target=talk) for _ in range(3)]
        cutter = threading.Thread(target=cut)
        for thread in [*talkers, cutter]:
            thread.start()
        for thread in talkers:
            thread.join(DEADLINE)
        done.set()
        cutter.join(DEADLINE)
        with closing(socket.create_connection((host, port), DEADLINE)) as sock:
            sock.sendall(LAST)
            assert receive_all(sock).endswith(b"x" * 10_000)
    pump(manager, lambda: manager.connections == (listener,))
