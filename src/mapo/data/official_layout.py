"""The layout in which authors publish: a JSON file per split, and the picture files that its rows name."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mapo.data.json_file import read_json
from mapo.data.rows import RowError
from mapo.data.source import known_split, missing_columns

# Files of the library datasets, and MathVista's prompts, which lie beside its rows.
_NOT_SPLITS = {"dataset_dict", "dataset_info", "dataset_infos", "state", "query"}
_PICTURE_FOLDERS = ("", "images", "data", "data/images")


def official_rows(path: str, split: str, *, columns: Sequence[str]) -> list[Any] | None:
    """Return the rows of ``<split>.json`` or ``<split>.jsonl`` in a folder or in its folder ``data``.

    Args:
        path: The folder; what an official repository holds, or its data alone.
        split: Name of the file.
        columns: Columns that the rows must have.

    Returns:
        The rows, those of a JSON object in the order of its keys, with None for the columns that single ones lack; None
        where the folder has no such files at all, or the split as parquet, too, which holds the pictures.

    Raises:
        ValueError: There are such files, but none of this split, or it is no JSON, or a column is missing everywhere.
    """
    files = {file.stem: file for folder in ("data", "") for file in sorted(_row_files(Path(path) / folder))}
    if not files or Path(path, f"{split}.parquet").is_file():
        return None
    file = files[known_split(split, sorted(files), path)]
    rows = list(_parse(file))
    there = dict.fromkeys(column for row in rows if isinstance(row, Mapping) for column in row)
    missing = [column for column in columns if column not in there]
    if rows and missing:
        raise missing_columns(str(file), missing, there)
    return [{**dict.fromkeys(columns), **row} if isinstance(row, Mapping) else row for row in rows]


def picture(path: str, sample_id: str, image: Any) -> Any:
    """Return a row's picture as a ``Prompt`` takes it, a file name resolved against the data set's folder.

    Args:
        path: Where the data set is.
        sample_id: Names the row in errors.
        image: A picture as ``datasets`` stores it, or the name of a file in the folder or its folders ``images``,
            ``data`` and ``data/images``.

    Raises:
        RowError: There is none, or the file is missing.
    """
    name = image.get("path") if isinstance(image, Mapping) and image.get("bytes") is None else image
    if name is None or name == "":
        raise RowError(sample_id, "it has no picture; restore the file name or the picture itself")
    if not isinstance(name, str):
        return image
    places = [Path(path) / folder / name for folder in _PICTURE_FOLDERS]
    for place in places:
        if os.path.isfile(place):  # noqa: PTH113 - Path.is_file raises where a name is too long for a file
            return str(place)
    raise RowError(
        sample_id,
        f"its picture {places[0]} is missing, nor is it in images, data or data/images there; "
        "unpack the benchmark's pictures into that folder",
    )


def pictures(path: str, sample_id: str, images: Any) -> list[Any]:
    """Return a row's pictures as ``picture`` does, of a list or of one alone.

    Raises:
        RowError: There is none, or a file is missing.
    """
    several = images if isinstance(images, list | tuple) and images else [images or None]
    return [picture(path, sample_id, image) for image in several]


def _row_files(folder: Path) -> list[Path]:
    files = [*folder.glob("*.json"), *folder.glob("*.jsonl")]
    return [file for file in files if file.stem not in _NOT_SPLITS]


def _parse(file: Path) -> Sequence[Any]:
    rows = read_json(file)
    if not isinstance(rows, list | dict):
        raise ValueError(f"{file} holds a {type(rows).__name__}, not a list of rows or an object of rows by id")
    return rows if isinstance(rows, list) else list(rows.values())
