"""The closing tables of a fit and of an evaluation."""

from collections.abc import Callable, Mapping
from typing import Any

from mapo.callbacks.set_metrics import FIGURES
from mapo.callbacks.text_table import text_table
from mapo.callbacks.timeline import Reading, Timeline

STRICT_MATCH = (
    "Strict-match accuracies (sampled: mean over a prompt's samples); not comparable to judge-based leaderboards."
)
_ROWS = "num_samples_evaluated"


def fit_table(timeline: Timeline, step: str = "phase") -> str:
    """Return the figures of every set before and after training.

    Example:
        >>> timeline = Timeline()
        >>> timeline.read({"grid": {"accuracy": 0.25, "num_samples_evaluated": 8}}, phase=0)
        >>> timeline.read({"grid": {"accuracy": 0.5, "num_samples_evaluated": 8}}, phase=20)
        >>> print(fit_table(timeline))
        set  | sampled before -> after |   phase | rows
        -----+-------------------------+---------+-----
        grid |        25.0 % -> 50.0 % | 0 -> 20 |    8
    """
    columns = _columns(timeline.latest)
    lines = []
    for name, metrics in timeline.latest.items():
        pairs = [(timeline.before(name, metric), timeline.after(name, metric)) for metric, _ in columns.values()]
        changes = [
            _change(*(show(_value(reading)) for reading in pair))
            for pair, (_, show) in zip(pairs, columns.values(), strict=True)
        ]
        seen = next((pair for pair in pairs if any(pair)), (None, None))
        lines.append([name, *changes, _change(*map(_phase, seen)), _count(_value(metrics.get(_ROWS)))])
    return text_table(["set", *(f"{title} before -> after" for title in columns), step, "rows"], lines)


def evaluation_table(sets: Mapping[str, Mapping[str, float]]) -> str:
    """Return the figures of every evaluated set.

    Example:
        >>> print(evaluation_table({"grid": {"accuracy": 0.5, "accuracy_greedy": 0.625, "num_samples_evaluated": 8.0}}))
        set  | sampled | greedy | rows
        -----+---------+--------+-----
        grid |  50.0 % | 62.5 % |    8
    """
    columns = _columns(sets)
    lines = [
        [name, *(show(metrics.get(metric)) for metric, show in columns.values()), _count(metrics.get(_ROWS))]
        for name, metrics in sets.items()
    ]
    return text_table(["set", *columns, "rows"], lines)


def _columns(sets: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, Callable[[float | None], str]]]:
    """Return the figures that at least one set has."""
    known = {metric for metrics in sets.values() for metric in metrics}
    return {title: figure for title, figure in FIGURES.items() if figure[0] in known}


def _change(before: str, after: str) -> str:
    return "-" if before == after == "-" else f"{before} -> {after}"


def _value(reading: Reading | None) -> float | None:
    return None if reading is None else reading.value


def _phase(reading: Reading | None) -> str:
    return "-" if reading is None else str(reading.phase)


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
