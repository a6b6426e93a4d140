"""Figures that a benchmark makes of its accuracies itself, such as We-Math's four-dimensional score."""

from collections.abc import Mapping

from mapo.callbacks.set_metrics import MODES
from mapo.callbacks.text_table import text_table


def own_table(sets: Mapping[str, Mapping[str, float]]) -> str | None:
    """Return one line per set and figure, in the figure's own unit.

    Args:
        sets: Only such figures, by set; those of greedy answers end in ``_greedy``.

    Returns:
        None where no set has any.

    Example:
        >>> print(own_table({"we_math": {"rote": 0.25, "rote_greedy": 0.5}, "grid": {}}))
        set     | figure | sampled | greedy
        --------+--------+---------+-------
        we_math | rote   |    0.25 |    0.5
    """
    greedy = MODES["greedy"]
    figures = {name: dict.fromkeys(metric.removesuffix(greedy) for metric in found) for name, found in sets.items()}
    modes = [mode for mode in MODES if any(_has(sets, name, of, mode) for name, own in figures.items() for of in own)]
    lines = [
        [name, figure, *(_shown(sets[name].get(f"{figure}{MODES[mode]}")) for mode in modes)]
        for name, own in figures.items()
        for figure in own
    ]
    return text_table(["set", "figure", *modes], lines, keys=2) if lines else None


def _has(sets: Mapping[str, Mapping[str, float]], name: str, figure: str, mode: str) -> bool:
    return f"{figure}{MODES[mode]}" in sets[name]


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}".rstrip("0").rstrip(".")
