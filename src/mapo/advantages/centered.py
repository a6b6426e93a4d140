"""The reward less its group's mean: Dr. GRPO's advantage."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from mapo.advantages.base import Advantage
from mapo.advantages.groups import checked_groups, has_signal
from mapo.functional.masking import masked_mean
from mapo.types import Phase, Scores


def centered(rewards: Float[Tensor, "B G"], *, valid: Bool[Tensor, "B G"] | None = None) -> Float[Tensor, "B G"]:
    """Return each reward less its group's mean.

    A = r - μ, with μ the mean reward of the group.

    Source: Dr. GRPO (https://arxiv.org/abs/2503.20783).

    Args:
        rewards: One reward per completion in [0, 1]; a row is a prompt, a column one of its completions.
        valid: Completions that could be scored; the mean is theirs alone. All of them when None.

    Returns:
        Advantages in units of reward that sum to 0 over the valid completions of every row; 0 where invalid. A row of
        equal rewards, or of fewer than 2 valid ones, gives zeros.

    Raises:
        ValueError: A reward outside [0, 1], or fewer than 2 completions per group.

    Example:
        >>> centered(torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
        tensor([[ 0.7500, -0.2500, -0.2500, -0.2500]])
    """
    rewards, valid = checked_groups(rewards, valid)
    mean = masked_mean(rewards, valid, dim=1, keepdim=True)
    return torch.where(valid & has_signal(rewards, valid), rewards - mean, 0.0)


@dataclass(frozen=True)
class Centered(Advantage):
    """Dr. GRPO: the reward less its group's mean, not divided by anything."""

    @override
    def __call__(self, scores: Scores, phase: Phase) -> Float[Tensor, "B G"]:
        return centered(scores.rewards, valid=scores.valid)
