"""Random bytes and characters: as many as asked for, all of them possible, none foreseeable."""

from __future__ import annotations

import string
from collections import Counter
from typing import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mongoose_py import random_bytes, random_str

FUNCTIONS: list[Callable[[int], object]] = [random_bytes, random_str]


@given(st.integers(0, 300))
def test_there_are_as_many_as_asked_for(n: int) -> None:
    data, text = random_bytes(n), random_str(n)
    assert (type(data), len(data)) == (bytes, n)
    assert (type(text), len(text)) == (str, n)
    assert set(text) <= set(string.ascii_letters + string.digits)


def test_two_calls_differ() -> None:
    assert random_bytes(16) != random_bytes(16)
    assert random_str(16) != random_str(16)


def test_every_byte_and_every_character_comes_equally_often() -> None:
    # 62,000 draws: each character 1,000 times, give or take 32; 250 is eight times that.
    counts = Counter(random_str(62_000))
    assert len(counts) == 62
    assert all(abs(count - 1000) < 250 for count in counts.values())
    bytes_counted = Counter(random_bytes(256_000))
    assert len(bytes_counted) == 256
    assert all(abs(count - 1000) < 250 for count in bytes_counted.values())


@pytest.mark.parametrize("function", FUNCTIONS)
def test_less_than_none_is_refused(function: Callable[[int], object]) -> None:
    with pytest.raises(OverflowError, match="n must be 0 or more, not -1"):
        function(-1)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_source_that_fails_is_an_error_and_not_a_weaker_one(
    function: Callable[[int], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> bytes:
        raise OSError(5, "no entropy")

    monkeypatch.setattr("os.urandom", fail)
    with pytest.raises(OSError, match="no entropy"):
        function(8)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("wrong", [None, 1.5, "4"])
def test_how_many_is_a_whole_number(function: Callable[[int], object], wrong: object) -> None:
    with pytest.raises(TypeError):
        function(wrong)  # type: ignore[arg-type]
