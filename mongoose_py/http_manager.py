"""What a manager can do for many HTTP connections at a time.

The part of :class:`~mongoose_py.Manager` that concerns HTTP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mongoose_py._manager import BaseManager
from mongoose_py._mongoose_cffi import ffi, lib
from mongoose_py.http import event_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mongoose_py._args import Data
    from mongoose_py.connection import Connection


class HttpManager(BaseManager):
    """The HTTP methods of :class:`~mongoose_py.Manager`."""

    def sse_broadcast(self, conns: Iterable[Connection], event_type: str, data: Data) -> int:
        """Send one server-sent event in many answers that were begun; its text is made once.

        Left out are connections for which ``Connection.http_sse()`` would raise
        :class:`Error`: that are closed, that have begun no answer, or for which
        ``Limits.send_backlog`` is full.

        Args:
            conns: Connections of this manager.
            event_type: Name of the event; ``""``: none.
            data: Text of any number of lines.

        Returns:
            How many connections it was queued for.

        Raises:
            ValueError: If *event_type* has a line break, or a connection is another
                manager's.
            Error: If the manager is closed.
        """
        text = event_text(event_type, data)
        numbers = self._numbers(conns)
        ids = ffi.new("uint64_t[]", numbers)
        count: int = lib.mgx_http_chunk_many(self._mgr, ids, len(numbers), text, len(text))
        self._check(count, "sse_broadcast")
        return count
