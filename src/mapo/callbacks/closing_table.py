"""The closing tables of a fit and of an evaluation."""

from collections.abc import Mapping

from mapo.callbacks.set_metrics import percent
from mapo.callbacks.text_table import text_table
from mapo.callbacks.timeline import Reading, Timeline

STRICT_MATCH = (
    "Strict-match accuracies (sampled: mean over a prompt's samples); not comparable to judge-based leaderboards."
)
_COLUMNS = {"sampled": "accuracy", "greedy": "accuracy_greedy"}
_ROWS = "num_samples_evaluated"


def fit_table(timeline: Timeline) -> str:
    """Return the accuracies of every set before and after training, in percent.

    Example:
        >>> timeline = Timeline()
        >>> timeline.read({"grid": {"accuracy": 0.25, "num_samples_evaluated": 8}}, phase=0)
        >>> timeline.read({"grid": {"accuracy": 0.5, "num_samples_evaluated": 8}}, phase=20)
        >>> print(fit_table(timeline))
        set  | sampled before -> after | greedy before -> after |   phase | rows
        -----+-------------------------+------------------------+---------+-----
        grid |        25.0 % -> 50.0 % |                      - | 0 -> 20 |    8
    """
    header = ["set", *(f"{title} before -> after" for title in _COLUMNS), "phase", "rows"]
    lines = []
    for name, metrics in timeline.latest.items():
        pairs = [(timeline.before(name, metric), timeline.after(name, metric)) for metric in _COLUMNS.values()]
        seen = next((pair for pair in pairs if any(pair)), (None, None))
        rows = metrics.get(_ROWS)
        lines.append(
            [name, *(_change(*map(_share, pair)) for pair in pairs), _change(*map(_phase, seen)), _count(rows)]
        )
    return text_table(header, lines)


def evaluation_table(sets: Mapping[str, Mapping[str, float]]) -> str:
    """Return the accuracies of every evaluated set in percent.

    Example:
        >>> print(evaluation_table({"grid": {"accuracy": 0.5, "accuracy_greedy": 0.625, "num_samples_evaluated": 8.0}}))
        set  | sampled | greedy | rows
        -----+---------+--------+-----
        grid |  50.0 % | 62.5 % |    8
    """
    lines = [
        [name, *(percent(metrics.get(metric)) for metric in _COLUMNS.values()), _number(metrics.get(_ROWS))]
        for name, metrics in sets.items()
    ]
    return text_table(["set", *_COLUMNS, "rows"], lines)


def _change(before: str, after: str) -> str:
    return "-" if before == after == "-" else f"{before} -> {after}"


def _share(reading: Reading | None) -> str:
    return percent(None if reading is None else reading.value)


def _phase(reading: Reading | None) -> str:
    return "-" if reading is None else str(reading.phase)


def _count(reading: Reading | None) -> str:
    return _number(None if reading is None else reading.value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
