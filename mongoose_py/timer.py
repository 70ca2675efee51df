"""Timers, as :meth:`Manager.timer_add` returns them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from mongoose_py._mongoose_cffi import lib

if TYPE_CHECKING:
    from mongoose_py.manager import Manager


class Timer:
    """A timer of a manager, which keeps it alive: this object may be dropped.

    Both members may be used from any thread.
    """

    __slots__ = ("__weakref__", "_active", "_callback", "_core", "_manager", "_mgr", "_number")

    def __init__(self, manager: Manager, callback: Callable[[], object]) -> None:
        self._manager = manager._ref
        self._mgr: Any = manager._mgr
        self._core = manager._core  # keeps what _mgr points at
        self._callback = callback
        self._number = 0
        self._active = True

    def __repr__(self) -> str:
        return f"<Timer {self._number} {'active' if self._active else 'inactive'}>"

    @property
    def active(self) -> bool:
        """``True`` until cancelled, fired for the last time, or the manager was closed."""
        return self._active

    def cancel(self) -> None:
        """End the timer: the callback is not entered any more. Harmless when it is over.

        From a thread other than the polling one, a call that is already under way
        goes on.
        """
        self._active = False
        lib.mg_timer_free(self._mgr, self._number)
        manager = self._manager()
        if manager is not None:
            manager._timers.pop(self._number, None)
