"""One progress bar for the whole fit, counted in rollout phases."""

import math
import shutil
import sys
from collections.abc import Mapping, Sequence, Sized
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from typing_extensions import override

from mapo.callbacks.phase_stages import PhaseStages
from mapo.callbacks.phases import phases_finished, phases_planned, step_name
from mapo.callbacks.plain_bar import PlainBar
from mapo.callbacks.set_metrics import FIGURES, percent, set_metrics
from mapo.functional.stages import watch_stages
from mapo.modules.interruptible import Interruptible
from mapo.modules.startup import evaluation_names

_BAR = "{desc} |{bar:10}| {n_fmt}/{total_fmt} {unit}, {remaining} left, {elapsed} elapsed{postfix}"
_LINE = "{desc}: {n_fmt}/{total_fmt} {unit}, {remaining} left, {elapsed} elapsed{postfix}"
_WITHOUT_TOTAL = "{desc}: {n_fmt} {unit}, {elapsed} elapsed{postfix}"
_SECONDS_PER_STAGE = 1.0  # in a terminal
_MIN_COLUMNS = 100  # of a terminal with room for a bar beside the words


class PhaseProgressBar(TQDMProgressBar):
    """Shows the phases done of all epochs, how good the latest was, and the time left; in evaluations, rows per set.

    In evaluations, rows that an interrupted run had answered are done from the start, and pace and time left are those
    of the others.

    In a terminal it is a bar, in a narrow one its words alone. Elsewhere (a log file, a pipe, CI) it writes a plain
    line for the first phase, the last one, and in between at most one every ``seconds_per_line``; a quick evaluation
    writes none. Time left follows the average pace of this fit so far, validations included, so it is there from the
    first phase on. A phase that takes long says what it does and how far that is.

    Args:
        refresh_rate: Phases, or evaluated batches, between two updates; 0 shows nothing.
        seconds_per_line: Least time between two plain lines, in seconds.
    """

    def __init__(self, refresh_rate: int = 1, seconds_per_line: float = 5.0) -> None:
        super().__init__(refresh_rate=refresh_rate)
        if seconds_per_line < 0:
            raise ValueError(f"seconds_per_line must be >= 0, got {seconds_per_line}")
        self.seconds_per_line = seconds_per_line
        self._title, self._num_batches = "", math.inf

    # -- training ------------------------------------------------------------------------------------------------------

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.train_progress_bar = self._bar(
            "Training", f"{step_name(pl_module)}s", phases_planned(trainer), initial=phases_finished(trainer)
        )

    @override
    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        epochs = "" if trainer.max_epochs in (None, -1) else f"/{trainer.max_epochs}"
        self.train_progress_bar.set_description_str(f"Epoch {trainer.current_epoch + 1}{epochs}", refresh=False)

    @override
    def on_train_batch_start(self, *_: Any) -> None:
        if not self.is_disabled:
            seconds = _SECONDS_PER_STAGE if sys.stdout.isatty() else self.seconds_per_line
            watch_stages(PhaseStages(self.train_progress_bar, seconds).tell)

    @override
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        watch_stages(None)
        bar, done = self.train_progress_bar, phases_finished(trainer)
        bar.total = phases_planned(trainer)  # known only now where max_steps decides
        bar.bar_format = self._format(bar.total)
        if self._should_update(done, bar.total):
            bar.set_postfix_str(phase_figures(trainer.callback_metrics), refresh=False)
            _advance(bar, done)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pass  # the bar goes on through all epochs

    # -- evaluation: `val_progress_bar` is that of the set at hand, whatever the stage ---------------------------------

    @override
    def on_sanity_check_start(self, *_: Any) -> None:
        pass  # its bars are opened per set, like those of any validation

    @override
    def on_sanity_check_end(self, *_: Any) -> None:
        self._close_set()

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pass

    @override
    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self.has_dataloader_changed(dataloader_idx):
            title = "Sanity check" if trainer.sanity_checking else "Validation"
            self._open_set(pl_module, title, trainer.val_dataloaders, self.total_val_batches_current_dataloader)

    @override
    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        self._advance_set(pl_module, batch, batch_idx)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close_set()
        if trainer.state.fn == "fit" and not trainer.sanity_checking and self.is_enabled:
            figures = validation_figures(trainer.callback_metrics)
            step = f"{step_name(pl_module)} {phases_finished(trainer)}"
            self.train_progress_bar.write(f"Validation after {step}: {figures}")

    @override
    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pass

    @override
    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self.has_dataloader_changed(dataloader_idx):
            total = self.total_test_batches_current_dataloader
            self._open_set(pl_module, "Test", trainer.test_dataloaders, total)

    @override
    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        self._advance_set(pl_module, batch, batch_idx)

    @override
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close_set()

    @override
    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pass

    @override
    def on_predict_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self.has_dataloader_changed(dataloader_idx):
            total = self.total_predict_batches_current_dataloader
            self._open_set(pl_module, "Prediction", trainer.predict_dataloaders, total)

    @override
    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        self._advance_set(pl_module, batch, batch_idx)

    @override
    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close_set()

    def _open_set(self, pl_module: LightningModule, title: str, loaders: Any, num_batches: int | float) -> None:
        if self._val_progress_bar is not None:
            self._val_progress_bar.close()
        index = self._current_eval_dataloader_idx or 0
        name = evaluation_names(self.trainer)[index]
        # Rows of an interrupted run are done from the start: they must not make the others look fast.
        answered = pl_module.rows_answered(name) if isinstance(pl_module, Interruptible) else 0
        self._title, self._num_batches = title, num_batches
        total = num_rows(loaders, index, num_batches)
        self.val_progress_bar = self._bar(
            f"{title} {name}",
            "rows",
            total,
            initial=answered if total is None else min(answered, total),
            position=1 if self.trainer.state.fn == "fit" else 0,
        )

    def _advance_set(self, pl_module: LightningModule, batch: Sequence[Any], batch_idx: int) -> None:
        """Count the rows of the latest batch; every rank evaluates as many as this one, up to the last batch."""
        bar, records = self.val_progress_bar, getattr(pl_module, "last_evaluation", ())
        if records:
            bar.set_description_str(f"{self._title} {records[0].set_name}", refresh=False)
        done = bar.n + self.trainer.world_size * (len(batch) - getattr(pl_module, "last_resumed", 0))
        if bar.total is not None:
            done = bar.total if batch_idx + 1 >= self._num_batches else min(done, bar.total)
        if not bar.disable and done > bar.initial:
            bar.set_postfix_str(pace(done - bar.initial, bar.format_dict["elapsed"]), refresh=False)
        _advance(bar, done)

    def _close_set(self) -> None:
        if self._val_progress_bar is not None:
            self._val_progress_bar.close()
        self.reset_dataloader_idx_tracker()

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        watch_stages(None)
        for bar in (self._val_progress_bar, self._train_progress_bar):
            if bar is not None:
                bar.close()  # so that messages begin on a line of their own

    # -- bars ----------------------------------------------------------------------------------------------------------

    def _bar(self, title: str, unit: str, total: int | None, *, initial: int = 0, position: int = 0) -> Tqdm:
        arguments = {
            "desc": title,
            "unit": unit,
            "total": total,
            "initial": initial,
            "position": position,
            "leave": position == 0,
            "disable": self.is_disabled,
            "file": sys.stdout,
            "smoothing": 0,  # time left by the average pace: phases grow and shrink with the completions
            "dynamic_ncols": True,
            "bar_format": self._format(total),
        }
        if sys.stdout.isatty():
            return TerminalBar(**arguments)
        return PlainBar(seconds_per_line=self.seconds_per_line, always=unit != "rows", **arguments)

    def _format(self, total: int | None) -> str:
        if total is None:
            return _WITHOUT_TOTAL
        return _BAR if sys.stdout.isatty() and shutil.get_terminal_size().columns >= _MIN_COLUMNS else _LINE


class TerminalBar(Tqdm):
    """A bar that is drawn again for a word at its end, too."""

    def remark(self) -> None:
        """Draw it."""
        self.refresh()


def phase_figures(metrics: Mapping[str, Any]) -> str:
    """Return the latest phase in words; what was not logged is left out.

    Example:
        >>> phase_figures({"train/reward": 0.5, "train/accuracy": 0.25, "train/tokens_per_s": 2510.0})
        'reward 0.500, accuracy 25.0 %, 2.51k tokens/s'
    """
    words = {
        "loss": lambda value: f"loss {value:.3f}",
        "reward": lambda value: f"reward {value:.3f}",
        "accuracy": lambda value: f"accuracy {percent(value)}",
        "completion_length": lambda value: f"length {value:.0f} tokens",
        "tokens_per_s": lambda value: f"{Tqdm.format_sizeof(value)} tokens/s",
    }
    return ", ".join(
        word(float(metrics[f"train/{name}"])) for name, word in words.items() if f"train/{name}" in metrics
    )


def validation_figures(metrics: Mapping[str, Any]) -> str:
    """Return the accuracies of every validated set in words, or the loss of a module that does not sample.

    Example:
        >>> validation_figures({"val/grid/accuracy": 0.5, "val/grid/accuracy_greedy": 0.625})
        'grid sampled 50.0 % greedy 62.5 %'
    """
    return "; ".join(
        " ".join([name, *(f"{title} {show(figures[key])}" for title, (key, show) in FIGURES.items() if key in figures)])
        for name, figures in set_metrics(metrics, "val").items()
    )


def pace(rows: int, seconds: float) -> str:
    """Return how fast rows are answered, in words.

    Example:
        >>> pace(36, 10.0), pace(3, 10.0)
        ('3.6 rows/s', '3.3 s per row')
    """
    if rows < seconds:
        return f"{seconds / rows:,.1f} s per row"
    return f"{rows / max(seconds, 1e-3):,.1f} rows/s"


def num_rows(loaders: Any, index: int, num_batches: int | float) -> int | None:
    """Return the rows one loader gives to all ranks in so many batches; None where it does not tell.

    Args:
        loaders: One loader, or several in a list or by name, as Lightning takes them.
        index: Which of them.
        num_batches: Batches that will be run, after ``limit_val_batches`` and the like.
    """
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    loader = loaders[index] if isinstance(loaders, list | tuple) else loaders
    rows = getattr(loader, "prompts", None) or getattr(loader, "dataset", None)
    batch_size = getattr(loader, "batch_size", None)
    if not isinstance(rows, Sized) or not batch_size:
        return None
    return int(min(len(rows), num_batches * batch_size))


def _advance(bar: Tqdm, done: int) -> None:
    if not bar.disable:
        bar.n = done
        bar.refresh()
