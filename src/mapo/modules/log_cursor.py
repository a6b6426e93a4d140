"""Where a checkpoint leaves the logs, so that a resumed run goes on with them and says nothing twice."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

_EVENTS = "events.out.tfevents.*"


def log_cursor(trainer: Trainer) -> dict[str, Any]:
    """Return how far the logs are written, in plain values; what counts is what the first rank returns.

    Lightning saves a checkpoint before it logs the step that has just ended: its figures are a part of the cursor.
    """
    if not trainer.is_global_zero:
        return {}
    loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    return {
        "step": _finished(trainer) - 1,
        "pending": _pending(trainer),
        "tensorboard": [{"version": logger.version, "files": _written(logger)} for logger in loggers],
    }


def log_pending(trainer: Trainer, cursor: Mapping[str, Any]) -> None:
    """Log what a checkpoint has of the step it was taken after."""
    if cursor.get("pending"):
        for logger in trainer.loggers:
            logger.log_metrics(cursor["pending"], step=cursor["step"])


def reopen_loggers(trainer: Trainer, cursor: Mapping[str, Any]) -> list[str]:
    """Let TensorBoard go on in the folder of the run that the checkpoint belongs to, cut back to the checkpoint.

    Args:
        trainer: Has not logged anything yet.
        cursor: Of the checkpoint.

    Returns:
        The folders that are continued.
    """
    loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    continued = []
    for logger, state in zip(loggers, cursor.get("tensorboard", ()), strict=False):
        if logger._version is not None and logger._version != state["version"]:
            continue  # told to write elsewhere
        own, logger._version = logger._version, state["version"]
        if not any((Path(logger.log_dir) / name).exists() for name in state["files"]):
            logger._version = own  # this folder has another run's events, or none
            continue
        _cut(Path(logger.log_dir), state["files"])
        # For a TensorBoard that has read further than the file now goes.
        logger._kwargs["purge_step"] = cursor["step"] + 1
        trainer.enable_autolog_hparams = False  # they are in the files
        continued.append(logger.log_dir)
    return continued


def _finished(trainer: Trainer) -> int:
    return int(trainer.fit_loop.epoch_loop.batch_progress.total.processed)  # type: ignore[attr-defined]  # at run time


def _pending(trainer: Trainer) -> dict[str, float]:
    """Return the figures of a step that is over but not yet logged."""
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress.current
    connector = trainer._logger_connector
    if progress.completed == progress.processed or not connector.should_update_logs:
        return {}
    return {name: float(value) for name, value in connector.metrics["log"].items()} | {"epoch": trainer.current_epoch}


def _written(logger: TensorBoardLogger) -> dict[str, int]:
    """Return the sizes in bytes of the files in a logger's folder, with all that it was given on the disk."""
    logger.experiment.flush()
    return {path.name: path.stat().st_size for path in Path(logger.log_dir).glob(_EVENTS)}


@rank_zero_only
def _cut(folder: Path, sizes: Mapping[str, int]) -> None:
    """Cut event files back to these sizes, and remove those that were begun after the checkpoint."""
    for path in folder.glob(_EVENTS):
        if path.name not in sizes:
            path.unlink()
        elif path.stat().st_size > sizes[path.name]:
            os.truncate(path, sizes[path.name])
