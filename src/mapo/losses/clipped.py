"""The clipped surrogate of PPO, with DAPO's two bounds and the dual clip."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from mapo.losses.base import PolicyLoss
from mapo.losses.ratio import check_clip_range, check_shapes, log_ratio, ratio_of


def clipped_surrogate(
    logprobs: Float[Tensor, "N T"],
    old_logprobs: Float[Tensor, "N T"],
    advantages: Float[Tensor, " N"],
    completion_mask: Bool[Tensor, "N T"],
    *,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None,
) -> tuple[Float[Tensor, "N T"], dict[str, Float[Tensor, "N T"]]]:
    """Return the loss of every token, and per-token statistics.

    loss = -min(ρA, clip(ρ, 1 - clip_low, 1 + clip_high)A), and where A < 0 at most -dual_clip·A,
    with ρ = exp(logprobs - old_logprobs) and the log-ratio clamped to ±20.

    Source: PPO, eq. 7 (https://arxiv.org/abs/1707.06347); two bounds: DAPO, eq. 8 (https://arxiv.org/abs/2503.14476);
    dual clip: Ye et al. (https://arxiv.org/abs/1912.09729).

    Args:
        logprobs: Of the current policy, in nats.
        old_logprobs: Of the policy that sampled, in nats; no gradient goes into them.
        advantages: Dimensionless, one per completion.
        completion_mask: True at trained tokens.
        clip_low: How far below 1 the ratio is followed where A < 0.
        clip_high: How far above 1 the ratio is followed where A > 0.
        dual_clip: Largest ratio that is followed where A < 0; no limit when None.

    Returns:
        The loss per token, 0 where masked whatever the other arguments hold there; and, detached and 0 where masked,
        ``importance_ratio`` ρ and ``clip_fraction_low``, ``_high``, ``_dual``: 1 where that bound cut the gradient.

    Raises:
        ValueError: The shapes do not fit.

    Example:
        >>> loss, statistics = clipped_surrogate(torch.tensor([[1.5]]).log(), torch.zeros(1, 1), torch.tensor([2.0]),
        ...     torch.ones(1, 1, dtype=torch.bool), clip_low=0.2, clip_high=0.25, dual_clip=3.0)
        >>> loss, statistics["clip_fraction_high"]
        (tensor([[-2.5000]]), tensor([[1.]]))
    """
    check_shapes(logprobs, old_logprobs, advantages, completion_mask)
    ratio = ratio_of(log_ratio(logprobs, old_logprobs, completion_mask))
    advantage = advantages.detach().unsqueeze(1)
    surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - clip_low, 1 + clip_high) * advantage)
    if dual_clip is not None:
        surrogate = torch.where(advantage < 0, torch.maximum(surrogate, dual_clip * advantage), surrogate)
    cuts = {
        "clip_fraction_low": (advantage < 0) & (ratio < 1 - clip_low),
        "clip_fraction_high": (advantage > 0) & (ratio > 1 + clip_high),
        "clip_fraction_dual": (advantage < 0) & (ratio > (float("inf") if dual_clip is None else dual_clip)),
    }
    statistics = {"importance_ratio": ratio.detach()} | {name: cut.to(ratio.dtype) for name, cut in cuts.items()}
    hidden = ~completion_mask
    return -surrogate.masked_fill(hidden, 0.0), {k: v.masked_fill(hidden, 0.0) for k, v in statistics.items()}


@dataclass(frozen=True)
class ClippedPolicyLoss(PolicyLoss):
    """The clipped surrogate with its bounds; the defaults are MAPO's (DAPO's asymmetric range and the dual clip)."""

    zero_without_advantage: ClassVar[bool] = True

    clip_low: float = 0.2
    """How far below 1 the importance ratio is followed, in [0, 1)."""
    clip_high: float = 0.3
    """How far above 1 the importance ratio is followed, >= 0."""
    dual_clip: float | None = 3.0
    """Largest importance ratio that is followed where the advantage is negative, > 1; no limit when null."""

    def __post_init__(self) -> None:
        check_clip_range(self.clip_low, self.clip_high)
        if self.dual_clip is not None and not self.dual_clip > 1:
            raise ValueError(f"dual_clip must be > 1, got {self.dual_clip}; leave it out with null")

    @override
    def __call__(
        self,
        logprobs: Float[Tensor, "N T"],
        old_logprobs: Float[Tensor, "N T"],
        advantages: Float[Tensor, " N"],
        completion_mask: Bool[Tensor, "N T"],
    ) -> tuple[Float[Tensor, "N T"], dict[str, Float[Tensor, "N T"]]]:
        return clipped_surrogate(
            logprobs,
            old_logprobs,
            advantages,
            completion_mask,
            clip_low=self.clip_low,
            clip_high=self.clip_high,
            dual_clip=self.dual_clip,
        )
