"""Build the extension module ``mongoose_py._mongoose_cffi``.

The only file that knows both C and Python. What C offers is declared once, in
mongoose.h: the part of it between the cffi markers is read here as it stands.
The way up is a table of typed function pointers; the functions in it are
written in Python (``mongoose_py/_dispatch.py``) and declared below. ``setup.py``
finds :data:`ffibuilder` here; ``python setup.py build_ext --inplace`` compiles it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
CORE = "vendor/mongoose"  # relative to HERE, as setuptools wants its sources

# One function per kind of event data, in the order of struct mgx_callbacks.
CALLBACKS = """
void mgpy_on_event(uint32_t tag, uint64_t conn, int ev);
size_t mgpy_on_events(uint32_t tag, const uint64_t *conns, const int *evs, size_t count);
void mgpy_on_data(uint32_t tag, uint64_t conn, int ev, const char *data, size_t len);
void mgpy_on_http(uint32_t tag, uint64_t conn, int ev, const struct mgx_http_event *event);
size_t mgpy_on_http_batch(uint32_t tag, const uint64_t *conns,
                          const struct mgx_http_event *events, size_t count);
void mgpy_on_ws_open(uint32_t tag, uint64_t conn, const struct mgx_http_event *event);
void mgpy_on_ws(uint32_t tag, uint64_t conn, int ev, int first, const char *data, size_t len);
void mgpy_on_mqtt(uint32_t tag, uint64_t conn, int ev, const struct mgx_mqtt_event *event);
int mgpy_on_tls_name(uint32_t tag, uint64_t conn, const char *name, size_t len);
void mgpy_on_tls_step(uint32_t tag, uint64_t conn, struct mgx_tls_step *step);
void mgpy_on_sntp(uint32_t tag, uint64_t conn, const struct mgx_sntp_result *result);
size_t mgpy_on_ws_batch(uint32_t tag, const uint64_t *conns, const uint8_t *firsts,
                        const uint32_t *ends, const char *data, size_t count);
void mgpy_on_resolve(uint32_t tag, uint64_t conn, const struct mgx_addr *addrs, size_t count);
void mgpy_on_close(uint32_t tag, uint64_t conn, int wanted);
void mgpy_on_timer(uint32_t tag, uint64_t timer, int active);
void mgpy_on_log(uint32_t tag, int level, const char *text, size_t len);
"""

NEW_MANAGER = """
struct mg_mgr *mgpy_mgr_new(uint32_t tag, const struct mgx_limits *limits, int poller,
                            struct mgx_error *err)
"""

SOURCE = f"""
#include "mongoose.h"

{CALLBACKS}

static const struct mgx_callbacks mgpy_callbacks = {{
  .on_event = mgpy_on_event,
  .on_events = mgpy_on_events,
  .on_data = mgpy_on_data,
  .on_http = mgpy_on_http,
  .on_http_batch = mgpy_on_http_batch,
  .on_ws_open = mgpy_on_ws_open,
  .on_ws = mgpy_on_ws,
  .on_mqtt = mgpy_on_mqtt,
  .on_tls_name = mgpy_on_tls_name,
  .on_tls_step = mgpy_on_tls_step,
  .on_sntp = mgpy_on_sntp,
  .on_ws_batch = mgpy_on_ws_batch,
  .on_resolve = mgpy_on_resolve,
  .on_close = mgpy_on_close,
  .on_timer = mgpy_on_timer,
  .on_log = mgpy_on_log,
}};

static {NEW_MANAGER.strip()} {{
  return mgx_mgr_new(tag, &mgpy_callbacks, limits, poller, err);
}}
"""


def public_declarations(header: str) -> str:
    """Return the part of mongoose.h that is written for cffi."""
    _, begin, rest = header.partition("/* cffi: begin")
    body, end, _ = rest.partition("/* cffi: end */")
    if not (begin and end):
        raise RuntimeError("mongoose.h lost its cffi markers")
    return body.partition("*/")[2]


def core_files() -> list[str]:
    """Return every C file of the core: the extension is rebuilt when one changes."""
    found = [p for d in ("", "src") for p in (HERE / CORE / d).glob("*.[ch]")]
    return sorted(p.relative_to(HERE).as_posix() for p in found)


ffibuilder = FFI()
ffibuilder.cdef(public_declarations((HERE / CORE / "mongoose.h").read_text()))
ffibuilder.cdef(f'extern "Python+C" {{ {CALLBACKS} }}')
ffibuilder.cdef(f"{NEW_MANAGER};")
# Flags of the platform come first (CFLAGS too), so these may add but not undo.
ffibuilder.set_source(
    "mongoose_py._mongoose_cffi",
    SOURCE,
    sources=[f"{CORE}/mongoose.c"],
    include_dirs=[CORE],
    depends=core_files(),
    define_macros=[("_GNU_SOURCE", "1"), ("MG_OLD_GLIBC", "1")],
    # dlopen() has a library of its own where the C library is older.
    libraries=["dl"] if sys.platform.startswith("linux") else [],
    extra_compile_args=["-std=c11", "-O2", "-fvisibility=hidden"],
)
