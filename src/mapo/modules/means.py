"""Weighted means that are exact over micro-batches and ranks: sums and counts, divided once."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Means:
    """Named running means; add sums and counts anywhere, divide at the end.

    Example:
        >>> means = Means()
        >>> means.add("reward", torch.tensor([1.0, 0.0, 0.5]))
        >>> means.add("reward", torch.tensor([0.5]))
        >>> means.compute()
        {'reward': 0.5}
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, name: str, values: Tensor, mask: Tensor | None = None) -> None:
        """Add the values where the mask is True (everywhere when None) to the mean called ``name``."""
        kept = values if mask is None else values[mask]
        kept = kept.detach().double()
        total = torch.stack([kept.sum(), torch.tensor(float(kept.numel()), dtype=kept.dtype, device=kept.device)]).cpu()
        self._sums[name] = self._sums[name] + total if name in self._sums else total

    def add_tokens(self, values: dict[str, Float[Tensor, "N T"]], mask: Bool[Tensor, "N T"]) -> None:
        """Add per-token statistics over the trained tokens."""
        for name, value in values.items():
            self.add(name, value, mask)

    def compute(self, reduce: Callable[[Tensor], Tensor] = lambda sums: sums) -> dict[str, float]:
        """Return the means; NaN where nothing was counted.

        Args:
            reduce: Sums a tensor over the ranks. Every rank must have added the same names.
        """
        if not self._sums:
            return {}
        names = sorted(self._sums)
        sums = reduce(torch.stack([self._sums[name] for name in names]))
        return dict(zip(names, (sums[:, 0] / sums[:, 1]).tolist(), strict=True))
