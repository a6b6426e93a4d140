"""The clipped surrogate with one importance ratio per completion: GSPO's loss."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from mapo.losses.base import PolicyLoss
from mapo.losses.ratio import check_clip_range, check_shapes, log_ratio, ratio_of


def sequence_surrogate(
    logprobs: Float[Tensor, "N T"],
    old_logprobs: Float[Tensor, "N T"],
    advantages: Float[Tensor, " N"],
    completion_mask: Bool[Tensor, "N T"],
    *,
    clip_low: float,
    clip_high: float,
) -> tuple[Float[Tensor, "N T"], dict[str, Float[Tensor, "N T"]]]:
    """Return the loss of every token, which is that of its completion, and per-token statistics.

    loss = -min(sA, clip(s, 1 - clip_low, 1 + clip_high)A) with s = exp(mean over the completion's tokens of log ρ), the
    geometric mean of its tokens' ratios ρ, and the mean clamped to ±20.

    Source: GSPO, eq. 5 and 7 (https://arxiv.org/abs/2507.18071). Its mean over completions is ``SequenceMean``.

    Args:
        logprobs: Of the current policy, in nats.
        old_logprobs: Of the policy that sampled, in nats; no gradient goes into them.
        advantages: Dimensionless, one per completion.
        completion_mask: True at trained tokens.
        clip_low: How far below 1 the ratio is followed where A < 0.
        clip_high: How far above 1 the ratio is followed where A > 0.

    Returns:
        The loss per token, 0 where masked whatever the other arguments hold there; and, detached and 0 where masked,
        ``importance_ratio`` s and ``clip_fraction_low``, ``_high``: 1 where that bound cut the completion's gradient.

    Raises:
        ValueError: The shapes do not fit.

    Example:
        >>> mask = torch.tensor([[True, True, False]])
        >>> ratios = torch.tensor([[1.0, 1.21, 9.0]])  # their geometric mean is 1.1
        >>> loss, _ = sequence_surrogate(ratios.log(), torch.zeros(1, 3), torch.tensor([2.0]), mask, clip_low=0.2,
        ...     clip_high=0.2)
        >>> loss
        tensor([[-2.2000, -2.2000,  0.0000]])
    """
    check_shapes(logprobs, old_logprobs, advantages, completion_mask)
    length = completion_mask.sum(dim=1, keepdim=True).clamp_min(1)
    ratio = ratio_of(log_ratio(logprobs, old_logprobs, completion_mask).sum(dim=1, keepdim=True) / length)
    advantage = advantages.detach().unsqueeze(1)
    surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - clip_low, 1 + clip_high) * advantage)
    statistics = {
        "importance_ratio": ratio.detach(),
        "clip_fraction_low": ((advantage < 0) & (ratio < 1 - clip_low)).to(ratio.dtype),
        "clip_fraction_high": ((advantage > 0) & (ratio > 1 + clip_high)).to(ratio.dtype),
    }
    hidden = ~completion_mask
    loss = (-surrogate).expand_as(logprobs).masked_fill(hidden, 0.0)
    return loss, {name: v.expand_as(logprobs).masked_fill(hidden, 0.0) for name, v in statistics.items()}


@dataclass(frozen=True)
class SequencePolicyLoss(PolicyLoss):
    """GSPO: the clipped surrogate with one importance ratio per completion; goes with ``SequenceMean``."""

    zero_without_advantage: ClassVar[bool] = True

    clip_low: float = 3e-4
    """How far below 1 the completion's ratio is followed, in [0, 1); a mean of log-ratios moves little."""
    clip_high: float = 4e-4
    """How far above 1 the completion's ratio is followed, >= 0."""

    def __post_init__(self) -> None:
        check_clip_range(self.clip_low, self.clip_high)

    @override
    def __call__(
        self,
        logprobs: Float[Tensor, "N T"],
        old_logprobs: Float[Tensor, "N T"],
        advantages: Float[Tensor, " N"],
        completion_mask: Bool[Tensor, "N T"],
    ) -> tuple[Float[Tensor, "N T"], dict[str, Float[Tensor, "N T"]]]:
        return sequence_surrogate(
            logprobs, old_logprobs, advantages, completion_mask, clip_low=self.clip_low, clip_high=self.clip_high
        )
