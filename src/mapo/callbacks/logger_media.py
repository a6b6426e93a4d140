"""Figures and tables for people to look at, put to every logger in its own way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger

from mapo.callbacks.log_dir import log_dir
from mapo.callbacks.markdown import table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class LoggerMedia:
    """What the loggers of a run can show.

    TensorBoard gets Markdown and images, Weights & Biases tables and images. Where none of the loggers is one of these,
    the latest version of every figure is a PNG file in the run's folder, and tables are not shown.

    Attributes:
        loggers: Of rank 0; none elsewhere.
        folder: For PNG files; None where loggers show the figures, or where nothing is to be left behind.
    """

    loggers: tuple[Logger, ...]
    folder: Path | None

    @classmethod
    def of(cls, trainer: Trainer) -> Self:
        """Look at a trainer's loggers; every rank must call it, from ``setup`` on."""
        folder = log_dir(trainer)
        shown = any(_tensorboard(logger) or _is_wandb(logger) for logger in trainer.loggers)
        loggers = tuple(trainer.loggers) if trainer.is_global_zero else ()
        return cls(loggers, None if shown or folder is None or not trainer.loggers else folder / "figures")

    @property
    def without(self) -> str | None:
        """Name the loggers where none of them can show tables and figures."""
        return None if self.folder is None else ", ".join(type(logger).__name__ for logger in self.loggers)

    @property
    def has_figures(self) -> bool:
        """Whether a figure is worth drawing here."""
        return bool(self.loggers)

    def table(self, tag: str, header: Sequence[str], rows: Sequence[Sequence[str]], step: int) -> None:
        """Show a table of plain texts."""
        for logger in self.loggers:
            if writer := _tensorboard(logger):
                writer.add_text(tag, table(header, rows), step)
            elif _is_wandb(logger):
                logger.log_table(key=tag, columns=list(header), data=[list(row) for row in rows], step=step)  # type: ignore[attr-defined]

    def figure(self, tag: str, figure: Figure, step: int) -> None:
        """Show a figure that was made without pyplot, whose figures live until they are closed."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # off screen, whatever the user's backend is

        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]
        for logger in self.loggers:
            if writer := _tensorboard(logger):
                writer.add_image(tag, pixels, step, dataformats="HWC")
            elif _is_wandb(logger):
                logger.log_image(key=tag, images=[pixels], step=step)  # type: ignore[attr-defined]
        if self.folder is not None and self.loggers:
            path = self.folder / f"{tag}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            canvas.print_png(path)


def _tensorboard(logger: Logger) -> Any | None:
    """Return a logger's TensorBoard writer, or one with the same methods."""
    experiment = getattr(logger, "experiment", None)
    return experiment if hasattr(experiment, "add_text") and hasattr(experiment, "add_image") else None


def _is_wandb(logger: Logger) -> bool:
    """Tell Weights & Biases, or a logger with the same methods, without importing what may not be installed."""
    return hasattr(logger, "log_table") and hasattr(logger, "log_image")
