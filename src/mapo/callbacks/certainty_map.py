"""A figure of what every known advantage makes of the same groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people with any colour vision can tell apart; dashes and marks where they run out.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_DASHES = ("-", "--", ":")
_MARKS = ("s", "^", "v", "D", "P", "X", "*")


def extremes(
    advantages: Float[Tensor, "B G"], success: Bool[Tensor, "B G"]
) -> tuple[Float[np.ndarray, " G+1"], Float[np.ndarray, " G+1"]]:
    """Return the highest and the lowest advantage of a group by its number of successes, mean over groups with signal.

    Args:
        advantages: Dimensionless.
        success: True where a valid completion succeeded.

    Returns:
        NaN for numbers of successes that no group with signal has.

    Example:
        >>> import torch
        >>> advantages = torch.tensor([[3.0, -1.0], [1.0, -3.0], [0.0, 0.0]])
        >>> extremes(advantages, torch.tensor([[True, False], [True, False], [True, True]]))[0]
        array([nan,  2., nan])
    """
    active, num = (advantages != 0).any(dim=1), success.sum(dim=1).numpy()
    ends = np.full((2, success.shape[1] + 1), np.nan)
    for n in np.unique(num[active.numpy()]):
        group = advantages[active].double().numpy()[num[active.numpy()] == n]
        ends[:, n] = group.max(axis=1).mean(), group.min(axis=1).mean()
    return ends[0], ends[1]


def advantage_map(by_method: Mapping[str, Float[Tensor, "B G"]], success: Bool[Tensor, "B G"]) -> Figure:
    """Return the advantages of the best and of the worst completion of a group against its successes, by method.

    Args:
        by_method: Advantages of the same groups; the first method is the one in use, drawn in black and bold.
        success: True where a valid completion succeeded.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    best, worst = figure.subplots(2, 1, sharex=True)
    for place, (name, advantages) in enumerate(by_method.items()):
        colour = _COLOURS[(place - 1) % len(_COLOURS)] if place else "black"
        dashes = _DASHES[(place - 1) // len(_COLOURS) % len(_DASHES)] if place else "-"
        width, mark = (1.4, _MARKS[(place - 1) % len(_MARKS)]) if place else (3.0, "o")
        for axes, ends in zip((best, worst), extremes(advantages, success), strict=True):
            seen = np.isfinite(ends).nonzero()[0]
            look = {"color": colour, "linestyle": dashes, "marker": mark, "markersize": 5, "linewidth": width}
            axes.plot(seen, ends[seen], label=name, **look)
    _describe(best, worst, num_groups=len(success), size=success.shape[1])
    figure.suptitle("How hard each advantage pushes", x=0.01, ha="left", weight="bold")
    figure.legend(*best.get_legend_handles_labels(), loc="outside right center", title="advantage")
    return figure


def _describe(best: Axes, worst: Axes, *, num_groups: int, size: int) -> None:
    best.set_title(
        f"The latest {num_groups} groups of this run, hard prompts left, easy ones right. The policy is changed most "
        "where a curve is far from 0.",
        loc="left",
        fontsize=10,
    )
    best.set_ylabel("advantage of the best\ncompletion (no unit)")
    worst.set_ylabel("advantage of the worst\ncompletion (no unit)")
    worst.set_xlabel(
        f"successful completions in a group of {size} (mean over such groups; those without signal left out)"
    )
    worst.set_xticks(range(0, size + 1, max(1, size // 16)))
    worst.set_xlim(-0.4, size + 0.4)
    for axes, sign in ((best, 1), (worst, -1)):
        axes.set_yscale("symlog", linthresh=0.1, linscale=0.4)
        axes.set_yticks([0, *(sign * level for level in (0.1, 0.3, 1, 3, 10))], minor=False)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.grid(alpha=0.3)
    best.set_ylim(bottom=0)
    worst.set_ylim(top=0)
