"""A figure of the successes per group over the phases of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mapo.metrics.success_timeline import SuccessTimeline

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def success_heatmap(timeline: SuccessTimeline, *, floor: float | None = None) -> Figure:
    """Return the share of groups by number of successes, phase by phase, with the mean on top.

    Args:
        timeline: With at least one histogram.
        floor: Accuracy of a guess among the choices of the prompts; None where they offer none.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    width = max(len(column) for column in timeline.columns if column)
    counts = np.array([column or [0] * width for column in timeline.columns], dtype=float)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)
    end, size = len(counts) * timeline.span, width - 1
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(
        100 * shares.T,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap="Blues",
        vmin=0,
        vmax=100,
        extent=(0, end, -0.5, size + 0.5),
    )
    phases = timeline.span * (np.arange(len(counts)) + 0.5)
    axes.plot(phases, shares @ np.arange(width), color="#D55E00", linewidth=2, label="mean")
    if floor:
        axes.axhline(size * floor, color="black", linestyle=":", label="guessing")
    axes.legend(loc="lower right")
    axes.set_xlabel("rollout phase" if timeline.span == 1 else f"rollout phase ({timeline.span} per column)")
    axes.set_ylabel(f"successful completions in a group of {size}")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle("How many completions of a prompt succeed, over training", x=0.01, ha="left", weight="bold")
    axes.set_title(
        f"Dark cells move up as prompts are solved; groups at 0 and at {size} have little or nothing to teach.",
        loc="left",
        fontsize=10,
    )
    figure.colorbar(shown, ax=axes, label="share of the phase's groups (%)")
    return figure
