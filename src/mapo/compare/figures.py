"""A comparison as pictures: differences with their intervals, and learning curves with bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mapo.compare.comparison import Comparison
from mapo.compare.statistics import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TOGETHER = 5  # methods whose curves can be told apart in one place
_COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#e45756")
_GREY, _BETTER, _WORSE = "#8a8f98", "#2e7d32", "#c62828"
_WORDS = {
    "A_S": "A_S: in domain",
    "A_T": "A_T: out of domain",
    "A": "A: mean of both",
    "mean": "mean of the sets",
}
_SUMMARY = ("A_S", "A_T", "A")


def differences(comparison: Comparison) -> Figure:
    """Return how far each method is from the reference, with 95 % intervals: one line per method."""
    from matplotlib.figure import Figure  # heavy; and pyplot would keep every figure alive

    pairs = [pair for pair in comparison.pairs if pair.second == comparison.reference][::-1]
    names = _shown(comparison)
    figure = Figure(figsize=(1.8 + 3.2 * len(names), 1.5 + 0.32 * len(pairs)), layout="constrained")
    for axis, name in zip(figure.subplots(1, len(names), sharey=True, squeeze=False)[0], names, strict=True):
        axis.axvline(0, color="black", linewidth=0.8)
        for place, pair in enumerate(pairs):
            one = pair.differences[name]
            colour = (_GREY, _BETTER, _WORSE)[one.sign]
            axis.plot([100 * one.low, 100 * one.high], [place, place], color=colour, linewidth=1.6)
            axis.plot([100 * one.value], [place], "o", color=colour, markersize=5)
        axis.set(title=_WORDS.get(name, name), xlabel="percentage points", ylim=(-0.6, len(pairs) - 0.4))
        axis.set_yticks(range(len(pairs)), [pair.first for pair in pairs])
        axis.grid(axis="x", alpha=0.3)
    figure.suptitle(
        f"Accuracy after training less that of {comparison.reference}, with 95 % intervals "
        "(green: better, red: worse, grey: not distinguishable)",
        fontsize=10,
        wrap=True,
    )
    return figure


def curves(comparison: Comparison) -> Figure:
    """Return accuracies by phase with 95 % bands: methods together where they can be told apart, else one by one."""
    from matplotlib.figure import Figure

    names = _shown(comparison)
    if len(comparison.methods) <= _TOGETHER:
        figure = Figure(figsize=(1 + 3.6 * len(names), 3.6), layout="constrained")
        _together(figure, comparison, names)
    else:
        columns = min(5, len(comparison.methods) - 1)
        rows = -(-(len(comparison.methods) - 1) // columns)
        figure = Figure(figsize=(1 + 2.6 * columns, 0.9 + 2.1 * rows), layout="constrained")
        _one_by_one(figure, comparison, names[-1], rows, columns)
    return figure


def _together(figure: Figure, comparison: Comparison, names: Sequence[str]) -> None:
    axes = figure.subplots(1, len(names), squeeze=False)[0]
    for axis, name in zip(axes, names, strict=True):
        for method, colour in zip(comparison.methods, _COLOURS, strict=False):
            _band(axis, comparison.curves[method.name][name], colour, method.name)
        axis.set(title=_WORDS.get(name, name), xlabel="phases of training")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(f"accuracy of {comparison.mode} answers (%)")
    axes[-1].legend(fontsize=8, loc="best")
    figure.suptitle("Learning curves: mean over seeds with 95 % intervals", fontsize=10)


def _one_by_one(figure: Figure, comparison: Comparison, name: str, rows: int, columns: int) -> None:
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    reference = comparison.curves[comparison.reference][name]
    others = [method for method in comparison.methods if method.name != comparison.reference]
    for axis, method in zip(axes, others, strict=False):
        _band(axis, reference, _GREY, comparison.reference)
        _band(axis, comparison.curves[method.name][name], _COLOURS[0], method.name)
        axis.set_title(method.name, fontsize=9, color=_COLOURS[0])
        axis.grid(alpha=0.3)
    for axis in axes[len(others) :]:
        axis.set_axis_off()
    figure.supxlabel("phases of training", fontsize=9)
    figure.supylabel(f"{_WORDS.get(name, name)}, accuracy of {comparison.mode} answers (%)", fontsize=9)
    figure.suptitle(
        f"Learning curves: mean over seeds with 95 % intervals; in grey {comparison.reference} for comparison",
        fontsize=10,
    )


def _band(axis: Axes, curve: Mapping[int, Interval], colour: str, label: str) -> None:
    phases = list(curve)
    low, value, high = ([100 * getattr(curve[phase], end) for phase in phases] for end in ("low", "value", "high"))
    axis.fill_between(phases, low, high, color=colour, alpha=0.18, linewidth=0)
    axis.plot(phases, value, "o-", color=colour, markersize=3, linewidth=1.4, label=label)


def _shown(comparison: Comparison) -> list[str]:
    """Return the paper's summary where there is one, else every measure."""
    names = [measure.name for measure in comparison.measures]
    return [name for name in names if name in _SUMMARY] or names
