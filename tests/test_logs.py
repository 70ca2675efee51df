"""Log lines of the C core, and errors that no handler takes."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Callable

import pytest
from conftest import Recorder, dial, pump

from mongoose_py import (
    MG_EV_CLOSE,
    MG_EV_ERROR,
    MG_EV_READ,
    MG_LL_DEBUG,
    MG_LL_ERROR,
    MG_LL_INFO,
    MG_LL_NONE,
    MG_LL_VERBOSE,
    Connection,
    Handler,
    Manager,
    log_get,
    log_set,
)

LEVELS = [MG_LL_NONE, MG_LL_ERROR, MG_LL_INFO, MG_LL_DEBUG, MG_LL_VERBOSE]


@pytest.fixture(autouse=True)
def level_restored() -> Iterator[None]:
    before = log_get()
    yield
    log_set(before)


def test_levels_are_the_numbers_from_0_to_4() -> None:
    assert LEVELS == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_that_was_set_is_the_level(level: int) -> None:
    log_set(level)
    assert log_get() == level


@pytest.mark.parametrize("level", [-5, -1, 5, 99, 2**40])
def test_a_level_that_does_not_exist_is_refused_and_shown(level: int) -> None:
    with pytest.raises(ValueError, match=rf"level must be 0\.\.4, not {level}"):
        log_set(level)


@pytest.mark.parametrize("level", ["1", None, 1.5])
def test_a_level_that_is_no_int_is_a_type_error(level: object) -> None:
    with pytest.raises(TypeError):
        log_set(level)  # type: ignore[arg-type]


def test_importing_prints_nothing_and_leaves_the_log_off() -> None:
    code = "import mongoose_py; assert mongoose_py.log_get() == mongoose_py.MG_LL_NONE"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_lines_of_the_core_reach_the_standard_logger(caplog: pytest.LogCaptureFixture) -> None:
    log_set(MG_LL_ERROR)
    with Manager(Recorder()) as manager:
        conn = manager.listen("tcp://127.0.0.1:0")
        conn.error("broken 100%s")
        pump(manager, lambda: conn.id == 0)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("mongoose_py", logging.ERROR)
    assert "broken 100%s" in record.getMessage()


def test_no_line_is_made_at_level_none(
    caplog: pytest.LogCaptureFixture, make_manager: Callable[..., Manager]
) -> None:
    answers = Recorder()
    with caplog.at_level(logging.DEBUG, "mongoose_py"):
        manager = make_manager(answers)
        listener = manager.listen("http://127.0.0.1:0")
        with dial(listener) as client:
            client.sendall(b"\0\1\2 garbage\r\n\r\n")
            pump(manager, lambda: "CLOSE" in answers.names())
    assert caplog.records == []


def test_an_error_that_no_handler_takes_is_logged_as_a_warning(
    caplog: pytest.LogCaptureFixture, make_manager: Callable[..., Manager]
) -> None:
    manager = make_manager()
    conn = manager.listen("tcp://127.0.0.1:0")
    number = conn.id
    conn.error("no milk 100%s left")
    pump(manager, lambda: conn.id == 0)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("mongoose_py", logging.WARNING)
    assert record.getMessage() == f"connection {number}: no milk 100%s left"


def test_peers_cannot_fill_the_log_with_errors_that_no_handler_takes(
    caplog: pytest.LogCaptureFixture, make_manager: Callable[..., Manager]
) -> None:
    closed = Recorder()
    manager = make_manager(closed, events=[MG_EV_CLOSE])
    listener = manager.listen("tls://127.0.0.1:0")  # without tls= it refuses everybody
    with caplog.at_level(logging.DEBUG, "mongoose_py"):
        for count in range(1, 4):
            with dial(listener):
                pump(manager, closed.saw(MG_EV_CLOSE, count))
    assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG", "DEBUG"]
    first, second, third = [record.getMessage().partition(": ")[2] for record in caplog.records]
    assert first == f"{second} (of accepted connections later errors are logged at DEBUG)"
    assert second == third


@pytest.mark.parametrize("what", ["events", "methods"])
def test_an_error_is_logged_when_the_handler_wants_other_events_only(
    what: str, caplog: pytest.LogCaptureFixture, make_manager: Callable[..., Manager]
) -> None:
    class OnlyReads(Handler):
        def on_read(self, conn: Connection, data: object) -> None:
            raise AssertionError

    if what == "events":
        manager = make_manager(Recorder(), events=[MG_EV_READ])
    else:
        manager = make_manager(OnlyReads())
    conn = manager.listen("tcp://127.0.0.1:0")
    conn.error("unheard")
    pump(manager, lambda: conn.id == 0)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_an_error_that_a_handler_takes_is_not_logged(
    caplog: pytest.LogCaptureFixture, make_manager: Callable[..., Manager]
) -> None:
    heard = Recorder()
    manager = make_manager(heard)
    conn = manager.listen("tcp://127.0.0.1:0")
    conn.error("heard")
    pump(manager, heard.saw(MG_EV_ERROR))
    assert heard.data(MG_EV_ERROR) == ["heard"]
    assert caplog.records == []
