"""What every advantage asks of its groups, and what it may divide by."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

TOLERANCE = 1e-6  # what float32 weights of several components may add to a reward of 1


def checked_groups(
    rewards: Float[Tensor, "B G"], valid: Bool[Tensor, "B G"] | None
) -> tuple[Float[Tensor, "B G"], Bool[Tensor, "B G"]]:
    """Return the rewards in float32 or better, within [0, 1] and 0 where invalid, and which completions are valid.

    Args:
        rewards: One reward per completion; a row is a group.
        valid: Completions that could be scored; all of them when None.

    Raises:
        ValueError: Not a matrix, fewer than 2 completions per group, another shape or type of ``valid``, or a valid
            reward outside [0, 1] by more than 1e-6 or NaN.

    Example:
        >>> checked_groups(torch.tensor([[0.0, 1.2]]), None)
        Traceback (most recent call last):
        ValueError: rewards[0, 1] = 1.2 lies outside [0, 1]: ...
    """
    if rewards.ndim != 2:
        raise ValueError(f"rewards must be [B, G], a row per prompt, got shape {tuple(rewards.shape)}")
    if rewards.shape[1] < 2:
        raise ValueError(f"group_size must be >= 2, got {rewards.shape[1]}: a completion is judged against its group")
    valid = torch.ones_like(rewards, dtype=torch.bool) if valid is None else valid
    check_matches(valid, rewards, name="valid")
    _check_range(rewards, valid)
    rewards = rewards.to(torch.promote_types(rewards.dtype, torch.float32))
    return torch.where(valid, rewards, 0.0).clamp(0.0, 1.0), valid


def check_matches(flags: Bool[Tensor, "B G"], rewards: Float[Tensor, "B G"], *, name: str) -> None:
    """Raise a ValueError unless ``flags`` is a bool tensor of the rewards' shape."""
    if flags.shape != rewards.shape or flags.dtype != torch.bool:
        raise ValueError(
            f"{name} must be bool of the rewards' shape {tuple(rewards.shape)}, got {flags.dtype} {tuple(flags.shape)}"
        )


def has_signal(rewards: Float[Tensor, "B G"], valid: Bool[Tensor, "B G"]) -> Bool[Tensor, "B 1"]:
    """Return which groups have two valid rewards that differ.

    Compared as they are and not through their deviation: the float mean of twelve equal rewards of 0.1 is not 0.1, and
    what is left over, divided by it, would be an advantage.

    Example:
        >>> has_signal(torch.tensor([[1.0, 1.0], [1.0, 0.0]]), torch.tensor([[True, True], [True, False]]))
        tensor([[False], [False]])
    """
    highest = rewards.masked_fill(~valid, -torch.inf).amax(dim=1, keepdim=True)
    lowest = rewards.masked_fill(~valid, torch.inf).amin(dim=1, keepdim=True)
    return highest > lowest


def check_divisor(*, ddof: int = 0, eps: float = 0.0) -> None:
    """Raise a ValueError unless ``ddof`` is 0 or 1 and ``eps`` is not negative."""
    if ddof not in (0, 1):
        raise ValueError(f"ddof must be 0 (population, as the paper) or 1 (sample, as most trainers), got {ddof}")
    if not eps >= 0:
        raise ValueError(f"eps must be >= 0, got {eps}; it keeps the divisor away from 0")


def _check_range(rewards: Float[Tensor, "B G"], valid: Bool[Tensor, "B G"]) -> None:
    within = (rewards >= -TOLERANCE) & (rewards <= 1 + TOLERANCE)  # False for NaN
    outside = (~within & valid).nonzero()
    if len(outside):
        row, column = outside[0].tolist()
        raise ValueError(
            f"rewards[{row}, {column}] = {float(rewards[row, column]):.6g} lies outside [0, 1]: every reward component "
            "has to return values in [0, 1]; write a penalty as earned credit (1 = none), a failed verdict as None"
        )
