"""What every benchmark prints and writes: one table, and JSON that says where its numbers come from."""

import datetime
import json
import logging
import os
import subprocess
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import mapo

PACKAGES = ("torch", "transformers", "lightning", "peft", "trl")


def _commit() -> str:
    folder = Path(mapo.__file__).parent
    try:
        described = ["git", "describe", "--always", "--abbrev=7", "--dirty"]
        return subprocess.run(described, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


_COMMIT = _commit()  # when the code is loaded: a long run may end on another one


def provenance() -> dict[str, Any]:
    """Return date, commit, versions and the cores that a run had."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _COMMIT,
        "versions": {name: _version(name) for name in PACKAGES},
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
    }


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, names: int) -> str:
    """Return a Markdown table whose columns line up in plain text, too.

    Args:
        header: Of every column.
        rows: Cells as text.
        names: The first columns, which hold names and are set to the left; the others hold numbers.

    Example:
        >>> print(table(["case", "s"], [["a", "1.50"], ["long", "12.00"]], names=1))
        | case |     s |
        |:-----|------:|
        | a    |  1.50 |
        | long | 12.00 |
    """
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [c.ljust(w) if i < names else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return f"| {' | '.join(padded)} |"

    rules = [f":{'-' * (w + 1)}" if i < names else f"{'-' * (w + 1)}:" for i, w in enumerate(widths)]
    return "\n".join([line(header), f"|{'|'.join(rules)}|", *map(line, rows)])


def write_json(path: Path, results: Mapping[str, Any]) -> None:
    """Write the results of a run together with its provenance."""
    path.write_text(json.dumps(provenance() | results, indent=1) + "\n", encoding="utf-8")


def quiet() -> None:
    """Leave standard output and error to the benchmark: no tips, progress bars or warnings of the frameworks."""
    import datasets
    import transformers

    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
