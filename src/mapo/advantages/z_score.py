"""The z-score of a reward in its group: GRPO's advantage."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from mapo.advantages.base import Advantage
from mapo.advantages.groups import check_divisor, checked_groups, has_signal
from mapo.functional.masking import masked_mean, masked_std
from mapo.types import Phase, Scores


def z_score(
    rewards: Float[Tensor, "B G"], *, valid: Bool[Tensor, "B G"] | None = None, ddof: int = 0, eps: float = 1e-6
) -> Float[Tensor, "B G"]:
    """Return each reward's distance from its group's mean, in standard deviations of the group.

    A = (r - μ) / (σ + ε), with μ and σ the mean and the standard deviation of the group's rewards.

    Source: GRPO (https://arxiv.org/abs/2402.03300); MAPO (https://arxiv.org/abs/2509.18849).

    Args:
        rewards: One reward per completion in [0, 1]; a row is a prompt, a column one of its completions.
        valid: Completions that could be scored; mean and deviation are theirs alone. All of them when None.
        ddof: 0 divides by n (the paper), 1 by n - 1 (most trainers).
        eps: Added to the deviation, in units of reward.

    Returns:
        Dimensionless advantages that sum to 0 over the valid completions of every row; 0 where invalid. A row of equal
        rewards, or of fewer than 2 valid ones, gives zeros.

    Raises:
        ValueError: A reward outside [0, 1], fewer than 2 completions per group, or a bad ddof or eps.

    Example:
        >>> z_score(torch.tensor([[0.9, 1.0, 1.0, 1.0]]))
        tensor([[-1.7320, 0.5773, 0.5773, 0.5773]])
    """
    check_divisor(ddof=ddof, eps=eps)
    rewards, valid = checked_groups(rewards, valid)
    mean = masked_mean(rewards, valid, dim=1, keepdim=True)
    deviation = masked_std(rewards, valid, dim=1, keepdim=True, ddof=ddof)
    return torch.where(valid & has_signal(rewards, valid), (rewards - mean) / (deviation + eps), 0.0)


@dataclass(frozen=True)
class ZScore(Advantage):
    """GRPO: the z-score of a reward in its group."""

    ddof: int = 0
    """0 for the population's deviation (the paper), 1 for the sample's (most trainers)."""
    eps: float = 1e-6
    """Added to the deviation, in units of reward."""

    def __post_init__(self) -> None:
        check_divisor(ddof=self.ddof, eps=self.eps)

    @override
    def __call__(self, scores: Scores, phase: Phase) -> Float[Tensor, "B G"]:
        return z_score(scores.rewards, valid=scores.valid, ddof=self.ddof, eps=self.eps)
