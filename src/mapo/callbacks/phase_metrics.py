"""Metrics that a callback has of every phase."""

from collections.abc import Mapping

from lightning.pytorch import Trainer


def log_phase_metrics(trainer: Trainer, metrics: Mapping[str, float]) -> None:
    """Log the metrics of the phase that has just ended.

    Past ``LightningModule.log``, whose bookkeeping for many names takes longer than they take to compute.
    """
    if trainer._logger_connector.should_update_logs:
        for logger in trainer.loggers:
            logger.log_metrics(dict(metrics), step=trainer.fit_loop.epoch_loop._batches_that_stepped)
