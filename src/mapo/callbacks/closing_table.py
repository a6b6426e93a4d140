"""The closing tables of a fit and of an evaluation."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mapo.callbacks.set_metrics import FIGURES, MODES, SUMMARY, decimal, percent
from mapo.callbacks.text_table import text_table
from mapo.callbacks.timeline import Reading, Timeline

STRICT_MATCH = (
    "Strict matches (sampled: mean over samples), not comparable to judge-based MathVista and MathVerse leaderboards."
)
_ROWS, _BAD = "num_samples_evaluated", "num_bad_rows"


def fit_table(timeline: Timeline, summary: Timeline, step: str = "phase") -> str:
    """Return the figures of every set, and of all sets together, before and after training.

    Args:
        timeline: Of the sets.
        summary: Of the paper's summary, by its names.
        step: What one training step is called.

    Example:
        >>> timeline = Timeline()
        >>> timeline.read({"grid": {"accuracy": 0.25, "num_samples_evaluated": 8}}, phase=0)
        >>> timeline.read({"grid": {"accuracy": 0.5, "num_samples_evaluated": 8}}, phase=20)
        >>> print(fit_table(timeline, Timeline()))
        set  | sampled before -> after |   phase | rows
        -----+-------------------------+---------+-----
        grid |        25.0 % -> 50.0 % | 0 -> 20 |    8
    """
    columns = {title: FIGURES[title] for title in FIGURES if FIGURES[title][0] in _known(timeline.latest)}
    lines = [_change_line(timeline, name, columns) for name in timeline.latest]
    for name, words in SUMMARY.items():
        if name in summary.latest:
            lines.append([words, *_change_line(summary, name, columns)[1:]])
    return text_table(["set", *(f"{title} before -> after" for title in columns), step, "rows"], lines)


def evaluation_table(sets: Mapping[str, Mapping[str, float]], components: Sequence[str] = ()) -> str:
    """Return the figures of every evaluated set, one line for each way in which it was answered.

    Args:
        sets: Metrics by set.
        components: Reward components with a figure of their own.

    Example:
        >>> found = {"accuracy": 0.8, "accuracy_low": 0.49, "accuracy_high": 0.943, "num_samples_evaluated": 10.0}
        >>> print(evaluation_table({"grid": found}))
        set  | answers   | rows |    accuracy (95 %)
        -----+-----------+------+-------------------
        grid | 1 sampled |   10 | 80.0 % (49.0-94.3)
    """
    lines = [line for name, found in sets.items() for line in _lines(name, found, components)]
    titles = [title for title in _titles(components) if any(line.get(title, "-") != "-" for line in lines)]
    keys = 1 + ("answers" in titles)
    return text_table(titles, [[line.get(title, "-") for title in titles] for line in lines], keys=keys)


def summary_table(summary: Mapping[str, Mapping[str, float]]) -> str:
    """Return the paper's summary of all sets.

    Example:
        >>> print(summary_table({"A_S": {"accuracy": 0.5}, "A_T": {"accuracy": 0.25}, "A": {"accuracy": 0.375}}))
        all sets           | sampled
        -------------------+--------
        A_S, in domain     |  50.0 %
        A_T, out of domain |  25.0 %
        A, mean of both    |  37.5 %
    """
    modes = [mode for mode, suffix in MODES.items() if f"accuracy{suffix}" in _known(summary)]
    lines = [
        [SUMMARY[name], *(percent(found.get(f"accuracy{MODES[mode]}")) for mode in modes)]
        for name, found in summary.items()
    ]
    return text_table(["all sets", *modes], lines)


def _titles(components: Sequence[str]) -> list[str]:
    """Return the columns of an evaluation; those in which no line says anything are left out."""
    own = ["failed", *components, "truncated", "loss"]
    return ["set", "answers", "rows", "bad", "accuracy (95 %)", "pass@n", "maj@n", *own]


def _lines(name: str, found: Mapping[str, float], components: Sequence[str]) -> list[dict[str, str]]:
    """Return the lines of a set, the cells of each by column: one per way in which it was answered, one at least."""
    modes = [mode for mode, suffix in MODES.items() if f"accuracy{suffix}" in found]
    usual = {"set": name, "rows": _count(found.get(_ROWS)), "loss": decimal(found.get("loss"))}
    return [_answered_line(name, found, mode, components) for mode in modes] or [usual]


def _answered_line(name: str, found: Mapping[str, float], mode: str, components: Sequence[str]) -> dict[str, str]:
    suffix = MODES[mode]
    own = {metric.removesuffix(suffix): value for metric, value in found.items() if metric.endswith(suffix)}
    num = max((int(metric.removeprefix("pass@")) for metric in own if metric.startswith("pass@")), default=1)
    failed = own.get("failed_verdict_share")
    return {
        "set": name,
        "answers": mode if mode == "greedy" else f"{num} {mode}",
        "rows": _count(own.get(_ROWS)),
        "bad": _count(own.get(_BAD)),
        "accuracy (95 %)": _with_interval(own),
        "pass@n": percent(own.get(f"pass@{num}")),
        "maj@n": percent(own.get(f"maj@{num}")),
        "failed": percent(failed or None),
        **{component: percent(own.get(component)) for component in components},
        "truncated": percent(own.get("truncated_share")),
    }


def _with_interval(own: Mapping[str, float]) -> str:
    ends = [own.get("accuracy_low"), own.get("accuracy_high")]
    interval = "-".join(f"{100 * end:.1f}" for end in ends if end is not None)
    return percent(own["accuracy"]) + (f" ({interval})" if interval else "")


def _change_line(
    timeline: Timeline, name: str, columns: Mapping[str, tuple[str, Callable[[float | None], str]]]
) -> list[str]:
    pairs = [(timeline.before(name, metric), timeline.after(name, metric)) for metric, _ in columns.values()]
    changes = [
        _change(*(show(_value(reading)) for reading in pair))
        for pair, (_, show) in zip(pairs, columns.values(), strict=True)
    ]
    seen = next((pair for pair in pairs if any(pair)), (None, None))
    return [name, *changes, _change(*map(_phase, seen)), _count(_value(timeline.latest[name].get(_ROWS)))]


def _known(sets: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Return the figures that at least one set has."""
    return {metric for metrics in sets.values() for metric in metrics}


def _change(before: str, after: str) -> str:
    return "-" if before == after == "-" else f"{before} -> {after}"


def _value(reading: Reading | None) -> float | None:
    return None if reading is None else reading.value


def _phase(reading: Reading | None) -> str:
    return "-" if reading is None else str(reading.phase)


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
