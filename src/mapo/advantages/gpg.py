"""The centered reward, amplified by how few groups carry a signal: GPG's advantage."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from mapo.advantages.base import Advantage
from mapo.advantages.centered import centered
from mapo.types import Phase, Scores


def amplified(
    rewards: Float[Tensor, "B G"],
    *,
    num_groups: int,
    num_active_groups: int,
    valid: Bool[Tensor, "B G"] | None = None,
) -> Float[Tensor, "B G"]:
    """Return each reward less its group's mean, amplified by the share of groups that carry a signal.

    A = (r - μ) · α, with μ the mean reward of the group and α = groups / groups whose rewards are not all equal. The
    mean of the loss over all groups is then the mean over those with a signal.

    Source: GPG (https://arxiv.org/abs/2504.02546), its α with F_norm = 1. Deviation: α counts the groups of the whole
    phase, not those of one device's batch.

    Args:
        rewards: One reward per completion in [0, 1]; a row is a prompt, a column one of its completions.
        num_groups: Groups of the phase over all ranks.
        num_active_groups: Those over all ranks whose valid rewards are not all equal.
        valid: Completions that could be scored; the mean is theirs alone. All of them when None.

    Returns:
        Advantages in units of reward that sum to 0 over the valid completions of every row; 0 where invalid. A row of
        equal rewards, or of fewer than 2 valid ones, gives zeros.

    Raises:
        ValueError: A reward outside [0, 1], fewer than 2 completions per group, or counts that cannot be those of a
            phase with these groups.

    Example:
        >>> import torch
        >>> amplified(torch.tensor([[1.0, 0.0], [1.0, 1.0]]), num_groups=2, num_active_groups=1)
        tensor([[ 1., -1.],
                [ 0.,  0.]])
    """
    advantages = centered(rewards, valid=valid)
    here = int((advantages != 0).any(dim=1).sum())
    if not here <= num_active_groups <= num_groups:
        raise ValueError(
            f"num_active_groups must lie between the {here} groups with a signal here and num_groups={num_groups}, got "
            f"{num_active_groups}; both count the groups of the whole phase, over all ranks"
        )
    return advantages * (num_groups / max(num_active_groups, 1))


@dataclass(frozen=True)
class Amplified(Advantage):
    """GPG: the centered reward times groups / groups with a signal, counted over all ranks."""

    @override
    def __call__(self, scores: Scores, phase: Phase) -> Float[Tensor, "B G"]:
        return amplified(
            scores.rewards,
            num_groups=phase.num_groups,
            num_active_groups=phase.num_active_groups,
            valid=scores.valid,
        )
