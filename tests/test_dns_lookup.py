"""``Manager.resolve``: a look-up that belongs to no connection."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from conftest import pump, turns
from dnsserver import PATIENT, MakeManager, StartServer, pairs, resolver, silent

from mongoose_py import AddressError, Error, Handler, Lookup


class Told:
    """A callback that keeps what it was called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, str]] = []

    def __call__(self, addresses: Any, error: str) -> None:
        self.calls.append((addresses, error))


@pytest.fixture
def told() -> Told:
    return Told()


def test_the_callback_gets_the_addresses_best_first(
    name_server: StartServer, make_manager: MakeManager, told: Told
) -> None:
    server = name_server({"host.test": ["10.0.0.1", "10.0.0.2", "::1"]})
    manager = make_manager(resolver=resolver(server), limits=PATIENT)
    lookup = manager.resolve("tcp://host.test:80", told)
    assert lookup.active
    pump(manager, lambda: told.calls)
    assert told.calls == [(list(pairs(["::1", "10.0.0.1", "10.0.0.2"], 80)), "")]
    assert not lookup.active
    turns(manager)
    assert len(told.calls) == 1
    assert manager.connections == ()


def test_or_the_reason_why_there_are_none(
    name_server: StartServer, make_manager: MakeManager, told: Told
) -> None:
    manager = make_manager(resolver=resolver(name_server({})), limits=PATIENT)
    manager.resolve("no.test", told)
    pump(manager, lambda: told.calls)
    assert told.calls == [([], "no.test DNS lookup failed: there is no such name")]


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("127.0.0.1", ("127.0.0.1", 0, False)),
        ("http://[::1]/", ("::1", 80, True)),
        ("localhost:7", ("127.0.0.1", 7, False)),
    ],
)
def test_what_is_known_at_once_is_told_by_the_loop_too(
    make_manager: MakeManager, told: Told, url: str, found: tuple[str, int, bool]
) -> None:
    manager = make_manager()
    manager.resolve(url, told)
    assert told.calls == []
    pump(manager, lambda: told.calls)
    assert told.calls == [([found], "")]


def test_handlers_hear_nothing_of_it(make_manager: MakeManager, told: Told) -> None:
    heard: list[int] = []
    manager = make_manager(lambda conn, ev, data: heard.append(ev))
    manager.resolve("localhost", told)
    pump(manager, lambda: told.calls and not manager.connections)
    assert heard == []


def test_many_at_a_time_are_told_apart(name_server: StartServer, make_manager: MakeManager) -> None:
    names = {f"h{i}.test": [f"10.0.0.{i}"] for i in range(1, 50)}
    manager = make_manager(resolver=resolver(name_server(names)), limits=PATIENT)
    found: dict[str, Any] = {}
    for name in names:
        manager.resolve(name, lambda addresses, error, name=name: found.update({name: addresses}))
    pump(manager, lambda: len(found) == len(names))
    assert found == {name: list(pairs(addresses, 0)) for name, addresses in names.items()}


def test_what_is_cancelled_is_not_told(
    name_server: StartServer, make_manager: MakeManager, told: Told
) -> None:
    server = name_server(silent)
    manager = make_manager(resolver=resolver(server), limits=PATIENT)
    known, unknown = manager.resolve("localhost", told), manager.resolve("a.test", told)
    for lookup in (known, unknown):
        lookup.cancel()
        lookup.cancel()
        assert not lookup.active
        assert repr(lookup) == "<Lookup inactive>"
    pump(manager, lambda: not manager.connections)
    turns(manager)
    assert told.calls == []


def test_the_end_of_the_manager_is_the_end_of_it(
    name_server: StartServer, make_manager: MakeManager, told: Told
) -> None:
    manager = make_manager(resolver=resolver(name_server(silent)), limits=PATIENT)
    lookup = manager.resolve("a.test", told)
    assert repr(lookup) == "<Lookup active>"
    manager.close()
    assert not lookup.active
    lookup.cancel()
    assert told.calls == []
    with pytest.raises(Error, match="Manager has been closed"):
        manager.resolve("a.test", told)


def test_a_callback_may_look_up_the_next(make_manager: MakeManager, told: Told) -> None:
    manager = make_manager()
    manager.resolve("localhost", lambda *_: manager.resolve("[::1]", told))
    pump(manager, lambda: told.calls)
    assert told.calls == [([("::1", 0, True)], "")]


def test_what_a_callback_raises_goes_where_that_of_timers_goes(make_manager: MakeManager) -> None:
    def fail(addresses: Any, error: str) -> None:
        raise LookupError("inside")

    raised: list[Any] = []
    manager = make_manager(on_exception=lambda *told: raised.append(told))
    manager.resolve("localhost", fail)
    pump(manager, lambda: raised)
    ((exc, conn, ev),) = raised
    assert (repr(exc), conn, ev) == ("LookupError('inside')", None, None)


@pytest.mark.parametrize("url", ["", "a b", "1.2.3", "host..test", "a:99999", "\0", "a\0b"])
def test_what_is_no_name_is_refused_at_once_and_leaves_nothing(
    make_manager: MakeManager, told: Told, url: str
) -> None:
    manager = make_manager()
    with pytest.raises(AddressError, match="Failed to resolve"):
        manager.resolve(url, told)
    pump(manager, lambda: not manager.connections)
    assert told.calls == []


def test_arguments_of_other_types_are_refused(make_manager: MakeManager, told: Told) -> None:
    manager = make_manager()
    with pytest.raises(TypeError, match="url must be str, not bytes"):
        manager.resolve(b"a", told)
    with pytest.raises(TypeError, match="callback must be callable, not str"):
        manager.resolve("a", "b")
    pump(manager, lambda: not manager.connections)


def test_a_look_up_that_is_over_keeps_nothing(make_manager: MakeManager) -> None:
    class Callback:
        def __call__(self, addresses: Any, error: str) -> None:
            over.append(error)

    def begin() -> tuple[weakref.ref[Any], weakref.ref[Lookup]]:
        callback = Callback()
        return weakref.ref(callback), weakref.ref(manager.resolve("localhost", callback))

    over: list[str] = []
    manager = make_manager(Handler())
    refs = begin()
    pump(manager, lambda: over and not manager.connections)
    for _ in range(40):  # those who come after have handlers forgotten that nobody uses
        begin()
        pump(manager, lambda: not manager.connections)
    gc.collect()
    assert [ref() for ref in refs] == [None, None]
