"""What a module leaves behind for callbacks to show: the latest phase, the latest evaluated batch."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Bool, Float, Int
from torch import Tensor

from mapo.types import Rollouts, Scores


@dataclass(frozen=True)
class PhaseRecord:
    """One finished rollout phase of this rank.

    Attributes:
        index: Rollout phases finished before it.
        rollouts: The sampled groups.
        scores: What the rewards said of them.
        advantages: What the policy was updated with.
        trained: Completions that it was updated on; the valid ones when None.
        steps: Optimizer step that trained on every group, -1 for one that was left out; equal shares when None.
    """

    index: int
    rollouts: Rollouts
    scores: Scores
    advantages: Float[Tensor, "B G"]
    trained: Bool[Tensor, "B G"] | None = None
    steps: Int[Tensor, " B"] | None = None


@dataclass(frozen=True)
class EvaluationRecord:
    """One evaluated batch of this rank.

    Attributes:
        stage: ``val``, ``test`` or ``predict``.
        set_name: The data set's name, as in the metric names.
        mode: ``greedy`` (one completion per prompt) or ``sampled``.
        rollouts: The completions.
        scores: What the rewards said of them.
    """

    stage: str
    set_name: str
    mode: Literal["greedy", "sampled"]
    rollouts: Rollouts
    scores: Scores
