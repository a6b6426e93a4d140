"""The reward less the mean of the others: RLOO's advantage."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from mapo.advantages.base import Advantage
from mapo.advantages.centered import centered
from mapo.types import Phase, Scores


def leave_one_out(rewards: Float[Tensor, "B G"], *, valid: Bool[Tensor, "B G"] | None = None) -> Float[Tensor, "B G"]:
    """Return each reward less the mean of its group's other rewards.

    A_i = r_i - Σ_{j≠i} r_j / (n - 1) = (r_i - μ) · n / (n - 1), with n valid completions of mean μ.

    Source: RLOO (https://arxiv.org/abs/2402.14740).

    Args:
        rewards: One reward per completion in [0, 1]; a row is a prompt, a column one of its completions.
        valid: Completions that could be scored; the others are valid ones. All of them when None.

    Returns:
        Advantages in units of reward that sum to 0 over the valid completions of every row; 0 where invalid. A row of
        equal rewards, or of fewer than 2 valid ones, gives zeros.

    Raises:
        ValueError: A reward outside [0, 1], or fewer than 2 completions per group.

    Example:
        >>> import torch
        >>> leave_one_out(torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
        tensor([[ 1.0000, -0.3333, -0.3333, -0.3333]])
    """
    advantages = centered(rewards, valid=valid)
    size = advantages.new_full((len(rewards), 1), rewards.shape[1])
    count = size if valid is None else valid.sum(dim=1, keepdim=True)
    return advantages * (count / (count - 1).clamp_min(1))


@dataclass(frozen=True)
class LeaveOneOut(Advantage):
    """RLOO: the reward less the mean of the group's other rewards."""

    @override
    def __call__(self, scores: Scores, phase: Phase) -> Float[Tensor, "B G"]:
        return leave_one_out(scores.rewards, valid=scores.valid)
