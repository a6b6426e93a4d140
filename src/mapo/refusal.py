"""How a command ends that cannot go on: one line on stderr, and an exit code that is not 0.

What the user can mend is refused with code 2. An error that nobody foresaw ends with code 1, and its traceback is kept
in a file: a run of days is not repeated to see one. ``MAPO_DEBUG=1`` lets every error through as it is.
"""

import errno
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from mapo.functional.visible import visible

_PACKAGE = Path(__file__).parent

_FULL = "make room, or choose another folder, and start the command again (a fit with --ckpt_path last)"
_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _FULL),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "let this user in, or name another place"),
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.EADDRINUSE: "another process uses this port; set another one, such as MASTER_PORT=29511",
}
_SMALLER = (
    "out of memory{where} ({words}); lower model.max_tokens_per_micro_batch or model.policy.max_pixels, or train "
    "with model.policy.lora"
)
# Errors of another process come as the text of its traceback.
_OF_A_PROCESS = re.compile(
    r"(?P<process>[^\n]*)\n.*Traceback \(most recent call last\):\n.*^(?P<error>[\w.]+: .*)", re.DOTALL | re.MULTILINE
)
_REFUSALS = ("ValueError: ", "OSError: ", "FileNotFoundError: ", "PermissionError: ")


def refuse(message: str, code: int = 2) -> NoReturn:
    """End the program with one line that says what was wrong."""
    sys.stderr.write(f"mapo: error: {visible(' '.join(message.split()))}\n")
    raise SystemExit(code)


def debugging() -> bool:
    """Tell whether errors are to be shown with their tracebacks."""
    return bool(os.environ.get("MAPO_DEBUG"))


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Within this context every error ends the program with one line."""
    hook = threading.excepthook
    if not debugging():
        threading.excepthook = _tell_of_thread
    try:
        yield
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt) and not debugging():  # Lightning has caught it
            _interrupted()
        raise
    except KeyboardInterrupt:
        if debugging():
            raise
        _interrupted()
    except Exception as error:  # here the program ends: what comes through is not hidden but told
        if debugging():
            raise
        _tell(error)
    finally:
        threading.excepthook = hook


def _tell_of_thread(failed: threading.ExceptHookArgs) -> None:
    """Say of a thread that it could not write, as TensorBoard's: its error comes up in the main thread as well."""
    if isinstance(failed.exc_value, OSError):
        name = failed.thread.name if failed.thread else "a thread"
        sys.stderr.write(f"mapo: {name} has failed: {failed.exc_value} ({_place(failed.exc_value)})\n")
    else:
        threading.__excepthook__(failed)


def _interrupted() -> NoReturn:
    refuse("interrupted; a fit goes on with --ckpt_path last, an evaluation with the same command", 128 + 2)


def _tell(error: Exception) -> NoReturn:
    error = _first(error)
    words = _words(error)
    if words is not None:
        refuse(words)
    text = "".join(traceback.format_exception(error))
    place, line = _place(error), traceback.format_exception_only(error)[-1].strip()
    path = Path(f"mapo-traceback-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt").absolute()
    try:
        path.write_text(f"{' '.join(sys.argv)}\n\n{text}", encoding="utf-8")
    except OSError:
        sys.stderr.write(text)
        refuse(f"{line} ({place}); nobody foresaw this, its traceback is above", 1)
    refuse(f"{line} ({place}); nobody foresaw this, its traceback is in {path}", 1)


def _first(error: Exception) -> Exception:
    """Return the refusal in whose wake an error came, as when a logger cannot be closed on a full disk either."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, Exception) and _raised_here(found):
            return found
        found = None if found.__suppress_context__ else found.__context__
    return error


def _words(error: Exception) -> str | None:
    """Return what a user needs to know of an error; None of one that nobody foresaw."""
    text = str(error)
    told = _OF_A_PROCESS.match(text)
    if told is not None and told["error"].startswith(_REFUSALS):
        return f"{told['error'].partition(': ')[2]} ({told['process'].removeprefix('-- ').rstrip('. :')})"
    if _is_memory(error):
        return _SMALLER.format(where=f" in {_place(error)}", words=text.splitlines()[0] if text else "no further words")
    if _raised_here(error):
        return text
    if isinstance(error, ImportError) and _is_raised(error):  # a library says what else it needs
        return text
    if isinstance(error, SyntaxError) and error.filename is not None:  # of a file of the user's own
        return f"{error.filename}, line {error.lineno}: {error.msg}"
    if isinstance(error, OSError) and (error.filename is not None or error.errno in _ADVICE):
        what = f"{error.filename}: " if error.filename is not None else ""
        where = "" if what else f" ({_place(error)})"
        advice = f"; {_ADVICE[error.errno]}" if error.errno in _ADVICE else ""
        return f"{what}{error.strerror}{where}{advice}"
    return None


def _raised_here(error: Exception) -> bool:
    """Tell what this package raises for users, in so many words, from a fault of it or of a library."""
    if not isinstance(error, ValueError | RuntimeError | ArithmeticError | ConnectionError) or not _is_raised(error):
        return False
    return Path(traceback.extract_tb(error.__traceback__)[-1].filename).is_relative_to(_PACKAGE)


def _is_raised(error: Exception) -> bool:
    """Tell whether a line of Python raises it; an error of PyTorch's C++ ends in the line that calls it."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and (frames[-1].line or "").startswith("raise ")


def _is_memory(error: Exception) -> bool:
    of_torch = type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
    return isinstance(error, MemoryError) or of_torch


def _place(error: Exception) -> str:
    """Return where an error was raised; a library's file by the name that it is imported by."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "place unknown"
    file = Path(frames[-1].filename)
    short = file.as_posix().rpartition("/site-packages/")[2] or file.as_posix()
    return f"{short}, line {frames[-1].lineno}"
