"""A WebSocket server that echoes what it gets and remembers it."""

from __future__ import annotations

from typing import Any, Callable

from conftest import Recorder
from wsframes import Peer

from mongoose_py import (
    MG_EV_HTTP_MSG,
    MG_EV_WS_CTL,
    MG_EV_WS_MSG,
    MG_EV_WS_OPEN,
    Connection,
    Manager,
)

Make = Callable[..., Manager]


class Echo(Recorder):
    """Upgrades, echoes messages, and remembers what they held."""

    def __init__(self, **options: Any) -> None:
        super().__init__(self.respond)
        self.options = options
        self.messages: list[tuple[int, bytes]] = []
        self.controls: list[tuple[int, bytes, int | None, str | None]] = []
        self.conn: Connection | None = None
        self.upgraded: list[bool] = []

    def respond(self, conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            self.upgraded.append(conn.ws_upgrade(data, **self.options))
        elif ev == MG_EV_WS_OPEN:
            self.conn = conn
        elif ev == MG_EV_WS_MSG:
            self.messages.append((data.flags, data.data))
            conn.ws_send(data.data, data.flags)
        elif ev == MG_EV_WS_CTL:
            self.controls.append((data.flags, data.data, data.close_code, data.close_reason))


def serving(make_manager: Make, **kwargs: Any) -> tuple[Manager, Connection, Echo]:
    echo = Echo(**kwargs.pop("upgrade", {}))
    manager = make_manager(echo, **kwargs)
    return manager, manager.listen("http://127.0.0.1:0"), echo


def opened(make_manager: Make, **kwargs: Any) -> tuple[Manager, Peer, Connection]:
    manager, listener, echo = serving(make_manager, **kwargs)
    peer = Peer.of(manager, listener)
    assert echo.conn is not None
    return manager, peer, echo.conn
