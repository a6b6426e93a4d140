"""Accuracy of a prompt that has several completions."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def pass_at_k(correct: Bool[Tensor, "B G"], k: int) -> Float[Tensor, " B"]:
    """Estimate without bias the probability that at least one of k completions is correct.

    pass@k = 1 - C(n - c, k) / C(n, k), with c of n completions correct.

    Source: Chen et al. 2021, eq. 1 (https://arxiv.org/abs/2107.03374).

    Args:
        correct: True for a correct completion; a row holds the n completions of one sample.
        k: Completions one may choose from, 1 <= k <= n.

    Returns:
        Probabilities in float64; 1 where fewer than k completions are wrong.

    Raises:
        ValueError: k is below 1 or above n.

    Example:
        >>> pass_at_k(torch.tensor([[True, False, False, False]]), 2)
        tensor([0.5000], dtype=torch.float64)
    """
    n = correct.shape[1]
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} needs 1 <= k <= completions per sample, got {n} completions")
    wrong = (~correct).sum(dim=1, keepdim=True)
    # C(n-c, k) / C(n, k) as a product of k ratios; a numerator of 0 ends it, so it never turns negative.
    drawn = torch.arange(k, device=correct.device)
    return 1 - ((wrong - drawn).clamp(min=0).double() / (n - drawn)).prod(dim=1)
