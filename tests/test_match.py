"""Glob patterns, against a matcher that simply tries everything."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mongoose_py.match import match


def first_match(s: str, pattern: str) -> list[str] | None:
    """Try each length for each wildcard, the shortest first."""
    if not pattern:
        return None if s else []
    head, rest = pattern[0], pattern[1:]
    if head not in "?*#":
        return first_match(s[1:], rest) if s[:1] == head else None
    for n in [1] if head == "?" else range(len(s) + 1):
        taken = s[:n]
        if len(taken) < n or (head == "*" and "/" in taken):
            break
        found = first_match(s[n:], rest)
        if found is not None:
            return [taken, *found]
    return None


@given(
    st.text(st.sampled_from("ab/é"), max_size=8), st.text(st.sampled_from("ab/é?*#"), max_size=6)
)
@example("ab", "*?")
@example("a/b", "*?*b")
@example("a/b/c", "*?*?*c")
@example("éé", "**é")
def test_agrees_with_trying_everything(s, pattern):
    found = first_match(s, pattern)
    assert match(s, pattern) == ((False, []) if found is None else (True, found))


@given(
    st.binary(max_size=6)
    | st.sampled_from([b"\xe2\x82", b"\xed\xa0\x80", b"\xf0\x90\x80\x80", b"\xc0\x80"]),
    st.sampled_from(["?", "??", "#?", "*?*", "?#", "#??#", "???"]),
)
def test_characters_are_those_that_decoding_finds(data, pattern):
    text = data.decode("utf-8", "surrogateescape")
    found = first_match(text, pattern)
    assert match(data, pattern) == ((False, []) if found is None else (True, found))
    assert match(text, pattern) == match(data, pattern)


@given(
    st.text(st.sampled_from("ab/é?*#"), max_size=12), st.text(st.sampled_from("ab/é"), max_size=40)
)
def test_captures_put_into_the_pattern_give_the_text(pattern, s):
    matched, captures = match(s, pattern)
    if matched:
        rest = iter(captures)
        assert "".join(next(rest) if char in "?*#" else char for char in pattern) == s
        assert next(rest, None) is None


@pytest.mark.parametrize(
    ("s", "pattern", "captures"),
    [
        ("/api/users/42", "/api/*/??", ["users", "4", "2"]),
        ("/a/b/c.txt", "#.txt", ["/a/b/c"]),
        ("", "", []),
        ("abc", "abc", []),
        ("é", "?", ["é"]),
        ("a__b_c", "a*b*c", ["__", "_"]),
        ("a_b_c__c", "a*b*c", ["_", "_c__"]),
        (".aa..b...b", "#a#b", [".", "a..b..."]),
        ("/x//y", "/x/*/y", [""]),
        ("a\0b", "a?b", ["\0"]),
    ],
)
def test_each_wildcard_has_its_capture(s, pattern, captures):
    assert match(s, pattern) == (True, captures)
    assert match(s.encode(), bytearray(pattern.encode())) == (True, captures)


@pytest.mark.parametrize(
    ("s", "pattern"), [("/ab/", "/*"), ("a", "A"), ("a", ""), ("", "?"), ("ab", "a")]
)
def test_without_a_match_there_are_no_captures(s, pattern):
    assert match(s, pattern) == (False, [])


@pytest.mark.parametrize("pattern", ["*" * 1000, "#a" * 500, "*a" * 500, "#?" * 500, "?*#" * 300])
def test_a_hostile_pattern_is_answered_at_once(pattern):
    s = "a" * 1500
    assert match(s, pattern)[0] is True
    assert match(s, pattern + "b") == (False, [])
    assert "".join(match(s, "#" + pattern)[1][:1]) == ""


@pytest.mark.parametrize("bad", [None, 5, 1.5, [97]])
def test_only_texts_and_bytes_are_matched(bad):
    with pytest.raises(TypeError, match=f"s must be.*{type(bad).__name__}"):
        match(bad, "a")
    with pytest.raises(TypeError, match=f"pattern must be.*{type(bad).__name__}"):
        match("a", bad)
