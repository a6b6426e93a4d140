"""A checkpoint at the moment when SIGTERM ends a run, so that nothing but the phase in hand is lost."""

import contextlib
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.exceptions import SIGTERMException
from typing_extensions import override

STOPPED = "stopped.ckpt"


class StopCheckpoint(Callback):
    """Saves ``stopped.ckpt`` beside the other checkpoints when SIGTERM ends a fit, and removes it when a fit is done.

    Not on other exceptions: ranks may then stand at different places, and saving needs all of them. A trainer without
    checkpoints saves none here, either.
    """

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        path = _path(trainer)
        if isinstance(exception, SIGTERMException) and trainer.state.fn == "fit" and path is not None:
            trainer.save_checkpoint(path)
            rank_zero_info(f"SIGTERM: everything is in {path}; the same command with --ckpt_path last goes on from it")

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        path = _path(trainer)
        if path is not None and trainer.is_global_zero:
            with contextlib.suppress(FileNotFoundError):
                trainer.strategy.remove_checkpoint(path)


def _path(trainer: Trainer) -> Path | None:
    callback = trainer.checkpoint_callback
    if not isinstance(callback, ModelCheckpoint) or callback.dirpath is None:
        return None
    return Path(callback.dirpath) / STOPPED
