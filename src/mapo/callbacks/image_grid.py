"""The pictures of prompts, side by side with captions."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mapo.functional.visible import one_line
from mapo.policies.images import open_image
from mapo.types import Prompt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 4
_INCHES = 3.0
_PIXELS = 512  # longest side of a picture in the grid


def image_grid(prompts: Sequence[Prompt]) -> Figure | None:
    """Return a figure with every image of the prompts, captioned by sample id and right answer.

    Args:
        prompts: Raw rows with any number of images each.

    Returns:
        The figure; None where no prompt has an image. An image that cannot be read is an empty place that says so.
    """
    pictures = [(prompt, i, source) for prompt in prompts for i, source in enumerate(prompt.images)]
    if not pictures:
        return None
    from matplotlib.figure import Figure  # heavy; and pyplot would keep every figure alive

    columns = min(_COLUMNS, len(pictures))
    num_rows = -(-len(pictures) // columns)
    figure = Figure(figsize=(_INCHES * columns, (_INCHES + 0.5) * num_rows), layout="constrained")
    places = figure.subplots(num_rows, columns, squeeze=False).flatten()
    for place in places:
        place.set_axis_off()
    for place, (prompt, i, source) in zip(places, pictures, strict=False):
        place.set_title(_caption(prompt, i), fontsize=8, parse_math=False)
        _show(place, source)
    return figure


def _show(place: Axes, source: Any) -> None:
    try:
        image = open_image(source).copy()
    except ValueError:  # a picture for a person to look at must not end a run; the policy refuses what it cannot read
        place.text(0.5, 0.5, "cannot be read", ha="center", va="center")
        return
    image.thumbnail((_PIXELS, _PIXELS))
    place.imshow(image)


def _caption(prompt: Prompt, index: int) -> str:
    number = f" image {index + 1} of {len(prompt.images)}" if len(prompt.images) > 1 else ""
    text = f"{prompt.sample_id}{number}, answer {prompt.answer}"
    return textwrap.fill(one_line(text, 120), 40)
