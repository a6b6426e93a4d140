"""MAPO's own phenomena while training runs: certainty, reversion, mirror, and where the advantages go."""

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from typing_extensions import override

from mapo.advantages.base import Advantage
from mapo.advantages.family import family
from mapo.advantages.z_score import z_score
from mapo.callbacks.certainty_heatmap import success_heatmap
from mapo.callbacks.certainty_map import advantage_map
from mapo.callbacks.certainty_migration import migration_figure
from mapo.callbacks.completions import CompletionsTable
from mapo.callbacks.logger_media import LoggerMedia
from mapo.callbacks.phase_groups import PhaseGroups
from mapo.callbacks.phase_metrics import log_phase_metrics
from mapo.callbacks.phases import phases_finished
from mapo.functional.success_bins import success_bins
from mapo.metrics.certainty_statistics import certainty_statistics, guess_floor, success_histogram
from mapo.metrics.prompt_history import PromptHistory
from mapo.metrics.success_timeline import SuccessTimeline
from mapo.modules.mapo import MAPOModule

_GROUPS_OF_A_MAP = 512  # a phase of the paper


class CertaintyDiagnostics(Callback):
    """Logs what every phase says of certainty, and draws three figures at every validation.

    Scalars ``certainty/...`` over the groups of all ranks, whatever the advantage. Figures: the successes per group
    over the run, what every known advantage makes of the latest groups, and where prompts went that were seen more
    than once. ``docs/diagnostics.md`` says how to read them. A module that is no ``MAPOModule`` is left alone.

    Args:
        figures: Draw them; scalars are logged in any case.
        max_prompts: Most prompts, the first ones that come, whose difficulty is followed; a checkpoint holds some 50
            bytes of each.

    Attributes:
        latest: The metrics of the latest phase.
    """

    def __init__(self, figures: bool = True, max_prompts: int = 50_000) -> None:
        if max_prompts < 0:
            raise ValueError(f"max_prompts must be >= 0 (0 follows none), got {max_prompts}")
        self.figures = figures
        self.latest: dict[str, float] = {}
        self._timeline, self._history = SuccessTimeline(), PromptHistory(max_prompts)
        self._recent: deque[tuple[int, PhaseGroups]] = deque()  # with the index of their phase
        self._without_curve: set[str] = set()  # advantages that failed on these groups
        self._is_new = False  # groups that no figure has shown
        self._media = LoggerMedia((), None)
        self._fitting = False

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._fitting, self._media = stage == "fit", LoggerMedia.of(trainer)
        told = any(isinstance(callback, CompletionsTable) for callback in trainer.callbacks)  # type: ignore[attr-defined]
        if (loggers := self._media.without) and self.figures and self._fitting and not told:
            rank_zero_info(f"CertaintyDiagnostics: {loggers} shows no figures; their latest go to {self._media.folder}")

    # -- every phase ---------------------------------------------------------------------------------------------------

    @override
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if not isinstance(pl_module, MAPOModule) or pl_module.last_phase is None:
            return
        groups = PhaseGroups.of(pl_module.last_phase).of_all_ranks()
        if len(groups):
            self.latest = self._measure(groups, pl_module, pl_module.last_phase.index)
            log_phase_metrics(trainer, self.latest)
            self._remember(pl_module.last_phase.index, groups)

    def _measure(self, groups: PhaseGroups, module: MAPOModule, index: int) -> dict[str, float]:
        success, valid = groups.scores.success, groups.scores.valid
        histogram = success_histogram(success, valid=valid).tolist()
        self._timeline.add(index, histogram)
        found = {f"successes/{num:02}": count / len(groups) for num, count in enumerate(histogram)}
        if len(used := groups.used_groups()):
            found |= certainty_statistics(
                used.scores,
                used.advantages,
                z_scores=z_score(used.scores.rewards, valid=used.scores.valid),
                branches=module.advantage.branches(used.scores, used.phase(index, module.seed, module.advantage)),
            )
        bins = success_bins(success, valid=valid).tolist()
        found["retention"] = self._history.see(zip(groups.sample_ids, bins, strict=True))
        found["guess_floor"] = guess_floor(groups.num_choices)
        return {f"certainty/{name}": value for name, value in found.items() if math.isfinite(value)}

    def _remember(self, index: int, groups: PhaseGroups) -> None:
        if self.figures and self._media.has_figures:
            self._recent.append((index, groups))
            self._is_new = True
            while sum(len(groups) for _, groups in self._recent) - len(self._recent[0][1]) >= _GROUPS_OF_A_MAP:
                self._recent.popleft()

    # -- the figures ---------------------------------------------------------------------------------------------------

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._show(trainer, pl_module)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._show(trainer, pl_module)  # what came after the last validation

    def _show(self, trainer: Trainer, module: LightningModule) -> None:
        if not self._is_new or not isinstance(module, MAPOModule):
            return
        self._is_new = False
        step, groups = phases_finished(trainer), PhaseGroups.joined([groups for _, groups in self._recent])
        floor = guess_floor(groups.num_choices)
        heatmap = success_heatmap(self._timeline, floor=None if math.isnan(floor) else floor)
        self._media.figure("certainty/success_histogram", heatmap, step)
        if len(used := groups.used_groups()):
            methods, success = self._methods(module), used.scores.success & used.scores.valid
            self._media.figure("certainty/advantage_map", advantage_map(methods, success), step)
        moves = self._history.migration()
        if any(map(any, moves)):
            self._media.figure("certainty/migration", migration_figure(moves), step)

    def _methods(self, module: MAPOModule) -> dict[str, Float[Tensor, "B G"]]:
        """Return what every known advantage makes of the latest groups, and first what they were trained with."""
        phases = [(index, used) for index, groups in self._recent if len(used := groups.used_groups())]
        found = {f"{_name(module.advantage)}, in use": torch.cat([groups.advantages for _, groups in phases])}
        for cls in family():
            if cls is type(module.advantage):
                continue
            try:
                advantage = cls()
                found[_name(advantage)] = _again(advantage, phases, module.seed)
            except Exception as error:  # anybody's, raising anything: what no update uses must not end a run
                self._leave_out(cls.__name__, error)
        return found

    def _leave_out(self, name: str, error: Exception) -> None:
        if name not in self._without_curve:
            self._without_curve.add(name)
            rank_zero_warn(f"{name} is not in the advantage map: {type(error).__name__}: {error}")

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"timeline": self._timeline.state_dict(), "history": self._history.state_dict()}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self._fitting:  # `validate` of a checkpoint restores callbacks, too, but continues nothing
            self._timeline.load_state_dict(state_dict["timeline"])
            self._history.load_state_dict(state_dict["history"])


def _again(advantage: Advantage, phases: Sequence[tuple[int, PhaseGroups]], seed: int) -> Float[Tensor, "B G"]:
    """Return what an advantage makes of every phase's groups, one phase after another."""
    made = [advantage(groups.scores, groups.phase(index, seed, advantage)) for index, groups in phases]
    for advantages, (_, groups) in zip(made, phases, strict=True):
        if advantages.shape != groups.advantages.shape:
            raise ValueError(f"expected shape {tuple(groups.advantages.shape)}, got {tuple(advantages.shape)}")
    return torch.cat(made)


def _name(advantage: Advantage) -> str:
    """Return the class, and what the first words of its docstring call the method."""
    known, colon, _ = (type(advantage).__doc__ or "").partition(":")
    called = known.partition(",")[0]
    return type(advantage).__name__ + (f" ({called})" if colon and len(called.split()) <= 3 else "")
