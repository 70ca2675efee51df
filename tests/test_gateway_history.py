"""What the gateway remembers: the history, alarms, settings; over restarts and crashes."""

from __future__ import annotations

import csv
import io
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from programs import EXAMPLES, GATEWAY, QUICK, Gateway, Program, Stream, load_example, running

needs_tomllib = pytest.mark.skipif(sys.version_info < (3, 11), reason="there is no tomllib")


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """Run a gateway of the test's own."""
    with running() as gateway:
        yield gateway


@pytest.fixture(scope="module")
def shared() -> Iterator[Gateway]:
    """Run a gateway for the tests of what changes nothing."""
    with running() as gateway:
        yield gateway


def alarm_of(stream: Stream, name: str, **known: object) -> Any:
    """Return a sensor's news once this is known of it."""
    for kind, data in stream.events():
        for one in data["sensors"] if kind != "refused" else ():
            if one["name"] == name and known.items() <= one.items():
                return one
    raise AssertionError("the view has ended")


def export(gateway: Gateway, path: str = "/csv") -> list[dict[str, str]]:
    """Return the rows of an export."""
    status, headers, body = gateway.ask(path)
    assert (status, headers["Content-Type"]) == (200, "text/csv; charset=utf-8")
    assert headers["Content-Disposition"].startswith("attachment; filename=")
    return list(csv.DictReader(io.StringIO(body.decode())))


# -- alarms -------------------------------------------------------------------


def test_a_value_outside_of_the_limits_is_an_alarm_until_one_is_inside(gateway: Gateway) -> None:
    with Stream(gateway) as page, gateway.tcp() as sender:
        sender.sendall(b"oven 100 C\n")
        assert alarm_of(page, "oven", value=100)["alarm"] == ""
        page.send("alarm oven 50 150.5")
        assert alarm_of(page, "oven", low=50, high=150.5)["alarm"] == ""
        for value, alarm in ((150.6, "high"), (150.5, ""), (49.9, "low"), (50, "")):
            sender.sendall(b"oven %f\n" % value)
            assert alarm_of(page, "oven", value=value)["alarm"] == alarm
        page.send("alarm oven 60 -")
        assert alarm_of(page, "oven", low=60, high=None)["alarm"] == "low"
        page.send("alarm oven - -")
        assert alarm_of(page, "oven", low=None)["alarm"] == ""


def test_limits_set_on_one_page_show_on_the_others(gateway: Gateway) -> None:
    gateway.send_udp(b"oven 1")
    with Stream(gateway) as one, Stream(gateway) as other:
        alarm_of(one, "oven", value=1)
        one.send("alarm oven - 0")
        assert alarm_of(other, "oven", high=0)["alarm"] == "high"


# -- the history --------------------------------------------------------------


def test_the_export_has_every_value_of_a_sensor_or_of_all(gateway: Gateway) -> None:
    gateway.send_udp("a 1.5 °C\nb 2\na -3 °C".encode())
    with Stream(gateway) as stream:
        stream.stats(accepted=3)
    rows = export(gateway)
    assert [(row["sensor"], row["value"], row["unit"], row["via"]) for row in rows] == [
        ("a", "1.5", "°C", "udp"),
        ("b", "2.0", "", "udp"),
        ("a", "-3.0", "°C", "udp"),
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", rows[0]["time"])
    assert [row["value"] for row in export(gateway, "/csv/a")] == ["1.5", "-3.0"]


@pytest.mark.parametrize("unit", ["=1+1", "+1", "-1", "@x", '"', "a,b"])
def test_no_unit_is_a_formula_or_another_field_in_the_export(shared: Gateway, unit: str) -> None:
    rejected = shared.api("stats")["rejected"]
    shared.send_udp(f"a 1 {unit}\nb 1".encode())
    with Stream(shared) as stream:
        stream.stats(rejected=rejected + 1)
    assert {row["sensor"] for row in export(shared)} == {"b"}


def test_without_a_file_nothing_is_left_behind() -> None:
    for _ in range(2):
        with running() as gateway:
            assert gateway.api("sensors") == []
            gateway.send_udp(b"a 1")
            with Stream(gateway) as stream:
                assert next(stream.values_of("a")) == 1


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_history_and_alarms_survive_a_restart(tmp_path: Path, how: signal.Signals) -> None:
    file = str(tmp_path / "gateway.db")
    with Program(GATEWAY, *QUICK, "--database", file) as program:
        first = Gateway(program)
        first.send_udp(b"a 1 V\nb 5")
        with Stream(first) as stream:
            assert next(stream.values_of("a")) == 1
            stream.send("alarm a - 0.5")
            before = alarm_of(stream, "a", high=0.5)
            recent = first.api("sensors/a")["recent"]
            stream.stats(accepted=2)
            next(stream.events())
            next(stream.events())  # all is saved by now
        if how == signal.SIGKILL:
            program.process.kill()
            program.process.wait()
        else:
            program.stop(how)
    with running("--database", file) as second:
        assert second.api("sensors/a") == {**before, "recent": recent}
        second.send_udp(b"a 0 V")
        with Stream(second) as stream:
            assert alarm_of(stream, "a", value=0)["alarm"] == ""
        assert [row["value"] for row in export(second, "/csv/a")] == ["1.0", "0.0"]
        assert second.api("sensors/b")["value"] == 5


def test_the_history_does_not_grow_beyond_what_was_asked_for(tmp_path: Path) -> None:
    with running("--database", str(tmp_path / "x.db"), "--history", "50") as gateway:
        with Stream(gateway) as stream, gateway.tcp() as sender:
            sender.sendall(b"".join(b"a %d\n" % i for i in range(200)))
            stream.stats(accepted=200)
        assert [row["value"] for row in export(gateway)] == [f"{i}.0" for i in range(150, 200)]


def test_a_second_gateway_on_the_same_file_is_told(tmp_path: Path) -> None:
    file = str(tmp_path / "gateway.db")
    with (
        running("--database", file),
        Program(GATEWAY, *QUICK, "--database", file) as second,
    ):
        assert second.finish() == (1, "", f"gateway: {file}: database is locked\n")


def test_a_file_that_is_no_database_is_told_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("important " * 100)
    with Program(GATEWAY, *QUICK, "--database", str(file)) as program:
        assert program.finish() == (1, "", f"gateway: {file}: file is not a database\n")
    assert file.read_text() == "important " * 100


# -- settings -----------------------------------------------------------------


@needs_tomllib
def test_settings_come_from_a_file_and_the_command_line_goes_first(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(
        f"""
        web = "nonsense" # the command line says another
        name = "gateway.local"
        database = "{tmp_path / "gateway.db"}"
        history = 1

        [alarms]
        oven = {{ high = 10 }}
        "tank.level" = {{ low = 1.5, high = 2 }}
        """
    )
    with running("--settings", str(file)) as gateway:
        gateway.send_udp(b"oven 11\ntank.level 1\nfan 3")
        with Stream(gateway) as stream:
            assert alarm_of(stream, "oven", high=10)["alarm"] == "high"
            assert gateway.api("sensors/tank.level")["alarm"] == "low"
            for name in ("oven", "fan"):
                stream.send(f"alarm {name} - 20")
                alarm_of(stream, name, high=20)
        assert gateway.ask("/", Host="gateway.local")[0] == 200
        assert len(export(gateway)) == 1
    with running("--settings", str(file)) as gateway:  # the file goes before what a page has set
        highs = {one["name"]: one["high"] for one in gateway.api("sensors")}
        assert highs == {"oven": 10, "tank.level": 2, "fan": 20}


@needs_tomllib
def test_the_file_of_settings_that_comes_with_it_has_all_of_them_and_changes_none() -> None:
    module = load_example("gateway/gateway")
    file = EXAMPLES / "gateway" / "gateway.toml"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["gateway.py"])
        defaults = vars(module.settings())
        patch.setattr(sys, "argv", ["gateway.py", "--settings", str(file)])
        assert vars(module.settings()) == {**defaults, "settings": str(file)}
    import tomllib

    assert {*tomllib.loads(file.read_text("utf-8")), "settings"} == {*defaults}


@needs_tomllib
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("history = 'x'", "argument --history: invalid int value: 'x'"),
        ("color = 1", "unrecognized arguments: --color=1"),
        ("alarms = 1", "not the limits of alarms: 1"),
        ("alarms.a = 1", "not the limits of alarms: {'a': 1}"),
        ("alarms.a = {lower = 1}", "not the limits of alarms: {'a': {'lower': 1}}"),
        ("alarms.a = {low = 'x'}", "not the limits of alarms: {'a': {'low': 'x'}}"),
        ("alarms.a = {low = nan}", "not the limits of alarms: {'a': {'low': nan}}"),
        (
            "alarms.a = {low = 2, high = 1}",
            "not the limits of alarms: {'a': {'low': 2, 'high': 1}}",
        ),
        ("history = ", "Invalid value (at end of document)"),
    ],
)
def test_a_setting_that_is_wrong_is_told_with_its_value(
    tmp_path: Path, text: str, told: str
) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(text)
    with Program(GATEWAY, *QUICK, "--settings", str(file)) as program:
        code, output, errors = program.finish()
    assert code != 0
    assert output == ""
    assert re.search(rf"^gateway.*: {re.escape(told)}$", errors, re.MULTILINE)
    assert "Traceback" not in errors


@needs_tomllib
def test_settings_that_are_not_there_are_told(tmp_path: Path) -> None:
    with Program(GATEWAY, "--settings", str(tmp_path / "none.toml")) as program:
        code, _, errors = program.finish()
    assert code == 1
    assert re.fullmatch(r"gateway: .*none\.toml: .*No such file.*\n", errors)


@pytest.mark.skipif(sys.version_info >= (3, 11), reason="there is tomllib")
def test_an_older_python_is_told_that_settings_need_a_newer_one(tmp_path: Path) -> None:
    with Program(GATEWAY, "--settings", str(tmp_path / "none.toml")) as program:
        code, _, errors = program.finish()
    assert code == 1
    assert "needs Python 3.11" in errors
