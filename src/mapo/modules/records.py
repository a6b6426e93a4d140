"""What a module leaves behind for callbacks to show: the latest phase, the latest evaluated batch."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
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
    """

    index: int
    rollouts: Rollouts
    scores: Scores
    advantages: Float[Tensor, "B G"]


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
