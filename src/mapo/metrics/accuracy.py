"""Accuracy of one evaluation set, k completions per sample, exact on any number of ranks."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchmetrics import Metric
from typing_extensions import override

# Shares are summed as whole multiples of 2^-32. Integers add up to the same sum in any order, on any number of ranks,
# and are left alone when the module that holds the metric is cast to bfloat16.
_ONE = 2**32


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


class SampleAccuracy(Metric):
    """Averages over the samples of one set; a sample is a prompt with all its completions, never split over ranks.

    States are integer sums over samples or completions, so ranks with different numbers of rows, none included, add up
    to exactly the figures of a single process. A verdict that failed counts as wrong and is shown apart.
    """

    full_state_update = False

    samples: Tensor
    completions: Tensor
    accuracy: Tensor
    passed: Tensor
    counts: Tensor

    def __init__(self, ks: Sequence[int] = ()) -> None:
        """Start at zero.

        Args:
            ks: Report pass@k for these; every sample must have at least as many completions.
        """
        super().__init__()
        self.ks = tuple(ks)
        self.add_state("samples", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("completions", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("accuracy", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("passed", torch.zeros(len(self.ks), dtype=torch.long), dist_reduce_fx="sum")
        # Truncated, tokens, failed verdicts, successes: counted over completions.
        self.add_state("counts", torch.zeros(4, dtype=torch.long), dist_reduce_fx="sum")

    @override
    def update(
        self,
        accuracy: Float[Tensor, "B G"],
        *,
        valid: Bool[Tensor, "B G"],
        truncated: Bool[Tensor, "B G"],
        success: Bool[Tensor, "B G"],
        lengths: Int[Tensor, "B G"],
    ) -> None:
        """Add B samples of G completions.

        Args:
            accuracy: In [0, 1]; a completion is correct for pass@k where it is 1.
            valid: False where the verdict failed.
            truncated: True where the length limit ended the completion.
            success: True where every required reward component is fully earned.
            lengths: Completion lengths in tokens.
        """
        scored = accuracy.double().masked_fill(~valid, 0.0)
        self.samples += scored.shape[0]
        self.completions += scored.numel()
        self.accuracy += _total(scored.mean(dim=1))
        for i, k in enumerate(self.ks):
            self.passed[i] += _total(pass_at_k(scored == 1, k))
        self.counts += torch.stack([truncated.sum(), lengths.sum(), (~valid).sum(), success.sum()])

    def add_wrong(self, num_samples: int) -> None:
        """Count samples that could not be asked, such as unreadable rows, as wrong; on one rank only."""
        self.samples += num_samples
        # As `update` would, so that `compute` neither warns nor returns an earlier result.
        self._update_count += 1
        self._computed = None

    @override
    def compute(self) -> dict[str, Tensor]:
        """Return the figures of the set.

        Returns:
            ``accuracy`` (avg@k: mean over samples of a sample's mean accuracy) and ``pass@k`` over all samples;
            ``truncated_share``, ``failed_verdict_share`` and ``success_rate`` as shares of the completions,
            ``completion_length`` as their mean in tokens; ``num_samples_evaluated`` includes those that could not be
            asked. NaN where nothing was counted.
        """
        truncated, lengths, failed, success = self.counts.double() / self.completions
        ones = self.samples.double() * _ONE
        return {
            "accuracy": self.accuracy / ones,
            **{f"pass@{k}": self.passed[i] / ones for i, k in enumerate(self.ks)},
            "truncated_share": truncated,
            "completion_length": lengths,
            "failed_verdict_share": failed,
            "success_rate": success,
            "num_samples_evaluated": self.samples.double(),
        }


def _total(shares: Float[Tensor, " B"]) -> Int[Tensor, ""]:
    return (shares * _ONE).round().long().sum()
