"""Weighted means that are exact over micro-batches and ranks: sums and counts, divided once; and maxima."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mapo.functional.success_bins import BINS


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
        # By device as well, where they stay until the end: fetching one would wait for the device to catch up.
        self._sums: dict[tuple[str, torch.device], Float[Tensor, " 2"]] = {}
        self._largest: dict[str, Float[Tensor, ""]] = {}

    def add(self, name: str, values: Tensor, mask: Tensor | None = None) -> None:
        """Add the values where the mask is True (everywhere when None) to the mean called ``name``."""
        values = values.detach().double()
        mask = torch.ones_like(values, dtype=torch.bool) if mask is None else mask
        self._put(name, torch.stack([values.masked_fill(~mask, 0.0).sum(), mask.sum(dtype=torch.float64)]))

    def add_tokens(self, values: dict[str, Float[Tensor, "N T"]], mask: Bool[Tensor, "N T"]) -> None:
        """Add per-token statistics over the trained tokens."""
        for name, value in values.items():
            self.add(name, value, mask)

    def add_by_bin(
        self, name: str, values: Float[Tensor, "N T"], mask: Bool[Tensor, "N T"], bins: Int[Tensor, " N"]
    ) -> None:
        """Add a per-token statistic to one mean per success bin of its row, called ``name/<bin>``."""
        values = values.detach().double()
        rows = torch.stack([values.masked_fill(~mask, 0.0).sum(dim=1), mask.sum(dim=1, dtype=torch.float64)], dim=1)
        own = torch.arange(len(BINS), device=values.device)[:, None] == bins.to(values.device)
        for label, total in zip(BINS, own.double() @ rows, strict=True):
            self._put(f"{name}/{label}", total)

    def add_largest(self, name: str, values: Tensor, mask: Bool[Tensor, "N T"]) -> None:
        """Let the values where the mask is True compete for the maximum called ``name``."""
        largest = values.detach().double().masked_fill(~mask, -torch.inf).amax()
        self._largest[name] = torch.maximum(self._largest.get(name, largest), largest)

    def compute(
        self,
        reduce: Callable[[Tensor], Tensor] = lambda sums: sums,
        reduce_max: Callable[[Tensor], Tensor] = lambda largest: largest,
    ) -> dict[str, float]:
        """Return the means and the maxima; NaN or -∞ where nothing was counted.

        Args:
            reduce: Sums a tensor over the ranks. Every rank must have added the same names.
            reduce_max: Returns the largest of each number over the ranks.
        """
        return self._means(reduce) | self._maxima(reduce_max)

    def _maxima(self, reduce_max: Callable[[Tensor], Tensor]) -> dict[str, float]:
        names = sorted(self._largest)
        if not names:
            return {}
        largest = torch.stack([self._largest[name].cpu() for name in names])
        return dict(zip(names, reduce_max(largest).tolist(), strict=True))

    def _means(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, float]:
        if not self._sums:
            return {}
        names = sorted({name for name, _ in self._sums})
        parts = [[total.cpu() for (of, _), total in self._sums.items() if of == name] for name in names]
        sums = reduce(torch.stack([torch.stack(part).sum(dim=0) for part in parts]))
        return dict(zip(names, (sums[:, 0] / sums[:, 1]).tolist(), strict=True))

    def _put(self, name: str, total: Float[Tensor, " 2"]) -> None:
        key = name, total.device
        self._sums[key] = self._sums[key] + total if key in self._sums else total
