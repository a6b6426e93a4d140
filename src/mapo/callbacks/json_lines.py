"""A file of JSON rows that only grows, and that a resumed run cuts back to its checkpoint."""

import contextlib
import itertools
import json
import os
import re
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

_ESCAPED = re.compile(
    "[\x7f-\x9f\u2028\u2029]"
)  # JSON allows them; terminals obey some, readers of lines cut at others


class Cursor(NamedTuple):
    """How far a file had been written.

    Attributes:
        size: Bytes.
        crc: CRC-32 of those bytes, by which the file is known again.
    """

    size: int = 0
    crc: int = 0


class JsonLines:
    """Appends rows to a JSONL file, and knows how far it has written.

    An existing file is continued from ``cursor`` if it starts with the very bytes the cursor was taken after; what
    follows them is cut off. Any other existing file belongs to another run: it is kept under a numbered name
    (``name.1.jsonl``) and a new one is begun.

    Args:
        path: The file; its folder is made when the first row comes.
        cursor: Where a checkpoint left the file; None begins anew.
    """

    def __init__(self, path: Path, cursor: Cursor | None = None) -> None:
        self.path, self.cursor = path, Cursor()
        if cursor is not None and cursor.size and _crc(path, cursor.size) == cursor.crc:
            os.truncate(path, cursor.size)
            self.cursor = cursor
        elif path.exists():
            path.rename(_free_name(path))

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write the rows through to the file.

        Raises:
            ValueError: It cannot be written to, as on a full disk; no part of a row is left in it.
        """
        data = b"".join(_encode(row) for row in rows)
        if not data:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(data)
        except OSError as error:
            with contextlib.suppress(OSError):  # of a file that is not there
                os.truncate(self.path, self.cursor.size)
            raise ValueError(
                f"{self.path} cannot be written: {error.strerror}. Make room or choose another folder, then continue "
                "with --ckpt_path last"
            ) from error
        self.cursor = Cursor(self.cursor.size + len(data), zlib.crc32(data, self.cursor.crc))


def _encode(row: Mapping[str, Any]) -> bytes:
    text = json.dumps(row, ensure_ascii=False, allow_nan=False)
    text = _ESCAPED.sub(lambda match: f"\\u{ord(match.group()):04x}", text)
    # A lone surrogate has no UTF-8 form; written with a backslash it is exactly JSON's own escape.
    return text.encode("utf-8", errors="backslashreplace") + b"\n"


def _crc(path: Path, size: int) -> int | None:
    """Return the CRC-32 of the first ``size`` bytes; None where there are not as many."""
    if not path.exists() or path.stat().st_size < size:
        return None
    crc, left = 0, size
    with path.open("rb") as file:
        while left and (chunk := file.read(min(left, 1 << 20))):
            crc, left = zlib.crc32(chunk, crc), left - len(chunk)
    return crc


def _free_name(path: Path) -> Path:
    candidates = (path.with_name(f"{path.stem}.{number}{path.suffix}") for number in itertools.count(1))
    return next(candidate for candidate in candidates if not candidate.exists())
