"""Medians, ratios and tables: how measurements become text."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Spread:
    """The median of repeated measurements, and how far they lie apart."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        data = list(values)
        return cls(statistics.median(data), min(data), max(data))

    def text(self, digits: int = 2) -> str:
        if self.low == self.high:
            return f"{self.median:,.{digits}f}"
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f} to {self.high:,.{digits}f})"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Compare round by round: what slowed the machine in a round slowed both."""
    return Spread.of(a / b for a, b in zip(ours, theirs))


@dataclass(frozen=True)
class Verdict:
    """A target and what was measured."""

    what: str
    value: Spread
    target: float
    unit: str = ""
    digits: int = 2

    @property
    def met(self) -> bool:
        return self.value.median <= self.target

    def row(self) -> list[str]:
        goal = f"<= {self.target:g}{self.unit}"
        return [self.what, self.value.text(self.digits), goal, "met" if self.met else "**missed**"]


@dataclass
class Section:
    """One measurement, as it will be printed."""

    title: str
    header: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)

    def text(self) -> str:
        blocks = [f"### {self.title}", table(self.header, self.rows)]
        if self.notes:
            blocks.append("\n".join(f"- {note}" for note in self.notes))
        return "\n\n".join(blocks)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table: the first column is text, the others are aligned right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def verdicts_table(verdicts: Sequence[Verdict]) -> str:
    """Return the table of all targets."""
    if not verdicts:
        return "No target could be checked."
    return table(["ratio or value", "measured", "target", ""], [v.row() for v in verdicts])


def write_between_markers(path: Path, text: str, name: str = "results") -> None:
    """Replace what stands between the markers called *name* in *path*."""
    begin = re.compile(rf"<!-- {name}: begin \(written by \S+ --write\) -->\n")
    end = f"<!-- {name}: end -->"
    old = path.read_text()
    first, last = begin.search(old), old.find(end)
    if first is None or last < first.end():
        raise RuntimeError(f"{path.name} lost its markers {name!r}")
    path.write_text(f"{old[: first.end()]}\n{text}\n\n{old[last:]}")
