"""The centered reward in deviations of the whole batch: the advantage of REINFORCE++ with a baseline."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from mapo.advantages.base import Advantage
from mapo.advantages.centered import centered
from mapo.advantages.groups import check_divisor
from mapo.types import Phase, Scores


def batch_normalised(
    rewards: Float[Tensor, "B G"],
    *,
    square_sum: float,
    count: float,
    valid: Bool[Tensor, "B G"] | None = None,
    eps: float = 1e-6,
) -> Float[Tensor, "B G"]:
    """Return each reward less its group's mean, in standard deviations of that difference over the whole batch.

    A = (r - μ) / (s + ε) with s = √(Σ (r - μ)² / n), μ the mean of the completion's own group and Σ over the n valid
    completions of all groups. The mean of r - μ over the batch is 0, so nothing is left to subtract.

    Source: REINFORCE++ with a baseline (https://arxiv.org/abs/2501.03262). Deviation: completions count alike in s,
    whatever their length; its KL is that of the loss here, not part of the reward.

    Args:
        rewards: One reward per completion in [0, 1]; a row is a prompt, a column one of its completions.
        square_sum: Σ (r - μ)² over all ranks; see ``square_sum_and_count``.
        count: n over all ranks, silent groups included.
        valid: Completions that could be scored; the mean is theirs alone. All of them when None.
        eps: Added to the deviation, in units of reward.

    Returns:
        Dimensionless advantages that sum to 0 over the valid completions of every row; 0 where invalid. A row of equal
        rewards, or of fewer than 2 valid ones, gives zeros.

    Raises:
        ValueError: A reward outside [0, 1], fewer than 2 completions per group, a negative eps, or a square sum smaller
            than that of these groups alone.

    Example:
        >>> import torch
        >>> rewards = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
        >>> batch_normalised(rewards, square_sum=0.5, count=4.0)
        tensor([[ 1.4142, -1.4142],
                [ 0.0000,  0.0000]])
    """
    check_divisor(eps=eps)
    advantages = centered(rewards, valid=valid)
    here = float(advantages.double().square().sum())
    if not square_sum >= here * (1 - 1e-6):  # summed in another order, it may round the other way
        raise ValueError(f"square_sum = {square_sum} is below the {here:.6g} of these groups; sum it over all ranks")
    if square_sum == 0:  # no group has a signal: nothing to divide by, and nothing to be divided
        return advantages
    return advantages / ((square_sum / count) ** 0.5 + eps)


def square_sum_and_count(
    rewards: Float[Tensor, "B G"], *, valid: Bool[Tensor, "B G"] | None = None
) -> tuple[float, float]:
    """Return Σ (r - μ)² and the number of valid completions of these groups; both add up over ranks.

    Example:
        >>> import torch
        >>> square_sum_and_count(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
        (0.5, 4.0)
    """
    total = centered(rewards, valid=valid).double().square().sum()
    return float(total), float(rewards.numel() if valid is None else valid.sum())


@dataclass(frozen=True)
class BatchNormalised(Advantage):
    """REINFORCE++, with a baseline: the centered reward in standard deviations of the whole batch, over all ranks."""

    eps: float = 1e-6
    """Added to the deviation, in units of reward."""

    def __post_init__(self) -> None:
        check_divisor(eps=self.eps)

    @override
    def batch_sums(self, scores: Scores) -> tuple[float, ...]:
        return square_sum_and_count(scores.rewards, valid=scores.valid)

    @override
    def __call__(self, scores: Scores, phase: Phase) -> Float[Tensor, "B G"]:
        if len(phase.batch_sums) != 2:
            raise ValueError(
                f"phase.batch_sums is {phase.batch_sums}, expected Σ (r - μ)² and the number of completions: "
                "sum BatchNormalised.batch_sums(scores) over all ranks"
            )
        square_sum, count = phase.batch_sums
        return batch_normalised(scores.rewards, square_sum=square_sum, count=count, valid=scores.valid, eps=self.eps)
