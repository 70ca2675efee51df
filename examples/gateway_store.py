"""What gateway.py keeps: the format of a measurement and the recent values.

Bytes in, values out: no socket is touched here, so all of it can be tested
with plain calls.  Everything that grows has a limit.
"""

from __future__ import annotations

import re
import time
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

MAX_LINE = 200  # bytes of one measurement
MAX_VALUE = 1e15  # either way from 0; also keeps infinities out
RECENT = 120  # values kept per sensor
MAX_SENSORS = 64  # further names are refused ...
FORGET_AFTER_MS = 10 * 60_000  # ... until a silent one is forgotten

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
VALUE = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


def now_ms() -> int:
    """Return milliseconds of Unix time."""
    return int(time.time() * 1000)


class Measurement(NamedTuple):
    """What one line says."""

    name: str
    value: float
    unit: str  # "" when the line has none


def parse_line(line: bytes) -> Measurement:
    """Read ``NAME VALUE [UNIT]``.

    Raises:
        ValueError: With a text for people, when the line is anything else.
    """
    if len(line) > MAX_LINE:
        raise ValueError(f"longer than {MAX_LINE} bytes")
    try:
        words = line.decode().split()
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    if not 2 <= len(words) <= 3:
        raise ValueError(f"expected NAME VALUE [UNIT], not {len(words)} words")
    name, number = words[:2]
    unit = words[2] if len(words) == 3 else ""
    if not NAME.fullmatch(name):
        raise ValueError(f"not a name: {name!r}")
    if not VALUE.fullmatch(number):
        raise ValueError(f"not a decimal number: {number!r}")
    value = float(number)
    if abs(value) > MAX_VALUE:
        raise ValueError(f"beyond {MAX_VALUE:.0e}: {number!r}")
    if len(unit) > 16 or not unit.isprintable():
        raise ValueError(f"not a unit: {unit!r}")
    return Measurement(name, value, unit)


@dataclass
class Sensor:
    """A sensor we have heard of, with its newest values."""

    name: str
    unit: str = ""
    via: str = ""  # how the last value came: "udp" or "tcp"
    count: int = 0  # values ever taken
    fresh: int = 0  # values taken since the last tick
    recent: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=RECENT))

    def summary(self) -> dict[str, object]:
        """Return what is true now; times are milliseconds of Unix time."""
        at, value = self.recent[-1]
        return {
            "name": self.name,
            "unit": self.unit,
            "via": self.via,
            "count": self.count,
            "time": at,
            "value": value,
        }

    def history(self, newest: int = RECENT) -> dict[str, object]:
        """Return the same with the *newest* values as ``[time, value]`` pairs."""
        return {**self.summary(), "recent": list(self.recent)[-newest:]}


class Store:
    """The sensors and the counters; knows nothing of connections."""

    def __init__(self) -> None:
        self.sensors: dict[str, Sensor] = {}
        self.accepted = 0
        self.rejected = 0
        self.last_error = ""

    def take(self, line: bytes, via: str) -> None:
        """Take one line, good or bad; a blank one is neither."""
        if not line.strip():
            return
        try:
            self._record(parse_line(line), via)
        except ValueError as exc:
            self.reject(str(exc), via)

    def reject(self, reason: str, via: str) -> None:
        """Count a bad line and remember what was wrong with it."""
        self.rejected += 1
        self.last_error = f"{via}: {reason}"

    def _record(self, measurement: Measurement, via: str) -> None:
        sensor = self.sensors.get(measurement.name)
        if sensor is None:
            if len(self.sensors) >= MAX_SENSORS:
                raise ValueError(f"more than {MAX_SENSORS} sensors: {measurement.name!r}")
            sensor = self.sensors[measurement.name] = Sensor(measurement.name)
        sensor.unit, sensor.via = measurement.unit, via
        sensor.count += 1
        sensor.fresh += 1
        sensor.recent.append((now_ms(), measurement.value))
        self.accepted += 1

    def take_fresh(self) -> list[dict[str, object]]:
        """Return what is new since the last call, sensor by sensor."""
        news = [s.history(min(s.fresh, RECENT)) for s in self.sensors.values() if s.fresh]
        for sensor in self.sensors.values():
            sensor.fresh = 0
        return news

    def forget_silent(self) -> bool:
        """Forget sensors not heard of for long; tell whether there were any."""
        limit = now_ms() - FORGET_AFTER_MS
        silent = [name for name, s in self.sensors.items() if s.recent[-1][0] < limit]
        for name in silent:
            del self.sensors[name]
        return bool(silent)
