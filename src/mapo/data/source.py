"""Where rows come from: a Hub id, a ``save_to_disk`` copy, or a folder of parquet or jsonl files."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_SHARD = re.compile(r"-\d+-of-\d+$")


def load_rows(path: str, split: str, *, columns: Sequence[str], config: str | None = None) -> Any:
    """Return one split as a ``datasets.Dataset`` whose pictures stay encoded (``{"bytes": ..., "path": ...}``).

    Args:
        path: Hub id, folder written by ``save_to_disk``, or folder of parquet or jsonl files named after their splits.
        split: Name of the split.
        columns: Columns that must be there.
        config: Configuration of a Hub id that has several.

    Raises:
        ValueError: There is no such data set, split or column.
    """
    dataset = _saved(Path(path), split) if _is_saved(Path(path)) else _loaded(path, split, config)
    missing = [column for column in columns if column not in dataset.column_names]
    if missing:
        there = ", ".join(dataset.column_names)
        raise ValueError(f"{path!r} has no column {', '.join(missing)}; its columns are {there}")
    return _undecoded(dataset)


def local_images(path: str, images: Sequence[Any]) -> list[Any]:
    """Return the pictures of a row with relative file names resolved against the data set's folder."""
    return [str(Path(path) / image) if isinstance(image, str) else image for image in images]


def text(value: Any) -> str:
    """Return a cell as text: numbers as they print, nothing for a missing value."""
    return "" if value is None else str(value)


def _is_saved(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("dataset_dict.json", "dataset_info.json", "state.json"))


def _saved(folder: Path, split: str) -> Any:
    from datasets import DatasetDict, load_from_disk

    saved = load_from_disk(str(folder))
    splits = saved if isinstance(saved, DatasetDict) else {str(saved.split or folder.name): saved}
    return splits[_known(split, splits, str(folder))]


def _loaded(path: str, split: str, config: str | None) -> Any:
    from datasets import get_dataset_split_names, load_dataset

    if files := _files_by_split(Path(path), ".jsonl"):
        return load_dataset("json", data_files={split: files[_known(split, files, path)]}, split=split)
    if split in (files := _files_by_split(Path(path), ".parquet")):
        return load_dataset("parquet", data_files={split: files[split]}, split=split)
    config = None if Path(path).is_dir() else config  # the Hub's configurations; a folder has none of its own
    try:
        return load_dataset(path, config, split=_known(split, get_dataset_split_names(path, config), path))
    except (FileNotFoundError, ConnectionError) as error:
        raise ValueError(
            f"cannot load {path!r}: {error}. Expected a Hub id that can be reached, a folder written by save_to_disk, "
            "or a folder with parquet or jsonl files named after their splits"
        ) from error


def _files_by_split(folder: Path, suffix: str) -> dict[str, list[str]]:
    """Group files by split, ``train.jsonl`` and its like.

    ``datasets`` would take pictures beside jsonl files for the data, and ``testmini.parquet`` for the split train.
    """
    files: dict[str, list[str]] = {}
    for file in sorted(folder.glob(f"*{suffix}")):
        files.setdefault(_SHARD.sub("", file.stem), []).append(str(file))
    return files


def _known(split: str, splits: Mapping[str, Any] | Sequence[str], path: str) -> str:
    if split not in splits:
        raise ValueError(f"{path!r} has no split {split!r}; its splits are {', '.join(splits)}")
    return split


def _undecoded(dataset: Any) -> Any:
    from datasets import Image, List

    for name, feature in dataset.features.items():
        if isinstance(feature, Image):
            dataset = dataset.cast_column(name, Image(decode=False))
        elif isinstance(getattr(feature, "feature", None), Image):
            dataset = dataset.cast_column(name, List(Image(decode=False)))
    return dataset
