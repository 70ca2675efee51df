"""Timers: when they fire, in which order, and how they end."""

from __future__ import annotations

import gc
import threading
from time import monotonic
from typing import Any, Callable

import pytest
from conftest import DEADLINE, pump, running, turns
from hypothesis import given, settings
from hypothesis import strategies as st

from mongoose_py import Manager, Timer

MakeManager = Callable[..., Manager]


def test_a_one_shot_timer_fires_once_and_is_then_inactive(make_manager: MakeManager) -> None:
    manager = make_manager()
    fired: list[float] = []
    begin = monotonic()
    timer = manager.timer_add(20, lambda: fired.append(monotonic()))
    assert isinstance(timer, Timer)
    assert timer.active is True
    pump(manager, lambda: fired)
    assert timer.active is False
    assert fired[0] - begin >= 0.019
    manager.poll(50)
    assert len(fired) == 1


def test_a_repeating_timer_fires_until_it_is_cancelled(make_manager: MakeManager) -> None:
    manager = make_manager()
    fired: list[int] = []
    timer = manager.timer_add(3, lambda: fired.append(1), repeat=True)
    pump(manager, lambda: len(fired) >= 5)
    assert timer.active
    timer.cancel()
    assert timer.active is False
    count = len(fired)
    manager.poll(15)
    assert len(fired) == count


def test_run_now_fires_in_the_next_poll_and_not_before(make_manager: MakeManager) -> None:
    manager = make_manager()
    fired: list[str] = []
    once = manager.timer_add(60_000, lambda: fired.append("once"), run_now=True)
    again = manager.timer_add(60_000, lambda: fired.append("again"), repeat=True, run_now=True)
    assert fired == []
    manager.poll(10)
    turns(manager)
    assert fired == ["once", "again"]
    assert (once.active, again.active) == (False, True)


def test_options_may_be_positional_and_the_callback_a_keyword(make_manager: MakeManager) -> None:
    manager = make_manager()
    fired: list[int] = []
    timer = manager.timer_add(60_000, lambda: fired.append(1), True, True)
    manager.timer_add(milliseconds=0, callback=lambda: fired.append(2))
    pump(manager, lambda: sorted(fired) == [1, 2])
    assert timer.active


def test_zero_milliseconds_is_the_next_poll(make_manager: MakeManager) -> None:
    manager = make_manager()
    fired: list[int] = []
    manager.timer_add(0, lambda: fired.append(1))
    assert fired == []
    manager.poll()
    assert fired == [1]


def test_a_poll_that_waits_is_cut_short_by_a_timer(make_manager: MakeManager) -> None:
    manager = make_manager()
    fired: list[int] = []
    manager.timer_add(20, lambda: fired.append(1))
    begin = monotonic()
    while not fired:
        manager.poll(30_000)
    assert monotonic() - begin < DEADLINE


def test_a_timer_added_by_another_thread_cuts_a_waiting_poll_short(
    make_manager: MakeManager,
) -> None:
    manager = make_manager()
    fired = threading.Event()
    with running(manager):
        for _ in range(20):
            fired.clear()
            manager.timer_add(1, fired.set)
            assert fired.wait(DEADLINE)


def test_the_time_counts_from_the_call(make_manager: MakeManager) -> None:
    manager = make_manager()
    fired: list[int] = []
    manager.timer_add(30, lambda: fired.append(1))
    make_manager().poll(50)  # another one: ours does not turn meanwhile
    manager.poll(0)
    assert fired == [1]


def test_a_late_repeating_timer_drops_what_it_missed(make_manager: MakeManager) -> None:
    manager = make_manager()
    fired: list[int] = []
    manager.timer_add(5, lambda: fired.append(1), repeat=True)
    make_manager().poll(100)
    manager.poll(0)
    assert fired == [1]


@settings(max_examples=30)
@given(st.lists(st.integers(0, 8), min_size=1, max_size=20))
def test_a_timer_added_later_for_no_earlier_time_fires_later(delays: list[int]) -> None:
    with Manager() as manager, Manager() as other:
        fired: list[int] = []
        for n, ms in enumerate(delays):
            manager.timer_add(ms, lambda n=n: fired.append(n))
        other.poll(12)  # all are due now
        pump(manager, lambda: len(fired) == len(delays))
    place = {n: at for at, n in enumerate(fired)}
    for n, ms in enumerate(delays):
        for later in range(n + 1, len(delays)):
            assert delays[later] < ms or place[n] < place[later]


def test_a_callback_may_add_and_cancel_timers_itself_included(make_manager: MakeManager) -> None:
    manager = make_manager()
    log: list[str] = []

    def first() -> None:
        log.append("first")
        timers[0].cancel()
        timers[1].cancel()
        manager.timer_add(0, lambda: log.append("added"))

    timers = [
        manager.timer_add(1, first, repeat=True),
        manager.timer_add(2, lambda: log.append("never")),
    ]
    pump(manager, lambda: "added" in log)
    manager.poll(10)
    assert log == ["first", "added"]


def test_a_cancelled_timer_never_fires(make_manager: MakeManager) -> None:
    manager = make_manager()
    fired: list[int] = []
    timer = manager.timer_add(1, lambda: fired.append(1))
    timer.cancel()
    timer.cancel()
    assert timer.active is False
    manager.poll(10)
    assert fired == []


def test_a_timer_lives_on_when_its_object_is_dropped(make_manager: MakeManager) -> None:
    manager = make_manager()
    fired: list[int] = []
    manager.timer_add(5, lambda: fired.append(1))
    gc.collect()
    pump(manager, lambda: fired)


def test_closing_the_manager_ends_all_timers(make_manager: MakeManager) -> None:
    manager = make_manager()
    timers = [manager.timer_add(1, pytest.fail, repeat=bool(n % 2)) for n in range(4)]
    manager.close()
    assert [timer.active for timer in timers] == [False] * 4
    for timer in timers:
        timer.cancel()


def test_a_timer_outlives_its_manager_harmlessly() -> None:
    timer = Manager().timer_add(1, pytest.fail)
    gc.collect()
    assert timer.active is False
    timer.cancel()


def test_exceptions_take_the_way_of_those_of_handlers_and_the_timer_goes_on(
    make_manager: MakeManager,
) -> None:
    caught: list[Any] = []
    manager = make_manager(on_exception=lambda *args: caught.append(args))
    timer = manager.timer_add(1, lambda: 1 // 0, repeat=True)
    pump(manager, lambda: len(caught) >= 2)
    assert timer.active
    assert isinstance(caught[0][0], ZeroDivisionError)
    assert caught[0][1:] == (None, None)


def test_what_is_no_exception_leaves_poll(make_manager: MakeManager) -> None:
    def leave() -> None:
        raise KeyboardInterrupt

    manager = make_manager()
    manager.timer_add(0, leave)
    with pytest.raises(KeyboardInterrupt):
        manager.poll()
    manager.poll()


def test_fractions_of_a_millisecond_are_rounded_up(make_manager: MakeManager) -> None:
    manager = make_manager()
    fired: list[float] = []
    begin = monotonic()
    manager.timer_add(9.1, lambda: fired.append(monotonic() - begin))
    pump(manager, lambda: fired)
    assert fired[0] >= 0.009


@pytest.mark.parametrize(
    ("ms", "error"),
    [(-1, OverflowError), (2**64, OverflowError), ("1", TypeError), (None, TypeError)],
)
def test_what_is_no_time_is_refused(
    ms: Any, error: type[Exception], make_manager: MakeManager
) -> None:
    with pytest.raises(error):
        make_manager().timer_add(ms, print)


@pytest.mark.parametrize("callback", [None, 5, "print"])
def test_a_callback_that_cannot_be_called_is_a_type_error(
    callback: Any, make_manager: MakeManager
) -> None:
    with pytest.raises(TypeError, match="callback must be callable"):
        make_manager().timer_add(1, callback)


def test_repeating_without_a_pause_is_refused(make_manager: MakeManager) -> None:
    with pytest.raises(ValueError, match="milliseconds must be 1 or more to repeat, not 0"):
        make_manager().timer_add(0, print, repeat=True)


def test_cancelling_from_another_thread_ends_a_timer(make_manager: MakeManager) -> None:
    manager = make_manager()
    with running(manager):
        for _ in range(30):
            fired = threading.Event()
            calls: list[int] = []

            def tick(fired: threading.Event = fired, calls: list[int] = calls) -> None:
                calls.append(1)
                fired.set()

            timer = manager.timer_add(1, tick, repeat=True)
            assert fired.wait(DEADLINE)
            timer.cancel()
            assert timer.active is False
            barrier = threading.Event()
            manager.timer_add(0, barrier.set)
            assert barrier.wait(DEADLINE)
            count = len(calls)
            barrier.clear()
            manager.timer_add(3, barrier.set)
            assert barrier.wait(DEADLINE)
            assert len(calls) == count


def test_repr_tells_whether_it_is_active(make_manager: MakeManager) -> None:
    timer = make_manager().timer_add(60_000, print)
    assert "active" in repr(timer)
    timer.cancel()
    assert "inactive" in repr(timer)
