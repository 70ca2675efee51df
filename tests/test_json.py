"""Values out of JSON texts, against the standard library's parser."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mongoose_py.json import json_get, json_get_bool, json_get_long, json_get_num, json_get_str

DOCUMENT = """{
  "name": "Alice", "age": 30, "height": 1.75, "admin": true, "left": false,
  "nothing": null, "yes": "yes",
  "tags": ["a", "b", ["deep"]], "o": {"a b": {"c": [1, 2]}}, "minus": -7
}"""


def plain_keys() -> st.SearchStrategy[str]:
    """Keys that a path can spell: no step begins inside, nothing is escaped twice."""
    return st.text(min_size=1).filter(lambda key: not re.search(r"[.\[\\\0]", key))


def documents() -> st.SearchStrategy[Any]:
    leaves = st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False)
    finite = leaves.filter(lambda value: not isinstance(value, float) or math.isfinite(value))
    return st.recursive(
        finite,
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(plain_keys(), inner, max_size=4)
        ),
        max_leaves=12,
    )


def every_path(value: Any, path: str = "$") -> list[tuple[str, Any]]:
    found = [(path, value)]
    if isinstance(value, dict):
        for key, inner in value.items():
            found += every_path(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += every_path(inner, f"{path}[{index}]")
    return found


def loads(text: str) -> Any:
    """Parse strictly: the standard library also takes NaN and Infinity."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("$.name", '"Alice"'),
        ("$.age", "30"),
        ("$.nothing", "null"),
        ("$.tags", '["a", "b", ["deep"]]'),
        ("$.tags[2][0]", '"deep"'),
        ("$.o.a b.c[1]", "2"),
        ("$", DOCUMENT),
    ],
)
def test_the_text_of_a_value_comes_as_it_stands(path, text):
    assert json_get(DOCUMENT, path) == text
    assert json_get(DOCUMENT.encode(), path) == text
    assert json_get(bytearray(DOCUMENT.encode()), path) == text
    assert json_get(memoryview(DOCUMENT.encode()), path) == text


@pytest.mark.parametrize(
    "path",
    [
        *("", "name", "$.", "$.tags[]", "$.tags[-1]", "$.tags[9]", "$.tags[x]", "$.o.", "$.none"),
        *("$..name", "$[0]", "$.age.x", "$.tags[99999999999999999999]", "$.tags[01]", "$.tags[0]x"),
    ],
)
def test_a_path_that_leads_nowhere_gives_none(path):
    assert json_get(DOCUMENT, path) is None


@pytest.mark.parametrize(
    "text", ["", " ", "{", "nul", "[1,]", "{'a': 1}", "[01]", "\ufeff[]", "NaN"]
)
def test_a_text_that_is_no_json_has_no_values(text):
    assert json_get(text, "$") is None
    assert json_get_num(text, "$", 1.5) == 1.5
    assert json_get_bool(text, "$", "d") == "d"
    assert json_get_long(text, "$", 7) == 7
    assert json_get_str(text, "$") is None


@given(documents(), st.booleans(), st.sampled_from([None, 2]))
def test_every_path_leads_where_walking_leads(document, ascii_only, indent):
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent)
    for path, value in every_path(document):
        found = json_get(text, path)
        assert found is not None
        assert loads(found) == value
        assert json_get_str(text, path) == (value if isinstance(value, str) else None)
        assert json_get_bool(text, path) is (value if isinstance(value, bool) else None)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "\\u0061"]), st.integers(0, 9)), min_size=1))
def test_the_first_of_equal_keys_counts(pairs):
    text = "{" + ",".join(f'"{key}": {value}' for key, value in pairs) + "}"
    first: dict[str, int] = {}
    for key, value in pairs:
        first.setdefault(loads(f'"{key}"'), value)
    assert json_get_long(text, "$.a", None) == first.get("a")
    assert json_get_long(text, "$.b", None) == first.get("b")


def test_a_key_with_dots_can_be_reached():
    assert json_get('{"app": {"x": 1}, "app.version": 2}', "$.app.version") == "2"
    assert json_get('{"app.version": {"x": 1}, "app": {}}', "$.app.version.x") == "1"


def test_a_key_fits_as_written_and_unescaped():
    text = json.dumps({"naïve": {'a"b': 1}})
    assert json_get(text, '$.naïve.a"b') == "1"
    assert json_get(text, r"$.na\u00efve.a\"b") == "1"


@given(st.text(st.sampled_from('{}[]",:\\ \n\tu0019aeE+-.truefalsn\x7fé'), max_size=24))
@example("[2.]")
@example("12x")
@example('"\\ud83d"')
def test_any_text_gives_none_or_what_the_standard_library_takes(text):
    found = json_get(text, "$")
    try:
        loads(text)
    except ValueError:
        if found is not None:  # what stands behind a whole value is not looked at
            assert text.strip(" \n\t").startswith(found)
            loads(found)
    else:
        assert found == text.strip(" \n\t\r")


@given(st.binary(max_size=40), st.text(max_size=12).filter(lambda path: "\0" not in path))
def test_any_bytes_and_any_path_give_a_value_or_none(data, path):
    for found in (json_get(data, path), json_get(data, "$")):
        assert found is None or found.encode() in data


@given(documents(), st.data())
def test_a_cut_text_gives_the_right_value_or_none(document, data):
    text = json.dumps(document).encode()
    cut = text[: data.draw(st.integers(0, len(text)))]
    for path, value in every_path(document):
        found = json_get(cut, path)
        if found is not None and not (path == "$" and isinstance(value, (int, float))):
            assert loads(found) == value


@given(st.text(), st.booleans())
def test_strings_survive_the_way_through_json(value, ascii_only):
    assert json_get_str(json.dumps(value, ensure_ascii=ascii_only), "$") == value


@given(st.text(st.characters(categories=["Cs"]) | st.sampled_from("a\u4e16")))
def test_surrogates_pair_up_or_become_the_replacement_character(value):
    units = value.encode("utf-16-le", "surrogatepass")
    assert json_get_str(json.dumps(value), "$") == units.decode("utf-16-le", "replace")


def test_escapes_are_those_of_rfc_8259():
    assert json_get_str(r'"\"\\\/\b\f\n\r\t\u0048\u4e16\u0000"', "$") == '"\\/\b\f\n\r\tH\u4e16\0'
    assert json_get_str(r'"\x41"', "$") is None
    assert json_get_str("12", "$") is None


@given(st.from_regex(r"-?(0|[1-9]\d{0,24})(\.\d{1,24})?([eE][+-]?\d{1,3})?", fullmatch=True))
@example("9007199254740993")
@example("-0.9")
@example("1.5e3")
@example("1e-400")
@example("-120e-1")
@example("0.0012e+00003")
def test_numbers_are_exact_as_int_and_nearest_as_float(text):
    text = text.translate({ord(d): str(int(d)) for d in text if d.isdigit()})
    assert json_get_long(f"[{text}]", "$[0]") == int(Decimal(text))
    number = json_get_num(f"[{text}]", "$[0]")
    assert isinstance(number, float)
    assert number == float(text)


def test_a_number_with_too_many_digits_counts_as_missing():
    assert json_get_long("1" + "0" * 4299, "$") == 10**4299
    assert json_get_long("1e4299", "$") == 10**4299
    assert json_get_long("1" * 4301, "$", None) is None
    assert json_get_long("1e999999999999999999999", "$", "big") == "big"
    assert json_get_long("0e999999999999999999999", "$") == 0
    assert json_get_long("1e-999999999999999999999", "$") == 0
    assert json_get_num("1e999", "$") == math.inf


def test_defaults_may_be_of_any_kind():
    marker = object()
    assert json_get_num(DOCUMENT, "$.name", marker) is marker
    assert json_get_bool(DOCUMENT, "$.yes", marker) is marker
    assert json_get_long(DOCUMENT, "$.name", marker) is marker
    assert json_get_num(DOCUMENT, "$.none") is None
    assert json_get_bool(DOCUMENT, "$.none") is None
    assert json_get_long(DOCUMENT, "$.none") == 0
    assert json_get_long(DOCUMENT, "$.none", default=None) is None


def test_kinds_are_told_apart():
    assert json_get_bool(DOCUMENT, "$.admin") is True
    assert json_get_bool(DOCUMENT, "$.left") is False
    assert json_get_bool(DOCUMENT, "$.age") is None
    assert json_get_num(DOCUMENT, "$.age") == 30.0
    assert isinstance(json_get_num(DOCUMENT, "$.age"), float)
    assert json_get_num('["1"]', "$[0]") is None
    assert json_get_long(DOCUMENT, "$.minus") == -7
    assert json_get_long(DOCUMENT, "$.height") == 1


def test_thirty_brackets_are_the_limit():
    assert json_get("[" * 30 + "]" * 30, "$" + "[0]" * 29) == "[]"
    assert json_get("[" * 31 + "]" * 31, "$") is None


def test_undecodable_bytes_that_came_as_text_make_no_json():
    assert json_get(b'"\xff"'.decode("utf-8", "surrogateescape"), "$") is None


@pytest.mark.parametrize("data", [None, 5, 1.5, [123, 125]])
@pytest.mark.parametrize(
    "get", [json_get, json_get_num, json_get_bool, json_get_long, json_get_str]
)
def test_only_texts_and_bytes_are_searched(get, data):
    with pytest.raises(TypeError, match=f"data.*{type(data).__name__}"):
        get(data, "$")


def test_a_path_is_a_text_without_nul():
    with pytest.raises(ValueError, match=r"path.*NUL"):
        json_get("{}", "$.a\0")
    with pytest.raises(TypeError, match=r"path.*bytes"):
        json_get("{}", b"$")  # type: ignore[arg-type]
