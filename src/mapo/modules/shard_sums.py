"""Sizes and checksums of a checkpoint's shards: PyTorch writes none that could be looked at later."""

import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

_SUMS = "shards.json"
_SHARDS = "*.distcp"
_PIECE = 2**20  # bytes read at once

Sums = Mapping[str, list[int]]  # size in bytes and CRC-32 of every shard, by its name


def sums_of(folder: Path, rank: int) -> Sums:
    """Return size and checksum of the shards that a rank has written."""
    return {path.name: [path.stat().st_size, _crc32(path)] for path in folder.glob(f"__{rank}_{_SHARDS}")}


def write_sums(folder: Path, sums: Sums) -> None:
    """Keep the sums of all shards beside them."""
    (folder / _SUMS).write_text(json.dumps(sums))


def cut_shard(folder: Path) -> str | None:
    """Return which shard is missing or has another size than it had, or None; nothing of them is read."""
    for name, (size, _) in _read(folder).items():
        path = folder / name
        found = path.stat().st_size if path.is_file() else 0
        if found != size:
            return f"its shard {name} has {found} of {size} bytes"
    return None


def spoilt_shard(folder: Path, *, part: int = 0, parts: int = 1) -> str | None:
    """Return which shard does not match its checksum, or None.

    Args:
        folder: A checkpoint without cut shards; one that another program wrote has no sums, and is not judged.
        part: Which share of the shards to read, so that ``parts`` processes read all of them together.
        parts: How many shares there are.
    """
    sums = sorted(_read(folder).items())
    spoilt: Iterable[str] = (name for name, (_, crc) in sums[part::parts] if _crc32(folder / name) != crc)
    name = next(iter(spoilt), None)
    return None if name is None else f"its shard {name} does not match its checksum"


def _read(folder: Path) -> Sums:
    path = folder / _SUMS
    sums: Sums = json.loads(path.read_text()) if path.is_file() else {}
    return sums


def _crc32(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            crc = zlib.crc32(piece, crc)
    return crc
