"""Importance weights for completions whose sampler is not quite the policy: another engine, another precision."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mapo.functional.divergence import k3
from mapo.losses.ratio import log_ratio, ratio_of

Level = Literal["token", "sequence"]


def sampler_weights(
    old_logprobs: Float[Tensor, "N T"],
    sampling_logprobs: Float[Tensor, "N T"],
    completion_mask: Bool[Tensor, "N T"],
    *,
    level: Level,
    cap: float | None,
    mask_below: float | None,
    mask_above: float | None,
) -> tuple[Float[Tensor, "N T"], dict[str, Float[Tensor, "N T"]]]:
    """Return the weight of every token's loss, and per-token statistics.

    w = min(ρ, cap), and 0 where ρ < mask_below or ρ > mask_above. With r = old_logprobs - sampling_logprobs, at level
    "token" ρ = exp(r) of the token itself, at level "sequence" ρ = exp(Σ r) over its completion, in both cases with the
    exponent clamped to ±20.

    Source: truncated importance sampling, Yao et al., "Your efficient RL framework secretly brings you off-policy RL
    training" (https://fengyao.notion.site/off-policy-rl): level token, cap 2. Sequences, truncated or masked: Liu et
    al., "When speed kills stability" (https://richardli.xyz/rl-collapse): level sequence, cap or mask_above 2. IcePop
    (https://arxiv.org/abs/2510.18855): level token, no cap, mask_below 0.5, mask_above 5.

    Args:
        old_logprobs: Of the policy before the first step of the phase, in nats.
        sampling_logprobs: Of the engine that sampled the tokens, under the same law, in nats.
        completion_mask: True at trained tokens; a completion is never split over calls.
        level: Of what the ratio is.
        cap: Largest weight; none when None.
        mask_below: Tokens with a smaller ratio get no weight; None masks none.
        mask_above: Tokens with a larger ratio get no weight; None masks none.

    Returns:
        Weights, detached, 0 where masked; and, likewise, ``sampler_weight`` w, ``sampler_weight_square`` w²,
        ``sampler_capped_share`` and ``sampler_masked_share`` (1 where that bound acted), and ``sampler_kl``, the k3
        estimate of KL(sampler ‖ policy) in nats. Equal log-probs give weights of exactly 1.

    Raises:
        ValueError: The shapes do not fit.

    Example:
        >>> old, sampled = torch.tensor([[0.5, 0.25, 0.2]]).log(), torch.tensor([[0.5, 0.2, 0.05]]).log()
        >>> weights, _ = sampler_weights(old, sampled, torch.ones(1, 3, dtype=torch.bool),
        ...     level="token", cap=2.0, mask_below=None, mask_above=None)
        >>> weights
        tensor([[1.0000, 1.2500, 2.0000]])
    """
    for name, other in {"sampling_logprobs": sampling_logprobs, "completion_mask": completion_mask}.items():
        if other.shape != old_logprobs.shape:
            raise ValueError(
                f"{name} has shape {tuple(other.shape)}, expected that of old_logprobs, {tuple(old_logprobs.shape)}"
            )
    hidden = ~completion_mask
    old, sampled = (values.detach().masked_fill(hidden, 0.0) for values in (old_logprobs, sampling_logprobs))
    log_ratios = log_ratio(old, sampled, completion_mask)
    if level == "sequence":
        log_ratios = log_ratios.sum(dim=1, keepdim=True).expand_as(old)
    ratio = ratio_of(log_ratios)
    dropped = torch.zeros_like(hidden)
    if mask_below is not None:
        dropped = dropped | (ratio < mask_below)
    if mask_above is not None:
        dropped = dropped | (ratio > mask_above)
    weights = (ratio if cap is None else ratio.clamp_max(cap)).masked_fill(dropped | hidden, 0.0)
    statistics = {
        "sampler_weight": weights,
        "sampler_weight_square": weights.square(),
        "sampler_capped_share": ((ratio > weights) & ~dropped).to(ratio.dtype),
        "sampler_masked_share": dropped.to(ratio.dtype),
        "sampler_kl": k3(sampled, old),
    }
    return weights, {name: values.masked_fill(hidden, 0.0) for name, values in statistics.items()}


def effective_share(mean_weight: float, mean_square: float) -> float:
    """Return how many equally weighted tokens carry as much as these weighted ones, as a share of their number.

    ESS / N = (Σ w)² / (N Σ w²) = mean(w)² / mean(w²).

    Source: Kish, "Survey sampling" (1965); Owen, "Monte Carlo theory, methods and examples", chapter 9
    (https://artowen.su.domains/mc).

    Args:
        mean_weight: Mean of the weights w ≥ 0.
        mean_square: Mean of their squares.

    Returns:
        A share in [0, 1]: 1 for equal weights, 0 where none has any.

    Example:
        >>> effective_share(mean_weight=0.5, mean_square=0.5)  # half of the weights are 1, the others 0
        0.5
    """
    return mean_weight**2 / mean_square if mean_square != 0 else 0.0


@dataclass(frozen=True)
class SamplerCorrection:
    """Weights the loss by the ratio of policy to sampler; the default is truncated importance sampling per token."""

    level: Level = "token"
    """Ratio of every token by itself, or of its whole completion."""
    cap: float | None = 2.0
    """Largest weight, >= 1; no limit when null."""
    mask_below: float | None = None
    """Drop tokens (completions) with a smaller ratio, in [0, 1); null drops none."""
    mask_above: float | None = None
    """Drop tokens (completions) with a larger ratio, > 1; null drops none."""

    def __post_init__(self) -> None:
        if self.level not in ("token", "sequence"):
            raise ValueError(f"level must be 'token' or 'sequence', got {self.level!r}")
        if self.cap is not None and not self.cap >= 1:
            raise ValueError(f"cap must be >= 1, so that equal log-probs keep their weight, got {self.cap}")
        if self.mask_below is not None and not 0 <= self.mask_below < 1:
            raise ValueError(f"mask_below must lie in [0, 1), or be null, got {self.mask_below}")
        if self.mask_above is not None and not self.mask_above > 1:
            raise ValueError(f"mask_above must be > 1, or null, got {self.mask_above}")

    def __call__(
        self,
        old_logprobs: Float[Tensor, "N T"],
        sampling_logprobs: Float[Tensor, "N T"],
        completion_mask: Bool[Tensor, "N T"],
    ) -> tuple[Float[Tensor, "N T"], dict[str, Float[Tensor, "N T"]]]:
        """Return ``sampler_weights`` with these bounds."""
        return sampler_weights(
            old_logprobs,
            sampling_logprobs,
            completion_mask,
            level=self.level,
            cap=self.cap,
            mask_below=self.mask_below,
            mask_above=self.mask_above,
        )
