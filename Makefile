# Everything a contributor types, in one place.
#
#   make demo    the gateway example with simulated sensors, in a browser
#   make test    C tests and Python tests
#   make lint    style, types and compiler warnings
#   make asan    both test suites under the address and undefined-behaviour sanitizers
#   make fuzz    the fuzz targets, FUZZ_SECONDS each
#   make bench   the benchmarks
#   make dist    sdist and wheels, twice to compare, tried on every Python here
#   make docs    the documentation as a web site, in build/site
#   make picture the picture of the demo in README.md, with Chromium
#   make clean   remove what the above made
#
# `demo` and `test` need Python 3.9 or newer, a C compiler and make. All
# targets share one virtual environment, and a stamp file per set of extras
# says what it holds: nothing is built or installed twice. Python files are
# used in place, so only what goes into the extension module makes a stamp old.

PYTHON ?= python3
VENV ?= .venv
FUZZ_SECONDS ?= 60
PYTEST_FLAGS ?= -q -m "not slow"
override PY := $(VENV)/bin/python

BUILD_INPUTS := pyproject.toml setup.py build_ffi.py $(wildcard vendor/mongoose/*.[ch]) \
                $(wildcard vendor/mongoose/src/*.[ch])
TYPED := mongoose_py build_ffi.py setup.py $(wildcard tools/*.py) benchmarks $(wildcard examples) \
         tests/typing_user_code.py
C_WARNINGS := -std=c11 -Wall -Wextra -Werror -Wshadow -Wconversion -Wno-sign-conversion \
              -Wstrict-prototypes

all: test

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# .stamp: the package; .stamp-test: the package with the extra `test`; ...
$(VENV)/.stamp: $(BUILD_INPUTS) | $(VENV)/bin/python
	$(PY) -m pip install -q -e .
	@touch $@

$(VENV)/.stamp-%: $(BUILD_INPUTS) | $(VENV)/bin/python
	$(PY) -m pip install -q -e '.[$*]'
	@touch $(VENV)/.stamp $@

demo: $(VENV)/.stamp
	$(PY) examples/demo/demo.py $(DEMO_FLAGS)

test: $(VENV)/.stamp-test test-c
	$(PY) -m pytest $(PYTEST_FLAGS)

# The sanitizers are used where the compiler has them; some systems ship none.
test-c:
	@if echo 'int main(void){return 0;}' | \
	    $(CC) -fsanitize=address,undefined -x c -o /dev/null - 2>/dev/null; \
	then $(MAKE) -j 2 -C vendor/mongoose/tests; \
	else $(MAKE) -j 2 -C vendor/mongoose/tests SAN= OUT=../../../build/ctests-plain; fi

lint: $(VENV)/.stamp-dev lint-c lint-pyright
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy --strict $(TYPED)

# pyright fetches itself, and Node.js where there is none, when it starts for the first time.
lint-pyright: $(VENV)/.stamp-dev
	@if $(PY) -m pyright --version >/dev/null 2>&1; \
	then echo pyright && PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(PY) -m pyright --pythonpath $(PY); \
	else echo 'lint-pyright: skipped, it cannot start here; the first time takes the network'; fi

# With and without assertions: a variable that only an assert reads shows
# up in the second build, which is how the extension module is compiled.
lint-c:
	@for cc in gcc clang; do \
	  command -v $$cc >/dev/null || { echo "lint-c: no $$cc here"; continue; }; \
	  for flags in "-O2" "-O2 -DNDEBUG"; do \
	    echo "$$cc $$flags mongoose.c"; \
	    $$cc $(C_WARNINGS) $$flags -c -o /dev/null vendor/mongoose/mongoose.c || exit 1; \
	  done; \
	done

# Needs Chromium.
picture: $(VENV)/.stamp-test
	$(PY) tools/picture.py

bench: $(VENV)/.stamp-bench
	$(PY) benchmarks/run.py

# Material tells of its own future at every start; here it can be built as it is.
docs: $(VENV)/.stamp-docs $(VENV)/.stamp-test
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build
	$(PY) -m pytest -q tests/test_site.py

# Needs the network for the tools it builds and looks with, and nothing in $(VENV).
dist:
	$(PYTHON) tools/dist.py $(DIST_FLAGS)

asan:
	PYTHON=$(PYTHON) tools/asan.sh

fuzz:
	$(MAKE) -C vendor/mongoose/fuzz SECONDS=$(FUZZ_SECONDS)

clean:
	rm -rf $(VENV) build dist *.egg-info mongoose_py/*.so mongoose_py/_mongoose_cffi.c
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: all demo picture test test-c lint lint-c lint-pyright bench docs dist asan fuzz clean
