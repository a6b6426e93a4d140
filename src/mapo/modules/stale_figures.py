"""Figures that a phase does not have: Lightning would log the values of an earlier one again."""

from collections.abc import Iterable

from lightning.pytorch import Trainer


def forget_figures(trainer: Trainer, names: Iterable[str]) -> None:
    """Have Lightning forget what a training step logged before; to be called within a training step.

    It keeps the latest value of every name, for loggers, callbacks and its progress bar alike.

    Args:
        trainer: In training.
        names: As they were given to ``log``; those that it does not know do no harm.
    """
    connector = trainer._logger_connector
    for name in names:
        for known in (connector._callback_metrics, connector._logged_metrics, connector._progress_bar_metrics):
            known.pop(name, None)
        if trainer._results is not None:
            trainer._results.pop(f"training_step.{name}", None)
