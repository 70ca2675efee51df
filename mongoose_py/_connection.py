"""What all the parts of a connection share: its state, and how to ask C about it.

:class:`~mongoose_py.Connection` is put together from one part for each protocol,
each in a file of its own; this is what they stand on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mongoose_py import _dispatch
from mongoose_py._mongoose_cffi import ffi, lib
from mongoose_py.errors import ConnectionClosed, failure

if TYPE_CHECKING:
    import weakref

    from mongoose_py.handler import Target
    from mongoose_py.manager import Manager
    from mongoose_py.mqtt_session import MqttClientSession
    from mongoose_py.tls import Tls
    from mongoose_py.tls_context import Context
    from mongoose_py.websocket import Deflate

_kept = _dispatch.kept


class BaseConnection:
    """The state of a :class:`~mongoose_py.Connection`.

    All slots are here, for classes that are joined may have them in one line only.
    """

    __slots__ = (
        "__weakref__",
        "_core",
        "_deflate",
        "_ended",
        "_host",
        "_id",
        "_manager",
        "_mgr",
        "_mqtt",
        "_target",
        "_tls",
        "userdata",
    )

    _id: int  # 0 once closed
    _ended: int  # PAUSED, DRAINED, CLOSED when that was asked for: a batch in hand is cut short
    _mgr: Any  # struct mg_mgr *
    _core: Any  # keeps what _mgr points at
    _manager: weakref.ref[Manager]
    _target: Target
    _host: str  # of the URL it connects to, for the Host line
    _deflate: Deflate | None  # a WebSocket's compression, when it was agreed
    _mqtt: MqttClientSession | None  # of an MQTT client
    _tls: tuple[Tls | None, Context] | None  # what listen(), connect() or tls_init() was given
    userdata: Any

    def _flags(self) -> int:
        number = self._id
        flags: int = lib.mgx_conn_flags(self._mgr, number) if number else lib.MGX_ECLOSED
        return flags

    def _is(self, bit: int) -> bool:
        flags = self._flags()
        return flags >= 0 and flags & bit != 0

    def _is_closing(self) -> bool:
        flags = self._flags()
        return flags < 0 or flags & lib.MGX_IS_CLOSING != 0

    def _info(self) -> Any:
        """Return a new ``struct mgx_conn_info *``, all zero when closed."""
        info = ffi.new("struct mgx_conn_info *")
        number = self._id
        if number:
            lib.mgx_conn_info(self._mgr, number, info)
        return info

    def _open_id(self) -> int:
        number = self._id
        if not number:
            raise ConnectionClosed("Connection has been closed")
        return number

    @staticmethod
    def _check(code: int, doing: str, causes: dict[int, str] | None = None, errno: int = 0) -> None:
        """Raise for a negative *code*; or what a handler raised inside the call."""
        if _kept:
            _dispatch.raise_kept()
        if code < 0:
            raise failure(code, doing, (causes or {}).get(code, ""), errno)
