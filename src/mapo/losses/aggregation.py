"""How token losses become one number, in parts that add up exactly over micro-batches and ranks."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float64
from torch import Tensor
from typing_extensions import override


class Aggregation(ABC):
    """A weighted mean of token losses: Σ weight · loss / Σ normaliser, both sums over the whole mini-batch.

    Weights depend on their own completion alone and normalisers add up, so any partition of the completions into
    micro-batches and ranks gives the same loss and gradient. Both are float64: sums then do not depend on their order.
    """

    @abstractmethod
    def token_weights(self, completion_mask: Bool[Tensor, "N T"]) -> Float64[Tensor, "N T"]:
        """Return the weight of every token, 0 where masked.

        Args:
            completion_mask: True at trained tokens; a completion is never split over calls.
        """

    @abstractmethod
    def normaliser(self, completion_mask: Bool[Tensor, "N T"]) -> Float64[Tensor, ""]:
        """Return these completions' share of the normaliser; 0 where nothing is trained.

        Args:
            completion_mask: True at trained tokens. A completion without any has no share.
        """

    def with_limit(self, max_completion_tokens: int) -> "Aggregation":
        """Return this aggregation, told the length limit of the rollouts; most do not need it."""
        return self


@dataclass(frozen=True)
class TokenMean(Aggregation):
    """Mean over all trained tokens: Σ loss / number of tokens.

    Long completions weigh more than short ones. Source: DAPO, eq. 8 (https://arxiv.org/abs/2503.14476), and MAPO.

    Example:
        >>> TokenMean().normaliser(torch.tensor([[True, True], [True, False]]))
        tensor(3., dtype=torch.float64)
    """

    @override
    def token_weights(self, completion_mask: Bool[Tensor, "N T"]) -> Float64[Tensor, "N T"]:
        return completion_mask.to(torch.float64)

    @override
    def normaliser(self, completion_mask: Bool[Tensor, "N T"]) -> Float64[Tensor, ""]:
        return completion_mask.sum(dtype=torch.float64)


@dataclass(frozen=True)
class SequenceMean(Aggregation):
    """Mean over completions of each one's mean over its tokens.

    Every completion weighs the same, so a token of a short one weighs more. Source: GRPO, eq. 3
    (https://arxiv.org/abs/2402.03300).

    Example:
        >>> SequenceMean().token_weights(torch.tensor([[True, True], [True, False]]))
        tensor([[0.5000, 0.5000],
                [1.0000, 0.0000]], dtype=torch.float64)
    """

    @override
    def token_weights(self, completion_mask: Bool[Tensor, "N T"]) -> Float64[Tensor, "N T"]:
        weights = completion_mask.to(torch.float64)
        return weights / weights.sum(dim=1, keepdim=True).clamp_min(1.0)

    @override
    def normaliser(self, completion_mask: Bool[Tensor, "N T"]) -> Float64[Tensor, ""]:
        return _num_trained(completion_mask)


@dataclass(frozen=True)
class ConstantLength(Aggregation):
    """Sum over tokens, divided by a length that is the same for all: Σ loss / (number of completions · L).

    No length bias: a token weighs the same whatever its completion's length. Source: Dr. GRPO
    (https://arxiv.org/abs/2503.20783), whose code takes the generation limit for L.

    Example:
        >>> ConstantLength(max_completion_tokens=10).normaliser(torch.tensor([[True, True], [True, False]]))
        tensor(20., dtype=torch.float64)
    """

    max_completion_tokens: int | None = None
    """L, in tokens; the rollouts' own limit when None."""

    def __post_init__(self) -> None:
        if self.max_completion_tokens is not None and self.max_completion_tokens < 1:
            raise ValueError(f"max_completion_tokens must be >= 1, got {self.max_completion_tokens}")

    @override
    def with_limit(self, max_completion_tokens: int) -> "ConstantLength":
        """Return this aggregation with L filled in where it was None."""
        return self if self.max_completion_tokens else replace(self, max_completion_tokens=max_completion_tokens)

    @override
    def token_weights(self, completion_mask: Bool[Tensor, "N T"]) -> Float64[Tensor, "N T"]:
        return completion_mask.to(torch.float64)

    @override
    def normaliser(self, completion_mask: Bool[Tensor, "N T"]) -> Float64[Tensor, ""]:
        if self.max_completion_tokens is None:
            raise ValueError(
                "max_completion_tokens is None: give it, or call with_limit with the rollouts' limit first"
            )
        return _num_trained(completion_mask) * self.max_completion_tokens


def _num_trained(completion_mask: Bool[Tensor, "N T"]) -> Float64[Tensor, ""]:
    return completion_mask.any(dim=1).sum(dtype=torch.float64)
