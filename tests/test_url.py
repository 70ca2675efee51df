"""Parts of URLs and percent-encoding, against the standard library."""

from __future__ import annotations

from urllib.parse import quote, unquote_to_bytes, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mongoose_py.url import (
    url_encode,
    url_host,
    url_is_ssl,
    url_pass,
    url_port,
    url_uri,
    url_user,
)

PARTS = [url_port, url_host, url_user, url_pass, url_uri, url_is_ssl]
NAME = st.text(st.sampled_from("abcXYZ019-._~"), min_size=1)
SCHEMES = st.sampled_from(["http", "HTTPS", "ws", "tcp", "mqtts", "a+b-c.1"])


@st.composite
def urls(draw: st.DrawFn) -> str:
    host = draw(NAME | st.sampled_from(["127.0.0.1", "[::1]", "[fd00::7]"]))
    user = draw(st.none() | st.text(max_size=8))
    password = draw(st.none() | st.text(max_size=8))
    port = draw(st.none() | st.integers(0, 65535))
    path = draw(st.sampled_from(["", "/", "/a/b", "//", "/a%20b:c@d"]))
    query = draw(st.sampled_from(["", "?", "?a=b", "?m=a@b.c/d:1", "?x#y"]))
    login = "" if user is None else quote(user, safe="")
    if password is not None:
        login += ":" + quote(password, safe=":")
    if user is not None or password is not None:
        login += "@"
    return f"{draw(SCHEMES)}://{login}{host}{'' if port is None else f':{port}'}{path}{query}"


def unquoted(text: str | None) -> str:
    return unquote_to_bytes(text or "").decode("utf-8", "surrogateescape")


@given(urls())
def test_parts_agree_with_the_standard_library(url):
    parts = urlsplit(url)
    host = url_host(url)
    assert host.strip("[]").lower() == parts.hostname
    assert url_user(url) == unquoted(parts.username)
    assert url_pass(url) == unquoted(parts.password)
    assert parts.port is None or url_port(url) == parts.port
    assert url_uri(url) == (parts.path or "/") + (f"?{parts.query}" if "?" in url else "")


@pytest.mark.parametrize(
    ("url", "port", "host", "user", "password", "uri"),
    [
        ("mqtt://joe:pw@[fd00::7]:2883/x", 2883, "[fd00::7]", "joe", "pw", "/x"),
        ("http://h1:81/k:9", 81, "h1", "", "", "/k:9"),
        ("http://h1//k//", 80, "h1", "", "", "//k//"),
        ("http://:pw@h1", 80, "h1", "", "pw", "/"),
        ("p://foo/q?mail=a@b.c", 0, "foo", "", "", "/q?mail=a@b.c"),
        ("http://h?x=1", 80, "h", "", "", "/?x=1"),
        ("http://h/a#top", 80, "h", "", "", "/a"),
        ("http://u:a%40b:c@h", 80, "h", "u", "a@b:c", "/"),
        ("http://50%:50%@h", 80, "h", "50%", "50%", "/"),
        ("http://%ff@h", 80, "h", "\udcff", "", "/"),
        ("foo:1234", 1234, "foo", "", "", "/"),
        ("//foo", 0, "foo", "", "", "/"),
        (":1234", 1234, "", "", "", "/"),
        ("", 0, "", "", "", "/"),
    ],
)
def test_a_url_is_cut_into_its_parts(url, port, host, user, password, uri):
    assert (url_port(url), url_host(url), url_uri(url)) == (port, host, uri)
    assert (url_user(url), url_pass(url)) == (user, password)


@pytest.mark.parametrize(
    ("scheme", "port", "tls"),
    [
        *(("http", 80, False), ("https", 443, True), ("ws", 80, False), ("wss", 443, True)),
        *(("mqtt", 1883, False), ("mqtts", 8883, True), ("ssl", 0, True), ("tls", 0, True)),
        *(("tcps", 0, True), ("tcp", 0, False), ("udp", 0, False), ("x", 0, False)),
    ],
)
def test_the_scheme_decides_in_any_case(scheme, port, tls):
    for url in (f"{scheme}://h", f"{scheme.upper()}://h"):
        assert url_port(url) == port
        assert url_is_ssl(url) is tls


@pytest.mark.parametrize("port", ["65536", "99999", "8o", "-1", "+1", " 1", "1 ", "0x50", "\u0661"])
def test_a_malformed_port_is_0(port):
    assert url_port(f"http://h:{port}") == 0


@given(st.text().filter(lambda text: "\0" not in text))
@example("[")
@example("http://[::1")
@example("@@::")
@example("http://\udcff@h")
def test_any_text_has_parts(text):
    for part in PARTS:
        assert isinstance(part(text), (str, int))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_encoding_agrees_with_the_standard_library_but_in_case(text):
    encoded = url_encode(text)
    assert encoded.lower() == quote(text, safe="").lower()
    assert unquote_to_bytes(encoded) == text.encode()


@given(st.binary())
def test_encoding_takes_any_bytes_and_can_be_undone(data):
    assert unquote_to_bytes(url_encode(data)) == data
    assert url_encode(bytearray(data)) == url_encode(data)


def test_encoding_writes_lower_case_digits():
    assert url_encode("a b/é~*") == "a%20b%2f%c3%a9~%2a"
    assert url_encode("") == ""


@pytest.mark.parametrize("part", PARTS)
def test_a_url_is_a_text_without_nul(part):
    with pytest.raises(ValueError, match=r"url.*NUL"):
        part("http://h\0x")
    with pytest.raises(TypeError, match=r"url.*bytes"):
        part(b"http://h")


@pytest.mark.parametrize("data", [None, 5, 1.5, [1]])
def test_only_texts_and_bytes_are_encoded(data):
    with pytest.raises(TypeError, match=f"data.*{type(data).__name__}"):
        url_encode(data)
