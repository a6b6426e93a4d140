"""Copies of a data set in every form that a source may have."""

import io
import json
from pathlib import Path

from datasets import DatasetDict
from PIL import Image as Picture

FORMS = ("save_to_disk", "parquet", "jsonl")


def png(width: int = 40) -> bytes:
    buffer = io.BytesIO()
    Picture.new("RGB", (width, 20), "white").save(buffer, "PNG")
    return buffer.getvalue()


def place_picture(file: Path, width: int = 40) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(png(width))


def write_copy(path: Path, copy: DatasetDict, form: str) -> Path:
    """Write the splits as ``save_to_disk`` does, as the Hub's parquet files, or as JSON lines beside picture files."""
    if form == "save_to_disk":
        copy.save_to_disk(path)
    for split, rows in copy.items():
        if form == "parquet":
            rows.to_parquet(path / "data" / f"{split}-00000-of-00001.parquet")
        elif form == "jsonl":
            path.mkdir(parents=True, exist_ok=True)
            lines = [_with_files(row, path, f"{split}{i}") for i, row in enumerate(rows)]
            (path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return path


def _with_files(row: dict, path: Path, name: str) -> dict:
    """Put the pictures of a row's column ``images`` into files, and their names into the row."""
    files = [f"pictures/{name}-{i}.png" for i in range(len(row.get("images", ())))]
    for file, picture in zip(files, row.get("images", ()), strict=True):
        (path / file).parent.mkdir(exist_ok=True)
        picture.save(path / file)
    return row | {"images": files} if files else row
