"""How a policy is evaluated, and the figures of every set."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Literal

import torch
from lightning.pytorch import Trainer

from mapo.data.base import PromptDataModule
from mapo.metrics.accuracy import SampleAccuracy
from mapo.modules.records import EvaluationRecord
from mapo.types import Sampling

Mode = Literal["greedy", "sampled"]
_SUFFIX: dict[Mode, str] = {"sampled": "", "greedy": "_greedy"}


@dataclass(frozen=True, kw_only=True)
class Draws:
    """How the completions of some sets are drawn; a field that is left out is as for all other sets."""

    greedy: bool | None = None
    """Answer every prompt once with the most probable tokens."""
    num_samples: int | None = None
    """Completions drawn per prompt with ``sampling``; 0 for none."""
    sampling: Sampling | None = None
    """How they are drawn, given as a whole."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How completions are drawn in validation, test and prediction; the defaults are the paper's.

    Raises:
        ValueError: Nothing would be evaluated.
    """

    greedy: bool = True
    """Answer every prompt once with the most probable tokens; metrics end in ``_greedy``."""
    num_samples: int = 1
    """Completions drawn per prompt with ``sampling``; 0 for none."""
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.5, top_p=0.95))
    """How they are drawn; its length limit holds for greedy completions, too."""
    sets: dict[str, Draws] = field(default_factory=dict)
    """What differs for some sets, by name or by pattern such as ``mathverse_*``; a name wins over a pattern, of several
    patterns the first."""

    def __post_init__(self) -> None:
        if self.num_samples < 0 or (self.num_samples == 0 and not self.greedy):
            raise ValueError(f"evaluation needs greedy: true or num_samples >= 1, got num_samples={self.num_samples}")
        if self.num_samples and self.sampling.temperature == 0:
            raise ValueError("evaluation.sampling.temperature is 0: set num_samples: 0 and greedy: true instead")
        for key in self.sets:
            try:
                self.of(key)
            except ValueError as error:
                raise ValueError(f"evaluation.sets[{key!r}]: {error}") from error

    def of(self, set_name: str) -> "Evaluation":
        """Return how the completions of one set are drawn, with no further exceptions."""
        keys = [key for key in self.sets if fnmatchcase(set_name, key)]
        draws = self.sets.get(set_name) or (self.sets[keys[0]] if keys else Draws())
        given = {name: value for name, value in vars(draws).items() if value is not None}
        return replace(self, sets={}, **given)

    def modes(self, set_name: str) -> Iterator[tuple[Mode, int, Sampling]]:
        """Yield each mode of a set with its completions per prompt and its sampling."""
        own = self.of(set_name)
        if own.num_samples:
            yield "sampled", own.num_samples, own.sampling
        if own.greedy:
            limit = own.sampling.max_completion_tokens
            yield "greedy", 1, Sampling(temperature=0.0, max_completion_tokens=limit)


class Evaluator:
    """Counts every answer of every set, exactly on any number of ranks."""

    def __init__(self, evaluation: Evaluation) -> None:
        self._evaluation = evaluation
        self._metrics: dict[tuple[str, str, Mode], SampleAccuracy] = {}

    def reset(self) -> None:
        """Start at zero; an evaluation that was interrupted leaves nothing behind."""
        self._metrics.clear()

    def update(self, record: EvaluationRecord, device: torch.device) -> None:
        """Count one batch of this rank."""
        completions = record.rollouts.completions
        self._metric(record.stage, record.set_name, record.mode, device).update(
            record.scores.accuracy.to(device),
            valid=record.scores.valid.to(device),
            success=record.scores.success.to(device),
            truncated=torch.tensor([[c.truncated for c in group] for group in completions], device=device),
            lengths=torch.tensor([[len(c.token_ids) for c in group] for group in completions], device=device),
        )

    def compute(self, stage: str, set_names: list[str], trainer: Trainer, device: torch.device) -> dict[str, float]:
        """Return ``<stage>/<set>/<figure>`` over all ranks.

        Args:
            stage: ``val`` or ``test``.
            set_names: Every set, in the same order on every rank, so that none waits for another.
            trainer: Its data module knows the rows that could not be asked; they count as wrong.
            device: Where ranks exchange their counts.
        """
        data = getattr(trainer, "datamodule", None)
        figures = {}
        for set_name in set_names:
            bad = len(data.bad_rows.get(set_name, ())) if isinstance(data, PromptDataModule) else 0
            for mode, _, _ in self._evaluation.modes(set_name):
                metric = self._metric(stage, set_name, mode, device)
                metric.add_wrong(bad if trainer.is_global_zero else 0)
                for name, value in metric.compute().items():
                    figures[f"{stage}/{set_name}/{name}{_SUFFIX[mode]}"] = float(value)
        return figures

    def _metric(self, stage: str, set_name: str, mode: Mode, device: torch.device) -> SampleAccuracy:
        key = (stage, set_name, mode)
        if key not in self._metrics:
            counts = {name: num for name, num, _ in self._evaluation.modes(set_name)}
            self._metrics[key] = SampleAccuracy([k for k in (counts[mode],) if k > 1]).to(device)
        return self._metrics[key]
