"""Parts of bodies, as other people's encoders make them."""

from __future__ import annotations

from email import message_from_bytes
from email.message import Message
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from email.policy import HTTP

import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st

from mongoose_py.multipart import MultipartPart, http_parse_multipart
from mongoose_py.params import parameter

CONTENTS = st.binary(max_size=40) | st.lists(
    st.sampled_from([b"\r\n", b"--b", b"--", b"\r", b"\n", b"b", b"x", b"\r\n--c"]), max_size=8
).map(b"".join)
WORDS = st.text(st.sampled_from("abz019 ._~é世"), min_size=1, max_size=8)


def parts_of(body: bytes, boundary: str | None = None) -> list[MultipartPart]:
    parts = []
    offset, part = http_parse_multipart(body, boundary=boundary)
    while part is not None:
        parts.append(part)
        previous = offset
        offset, part = http_parse_multipart(body, offset, boundary=boundary)
        assert part is None or offset > previous
    assert offset == 0
    return parts


def form(*contents: bytes, boundary: bytes = b"b", head: bytes = b"") -> bytes:
    head = head or b'Content-Disposition: form-data; name="f"'
    opened = b"--" + boundary + b"\r\n" + head + b"\r\n\r\n"
    return (
        b"".join(opened + content + b"\r\n" for content in contents) + b"--" + boundary + b"--\r\n"
    )


def disposition(text: str) -> MultipartPart:
    (part,) = parts_of(form(b"", head=b"Content-Disposition: " + text.encode()))
    return part


def is_clear_of(boundary: bytes, content: bytes) -> bool:
    """Does a delimiter begin neither in the content nor where it is put?"""
    return b"\r\n--" + boundary not in b"\r\n" + content + b"\r\n"


@given(st.lists(CONTENTS, max_size=4))
def test_contents_come_back_byte_for_byte(contents):
    contents = [content for content in contents if is_clear_of(b"b", content)]
    for boundary in (None, "b"):
        parts = parts_of(form(*contents), boundary)
        assert [part["body"] for part in parts] == contents
        assert all(part["name"] == "f" and part["filename"] == "" for part in parts)


@given(st.lists(st.tuples(WORDS, WORDS, st.binary(max_size=60)), min_size=1, max_size=4))
def test_what_requests_encodes_is_read_as_it_was_meant(files):
    sent = [(name, (filename, content, "text/x")) for name, filename, content in files]
    request = requests.Request("POST", "http://h", files=sent).prepare()
    boundary = parameter(request.headers["Content-Type"], "boundary")
    for limit in (None, boundary):
        got = parts_of(request.body, limit)
        assert [(p["name"], p["filename"], p["body"]) for p in got] == files
        assert all(("Content-Type", "text/x") in part["headers"] for part in got)


@given(st.lists(st.tuples(WORDS, st.binary(max_size=60)), min_size=1, max_size=3))
def test_what_the_email_package_encodes_is_read_as_it_was_meant(files):
    message = MIMEMultipart("form-data", policy=HTTP)
    for name, content in files:
        part = MIMEApplication(content, policy=HTTP)
        part.add_header("Content-Disposition", "form-data", name="f", filename=("utf-8", "", name))
        part.add_header("X-Long", "word " * 40 + "end")
        message.attach(part)
    _, _, body = message.as_bytes().partition(b"\r\n\r\n")
    got = parts_of(body, message.get_boundary())
    assert [part["filename"] for part in got] == [name for name, _ in files]
    assert all(dict(part["headers"])["X-Long"] == "word " * 40 + "end" for part in got)


@given(
    st.lists(CONTENTS.filter(lambda content: is_clear_of(b"bd", content)), min_size=1, max_size=3)
)
def test_the_email_package_reads_the_same_parts(contents):
    body = form(*contents, boundary=b"bd", head=b"Content-Type: application/octet-stream")
    message = message_from_bytes(b'Content-Type: multipart/mixed; boundary="bd"\r\n\r\n' + body)
    assert isinstance(message, Message)
    theirs = [part.get_payload(decode=True) for part in message.get_payload()]
    ours = [part["body"] for part in parts_of(body)]
    assert [b"".join(c.splitlines()) for c in ours] == [b"".join(c.splitlines()) for c in theirs]


@given(st.lists(CONTENTS, max_size=3), st.data())
def test_a_cut_body_has_only_parts_that_the_whole_one_has(contents, data):
    body = form(*contents)
    whole = parts_of(body)
    got = parts_of(body[: data.draw(st.integers(0, len(body)))], "b")
    assert got == whole[: len(got)]


@given(
    st.lists(
        st.sampled_from(
            [b"--b", b"--", b"\r\n", b"\r\n\r\n", b"\r", b"A: b", b":", b" ", b"\0", b"--b--"]
        ),
        max_size=14,
    ).map(b"".join),
    st.integers(0, 60),
    st.sampled_from([None, "b", "", "b\r\n", "--", "é"]),
)
@example(b"--b\r\n--b--", 0, None)
@example(b"--b\r\nA: b\r\n--b--", 0, None)
def test_any_body_offset_and_boundary_give_a_part_or_none(body, offset, boundary):
    after, part = http_parse_multipart(body, offset, boundary=boundary)
    assert (after == 0) == (part is None)
    if part is not None:
        assert offset < after < len(body)
        assert body[after:].startswith(b"--")
        assert part["body"] in body


def test_an_upload_as_browsers_send_it():
    body = (
        b"------WebKitFormBoundaryX\r\n"
        b'Content-Disposition: form-data; name="title"\r\n\r\nMy file\r\n'
        b"------WebKitFormBoundaryX\r\n"
        b'Content-Disposition: form-data; name="up"; filename="a b.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\nline 1\r\nline 2\r\n\r\n"
        b"------WebKitFormBoundaryX--\r\n"
    )
    offset, first = http_parse_multipart(body)
    assert first == {
        "name": "title",
        "filename": "",
        "body": b"My file",
        "headers": [("Content-Disposition", 'form-data; name="title"')],
    }
    offset, second = http_parse_multipart(body, offset)
    assert second is not None
    assert (second["name"], second["filename"]) == ("up", "a b.txt")
    assert second["body"] == b"line 1\r\nline 2\r\n"
    assert second["headers"][1] == ("Content-Type", "text/plain")
    assert http_parse_multipart(body, offset) == (0, None)


@pytest.mark.parametrize(
    ("text", "name", "filename"),
    [
        ('form-data; filename="x"; name="n"', "n", "x"),
        ("form-data; name=n; filename=x", "n", "x"),
        ('form-data; filename="name=y; z"', "", "name=y; z"),
        (r'form-data; filename="a\"b\\c"', "", r'a"b\c'),
        (r'form-data; filename="C:\photo.jpg"', "", r"C:\photo.jpg"),
        ("form-data; filename=\"x\"; filename*=UTF-8''na%C3%AFve%20%e4%b8%96", "", "naïve 世"),
        ("form-data; filename*=iso-8859-1'en'%E9; filename=x", "", "é"),
        ("form-data; filename*=utf-8''%zz; filename=x", "", "x"),
        ("form-data; filename*=utf-8''%ff; filename=x", "", "x"),
        ("form-data; filename*=koi8-r''%ff; filename=x", "", "x"),
        ("form-data; filename*=nothing; filename=x", "", "x"),
        ('form-data; NAME="N"', "N", ""),
        ('form-data; name="é世"', "é世", ""),
        ('form-data; name="a\rb"', "a\rb", ""),
    ],
)
def test_names_are_read_from_the_disposition(text, name, filename):
    part = disposition(text)
    assert (part["name"], part["filename"]) == (name, filename)


def test_headers_tell_a_missing_file_name_from_an_empty_one():
    chosen_none, plain = (
        disposition('form-data; name="f"; filename=""'),
        disposition("form-data; name=f"),
    )
    assert chosen_none["filename"] == plain["filename"] == ""
    assert parameter(chosen_none["headers"][0][1], "filename") == ""
    assert parameter(plain["headers"][0][1], "filename") is None


def test_folded_header_lines_are_put_together():
    (part,) = parts_of(
        form(b"", head=b"Content-Disposition: form-data;\r\n\tname=n;\r\n  filename=x")
    )
    assert (part["name"], part["filename"]) == ("n", "x")
    assert part["headers"] == [("Content-Disposition", "form-data; name=n; filename=x")]


def test_a_given_boundary_wins_over_the_first_line():
    body = b"--x\r\nnot a part\r\n" + form(b"1")
    assert parts_of(body) == []
    assert [part["body"] for part in parts_of(body, "b")] == [b"1"]
    assert parts_of(form(b"1"), "other") == []


def test_a_malformed_part_is_passed_over():
    body = b"--b\r\nno colon\r\n\r\nbad\r\n" + form(b"good")
    assert [part["body"] for part in parts_of(body)] == [b"good"]


@pytest.mark.parametrize("body", [b"", "", b"plain text", b"\r\n", b"--", b"--b--\r\n"])
def test_what_has_no_parts_gives_none(body):
    assert http_parse_multipart(body) == (0, None)


def test_offsets_outside_of_the_body():
    assert http_parse_multipart(form(b"1"), 1000) == (0, None)
    with pytest.raises(OverflowError):
        http_parse_multipart(form(b"1"), -1)
    with pytest.raises(TypeError):
        http_parse_multipart(form(b"1"), 1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [5, 1.5, [45]])
def test_body_and_boundary_are_texts_or_bytes(bad):
    with pytest.raises(TypeError, match=f"body must be.*{type(bad).__name__}"):
        http_parse_multipart(bad)
    with pytest.raises(TypeError, match=f"boundary must be.*{type(bad).__name__}"):
        http_parse_multipart(b"", boundary=bad)
    with pytest.raises(TypeError, match=r"body must be.*NoneType"):
        http_parse_multipart(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "piece", [b"\r\n--", b"\r\n--b", b"--b\r\n", b"\r\n", b"--b\r\nA: b\r\n\r\n\r\n"]
)
def test_a_hostile_body_is_answered_at_once(piece):
    body = b"--b\r\n" + piece * (1_000_000 // len(piece))
    assert http_parse_multipart(body, boundary="bb") == (0, None)
    assert http_parse_multipart(b"-" * 500_000 + b"\r\n" + piece * 100_000) == (0, None)
