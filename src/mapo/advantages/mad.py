"""The reward's distance from its group's mean in mean absolute deviations: DGPO's advantage."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from mapo.advantages.base import Advantage
from mapo.advantages.groups import check_divisor, checked_groups, has_signal
from mapo.functional.masking import masked_mean
from mapo.types import Phase, Scores


def mad_score(
    rewards: Float[Tensor, "B G"], *, valid: Bool[Tensor, "B G"] | None = None, eps: float = 1e-6
) -> Float[Tensor, "B G"]:
    """Return each reward's distance from its group's mean, in mean absolute deviations of the group.

    A = (r - μ) / (mean |r - μ| + ε), with μ the mean reward of the group. Σ |A| is then the same in every group with a
    signal, the number of its completions, whatever its success rate.

    Source: the difficulty-balanced advantage of DGPO (https://arxiv.org/abs/2601.20614). Deviation: DGPO also weighs
    questions by their difficulty, which is not here.

    Args:
        rewards: One reward per completion in [0, 1]; a row is a prompt, a column one of its completions.
        valid: Completions that could be scored; mean and deviation are theirs alone. All of them when None.
        eps: Added to the deviation, in units of reward.

    Returns:
        Dimensionless advantages that sum to 0 over the valid completions of every row; 0 where invalid. A row of equal
        rewards, or of fewer than 2 valid ones, gives zeros.

    Raises:
        ValueError: A reward outside [0, 1], fewer than 2 completions per group, or a negative eps.

    Example:
        >>> mad_score(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), eps=0.0)
        tensor([[ 2.0000, -0.6667, -0.6667, -0.6667]])
    """
    check_divisor(eps=eps)
    rewards, valid = checked_groups(rewards, valid)
    distance = rewards - masked_mean(rewards, valid, dim=1, keepdim=True)
    deviation = masked_mean(distance.abs(), valid, dim=1, keepdim=True)
    return torch.where(valid & has_signal(rewards, valid), distance / (deviation + eps), 0.0)


@dataclass(frozen=True)
class MADScore(Advantage):
    """DGPO: the reward's distance from its group's mean, in mean absolute deviations."""

    eps: float = 1e-6
    """Added to the deviation, in units of reward."""

    def __post_init__(self) -> None:
        check_divisor(eps=self.eps)

    @override
    def __call__(self, scores: Scores, phase: Phase) -> Float[Tensor, "B G"]:
        return mad_score(scores.rewards, valid=scores.valid, eps=self.eps)
