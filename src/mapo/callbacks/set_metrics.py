"""The figures of every evaluated set, and of all sets together, out of a trainer's flat metrics."""

from collections.abc import Callable, Mapping
from typing import Any


def set_metrics(metrics: Mapping[str, Any], stage: str) -> dict[str, dict[str, float]]:
    """Return the metrics named ``<stage>/<set>/<metric>``, by set and metric.

    Example:
        >>> set_metrics({"val/grid/accuracy": 0.5, "val/A": 0.25, "train/reward/label_match": 0.1}, "val")
        {'grid': {'accuracy': 0.5}}
    """
    sets: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        found, _, rest = name.partition("/")
        set_name, _, metric = rest.partition("/")
        if found == stage and metric:
            sets.setdefault(set_name, {})[metric] = float(value)
    return sets


def summary_metrics(metrics: Mapping[str, Any], stage: str) -> dict[str, dict[str, float]]:
    """Return the paper's summary of all sets, ``<stage>/A_S``, ``A_T`` and ``A``, in the form of ``set_metrics``.

    Example:
        >>> summary_metrics({"val/grid/accuracy": 0.5, "val/A": 0.25, "val/A_greedy": 0.5, "val/loss": 1.0}, "val")
        {'A': {'accuracy': 0.25, 'accuracy_greedy': 0.5}}
    """
    found: dict[str, dict[str, float]] = {}
    for name in SUMMARY:
        for suffix in MODES.values():
            if (value := metrics.get(f"{stage}/{name}{suffix}")) is not None:
                found.setdefault(name, {})[f"accuracy{suffix}"] = float(value)
    return found


def percent(share: float | None) -> str:
    """Return a share of 1 in percent; a dash for None.

    Example:
        >>> percent(0.414), percent(None)
        ('41.4 %', '-')
    """
    return "-" if share is None else f"{100 * share:.1f} %"


def decimal(value: float | None) -> str:
    """Return a number with three decimals; a dash for None."""
    return "-" if value is None else f"{value:.3f}"


FIGURES: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "sampled": ("accuracy", percent),
    "greedy": ("accuracy_greedy", percent),
    "loss": ("loss", decimal),
}
"""What a set is judged by: the word for it, the metric, and how it is written."""

MODES = {"sampled": "", "greedy": "_greedy"}
"""The ways to answer a set, and what their metrics end in."""

SUMMARY = {"A_S": "A_S, in domain", "A_T": "A_T, out of domain", "A": "A, mean of both"}
"""The paper's summary, and its words for it."""
