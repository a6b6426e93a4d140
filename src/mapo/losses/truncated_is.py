"""The policy gradient under truncated importance weights: CISPO's loss."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from mapo.losses.base import PolicyLoss
from mapo.losses.ratio import check_shapes, log_ratio, ratio_of


def truncated_is_loss(
    logprobs: Float[Tensor, "N T"],
    old_logprobs: Float[Tensor, "N T"],
    advantages: Float[Tensor, " N"],
    completion_mask: Bool[Tensor, "N T"],
    *,
    min_weight: float,
    max_weight: float,
) -> tuple[Float[Tensor, "N T"], dict[str, Float[Tensor, "N T"]]]:
    """Return the loss of every token, and per-token statistics.

    loss = -w · A · logprobs with w = clip(ρ, min_weight, max_weight), a constant to the gradient, ρ the token's
    importance ratio and its logarithm clamped to ±20. A truncated weight weakens a token's gradient, where a clipped
    surrogate takes it away.

    Source: CISPO, eq. 4 and 5 of MiniMax-M1 (https://arxiv.org/abs/2506.13585).

    Args:
        logprobs: Of the current policy, in nats.
        old_logprobs: Of the policy that sampled, in nats; no gradient goes into them.
        advantages: Dimensionless, one per completion.
        completion_mask: True at trained tokens.
        min_weight: Smallest importance weight.
        max_weight: Largest importance weight.

    Returns:
        The loss per token in nats, 0 where masked whatever the other arguments hold there; its value says nothing, its
        gradient does. And, detached and 0 where masked, ``importance_ratio`` ρ and ``clip_fraction_low``, ``_high``: 1
        where that bound truncated the weight of a token with an advantage.

    Raises:
        ValueError: The shapes do not fit.

    Example:
        >>> import torch
        >>> logprobs = torch.tensor([[-1.0, -1.0]])
        >>> old = logprobs - torch.tensor([[2.0, 8.0]]).log()  # ρ = 2 and 8
        >>> truncated_is_loss(logprobs, old, torch.tensor([0.5]), torch.ones(1, 2, dtype=torch.bool), min_weight=0.0,
        ...     max_weight=5.0)[0]
        tensor([[1.0000, 2.5000]])
    """
    check_shapes(logprobs, old_logprobs, advantages, completion_mask)
    ratio = ratio_of(log_ratio(logprobs, old_logprobs, completion_mask)).detach()
    advantage = advantages.detach().unsqueeze(1)
    hidden = ~completion_mask
    # Masked before the product: an inf or NaN there would come back as 0 · inf in the gradient.
    loss = -ratio.clamp(min_weight, max_weight) * advantage * logprobs.masked_fill(hidden, 0.0)
    statistics = {
        "importance_ratio": ratio,
        "clip_fraction_low": ((ratio < min_weight) & (advantage != 0)).to(ratio.dtype),
        "clip_fraction_high": ((ratio > max_weight) & (advantage != 0)).to(ratio.dtype),
    }
    return loss.masked_fill(hidden, 0.0), {name: v.masked_fill(hidden, 0.0) for name, v in statistics.items()}


@dataclass(frozen=True)
class TruncatedISLoss(PolicyLoss):
    """CISPO: the policy gradient, every token weighed by its truncated importance ratio."""

    zero_without_advantage: ClassVar[bool] = True

    min_weight: float = 0.0
    """Smallest importance weight, in [0, 1]; 0 sets no bound."""
    max_weight: float = 5.0
    """Largest importance weight, >= 1."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_weight <= 1:
            raise ValueError(f"min_weight must lie in [0, 1], got {self.min_weight}; 0 sets no lower bound")
        if not self.max_weight >= 1:
            raise ValueError(f"max_weight must be >= 1, the weight of an on-policy token, got {self.max_weight}")

    @override
    def __call__(
        self,
        logprobs: Float[Tensor, "N T"],
        old_logprobs: Float[Tensor, "N T"],
        advantages: Float[Tensor, " N"],
        completion_mask: Bool[Tensor, "N T"],
    ) -> tuple[Float[Tensor, "N T"], dict[str, Float[Tensor, "N T"]]]:
        return truncated_is_loss(
            logprobs,
            old_logprobs,
            advantages,
            completion_mask,
            min_weight=self.min_weight,
            max_weight=self.max_weight,
        )
