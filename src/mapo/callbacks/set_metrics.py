"""The figures of every evaluated set, out of a trainer's flat metrics."""

from collections.abc import Callable, Mapping
from typing import Any


def set_metrics(metrics: Mapping[str, Any], stage: str) -> dict[str, dict[str, float]]:
    """Return the metrics named ``<stage>/<set>/<metric>``, by set and metric.

    Example:
        >>> set_metrics({"val/grid/accuracy": 0.5, "train/reward": 0.1}, "val")
        {'grid': {'accuracy': 0.5}}
    """
    sets: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        parts = name.split("/")
        if len(parts) == 3 and parts[0] == stage:
            sets.setdefault(parts[1], {})[parts[2]] = float(value)
    return sets


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
