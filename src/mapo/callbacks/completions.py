"""Completions to look at: as a table with pictures in the logger, and every one of them as JSONL."""

import sys
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from typing_extensions import override

from mapo.callbacks.completion_cells import completion_cells
from mapo.callbacks.completion_rows import evaluation_rows, phase_rows
from mapo.callbacks.image_grid import image_grid
from mapo.callbacks.json_lines import Cursor, JsonLines
from mapo.callbacks.log_dir import log_dir
from mapo.callbacks.logger_media import LoggerMedia
from mapo.callbacks.phases import phases_finished
from mapo.callbacks.ranks import gather
from mapo.modules.records import EvaluationRecord, PhaseRecord
from mapo.types import Prompt


class CompletionsTable(Callback):
    """Shows sampled completions with their rewards and advantages, and keeps them all.

    TensorBoard and Weights & Biases get a table and the prompts' pictures at every validation and every
    ``every_n_phases`` phases (rank 0's first groups). With ``jsonl``, the run's folder gets ``completions.jsonl``
    (training), ``evaluation.jsonl`` (validation and test) and ``predictions.jsonl`` (predict), one row per completion,
    complete after every phase or batch; with several ranks, each writes its own ``completions.rank<r>.jsonl``. A
    resumed run cuts them back to its checkpoint.

    Args:
        every_n_phases: Phases between two tables of training completions; the first phase has one.
        num_groups: Prompts of a table.
        jsonl: Write the JSONL files.
        max_characters: Longer prompts and completions are shortened in the table, never in the JSONL files.
    """

    def __init__(
        self, every_n_phases: int = 10, num_groups: int = 2, jsonl: bool = True, max_characters: int = 1000
    ) -> None:
        given = {"every_n_phases": every_n_phases, "num_groups": num_groups, "max_characters": max_characters}
        for name, value in given.items():
            if value < 1:
                raise ValueError(f"{name} must be >= 1, got {value}")
        self.every_n_phases, self.num_groups, self.jsonl = every_n_phases, num_groups, jsonl
        self.max_characters = max_characters
        self._folder: Path | None = None
        self._media = LoggerMedia((), None)
        self._suffix = ""
        self._fitting = False
        self._files: dict[Path, JsonLines] = {}
        self._cursors: dict[str, Cursor] = {}
        self._settled: dict[Path, Cursor] | None = None  # before the validation that is running
        self._shown: dict[tuple[str, str], list[EvaluationRecord]] = {}

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._folder, self._fitting = log_dir(trainer), stage == "fit"
        self._suffix = f".rank{trainer.global_rank}" if trainer.world_size > 1 else ""
        self._media = LoggerMedia.of(trainer)
        if loggers := self._media.without:
            where = f"completions go to JSONL files in {self._folder}" if self.jsonl else "no completions are kept"
            missing = f"{loggers} shows no tables or figures"
            rank_zero_info(f"CompletionsTable: {missing}; {where}, figures to {self._media.folder}")

    # -- training ------------------------------------------------------------------------------------------------------

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for stem in ("completions", "evaluation"):
            if self._name(stem) in self._cursors:
                self._file(stem)  # cut it back now, whether or not a row follows

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        record: PhaseRecord | None = getattr(pl_module, "last_phase", None)
        if record is None:
            return
        rows = phase_rows(record, epoch=trainer.current_epoch)
        self._keep("completions", rows)
        if record.index % self.every_n_phases == 0:
            prompts = [encoded.prompt for encoded in record.rollouts.prompts[: self.num_groups]]
            shown = sum(map(len, record.rollouts.completions[: self.num_groups]))
            self._show_table("train", prompts, rows[:shown], record.index)
            self._show_images("train", prompts, record.index)

    # -- validation, test, prediction ----------------------------------------------------------------------------------

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._settled = {path: file.cursor for path, file in self._files.items()}

    @override
    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        if not trainer.sanity_checking:
            self._keep_evaluation(trainer, pl_module, batch, "evaluation")

    @override
    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        self._keep_evaluation(trainer, pl_module, batch, "evaluation")

    @override
    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        self._keep_evaluation(trainer, pl_module, batch, "predictions")

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._settled = None
        self._show_evaluation(trainer)

    @override
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._show_evaluation(trainer)

    @override
    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._shown.clear()
        if self.jsonl and self._folder is not None and trainer.is_global_zero:
            sys.stdout.write(f"predictions  {self._folder / self._name('predictions')}\n")

    def _keep_evaluation(self, trainer: Trainer, pl_module: LightningModule, batch: Any, stem: str) -> None:
        rewards = getattr(pl_module, "rewards", ())
        for record in getattr(pl_module, "last_evaluation", ()) if batch else ():  # an uneven last batch may be empty
            self._keep(stem, evaluation_rows(record, phase=phases_finished(trainer), rewards=rewards))
            records = self._shown.setdefault((f"{record.stage}/{record.set_name}", record.mode), [])
            if sum(len(shown.rollouts.prompts) for shown in records) < self.num_groups:
                records.append(record)

    def _show_evaluation(self, trainer: Trainer) -> None:
        phase = phases_finished(trainer)
        pictures: dict[str, list[Prompt]] = {}
        for (place, mode), records in self._shown.items():
            groups = [group for record in records for group in record.rollouts.completions][: self.num_groups]
            rows = [row for record in records for row in evaluation_rows(record, phase=phase)]
            prompts = [group[0].prompt for group in groups]
            self._show_table(f"{place}/{mode}", prompts, rows[: sum(map(len, groups))], phase)
            pictures[place] = prompts  # every mode asks the same prompts
        for place, prompts in pictures.items():
            self._show_images(place, prompts, phase)
        self._shown.clear()

    def _show_table(self, tag: str, prompts: list[Prompt], rows: list[dict[str, Any]], step: int) -> None:
        header, lines = completion_cells(prompts, rows, max_characters=self.max_characters)
        self._media.table(f"completions/{tag}", header, lines, step)

    def _show_images(self, tag: str, prompts: list[Prompt], step: int) -> None:
        figure = image_grid(prompts) if self._media.has_figures else None
        if figure is not None:
            self._media.figure(f"images/{tag}", figure, step)

    # -- the JSONL files -----------------------------------------------------------------------------------------------

    def _keep(self, stem: str, rows: list[dict[str, Any]]) -> None:
        if self.jsonl and self._folder is not None:
            self._file(stem).append(rows)

    def _file(self, stem: str) -> JsonLines:
        assert self._folder is not None
        name = self._name(stem)
        path = self._folder / name
        if path not in self._files:
            self._files[path] = JsonLines(path, self._cursors.get(name))
        return self._files[path]

    def _name(self, stem: str) -> str:
        return f"{stem}{self._suffix}.jsonl"

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return how far the files of every rank are written; every rank must call it.

        A validation that is broken off is run again on resume: its rows are not counted.
        """
        cursors = {path: file.cursor for path, file in self._files.items()} if self._settled is None else self._settled
        written = {path.name: list(cursor) for path, cursor in cursors.items() if path.parent == self._folder}
        return {"cursors": {name: cursor for files in gather(written) for name, cursor in files.items()}}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self._fitting:  # `validate` of a checkpoint restores callbacks, too, but continues nothing
            self._cursors = {name: Cursor(*cursor) for name, cursor in state_dict["cursors"].items()}
            self._files = {}
