"""Build what is released, twice, and try it: ``make dist``.

    python tools/dist.py [--out dist] [--quick]

The sdist comes from a copy of the tree, and the wheels from the sdist: one with the
interpreter that runs this, and PyPy's where there is a ``pypy3``. All of it is done in two
folders, and the bytes have to be the same. The wheels are then looked at, installed in bare
environments with every interpreter found here, and tried with ``tools/smoke.py``.

Times in the archives are ``SOURCE_DATE_EPOCH``, else the last commit's, else that of
CHANGELOG.md, which in an unpacked sdist is the sdist's.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

ROOT = Path(__file__).resolve().parent.parent
BUILD_TOOLS = (
    "build",
    "setuptools>=77",
    "cffi>=1.15; platform_python_implementation != 'PyPy'",
)
BUILT = re.compile(
    r"\.(so|o|py[cod])$|(^|/)(__pycache__|build|dist|.*\.egg-info)/|^\.|_cffi\.c$"
    r"|^(PKG-INFO|setup\.cfg)$"  # setuptools' own, in an unpacked sdist
)


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    """Return what *command* prints; exit with it if it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"{done.stdout}\nfailed: {' '.join(str(part) for part in command)}")
    return done.stdout


def sources() -> list[str]:
    """Return the files of the project, without what was built from them."""
    if (ROOT / ".git").exists():
        listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        names = [name for name in listed.split("\0") if name]
    else:
        names = [p.relative_to(ROOT).as_posix() for p in ROOT.rglob("*")]
        names = [name for name in names if not BUILT.search(name)]
    return sorted(name for name in names if (ROOT / name).is_file())


def epoch() -> str:
    """Return the time that everything in the archives has, in seconds since 1970."""
    if os.environ.get("SOURCE_DATE_EPOCH"):
        return os.environ["SOURCE_DATE_EPOCH"]
    if (ROOT / ".git").exists():
        return run("git", "log", "-1", "--format=%ct").strip()
    return str(int((ROOT / "CHANGELOG.md").stat().st_mtime))


class Workshop:
    """A folder with virtual environments, all filled by the first one's pip."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.builder = folder / "pip" / "bin" / "python"
        run(sys.executable, "-m", "venv", folder / "pip")
        self.install(self.builder, "pip>=22.3", *BUILD_TOOLS)

    def install(self, python: Path, *packages: str | Path) -> None:
        """Install *packages* for the interpreter of an environment."""
        where = ("--python", python) if python != self.builder else ()
        run(self.builder, "-m", "pip", *where, "install", "-q", *packages)

    def environment(self, name: str, interpreter: str | Path, *packages: str | Path) -> Path:
        """Return the interpreter of a new environment with *packages*."""
        run(interpreter, "-m", "venv", "--without-pip", self.folder / name)
        python = self.folder / name / "bin" / "python"
        self.install(python, *packages)
        return python

    def checker(self, name: str) -> Callable[..., str]:
        """Return a command from outside; what does not install or start is skipped."""
        try:
            command = self.environment(f"check-{name}", sys.executable, name).with_name(name)
            run(command, "--help")
        except SystemExit as failed:
            print(f"{name}: skipped, it cannot be installed and started here:\n{failed}"[-1000:])
            return lambda *arguments: ""

        def check(*arguments: str | Path) -> str:
            said = run(command, *arguments)
            print(f"{name} {arguments[0]}: passed")
            return said

        return check


def build(snapshot: Path, folder: Path, builders: list[Path]) -> Path:
    """Build everything in *folder* and return the directory that holds it."""
    tree, out = folder / "mongoose_py", folder / "out"
    shutil.copytree(snapshot, tree)
    settings = {"SOURCE_DATE_EPOCH": epoch()}
    if sys.platform.startswith("linux"):
        settings["LDFLAGS"] = "-Wl,-s"  # a wheel has no use for symbols
        # Not the interpreter's own way to link, which may name where its libraries are.
        settings["LDSHARED"] = f"{os.environ.get('CC', 'cc')} -shared -pthread"
    run(builders[0], "-m", "build", "--sdist", "--no-isolation", "-o", out, cwd=tree, **settings)
    (sdist,) = out.glob("*.tar.gz")
    for number, builder in enumerate(builders):
        unpacked = folder / str(number)
        with tarfile.open(sdist) as archive:
            archive.extractall(unpacked)
        (tree,) = unpacked.iterdir()
        run(builder, "-m", "build", "--wheel", "--no-isolation", "-o", out, cwd=tree, **settings)
    return out


def differences(first: Path, second: Path) -> Iterator[str]:
    """Yield what is not the same in two archives of one name."""

    def members(path: Path) -> dict[str, object]:
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as wheel:
                return {m.filename: (m.date_time, m.external_attr, m.CRC) for m in wheel.filelist}
        with tarfile.open(path) as sdist:
            return {m.name: (m.mtime, m.mode, m.size) for m in sdist}

    a, b = members(first), members(second)
    yield from (
        f"  {name}: {a.get(name)} {b.get(name)}" for name in a | b if a.get(name) != b.get(name)
    )


def compare(first: Path, second: Path) -> None:
    """Exit with what differs between two builds."""
    for path in sorted(first.iterdir()):
        other = second / path.name
        if not other.exists() or path.read_bytes() != other.read_bytes():
            found = differences(path, other) if other.exists() else ["  only once"]
            sys.exit("\n".join([f"two builds of {path.name} differ:", *found]))
        print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}")
    print("two builds in two folders: the same bytes")


def check_contents(wheel: Path) -> None:
    """Exit unless it holds one stripped extension module and nothing that it links to."""
    with zipfile.ZipFile(wheel) as archive:
        libraries = [name for name in archive.namelist() if ".so" in name]
        if len(libraries) != 1:
            sys.exit(f"{wheel.name}: one extension module, not {libraries}")
        if sys.platform.startswith("linux") and b".symtab" in archive.read(libraries[0]):
            sys.exit(f"{wheel.name}: {libraries[0]} is not stripped")


def check(files: list[Path], workshop: Workshop) -> None:
    """Have the usual tools look at what was built."""
    wheels = [path for path in files if path.suffix == ".whl"]
    twine, abi3audit = workshop.checker("twine"), workshop.checker("abi3audit")
    twine("check", "--strict", *files)
    for wheel in wheels:
        if "-abi3-" in wheel.name:
            abi3audit("--strict", wheel)
    if platform.libc_ver()[0] != "glibc":
        print("auditwheel: skipped, it is for Linux with glibc")
        return
    auditwheel = workshop.checker("auditwheel")
    for wheel in wheels:
        said = auditwheel("show", wheel)
        # old_glibc.h sees to it; elsewhere it is the business of the machine that builds
        if said and platform.machine() == "x86_64" and "manylinux_2_17_x86_64" not in said:
            sys.exit(f"{said}\n{wheel.name} needs a newer glibc than 2.17")
        print(*(f"{wheel.name}: {tag}" for tag in re.findall(r'"(manylinux_\w+)"', said)[:1]))


def interpreters() -> list[tuple[str, Path]]:
    """Return every CPython from 3.9 on and PyPy of this machine, one of each version."""
    candidates = sorted(Path.home().glob(".pyenv/versions/3.*/bin/python"))
    names = ["python3", *(f"python3.{minor}" for minor in range(9, 20)), "pypy3"]
    candidates += [Path(there) for name in names if (there := shutil.which(name))]
    ask = "import sys; print(sys.implementation.name, *sys.version_info[:2])"
    found: dict[tuple[str, tuple[int, int]], Path] = {}
    for path in candidates:
        done = subprocess.run([path, "-c", ask], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            name, major, minor = done.stdout.split()
            found.setdefault((name, (int(major), int(minor))), path)
    return [(name, path) for (name, version), path in sorted(found.items()) if version >= (3, 9)]


def smoke(wheels: list[Path], pythons: list[tuple[str, Path]], workshop: Workshop) -> None:
    """Install the wheel that fits and try it, with every interpreter."""
    for number, (name, interpreter) in enumerate(pythons):
        fits = "-pp3" if name == "pypy" else "-abi3-"
        wheel = next((wheel for wheel in wheels if fits in wheel.name), None)
        if wheel is None:
            print(f"{interpreter}: skipped, there is no wheel for it")
            continue
        python = workshop.environment(f"smoke-{number}", interpreter, wheel)
        print(run(python, "-I", ROOT / "tools" / "smoke.py", cwd=workshop.folder).strip())


def make(out: Path, quick: bool, folder: Path) -> None:
    """Do all of it in *folder*, and leave the archives in *out*."""
    workshop = Workshop(folder)
    builders = [workshop.builder]
    if not quick and shutil.which("pypy3"):
        builders.append(workshop.environment("pypy", "pypy3", *BUILD_TOOLS))
    elif not quick:
        print("PyPy's wheel: skipped, there is no pypy3")
    snapshot = folder / "snapshot"  # the tree may be at work meanwhile
    for name in sources():
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, snapshot / name)
    first = build(snapshot, folder / "first", builders)
    compare(first, build(snapshot, folder / "second" / "elsewhere", builders))
    files = sorted(first.iterdir())
    wheels = [path for path in files if path.suffix == ".whl"]
    for wheel in wheels:
        check_contents(wheel)
    if not quick:
        check(files, workshop)
    this = (sys.implementation.name, Path(sys.executable))
    smoke(wheels, [this] if quick else interpreters(), workshop)
    out.mkdir(parents=True, exist_ok=True)
    for path in files:
        shutil.copy2(path, out / path.name)
    print(f"in {out}")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Build what is released, twice, and try it.")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--quick", action="store_true", help="this interpreter, no other tools")
    options = parser.parse_args()
    os.umask(0o022)  # modes are in the archives
    with tempfile.TemporaryDirectory() as folder:
        make(options.out, options.quick, Path(folder).resolve())


if __name__ == "__main__":
    main()
