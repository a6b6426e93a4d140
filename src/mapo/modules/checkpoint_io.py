"""Writing checkpoints so that a reader finds the old one or the new one, never half of one."""

import contextlib
import os
from pathlib import Path
from typing import IO, Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import Trainer
from typing_extensions import override

from mapo.modules.checkpoint_files import damage, draft_of, hold, require_whole
from mapo.modules.replacing import put


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint under another name beside its place, checks what came to be, and then renames it.

    The records go to the disk one after the other, where Lightning's own would build the whole file in memory first.
    Paths that are addresses (``s3://...``) are left to Lightning.
    """

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        if storage_options is not None or _is_address(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path = Path(path)
        draft = draft_of(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as file:
                hold(file)
                _write(checkpoint, file)
                _put(draft, path)
        except (OSError, RuntimeError) as error:  # PyTorch's writer reports a full disk as either
            raise ValueError(not_written(path, error)) from error
        finally:
            with contextlib.suppress(OSError):  # a folder that cannot be written to holds no draft
                draft.unlink(missing_ok=True)

    @override
    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if not _is_address(path):
            require_whole(Path(path))
        return super().load_checkpoint(path, *args, **kwargs)


def use_whole_files(trainer: Trainer) -> None:
    """Let a trainer write its checkpoints by ``WholeCheckpointIO``, unless it was given another way."""
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = WholeCheckpointIO()


def _write(checkpoint: dict[str, Any], file: IO[bytes]) -> None:
    torch.save(checkpoint, file)
    file.flush()
    os.fsync(file.fileno())


def _put(draft: Path, path: Path) -> None:
    """Check a draft, and give it its name."""
    fault = damage(draft)
    if fault is not None:
        raise OSError(None, f"what was written differs from what was meant ({fault})")
    put(draft, path)  # a folder may be there, of a run on another number of processes


def not_written(path: Path, error: BaseException) -> str:
    """Return what to say of a checkpoint that could not be written."""
    return (
        f"the checkpoint {path} cannot be written: {reason(error)}. Earlier checkpoints are as they were. Make room, "
        "or let ModelCheckpoint write elsewhere (dirpath), then continue with --ckpt_path last"
    )


def reason(error: BaseException) -> str:
    """Return what the operating system said; PyTorch's writer hides it behind an error of its own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__context__
    return str(error).splitlines()[0]


def _is_address(path: Any) -> bool:
    return "://" in str(path)
