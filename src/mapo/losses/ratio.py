"""The importance ratio of tokens, from log-probs of two policies."""

from jaxtyping import Bool, Float
from torch import Tensor

MAX_LOG_RATIO = 20.0  # exp(20) = 4.9e8: far outside every clip range, far inside float32


def log_ratio(
    logprobs: Float[Tensor, "N T"], old_logprobs: Float[Tensor, "N T"], completion_mask: Bool[Tensor, "N T"]
) -> Float[Tensor, "N T"]:
    """Return log ρ = logprobs - old_logprobs in nats, 0 where masked; no gradient goes into the old ones.

    Example:
        >>> import torch
        >>> mask = torch.tensor([[True, False]])
        >>> log_ratio(torch.tensor([[-1.0, -torch.inf]]), torch.tensor([[-1.5, -torch.inf]]), mask)
        tensor([[0.5000, 0.0000]])
    """
    # Masked before any exp: an inf or NaN there would come back as 0 · inf in the gradient.
    return (logprobs - old_logprobs.detach()).masked_fill(~completion_mask, 0.0)


def ratio_of(log_ratio: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return exp(log ρ), with log ρ clamped to ±20."""
    return log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()


def check_shapes(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, completion_mask: Tensor) -> None:
    """Raise a ValueError that names the argument of a policy loss whose shape does not fit."""
    shapes = {"old_logprobs": old_logprobs.shape, "completion_mask": completion_mask.shape}
    for name, shape in shapes.items():
        if shape != logprobs.shape:
            raise ValueError(f"{name} has shape {tuple(shape)}, expected that of logprobs, {tuple(logprobs.shape)}")
    if advantages.shape != logprobs.shape[:1]:
        raise ValueError(
            f"advantages has shape {tuple(advantages.shape)}, expected one per completion, ({logprobs.shape[0]},)"
        )


def check_clip_range(clip_low: float, clip_high: float) -> None:
    """Raise a ValueError for a range from 1 - clip_low to 1 + clip_high that no ratio could be kept in."""
    if not 0 <= clip_low < 1:
        raise ValueError(f"clip_low must lie in [0, 1), got {clip_low}; the ratio is kept above 1 - clip_low")
    if not clip_high >= 0:
        raise ValueError(f"clip_high must be >= 0, got {clip_high}; the ratio is kept below 1 + clip_high")
