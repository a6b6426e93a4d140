"""Reward components to scores: one call per component for all completions, then groups as rows."""

import math
import warnings
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from mapo.functional.stages import told
from mapo.rewards.base import Reward
from mapo.types import Completion, Scores


def check_rewards(rewards: Sequence[Reward]) -> None:
    """Refuse reward components that cannot make up a total, a success or an accuracy.

    Args:
        rewards: The components of a run.

    Raises:
        ValueError: When there are none, a weight is negative or all are 0, two share a name, more than one is the
            accuracy, or none is required for success.

    Example:
        >>> check_rewards([])
        Traceback (most recent call last):
        ...
        ValueError: rewards is empty: name at least one component, such as mapo.rewards.math_answer.MathAnswer
    """
    if not rewards:
        raise ValueError("rewards is empty: name at least one component, such as mapo.rewards.math_answer.MathAnswer")
    for reward in rewards:
        if not (math.isfinite(reward.weight) and reward.weight >= 0):
            raise ValueError(f"weight of reward {reward.name!r} must be a finite number >= 0, got {reward.weight}")
    if sum(reward.weight for reward in rewards) == 0:
        raise ValueError("reward weights sum to 0: give at least one reward a weight above 0")
    twice = [name for name, count in Counter(reward.name for reward in rewards).items() if count > 1]
    if twice:
        raise ValueError(f"rewards name {twice} more than once: a component counts once, its weight says how much")
    accuracies = [reward.name for reward in rewards if reward.is_accuracy]
    if len(accuracies) > 1:
        raise ValueError(f"is_accuracy is set on {accuracies}: at most one reward can be the accuracy of the metrics")
    if not any(reward.required_for_success for reward in rewards):
        raise ValueError("no reward has required_for_success: set it on the one that says whether an answer is right")


def score_completions(rewards: Sequence[Reward], groups: Sequence[Sequence[Completion]]) -> Scores:
    """Score groups of completions by every component.

    total = Σ wᵢ rᵢ / Σ wᵢ; success = valid and every required component equals 1; valid = no component is None.

    Args:
        rewards: Components that ``check_rewards`` accepts; each is called once, with all completions.
        groups: B groups of G completions.

    Returns:
        CPU tensors ``[B, G]``, float32 and bool. Where a component returned None, or NaN or ±∞, which is said in a
        warning, its entry in ``components`` is NaN, the total is 0 and success is False; the accuracy is 0 only where
        the accuracy itself could not be scored.

    Raises:
        ValueError: When groups differ in size, or a component returns the wrong number of values or one outside [0, 1].
    """
    shape = (len(groups), len(groups[0]) if groups else 0)
    if any(len(group) != shape[1] for group in groups):
        raise ValueError(f"groups must be of one size, got {sorted({len(group) for group in groups})}")
    flat = [completion for group in groups for completion in group]
    values = {reward.name: _values(reward, flat).reshape(shape) for reward in told(rewards, "reward components")}
    valid = torch.ones(shape, dtype=torch.bool)
    success = torch.ones(shape, dtype=torch.bool)
    total = torch.zeros(shape, dtype=torch.float64)  # so that weights such as .9 and .1 still make exactly 1
    for reward in rewards:
        value = values[reward.name]
        valid &= ~value.isnan()
        if reward.required_for_success:
            success &= value == 1
        total += reward.weight * value.nan_to_num(0.0)
    success &= valid
    accuracy = next((values[r.name].nan_to_num(0.0) for r in rewards if r.is_accuracy), success)
    return Scores(
        rewards=(total / sum(r.weight for r in rewards)).masked_fill(~valid, 0.0).float(),
        success=success,
        accuracy=accuracy.float(),
        valid=valid,
        components={name: value.float() for name, value in values.items()},
    )


def _values(reward: Reward, completions: Sequence[Completion]) -> Tensor:
    """Return one component's checked values as ``[N]`` float64, NaN for None and for what is no number."""
    values = list(reward(completions))
    if len(values) != len(completions):
        raise ValueError(f"reward {reward.name!r} returned {len(values)} values for {len(completions)} completions")
    for value, completion in zip(values, completions, strict=True):
        if value is not None and math.isfinite(value) and not 0 <= value <= 1:
            raise ValueError(
                f"reward {reward.name!r} returned {value} for sample {completion.prompt.sample_id!r}: a value must lie "
                "in [0, 1] (write a penalty as earned credit), or be None where it could not be scored"
            )
    checked = [math.nan if value is None or not math.isfinite(value) else float(value) for value in values]
    broken = [place for place, value in enumerate(values) if value is not None and not math.isfinite(value)]
    if broken:
        first = broken[0]
        warnings.warn(
            f"reward {reward.name!r} returned {values[first]} for sample {completions[first].prompt.sample_id!r}, "
            f"which is taken for 'could not be scored' ({len(broken)} of {len(values)} completions); it trains nothing",
            stacklevel=3,
        )
    return torch.tensor(checked, dtype=torch.float64)
