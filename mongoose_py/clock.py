"""The clock that timers run by."""

from __future__ import annotations

from mongoose_py._mongoose_cffi import lib


def millis() -> int:
    """Return milliseconds of a clock that never goes back; where it starts means nothing."""
    now: int = lib.mg_millis()
    return now
