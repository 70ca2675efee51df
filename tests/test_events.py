"""Event numbers and names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mongoose_py
from mongoose_py import MG_EV_USER, event_name

NUMBERS = {
    "MG_EV_ERROR": 0,
    "MG_EV_OPEN": 1,
    "MG_EV_POLL": 2,
    "MG_EV_RESOLVE": 3,
    "MG_EV_CONNECT": 4,
    "MG_EV_ACCEPT": 5,
    "MG_EV_TLS_HS": 6,
    "MG_EV_READ": 7,
    "MG_EV_WRITE": 8,
    "MG_EV_CLOSE": 9,
    "MG_EV_HTTP_HDRS": 10,
    "MG_EV_HTTP_MSG": 11,
    "MG_EV_WS_OPEN": 12,
    "MG_EV_WS_MSG": 13,
    "MG_EV_WS_CTL": 14,
    "MG_EV_MQTT_CMD": 15,
    "MG_EV_MQTT_MSG": 16,
    "MG_EV_MQTT_OPEN": 17,
    "MG_EV_SNTP_TIME": 18,
    "MG_EV_WAKEUP": 19,
    "MG_EV_USER": 23,
}


@pytest.mark.parametrize(("name", "number"), NUMBERS.items())
def test_every_event_is_a_plain_int_with_its_number_and_name(name: str, number: int) -> None:
    value = getattr(mongoose_py, name)
    assert type(value) is int
    assert value == number
    assert event_name(value) == name


@given(st.integers(min_value=1))
def test_user_events_are_named_by_their_distance_from_the_first(n: int) -> None:
    assert event_name(MG_EV_USER + n) == f"MG_EV_USER+{n}"


@given(st.integers(max_value=-1) | st.sampled_from([20, 21, 22]))
def test_numbers_without_a_name_are_shown_as_unknown(ev: int) -> None:
    assert event_name(ev) == f"MG_EV_UNKNOWN({ev})"


@pytest.mark.parametrize("ev", ["1", None, 1.0])
def test_an_event_that_is_no_int_is_a_type_error(ev: object) -> None:
    with pytest.raises(TypeError, match="ev must be an int"):
        event_name(ev)  # type: ignore[arg-type]
