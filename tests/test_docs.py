"""Every snippet of the documentation runs, and does what the page says.

How a program is driven can be seen on the page, by the blocks that follow it:

    ```python              runs to its end
    ```python ```text      ... and prints that text
    ```python ```console   serves until Ctrl-C; the commands answer as shown
    ```python ```console ```text    ... and meanwhile it prints that text
    ```pycon               a dialogue with the interpreter
    ```py                  a program of another library, beside ours; only compiled
    ```sh                  commands that install or build; not run here
    ```any title="name"    a file, which lies beside the programs and commands that
                           follow; a program, if it is Python and followed by one of
                           the blocks above

A program that serves is up when its port accepts, or, where the page shows
what it prints, when it has printed its first line.  The ports of the pages,
8000 and up, become free ones.  ``...`` stands for anything within a line.
"""

from __future__ import annotations

import contextlib
import dataclasses
import doctest
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import certificates
import pytest
from conftest import DEADLINE
from ports import free_port

import mongoose_py

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r'^```(\S*)(?: title="([\w.-]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
PORT = re.compile(r"\b80\d\d\b")


@dataclasses.dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    kind: str
    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


@dataclasses.dataclass(frozen=True)
class Program:
    """A program, the commands typed while it runs and what it is to print."""

    source: Block
    files: dict[str, str]  # what lies beside it, by name
    console: str | None
    prints: str | None


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of *page* in order."""
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield Block(page, line, match[1], match[2] or "", match[3])


def programs(page: Path) -> Iterator[Program]:
    """Yield the programs of *page*, each with the blocks that drive it."""
    pending = list(blocks(page))
    files: dict[str, str] = {}
    while pending:
        block = pending.pop(0)
        if block.kind in ("console", "text"):
            raise ValueError(f"{block}: no program in front of this {block.kind} block")
        followed = bool(pending) and pending[0].kind in ("console", "text")
        if block.title:
            files = {**files, block.title: block.text}
        if block.kind == "python" and (followed or not block.title):
            console = pending.pop(0).text if pending and pending[0].kind == "console" else None
            prints = pending.pop(0).text if pending and pending[0].kind == "text" else None
            yield Program(block, files, console, prints)


def commands(console: str) -> Iterator[tuple[str, str]]:
    """Split a console block into what is typed and what is answered."""
    for part in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
        typed, _, answer = part.partition("\n")
        yield typed, answer


def matches(got: str, expected: str) -> bool:
    """Whether *got* is *expected*, where ``...`` is anything within a line."""
    pattern = ".*".join(re.escape(part) for part in expected.rstrip().split("..."))
    return re.fullmatch(pattern, got.replace("\r\n", "\n").rstrip()) is not None


def accepts(port: int) -> bool:
    """Whether somebody listens at *port*."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def type_command(command: str, directory: Path) -> str:
    """Return what the shell shows for *command*, typed in *directory*."""
    shell = shutil.which("bash") or "sh"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [shell, "-c", command],
        cwd=directory,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=DEADLINE,
        check=False,
    )
    return done.stdout.decode()


def write_certificates(directory: Path) -> None:
    """Put there what the page on TLS has its readers make."""
    somebody = certificates.client("somebody")
    files = {
        "ca.pem": certificates.root().cert,
        "cert.pem": certificates.localhost().cert,
        "key.pem": certificates.localhost().key,
        "client.pem": somebody.cert,
        "client-key.pem": somebody.key,
    }
    for name, path in files.items():
        shutil.copy(path, directory / name)


def write_files(program: Program, directory: Path, here: Callable[[str], str] = str) -> None:
    """Put there what lies beside *program*."""
    for name, text in program.files.items():
        (directory / name).write_text(here(text), encoding="utf-8")


class Running:
    """The program as a process of its own; its lines arrive in a queue."""

    def __init__(self, source: str, directory: Path) -> None:
        (directory / "snippet.py").write_text(source, encoding="utf-8")
        if "cert.pem" in source:
            write_certificates(directory)
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "snippet.py"],
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        self.output = ""

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.lines.put(line)

    def wait_for_lines(self, count: int) -> None:
        """Return when the program has printed *count* lines in all."""
        while self.output.count("\n") < count:
            try:
                self.output += self.lines.get(timeout=DEADLINE)
            except queue.Empty:
                raise AssertionError(f"no more lines after: {self.output}") from None

    def wait_for_port(self, port: int) -> None:
        """Return when the program accepts connections at *port*."""
        end = time.monotonic() + DEADLINE
        while not accepts(port):
            assert time.monotonic() < end, f"nobody listens at {port}"
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=0.02)
                raise AssertionError(f"ended at once: {self.end()}")

    def interrupt(self) -> None:
        """Type Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def end(self) -> str:
        """Return everything it printed, after it has ended by itself."""
        self.process.wait(timeout=DEADLINE)
        self.reader.join()
        while not self.lines.empty():
            self.output += self.lines.get()
        return self.output


Start = Callable[[str], Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a program; what still runs at the end is killed."""
    with contextlib.ExitStack() as stack:

        def start_program(source: str) -> Running:
            running = Running(source, tmp_path)
            stack.callback(running.reader.join)
            stack.callback(running.process.kill)
            return running

        yield start_program


ALL_PROGRAMS = [program for page in PAGES for program in programs(page)]
DIALOGUES = [block for page in PAGES for block in blocks(page) if block.kind == "pycon"]
SERVED = [program for program in ALL_PROGRAMS if program.console is not None]
ENDING = [program for program in ALL_PROGRAMS if program.console is None]


@pytest.mark.parametrize("program", ENDING, ids=lambda program: str(program.source))
def test_a_program_runs_to_its_end_and_prints_what_the_page_shows(
    program: Program, start: Start, tmp_path: Path
) -> None:
    write_files(program, tmp_path)
    running = start(program.source.text)
    output = running.end()
    assert matches(output, program.prints or ""), output
    assert running.process.returncode == 0


# The pages use curl, as their readers will. A machine without it can still run the
# rest of the suite; under CI it has to be there.
@pytest.mark.skipif(
    shutil.which("curl") is None and "CI" not in os.environ, reason="the pages' commands need curl"
)
@pytest.mark.parametrize("program", SERVED, ids=lambda program: str(program.source))
def test_a_server_answers_the_commands_of_the_page_and_ends_on_ctrl_c(
    program: Program, start: Start, tmp_path: Path
) -> None:
    ports: dict[str, str] = {}

    def here(text: str) -> str:
        return PORT.sub(lambda match: ports.setdefault(match[0], str(free_port())), text)

    write_files(program, tmp_path, here)
    running = start(here(program.source.text))
    if program.prints is None:
        running.wait_for_port(int(next(iter(ports.values()))))
    else:
        running.wait_for_lines(1)
    for typed, answer in commands(program.console or ""):
        got = type_command(here(typed), tmp_path)
        assert matches(got, here(answer)), f"$ {typed}\n{got}"
    prints = here(program.prints or "")
    running.wait_for_lines(prints.count("\n"))
    running.interrupt()
    output = running.end()
    assert matches(output, prints), output
    assert running.process.returncode == 0


@pytest.mark.parametrize("dialogue", DIALOGUES, ids=str)
def test_a_dialogue_shows_what_the_interpreter_answers(dialogue: Block) -> None:
    name = str(dialogue)
    test = doctest.DocTestParser().get_doctest(dialogue.text, {}, name, name, dialogue.line)
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    report: list[str] = []
    runner.run(test, out=report.append)
    assert not report, "".join(report)
    assert test.examples


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_no_block_that_nothing_runs(page: Path) -> None:
    kinds = {block.kind for block in blocks(page) if not block.title}
    assert kinds <= {"python", "console", "text", "pycon", "py", "sh"}
    run = [part for program in programs(page) for part in (program.source.text, program.console)]
    for block in (block for block in blocks(page) if block.kind == "py"):
        compile(block.text, str(block), "exec")
    for block in (block for block in blocks(page) if block.title):
        assert block.text in run or any(block.title in part for part in run if part), block
    assert page.read_text(encoding="utf-8").count("\n```") == 2 * len(list(blocks(page)))


def anchors(page: Path) -> set[str]:
    """Return the names that the headings of *page* can be linked by."""
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_project_leads_somewhere(page: Path) -> None:
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path), target


def test_every_make_target_that_a_page_names_exists() -> None:
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        named = re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE)
        assert set(named) <= known, page.name


def test_every_public_name_is_in_the_documentation() -> None:
    words = set(re.findall(r"\w+", "".join(page.read_text(encoding="utf-8") for page in PAGES)))
    assert set(mongoose_py.__all__) <= words


def test_the_page_on_limits_lists_each_of_them() -> None:
    page = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert listed == [field.name for field in dataclasses.fields(mongoose_py.Limits)]
