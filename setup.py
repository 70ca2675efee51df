"""What pyproject.toml cannot say: the extension module, its wheel's tag, how things are packed.

Packed the same way everywhere: with ``SOURCE_DATE_EPOCH`` set, the same files give the same
bytes. A wheel takes its times from it by itself; for the sdist it is done here.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import sysconfig
import tarfile
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.sdist import sdist

# One wheel serves every CPython with a GIL from 3.9 on. PyPy, free-threaded and
# debug builds have no stable ABI, so theirs carry the interpreter's own tag.
has_stable_abi = (
    sys.implementation.name == "cpython"
    and not sysconfig.get_config_var("Py_GIL_DISABLED")
    and not hasattr(sys, "gettotalrefcount")
)


def bill_of_materials(name: str, version: str) -> dict[str, object]:
    """Return what is compiled into the wheel, as CycloneDX 1.6 has it.

    The C core is released with the package, and has its version. It has no package
    URL: there is no other place to get it from.
    """
    package = f"pkg:pypi/{name.replace('_', '-')}@{version}"
    mit = [{"license": {"id": "MIT"}}]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "library",
                "bom-ref": package,
                "name": name,
                "version": version,
                "purl": package,
                "licenses": mit,
            },
        },
        "components": [
            {
                "type": "library",
                "bom-ref": "vendor/mongoose",
                "name": "mongoose_py C core",
                "version": version,
                "description": "Independent implementation of a part of the documented Mongoose "
                "7.x C API; contains no code of Cesanta's Mongoose library",
                "licenses": mit,
            },
        ],
        "dependencies": [
            {"ref": package, "dependsOn": ["vendor/mongoose"]},
            {"ref": "vendor/mongoose", "dependsOn": []},
        ],
    }


class WheelWithMaterials(bdist_wheel):
    """Put the bill of materials where PEP 770 wants it; setuptools has no option for it."""

    def write_wheelfile(self, wheelfile_base: str, *args: str, **kwargs: str) -> None:
        """Write WHEEL, and the bill; RECORD, which lists both, comes later."""
        super().write_wheelfile(wheelfile_base, *args, **kwargs)
        name, version = self.distribution.get_name(), self.distribution.get_version()
        folder = Path(wheelfile_base, "sboms")
        folder.mkdir(exist_ok=True)
        bill = json.dumps(bill_of_materials(name, version), indent=2)
        (folder / f"{name}.cdx.json").write_text(bill + "\n", encoding="utf-8")


class ReproducibleSdist(sdist):
    """Leave out of the archive what belongs to the machine: times, owners, modes, order."""

    def make_archive(
        self,
        base_name: str | os.PathLike[str],
        format: str,  # noqa: A002  (the name that it is called with)
        root_dir: object = None,
        base_dir: str | None = None,
        owner: str | None = None,
        group: str | None = None,
    ) -> str:
        """Pack *base_dir*; the only format is ``gztar``, as PEP 625 has it."""
        if format != "gztar" or base_dir is None:
            raise ValueError(f"sdists are packed as gztar, not {format}")
        epoch = os.environ.get("SOURCE_DATE_EPOCH")

        def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.mtime = int(member.mtime) if epoch is None else int(epoch)
            return member

        archive = Path(f"{base_name}.tar.gz")
        archive.parent.mkdir(parents=True, exist_ok=True)
        with gzip.GzipFile(archive, "wb", mtime=0) as f, tarfile.open(fileobj=f, mode="w") as tar:
            tar.add(base_dir, filter=plain)  # sorted by name
        return str(archive)


setup(
    cffi_modules=["build_ffi.py:ffibuilder"],
    cmdclass={"bdist_wheel": WheelWithMaterials, "sdist": ReproducibleSdist},
    options={"bdist_wheel": {"py_limited_api": "cp39"}} if has_stable_abi else {},
)
