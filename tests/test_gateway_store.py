"""The gateway's format and store, by plain calls: laws and limits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from programs import load_example

store = load_example("gateway_store")
History = load_example("gateway_history").History


@pytest.fixture
def kept() -> Iterator[store.Store]:
    """Give an empty store."""
    history = History()
    yield store.Store(history)
    history.close()


names = st.from_regex(store.NAME, fullmatch=True)
values = st.floats(-store.MAX_VALUE, store.MAX_VALUE)
units = st.sampled_from(["", "°C", "%", "m/s", "µg/m³", "u" * 16])
words = st.sampled_from([b"a", b"-1.5e3", b".5", b"1_0", b"nan", b"1e999", b"\xff", b"u" * 17])


@given(names, values, units)
def test_a_line_made_by_the_rules_is_read_as_it_was_meant(
    name: str, value: float, unit: str
) -> None:
    assert store.parse_line(f"{name} {value!r} {unit}\r".encode()) == (name, value, unit)


@given(st.binary(max_size=250) | st.lists(words, max_size=4).map(b" ".join))
@example(b"a 1 \xc2\xa0")
@example("a \N{ARABIC-INDIC DIGIT ONE}".encode())
def test_any_bytes_are_a_measurement_by_the_rules_or_a_value_error(line: bytes) -> None:
    try:
        name, value, unit = store.parse_line(line)
    except ValueError:
        return
    assert store.NAME.fullmatch(name)
    assert abs(value) <= store.MAX_VALUE
    assert len(unit) <= 16
    assert line.split()[1].isascii()


@given(st.lists(st.binary(max_size=30) | st.builds(lambda n: b"s%d 1" % n, st.integers(0, 200))))
def test_no_sequence_of_lines_makes_the_store_grow_beyond_its_limits(lines: list[bytes]) -> None:
    history = History()
    kept = store.Store(history)
    for i, line in enumerate(lines):
        kept.take(line, "udp", f"device {i}")
    history.close()
    assert len(kept.devices) <= store.MAX_DEVICES
    assert len(kept.sensors) <= store.MAX_SENSORS
    assert all(len(sensor.recent) <= store.RECENT for sensor in kept.sensors.values())
    assert kept.accepted + kept.rejected == sum(1 for line in lines if line.strip())


def test_what_is_new_is_told_once_and_no_longer_than_it_is_kept(kept: store.Store) -> None:
    for i in range(store.RECENT + 1):
        kept.take(b"a %d" % i, "udp")
    kept.take(b"b 1", "udp")
    assert [len(one["recent"]) for one in kept.news()["sensors"]] == [store.RECENT, 1]
    assert kept.news() == {}
    kept.set_alarm("a", None, 1)
    (told,) = kept.news()["sensors"]
    assert (told["recent"], told["alarm"]) == ([], "high")


def test_the_sensor_silent_for_longest_makes_room_for_a_new_one(
    kept: store.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(store.MAX_SENSORS):
        monkeypatch.setattr(store, "now_ms", lambda i=i: i)
        kept.take(b"s%d 1" % i, "udp")
    kept.set_alarm("s0", 0, 1)
    monkeypatch.setattr(store, "now_ms", lambda: store.SILENT_MS - 1)
    kept.take(b"new 1", "udp")
    assert "new" not in kept.sensors
    assert not kept.evicted
    monkeypatch.setattr(store, "now_ms", lambda: store.SILENT_MS)
    kept.take(b"new 1", "udp")
    assert kept.evicted
    assert set(kept.sensors) == {"new", *(f"s{i}" for i in range(1, store.MAX_SENSORS))}
    kept.save()
    assert "s0" not in kept.history.names(100)
    assert kept.history.alarms() == kept.alarms == {}


@given(st.floats(-9, 9), st.none() | st.floats(-9, 9), st.none() | st.floats(-9, 9))
def test_an_alarm_is_a_value_outside_of_the_limits(
    value: float, low: float | None, high: float | None
) -> None:
    sensor = store.Sensor("a", low, high)
    sensor.recent.append((0, value))
    if low is not None and high is not None and low > high:
        return
    inside = (low is None or low <= value) and (high is None or value <= high)
    assert (sensor.alarm() == "") == inside


def test_limits_that_no_value_can_keep_are_refused(kept: store.Store) -> None:
    kept.take(b"a 1", "udp")
    with pytest.raises(ValueError, match="lower limit, 2, is above the upper one, 1"):
        kept.set_alarm("a", 2, 1)
    with pytest.raises(ValueError, match="no such sensor: 'b'"):
        kept.set_alarm("b", 1, 2)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([f"a{i}" for i in range(20)] + ["", "/", "ü"]),
            st.sampled_from(["set", "state"]),
            st.sampled_from([b"on", b"off", b"offline", b"", b"ON", b"\xff"]),
        ),
        max_size=60,
    )
)
def test_actuators_are_what_their_devices_say_and_never_too_many(
    messages: list[tuple[str, str, bytes]],
) -> None:
    history = History()
    kept = store.Store(history)
    for name, what, data in messages:
        before = kept.actuators.get(name)
        kept.switch(name, what, data, "device")
        if what == "set" and before is None:
            assert name not in kept.actuators  # only a device can make itself known
    history.close()
    assert len(kept.actuators) <= store.MAX_ACTUATORS
    for one in kept.actuators.values():
        assert one.state in ("on", "off", "offline")
        assert one.asked in ("", "on", "off")
    assert set(kept.actuators) <= {f"a{i}" for i in range(20)}


def test_the_history_keeps_the_newest_values_only() -> None:
    history = History(rows=3)
    for i in range(10):
        history.add(i, "ab"[i % 2], i, "V", "udp")
    history.save()
    assert history.values("a", 9) == [(8, 8.0, "V", "udp")]
    assert history.values("b", 9) == [(7, 7.0, "V", "udp"), (9, 9.0, "V", "udp")]
    assert history.names(9) == ["b", "a"]
    history.close()


def test_a_database_that_fails_is_told_and_does_not_stop_the_gateway(kept: store.Store) -> None:
    kept.take(b"a 1", "udp")
    kept.history.db.execute("DROP TABLE reading")
    kept.save()
    assert kept.last_error == "database: measurements not saved: no such table: reading"
    assert kept.history.unsaved == []
    kept.take(b"a 2", "udp")
    assert kept.sensors["a"].summary()["value"] == 2


def test_what_waits_for_the_database_has_a_limit(kept: store.Store) -> None:
    for _ in range(store.MAX_UNSAVED + 1):
        kept.take(b"a 1", "udp")
    assert kept.history.unsaved == []
    assert len(kept.history.values("a", 1 << 20)) == store.MAX_UNSAVED + 1
