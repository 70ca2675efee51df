"""The gateway's format and store, by plain calls: laws and limits."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from programs import load_example

store = load_example("gateway/store")


@pytest.fixture
def kept() -> Iterator[store.Store]:
    """Give an empty store."""
    one = store.Store()
    yield one
    one.db.close()


names = st.from_regex(store.NAME, fullmatch=True)
values = st.floats(-store.MAX_VALUE, store.MAX_VALUE)
units = st.sampled_from(["", "°C", "%", "m/s", "µg/m³", "u" * 16])
words = st.sampled_from([b"a", b"-1.5e3", b".5", b"1_0", b"nan", b"1e999", b"\xff", b"u" * 17])


@given(names, values, units)
def test_a_line_made_by_the_rules_is_read_as_it_was_meant(
    name: str, value: float, unit: str
) -> None:
    assert store.parse(f"{name} {value!r} {unit}\r".encode()) == (name, value, unit)


@given(st.binary(max_size=250) | st.lists(words, max_size=4).map(b" ".join))
@example(b"a 1 \xc2\xa0")
@example("a \N{ARABIC-INDIC DIGIT ONE}".encode())
def test_any_bytes_are_a_measurement_by_the_rules_or_a_value_error(line: bytes) -> None:
    try:
        name, value, unit = store.parse(line)
    except ValueError:
        return
    assert store.NAME.fullmatch(name)
    assert abs(value) <= store.MAX_VALUE
    assert len(unit) <= 16
    assert unit.isprintable()
    assert not set(unit) & set(' ,"')
    assert line.split()[1].isascii()


@given(st.lists(st.binary(max_size=30) | st.builds(lambda n: b"s%d 1" % n, st.integers(0, 200))))
def test_no_sequence_of_lines_makes_the_store_grow_beyond_its_limits(lines: list[bytes]) -> None:
    kept = store.Store(history=5)
    for i, line in enumerate(lines):
        kept.take("udp", f"device {i}", line)
    kept.save()
    for table, most in {**store.MOST, "reading": 5}.items():
        assert len(kept.names(table)) <= most
    counts = kept.counts
    assert counts["accepted"] + counts["rejected"] == sum(1 for line in lines if line.strip())
    kept.db.close()


def test_what_is_new_is_told_once_and_no_longer_than_it_is_kept(kept: store.Store) -> None:
    for i in range(store.RECENT + 1):
        kept.take("udp", "d", b"a %d" % i)
    kept.take("udp", "d", b"b 1")
    first, second = kept.news()
    assert [value for _, value in first["recent"]] == list(range(1, store.RECENT + 1))
    assert [value for _, value in second["recent"]] == [1]
    assert kept.news() == []
    kept.set_alarm("a", None, 1)
    (told,) = kept.news()
    assert (told["recent"], told["alarm"]) == ([], "high")


def test_of_too_many_those_heard_of_last_are_kept(
    kept: store.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = store.MOST["sensor"]
    for i in range(most + 2):
        monkeypatch.setattr(store, "now_ms", lambda i=i: i)
        kept.take("udp", "d", b"s%d 1" % i)
    kept.take("udp", "d", b"s0 2")
    kept.set_alarm("s1", 0, 5)
    kept.save()
    assert {*kept.names("sensor")} == {"s0", *(f"s{i}" for i in range(3, most + 2))}
    kept.take("udp", "d", b"s1 9")  # it comes back, and its limits were not forgotten
    assert kept.sensor("s1")["alarm"] == "high"


@given(st.integers(-9, 9), st.none() | st.floats(-9, 9), st.none() | st.floats(-9, 9))
def test_an_alarm_is_a_value_outside_of_the_limits(
    value: float, low: float | None, high: float | None
) -> None:
    kept = store.Store()
    kept.take("udp", "d", b"a %d" % value)
    if low is not None and high is not None and low > high:
        with pytest.raises(ValueError, match="no limits of an alarm"):
            kept.set_alarm("a", low, high)
        low = high = None
    else:
        kept.set_alarm("a", low, high)
    too_low, too_high = low is not None and value < low, high is not None and value > high
    assert kept.sensor("a")["alarm"] == ("low" if too_low else "high" if too_high else "")
    kept.db.close()


@pytest.mark.parametrize("limit", [float("nan"), float("inf"), -float("inf"), 1e16])
def test_limits_that_no_value_can_reach_are_refused(kept: store.Store, limit: float) -> None:
    with pytest.raises(ValueError, match="no limits of an alarm"):
        kept.set_alarm("a", limit, None)
    with pytest.raises(ValueError, match="no limits of an alarm"):
        kept.set_alarm("a", None, limit)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([f"a{i}" for i in range(20)] + ["", "/", "ü"]),
            st.sampled_from(["set", "state"]),
            st.sampled_from(["on", "off", "offline", "", "ON", "\N{REPLACEMENT CHARACTER}"]),
        ),
        max_size=60,
    )
)
def test_actuators_are_what_their_devices_say_and_never_too_many(
    messages: list[tuple[str, str, str]],
) -> None:
    kept = store.Store()
    for name, what, word in messages:
        before = kept.names("actuator")
        kept.switch(name, what, word)
        if what == "set" and name not in before:
            assert name not in kept.names("actuator")  # only a device can make itself known
    kept.save()
    found = kept.rows("SELECT * FROM actuator")
    kept.db.close()
    assert len(found) <= store.MOST["actuator"]
    for one in found:
        assert one["state"] in ("on", "off", "offline")
        assert one["asked"] in ("", "on", "off")
        assert one["name"] in {f"a{i}" for i in range(20)}


def test_the_history_keeps_the_newest_values_only() -> None:
    kept = store.Store(history=3)
    for i in range(10):
        kept.take("udp", "d", b"%c %d V" % (b"ab"[i % 2], i))
    kept.save()
    assert [value for _, value in kept.sensor("a")["recent"]] == [8]
    assert [value for _, value in kept.sensor("b")["recent"]] == [7, 9]
    rows = [line.split(",")[1:] for line in kept.csv("").splitlines()]
    assert rows == [
        ["sensor", "value", "unit", "via"],
        *([name, f"{i}.0", "V", "udp"] for name, i in (("b", 7), ("a", 8), ("b", 9))),
    ]
    kept.db.close()


def test_a_database_that_fails_is_told_and_does_not_stop_the_gateway(kept: store.Store) -> None:
    kept.save()
    kept.db.execute("DROP TABLE reading")
    kept.take("udp", "d", b"a 1")
    assert kept.counts["last_error"] == "udp: no such table: reading"
    kept.save()
    assert kept.counts["last_error"] == "database: not saved: no such table: reading"
    assert kept.counts["rejected"] == 2


@given(names, values, units)
def test_no_field_of_the_csv_needs_quotes(name: str, value: float, unit: str) -> None:
    kept = store.Store()
    kept.take("udp", "d", f"{name} {value!r} {unit}".encode())
    (row,) = csv.DictReader(io.StringIO(kept.csv("")))
    assert (row["sensor"], float(row["value"]), row["unit"]) == (name, value, unit)
    kept.db.close()
