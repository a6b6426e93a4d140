"""Which checkpoint a run goes on from, and where."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_info

from mapo.modules.checkpoint_files import (
    checkpoints_in,
    newest_whole,
    read_state,
    remove_drafts,
    restore_replaced,
)
from mapo.modules.log_cursor import reopen_loggers


def last_checkpoint(trainer: Trainer) -> Path | None:
    """Return the newest whole checkpoint of the runs with this trainer's logger name, and say what is passed over.

    ``--ckpt_path last`` is this; Lightning's own would look into the folder of the run that is about to begin.

    Args:
        trainer: Its checkpoint callbacks and its first logger say where checkpoints are.

    Returns:
        The checkpoint; None where there is none yet.
    """
    folders = checkpoint_folders(trainer)
    restore_replaced(*folders)
    if trainer.is_global_zero:
        for draft in remove_drafts(*folders):
            rank_zero_info(f"{draft} was never finished and is removed")
    path, faults = newest_whole(checkpoints_in(*folders))
    for newer, fault in faults.items():
        rank_zero_info(f"{newer} is passed over: {fault}")
    return path


def checkpoint_folders(trainer: Trainer) -> list[Path]:
    """Return the folders in which this trainer's runs have their checkpoints."""
    callbacks = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
    folders = [Path(callback.dirpath) for callback in callbacks if callback.dirpath is not None]
    return folders if len(folders) == len(callbacks) > 0 else [*folders, *_logged_folders(trainer)]


def continue_run(trainer: Trainer, path: Path) -> None:
    """Prepare a trainer to fit from a checkpoint: from the newest one of a run, its logs are continued.

    From an older one the run branches off: it gets a folder of its own, and the logs it comes from stay whole.

    Args:
        trainer: Has not run yet.
        path: A whole checkpoint.
    """
    newest, _ = newest_whole(checkpoints_in(path.parent))
    if newest is not None and newest.resolve() != path.resolve():
        rank_zero_info(f"{path} is not the newest checkpoint of its run ({newest.name} is): the logs begin anew")
        return
    cursor: Mapping[str, Any] = read_state(path).get("log_cursor", {})
    for folder in reopen_loggers(trainer, cursor):
        rank_zero_info(f"continuing the logs in {folder} after phase {cursor['step'] + 1}")


def _logged_folders(trainer: Trainer) -> list[Path]:
    """Return where Lightning puts checkpoints by default, for every version of the first logger's runs."""
    if not trainer.loggers:
        return [Path(trainer.default_root_dir) / "checkpoints"]
    logger = trainer.loggers[0]
    runs = Path(logger.save_dir or trainer.default_root_dir) / str(logger.name)
    version = getattr(logger, "_version", None)  # asking for `version` would make up a new one
    if version is None:
        return sorted(runs.glob("*/checkpoints"))
    return [runs / (version if isinstance(version, str) else f"version_{version}") / "checkpoints"]
