"""What gateway.py knows: sensors and their newest values, alarms, actuators, devices.

Bytes in, values out: no socket is touched here, so all of it can be tested with plain
calls.  Everything that grows has a limit.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple, Optional

from gateway_history import History

MAX_LINE = 200  # bytes of one measurement
MAX_VALUE = 1e15  # either way from 0; also keeps infinities out
RECENT = 120  # values per sensor that the page shows
MAX_SENSORS = 64  # a further one is refused ...
SILENT_MS = 10 * 60_000  # ... unless one has been silent for so long and makes room
MAX_ACTUATORS = 16  # further ones are refused
MAX_DEVICES = 64  # a further one takes the place of the one unseen for longest
MAX_UNSAVED = 10_000  # values that wait for the database

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
VALUE = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


Limits = tuple[Optional[float], Optional[float]]  # lower and upper


def now_ms() -> int:
    """Return milliseconds of Unix time."""
    return int(time.time() * 1000)


def parse_value(number: str) -> float:
    """Read a decimal number.

    Raises:
        ValueError: With a text for people, as from everything here.
    """
    if not VALUE.fullmatch(number):
        raise ValueError(f"not a decimal number: {number!r}")
    if abs(float(number)) > MAX_VALUE:
        raise ValueError(f"beyond {MAX_VALUE:.0e}: {number!r}")
    return float(number)


class Measurement(NamedTuple):
    """What one line says."""

    name: str
    value: float
    unit: str  # "" when the line has none


def parse_line(line: bytes, *before: str) -> Measurement:
    """Read ``NAME VALUE [UNIT]``; a NAME that came another way stands *before* it."""
    if len(line) > MAX_LINE:
        raise ValueError(f"longer than {MAX_LINE} bytes")
    try:
        words = [*before, *line.decode().split()]
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    if not 2 <= len(words) <= 3:
        raise ValueError(f"expected NAME VALUE [UNIT], not {len(words)} words")
    name, number, unit = (*words, "")[:3]
    if not NAME.fullmatch(name):
        raise ValueError(f"not a name: {name!r}")
    value = parse_value(number)
    # What begins with one of these would be a formula to a program that opens the CSV.
    if len(unit) > 16 or not unit.isprintable() or unit.startswith(("=", "+", "-", "@")):
        raise ValueError(f"not a unit: {unit!r}")
    return Measurement(name, value, unit)


@dataclass
class Sensor:
    """A sensor we have heard of, with its newest values."""

    name: str
    low: float | None = None  # what is outside of these is an alarm
    high: float | None = None
    unit: str = ""
    via: str = ""  # how the last value came: "udp", "tcp", "ws" or "mqtt"
    count: int = 0  # values since the gateway was started
    recent: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=RECENT))

    def alarm(self) -> str:
        """Tell whether the newest value is too ``"low"``, too ``"high"`` or, ``""``, neither."""
        value = self.recent[-1][1]
        if self.low is not None and value < self.low:
            return "low"
        return "high" if self.high is not None and value > self.high else ""

    def summary(self) -> dict[str, object]:
        """Return what is true now; times are milliseconds of Unix time."""
        known = {name: value for name, value in vars(self).items() if name != "recent"}
        at, value = self.recent[-1]
        return {**known, "time": at, "value": value, "alarm": self.alarm()}

    def history(self, newest: int = RECENT) -> dict[str, object]:
        """Return the same with the *newest* values as ``[time, value]`` pairs."""
        first = max(0, len(self.recent) - newest)
        return {**self.summary(), "recent": list(self.recent)[first:]}


@dataclass
class Actuator:
    """A switch: what was asked of it, and what it says it is."""

    name: str
    asked: str = ""  # "on" or "off"; "": nobody has asked yet
    asked_at: int = 0
    state: str = ""  # "on", "off", or "offline" when its device is gone
    state_at: int = 0


@dataclass
class Device:
    """Who has sent something: an MQTT client by its identifier, others by their host."""

    name: str
    via: str
    seen: int = 0
    count: int = 0  # messages


class Store:
    """Everything the gateway knows; knows nothing of connections."""

    def __init__(self, history: History, alarms: dict[str, Limits] | None = None) -> None:
        self.history = history
        self.sensors: dict[str, Sensor] = {}
        # What was set by the page goes first; some may be of sensors yet to come.
        self.alarms = {**(alarms or {}), **history.alarms()}
        self.actuators: dict[str, Actuator] = {}
        self.devices: dict[tuple[str, str], Device] = {}  # the one seen last stands last
        self.accepted = 0
        self.rejected = 0
        self.last_error = ""
        self.fresh: dict[str, int] = {}  # sensors with news, and how many values
        self.switched = False  # whether there is news of actuators
        self.evicted = False  # whether a sensor has made room for another
        for name in history.names(MAX_SENSORS):
            values = history.values(name, RECENT)
            sensor = self.add_sensor(name)
            sensor.recent.extend((at, value) for at, value, _, _ in values)
            _, _, sensor.unit, sensor.via = values[-1]

    # -- measurements and alarms ----------------------------------------------

    def take(self, line: bytes, via: str, device: str = "", *name: str) -> None:
        """Take one line, good or bad; a blank one is neither."""
        if not line.strip():
            return
        self.saw(device, via)
        try:
            self.record(parse_line(line, *name), via)
        except ValueError as exc:
            self.reject(str(exc), via)

    def reject(self, reason: str, via: str) -> None:
        """Count a bad line and remember what was wrong with it."""
        self.rejected += 1
        self.last_error = f"{via}: {reason}"

    def record(self, measurement: Measurement, via: str) -> None:
        """Keep a measurement."""
        name, value, unit = measurement
        sensor = self.sensors.get(name)
        if sensor is None:
            if len(self.sensors) >= MAX_SENSORS:
                self.make_room(name)
            sensor = self.add_sensor(name)
        at = now_ms()
        sensor.unit, sensor.via = unit, via
        sensor.count += 1
        sensor.recent.append((at, value))
        self.accepted += 1
        self.fresh[name] = self.fresh.get(name, 0) + 1
        self.history.add(at, name, value, unit, via)
        if len(self.history.unsaved) > MAX_UNSAVED:
            self.save()

    def add_sensor(self, name: str) -> Sensor:
        """Begin to know a sensor; its first value has to follow."""
        sensor = self.sensors[name] = Sensor(name, *self.alarms.get(name, (None, None)))
        return sensor

    def make_room(self, newcomer: str) -> None:
        """Forget the sensor that has been silent for longest."""
        oldest = min(self.sensors.values(), key=lambda sensor: sensor.recent[-1][0])
        if now_ms() - oldest.recent[-1][0] < SILENT_MS:
            raise ValueError(f"more than {MAX_SENSORS} sensors: {newcomer!r}")
        del self.sensors[oldest.name]
        self.alarms.pop(oldest.name, None)
        self.fresh.pop(oldest.name, None)
        self.history.forget(oldest.name)
        self.evicted = True

    def set_alarm(self, name: str, low: float | None, high: float | None) -> None:
        """Set the limits of a sensor we know; None: no limit."""
        if name not in self.sensors:
            raise ValueError(f"no such sensor: {name!r}")
        if low is not None and high is not None and low > high:
            raise ValueError(f"the lower limit, {low:g}, is above the upper one, {high:g}")
        self.alarms[name] = self.sensors[name].low, self.sensors[name].high = low, high
        self.history.add_alarm(name, low, high)
        self.fresh.setdefault(name, 0)

    # -- actuators and devices ------------------------------------------------

    def switch(self, name: str, what: str, data: bytes, device: str) -> None:
        """Take what is asked of an actuator, "set", or what it says of itself, "state"."""
        self.saw(device, "mqtt")
        word = data.decode("utf-8", "replace")
        if what == "state" and not word:  # it takes its retained state back: it is no more
            self.switched |= self.actuators.pop(name, None) is not None
            return
        room = what == "state" and len(self.actuators) < MAX_ACTUATORS
        if not (NAME.fullmatch(name) and (name in self.actuators or room)):
            self.reject(f"no place for an actuator {name[:64]!r}", "mqtt")
        elif word not in {"set": ("on", "off"), "state": ("on", "off", "offline")}[what]:
            self.reject(f"no {what} of {name}: {word[:16]!r}", "mqtt")
        else:
            actuator = self.actuators.setdefault(name, Actuator(name))
            if what == "set":
                actuator.asked, actuator.asked_at = word, now_ms()
            else:
                actuator.state, actuator.state_at = word, now_ms()
            self.switched = True

    def saw(self, name: str, via: str) -> None:
        """Note that a device has sent something; ``""``: not a device."""
        if not name:
            return
        device = self.devices.pop((via, name), None) or Device(name, via)
        self.devices[via, name] = device
        device.seen = now_ms()
        device.count += 1
        if len(self.devices) > MAX_DEVICES:
            del self.devices[next(iter(self.devices))]

    # -- what goes out --------------------------------------------------------

    def news(self) -> dict[str, object]:
        """Return what is new since the last call; empty when nothing is."""
        found: dict[str, object] = {}
        if self.fresh:
            found["sensors"] = [self.sensors[name].history(n) for name, n in self.fresh.items()]
        if self.switched:
            found["actuators"] = [vars(actuator) for actuator in self.actuators.values()]
        self.fresh.clear()
        self.switched = False
        return found

    def save(self) -> None:
        """Write what is new to the database."""
        try:
            self.history.save()
        except sqlite3.Error as exc:  # a full disk, say: the page goes on
            self.reject(f"measurements not saved: {exc}", "database")
