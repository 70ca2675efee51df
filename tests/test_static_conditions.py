"""What ``serve_dir`` and ``serve_file`` promise, asked by real clients: conditions and ranges.

RFC 9110, sections 8.8 (validators), 13 (conditions), 14 (ranges).
"""

from __future__ import annotations

import email.utils
import re
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from staticsite import AT_EDGES, INLINE, MODIFIED, MODIFIED_TEXT, Client, pattern, serving, write

# -- conditions ----------------------------------------------------------------


def test_an_answer_carries_its_validators(site: Client) -> None:
    answer = site.get("/a.txt")
    assert answer["ETag"] == f'"{MODIFIED}.6"'
    assert answer["Last-Modified"] == MODIFIED_TEXT
    assert answer["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize("form", ["{}", "W/{}", "*", '"x", {}', '"a,b" ,W/"c", W/{}', "x, {},"])
def test_a_known_tag_is_not_modified(site: Client, form: str) -> None:
    tag = f'"{MODIFIED}.6"'
    answer = site.get("/a.txt", if_none_match=form.format(tag))
    assert (answer.status, answer.body) == (304, b"")
    assert (answer["ETag"], answer["Last-Modified"]) == (tag, MODIFIED_TEXT)
    assert answer["Content-Type"] is None


@pytest.mark.parametrize("value", ['"x"', f"{MODIFIED}.6", f'"{MODIFIED}.7"', "", '"', "W/"])
def test_another_tag_is_modified_whatever_the_date(site: Client, value: str) -> None:
    answer = site.get("/a.txt", if_none_match=value, if_modified_since=MODIFIED_TEXT)
    assert answer.status == 200


@pytest.mark.parametrize(
    ("date", "status"),
    [
        (MODIFIED_TEXT, 304),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 304),
        ("Sun Nov  6 08:49:37 1994", 304),
        ("Sun, 06 Nov 1994 08:49:38 GMT", 304),
        ("Sun, 06 Nov 1994 08:49:36 GMT", 200),
        ("Sun, 06 Nov 1994 08:49:37 +0000", 200),
        ("yesterday", 200),
        ("", 200),
    ],
)
def test_a_date_says_which_changes_are_known(site: Client, date: str, status: int) -> None:
    assert site.get("/a.txt", if_modified_since=date).status == status


def test_preconditions_that_fail_are_told(site: Client) -> None:
    tag = f'"{MODIFIED}.6"'
    assert site.get("/a.txt", if_match=tag).status == 200
    assert site.get("/a.txt", if_match="*").status == 200
    assert site.get("/a.txt", if_match=f"W/{tag}").status == 412
    assert site.get("/a.txt", if_match='"x"').status == 412
    assert site.get("/a.txt", if_unmodified_since=MODIFIED_TEXT).status == 200
    before = "Sun, 06 Nov 1994 08:49:36 GMT"
    assert site.get("/a.txt", if_unmodified_since=before).status == 412
    assert site.get("/a.txt", if_match=tag, if_unmodified_since=before).status == 200


def test_a_change_of_the_file_changes_its_tag(tmp_path: Path) -> None:
    path = write(tmp_path / "x", b"one")
    with serving("serve_dir", tmp_path) as client:
        tag = client.get("/x")["ETag"] or ""
        write(path, b"other")
        assert client.get("/x", if_none_match=tag).body == b"other"
        write(path, b"one", MODIFIED + 1)
        assert client.get("/x", if_none_match=tag).body == b"one"


def test_a_modification_time_in_the_future_is_not_told(tmp_path: Path) -> None:
    write(tmp_path / "x", b"", time.time() + 1e6)
    with serving("serve_dir", tmp_path) as client:
        answer = client.get("/x")
        told, now = (
            email.utils.parsedate_to_datetime(answer[h] or "") for h in ("Last-Modified", "Date")
        )
        assert told <= now
        assert client.get("/x", if_modified_since=answer["Last-Modified"] or "").status == 200


# -- ranges --------------------------------------------------------------------


def range_model(header: str, size: int) -> tuple[int, int, int]:
    """Return what RFC 9110, section 14, makes of a Range header: status, begin, end."""
    whole, unsatisfiable = (200, 0, size), (416, 0, 0)
    found = re.fullmatch(r"bytes=(.*)", header, re.IGNORECASE)
    specs = [spec.strip(" \t") for spec in found[1].split(",")] if found else []
    specs = [spec for spec in specs if spec]
    if len(specs) != 1 or not re.fullmatch(r"[0-9]+-[0-9]*|-[0-9]+", specs[0]):
        return whole
    first, last = specs[0].split("-")
    if first and last and min(int(last), 2**64 - 1) < min(int(first), 2**64 - 1):
        return whole  # what no file can be long enough for is all the same
    if first == "":
        if int(last) == 0:
            return unsatisfiable
        return (206, max(size - int(last), 0), size) if size else whole
    if int(first) >= size:
        return unsatisfiable
    return 206, int(first), min(int(last) + 1, size) if last else size


NUMBERS = st.one_of(
    st.sampled_from([0, 1, 9, 10, 11, INLINE - 1, INLINE, INLINE + 1, 2**31, 2**63, 2**64, 10**30]),
    st.integers(0, 6 * INLINE),
).map(str)
SPECS = st.one_of(
    st.tuples(NUMBERS, NUMBERS).map("-".join),
    st.tuples(st.just(0), st.integers(0, 6 * INLINE)).map(lambda pair: f"{pair[0]}-{pair[1]}"),
    NUMBERS.map(lambda n: f"{n}-"),
    NUMBERS.map(lambda n: f"-{n}"),
)
RANGES = st.one_of(
    SPECS.map("bytes={}".format),
    st.lists(st.one_of(SPECS, st.sampled_from(["", " ", "x", "-"])), max_size=3).map(
        lambda specs: "Bytes=" + " , ".join(specs)
    ),
    st.text(alphabet="bytes=0123456789-, +", max_size=12),
)


@settings(deadline=None, max_examples=300)
@given(size=st.sampled_from(AT_EDGES), header=RANGES)
@example(size=10, header="bytes=-3")
@example(size=10, header="bytes=2-5")
@example(size=10, header="bytes=0-1,3-4")
@example(size=0, header="bytes=-1")
@example(size=10, header=f"bytes={10**30}-{2**64}")
@example(size=10, header=f"bytes={2**64}-{2**64 - 2}")
@example(size=81923, header="bytes=1-81922")
def test_ranges_agree_with_slices(site: Client, size: int, header: str) -> None:
    header = header.strip()
    answer = site.get(f"/sizes/{size}", range=header)
    status, begin, end = range_model(header, size)
    assert (answer.status, answer.body) == (status, pattern(size)[begin:end])
    said = {206: f"bytes {begin}-{end - 1}/{size}", 416: f"bytes */{size}"}
    assert answer["Content-Range"] == said.get(status)


def test_a_range_of_a_head_request_is_ignored(site: Client) -> None:
    answer = site.get("/sizes/10", "HEAD", range="bytes=0-0")
    assert (answer.status, answer["Content-Length"]) == (200, "10")


def test_if_range_gives_the_whole_of_a_file_that_changed(site: Client) -> None:
    def first_byte(value: str) -> int:
        return site.get("/a.txt", range="bytes=0-0", if_range=value).status

    assert first_byte(f'"{MODIFIED}.6"') == 206
    assert first_byte(f'W/"{MODIFIED}.6"') == 200
    assert first_byte('"x"') == 200
    assert first_byte(MODIFIED_TEXT) == 206
    assert first_byte("Sun, 06 Nov 1994 08:49:38 GMT") == 200
    assert first_byte("") == 200


def test_a_condition_comes_before_a_range(site: Client) -> None:
    answer = site.get("/a.txt", range="bytes=0-0", if_none_match="*")
    assert answer.status == 304
