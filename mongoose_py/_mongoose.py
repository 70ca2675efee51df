"""The names of the package again, for code that imports them from here."""

from mongoose_py import *  # noqa: F403
from mongoose_py import __all__ as __all__
