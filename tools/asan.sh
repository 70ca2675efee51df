#!/usr/bin/env bash
# Run the C tests and the Python suite with the address and undefined-
# behaviour sanitizers; arguments go to pytest. PYTHON and CC choose; C_TESTS=no
# leaves the C tests out; RUNNER is a command that runs pytest, its arguments.
#
# Builds in build/asan, from a copy: the objects of an ordinary build would
# pass for up to date. The copy then loses its package directory, so that only
# the instrumented, installed one can be imported.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
export CC=${CC:-gcc}
work=$PWD/build/asan
source=$work/source

[ "${C_TESTS:-}" = no ] || make -C vendor/mongoose/tests

rm -rf "$source"
mkdir -p "$source"
tar -cf - --exclude=./build --exclude=./.git --exclude='./.venv*' --exclude='*.so' \
    --exclude=__pycache__ . | tar -xf - -C "$source"
rm -rf "$work/venv"
"$python" -m venv "$work/venv"

CFLAGS="-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined \
-fno-sanitize-recover=undefined -UNDEBUG" \
    "$work/venv/bin/pip" install -q "$source[test]"
rm -rf "$source/mongoose_py" "$source/build"

# The runtime has to be loaded before the interpreter, into it and into the Python
# programs that tests start, but not into curl, openssl or a browser, which are not
# ours and do not all bear it: this interpreter asks for it, and then hides that.
real=$("$python" -c 'import os, sys; print(os.path.realpath(sys.executable))')
rm -f "$work/venv/bin/python"
cat >"$work/venv/bin/python" <<EOF
#!/bin/bash
LD_PRELOAD=$($CC -print-file-name=libasan.so) exec -a "\$0" "$real" "\$@"
EOF
chmod +x "$work/venv/bin/python"
packages=$("$work/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo 'import os; os.environ.pop("LD_PRELOAD", None)' >"$packages/sanitizers.pth"

# The interpreter itself leaves memory to the system when it exits, so leaks
# are looked for in the C tests only; its allocator would hide ours from ASan.
cd "$source"
export PYTHONMALLOC=malloc
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:allocator_may_return_null=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
exec "${RUNNER:-env}" "$work/venv/bin/python" -m pytest -q -m "not slow" --ignore=tests/test_gateway_demo.py \
    --ignore=tests/test_examples_pages.py "$@"
