"""Parameters of queries and headers, and what counts as text or bytes."""

from __future__ import annotations

import re
from array import array
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mongoose_py._args import as_bytes, as_text
from mongoose_py.params import http_var, parameter, query_value

NAMES = st.text(st.sampled_from("abAB é&=+%/"), max_size=4)
TOKENS = st.text(st.sampled_from("abcXYZ019!#$*-._~"), min_size=1, max_size=6)


def folded(name: str) -> bytes:
    return name.encode().lower()  # ASCII letters only


def first_of(pairs: list[tuple[str, str]], name: str) -> str | None:
    return next((value for key, value in pairs if folded(key) == folded(name)), None)


@st.composite
def written(draw: st.DrawFn, text: str) -> bytes:
    """Encode each byte of *text* in one of the ways a form may have it."""
    coded = b""
    for code in text.encode():
        char = bytes((code,))
        forms = [b"%%%02x" % code, b"%%%02X" % code]
        forms += [b"+"] if char == b" " else [] if char in b"&=+%" else [char]
        coded += draw(st.sampled_from(forms))
    return coded


@given(st.data(), st.lists(st.tuples(NAMES.filter(bool), st.text(max_size=4)), max_size=5), NAMES)
def test_a_query_is_read_however_it_is_written(data, pairs, other):
    query = b"&".join(
        data.draw(written(name)) + b"=" + data.draw(written(value)) for name, value in pairs
    )
    for name in {other, *(name for name, _ in pairs)}:
        assert query_value(query, name) == first_of(pairs, name)
        assert query_value(query, name.swapcase()) == first_of(pairs, name.swapcase())


@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=5))
def test_agrees_with_the_standard_library(pairs):
    pairs = [(name.replace("\0", "0"), value) for name, value in pairs]
    query = urlencode(pairs)
    for name, _ in pairs:
        assert http_var(query, name) == first_of(parse_qsl(query, keep_blank_values=True), name)


def value_or_error(query: str, name: str) -> str | ValueError | None:
    try:
        return http_var(query, name)
    except ValueError as exc:
        return exc


@given(st.text(st.sampled_from("ab=&+%41Fé\udcff"), max_size=20), NAMES)
@example("%4", "a")
@example("&&=&", "")
def test_any_query_gives_a_value_none_or_an_error_that_names_the_sequence(query, name):
    found = value_or_error(query, name)
    if isinstance(found, ValueError):
        assert "malformed percent sequence '%" in str(found)
        assert re.search("%(?![0-9A-Fa-f]{2})", query)
    else:
        assert found is None or isinstance(found, str)


@pytest.mark.parametrize(
    ("query", "name", "value"),
    [
        ("a=1&b=2", "b", "2"),
        ("a=1&A=2", "A", "1"),
        ("a=", "a", ""),
        ("a", "a", ""),
        ("a&a=1", "a", ""),
        ("", "a", None),
        ("", "", None),
        ("=v", "", "v"),
        ("ab=1", "a", None),
        ("ba=1", "a", None),
        ("a=1=2", "a", "1=2"),
        ("h%20i=x", "h i", "x"),
        ("h+i=x", "h i", "x"),
        ("q=hello+world%21", "q", "hello world!"),
        ("q=%e4%B8%96", "q", "世"),
        ("q=%ff", "q", "\udcff"),
        ("q=a%00b", "q", "a\0b"),
        ("%zz=1&a=2", "a", "2"),
        ("a=1;b=2", "a", "1;b=2"),
    ],
)
def test_form_text_has_these_values(query, name, value):
    assert http_var(query, name) == value
    assert http_var(query.encode(), name) == value


def test_a_value_may_be_of_any_length():
    assert http_var(b"a=" + b"x" * 1_000_000, "a") == "x" * 1_000_000


@pytest.mark.parametrize("sequence", ["%", "%4", "%4g", "%g4", "%+1", "% 1", "%\u00e9"])
def test_a_malformed_percent_sequence_is_named(sequence):
    with pytest.raises(ValueError, match=r"malformed percent sequence '%.*value of 'name'"):
        http_var(f"name=ok%41{sequence}", "name")


def test_a_name_is_a_text_without_nul():
    for look_up in (http_var, query_value):
        with pytest.raises(ValueError, match=r"name.*NUL"):
            look_up(b"a=1", "a\0")
    with pytest.raises(ValueError, match=r"name.*NUL"):
        parameter("a=1", "a\0")
    for bad in (b"a", 5, None, ["a"]):
        with pytest.raises(TypeError, match=f"name.*{type(bad).__name__}"):
            http_var(b"a=1", bad)


@given(
    st.lists(st.tuples(TOKENS, st.text(max_size=6)), max_size=4),
    st.sampled_from(["; ", ";", ", ", " ;\t"]),
)
def test_quoted_parameters_come_back_whole(pairs, separator):
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    value = separator.join(["form-data", *(f"{name}={quoted(text)}" for name, text in pairs)])
    for name, _ in pairs:
        assert parameter(value, name) == first_of(pairs, name)
    assert parameter(value, "form-data") is None


@given(st.lists(st.tuples(TOKENS, TOKENS), max_size=4), st.sampled_from(["=", " = ", "= ", " =\t"]))
def test_bare_parameters_come_back_whole(pairs, equals):
    value = "; ".join(name + equals + text for name, text in pairs)
    for name, _ in pairs:
        assert parameter(value, name.upper()) == first_of(pairs, name)


DIGEST = 'Digest realm="home", stale,qop=auth, nc="07"'


@pytest.mark.parametrize(
    ("value", "name", "found"),
    [
        (DIGEST, "realm", "home"),
        (DIGEST, "qop", "auth"),
        (DIGEST, "nc", "07"),
        (DIGEST, "rea", None),
        (DIGEST, "realms", None),
        (DIGEST, "stale", None),
        (DIGEST, "Digest", None),
        ("text/html; charset=utf-8", "Charset", "utf-8"),
        ("a=1; b=2", "b", "2"),
        ("name=x", "name", "x"),
        ("xa=9", "a", None),
        ("a = 1", "a", "1"),
        ("a=;b=2", "a", ""),
        ('a=""', "a", ""),
        ('filename="x; name=y"; name=z', "name", "z"),
        ('"name=y" name=z', "name", "z"),
        (r'a="b\"c\\d\e"', "a", r'b"c\de'),
        ('qop="aut', "qop", '"aut'),
        ('qop="aut; x=1', "x", None),
        ('"aut; x=1', "x", None),
        ("a=1; a=2", "a", "1"),
        ("sid=ab=c==; x", "sid", "ab=c=="),
        ("", "a", None),
        ("a=1", "", None),
    ],
)
def test_header_parameters_have_these_values(value, name, found):
    assert parameter(value, name) == found


@given(st.text(st.sampled_from('ab=";,\\ \t\n\u00e9'), max_size=20), NAMES)
def test_any_header_gives_a_value_or_none(value, name):
    found = parameter(value, name)
    assert found is None or len(found) <= len(value)


@pytest.mark.parametrize("piece", ['"', '\\"', "a ", "a=", 'a="', "\\", "a=\\", "a", " "])
def test_a_hostile_header_is_answered_at_once(piece):
    assert parameter(piece * (60_000 // len(piece)), "x") is None


@pytest.mark.parametrize(
    ("data", "raw"),
    [
        ("é", b"\xc3\xa9"),
        ("\udcff", b"\xff"),
        (b"\0", b"\0"),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"abcd")[::2], b"ac"),
        (array("B", [1, 2]), b"\1\2"),
    ],
)
def test_texts_and_bytes_like_objects_are_data(data, raw):
    assert as_bytes(data) == raw
    assert type(as_bytes(data)) is bytes


@pytest.mark.parametrize("bad", [None, 5, 1.5, True, [1, 2], (1,), object()])
def test_nothing_else_is_data(bad):
    with pytest.raises(
        TypeError, match=f"body must be str or a bytes-like object, not {type(bad).__name__}"
    ):
        as_bytes(bad, "body")


def test_a_text_with_nul_is_refused_and_shown():
    assert as_text("é", "x") == "é"
    with pytest.raises(ValueError, match=r"x must not contain a NUL character: 'a\\x00b'"):
        as_text("a\0b", "x")
    with pytest.raises(TypeError, match="x must be str, not bytes"):
        as_text(b"a", "x")  # type: ignore[arg-type]
