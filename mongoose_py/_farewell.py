"""How a manager says goodbye: what ``Manager.run(drain=)`` tells whom, and when it is over."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from mongoose_py._mongoose_cffi import lib
from mongoose_py.errors import Error

if TYPE_CHECKING:
    from mongoose_py.connection import Connection
    from mongoose_py.manager import Manager

_GOING_AWAY = 1001  # RFC 6455, 7.4.1
_SHUTTING_DOWN = 0x8B  # MQTT 5.0, 3.14.2.1


class Farewell:
    """Tells each connection once that the end has come, however late it turns up.

    Outbound connections are told last: what is still being answered may need them.
    """

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._told: set[tuple[int, int]] = set()  # numbers, with what was spoken then

    def go_on(self, *, hurry: bool = False) -> None:
        """Tell those that were not told yet.

        Args:
            hurry: Whether to tell outbound connections in any case.
        """
        found = [(conn, conn._flags()) for conn in self._manager.connections]
        there = [(conn, flags) for conn, flags in found if flags >= 0]
        guests = [(conn, flags) for conn, flags in there if not flags & lib.MGX_IS_CLIENT]
        for conn, flags in there if hurry or not guests else guests:
            spoken = flags & (lib.MGX_IS_WEBSOCKET | lib.MGX_IS_MQTT)
            if (conn._id, spoken) not in self._told:
                self._told.add((conn._id, spoken))
                with suppress(Error):  # it has just gone
                    self._tell(conn, flags)

    def _tell(self, conn: Connection, flags: int) -> None:
        if flags & lib.MGX_IS_LISTENING:
            conn.close()
        elif lib.mgx_http_finish(self._manager._mgr, conn._id) < 0:  # not a server's, by HTTP
            try:
                if flags & lib.MGX_IS_WEBSOCKET:
                    conn.ws_close(_GOING_AWAY)
                    return
                if flags & lib.MGX_IS_MQTT:
                    conn.mqtt_disconnect(0 if flags & lib.MGX_IS_CLIENT else _SHUTTING_DOWN)
            except Error:  # it takes no more, or has not got so far yet
                pass
            conn.drain()
