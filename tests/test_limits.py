"""The limits of a manager as values; what they do is tested where they apply."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mongoose_py import Limits, Manager
from mongoose_py._mongoose_cffi import ffi, lib
from mongoose_py.limits import as_struct

FIELDS = [field.name for field in dataclasses.fields(Limits)]
TIMES = [name for name in FIELDS if name.endswith("_timeout")]
SIZES = [name for name in FIELDS if name not in TIMES]


def test_every_limit_of_the_core_has_a_field_with_the_same_default() -> None:
    core = ffi.new("struct mgx_limits *")
    lib.mgx_limits_init(core)
    ours = as_struct(Limits())
    names = [name for name, _ in ffi.typeof("struct mgx_limits").fields]
    assert sorted(names) == sorted(f"{n}_ms" if n in TIMES else n for n in FIELDS)
    assert [getattr(ours, n) for n in names] == [getattr(core, n) for n in names]


def test_limits_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Limits().recv_buffer = 1  # type: ignore[misc]


@given(st.sampled_from(TIMES), st.floats(min_value=0, max_value=1e9))
def test_times_are_seconds_rounded_up_to_milliseconds(name: str, seconds: float) -> None:
    struct = as_struct(Limits(**{name: seconds}))
    assert getattr(struct, f"{name}_ms") == math.ceil(seconds * 1000)


@given(st.sampled_from([n for n in SIZES if n != "header_count"]), st.integers(0, 2**63 - 1))
def test_sizes_reach_the_core_unchanged(name: str, size: int) -> None:
    assert getattr(as_struct(Limits(**{name: size})), name) == size


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", [-1, 2**63])
def test_a_value_out_of_range_is_refused_and_shown(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=rf"{name} must be .*not {value}"):
        Limits(**{name: value})


@pytest.mark.parametrize("value", [-0.001, math.nan, math.inf])
def test_a_time_that_is_none_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="header_timeout must be 0 or more seconds"):
        Limits(header_timeout=value)


@pytest.mark.parametrize("name", FIELDS)
def test_a_limit_that_is_no_number_is_a_type_error(name: str) -> None:
    wrong: Any = "1"
    with pytest.raises(TypeError):
        Limits(**{name: wrong})


def test_a_size_that_is_no_whole_number_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        Limits(recv_buffer=1.5)  # type: ignore[arg-type]


def test_more_than_a_thousand_header_lines_are_never_allowed() -> None:
    assert Limits(header_count=1000).header_count == 1000
    with pytest.raises(ValueError, match=r"header_count must be 0\.\.1000, not 1001"):
        Limits(header_count=1001)


def test_a_manager_takes_no_other_kind_of_limits() -> None:
    with pytest.raises(TypeError, match="limits must be Limits, not dict"):
        Manager(limits={"recv_buffer": 1})  # type: ignore[arg-type]
