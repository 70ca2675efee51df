"""Wake-ups: payloads from any thread to a connection's handler."""

from __future__ import annotations

import threading
from time import monotonic
from typing import Any, Callable

import pytest
from conftest import DEADLINE, Recorder, pump, running, turns
from hypothesis import given, settings
from hypothesis import strategies as st

from mongoose_py import MG_EV_WAKEUP, Limits, Manager

MakeManager = Callable[..., Manager]


@pytest.mark.parametrize("data", [b"", b"payload", bytes(range(256))])
def test_a_payload_arrives_as_it_was_given(data: bytes, make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen, enable_wakeup=True)
    conn = manager.listen("tcp://127.0.0.1:0")
    assert manager.wakeup(conn.id, data) is True
    assert seen.data(MG_EV_WAKEUP) == []  # only in the loop
    pump(manager, seen.saw(MG_EV_WAKEUP))
    assert seen.data(MG_EV_WAKEUP) == [data]
    assert seen.conns(MG_EV_WAKEUP) == [conn]


def test_without_data_the_payload_is_empty(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen, True)
    conn = manager.listen("tcp://127.0.0.1:0")
    assert manager.wakeup(conn.id)
    pump(manager, seen.saw(MG_EV_WAKEUP))
    assert seen.data(MG_EV_WAKEUP) == [b""]


@settings(max_examples=40)
@given(st.lists(st.binary(max_size=200), min_size=1, max_size=200))
def test_a_burst_arrives_complete_and_in_order(payloads: list[bytes]) -> None:
    seen = Recorder()
    with Manager(seen, True) as manager:
        conn = manager.listen("tcp://127.0.0.1:0")
        assert all(manager.wakeup(conn.id, data) for data in payloads)
        pump(manager, seen.saw(MG_EV_WAKEUP, len(payloads)))
        assert seen.data(MG_EV_WAKEUP) == payloads


@pytest.mark.parametrize("size", [16_376, 16_377, 65_499, 65_500, 8_000_000])
def test_a_large_payload_arrives_whole(size: int, make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen, True)
    conn = manager.listen("tcp://127.0.0.1:0")
    data = b"0123456789" * (size // 10)
    assert manager.wakeup(conn.id, data)
    pump(manager, seen.saw(MG_EV_WAKEUP))
    assert seen.data(MG_EV_WAKEUP) == [data]


def test_a_payload_above_the_limit_is_a_value_error(make_manager: MakeManager) -> None:
    manager = make_manager(None, True, limits=Limits(wakeup_payload=1000))
    conn = manager.listen("tcp://127.0.0.1:0")
    assert manager.wakeup(conn.id, bytes(1000)) is True
    with pytest.raises(ValueError, match="at most 1000 bytes, not 1001"):
        manager.wakeup(conn.id, bytes(1001))


def test_a_full_queue_takes_no_more_until_it_is_delivered(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen, True, limits=Limits(wakeup_queue=250))
    conn = manager.listen("tcp://127.0.0.1:0")
    assert [manager.wakeup(conn.id, bytes(100)) for _ in range(4)] == [True, True, False, False]
    pump(manager, seen.saw(MG_EV_WAKEUP, 2))
    assert manager.wakeup(conn.id, bytes(100)) is True


def test_only_a_manager_with_wakeup_takes_one(make_manager: MakeManager) -> None:
    manager = make_manager()
    conn = manager.listen("tcp://127.0.0.1:0")
    assert manager.wakeup_id == 0
    assert manager.wakeup(conn.id, b"x") is False


@pytest.mark.parametrize("number", [0, 999_999])
def test_a_connection_that_is_not_there_takes_none(number: int, make_manager: MakeManager) -> None:
    assert make_manager(None, True).wakeup(number, b"x") is False


def test_a_connection_that_is_gone_takes_none(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen, True)
    conn = manager.listen("tcp://127.0.0.1:0")
    number = conn.id
    conn.close()
    turns(manager)
    assert manager.wakeup(number, b"x") is False
    turns(manager)
    assert seen.data(MG_EV_WAKEUP) == []


def test_the_managers_own_number_only_ends_the_wait(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen, True)
    assert manager.wakeup_id > 0
    manager.listen("tcp://127.0.0.1:0")
    manager.poll()
    assert manager.wakeup(manager.wakeup_id, b"") is True
    begin = monotonic()
    manager.poll(30_000)
    assert monotonic() - begin < DEADLINE
    assert seen.data(MG_EV_WAKEUP) == []
    assert len(manager.connections) == 1


def test_a_wakeup_ends_the_wait_of_another_thread(make_manager: MakeManager) -> None:
    woken = threading.Semaphore(0)
    manager = make_manager(
        lambda conn, ev, data: ev == MG_EV_WAKEUP and woken.release(), enable_wakeup=True
    )
    conn = manager.listen("tcp://127.0.0.1:0")
    with running(manager):
        for _ in range(50):
            assert manager.wakeup(conn.id, b"x")
            assert woken.acquire(timeout=DEADLINE)


def test_many_threads_keep_their_own_order(make_manager: MakeManager) -> None:
    seen: list[bytes] = []
    manager = make_manager(
        lambda conn, ev, data: ev == MG_EV_WAKEUP and seen.append(data), enable_wakeup=True
    )
    conn = manager.listen("tcp://127.0.0.1:0")

    def send(name: int) -> None:
        for n in range(100):
            assert manager.wakeup(conn.id, b"%d %d" % (name, n))

    threads = [threading.Thread(target=send, args=(name,)) for name in range(5)]
    for thread in threads:
        thread.start()
    pump(manager, lambda: len(seen) == 500)
    for thread in threads:
        thread.join()
    for name in range(5):
        mine = [data for data in seen if data.startswith(b"%d " % name)]
        assert mine == [b"%d %d" % (name, n) for n in range(100)]


@pytest.mark.parametrize("data", ["text", bytearray(b"text"), memoryview(b"text")])
def test_any_kind_of_bytes_is_a_payload(data: Any, make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen, True)
    manager.wakeup(manager.listen("tcp://127.0.0.1:0").id, data)
    pump(manager, seen.saw(MG_EV_WAKEUP))
    assert seen.data(MG_EV_WAKEUP) == [b"text"]


@pytest.mark.parametrize(
    ("number", "error"),
    [(-1, OverflowError), (2**64, OverflowError), ("1", TypeError), (None, TypeError)],
)
def test_what_is_no_connection_number_is_refused(
    number: Any, error: type[Exception], make_manager: MakeManager
) -> None:
    with pytest.raises(error):
        make_manager(None, True).wakeup(number, b"x")


@pytest.mark.parametrize("data", [5, None, [1]])
def test_what_is_no_payload_is_a_type_error(data: Any, make_manager: MakeManager) -> None:
    with pytest.raises(TypeError, match="data must be str or a bytes-like object"):
        make_manager(None, True).wakeup(1, data)
