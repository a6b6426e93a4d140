"""Where rows come from: a Hub id, a ``save_to_disk`` copy, or a folder of parquet or jsonl files."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mapo.data.json_file import read_json
from mapo.functional.visible import one_line

_SHARD = re.compile(r"-\d+-of-\d+$")
_SOURCES = (
    "Expected a Hub id that can be reached, a folder written by save_to_disk, or a folder with parquet or jsonl files "
    "named after their splits"
)


def load_rows(path: str, split: str, *, columns: Sequence[str], config: str | None = None) -> Any:
    """Return one split as a ``datasets.Dataset`` whose pictures stay encoded (``{"bytes": ..., "path": ...}``).

    Args:
        path: Hub id, folder written by ``save_to_disk``, or folder of parquet or jsonl files named after their splits.
        split: Name of the split.
        columns: Columns that must be there.
        config: Configuration of a Hub id that has several, or of a copy of all its files.

    Raises:
        ValueError: There is no such data set, split or column, or its files are broken.
    """
    if Path(path).is_file():
        raise ValueError(f"{path!r} is a file; name its folder, {str(Path(path).parent)!r}")
    dataset = _saved(Path(path), split) if _is_saved(Path(path)) else _loaded(path, split, config)
    missing = [column for column in columns if column not in dataset.column_names]
    if missing:
        raise missing_columns(path, missing, dataset.column_names)
    return _undecoded(dataset)


def missing_columns(source: str, missing: Iterable[str], there: Iterable[str]) -> ValueError:
    """Return the error that a source lacks columns, which names those that it has."""
    return ValueError(
        f"{source!r} has no column {', '.join(missing)}; its columns are {', '.join(there)}. Rename them there, or use "
        "JSONL, which takes the names of columns"
    )


def known_split(split: str, splits: Iterable[str], path: str) -> str:
    """Return the name of a split that is there.

    Raises:
        ValueError: It is not; those that are there are named.
    """
    if split not in (names := list(splits)):
        raise ValueError(f"{path!r} has no split {split!r}; its splits are {', '.join(names)}")
    return split


def text(value: Any) -> str:
    """Return a cell as text: numbers as they print, nothing for a missing value, which is NaN in some copies.

    Raises:
        ValueError: It holds several values.
    """
    if isinstance(value, list | tuple | Mapping):
        raise ValueError(f"a {type(value).__name__} stands where a text belongs ({value!r}); write a text there")
    return "" if value is None or value != value else str(value)


def _is_saved(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("dataset_dict.json", "dataset_info.json", "state.json"))


def _saved(folder: Path, split: str) -> Any:
    from datasets import DatasetDict, load_from_disk

    try:
        saved = load_from_disk(str(folder))
    except (OSError, ValueError, KeyError) as error:  # what a file that is absent or broken raises there
        raise ValueError(
            f"{str(folder)!r} is no whole copy of save_to_disk: {one_line(str(error))}; write it again"
        ) from error
    splits = saved if isinstance(saved, DatasetDict) else {str(saved.split or folder.name): saved}
    return splits[known_split(split, splits, str(folder))]


def _loaded(path: str, split: str, config: str | None) -> Any:
    if files := _files_by_split(Path(path), ".jsonl"):
        return _of_files("json", files[known_split(split, files, path)], split)
    if split in (files := _files_by_split(Path(path), ".parquet")):
        return _of_files("parquet", files[split], split)
    return _of_data_set(path, split, config)


def _of_files(form: str, files: Sequence[str], split: str) -> Any:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    if not any(Path(file).stat().st_size for file in files):
        raise ValueError(f"{files[0]} is empty; write the rows of the split {split!r} into it")
    # It would print what a broken file holds, whatever that does to a terminal; the error below says it in one line.
    logging.getLogger(f"datasets.packaged_modules.{form}.{form}").setLevel(logging.CRITICAL)
    try:
        return load_dataset(form, data_files={split: list(files)}, split=split)
    except (DatasetsError, OSError, ValueError, StopIteration) as error:  # by the kind of fault and where it strikes
        if form == "json":
            for file in files:
                read_json(Path(file))  # says in which line it is broken
        raise ValueError(
            f"{', '.join(files)} cannot be read: {one_line(str(error.__cause__ or error))}; fetch or write it again"
        ) from error


def _of_data_set(path: str, split: str, config: str | None) -> Any:
    from datasets import get_dataset_config_names, get_dataset_split_names, load_dataset
    from datasets.exceptions import DatasetsError

    try:
        if config is not None and Path(path).is_dir() and config not in get_dataset_config_names(path):
            config = None  # a folder of files has not all that the Hub has
        splits = get_dataset_split_names(path, config)
        if split in splits:
            return load_dataset(path, config, split=split)
    except (DatasetsError, OSError, ValueError) as error:  # a ValueError is that of broken files or configurations
        raise ValueError(f"cannot load {path!r}: {one_line(str(error))}. {_SOURCES}") from error
    return known_split(split, splits, path)  # which refuses it


def _files_by_split(folder: Path, suffix: str) -> dict[str, list[str]]:
    """Group files by split, ``train.jsonl`` and its like.

    ``datasets`` would take pictures beside jsonl files for the data, and ``testmini.parquet`` for the split train.
    """
    files: dict[str, list[str]] = {}
    for file in sorted(folder.glob(f"*{suffix}")):
        files.setdefault(_SHARD.sub("", file.stem), []).append(str(file))
    return files


def _undecoded(dataset: Any) -> Any:
    from datasets import Image, List

    for name, feature in dataset.features.items():
        if isinstance(feature, Image):
            dataset = dataset.cast_column(name, Image(decode=False))
        elif isinstance(getattr(feature, "feature", None), Image):
            dataset = dataset.cast_column(name, List(Image(decode=False)))
    return dataset
