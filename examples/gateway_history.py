"""What gateway.py remembers in SQLite: measurements, and the limits of alarms.

What is new waits in memory until ``save()`` writes it in one transaction.
"""

from __future__ import annotations

import csv
import io
import sqlite3

ROWS = 500_000  # measurements kept, of all sensors together; about 25 MB
CSV_ROWS = 50_000  # the newest, in one export

TABLES = """
PRAGMA locking_mode = EXCLUSIVE; -- a second gateway on the same file is told at once
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL; -- a power cut may cost the last seconds, never the file
CREATE TABLE IF NOT EXISTS reading
    (id INTEGER PRIMARY KEY, time INTEGER, name TEXT, value REAL, unit TEXT, via TEXT);
CREATE INDEX IF NOT EXISTS reading_by_name ON reading (name);
CREATE TABLE IF NOT EXISTS alarm (name TEXT PRIMARY KEY, low REAL, high REAL);
"""
TRIM = "DELETE FROM reading WHERE id <= (SELECT max(id) FROM reading) - ?"
NEWEST = "SELECT * FROM (SELECT * FROM reading {} ORDER BY id DESC LIMIT ?) ORDER BY id"
EXPORT = "SELECT strftime('%Y-%m-%dT%H:%M:%fZ', time / 1000.0, 'unixepoch'), name, value, unit, via"


class History:
    """One database: a file, or ``":memory:"``.

    Raises:
        sqlite3.Error: If *database* is in use, or is no database.
    """

    def __init__(self, database: str = ":memory:", rows: int = ROWS) -> None:
        self.rows = rows
        self.unsaved: list[tuple[str, tuple[object, ...]]] = []  # statements and their values
        self.db = sqlite3.connect(database, timeout=0)
        try:
            self.db.executescript(TABLES)
        except sqlite3.Error:
            self.db.close()
            raise

    def add(self, time: int, name: str, value: float, unit: str, via: str) -> None:
        """Keep a measurement; *time* is milliseconds of Unix time."""
        statement = "INSERT INTO reading (time, name, value, unit, via) VALUES (?, ?, ?, ?, ?)"
        self.unsaved.append((statement, (time, name, value, unit, via)))

    def add_alarm(self, name: str, low: float | None, high: float | None) -> None:
        """Keep the limits of a sensor."""
        statement = "INSERT OR REPLACE INTO alarm VALUES (?, ?, ?)"
        self.unsaved.append((statement, (name, low, high)))

    def forget(self, name: str) -> None:
        """Remove all there is of a sensor."""
        for table in ("reading", "alarm"):
            self.unsaved.append((f"DELETE FROM {table} WHERE name = ?", (name,)))

    def save(self) -> None:
        """Write what is new; when that fails (sqlite3.Error), it is lost."""
        unsaved, self.unsaved = self.unsaved, []
        with self.db:  # a transaction
            for statement, values in unsaved:
                self.db.execute(statement, values)
            self.db.execute(TRIM, (self.rows,))

    def close(self) -> None:
        """Close the database; what is unsaved is lost."""
        self.db.close()

    def names(self, newest: int) -> list[str]:
        """Return the sensors that there are values of, those heard of last."""
        query = "SELECT name FROM reading GROUP BY name ORDER BY max(id) DESC LIMIT ?"
        return [name for (name,) in self.db.execute(query, (newest,))]

    def values(self, name: str, newest: int) -> list[tuple[int, float, str, str]]:
        """Return the newest values of a sensor: time, value, unit, and how it came."""
        query = f"SELECT time, value, unit, via FROM ({NEWEST.format('WHERE name = ?')})"
        return self.db.execute(query, (name, newest)).fetchall()

    def alarms(self) -> dict[str, tuple[float | None, float | None]]:
        """Return the lower and upper limits, by sensor."""
        return {name: (low, high) for name, low, high in self.db.execute("SELECT * FROM alarm")}

    def export(self, name: str = "") -> str:
        """Return the newest values of a sensor, or of all, as CSV."""
        newest = NEWEST.format("WHERE name = ?" if name else "")
        values = (name, CSV_ROWS) if name else (CSV_ROWS,)
        table = io.StringIO()
        writer = csv.writer(table)
        writer.writerow(["time", "sensor", "value", "unit", "via"])
        writer.writerows(self.db.execute(f"{EXPORT} FROM ({newest})", values))
        return table.getvalue()
