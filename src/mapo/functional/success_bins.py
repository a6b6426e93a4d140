"""Groups sorted by how many of their completions succeeded."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

BINS = ("none", "few", "half", "most", "all")
MASTERED = 3  # the bins from here on: more than two thirds succeed


def success_bins(success: Bool[Tensor, "B G"], *, valid: Bool[Tensor, "B G"] | None = None) -> Int[Tensor, " B"]:
    """Return the bin of every group's success rate.

    With N successes among n valid completions and p = N / n: none (p = 0), few (0 < p < 1/3), half (1/3 <= p <= 2/3),
    most (2/3 < p < 1), all (p = 1). The ends are bins of their own, since such groups are silent where rewards are
    right or wrong and nothing else.

    Args:
        success: True where a completion succeeded.
        valid: Completions that could be scored; all of them when None.

    Returns:
        Indices into ``BINS``, int64; 0 for a group with nothing valid.

    Example:
        >>> success = torch.arange(12) < torch.tensor([[0], [3], [4], [8], [9], [12]])
        >>> [BINS[index] for index in success_bins(success)]
        ['none', 'few', 'half', 'half', 'most', 'all']
    """
    counted = torch.ones_like(success) if valid is None else valid
    # In whole numbers, so that a third is exactly a third.
    num, total = (success & counted).sum(dim=1), counted.sum(dim=1).clamp_min(1)
    return torch.stack([num > 0, 3 * num >= total, 3 * num > 2 * total, num == total]).sum(dim=0)
