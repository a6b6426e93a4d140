"""The reward's deviation relative to its group's mean: MAPO's Advantage Percent Deviation."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from mapo.advantages.base import Advantage
from mapo.advantages.groups import check_divisor, checked_groups, has_signal
from mapo.functional.masking import masked_mean
from mapo.types import Phase, Scores


def percent_deviation(
    rewards: Float[Tensor, "B G"], *, valid: Bool[Tensor, "B G"] | None = None, eps: float = 1e-6
) -> Float[Tensor, "B G"]:
    """Return each reward's deviation from its group's mean, relative to that mean.

    A = (r - μ) / (μ + ε), with μ the mean reward of the group.

    Source: the Advantage Percent Deviation of MAPO, eq. 4 (https://arxiv.org/abs/2509.18849); MaxRL's estimator
    (https://arxiv.org/abs/2602.02710) is the same quantity.

    Args:
        rewards: One reward per completion in [0, 1]; a row is a prompt, a column one of its completions.
        valid: Completions that could be scored; the mean is theirs alone. All of them when None.
        eps: Added to the mean, in units of reward.

    Returns:
        Dimensionless advantages that sum to 0 over the valid completions of every row; 0 where invalid. A row of equal
        rewards, all zeros included, or of fewer than 2 valid ones, gives zeros.

    Raises:
        ValueError: A reward outside [0, 1], fewer than 2 completions per group, or a negative eps.

    Example:
        >>> percent_deviation(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), eps=0.0)
        tensor([[ 3., -1., -1., -1.]])
    """
    check_divisor(eps=eps)
    rewards, valid = checked_groups(rewards, valid)
    mean = masked_mean(rewards, valid, dim=1, keepdim=True)
    return torch.where(valid & has_signal(rewards, valid), (rewards - mean) / (mean + eps), 0.0)


@dataclass(frozen=True)
class PercentDeviation(Advantage):
    """APD, also published as MaxRL: the reward's deviation from its group's mean, relative to that mean."""

    eps: float = 1e-6
    """Added to the mean, in units of reward."""

    def __post_init__(self) -> None:
        check_divisor(eps=self.eps)

    @override
    def __call__(self, scores: Scores, phase: Phase) -> Float[Tensor, "B G"]:
        return percent_deviation(scores.rewards, valid=scores.valid, eps=self.eps)
