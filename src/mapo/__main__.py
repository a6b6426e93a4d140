"""Entry point of ``python -m mapo`` and of the console script: answers at once what needs no Lightning."""

import sys
from collections.abc import Sequence

from mapo import __version__


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        args: Arguments without the program's name; those of the process when None.

    Example:
        >>> main(["--version"])
        mapo 0.1.0
    """
    arguments = list(sys.argv[1:] if args is None else args)
    if arguments in (["--version"], ["-V"]):
        print(f"mapo {__version__}")
        return
    from mapo.cli import run  # imports Lightning, several seconds

    run(arguments)


if __name__ == "__main__":
    main()
