"""What pyproject.toml cannot say: the extension module and the tag of its wheel."""

from __future__ import annotations

import sys
import sysconfig

from setuptools import setup

# One wheel serves every CPython with a GIL from 3.9 on. PyPy, free-threaded and
# debug builds have no stable ABI, so theirs carry the interpreter's own tag.
has_stable_abi = (
    sys.implementation.name == "cpython"
    and not sysconfig.get_config_var("Py_GIL_DISABLED")
    and not hasattr(sys, "gettotalrefcount")
)

setup(
    cffi_modules=["build_ffi.py:ffibuilder"],
    options={"bdist_wheel": {"py_limited_api": "cp39"}} if has_stable_abi else {},
)
