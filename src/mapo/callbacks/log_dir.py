"""Where a run's files go."""

from pathlib import Path

from lightning.pytorch import Trainer


def log_dir(trainer: Trainer) -> Path | None:
    """Return the folder for the files of this run.

    It is the first logger's folder, or ``default_root_dir`` without a logger. Every rank must call it, from ``setup``
    on: the folder of rank 0 is sent to the others.

    Returns:
        The folder, which may not exist yet; None under ``fast_dev_run``, which leaves no files behind.
    """
    folder = trainer.log_dir or trainer.default_root_dir
    return None if trainer.fast_dev_run else Path(folder)  # type: ignore[attr-defined]  # bound at run time
