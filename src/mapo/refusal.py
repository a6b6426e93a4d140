"""How a command refuses: one line on stderr, exit code 2."""

import os
import sys
import traceback
from pathlib import Path
from typing import NoReturn

_PACKAGE = Path(__file__).parent


def refuse(message: str) -> NoReturn:
    """End the program with one line that says what was wrong."""
    sys.stderr.write(f"mapo: error: {' '.join(message.split())}\n")
    raise SystemExit(2)


def raised_here(error: Exception) -> bool:
    """Tell a refusal by this package or the file system from a fault of a library; in debugging nothing is hidden."""
    raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    of_a_file = isinstance(error, OSError) and error.filename is not None
    return not os.environ.get("MAPO_DEBUG") and (of_a_file or raised_in.is_relative_to(_PACKAGE))
