"""How certain a group's outcome counts as: MAPO's own measure, and those of its ablations."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from mapo.functional.certainty import certainty
from mapo.functional.noise import stream_key, token_noise
from mapo.types import Phase


class Certainty(ABC):
    """The weight λ of the percent deviation in MAPO's mix; what is left, 1 - λ, goes to the z-score."""

    @abstractmethod
    def __call__(self, success_rate: Float[Tensor, " B"], phase: Phase) -> Float[Tensor, " B"]:
        """Return λ in [0, 1] for every group.

        Args:
            success_rate: p in [0, 1].
            phase: Names the groups, for those that draw random numbers.
        """


@dataclass(frozen=True)
class Quadratic(Certainty):
    """λ = 1 - 4p(1 - p): MAPO's own.

    Source: MAPO (https://arxiv.org/abs/2509.18849).
    """

    @override
    def __call__(self, success_rate: Float[Tensor, " B"], phase: Phase) -> Float[Tensor, " B"]:
        return certainty(success_rate)


@dataclass(frozen=True)
class Triangle(Certainty):
    """λ = |1 - 2p|: as the quadratic one at p = 0, 1/2 and 1, and straight lines in between.

    Source: an ablation of MAPO (https://arxiv.org/abs/2509.18849). Its formula could not be checked: this is the
    triangle between the quadratic one's three points.

    Example:
        >>> Triangle()(torch.tensor([0.0, 0.25, 0.5, 1.0]), Phase(0, 0, ("a", "b", "c", "d"), 4, 4))
        tensor([1.0000, 0.5000, 0.0000, 1.0000])
    """

    @override
    def __call__(self, success_rate: Float[Tensor, " B"], phase: Phase) -> Float[Tensor, " B"]:
        return (1 - 2 * success_rate).abs()


@dataclass(frozen=True)
class Random(Certainty):
    """λ uniform in [0, 1), whatever p is: a hash of the run's seed, the phase and the sample.

    A group gets the same λ on any number of ranks and in a resumed run.

    Source: an ablation of MAPO (https://arxiv.org/abs/2509.18849). Deviation: hashed instead of drawn.
    """

    @override
    def __call__(self, success_rate: Float[Tensor, " B"], phase: Phase) -> Float[Tensor, " B"]:
        keys = [stream_key(phase.seed, "certainty", phase.index, sample_id, 0) for sample_id in phase.sample_ids]
        first = torch.zeros(len(keys), dtype=torch.int64)
        return token_noise(torch.tensor(keys, dtype=torch.int64), first, first).to(success_rate)


@dataclass(frozen=True)
class Constant(Certainty):
    """The same λ for all groups: 0 is GRPO, 1 the percent deviation alone.

    Source: the case of MAPO (https://arxiv.org/abs/2509.18849) without its certainty.
    """

    value: float = 0.5
    """λ, in [0, 1]."""

    def __post_init__(self) -> None:
        if not 0 <= self.value <= 1:
            raise ValueError(f"value must lie in [0, 1], got {self.value}; it is the share of the percent deviation")

    @override
    def __call__(self, success_rate: Float[Tensor, " B"], phase: Phase) -> Float[Tensor, " B"]:
        return torch.full_like(success_rate, self.value)
