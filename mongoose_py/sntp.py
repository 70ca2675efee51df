"""The time as an SNTP server tells it, and what a connection has to ask for it."""

from __future__ import annotations

from typing import Any

from mongoose_py._connection import BaseConnection
from mongoose_py._mongoose_cffi import ffi, lib
from mongoose_py.errors import error_text


class SntpResult:
    """An answer that passed every check of :rfc:`4330` and :rfc:`5905`.

    Attributes:
        time_ms: Milliseconds since 1970, UTC, at the moment the answer came in; the data of
            ``MG_EV_SNTP_TIME``.
        offset: Seconds to add to the clock of this system, ``time.time()``, to get there.
        delay: Seconds of the way there and back, 0 to 3; *offset* is off by half of it at
            most.
        stratum: 1: the server has a reference clock of its own, such as GPS; 2: it asks one
            that has; and so on to 15.
        leap: 1: the last minute of the day has 61 seconds; -1: it has 59; 0: it has 60.
    """

    __slots__ = ("delay", "leap", "offset", "stratum", "time_ms")

    def __init__(self, raw: Any) -> None:
        self.time_ms: int = raw.time_ms
        self.offset: float = raw.offset_ns / 1e9
        self.delay: float = raw.delay_ns / 1e9
        self.stratum: int = raw.stratum
        self.leap: int = -1 if raw.leap == 2 else raw.leap

    def __repr__(self) -> str:
        return (
            f"<SntpResult time_ms={self.time_ms} offset={self.offset:+.6f} "
            f"delay={self.delay:.6f} stratum={self.stratum}>"
        )


class SntpConnection(BaseConnection):
    """The SNTP members of :class:`~mongoose_py.Connection`."""

    __slots__ = ()

    def sntp_request(self) -> None:
        """Ask the SNTP server again; see ``Manager.sntp_connect()``.

        While a request is under way, the first one included, this one waits for its answer.

        Raises:
            Error: If this is not an SNTP connection.
            SystemCallError: If the system refused the datagram.
            ConnectionClosed: If the connection is closed.
        """
        number = self._open_id()
        err = ffi.new("struct mgx_error *")
        code = lib.mgx_sntp_request(self._mgr, number, err)
        causes = {
            lib.MGX_ESYSTEM: error_text(err),
            lib.MGX_EKIND: "not an SNTP connection",
        }
        self._check(code, "sntp_request", causes, err.sys)

    @property
    def sntp_result(self) -> SntpResult | None:
        """The last answer of the SNTP server; ``None``: there was none yet."""
        number = self._id
        raw = ffi.new("struct mgx_sntp_result *")
        if not number or lib.mgx_sntp_result(self._mgr, number, raw) < 0:
            return None
        return SntpResult(raw)
