"""What holds for all examples: they are in the index, they can be imported, they end.

What each of them does is tested in files by topic: test_examples_http.py and so on. The
gateway has files of its own: test_gateway.py and test_gateway_demo.py.
"""

from __future__ import annotations

import ast
import re
import signal

import pytest
from exampletalk import ask, serving
from programs import EXAMPLES, Program

FILES = sorted(str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.py"))


def test_the_index_names_every_file_and_nothing_else() -> None:
    linked = re.findall(r"\]\(([\w/-]+\.py)\)", (EXAMPLES / "README.md").read_text("utf-8"))
    assert set(linked) == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_the_docstring_of_a_program_says_what_to_type(name: str) -> None:
    text = (EXAMPLES / name).read_text("utf-8")
    is_program = "__main__" in text  # the gateway has parts that are none
    docstring = ast.get_docstring(ast.parse(text)) or ""
    assert (f"python examples/{name}" in docstring) == is_program


def test_a_server_ends_on_sigterm_too() -> None:
    with serving("http/http_hello.py") as (program, port):
        ask(port, "GET", "/")
        program.stop(signal.SIGTERM)


def test_a_second_server_on_the_same_port_says_so_and_fails() -> None:
    with serving("http/http_hello.py") as (program, port):
        ask(port, "GET", "/")
        with Program("http/http_hello.py", "--port", str(port)) as second:
            code, _, errors = second.finish()
            assert code == 1
            assert str(port) in errors
        program.stop()
