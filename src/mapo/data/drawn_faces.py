"""Emotion: drawn faces that show one of Mikels' eight emotions; sketches out of domain, chalk drawings never seen."""

import math
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from PIL import Image, ImageDraw

from mapo.data.problem import Family, Problem, Solution, Split, draw_prompts
from mapo.data.synthetic import SyntheticBenchmark
from mapo.types import Prompt

Point = tuple[float, float]

_SIZE, _OVERSAMPLING = 84, 3  # drawn three times as large, then averaged down: smooth lines without a drawing library


class Expression(NamedTuple):
    """How an emotion shows: one way of each of the three features."""

    brows: str
    eyes: str
    mouth: str


EXPRESSIONS = {
    "amusement": Expression("level", "arched", "laughing"),
    "awe": Expression("raised", "wide", "round"),
    "contentment": Expression("level", "closed", "smiling"),
    "excitement": Expression("raised", "star", "laughing"),
    "anger": Expression("lowered", "narrow", "clenched"),
    "disgust": Expression("uneven", "narrow", "tongue"),
    "fear": Expression("worried", "wide", "wavy"),
    "sadness": Expression("worried", "crying", "frowning"),
}
EMOTIONS = tuple(EXPRESSIONS)
"""The eight classes of Mikels et al. 2005 (https://doi.org/10.3758/BF03192732), four pleasant ones first."""

_QUESTION = f"Which emotion does the face show? Choose from {', '.join(EMOTIONS)}."


class _Style(NamedTuple):
    background: tuple[str, ...]
    skin: tuple[str | None, ...]  # None leaves the paper to show
    ink: tuple[str, ...]
    line: tuple[float, float]  # thickness, in pixels of the finished picture
    tilt: float  # largest turn of the head either way, in degrees


_STYLES = {
    "colour": _Style(
        ("#dfe9f5", "#f5e9df", "#e4f2e1", "#f3e3ee"),
        ("#ffd54a", "#f7c59f", "#c98e62", "#9fd08c"),
        ("#22222a",),
        (2, 2.6),
        6,
    ),
    "sketch": _Style(("#ffffff", "#f4f1ea"), (None,), ("#3c3c3c", "#55524c"), (1.2, 1.8), 6),
    "chalk": _Style(("#20303a", "#2b2b2b"), (None,), ("#f2f2e8", "#ffe9a8"), (2, 3), 25),
}


class _Pen:
    """Draws in face coordinates: the origin between eyes and mouth, the head a circle of radius 1, y downwards."""

    def __init__(self, image: Image.Image, centre: Point, radius: float, tilt: float, ink: str, line: float) -> None:
        self.draw, self.centre, self.radius, self.ink = ImageDraw.Draw(image), centre, radius, ink
        self.cos, self.sin = math.cos(tilt), math.sin(tilt)
        self.width = max(1, round(line * _OVERSAMPLING))

    def place(self, points: Sequence[Point]) -> list[Point]:
        """Return the points in pixels of the large picture."""
        cx, cy = self.centre
        r, c, s = self.radius, self.cos, self.sin
        return [(cx + r * (x * c - y * s), cy + r * (x * s + y * c)) for x, y in points]

    def stroke(self, *points: Point) -> None:
        """Draw a line through the points, its ends rounded."""
        placed = self.place(points)
        self.draw.line(placed, fill=self.ink, width=self.width, joint="curve")
        for x, y in (placed[0], placed[-1]):
            half = self.width / 2
            self.draw.ellipse((x - half, y - half, x + half, y + half), fill=self.ink)

    def blob(self, points: Sequence[Point], fill: str | None) -> None:
        """Draw a closed outline, filled with a colour or not."""
        placed = self.place(points)
        if fill is not None:
            self.draw.polygon(placed, fill=fill)
        self.draw.line([*placed, placed[0], placed[1]], fill=self.ink, width=self.width, joint="curve")


def _arc(x: float, y: float, rx: float, ry: float, start: float, end: float, steps: int = 14) -> list[Point]:
    """Return points on an ellipse from angle ``start`` to ``end`` in degrees, clockwise on the page from 3 o'clock."""
    angles = (math.radians(start + (end - start) * step / steps) for step in range(steps + 1))
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles]


def _brow(pen: _Pen, side: int, brows: str) -> None:
    """Draw the brow of the left (-1) or right (1) side; ``inner`` and ``outer`` are heights of its two ends."""
    inner, outer = {
        "level": (-0.52, -0.52),
        "raised": (-0.72, -0.66),
        "lowered": (-0.28, -0.58),
        "worried": (-0.70, -0.46),
        "uneven": (-0.36, -0.40) if side < 0 else (-0.66, -0.70),
    }[brows]
    pen.stroke((0.16 * side, inner), (0.60 * side, outer))


def _star(x: float, y: float, radius: float) -> list[Point]:
    spikes = ((radius if i % 2 == 0 else 0.42 * radius, math.pi * (i / 5 - 0.5)) for i in range(10))
    return [(x + r * math.cos(a), y + r * math.sin(a)) for r, a in spikes]


def _eye(pen: _Pen, side: int, eyes: str) -> None:
    """Draw the eye of one side."""
    x, y = 0.38 * side, -0.2
    if eyes == "arched":
        pen.stroke(*_arc(x, y + 0.10, 0.19, 0.22, 180, 360))
    elif eyes == "closed":
        pen.stroke(*_arc(x, y - 0.06, 0.19, 0.17, 0, 180))
    elif eyes == "narrow":
        pen.stroke((x - 0.2, y), (x + 0.2, y))
        pen.blob(_arc(x, y + 0.03, 0.06, 0.06, 0, 360, 8), pen.ink)
    elif eyes == "star":
        pen.blob(_star(x, y, 0.26), pen.ink)
    elif eyes == "wide":
        pen.blob(_arc(x, y, 0.21, 0.23, 0, 360), None)
        pen.blob(_arc(x, y, 0.05, 0.05, 0, 360, 8), pen.ink)
    else:
        pen.blob(_arc(x, y, 0.10, 0.12, 0, 360), pen.ink)
        pen.stroke((x, y + 0.22), (x, y + 0.58))


def _mouth(pen: _Pen, mouth: str, inside: str | None) -> None:
    """Draw the mouth."""
    if mouth == "laughing":
        pen.blob([*_arc(0, 0.28, 0.46, 0.46, 0, 180), (-0.46, 0.28)], inside)
    elif mouth == "round":
        pen.blob(_arc(0, 0.50, 0.17, 0.23, 0, 360), inside)
    elif mouth == "smiling":
        pen.stroke(*_arc(0, 0.28, 0.40, 0.28, 15, 165))
    elif mouth == "frowning":
        pen.stroke(*_arc(0, 0.70, 0.36, 0.28, 195, 345))
    elif mouth == "wavy":
        pen.stroke(*((-0.44 + 0.022 * i, 0.50 + 0.10 * math.sin(i * math.pi / 6.67)) for i in range(41)))
    elif mouth == "clenched":
        pen.blob([(-0.40, 0.36), (0.40, 0.36), (0.40, 0.62), (-0.40, 0.62)], None)
        for x in (-0.2, 0.0, 0.2):
            pen.stroke((x, 0.38), (x, 0.60))
    else:
        pen.stroke((-0.40, 0.44), (0.40, 0.36))
        pen.blob([(0.02, 0.42), *_arc(0.17, 0.58, 0.15, 0.22, 180, 0), (0.32, 0.40)], inside)


def draw_face(emotion: str, style: str, rng: Random) -> Image.Image:
    """Draw a face of a little different place, size, turn, colour and line each time.

    Args:
        emotion: One of ``EMOTIONS``.
        style: "colour", "sketch" or "chalk".
        rng: Source of every choice.

    Returns:
        An 84 x 84 RGB picture.
    """
    look, expression = _STYLES[style], EXPRESSIONS[emotion]
    side = _SIZE * _OVERSAMPLING
    image = Image.new("RGB", (side, side), rng.choice(look.background))
    radius = side * rng.uniform(0.40, 0.46)
    centre = (side / 2 + side * rng.uniform(-0.03, 0.03), side / 2 + side * rng.uniform(-0.03, 0.03))
    tilt = math.radians(rng.uniform(-look.tilt, look.tilt))
    skin, ink, line = rng.choice(look.skin), rng.choice(look.ink), rng.uniform(*look.line)
    pen = _Pen(image, centre, radius, tilt, ink, line)
    pen.blob(_arc(0, 0, 1, 1, 0, 360, 48), skin)
    _features(pen, expression, "#a03c46" if skin else None)
    return image.resize((_SIZE, _SIZE), Image.Resampling.BOX)


def _features(pen: _Pen, expression: Expression, inside: str | None) -> None:
    for side in (-1, 1):
        _brow(pen, side, expression.brows)
        _eye(pen, side, expression.eyes)
    _mouth(pen, expression.mouth, inside)


def describe(emotion: str) -> Solution:
    """Return what can be seen on such a face, and the emotion it shows.

    Example:
        >>> describe("awe")
        Solution(thought='raised brows, wide eyes, round mouth', answer='awe')
    """
    brows, eyes, mouth = EXPRESSIONS[emotion]
    return Solution(f"{brows} brows, {eyes} eyes, {mouth} mouth", emotion)


def draw(kind: str, rng: Random) -> Problem:
    """Draw one problem of a style, each emotion equally likely."""
    emotion = rng.choice(EMOTIONS)
    misread = describe(rng.choice([other for other in EMOTIONS if other != emotion]))
    return Problem(kind, _QUESTION, draw_face(emotion, kind, rng), EMOTIONS, describe(emotion), misread)


FAMILY = Family(
    name="drawn_faces",
    splits={
        "warm_start": Split(("colour", "sketch"), held_out=False),
        "train": Split(("colour",), held_out=False),
        "val": Split(("colour",), held_out=True),
        "out_of_domain": Split(("sketch",), held_out=True),
        "hard": Split(("chalk",), held_out=True),
    },
    draw=draw,
)


def face_prompts(split: str, num: int, seed: int = 0) -> list[Prompt]:
    """Draw emotion rows.

    Args:
        split: "train", "val" (in domain, held out), "out_of_domain", "hard" (never trained on) or "warm_start".
        num: Number of rows.
        seed: Another seed draws other rows of the same split.

    Returns:
        Rows with one 84 x 84 picture each; the same for the same arguments.
    """
    return draw_prompts(FAMILY, split, num, seed)


class DrawnFaces(SyntheticBenchmark):
    """Emotion: which of Mikels' eight a drawn face shows; out of domain: sketches; hard: chalk drawings."""

    family = FAMILY
