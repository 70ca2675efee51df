"""What is built can be installed elsewhere and holds what it should.

The package is built from copies of the tree, so this is slow; a copy keeps the tree's own
build products out of it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import mongoose_py

ROOT = Path(__file__).resolve().parent.parent
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (ROOT / "mongoose_py").is_dir(), reason="the tree without the package: nothing to build"
    ),
]


def run(*command: str | Path, cwd: Path) -> str:
    """Return what *command* prints; its failure is the test's, output included."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def python_of(directory: Path) -> Path:
    """Make a virtual environment in *directory* and return its interpreter."""
    venv.create(directory, with_pip=True)
    return directory / "bin" / "python"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources as they are in the working tree, without what was built."""
    copy = tmp_path_factory.mktemp("tree") / "mongoose_py"
    ignored = shutil.ignore_patterns(
        ".*_cache",
        ".git",
        ".venv*",
        ".hypothesis",
        "build",
        "dist",
        "*.egg-info",
        "*.so",
        "*.o",
        "__pycache__",
        "_mongoose_cffi.c",
    )
    shutil.copytree(ROOT, copy, ignore=ignored)
    return copy


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``make dist`` leaves, of this interpreter: built twice, installed and tried."""
    out = tmp_path_factory.mktemp("dist")
    said = run(sys.executable, ROOT / "tools" / "dist.py", "--quick", "--out", out, cwd=ROOT)
    assert "two builds in two folders: the same bytes" in said
    if sys.implementation.name == "cpython" and not FREE_THREADED:
        assert "HTTP, WebSocket and UDP work" in said
    return out


@pytest.fixture(scope="module")
def sdist(dist: Path) -> Path:
    """The source distribution."""
    (found,) = dist.glob("*.tar.gz")
    return found


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    """The wheel, built from the source distribution alone."""
    (found,) = dist.glob("*.whl")
    return found


def test_the_sdist_holds_all_it_takes_to_build_test_and_learn(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    expected = {"LICENSE", "README.md", "Makefile", "build_ffi.py", "vendor/mongoose/LICENSE"}
    for folder in ("mongoose_py", "vendor", "tests", "examples", "docs", "benchmarks", "tools"):
        for path in (ROOT / folder).rglob("*.[chp]*"):
            if path.suffix in {".c", ".h", ".py"} and path.name != "_mongoose_cffi.c":
                expected.add(path.relative_to(ROOT).as_posix())
    assert expected - held == set()
    assert not [name for name in held if name.endswith((".so", ".o", ".pyc"))]


def test_wheels_are_tested_next_to_everything_but_the_package(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        held = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    built_from = {"MANIFEST.in", "PKG-INFO", "build_ffi.py", "setup.cfg", "setup.py"}
    settings = (
        (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[tool.cibuildwheel]")
    )
    sources = settings[2].partition("test-sources = [")[2].partition("]")[0]
    package = {"mongoose_py", "mongoose_py.egg-info"}
    assert set(re.findall(r'"(.+?)"', sources)) == held - built_from - package


def test_the_wheel_holds_the_package_and_one_extension_module(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    modules = [name for name in names if ".so" in name]
    assert len(modules) == 1
    assert modules[0].startswith("mongoose_py/_mongoose_cffi.")
    assert "mongoose_py/py.typed" in names
    outside = {name for name in names if not name.startswith(("mongoose_py/", "mongoose_py-"))}
    assert outside == set()


@pytest.mark.skipif(
    sys.implementation.name != "cpython" or FREE_THREADED,
    reason="only CPython with a GIL has the stable ABI",
)
def test_one_wheel_serves_every_cpython(wheel: Path) -> None:
    assert "-cp39-abi3-" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        assert "mongoose_py/_mongoose_cffi.abi3.so" in archive.namelist()


def test_the_wheel_says_what_is_compiled_into_it(wheel: Path) -> None:
    name, version = wheel.name.split("-")[:2]
    with zipfile.ZipFile(wheel) as archive:
        info = f"{name}-{version}.dist-info"
        bill = json.loads(archive.read(f"{info}/sboms/mongoose_py.cdx.json"))
        record = archive.read(f"{info}/RECORD").decode()
        licenses = [name for name in archive.namelist() if f"{info}/licenses/" in name]
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    package = bill["metadata"]["component"]
    assert (package["name"], package["version"]) == ("mongoose_py", mongoose_py.__version__)
    assert package["purl"] == f"pkg:pypi/mongoose-py@{version}"
    (core,) = bill["components"]
    assert core["version"] == version
    assert (ROOT / core["bom-ref"] / "mongoose.c").is_file()
    known = {package["bom-ref"], core["bom-ref"]}
    assert {entry["ref"] for entry in bill["dependencies"]} == known
    assert f"{info}/sboms/mongoose_py.cdx.json,sha256=" in record
    assert f"{info}/licenses/{core['bom-ref']}/LICENSE" in licenses


def test_pip_installs_the_checkout(tree: Path, tmp_path: Path) -> None:
    python = python_of(tmp_path / "venv")
    run(python, "-m", "pip", "install", "-q", tree, cwd=tmp_path)
    where = run(python, "-c", "import mongoose_py; print(mongoose_py.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(tmp_path / "venv")
