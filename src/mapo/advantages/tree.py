"""The deviation of a reward relative to the variance of a coin: TreeRPO's advantage."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from mapo.advantages.base import Advantage
from mapo.advantages.groups import check_divisor, checked_groups, has_signal
from mapo.functional.masking import masked_mean
from mapo.types import Phase, Scores


def tree_deviation(
    rewards: Float[Tensor, "B G"], *, valid: Bool[Tensor, "B G"] | None = None, eps: float = 1e-6
) -> Float[Tensor, "B G"]:
    """Return each reward's deviation from its group's mean, relative to the variance of a coin of that mean.

    A = (r - μ) / (μ(1 - μ) + ε), with μ the mean reward of the group. Where rewards are 0 or 1, μ(1 - μ) is their
    variance.

    Source: TreeRPO (https://arxiv.org/abs/2506.05183). Deviation: its groups are the branches of one node of a sampled
    tree, with the mean reward below each; here they are the completions of one prompt.

    Args:
        rewards: One reward per completion in [0, 1]; a row is a prompt, a column one of its completions.
        valid: Completions that could be scored; the mean is theirs alone. All of them when None.
        eps: Added to the variance, in units of reward squared.

    Returns:
        Advantages in units of 1 / reward that sum to 0 over the valid completions of every row; 0 where invalid. A row
        of equal rewards, or of fewer than 2 valid ones, gives zeros.

    Raises:
        ValueError: A reward outside [0, 1], fewer than 2 completions per group, or a negative eps.

    Example:
        >>> tree_deviation(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), eps=0.0)
        tensor([[ 4.0000, -1.3333, -1.3333, -1.3333]])
    """
    check_divisor(eps=eps)
    rewards, valid = checked_groups(rewards, valid)
    mean = masked_mean(rewards, valid, dim=1, keepdim=True)
    deviation = (rewards - mean) / (mean * (1 - mean) + eps)
    return torch.where(valid & has_signal(rewards, valid), deviation, 0.0)


@dataclass(frozen=True)
class TreeDeviation(Advantage):
    """TreeRPO: the reward's deviation from its group's mean, relative to the variance of a coin of that mean."""

    eps: float = 1e-6
    """Added to the variance, in units of reward squared."""

    def __post_init__(self) -> None:
        check_divisor(eps=self.eps)

    @override
    def __call__(self, scores: Scores, phase: Phase) -> Float[Tensor, "B G"]:
        return tree_deviation(scores.rewards, valid=scores.valid, eps=self.eps)
