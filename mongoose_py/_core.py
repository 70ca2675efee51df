"""The manager in C, as an object that all who refer to it keep alive."""

from __future__ import annotations

import os
from typing import Any, Callable

from mongoose_py._mongoose_cffi import ffi, lib

made_in: dict[int, int] = {}  # address of a struct mg_mgr: process


class Core(int):
    """The address of a ``struct mg_mgr``, freed with the last reference to this object.

    Managers, connections and timers refer to it. In a cycle that is collected finalizers
    run in any order, so one that is to call C asks :func:`is_alive` first.
    """

    __slots__ = ()

    def __del__(
        self,
        # Bound now: when the interpreter ends, the names of this module may go first.
        made_in: dict[int, int] = made_in,
        getpid: Callable[[], int] = os.getpid,
        cast: Callable[[str, int], Any] = ffi.cast,
        delete: Callable[[Any], None] = lib.mgx_mgr_delete,
    ) -> None:
        if made_in.pop(int(self), 0) == getpid():  # a forked child shares the sockets
            delete(cast("struct mg_mgr *", int(self)))


def is_alive(
    core: int,
    # Bound now, as above.
    made_in: dict[int, int] = made_in,
    getpid: Callable[[], int] = os.getpid,
) -> bool:
    """Tell whether there is a ``struct mg_mgr`` at this address, and made in this process."""
    return made_in.get(int(core)) == getpid()
