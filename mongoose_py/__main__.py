"""``python -m mongoose_py``: what the package can do from a shell.

Each command has a module of its own, with ``add_parser``, that describes its options,
and a function that runs it and returns the exit code.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mongoose_py import __version__, serve


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command named in *argv* (default: the process's arguments).

    Returns:
        The exit code: 0, 1 when the system refused something, 130 when a second
        Ctrl-C had to end what the first one did not.

    Raises:
        SystemExit: With code 2 for wrong arguments, with 0 after ``--help``.
    """
    parser = argparse.ArgumentParser(prog="python -m mongoose_py")
    parser.add_argument("--version", action="version", version=f"mongoose_py {__version__}")
    commands = parser.add_subparsers(metavar="command", required=True)
    serve.add_parser(commands)
    args = parser.parse_args(argv)
    try:
        result: int = args.run(args)
    except KeyboardInterrupt:
        result = 130
    return result


if __name__ == "__main__":
    sys.exit(main())
