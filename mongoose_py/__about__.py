"""The version, apart from everything else so that a build need not import the package."""

__version__ = "0.1.0"
"""The version of the package, as in its metadata."""
