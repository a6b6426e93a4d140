"""JSON files and files of JSON lines, whose faults are named with their place."""

import json
from pathlib import Path
from typing import Any, NamedTuple


class Line(NamedTuple):
    """One line of a file that is not empty.

    Attributes:
        number: Its place in the file, from 1.
        value: What it holds; None where it is no JSON.
        fault: Why it is no JSON; None where it is.
    """

    number: int
    value: Any
    fault: str | None


def json_lines(file: Path) -> list[Line]:
    """Return the lines of a file, those that are no JSON included.

    Raises:
        OSError: The file cannot be read.
    """
    # Bytes are only cut at line ends; a text is also cut at separators that JSON strings may hold.
    return [_line(number, line) for number, line in enumerate(file.read_bytes().splitlines(), 1) if line.strip()]


def read_json(file: Path) -> Any:
    """Return what a JSON file holds, a list for one of JSON lines.

    Raises:
        ValueError: It is no JSON; the place is named.
        OSError: It cannot be read.
    """
    if file.suffix == ".jsonl":
        lines = json_lines(file)
        broken = next((line for line in lines if line.fault), None)
        if broken:
            raise ValueError(
                f"line {broken.number} of {file} is no JSON: {broken.fault}; mend that line, or fetch the file again"
            )
        return [line.value for line in lines]
    try:
        return json.loads(file.read_bytes())
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"{file} is no JSON: {error.msg} ({place}); mend it, or fetch it again") from error
    except (ValueError, RecursionError) as error:  # bytes that are no text; brackets without end
        raise ValueError(f"{file} is no JSON: {error}; mend it, or fetch it again") from error


def _line(number: int, line: bytes) -> Line:
    try:
        return Line(number, json.loads(line), None)
    except json.JSONDecodeError as error:
        return Line(number, None, f"{error.msg} (column {error.colno})")
    except (ValueError, RecursionError) as error:  # bytes that are no text; brackets without end
        return Line(number, None, str(error))
