"""Samples of one set to its figures, and figures of several sets to the paper's summary."""

import math
from collections.abc import Iterable, Mapping, Sequence

import torch

from mapo.metrics.accuracy import pass_at_k
from mapo.metrics.interval import mean_interval
from mapo.metrics.majority import majority_accuracy
from mapo.metrics.samples import Sample


def set_figures(samples: Sequence[Sample], num: int, *, votes: bool = False) -> dict[str, float]:
    """Return the figures of one set, answered ``num`` times per prompt.

    Args:
        samples: All of the set, those that could not be asked included.
        num: Completions of every prompt that could be asked.
        votes: Report maj@n, for which samples must hold what their completions answer.

    Returns:
        Over all samples: ``accuracy`` (avg@k) and its 95 % confidence interval, ``accuracy_low`` to ``accuracy_high``;
        with several completions ``pass@k`` for the powers of two up to ``num`` and ``num`` itself, and ``maj@<num>``.
        Over all completions: ``truncated_share``, ``failed_verdict_share``, ``success_rate``, ``completion_length``
        in tokens, and the mean of every component over those it could score, under its name.
        ``num_samples_evaluated`` includes the ``num_bad_rows`` that could not be asked, named where there are any.
        NaN where there is nothing to average.
    """
    asked = [sample for sample in samples if sample.accuracy]
    means = [sample.mean_accuracy for sample in samples]
    low, high = mean_interval(means, num)
    figures = {"accuracy": _mean(means), "accuracy_low": low, "accuracy_high": high}
    if num > 1:
        figures |= _pass_figures(asked, len(samples), num)
    if votes and num > 1:
        shares = [majority_accuracy(sample.answers, sample.accuracy) for sample in asked]
        figures[f"maj@{num}"] = _mean(shares, len(samples))
    figures |= _completion_figures(asked) | {"num_samples_evaluated": float(len(samples))}
    if len(asked) < len(samples):
        figures["num_bad_rows"] = float(len(samples) - len(asked))
    return figures


def category_accuracies(samples: Iterable[Sample]) -> dict[tuple[str, str], tuple[float, int]]:
    """Return accuracy and number of the samples of every category, by its name and value, in their order.

    A sample with several values of a category counts in each; one that could not be asked has none.

    Example:
        >>> easy = {"level": ("1",)}
        >>> category_accuracies([Sample("a", (1.0,), categories=easy), Sample("b", (0.0,), categories=easy)])
        {('level', '1'): (0.5, 2)}
    """
    means: dict[tuple[str, str], list[float]] = {}
    for sample in samples:
        for name, values in sample.categories.items():
            for value in values:
                means.setdefault((name, value), []).append(sample.mean_accuracy)
    return {key: (_mean(means[key]), len(means[key])) for key in sorted(means)}


def paper_summary(in_domain: Sequence[float], out_of_domain: Sequence[float]) -> dict[str, float]:
    """Return the paper's summary of the accuracies of all sets, each set counting once.

    A_S = mean in domain, A_T = mean out of domain, A = (A_S + A_T) / 2.

    Source: MAPO, the columns of its tables (https://arxiv.org/abs/2509.18849).

    Returns:
        Nothing unless there are sets of both kinds.

    Example:
        >>> paper_summary([0.5], [0.25, 0.0])
        {'A_S': 0.5, 'A_T': 0.125, 'A': 0.3125}
    """
    if not (in_domain and out_of_domain):
        return {}
    source, target = _mean(in_domain), _mean(out_of_domain)
    return {"A_S": source, "A_T": target, "A": (source + target) / 2}


def _pass_figures(asked: Sequence[Sample], num_samples: int, num: int) -> Mapping[str, float]:
    correct = torch.tensor([[value == 1 for value in sample.accuracy] for sample in asked], dtype=torch.bool)
    ks = sorted({2**power for power in range(num.bit_length())} | {num})
    passed = {k: pass_at_k(correct.reshape(-1, num), k).tolist() for k in ks}
    return {f"pass@{k}": _mean(shares, num_samples) for k, shares in passed.items()}


def _completion_figures(asked: Sequence[Sample]) -> dict[str, float]:
    names = sorted({name for sample in asked for name in sample.components})
    components = {name: [v for sample in asked for v in sample.components[name]] for name in names}
    return {
        "truncated_share": _mean([value for sample in asked for value in sample.truncated]),
        "completion_length": _mean([value for sample in asked for value in sample.lengths]),
        "failed_verdict_share": _mean([not value for sample in asked for value in sample.judged]),
        "success_rate": _mean([value for sample in asked for value in sample.success]),
        **{name: _mean([v for v in values if not math.isnan(v)]) for name, values in components.items()},
    }


def _mean(values: Sequence[float], num: int | None = None) -> float:
    """Return the sum over ``num``, exactly rounded, so that the order of the values cannot matter."""
    num = len(values) if num is None else num
    return math.fsum(values) / num if num else math.nan
