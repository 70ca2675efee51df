"""What ``serve_dir`` and ``serve_file`` promise, asked by real clients."""

from __future__ import annotations

import gzip
import os
import re
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from staticsite import AT_EDGES, CANARY, Client, pattern, serving, write

# -- contents ------------------------------------------------------------------


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


# -- what is never served ------------------------------------------------------


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


# -- methods -------------------------------------------------------------------


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


# -- codings and types ---------------------------------------------------------


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


# -- options -------------------------------------------------------------------


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


# -- serve_file ----------------------------------------------------------------


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
