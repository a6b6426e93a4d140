"""Checkpoints that are folders with the parts of several ranks, read by one process."""

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load

from mapo.modules.checkpoint_files import read_state

_WEIGHTS = "state_dict."


def read_sharded_weights(folder: Path) -> dict[str, Tensor]:
    """Return the weights of a sharded checkpoint put together, under the names of a single file's ``state_dict``.

    Nothing is unpickled: only what is stored as tensors is read, so optimizer states stay behind.

    Args:
        folder: A checkpoint that a sharding strategy saved on any number of ranks.
    """
    reader = FileSystemReader(folder)
    entries = reader.read_metadata().state_dict_metadata
    weights = {
        name: torch.empty(entry.size, dtype=entry.properties.dtype)
        for name, entry in entries.items()
        if name.startswith(_WEIGHTS) and isinstance(entry, TensorStorageMetadata)
    }
    load(weights, storage_reader=reader, no_dist=True)
    return {name.removeprefix(_WEIGHTS): weight for name, weight in weights.items()}


def as_one_file(folder: Path) -> io.BytesIO:
    """Return a sharded checkpoint as a file in memory, without its optimizer states, for those who read files alone."""
    checkpoint: dict[str, Any] = {**read_state(folder), "state_dict": read_sharded_weights(folder)}
    file = io.BytesIO()
    torch.save(checkpoint, file)
    file.seek(0)
    return file
