"""A figure of where prompts went: how hard they were when first seen, and how hard they are now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mapo.functional.success_bins import BINS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RATES = ("p = 0", "0 < p < 1/3", "1/3 ≤ p ≤ 2/3", "2/3 < p < 1", "p = 1")


def migration_figure(moves: Sequence[Sequence[int]]) -> Figure:
    """Return the numbers of prompts by the success bins in which they were seen first and last.

    Args:
        moves: Prompts that went from the bin of the row to that of the column.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    counts = np.array(moves)
    of_row = counts.sum(axis=1, keepdims=True)
    shares = 100 * counts / np.maximum(of_row, 1)
    figure = Figure(figsize=(8, 6.2), layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(shares, origin="lower", cmap="Blues", vmin=0, vmax=100)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 60 else "black"
            text = f"{count}\n{shares[row, column]:.0f} %"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=11)
    for place in range(len(BINS)):
        stayed = Rectangle((place - 0.5, place - 0.5), 1, 1, fill=False, edgecolor="gray", linestyle="--")
        axes.add_patch(stayed)
    places = range(len(BINS))
    names = [f"{name}\n{rate}" for name, rate in zip(BINS, _RATES, strict=True)]
    axes.set_xticks(places, names)
    axes.set_yticks(places, [f"{name}\n(of {num})" for name, num in zip(names, of_row[:, 0], strict=True)])
    axes.set_xlabel("completions that succeed when the prompt was last seen")
    axes.set_ylabel("completions that succeed when it was first seen")
    kept, up = int(np.trace(counts)), int(np.triu(counts, 1).sum())
    down = int(counts.sum()) - kept - up
    figure.suptitle(f"Where prompts went: {counts.sum()} seen more than once", x=0.01, ha="left", weight="bold")
    axes.set_title(
        f"{up} became easier (below the dashed cells), {down} harder (above), {kept} stayed (in them).",
        loc="left",
        fontsize=10,
    )
    figure.colorbar(shown, ax=axes, label="share of the row (%)")
    return figure
