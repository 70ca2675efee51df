"""What mkdocs is told beyond mkdocs.yml.

The pages link to files all over the project, as they should for who reads them in a
checkout. On the site those files become pages of their own below ``project/``: Markdown
as it is, everything else as a listing. Drawings are put into the page, so that they take
its colours, and tables of the benchmarks, so that no number is written twice. And nothing
on the site is fetched from elsewhere.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(\]\()(?!\w+:)([^)\s#]+)(#[^)\s]*)?(?=\))")
FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
DRAWING = re.compile(r"!\[([^\]]*)\]\(([\w/-]+\.svg)\)")
LEXERS = {
    ".py": "python",
    ".c": "c",
    ".h": "c",
    ".js": "javascript",
    ".css": "css",
    ".html": "html",
}
PROJECT = "project/"
BENCHMARKS = ROOT / "benchmarks" / "README.md"
TABLE = re.compile(r"^<!-- table: (.+) -->$", re.MULTILINE)

_sources: dict[str, str] = {}  # a page of the site: the file of the project it is made from


def page_of(path: str) -> str:
    """Return the page of the site that shows *path*, a file or directory of the project."""
    if path.startswith("docs/"):
        return path[len("docs/") :]
    if (ROOT / path).is_dir() and (ROOT / path / "README.md").exists():
        path += "/README.md"
    return PROJECT + (path if path.endswith(".md") else path + ".md")


def source_of(page: str) -> str:
    """Return the file of the project that *page* is made from."""
    return _sources.get(page, "docs/" + page)


def outside_code(text: str, replace: Any) -> str:
    """Return *text* with *replace* applied to what is not in a fenced block."""
    parts = FENCED.split(text)
    return "".join(part if part.startswith("```") else replace(part) for part in parts)


def linked(text: str, source: str) -> list[str]:
    """Return the files of the project that the Markdown *text* of *source* links to."""
    found: list[str] = []

    def note(part: str) -> str:
        for match in LINK.finditer(part):
            found.append(posixpath.normpath(posixpath.join(posixpath.dirname(source), match[2])))
        return part

    outside_code(text, note)
    return found


def listing(path: str) -> str:
    """Return a page that shows a file, or all files of a directory."""
    here = ROOT / path
    lines = [f"# {PurePosixPath(path).name}", ""]
    if here.is_dir():
        files = sorted(file for file in here.iterdir() if file.suffix in LEXERS)
    else:
        files = [here]
    for file in files:
        if here.is_dir():
            lines += [f"## {file.name}", ""]
        text = file.read_text(encoding="utf-8").rstrip()
        lines += [f"``````{LEXERS.get(file.suffix, 'text')}", text, "``````", ""]
    return "\n".join(lines)


def table(match: re.Match[str]) -> str:
    """Return what stands below a heading of the benchmarks, so that it stands nowhere else."""
    text = re.sub(r"^<!-- .* -->\n", "", BENCHMARKS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    heading = re.search(
        rf"^#+ {re.escape(match[1])}\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL
    )
    if heading is None:
        raise ValueError(f"the benchmarks have no heading {match[1]!r}")
    return heading[1].strip()


def on_files(files: Any, config: Any) -> Any:
    """Add a page for each file outside of docs/ that a page links to, and so on."""
    _sources.clear()
    pending = [
        target
        for file in files.documentation_pages()
        for target in linked(file.content_string, "docs/" + file.src_uri)
    ]
    while pending:
        path = pending.pop()
        page = page_of(path)
        if path.startswith("docs/") or page in _sources or not (ROOT / path).exists():
            continue
        source = page[len(PROJECT) :]
        if (ROOT / source).is_file():
            text = (ROOT / source).read_text(encoding="utf-8")
            pending += linked(text, source)
        else:
            source, text = path, listing(path)
        _sources[page] = source
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links lead to the pages of the site, and put drawings into the page."""
    here = page.file.src_uri
    source = source_of(here)
    if here.startswith(PROJECT) and not source.endswith(".md"):
        return markdown

    def relink(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[2]))
        if not (ROOT / path).exists() or not page_of(path).endswith(".md"):
            return match[0]  # a picture, or wrong: then mkdocs says so
        target = posixpath.relpath(page_of(path), posixpath.dirname(here) or ".")
        return f"{match[1]}{target}{match[3] or ''}"

    def draw(match: re.Match[str]) -> str:
        drawing = (ROOT / posixpath.dirname(source) / match[2]).read_text(encoding="utf-8")
        drawing = drawing[drawing.index("<svg") :].replace(' color="#768390"', "", 1)
        return f'<figure class="drawing">{"".join(drawing.splitlines())}</figure>'

    def put(part: str) -> str:
        return TABLE.sub(table, LINK.sub(relink, DRAWING.sub(draw, part)))

    return outside_code(markdown, put)


def on_post_build(config: Any) -> None:
    """Take out what the theme would fetch from elsewhere, and maps of its sources.

    Its worker for the search without a server is replaced by assets/worker.js; a library
    for diagrams is not used here.
    """
    site = Path(config.site_dir)
    for file in site.rglob("*"):
        if file.suffix == ".map":
            file.unlink()
        elif file.suffix in (".html", ".js", ".css"):
            text = file.read_text(encoding="utf-8")
            worker = posixpath.relpath("assets/worker.js", file.parent.relative_to(site).as_posix())
            local = text.replace("https://unpkg.com/iframe-worker/shim", worker)
            local = re.sub(r"https://unpkg\.com/[^\"'`]*", "", local)
            local = re.sub(r"\n(//|/\*)# sourceMappingURL=\S+( \*/)?", "", local)
            if local != text:
                file.write_text(local, encoding="utf-8")
