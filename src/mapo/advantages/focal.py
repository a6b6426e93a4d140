"""The z-score, weighed down where the group has learned its prompt: F-GRPO's advantage."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from mapo.advantages.base import Advantage
from mapo.advantages.groups import check_divisor, check_matches, checked_groups
from mapo.advantages.z_score import z_score
from mapo.functional.certainty import success_rate
from mapo.types import Phase, Scores


def focal_z_score(
    rewards: Float[Tensor, "B G"],
    success: Bool[Tensor, "B G"],
    *,
    valid: Bool[Tensor, "B G"] | None = None,
    gamma: float = 0.5,
    ddof: int = 0,
    eps: float = 1e-6,
) -> Float[Tensor, "B G"]:
    """Return the z-score of each reward in its group, the less of it the more of the group succeeds.

    A = (1 - p)^γ · (r - μ) / (σ + ε), with p the success rate, μ and σ the mean and deviation of the group's rewards.

    Source: F-GRPO (https://arxiv.org/abs/2602.06717), whose weight is that of the focal loss.

    Args:
        rewards: One reward per completion in [0, 1]; a row is a prompt, a column one of its completions.
        success: True where every required reward component is fully earned.
        valid: Completions that could be scored; all statistics are theirs alone. All of them when None.
        gamma: γ >= 0, how steeply the weight falls; 0 is GRPO.
        ddof: 0 divides by n, 1 by n - 1 (most trainers).
        eps: Added to the deviation, in units of reward.

    Returns:
        Dimensionless advantages that sum to 0 over the valid completions of every row; 0 where invalid. A row of equal
        rewards, of fewer than 2 valid ones, or in which all succeed, gives zeros.

    Raises:
        ValueError: A reward outside [0, 1], fewer than 2 completions per group, shapes that differ, or a bad number.

    Example:
        >>> import torch
        >>> rewards = torch.tensor([[1.0, 1.0, 1.0, 0.0]])
        >>> focal_z_score(rewards, rewards == 1, gamma=1.0, eps=0.0)
        tensor([[ 0.1443,  0.1443,  0.1443, -0.4330]])
    """
    _check_gamma(gamma)
    rewards, valid = checked_groups(rewards, valid)
    check_matches(success, rewards, name="success")
    weight = (1 - success_rate(success, valid=valid)).unsqueeze(1) ** gamma
    return weight * z_score(rewards, valid=valid, ddof=ddof, eps=eps)


def _check_gamma(gamma: float) -> None:
    if not gamma >= 0:
        raise ValueError(f"gamma must be >= 0, got {gamma}; 0 is GRPO, below it learned prompts would weigh more")


@dataclass(frozen=True)
class FocalZScore(Advantage):
    """F-GRPO: the z-score, weighed down by (1 - p)^γ where many of the group succeed."""

    gamma: float = 0.5
    """γ >= 0, how steeply the weight falls with the success rate; 0 is GRPO."""
    ddof: int = 0
    """0 for the population's deviation, 1 for the sample's (most trainers)."""
    eps: float = 1e-6
    """Added to the deviation, in units of reward."""

    def __post_init__(self) -> None:
        _check_gamma(self.gamma)
        check_divisor(ddof=self.ddof, eps=self.eps)

    @override
    def __call__(self, scores: Scores, phase: Phase) -> Float[Tensor, "B G"]:
        return focal_z_score(
            scores.rewards, scores.success, valid=scores.valid, gamma=self.gamma, ddof=self.ddof, eps=self.eps
        )
