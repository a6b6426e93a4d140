"""Entry point of ``python -m mapo`` and of the console script: answers at once what needs no Lightning."""

import sys
from collections.abc import Sequence

from mapo import __version__
from mapo.refusal import one_line_errors
from mapo.usage import DESCRIPTION, USAGE


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        args: Arguments without the program's name; those of the process when None.

    Raises:
        SystemExit: With a code that is not 0, when the run was refused or failed.

    Example:
        >>> main(["--version"])
        mapo 0.1.0
    """
    arguments = list(sys.argv[1:] if args is None else args)
    if arguments in (["--version"], ["-V"]):
        print(f"mapo {__version__}")
        return
    if arguments in ([], ["supervised"], ["--help"], ["-h"], ["supervised", "--help"], ["supervised", "-h"]):
        print(f"usage: {USAGE}\n\n{DESCRIPTION}")
        if arguments[-1:] not in (["--help"], ["-h"]):
            raise SystemExit(2)  # a script that forgot the command must not take this for success
        return
    with one_line_errors():
        _run(arguments)


def _run(arguments: list[str]) -> None:
    if arguments[0] == "compare":
        from mapo.compare.command import main as compare  # reads files alone

        compare(arguments[1:])
    elif arguments[0] == "export":
        from mapo.export import run as run_export

        run_export(arguments[1:])
    elif arguments[0] == "replay":
        from mapo.replay import run as run_replay

        run_replay(arguments[1:])
    else:
        from mapo.cli import run  # imports Lightning, several seconds

        run(arguments)


if __name__ == "__main__":
    main()
