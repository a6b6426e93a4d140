"""How sure a group's outcome is: its success rate, and MAPO's certainty of it."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def success_rate(
    success: Bool[Tensor, "B G"],
    *,
    valid: Bool[Tensor, "B G"] | None = None,
    prior_successes: float = 0.0,
    prior_failures: float = 0.0,
) -> Float[Tensor, " B"]:
    """Return the share of a group's completions that succeeded.

    p = (N + a) / (n + a + b), with N successes among n valid completions: the mean of a Beta(a, b) prior on p after
    having seen them.

    Source: MAPO (https://arxiv.org/abs/2509.18849), for a = b = 0. Deviation: the prior is this package's.

    Args:
        success: True where a completion succeeded.
        valid: Completions that could be scored; all of them when None.
        prior_successes: a >= 0, successes imagined beforehand. a = b = 1 pulls p towards 1/2.
        prior_failures: b >= 0, failures imagined beforehand.

    Returns:
        p in [0, 1], float32; 0 for a group with nothing valid and no prior.

    Example:
        >>> success_rate(torch.tensor([[True, False, False, False]]))
        tensor([0.2500])
        >>> success_rate(torch.tensor([[True, False, False, False]]), prior_successes=1.0, prior_failures=1.0)
        tensor([0.3333])
    """
    counted = torch.ones_like(success) if valid is None else valid
    # In float64, so that an exact share such as 1/2 stays exact.
    successes = (success & counted).sum(dim=1).double() + prior_successes
    total = counted.sum(dim=1).double() + (prior_successes + prior_failures)
    return torch.where(total > 0, successes / total, 0.0).float()


def certainty(success_rate: Float[Tensor, " B"], *, num_valid: Int[Tensor, " B"] | None = None) -> Float[Tensor, " B"]:
    """Return MAPO's certainty of a group's outcome.

    λ = 1 - 4p(1 - p); with n = num_valid given, the unbiased form λ = max(0, 1 - 4p(1 - p) · n / (n - 1)).

    Source: MAPO (https://arxiv.org/abs/2509.18849). Deviation: for a p counted from n completions E[λ] is too
    high by 4p(1 - p) / n; the factor n / (n - 1) of an unbiased variance takes that away, up to the clamp.

    Args:
        success_rate: p in [0, 1].
        num_valid: How many completions p was counted from, for the unbiased form; the paper's form when None.

    Returns:
        λ in [0, 1]: 0 at p = 1/2, 1 where all or none succeeded. One completion (n = 1) gives 1.

    Example:
        >>> certainty(torch.tensor([0.0, 0.5, 0.75]))
        tensor([1.0000, 0.0000, 0.2500])
        >>> certainty(torch.tensor([0.75]), num_valid=torch.tensor([4]))
        tensor([0.])
    """
    spread = 4 * success_rate * (1 - success_rate)
    if num_valid is not None:
        spread = spread * num_valid / (num_valid - 1).clamp_min(1)
    return (1 - spread).clamp(0.0, 1.0)
