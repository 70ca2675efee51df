"""The site that `make docs` builds: complete, whole in itself, without a warning."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import browser
import pytest

import mongoose_py

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("mkdocs", "material", "mkdocstrings_handlers", "griffe")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]

built = pytest.mark.skipif(
    bool(MISSING), reason=f"the site needs the extra `docs`, and there is no {', '.join(MISSING)}"
)


class Page(HTMLParser):
    """What a page fetches, links to and can be linked by."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value}
        self.ids += [values[name] for name in ("id", "name") if name in values and tag != "meta"]
        self.fetched += [values[name] for name in ("src", "srcset", "data") if name in values]
        if "href" in values:
            (self.links if tag == "a" else self.fetched).append(values["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of the site, newly built."""
    directory = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(directory)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "WARNING" not in done.stdout, done.stdout
    return directory


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """Return the pages of the site by their paths."""
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def test_the_reference_has_every_public_name_exactly_once() -> None:
    texts = [page.read_text(encoding="utf-8") for page in (ROOT / "docs/reference").glob("*.md")]
    shown = re.findall(r"^::: mongoose_py\.(\S+)$", "\n".join(texts), re.MULTILINE)
    assert sorted(shown) == sorted(mongoose_py.__all__)


@built
def test_the_built_reference_shows_every_public_name_exactly_once(pages: dict[Path, Page]) -> None:
    shown = Counter(name for page in pages.values() for name in page.ids)
    assert {n: shown[f"mongoose_py.{n}"] for n in mongoose_py.__all__} == dict.fromkeys(
        mongoose_py.__all__, 1
    )


@built
def test_every_page_of_the_documentation_can_be_found_from_the_first(
    site: Path, pages: dict[Path, Page]
) -> None:
    first = pages[site / "index.html"]
    linked = {(site / urlsplit(link).path).resolve() for link in first.links}
    for path in ROOT.glob("docs/**/*.md"):
        name = path.relative_to(ROOT / "docs").with_suffix(".html")
        assert (site / name).resolve() in linked, name


@built
def test_nothing_is_fetched_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        outside = [url for url in page.fetched if urlsplit(url).netloc]
        assert not outside, path
    for path in site.rglob("*.css"):
        styles = path.read_text(encoding="utf-8")
        assert not re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//", styles), path
    for path in site.rglob("*.js"):
        script = path.read_text(encoding="utf-8")
        assert not re.findall(r"//(?:unpkg|cdn|fonts)\.|jsdelivr|cdnjs", script), path


@built
def test_every_link_within_the_site_leads_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        if path.name == "404.html":
            continue  # wherever it is shown: its links begin at the server's root
        for link in page.links + page.fetched:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), f"{path.relative_to(site)}: {link}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].ids, f"{path}: {link}"


LOADED = """
new Promise((done) => document.readyState == "complete" ? done() : addEventListener("load", done))
"""
TYPE = """
document.querySelector("[data-md-toggle=search]").click();
const field = document.querySelector(".md-search__input");
field.focus();
field.value = "backpressure";
field.dispatchEvent(new Event("keyup", { bubbles: true }));
"""
WIDER = "document.documentElement.scrollWidth > innerWidth"


@built
@pytest.mark.skipif(browser.find_chromium() is None, reason="no Chromium here")
def test_without_a_server_the_site_is_searched_and_fits_a_phone(site: Path, tmp_path: Path) -> None:
    executable = browser.find_chromium()
    assert executable
    with browser.browser_page(executable, tmp_path) as view:
        view.call(
            "Emulation.setDeviceMetricsOverride",
            width=390,
            height=800,
            deviceScaleFactor=1,
            mobile=False,
        )
        for path in sorted(site.glob("*.html")):
            view.open(path.as_uri())
            view.evaluate(LOADED)
            assert not view.evaluate(WIDER), path.name
        view.open((site / "index.html").as_uri())
        view.evaluate(LOADED)
        view.evaluate(TYPE)
        view.wait_for(
            "document.querySelector('.md-search-result__link[href*=\"backpressure.html\"]')"
        )
