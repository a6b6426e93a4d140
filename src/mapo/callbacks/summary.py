"""What a run came to: accuracies before and after, in the terminal and as a file."""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from typing_extensions import override

from mapo.callbacks.category_table import category_table
from mapo.callbacks.closing_table import STRICT_MATCH, evaluation_table, fit_table, summary_table
from mapo.callbacks.log_dir import log_dir
from mapo.callbacks.own_table import own_table
from mapo.callbacks.phases import phases_finished, step_name
from mapo.callbacks.ranks import gather, is_rank_zero
from mapo.callbacks.results_file import versions, write_results
from mapo.callbacks.set_metrics import set_metrics, summary_metrics
from mapo.callbacks.timeline import Timeline
from mapo.data.base import PromptDataModule
from mapo.modules.evaluator import Evaluator
from mapo.modules.records import PhaseRecord


class ClosingSummary(Callback):
    """Prints a table of accuracies at the end of ``fit``, ``validate`` and ``test``, and writes ``results.json``.

    For a fit, "before" is the first validation: a ``trainer.validate`` ahead of ``trainer.fit`` with the same trainer,
    or else the first one in the fit; a resumed run keeps that of its checkpoint. Sanity checks do not count.
    ``results.json`` lies in the logger's folder: ``sets`` holds every validation metric as ``{before, after,
    before_phase, after_phase}`` in the metric's own unit (accuracies are shares of 1); an evaluation on its own has
    ``after`` alone. ``summary`` holds the paper's summary of all sets likewise, ``bad_rows`` what is wrong with rows
    that could not be asked. ``seconds`` is the wall time of the fit, ``tokens_sampled`` the tokens of all training
    completions on all ranks; both go on over resumes.
    """

    def __init__(self) -> None:
        self._timeline = Timeline()
        self._summary = Timeline()
        self._folder: Path | None = None
        self._fitting = self._training = False
        self._started: float | None = None
        self._seconds = 0.0  # of the parts of this run that are over
        self._tokens = 0  # of this rank; on rank 0 also of the run before a resume
        self._tokens_of_all: int | None = None

    # -- what is remembered --------------------------------------------------------------------------------------------

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._folder, self._fitting = log_dir(trainer), stage == "fit"
        self._started = time.monotonic() if self._fitting else None

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._training = True

    @override
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        record: PhaseRecord | None = getattr(pl_module, "last_phase", None)
        if record is not None:
            self._tokens += sum(len(one.token_ids) for group in record.rollouts.completions for one in group)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        metrics, phase = trainer.callback_metrics, phases_finished(trainer)
        self._timeline.read(set_metrics(metrics, "val"), phase)
        self._summary.read(summary_metrics(metrics, "val"), phase)
        if trainer.state.fn == "validate":
            self._close_evaluation(trainer, pl_module, "val")

    @override
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close_evaluation(trainer, pl_module, "test")

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._tokens_of_all = sum(gather(self._tokens))

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run goes on from; every rank must call it."""
        seconds, tokens = self._seconds_so_far(), sum(gather(self._tokens))
        timelines = {"timeline": self._timeline.state_dict(), "summary": self._summary.state_dict()}
        return {**timelines, "seconds": seconds, "tokens": tokens}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if not self._fitting:  # `validate` of a checkpoint restores callbacks, too, but continues nothing
            return
        self._timeline = Timeline.from_state_dict(state_dict["timeline"])
        if "summary" in state_dict:  # checkpoints of version 0.1 have none
            self._summary = Timeline.from_state_dict(state_dict["summary"])
        self._seconds = state_dict["seconds"]
        self._tokens = state_dict["tokens"] if is_rank_zero() else 0

    def _seconds_so_far(self) -> float:
        return self._seconds + (0.0 if self._started is None else time.monotonic() - self._started)

    # -- what is said of it --------------------------------------------------------------------------------------------

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._seconds, self._started, self._training = self._seconds_so_far(), None, False
        if not trainer.is_global_zero:
            return
        tokens = self._tokens if self._tokens_of_all is None else self._tokens_of_all
        step = step_name(pl_module)
        if self._timeline.latest:
            table = fit_table(self._timeline, self._summary, step)
            _say("", "Closing summary of fit", table, *_bad_row_lines(_bad_rows(trainer)), *_rule(pl_module))
        else:
            _say("", "Closing summary of fit", "No validation ran in this fit, so there is nothing to compare.")
        sampled = f", {tokens:,} tokens sampled" if tokens else ""
        _say(f"{phases_finished(trainer)} {step}s in {_duration(self._seconds)}{sampled}")
        results = self._fit_results(trainer, pl_module, tokens=tokens, finished=True)
        path, reason = _saved_checkpoint(trainer)
        self._say_places(path, self._write(results), reason)

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if not (self._training and trainer.is_global_zero):
            return
        self._training, done = False, f"{phases_finished(trainer)} {step_name(pl_module)}s"
        tokens = self._tokens if trainer.world_size == 1 else None  # the other ranks may be gone
        try:
            path = self._write(self._fit_results(trainer, pl_module, tokens=tokens, finished=False))
            figures = "" if path is None else f"; its figures so far are in {_shown(path)}"
        except (
            OSError,
            ValueError,
        ) as error:  # a full disk may be what stopped the run, and that error must be the one that is seen
            figures = f"; its figures could not be written ({error})"
        _say(f"fit was broken off after {done} ({type(exception).__name__}), no closing summary{figures}")

    def _close_evaluation(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not trainer.is_global_zero:
            return
        name = "validate" if stage == "val" else stage
        sets, summary = (read(trainer.callback_metrics, stage) for read in (set_metrics, summary_metrics))
        bad, checkpoint = _bad_rows(trainer), str(trainer.ckpt_path) if trainer.ckpt_path else None
        _say("", f"Summary of {name}", *_evaluation_lines(pl_module, sets, summary, bad))
        results = {"stage": name, "sets": _after(sets), "summary": _after(summary), "bad_rows": bad}
        results["out_of_domain"] = _out_of_domain(trainer)
        path = self._write({**results, "checkpoint": checkpoint, **_origin(pl_module)})
        self._say_places(checkpoint, path)

    def _fit_results(
        self, trainer: Trainer, pl_module: LightningModule, *, tokens: int | None, finished: bool
    ) -> dict[str, Any]:
        return {
            "stage": "fit",
            "finished": finished,
            "sets": self._timeline.figures(),
            "summary": self._summary.figures(),
            "out_of_domain": _out_of_domain(trainer),
            "bad_rows": _bad_rows(trainer),
            "phases": phases_finished(trainer),
            "seconds": round(self._seconds_so_far(), 1),
            "tokens_sampled": tokens,
            "checkpoint": _saved_checkpoint(trainer)[0],
            **_origin(pl_module),
        }

    def _write(self, results: Mapping[str, Any]) -> Path | None:
        return None if self._folder is None else write_results(self._folder, results)

    def _say_places(self, checkpoint: str | None, results: Path | None, reason: str = "") -> None:
        places = {f"checkpoint{reason}": checkpoint, "logs": self._folder, "results": results}
        width = max(map(len, places))
        _say(*(f"{name:<{width}}  {_shown(Path(place))}" for name, place in places.items() if place))


def _evaluation_lines(
    pl_module: LightningModule,
    sets: Mapping[str, Mapping[str, float]],
    summary: Mapping[str, Mapping[str, float]],
    bad_rows: Mapping[str, Mapping[str, str]],
) -> list[str]:
    if not sets:
        return ["No set was evaluated."]
    components = [reward.name for reward in getattr(pl_module, "rewards", ()) if not reward.is_accuracy]
    further = [
        summary_table(summary) if summary else None,
        own_table(_own_figures(pl_module, sets)),
        category_table(sets),
    ]
    tables = "\n\n".join([evaluation_table(sets, components), *(table for table in further if table)])
    return [tables, *_bad_row_lines(bad_rows), *_rule(pl_module)]


def _own_figures(pl_module: LightningModule, sets: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return the figures that come from the benchmarks themselves, by set."""
    evaluator = getattr(pl_module, "evaluator", None)
    if not isinstance(evaluator, Evaluator):
        return {}
    usual = {name: evaluator.figure_names(name) | {"num_bad_rows", "num_bad_rows_greedy"} for name in sets}
    return {
        name: {metric: value for metric, value in found.items() if "/" not in metric and metric not in usual[name]}
        for name, found in sets.items()
    }


def _after(sets: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return the figures of an evaluation in the form of a fit's, with nothing before."""
    return {
        name: {
            metric: {"before": None, "before_phase": None, "after": value, "after_phase": None}
            for metric, value in metrics.items()
        }
        for name, metrics in sets.items()
    }


def _bad_rows(trainer: Trainer) -> dict[str, dict[str, str]]:
    """Return what is wrong with each row that could not be asked, by set and sample id."""
    data = getattr(trainer, "datamodule", None)
    found = data.bad_rows if isinstance(data, PromptDataModule) else {}
    return {name: dict(reasons) for name, reasons in found.items() if reasons}


def _out_of_domain(trainer: Trainer) -> list[str]:
    """Return the sets that the paper's summary counts as out of domain."""
    data = getattr(trainer, "datamodule", None)
    return list(data.out_of_domain_names) if isinstance(data, PromptDataModule) else []


def _bad_row_lines(bad_rows: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return one line per set that has bad rows; the first three are named, ``results.json`` has all."""
    return [
        f"{name}: {len(reasons)} {'bad row counts' if len(reasons) == 1 else 'bad rows count'} as wrong: "
        + "; ".join(f"{sample_id!r}: {reason}" for sample_id, reason in list(reasons.items())[:3])
        + ("; ..." if len(reasons) > 3 else "")
        for name, reasons in bad_rows.items()
    ]


def _saved_checkpoint(trainer: Trainer) -> tuple[str | None, str]:
    """Return the best checkpoint of the run and by what it is the best, or else its last one."""
    savers = [callback for callback in trainer.callbacks if isinstance(callback, ModelCheckpoint)]  # type: ignore[attr-defined]
    best = [(saver.best_model_path, f" (best {saver.monitor})" if saver.monitor else "") for saver in savers]
    last = [(saver.last_model_path, "") for saver in savers]
    return next(((path, reason) for path, reason in best + last if path), (None, ""))


def _origin(pl_module: LightningModule) -> dict[str, Any]:
    """Return what a figure has to be read with: the rule, the seed, the versions."""
    given = os.environ.get("PL_GLOBAL_SEED")
    seed = getattr(pl_module, "seed", None if given is None else int(given))
    return {"rule": next(iter(_rule(pl_module)), None), "seed": seed, "versions": versions()}


def _rule(pl_module: LightningModule) -> list[str]:
    """Return what accuracies mean; nothing for a module that does not sample answers."""
    return [STRICT_MATCH] if hasattr(pl_module, "last_phase") else []


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _say(*lines: str) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.flush()
