"""What a difference says, in a plain sentence."""

from mapo.compare.comparison import Comparison, Pair

_EFFECTS = ((0.8, "large"), (0.5, "medium"), (0.2, "small"), (0.0, "very small"))


def sentence(comparison: Comparison, pair: Pair) -> str:
    """Return whether one method is better or worse than another, or not distinguishable with this much data.

    Args:
        comparison: It gives the accuracies.
        pair: One of its pairs.
    """
    name = comparison.headline
    difference, effect = pair.differences[name], round(abs(pair.effects[name]), 2)
    values = [f"{100 * comparison.levels[method][name].value:.1f} %" for method in (pair.first, pair.second)]
    reach = "" if difference.covers_runs else ", over questions alone"
    interval = f"{points(difference.low)} to {points(difference.high)} at 95 %{reach}"
    figures = f"{_of(name)} {values[0]} against {values[1]}, {points(difference.value)} points ({interval})"
    if difference.sign == 0:
        return f"{pair.first} and {pair.second} are not distinguishable with this much data: {figures}."
    size = next(word for least, word in _EFFECTS if effect >= least)
    word = "better" if difference.sign > 0 else "worse"
    return f"{pair.first} is {word} than {pair.second}: {figures}, a {size} effect (h = {effect:.2f})."


def chance_line(num: int) -> str | None:
    """Return how many sentences may be wrong by chance; None for a single one.

    Example:
        >>> chance_line(14)
        'Each of these 14 sentences is at 95 % on its own: were all methods alike, about 0.7 of them would not say so.'
    """
    if num < 2:
        return None
    return (
        f"Each of these {num} sentences is at 95 % on its own: were all methods alike, about {0.05 * num:.1f} of them "
        "would not say so."
    )


def points(difference: float) -> str:
    """Return a difference of shares in percentage points, with its sign.

    Example:
        >>> points(0.0213), points(-0.0004)
        ('+2.1', '0.0')
    """
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def _of(measure: str) -> str:
    return "mean of the sets" if measure == "mean" else measure
