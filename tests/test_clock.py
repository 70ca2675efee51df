"""The clock: it goes on, and at the pace of the system's own."""

from __future__ import annotations

import time

from mongoose_py import millis


def test_it_is_a_positive_whole_number_that_never_goes_back() -> None:
    readings = [millis() for _ in range(2000)]
    assert type(readings[0]) is int
    assert readings[0] > 0
    assert readings == sorted(readings)


def test_it_counts_the_milliseconds_of_the_monotonic_clock() -> None:
    outer = time.monotonic()
    first = millis()
    inner = time.monotonic()
    while time.monotonic() - inner < 0.02:
        pass
    inner = time.monotonic() - inner
    last = millis()
    outer = time.monotonic() - outer
    assert inner * 1000 - 1 <= last - first <= outer * 1000 + 1  # both readings are cut
