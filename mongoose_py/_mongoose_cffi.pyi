"""The compiled extension: what C declares is in vendor/mongoose/mongoose.h."""

from typing import Any

ffi: Any
lib: Any
