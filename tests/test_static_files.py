"""What ``serve_dir`` and ``serve_file`` promise, asked by real clients.

RFC 9110, sections 8.8 (validators), 12.5.3 (codings), 13 (conditions), 14 (ranges).
"""

from __future__ import annotations

import contextlib
import dataclasses
import email.utils
import gzip
import html.parser
import http.client
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urljoin

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mongoose_py import Connection, Handler, HttpMessage, Manager

DEADLINE = 20.0  # seconds; only ever reached by a failure
INLINE = 16384  # bytes; longer files go out by sendfile
MODIFIED = 784111777  # Sun, 06 Nov 1994 08:49:37 GMT
MODIFIED_TEXT = "Sun, 06 Nov 1994 08:49:37 GMT"
CANARY = b"CANARY"  # in the name and the content of everything outside of the root
AT_EDGES = [0, 1, 10, INLINE - 1, INLINE, INLINE + 1, 5 * INLINE + 3]

curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


class Files(Handler):
    """Answers every request the same way, and keeps what that returned or raised."""

    def __init__(self, how: str, path: Any, options: dict[str, Any]) -> None:
        self.how = how
        self.path = path
        self.options = options
        self.errors: list[Exception] = []

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        try:
            getattr(conn, self.how)(message, self.path, **self.options)
        except Exception as exc:
            self.errors.append(exc)
            conn.reply(500, "raised")


@dataclasses.dataclass
class Answer:
    status: int
    headers: Message
    body: bytes

    def __getitem__(self, name: str) -> str | None:
        return self.headers[name]


class Client:
    """A browser's view of a site: one kept-alive connection, one answer at a time."""

    def __init__(self, port: int, files: Files) -> None:
        self.port = port
        self.files = files
        self.url = f"http://127.0.0.1:{port}"
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)

    def get(self, target: str, method: str = "GET", **headers: str) -> Answer:
        """Ask for *target*; ``if_match="x"`` is the header ``If-Match: x``."""
        try:
            self.http.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in {"host": "h", **headers}.items():
                self.http.putheader(name.replace("_", "-"), value)
            self.http.endheaders()
            response = self.http.getresponse()
            return Answer(response.status, response.headers, response.read())
        except BaseException:
            self.http.close()  # the next one starts afresh
            raise

    def raw(self, wire: bytes) -> bytes:
        """Send *wire*, which closes at its end, and return all that comes back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE) as sock:
            sock.sendall(wire)
            return b"".join(iter(lambda: sock.recv(65536), b""))


@contextlib.contextmanager
def serving(how: str, path: Any, **options: Any) -> Iterator[Client]:
    """Run a site in a thread of its own and give a client of it."""
    files = Files(how, path, options)
    with Manager(files) as manager:
        address = manager.listen("http://127.0.0.1:0").local_addr
        assert address is not None
        thread = threading.Thread(target=manager.run)
        thread.start()
        client = Client(address[1], files)
        try:
            yield client
        finally:
            client.http.close()
            manager.stop()
            thread.join()


def pattern(size: int) -> bytes:
    """Return *size* bytes in which no two places look alike."""
    return b"".join(b"%07d\n" % i for i in range(size // 8 + 1))[:size]


def write(path: Path, content: bytes, mtime: float = MODIFIED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (mtime, mtime))
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site, with files outside of it that no request may reach."""
    base = tmp_path_factory.mktemp("static")
    top = base / "root"
    write(top / "a.txt", b"hello\n")
    write(top / "all.bin", bytes(range(256)))
    write(top / "sub" / "deep" / "b.html", b"<p>deep\n")
    write(top / "index" / "index.html", b"<p>index\n")
    write(top / "packed" / "index.html.gz", gzip.compress(b"<p>packed index\n"))
    write(top / "page.html", b"<p>plain\n")
    write(top / "page.html.gz", gzip.compress(b"<p>plain\n"))
    write(top / "lone.css.gz", gzip.compress(b"p {}\n"))
    write(top / "blank name, with comma.txt", b"odd\n")
    for size in AT_EDGES:
        write(top / "sizes" / f"{size}", pattern(size))
    (top / "link-in").symlink_to("a.txt")
    (top / "link-dir").symlink_to("sub/deep")
    (top / "sub" / "link-up").symlink_to("../a.txt")
    write(base / "CANARY.txt", CANARY)
    write(base / "outside" / "CANARY.txt", CANARY)
    write(base / "rootCANARY" / "CANARY.txt", CANARY)
    (top / "link-out").symlink_to("../CANARY.txt")
    (top / "link-out-dir").symlink_to("../outside")
    (top / "link-abs").symlink_to(base / "CANARY.txt")
    (top / "link-abs-in").symlink_to(top / "a.txt")
    (top / "link-chain").symlink_to("link-out")
    (top / "link-loop").symlink_to("link-loop")
    (top / "sub" / "link-out").symlink_to("../../outside/CANARY.txt")
    os.mkfifo(top / "pipe")
    return top


@pytest.fixture(scope="module")
def site(root: Path) -> Iterator[Client]:
    with serving("serve_dir", str(root)) as client:
        yield client


@pytest.fixture(scope="module")
def listed(root: Path) -> Iterator[Client]:
    with serving("serve_dir", str(root), listing=True) as client:
        yield client


# ---- contents ---------------------------------------------------------------


@pytest.mark.parametrize("size", AT_EDGES)
def test_a_file_of_any_size_comes_out_unchanged(site: Client, size: int) -> None:
    answer = site.get(f"/sizes/{size}")
    assert answer.status == 200
    assert answer.body == pattern(size)
    assert answer["Content-Length"] == str(size)


def test_every_byte_value_comes_out_unchanged(site: Client) -> None:
    assert site.get("/all.bin").body == bytes(range(256))


def test_a_nested_file_has_the_type_of_its_extension(site: Client) -> None:
    answer = site.get("/sub/deep/b.html")
    assert answer.body == b"<p>deep\n"
    assert answer["Content-Type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(
    "target",
    ["/%61.txt", "//a.txt", "/./a.txt", "/sub/.//./../a.txt", "/a.txt?x=1", "http://other/a.txt"],
)
def test_equivalent_targets_name_the_same_file(site: Client, target: str) -> None:
    answer = site.get(target)
    if ".." in target:
        assert answer.status == 400
    else:
        assert answer.body == b"hello\n"


def test_blanks_and_commas_in_names_are_nothing_special(site: Client) -> None:
    assert site.get("/blank%20name,%20with%20comma.txt").body == b"odd\n"
    assert site.get("/blank+name,%20with%20comma.txt").status == 404


@pytest.mark.parametrize("name", ["a,b", "with blank", "ünï", "%41", "a=b", "link"])
def test_the_root_is_a_plain_path(tmp_path: Path, name: str) -> None:
    top = tmp_path / name
    if name == "link":
        top.symlink_to(tmp_path / "elsewhere")
    write(tmp_path / "elsewhere" / "x" if name == "link" else top / "x", b"found")
    with serving("serve_dir", top) as client:
        assert client.get("/x").body == b"found"


def test_a_root_that_is_empty_or_missing_has_no_files(tmp_path: Path, root: Path) -> None:
    for top in ("", str(tmp_path / "missing"), str(root / "a.txt")):
        with serving("serve_dir", top) as client:
            assert client.get("/etc/passwd").status == 404
            assert client.get("/").status == 404


def test_a_missing_file_is_not_found(site: Client) -> None:
    answer = site.get("/missing.txt")
    assert (answer.status, answer.body) == (404, b"Not found\n")
    assert site.get("/a.txt/").status == 404
    assert site.get("/a.txt/b").status == 404
    assert site.get("/" + "x" * 300).status == 404


def test_requests_are_answered_one_after_the_other_on_one_connection(site: Client) -> None:
    names = ["/sizes/81923", "/a.txt", "/missing", "/sizes/16385", "/all.bin"]
    wire = [f"GET {name} HTTP/1.1\r\nHost: h\r\n\r\n".encode() for name in names]
    last = b"HEAD /a.txt HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    got = site.raw(b"".join(wire) + last)
    for content in (pattern(81923), b"hello\n", b"Not found\n", pattern(16385), bytes(range(256))):
        head, _, got = got.partition(b"\r\n\r\n")
        assert f"\r\nContent-Length: {len(content)}\r\n".encode() in head + b"\r\n"
        assert got.startswith(content)
        got = got[len(content) :]
    assert got.startswith(b"HTTP/1.1 200 ")
    assert got.endswith(b"\r\n\r\n")


# ---- what is never served ---------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "/..",
        "/../CANARY.txt",
        "/sub/../../CANARY.txt",
        "/%2e%2e/CANARY.txt",
        "/%2E%2e%2fCANARY.txt",
        "/..%5cCANARY.txt",
        "/sub%5c..%5c..%5cCANARY.txt",
        "/sub\\deep",
        "/..CANARY.txt",
        "/a.txt%00",
        "/a.txt%00.html",
        "/%",
        "/%4",
        "/%zz",
        "/" + "x/" * 2500,
    ],
)
def test_a_path_that_is_no_path_below_the_root_is_a_bad_request(site: Client, target: str) -> None:
    assert site.get(target).status == 400


def test_links_within_the_root_are_followed(site: Client) -> None:
    assert site.get("/link-in").body == b"hello\n"
    assert site.get("/link-dir/b.html").body == b"<p>deep\n"
    assert site.get("/sub/link-up").body == b"hello\n"


@pytest.mark.parametrize(
    "name",
    [
        "link-out",
        "link-out-dir",
        "link-out-dir/CANARY.txt",
        "link-abs",
        "link-abs-in",
        "link-chain",
        "link-loop",
        "sub/link-out",
    ],
)
def test_links_that_leave_the_root_or_are_absolute_lead_nowhere(site: Client, name: str) -> None:
    assert site.get(f"/{name}").status == 404


def test_only_regular_files_are_served(site: Client, tmp_path: Path) -> None:
    assert site.get("/pipe").status == 404  # and nobody waits for a writer
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "socket"))
        with serving("serve_dir", tmp_path) as client:
            assert client.get("/socket").status == 404
    with serving("serve_dir", "/dev") as client:
        assert client.get("/null").status == 404
    with serving("serve_file", "/dev/zero") as client:
        assert client.get("/").status == 404


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_forbidden(tmp_path: Path) -> None:
    write(tmp_path / "secret", b"x").chmod(0)
    with serving("serve_dir", tmp_path) as client:
        assert client.get("/secret").status == 403


SEGMENTS = st.sampled_from(
    ["..", ".", "", "...", "..%2f", "%2e%2e", "%2E.", ".%2e/", "%252e%252e", "..;", "..%00", "~"]
    + ["%5c", "\\", "..\\", "..%5c", "%c0%ae%c0%ae", "%ef%bc%8e", "%2f", "root", "rootCANARY"]
    + ["CANARY.txt", "outside", "sub", "deep", "link-out", "link-out-dir", "link-abs", "link-in"]
    + ["link-dir", "link-chain", "proc", "self", "fd", "root", "etc", "passwd", "a.txt"]
) | st.text(alphabet="./%25efcl\\~-", max_size=6)
JOINTS = st.sampled_from(["/", "/", "//", "%2f", "\\", "%5c", ""])


@st.composite
def targets(draw: st.DrawFn) -> str:
    """Make request targets of what path traversal is made of."""
    start = draw(st.sampled_from(["/", "/", "//", "http://h/", "http://h", "", "/?", "%2f"]))
    pieces = draw(st.lists(st.tuples(SEGMENTS, JOINTS), max_size=8))
    return (start + "".join(segment + joint for segment, joint in pieces)) or "/"


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(target=targets())
@example(target="/link-out-dir/")
@example(target="/sub/../../CANARY.txt")
@example(target="//../CANARY.txt")
@example(target="http://h/../CANARY.txt")
def test_no_target_reaches_what_is_outside_of_the_root(listed: Client, target: str) -> None:
    answer = listed.get(target)
    assert answer.status in (200, 301, 400, 404)
    assert CANARY not in answer.body
    assert b"root:" not in answer.body  # the password file's first line
    if answer.status == 301:
        assert re.fullmatch(r"/([^/].*)?", answer["Location"] or "")


# ---- directories ------------------------------------------------------------


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


# ---- methods ----------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get", "PROPFIND"])
def test_methods_other_than_get_and_head_are_refused(site: Client, method: str) -> None:
    answer = site.get("/a.txt", method)
    assert (answer.status, answer["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "target", ["/a.txt", "/sizes/81923", "/page.html", "/index", "/index/", "/sub/", "/missing"]
)
def test_head_answers_like_get_without_the_body(listed: Client, target: str) -> None:
    full, head = listed.get(target), listed.get(target, "HEAD")
    assert head.status == full.status
    assert head.body == b""
    assert [line for line in head.headers.items() if line[0] != "Date"] == [
        line for line in full.headers.items() if line[0] != "Date"
    ]


# ---- conditions -------------------------------------------------------------


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


# ---- ranges -----------------------------------------------------------------


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


# ---- codings and types ------------------------------------------------------


@pytest.mark.parametrize("accept", ["gzip", "br, GZIP;q=0.1", "x-gzip", "*", "identity;q=0, *"])
def test_a_packed_neighbour_is_sent_to_clients_that_take_it(site: Client, accept: str) -> None:
    answer = site.get("/page.html", accept_encoding=accept)
    assert gzip.decompress(answer.body) == b"<p>plain\n"
    assert answer["Content-Encoding"] == "gzip"
    assert answer["Content-Type"] == "text/html; charset=utf-8"
    assert answer["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize("accept", ["identity", "gzip;q=0", "gzip; q=0.000, *", "gzipped", "*;q=0"])
def test_a_packed_neighbour_is_kept_from_others(site: Client, accept: str) -> None:
    answer = site.get("/page.html", accept_encoding=accept)
    assert answer.body == b"<p>plain\n"
    assert answer["Content-Encoding"] is None
    assert answer["Vary"] == "Accept-Encoding"


def test_the_two_forms_have_tags_and_ranges_of_their_own(site: Client) -> None:
    plain = site.get("/page.html", accept_encoding="identity")
    packed = site.get("/page.html", accept_encoding="gzip")
    assert plain["ETag"] != packed["ETag"]
    again = site.get("/page.html", accept_encoding="gzip", if_none_match=packed["ETag"] or "")
    assert (again.status, again["Vary"]) == (304, "Accept-Encoding")
    part = site.get("/page.html", accept_encoding="gzip", range="bytes=-4")
    assert part.body == packed.body[-4:]


def test_a_packed_file_asked_for_by_name_is_just_a_file(site: Client) -> None:
    answer = site.get("/page.html.gz", accept_encoding="gzip")
    assert (answer["Content-Type"], answer["Content-Encoding"]) == ("application/gzip", None)
    assert site.get("/lone.css", accept_encoding="gzip").status == 404
    assert site.get("/a.txt")["Vary"] is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.HTML", "text/html; charset=utf-8"),
        ("a.mjs", "text/javascript; charset=utf-8"),
        ("a.tar.gz", "application/gzip"),
        ("a.svg", "image/svg+xml"),
        ("a.woff2", "font/woff2"),
        ("a.wasm", "application/wasm"),
        ("a.unknown", "text/plain; charset=utf-8"),
        ("noextension", "text/plain; charset=utf-8"),
    ],
)
def test_the_type_follows_from_the_extension(tmp_path: Path, name: str, kind: str) -> None:
    write(tmp_path / name, b"")
    with serving("serve_dir", tmp_path) as client:
        assert client.get(f"/{name}")["Content-Type"] == kind


def test_types_can_be_added_and_replaced(root: Path) -> None:
    with serving("serve_dir", root, mime_types="bin=x/bin,TXT=x/text,html=x/h") as client:
        assert client.get("/all.bin")["Content-Type"] == "x/bin"
        assert client.get("/a.txt")["Content-Type"] == "x/text"
        assert client.get("/index/")["Content-Type"] == "x/h"
    with serving("serve_dir", root, mime_types="txt=x/text,*=x/any") as client:
        assert client.get("/a.txt")["Content-Type"] == "x/text"
        assert client.get("/sizes/10")["Content-Type"] == "x/any"


# ---- options ----------------------------------------------------------------


@pytest.mark.parametrize("extra", ["X-One: 1", "X-One: 1\r\n", "X-One: 1\r\nX-Two: 2\r\n"])
def test_extra_headers_go_out_with_every_answer(root: Path, extra: str) -> None:
    with serving("serve_dir", root, extra_headers=extra) as client:
        for target in ("/a.txt", "/missing", "/index", "/sub/", "/sizes/81923", "/.."):
            answer = client.get(target)
            assert answer["X-One"] == "1"
            assert answer["X-Two"] == ("2" if "Two" in extra else None)
        assert client.get("/a.txt", if_none_match="*")["X-One"] == "1"
        assert client.get("/a.txt").body == b"hello\n"


def test_an_extra_header_takes_the_place_of_ours_but_for_framing(root: Path) -> None:
    extra = 'Content-Type: x/y\r\nETag: "mine"\r\nContent-Length: 1\r\nAccept-Ranges: none\r\n'
    with serving("serve_dir", root, extra_headers=extra) as client:
        answer = client.get("/a.txt")
        assert answer.headers.get_all("Content-Type") == ["x/y"]
        assert answer.headers.get_all("ETag") == ['"mine"']
        assert answer.headers.get_all("Content-Length") == ["6"]
        assert answer.headers.get_all("Accept-Ranges") == ["none"]
        missing = client.get("/missing")
        assert missing.headers.get_all("Content-Type") == ["text/plain; charset=utf-8"]
        assert missing["ETag"] is None


@pytest.mark.parametrize("extra", ["X: a\nY: b", "no colon", ": x", "X Y: z", "X: \0", "X: a\rb"])
def test_malformed_extra_headers_are_a_value_error(root: Path, extra: str) -> None:
    with serving("serve_dir", root, extra_headers=extra) as client:
        assert client.get("/a.txt").status == 500
        assert [type(exc) for exc in client.files.errors] == [ValueError]


def test_the_page_for_missing_files_is_sent_as_a_success(root: Path) -> None:
    with serving("serve_dir", root, page404=str(root / "page.html")) as client:
        answer = client.get("/missing.txt", accept_encoding="gzip")
        assert (answer.status, answer.body) == (200, b"<p>plain\n")
        assert answer["Content-Type"] == "text/html; charset=utf-8"
        assert client.get("/link-out").body == b"<p>plain\n"
        assert client.get("/a.txt").body == b"hello\n"


def test_the_page_for_missing_files_never_confirms_an_old_copy(root: Path) -> None:
    with serving("serve_dir", root, page404=str(root / "page.html")) as client:
        late = "Fri, 01 Jan 2100 00:00:00 GMT"
        for headers in (
            {"if_modified_since": late},
            {"if_none_match": "*"},
            {"range": "bytes=0-0"},
        ):
            answer = client.get("/missing", **headers)
            assert (answer.status, answer.body) == (200, b"<p>plain\n")
        assert answer["ETag"] is None


def test_without_the_page_for_missing_files_the_text_is_sent(root: Path) -> None:
    with serving("serve_dir", root, page404=str(root / "missing.html")) as client:
        assert client.get("/missing").status == 404


def test_paths_may_be_path_objects(root: Path) -> None:
    with serving("serve_dir", root, page404=root / "page.html") as client:
        assert client.get("/missing").body == b"<p>plain\n"
    with serving("serve_file", root / "a.txt") as client:
        assert client.get("/x").body == b"hello\n"


# ---- serve_file -------------------------------------------------------------


def test_serve_file_sends_its_file_whatever_the_target(root: Path) -> None:
    with serving("serve_file", str(root / "page.html"), extra_headers="X: 1") as client:
        for target in ("/", "/..", "/other.txt?x", "/%00"):
            answer = client.get(target, accept_encoding="identity")
            assert (answer.status, answer.body, answer["X"]) == (200, b"<p>plain\n", "1")
            assert answer["Content-Type"] == "text/html; charset=utf-8"
        assert gzip.decompress(client.get("/", accept_encoding="gzip").body) == b"<p>plain\n"
        assert client.get("/", range="bytes=1-1", accept_encoding="br").body == b"p"
        assert client.get("/", if_none_match="*").status == 304
        assert client.get("/", "POST").status == 405


def test_serve_file_follows_every_link_for_its_path_is_the_programs(root: Path) -> None:
    with serving("serve_file", root / "link-abs") as client:
        assert client.get("/").body == CANARY


def test_serve_file_of_a_directory_or_of_nothing_is_not_found(root: Path) -> None:
    for path in (root / "sub", root / "missing", root / "pipe", ""):
        with serving("serve_file", path) as client:
            assert client.get("/").status == 404


def test_a_zero_byte_in_a_path_is_a_value_error(root: Path) -> None:
    for how in ("serve_file", "serve_dir"):
        with serving(how, f"{root}/a.txt\0.html") as client:
            assert client.get("/").status == 500
            assert [type(exc) for exc in client.files.errors] == [ValueError]


# ---- while a file is under way ----------------------------------------------


def test_a_file_that_shrinks_while_it_is_sent_ends_the_connection(tmp_path: Path) -> None:
    size = 64 * 1024 * 1024
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.truncate(size)
    with serving("serve_dir", tmp_path) as client, socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.settimeout(DEADLINE)
        sock.connect(("127.0.0.1", client.port))
        sock.sendall(b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n")
        got = len(sock.recv(1000))
        os.truncate(path, 1024 * 1024)
        with contextlib.suppress(ConnectionResetError):
            for piece in iter(lambda: sock.recv(1024 * 1024), b""):
                got += len(piece)
        assert got < size
        assert client.get("/missing").status == 404  # the others never noticed


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_clients_that_go_away_leave_no_descriptor_behind(tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    for name in ("page", "page.gz", "index/index.html.gz", "sub/x"):
        write(tmp_path / name, b"x")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("sub/x")
    with serving("serve_dir", tmp_path, listing=True, page404=tmp_path / "page") as client:
        client.get("/missing")
        before = open_descriptors()
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", client.port), DEADLINE) as sock:
                sock.sendall(b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n")
                assert sock.recv(100)
        for target in ("/", "/page", "/pipe", "/sub", "/index/", "/link", "/missing", "/x/../y"):
            for _ in range(5):
                client.get(target)
                client.get(target, "POST")
                client.get(target, "HEAD", accept_encoding="gzip")
                client.get(target, accept_encoding="gzip", if_none_match="*")
                client.get(target, range="bytes=-0")
        end = time.monotonic() + DEADLINE
        while open_descriptors() > before:  # the loop has yet to see the last one go
            assert time.monotonic() < end
            client.get("/missing")


# ---- other people's clients -------------------------------------------------


def run_curl(*args: str) -> bytes:
    # A sanitizer preloaded for the extension module is not for curl: it hangs.
    env = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    command = ["curl", "-sS", *args]
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, timeout=DEADLINE, env=env
    ).stdout


@curl
def test_curl_resumes_a_download(site: Client, tmp_path: Path) -> None:
    target = write(tmp_path / "part", pattern(81923)[:20000])
    run_curl("-C", "-", "-o", str(target), f"{site.url}/sizes/81923")
    assert target.read_bytes() == pattern(81923)


@curl
def test_curl_unpacks_and_follows_redirects(site: Client) -> None:
    assert run_curl("--compressed", f"{site.url}/page.html") == b"<p>plain\n"
    assert run_curl("-L", f"{site.url}/index") == b"<p>index\n"
    assert run_curl("--path-as-is", f"{site.url}/../CANARY.txt") == b"Invalid path"


@curl
def test_curl_fetches_only_what_is_newer_than_its_copy(site: Client, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    run_curl("-R", "-o", str(copy), f"{site.url}/a.txt")
    assert copy.stat().st_mtime == MODIFIED
    code = run_curl("-z", str(copy), "-w", "%{http_code}", f"{site.url}/a.txt")
    assert code == b"304"


def test_requests_downloads_many_files_over_one_session(site: Client) -> None:
    requests = pytest.importorskip("requests")
    with requests.Session() as session:
        for size in AT_EDGES * 3:
            answer = session.get(f"{site.url}/sizes/{size}", timeout=DEADLINE)
            assert answer.content == pattern(size)
        assert session.get(f"{site.url}/page.html", timeout=DEADLINE).text == "<p>plain\n"
