"""The log level of the C core.

Its lines go to the standard logger ``mongoose_py``: ``MG_LL_ERROR`` at ERROR,
``MG_LL_INFO`` at INFO, the rest at DEBUG. Lines above the level are not even
made, so the level costs nothing where it is low; it starts at ``MG_LL_NONE``.
"""

from __future__ import annotations

from operator import index

from mongoose_py._mongoose_cffi import lib

MG_LL_NONE: int = lib.MG_LL_NONE
"""Nothing."""
MG_LL_ERROR: int = lib.MG_LL_ERROR
"""What went wrong."""
MG_LL_INFO: int = lib.MG_LL_INFO
"""Also what others did wrong, and what it came to."""
MG_LL_DEBUG: int = lib.MG_LL_DEBUG
"""Nothing more today."""
MG_LL_VERBOSE: int = lib.MG_LL_VERBOSE
"""Nothing more today."""

LOGGER = "mongoose_py"


def log_set(level: int) -> None:
    """Set the level up to which the C core makes log lines, for all managers.

    Args:
        level: ``MG_LL_NONE`` (0) to ``MG_LL_VERBOSE`` (4).

    Raises:
        ValueError: If *level* is not one of these.
    """
    if not MG_LL_NONE <= index(level) <= MG_LL_VERBOSE:
        raise ValueError(f"level must be {MG_LL_NONE}..{MG_LL_VERBOSE}, not {level}")
    lib.mg_log_set(level)


def log_get() -> int:
    """Return the level set by :func:`log_set`."""
    level: int = lib.mg_log_get()
    return level


def log_line(level: int, text: str) -> None:
    """Hand a line of the C core to the standard logger."""
    import logging  # costs milliseconds that most programs need not pay at start

    if level <= MG_LL_ERROR:
        severity = logging.ERROR
    else:
        severity = logging.INFO if level == MG_LL_INFO else logging.DEBUG
    logging.getLogger(LOGGER).log(severity, "%s", text)


def log_untaken_error(number: int, message: str, *, quietly: bool) -> None:
    """Log the ``MG_EV_ERROR`` of connection *number* that no handler takes."""
    import logging  # as above

    level = logging.DEBUG if quietly else logging.WARNING
    logging.getLogger(LOGGER).log(level, "connection %d: %s", number, message)


def log_warning(text: str) -> None:
    """Log what the caller had better know, and cannot be told otherwise."""
    import logging  # as above

    logging.getLogger(LOGGER).warning("%s", text)


def log_unusable_tls(reason: str) -> None:
    """Log that the TLS options of a listener cannot be used."""
    import logging  # as above

    text = "TLS: %s; every connection will be refused"
    logging.getLogger(LOGGER).warning(text, reason)


def log_exception(doing: str, exc: BaseException) -> None:
    """Log an exception that has nobody else to go to, with its traceback."""
    import logging  # as above

    logging.getLogger(LOGGER).error("%s: %s", doing, exc, exc_info=exc)
