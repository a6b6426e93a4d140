"""Accuracies by category, such as the levels of a benchmark."""

from collections.abc import Mapping

from mapo.callbacks.set_metrics import MODES, percent
from mapo.callbacks.text_table import text_table

_MAX_ROWS = 12  # of one set
_MAX_CHARACTERS = 40  # of a category's name or value
_COUNT = "num_samples"


def category_table(sets: Mapping[str, Mapping[str, float]]) -> str | None:
    """Return the accuracies of every set by category.

    Args:
        sets: Metrics by set, those of categories as ``accuracy/<category>/<value>``.

    Returns:
        At most 12 rows per set, the categories with the fewest values first; None where no set has a category with
        more than one value, since one value alone has the accuracy of the set.

    Example:
        >>> found = {"accuracy/level/1": 0.75, "num_samples/level/1": 4.0, "accuracy/level/2": 0.5}
        >>> print(category_table({"grid": found}))
        set  | category | value | rows | sampled
        -----+----------+-------+------+--------
        grid | level    | 1     |    4 |  75.0 %
        grid | level    | 2     |    - |  50.0 %
    """
    values = {name: _values(found) for name, found in sets.items()}
    heads = [f"accuracy{suffix}/" for suffix in MODES.values()]
    known = [any(metric.startswith(head) for found in sets.values() for metric in found) for head in heads]
    modes = [mode for mode, is_known in zip(MODES, known, strict=True) if is_known]
    lines = [
        [name, _short(category), _short(value), *_numbers(sets[name], f"{category}/{value}", modes)]
        for name, places in values.items()
        for category, value in places[:_MAX_ROWS]
    ]
    if not lines:
        return None
    left_out = [
        f"{len(places) - _MAX_ROWS} more of {name} in results.json"
        for name, places in values.items()
        if len(places) > _MAX_ROWS
    ]
    return "\n".join([text_table(["set", "category", "value", "rows", *modes], lines, keys=3), *left_out])


def _values(found: Mapping[str, float]) -> list[tuple[str, str]]:
    """Return the categories of a set that have several values, and these, the smallest categories first."""
    places = dict.fromkeys(
        (category, value)
        for metric in found
        for head, _, place in [metric.partition("/")]
        for category, _, value in [place.partition("/")]
        if head.startswith("accuracy") and value
    )
    names = [category for category, _ in places]
    several = [place for place in places if names.count(place[0]) > 1]
    return sorted(several, key=lambda place: (names.count(place[0]), place[0]))


def _numbers(found: Mapping[str, float], place: str, modes: list[str]) -> list[str]:
    count = found.get(f"{_COUNT}/{place}")
    accuracies = [percent(found.get(f"accuracy{MODES[mode]}/{place}")) for mode in modes]
    return ["-" if count is None else f"{count:.0f}", *accuracies]


def _short(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else f"{text[: _MAX_CHARACTERS - 1]}…"
