"""What the groups of a phase say of certainty, and where its advantages go."""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mapo.functional.certainty import certainty, success_rate
from mapo.functional.masking import masked_mean
from mapo.functional.success_bins import BINS, success_bins
from mapo.metrics.advantage_order import mirror_rate, reversion_rate
from mapo.types import Scores


def success_histogram(success: Bool[Tensor, "B G"], *, valid: Bool[Tensor, "B G"]) -> Int[Tensor, " G+1"]:
    """Return how many groups have 0, 1, ... G successes.

    Args:
        success: True where a completion succeeded.
        valid: Completions that could be scored.

    Example:
        >>> success = torch.tensor([[True, False], [False, False], [True, False]])
        >>> success_histogram(success, valid=torch.ones_like(success))
        tensor([1, 2, 0])
    """
    return (success & valid).sum(dim=1).bincount(minlength=success.shape[1] + 1)


def advantage_sums(
    advantages: Float[Tensor, "B G"], bins: Int[Tensor, " B"], branches: Mapping[str, Float[Tensor, "B G"]]
) -> dict[str, float]:
    """Return Σ |A| over the completions of every success bin, and over all of every branch of the advantage.

    Args:
        advantages: Dimensionless, 0 where invalid.
        bins: Of every group, indices into ``BINS``.
        branches: Addends of the advantages by name; none where they are of one piece.

    Example:
        >>> advantage_sums(torch.tensor([[2.0, -1.0], [0.5, -0.5]]), torch.tensor([0, 2]), {})
        {'none': 3.0, 'few': 0.0, 'half': 1.0, 'most': 0.0, 'all': 0.0}
    """
    of_groups = advantages.abs().double().sum(dim=1)
    sums = torch.zeros(len(BINS), dtype=torch.float64).index_add(0, bins, of_groups)
    by_branch = {name: float(values.abs().double().sum()) for name, values in branches.items()}
    return dict(zip(BINS, sums.tolist(), strict=True)) | by_branch


def guess_floor(num_choices: Sequence[int]) -> float:
    """Return the accuracy that guessing among the choices of every prompt has on average.

    Mean of 1 / k over the prompts, k being the number of choices; an open question, k = 0, counts as 0.

    Returns:
        A share in [0, 1]; NaN where no prompt offers choices.

    Example:
        >>> guess_floor([4, 4, 8, 0])
        0.15625
    """
    if not any(num_choices):
        return math.nan
    return math.fsum(1 / k for k in num_choices if k) / len(num_choices)


def certainty_statistics(
    scores: Scores,
    advantages: Float[Tensor, "B G"],
    *,
    z_scores: Float[Tensor, "B G"],
    branches: Mapping[str, Float[Tensor, "B G"]],
) -> dict[str, float]:
    """Return the statistics of a phase by name.

    Args:
        scores: Groups of all ranks that are trained on, at least one; every group has a valid completion.
        advantages: What they are trained with.
        z_scores: Plain GRPO's advantages of the same rewards.
        branches: Addends of the advantages by name.

    Returns:
        ``silent_share`` and ``silent_solved_share`` of all groups; ``active_certainty``, the mean λ of the others;
        ``advantage_sum/<bin or branch>``, Σ |A|; ``max_advantage``, max |A|; ``unsolved_advantage_share``, the share of
        Σ |A| in groups without a success; ``reversion_rate`` and ``mirror_rate``, and the same of the z-scores,
        ``..._grpo``. NaN where there is nothing to divide by.
    """
    rewards, success, valid = scores.rewards, scores.success, scores.valid
    bins, weight = success_bins(success, valid=valid), certainty(success_rate(success, valid=valid))
    silent, signal = (advantages == 0).all(dim=1), (z_scores != 0).any(dim=1)
    sums = advantage_sums(advantages, bins, branches)
    total = sum(sums[name] for name in BINS)
    on, order = valid[signal], {}
    for suffix, values in (("", advantages[signal]), ("_grpo", z_scores[signal])):
        order[f"reversion_rate{suffix}"] = reversion_rate(values, rewards[signal], success[signal], valid=on)
        order[f"mirror_rate{suffix}"] = mirror_rate(values, rewards[signal], valid=on)
    return {
        "silent_share": float(silent.double().mean()),
        "silent_solved_share": float((silent & (bins == len(BINS) - 1)).double().mean()),
        "active_certainty": float(masked_mean(weight, ~silent)) if not silent.all() else math.nan,
        **{f"advantage_sum/{name}": value for name, value in sums.items()},
        "max_advantage": float(advantages.abs().max()),
        "unsolved_advantage_share": sums["none"] / total if total else math.nan,
        **order,
    }
