"""How often advantages turn the order of groups around: reversion and mirror, counted over pairs of groups."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mapo.functional.certainty import certainty, success_rate
from mapo.functional.masking import masked_mean, masked_std

TOLERANCE = 1e-3  # of rewards, certainties and advantages: what is closer counts as equal


def reversion_rate(
    advantages: Float[Tensor, "B G"],
    rewards: Float[Tensor, "B G"],
    success: Bool[Tensor, "B G"],
    *,
    valid: Bool[Tensor, "B G"],
) -> float:
    """Return how often the group with less to tell is the one that is pushed harder.

    Of all pairs of groups in which i is more certain than j (λᵢ > λⱼ) and its rewards differ less (σᵢ < σⱼ), the share
    with max |Aᵢ| > max |Aⱼ|. λ is MAPO's certainty, σ the population's deviation of the group's rewards.

    Source: the advantage reversion of MAPO (https://arxiv.org/abs/2509.18849), which shows it on one pair; counting it
    over pairs is this package's.

    Args:
        advantages: Of groups with signal; those whose rewards are all equal have to be left out.
        rewards: Of the same groups, in [0, 1].
        success: True where a completion succeeded.
        valid: Completions that could be scored.

    Returns:
        A share in [0, 1]; NaN where no pair can be compared.

    Example:
        >>> rewards = torch.tensor([[0.9, 1.0, 1.0, 1.0], [0.1, 0.1, 1.0, 1.0]])
        >>> z_scores = torch.tensor([[-1.732, 0.577, 0.577, 0.577], [-1.0, -1.0, 1.0, 1.0]])
        >>> reversion_rate(z_scores, rewards, rewards == 1, valid=torch.ones(2, 4, dtype=torch.bool))
        1.0
    """
    certain = certainty(success_rate(success, valid=valid))
    spread = masked_std(rewards, valid, dim=1)
    comparable = _above(certain) & _above(spread).T
    return _share(_above(advantages.abs().amax(dim=1)) & comparable, comparable)


def mirror_rate(
    advantages: Float[Tensor, "B G"], rewards: Float[Tensor, "B G"], *, valid: Bool[Tensor, "B G"]
) -> float:
    """Return how often groups of different levels cannot be told apart by their advantages.

    Of all pairs of groups whose mean rewards differ, the share with the same advantages, put in order.

    Source: the advantage mirror of MAPO (https://arxiv.org/abs/2509.18849), which shows it on one pair; counting it
    over pairs is this package's.

    Args:
        advantages: Of groups with signal, 0 where invalid; those whose rewards are all equal have to be left out.
        rewards: Of the same groups, in [0, 1].
        valid: Completions that could be scored.

    Returns:
        A share in [0, 1]; NaN where all groups have the same mean reward.

    Example:
        >>> rewards = torch.tensor([[0.0, 0.1, 0.1, 0.1], [0.9, 1.0, 1.0, 1.0]])
        >>> z_scores = torch.tensor([[-1.732, 0.577, 0.577, 0.577], [-1.732, 0.577, 0.577, 0.577]])
        >>> mirror_rate(z_scores, rewards, valid=torch.ones(2, 4, dtype=torch.bool))
        1.0
    """
    mean = masked_mean(rewards, valid, dim=1)
    profiles = advantages.sort(dim=1).values
    # The largest difference of two profiles, without a tensor of all pairs and completions.
    same = torch.cdist(profiles, profiles, p=math.inf) <= TOLERANCE
    comparable = _above(mean)  # every pair once: from the group with the higher mean
    return _share(same & comparable, comparable)


def _above(values: Float[Tensor, " B"]) -> Bool[Tensor, "B B"]:
    """Return for every pair (i, j) whether the value of i is the larger one."""
    return values[:, None] - values[None, :] > TOLERANCE


def _share(found: Bool[Tensor, "B B"], among: Bool[Tensor, "B B"]) -> float:
    count = int(among.sum())
    return int(found.sum()) / count if count else math.nan
