"""What the gateway knows, all of it in SQLite: it survives a restart.  No socket is touched here.

Everything that grows has a limit, so a gateway left alone for a year is as big as on its
first day.  Times are milliseconds of Unix time.
"""

from __future__ import annotations

import re
import sqlite3
import time
from pathlib import Path
from typing import Any

RECENT = 120  # values per sensor that a page shows
CSV_ROWS = 50_000  # the newest, in one export
MOST = {"sensor": 64, "alarm": 64, "actuator": 16, "device": 64}  # rows kept, those seen last
MAX_LINE = 200  # bytes of one measurement
MAX_VALUE = 1e15  # either way from 0

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
UNIT = re.compile(r"([^-=+@\",][^\",]{0,15})?")  # CSV needs no quotes, and has no formulas


def now_ms() -> int:
    """Return the time."""
    return int(time.time() * 1000)


def parse(line: bytes) -> tuple[str, float, str]:
    """Read ``NAME VALUE [UNIT]``; ValueError when it is something else."""
    name, number, unit, *more = (*line[: MAX_LINE + 1].decode().split(), "", "", "")
    is_good = NAME.fullmatch(name) and NUMBER.fullmatch(number) and UNIT.fullmatch(unit)
    if not is_good or any(more) or not unit.isprintable() or len(line) > MAX_LINE:
        raise ValueError(f"not NAME VALUE [UNIT] in {MAX_LINE} bytes: {line[:MAX_LINE]!r}")
    if abs(float(number)) > MAX_VALUE:
        raise ValueError(f"beyond {MAX_VALUE:.0e}: {number}")
    return name, float(number), unit


class Store:
    """One database: a file, or ``":memory:"``; sqlite3.Error when it is in use, or is none."""

    def __init__(self, database: str = ":memory:", history: int = 500_000) -> None:
        self.history = history  # readings that are kept, of all sensors together
        self.counts: dict[str, Any] = {"accepted": 0, "rejected": 0, "last_error": ""}
        self.fresh: dict[str, int] = {}  # sensors with news, and how many values
        self.db = sqlite3.connect(database, timeout=0)
        self.db.row_factory = sqlite3.Row
        try:
            self.db.executescript(Path(__file__).with_name("schema.sql").read_text("utf-8"))
        except sqlite3.Error:
            self.db.close()
            raise

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Return what a query finds."""
        return [dict(row) for row in self.db.execute(query, values)]

    def names(self, table: str) -> list[str]:
        """Return the names of all there are, in order."""
        return [row["name"] for row in self.rows(f"SELECT name FROM {table} ORDER BY name")]

    def put(self, table: str, name: str, **known: object) -> None:
        """Note what is known of a sensor, an alarm, an actuator or a device."""
        known.update(name=name[:80], seen=now_ms())
        marks = ", ".join("?" * len(known))
        changes = ", ".join(f"{column} = excluded.{column}" for column in known)
        insert = f"INSERT INTO {table} ({', '.join(known)}) VALUES ({marks})"
        update = f"ON CONFLICT (name) DO UPDATE SET {changes}, count = count + 1"
        self.db.execute(f"{insert} {update}", (*known.values(),))

    def take(self, via: str, device: str, *lines: bytes) -> None:
        """Take lines that a device has sent, good ones and bad ones; blank ones are neither."""
        for line in filter(bytes.strip, lines):
            try:
                self.put("device", f"{via} {device}")
                name, value, unit = parse(line)
                self.put("sensor", name, value=value, unit=unit, via=via)
                insert = "INSERT INTO reading (time, name, value, unit, via) VALUES (?, ?, ?, ?, ?)"
                self.db.execute(insert, (now_ms(), name, value, unit, via))
                self.fresh[name] = min(self.fresh.get(name, 0) + 1, RECENT)
                self.counts["accepted"] += 1
            except (ValueError, sqlite3.Error) as exc:
                self.reject(f"{via}: {exc}")

    def reject(self, reason: str) -> None:
        """Count what went wrong, and remember it for the page."""
        self.counts["rejected"] += 1
        self.counts["last_error"] = reason

    def set_alarm(self, name: str, low: float | None = None, high: float | None = None) -> None:
        """Set the limits of a sensor; None: no limit."""
        least, most = (-MAX_VALUE if low is None else low), (MAX_VALUE if high is None else high)
        if not -MAX_VALUE <= least <= most <= MAX_VALUE:
            raise ValueError(f"no limits of an alarm: {low} and {high}")
        self.put("alarm", name, low=low, high=high)
        self.fresh.setdefault(name, 0)

    def switch(self, name: str, what: str, word: str) -> None:
        """Note what is asked of an actuator, "set", or what it says of itself, "state"."""
        if what == "state" and word in ("on", "off", "offline") and NAME.fullmatch(name):
            self.put("actuator", name, state=word, state_at=now_ms())
        elif what == "state" and not word:  # it takes its retained state back: it is no more
            self.db.execute("DELETE FROM actuator WHERE name = ?", (name,))
        elif what == "set" and word in ("on", "off") and name in self.names("actuator"):
            self.put("actuator", name, asked=word, asked_at=now_ms())
        else:
            self.reject(f"mqtt: no {what[:9]!r} of an actuator {name[:64]!r}: {word[:9]!r}")

    def save(self) -> None:
        """Write what is new to the database; when that fails, it is lost."""
        try:
            newest = "(SELECT max(id) FROM reading)"
            self.db.execute(f"DELETE FROM reading WHERE id <= {newest} - ?", (self.history,))
            for table, most in MOST.items():
                kept = f"(SELECT name FROM {table} ORDER BY seen DESC LIMIT {most})"
                self.db.execute(f"DELETE FROM {table} WHERE name NOT IN {kept}")
            self.db.commit()
        except sqlite3.Error as exc:  # a full disk, say: the page goes on
            self.db.rollback()
            self.reject(f"database: not saved: {exc}")

    def sensor(self, name: str, newest: int = RECENT) -> dict[str, Any] | None:
        """Return a sensor with its newest values, as ``[time, value]`` pairs in "recent"."""
        query = "SELECT time, value FROM reading WHERE name = ? ORDER BY id DESC LIMIT ?"
        recent = [(row["time"], row["value"]) for row in self.rows(query, name, newest)]
        found = self.rows("SELECT * FROM sensor_now WHERE name = ?", name)
        return {**found[0], "recent": recent[::-1]} if found else None

    def news(self) -> list[dict[str, Any]]:
        """Return the sensors that have news since the last call, with their new values."""
        fresh, self.fresh = self.fresh, {}
        return [one for name, count in fresh.items() if (one := self.sensor(name, count))]

    def csv(self, name: str) -> str:
        """Return the newest values of a sensor, or (``""``) of all; nothing needs quotes."""
        time = "strftime('%Y-%m-%dT%H:%M:%fZ', time / 1000.0, 'unixepoch')"
        query = f"SELECT {time}, name, value, unit, via FROM reading"
        where, values = ("WHERE name = ?", (name, CSV_ROWS)) if name else ("", (CSV_ROWS,))
        rows = self.db.execute(f"{query} {where} ORDER BY id DESC LIMIT ?", values).fetchall()
        lines = (",".join(map(str, row)) for row in reversed(rows))
        return "\r\n".join(["time,sensor,value,unit,via", *lines, ""])
