"""MAPO's advantage: z-score and percent deviation, mixed by the certainty of the group."""

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from mapo.advantages.base import Advantage
from mapo.advantages.certainty import Certainty, Quadratic
from mapo.advantages.groups import TOLERANCE, check_divisor, check_matches, checked_groups
from mapo.advantages.percent_deviation import percent_deviation
from mapo.advantages.z_score import z_score
from mapo.functional.certainty import certainty, success_rate
from mapo.types import Phase, Scores

SMALLEST_TELLING_GROUP = 6


def mixed_advantages(
    rewards: Float[Tensor, "B G"],
    success: Bool[Tensor, "B G"],
    *,
    valid: Bool[Tensor, "B G"] | None = None,
    ddof: int = 0,
    eps: float = 1e-6,
    unbiased: bool = False,
    prior_successes: float = 0.0,
    prior_failures: float = 0.0,
    weights: Float[Tensor, " B"] | None = None,
    max_advantage: float | None = None,
) -> Float[Tensor, "B G"]:
    """Return MAPO's advantages: percent deviation where the outcome is certain, z-score where it is open.

    A = (1 - λ) · (r - μ) / (σ + ε) + λ · (r - μ) / (μ + ε), with λ = 1 - 4p(1 - p) and p the group's success rate.

    Source: MAPO, eq. 6 and Algorithm 1 (https://arxiv.org/abs/2509.18849); its Figure 3 prints the two weights swapped.
    Deviations: p counts ``success`` as the rewards state it, not totals that equal 1; the last five arguments are this
    package's and off by default. Never normalise the result over a batch or a group: it is affine in r inside a group,
    so a z-score of it is GRPO again.

    Args:
        rewards: One reward per completion in [0, 1]; a row is a prompt, a column one of its completions.
        success: True where every required reward component is fully earned.
        valid: Completions that could be scored; all statistics are theirs alone. All of them when None.
        ddof: 0 for the population's deviation (the paper), 1 for the sample's (the published code).
        eps: Added to the deviation and to the mean, in units of reward.
        unbiased: Take the certainty that is right on average for p counted from few completions.
        prior_successes: Successes added to those counted in p.
        prior_failures: Failures added to those counted in p.
        weights: λ in [0, 1] of every group, instead of the one that p gives; see ``mapo.advantages.certainty``. Neither
            ``unbiased`` nor a prior goes with it.
        max_advantage: Clamp to ± this. A group whose only reward is one format credit reaches G - 1 without it, more
            than a right answer gets in an easier group; a clamped row no longer sums to 0.

    Returns:
        Dimensionless advantages that sum to 0 over the valid completions of every row unless clamped; 0 where invalid.
        A row of equal rewards, or of fewer than 2 valid ones, gives zeros.

    Raises:
        ValueError: A reward or weight outside [0, 1], fewer than 2 completions per group, shapes that differ, a bad
            number, or two corrections of the same certainty.

    Example:
        >>> import torch
        >>> mixed_advantages(torch.tensor([[0.9, 1.0, 1.0, 1.0]]), torch.tensor([[False, True, True, True]]))
        tensor([[-1.3182, 0.4394, 0.4394, 0.4394]])
    """
    _check(unbiased=unbiased, priors=(prior_successes, prior_failures), max_advantage=max_advantage)
    z_part, deviation_part = mixed_branches(
        rewards,
        success,
        valid=valid,
        ddof=ddof,
        eps=eps,
        unbiased=unbiased,
        prior_successes=prior_successes,
        prior_failures=prior_failures,
        weights=weights,
    )
    advantages = z_part + deviation_part
    return advantages if max_advantage is None else advantages.clamp(-max_advantage, max_advantage)


def mixed_branches(
    rewards: Float[Tensor, "B G"],
    success: Bool[Tensor, "B G"],
    *,
    valid: Bool[Tensor, "B G"] | None = None,
    ddof: int = 0,
    eps: float = 1e-6,
    unbiased: bool = False,
    prior_successes: float = 0.0,
    prior_failures: float = 0.0,
    weights: Float[Tensor, " B"] | None = None,
) -> tuple[Float[Tensor, "B G"], Float[Tensor, "B G"]]:
    """Return the two addends of MAPO's advantages.

    (1 - λ) · (r - μ) / (σ + ε) and λ · (r - μ) / (μ + ε), of the same sign everywhere.

    Source and arguments: those of ``mixed_advantages``, which adds the two.

    Returns:
        The share of the z-score, and that of the percent deviation.

    Example:
        >>> import torch
        >>> mixed_branches(torch.tensor([[0.9, 1.0, 1.0, 1.0]]), torch.tensor([[False, True, True, True]]))
        (tensor([[-1.2990, 0.4330, 0.4330, 0.4330]]), tensor([[-0.0192, 0.0064, 0.0064, 0.0064]]))
    """
    rewards, valid = checked_groups(rewards, valid)
    check_matches(success, rewards, name="success")
    if weights is not None:
        corrected = unbiased or prior_successes > 0 or prior_failures > 0
        _check_weights(weights, num_groups=len(rewards), corrected=corrected)
    else:
        rate = success_rate(success, valid=valid, prior_successes=prior_successes, prior_failures=prior_failures)
        weights = certainty(rate, num_valid=valid.sum(dim=1) if unbiased else None)
    share = weights.unsqueeze(1)
    deviation = percent_deviation(rewards, valid=valid, eps=eps)
    return (1 - share) * z_score(rewards, valid=valid, ddof=ddof, eps=eps), share * deviation


@dataclass(frozen=True)
class MixedAdvantage(Advantage):
    """MAPO: z-score and percent deviation, mixed by the certainty of the group; the defaults are the paper's."""

    ddof: int = 0
    """0 for the population's deviation (the paper), 1 for the sample's (the published code)."""
    eps: float = 1e-6
    """Added to the deviation and to the mean, in units of reward."""
    unbiased: bool = False
    """Use 1 - 4p(1 - p) n / (n - 1), the certainty that is right on average; for small groups."""
    prior_successes: float = 0.0
    """Successes added to those counted in the success rate, >= 0; 1 and 1 pull it towards 1/2."""
    prior_failures: float = 0.0
    """Failures added to those counted in the success rate, >= 0."""
    max_advantage: float | None = None
    """Clamp advantages to plus or minus this, > 0; off when null."""
    certainty: Certainty = Quadratic()  # noqa: RUF009 - recipes are frozen
    """λ, the share of the percent deviation in every group; others than the paper's are for ablations."""

    def __post_init__(self) -> None:
        check_divisor(ddof=self.ddof, eps=self.eps)
        priors = (self.prior_successes, self.prior_failures)
        _check(unbiased=self.unbiased, priors=priors, max_advantage=self.max_advantage)
        if self.unbiased and self.certainty != Quadratic():
            raise ValueError(f"unbiased corrects the quadratic certainty, got {self.certainty}; choose one of them")

    @override
    def __call__(self, scores: Scores, phase: Phase) -> Float[Tensor, "B G"]:
        return mixed_advantages(
            scores.rewards, scores.success, **self._settings(scores, phase), max_advantage=self.max_advantage
        )

    @override
    def check_group_size(self, group_size: int) -> None:
        corrected = self.unbiased or self.prior_successes > 0 or self.prior_failures > 0
        if group_size < SMALLEST_TELLING_GROUP and not corrected and self.certainty == Quadratic():
            warnings.warn(
                f"MixedAdvantage with group_size = {group_size}: a success rate counted from so few completions gives "
                "a coarse certainty that is too high on average (with 2, MAPO is GRPO). "
                f"Prefer group_size >= {SMALLEST_TELLING_GROUP}, unbiased=True, or a success prior.",
                stacklevel=2,
            )

    @override
    def branches(self, scores: Scores, phase: Phase) -> dict[str, Float[Tensor, "B G"]]:
        z_part, deviation_part = mixed_branches(scores.rewards, scores.success, **self._settings(scores, phase))
        return {"z_score": z_part, "percent_deviation": deviation_part}

    def _settings(self, scores: Scores, phase: Phase) -> dict[str, Any]:
        common = {"valid": scores.valid, "ddof": self.ddof, "eps": self.eps}
        if self.unbiased:
            return {**common, "unbiased": True}
        priors = {"prior_successes": self.prior_successes, "prior_failures": self.prior_failures}
        rate = success_rate(scores.success, valid=scores.valid, **priors)
        return {**common, "weights": self.certainty(rate, phase)}


def _check(*, unbiased: bool, priors: tuple[float, float], max_advantage: float | None) -> None:
    for name, value in zip(("prior_successes", "prior_failures"), priors, strict=True):
        if not value >= 0:
            raise ValueError(f"{name} must be >= 0, got {value}; it counts completions imagined beforehand")
    if unbiased and any(priors):
        raise ValueError(f"unbiased and a success prior {priors} correct the same certainty twice; choose one of them")
    if max_advantage is not None and not max_advantage > 0:
        raise ValueError(f"max_advantage must be > 0, got {max_advantage}; leave the cap out with null")


def _check_weights(weights: Float[Tensor, " B"], *, num_groups: int, corrected: bool) -> None:
    if corrected:
        raise ValueError("weights replace the certainty that unbiased and priors correct; give one or the other")
    if weights.shape != (num_groups,):
        raise ValueError(f"weights must be of shape ({num_groups},), one per group, got {tuple(weights.shape)}")
    within = (weights >= -TOLERANCE) & (weights <= 1 + TOLERANCE)  # False for NaN
    if not bool(torch.all(within)):
        raise ValueError(f"weights must lie in [0, 1], got {float(weights[~within][0]):.6g}; they mix two advantages")
