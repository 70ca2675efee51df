"""Directories and their listings, as ``serve_dir`` answers real clients."""

from __future__ import annotations

import gzip
import html.parser
import http.client
import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any, Callable
from urllib.parse import quote, unquote_to_bytes, urljoin

import pytest
from conftest import DEADLINE
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from staticsite import Client, serving, write

from mongoose_py import MG_EV_HTTP_MSG, Connection, url_port

# -- directories ---------------------------------------------------------------


def test_a_directory_without_a_slash_redirects_and_keeps_the_query(site: Client) -> None:
    answer = site.get("/index?a=b&c=%20")
    assert (answer.status, answer["Location"]) == (301, "/index/?a=b&c=%20")
    assert answer.body == b""
    assert site.get("/sub/deep")["Location"] == "/sub/deep/"
    assert site.get("http://other.example/index")["Location"] == "/index/"


@pytest.mark.parametrize("target", ["//sub", "///sub", "//sub/deep", "/%2fsub", "//evil%2f..sub"])
def test_a_redirect_never_names_another_host(site: Client, target: str) -> None:
    location = site.get(target)["Location"]
    if location is not None:
        assert urljoin("http://here/", location).startswith("http://here/")


def test_the_index_file_stands_for_its_directory(site: Client) -> None:
    answer = site.get("/index/")
    assert answer.body == b"<p>index\n"
    assert answer["Content-Type"] == "text/html; charset=utf-8"


def test_a_packed_index_is_sent_as_the_page_it_holds(site: Client) -> None:
    answer = site.get("/packed/", accept_encoding="gzip")
    assert gzip.decompress(answer.body) == b"<p>packed index\n"
    assert answer["Content-Encoding"] == "gzip"
    assert answer["Content-Type"] == "text/html; charset=utf-8"
    assert answer["Vary"] == "Accept-Encoding"


def test_a_directory_without_an_index_is_forbidden_unless_listings_are_on(
    site: Client, listed: Client
) -> None:
    assert (site.get("/sub/").status, site.get("/sub/").body) == (403, b"Forbidden")
    assert listed.get("/sub/").status == 200
    assert listed.get("/index/").body == b"<p>index\n"
    assert listed.get("/missing/").status == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/a.txt", 200),
        ("HEAD", "/a.txt", 200),
        ("GET", "/index/", 200),
        ("GET", "/index", 301),
        ("GET", "/missing", 0),
        ("GET", "/missing/", 0),
        ("GET", "/sub/", 0),  # no index
        ("GET", "/..", 0),
        ("GET", "/a%00b", 0),
        ("GET", "/%zz", 0),
        ("POST", "/a.txt", 0),
        ("DELETE", "/missing", 0),
    ],
)
def test_what_is_no_file_falls_through_to_the_program(
    serve: Callable[..., str], root: Path, method: str, path: str, status: int
) -> None:
    def route(conn: Connection, ev: int, message: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            page404 = root / "page.html"
            sent.append(conn.serve_dir(message, root, page404=page404, fallthrough=True))
            if not sent[-1]:
                conn.reply(299, f"{message.method} {message.uri}")

    sent: list[int] = []
    port = url_port(serve(route))
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)) as client:
        client.request(method, path)
        answer = client.getresponse()
        body = answer.read()
    assert sent == [status]
    assert answer.status == (status or 299)
    if not status:
        assert body.decode() == f"{method} {path}"


ELEMENTS = {"html", "head", "meta", "title", "body", "h1", "table", "tr", "th", "td", "a"}


class Page(html.parser.HTMLParser):
    """Collects the links of a listing, its text, and its elements."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.texts: list[str] = []
        self.elements: set[str] = set()
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        assert tag == "meta" or {name for name, _ in attrs} <= {"href"}
        self.links += [value or "" for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_listing_shows_names_sizes_and_times_in_order(listed: Client) -> None:
    answer = listed.get("/sub/")
    assert answer["Content-Type"] == "text/html; charset=utf-8"
    page = Page(answer.body.decode())
    assert page.links == ["../", "deep/", "link-up"]
    assert page.texts.count("Index of /sub/") == 2
    assert {"deep/", "[DIR]", "link-up", "6", "1994-11-06 08:49"} <= set(page.texts)


def test_a_listing_shows_only_what_can_be_fetched(listed: Client) -> None:
    links = Page(listed.get("/").body.decode()).links
    assert {"a.txt", "link-in", "link-dir/", "sub/"} <= set(links)
    for link in links:
        assert listed.get("/" + link if link != "../" else "/").status == 200


def test_the_listing_of_a_big_directory_is_cut(tmp_path: Path) -> None:
    for i in range(10001):
        (tmp_path / f"{i:05}").touch()
    with serving("serve_dir", tmp_path, listing=True) as client:
        answer = client.get("/")
        assert len(Page(answer.body.decode()).links) == 10001  # the way up, too
        assert b"Only 10000 entries are shown." in answer.body
        assert client.get("/", "HEAD")["Content-Length"] == str(len(answer.body))


def test_a_listing_escapes_what_means_something_in_html(tmp_path: Path) -> None:
    top = tmp_path / "<b>"
    write(top / "<&>\"'", b"")
    with serving("serve_dir", tmp_path, listing=True) as client:
        source = client.get("/%3Cb%3E/").body
    assert b"<h1>Index of /&lt;b&gt;/</h1>" in source
    assert b'<a href="%3c%26%3e%22%27">&lt;&amp;&gt;&quot;&#39;</a>' in source


FILE_NAMES = st.one_of(
    st.text(alphabet="<>&\"'%#?:;=.~+ \n\r\t\x7f\x1baü\u202e", min_size=1, max_size=20).map(
        os.fsencode
    ),
    st.binary(min_size=1, max_size=80).map(lambda name: name.translate(None, b"\0/")),
).filter(lambda name: name not in (b"", b".", b".."))


@settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
@given(names=st.sets(FILE_NAMES, min_size=1, max_size=5), folder=FILE_NAMES)
@example(names={b"<script>alert(1)<script>"}, folder=b'"><b>')
@example(names={b"javascript:alert(1)", b"..a", b"a\\b"}, folder=b"?x#y")
@example(names={b"~"}, folder=b"~")
@example(names={b"index.htm", b"\r\n\r\n", b"\xff"}, folder=b"\xc3")
def test_a_listing_survives_any_file_name(
    tmp_path_factory: pytest.TempPathFactory, names: set[bytes], folder: bytes
) -> None:
    hidden = {name for name in names if name.startswith(b"..") or b"\\" in name}
    unreachable = folder.startswith(b"..") or b"\\" in folder
    top = tmp_path_factory.mktemp("names")
    inside = os.fsencode(top) + b"/" + folder
    os.mkdir(inside)  # noqa: PTH102 - the name is bytes
    for name in names:
        with open(inside + b"/" + name, "wb") as file:  # noqa: PTH123 - the name is bytes
            file.write(name)
    with serving("serve_dir", top, listing=True) as client:
        there = "/" + quote(folder)
        if unreachable:
            assert client.get(there).status == 400
            return
        location = client.get(there)["Location"] or ""
        assert unquote_to_bytes(location) == b"/" + folder + b"/"
        page = Page(client.get(location).body.decode(errors="replace"))
        links = [link for link in page.links if link != "../"]
        assert sorted(map(unquote_to_bytes, links)) == sorted(names - hidden)
        assert page.elements == ELEMENTS
        for link in links:
            target = urljoin("http://h" + location, link)[len("http://h") :]
            assert client.get(target).body == unquote_to_bytes(link)
    shutil.rmtree(top)
