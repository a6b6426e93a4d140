"""Vision math: area or perimeter of a coloured rectangle on squared paper; three bars out of domain."""

from random import Random

from PIL import Image, ImageDraw

from mapo.data.problem import Family, Problem, Solution, Split, draw_prompts
from mapo.data.synthetic import SyntheticBenchmark
from mapo.types import Prompt

_SIZE, _CELL, _CELLS = 84, 14, 6  # a cell is a patch of the built-in model's vision tower
_COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#e45756", "#b279a2", "#72b7b2", "#eeca3b", "#9d755d")
_PAPER, _LINES, _INK = "#ffffff", "#c8ccd4", "#1b1e28"
_BOARD, _BOARD_LINES, _CHALK = "#20303a", "#33454f", "#f2f2e8"

_QUESTIONS = {
    "area": "What is the area of the rectangle?",
    "perimeter": "What is the perimeter of the rectangle?",
    "bars": "What is the sum of the three bars?",
}


def work_out(kind: str, numbers: tuple[int, ...]) -> Solution:
    """Return the worked solution for what was read off the picture.

    Args:
        kind: "area", "perimeter" or "bars".
        numbers: Width and height of the rectangle, or the heights of the bars, in cells.

    Returns:
        The steps and the answer.

    Example:
        >>> work_out("perimeter", (4, 6))
        Solution(thought='4+6=10,10*2=20', answer='20')
    """
    first, second, *rest = numbers
    if kind == "area":
        return Solution(f"{first}*{second}={first * second}", str(first * second))
    total = first + second
    if kind == "perimeter":
        return Solution(f"{first}+{second}={total},{total}*2={total * 2}", str(total * 2))
    return Solution(f"{first}+{second}={total},{total}+{rest[0]}={total + rest[0]}", str(total + rest[0]))


def _line(number: int) -> int:
    """Return the pixel of a grid line; the last one lies inside the picture."""
    return min(_CELL * number, _SIZE - 1)


def _box(left: int, top: int, right: int, bottom: int) -> tuple[int, int, int, int]:
    """Return the pixel box of a range of cells, its outline on the grid lines."""
    return _line(left), _line(top), _line(right), _line(bottom)


def _place(sides: tuple[int, ...], rng: Random) -> tuple[int, int, int, int]:
    """Return the pixel box of a rectangle of this width and height anywhere on the paper."""
    width, height = sides
    left, top = rng.randint(0, _CELLS - width), rng.randint(0, _CELLS - height)
    return _box(left, top, left + width, top + height)


def _grid(image: Image.Image, colour: str) -> ImageDraw.ImageDraw:
    pen = ImageDraw.Draw(image)
    for at in map(_line, range(_CELLS + 1)):
        pen.line((at, 0, at, _SIZE), fill=colour)
        pen.line((0, at, _SIZE, at), fill=colour)
    return pen


def draw_rectangle(sides: tuple[int, ...], rng: Random) -> Image.Image:
    """Draw a filled rectangle anywhere on squared paper, the squares visible through it."""
    image = Image.new("RGB", (_SIZE, _SIZE), _PAPER)
    box = _place(sides, rng)
    ImageDraw.Draw(image).rectangle(box, fill=rng.choice(_COLOURS))
    _grid(image, _LINES).rectangle(box, outline=_INK)
    return image


def draw_bars(heights: tuple[int, ...], rng: Random) -> Image.Image:
    """Draw bars that stand on the lowest line of the squared paper."""
    image = Image.new("RGB", (_SIZE, _SIZE), _PAPER)
    pen, start = ImageDraw.Draw(image), rng.randint(0, 1)
    boxes = [_box(start + 2 * i, _CELLS - height, start + 2 * i + 1, _CELLS) for i, height in enumerate(heights)]
    for box in boxes:
        pen.rectangle(box, fill=rng.choice(_COLOURS))
    pen = _grid(image, _LINES)
    for box in boxes:
        pen.rectangle(box, outline=_INK)
    return image


def draw_chalk(sides: tuple[int, ...], rng: Random) -> Image.Image:
    """Draw the outline of a rectangle in chalk on a board: a style that no training stage sees."""
    image = Image.new("RGB", (_SIZE, _SIZE), _BOARD)
    _grid(image, _BOARD_LINES).rectangle(_place(sides, rng), outline=_CHALK, width=2)
    return image


def _misread(numbers: tuple[int, ...], rng: Random) -> tuple[int, ...]:
    """Return the numbers with one of them off by one, as a miscount would have it."""
    at = rng.randrange(len(numbers))
    off = rng.choice((-1, 1))
    wrong = numbers[at] + off if 1 <= numbers[at] + off <= _CELLS else numbers[at] - off
    return (*numbers[:at], wrong, *numbers[at + 1 :])


def draw(kind: str, rng: Random) -> Problem:
    """Draw one problem.

    Args:
        kind: "area" or "perimeter", either with the suffix " in chalk", or "bars".
        rng: Source of every choice.

    Returns:
        A problem with an 84 x 84 picture and sides or bars of 1 to 6 cells.
    """
    asked = kind.removesuffix(" in chalk")
    numbers = tuple(rng.randint(1, _CELLS) for _ in range(3 if asked == "bars" else 2))
    picture = draw_bars if asked == "bars" else draw_rectangle if asked == kind else draw_chalk
    image = picture(numbers, rng)
    misread = work_out(asked, _misread(numbers, rng))
    return Problem(kind, _QUESTIONS[asked], image, (), work_out(asked, numbers), misread)


FAMILY = Family(
    name="grid_rectangles",
    splits={
        "warm_start": Split(("area", "perimeter", "bars"), held_out=False),
        "train": Split(("area", "perimeter"), held_out=False),
        "val": Split(("area", "perimeter"), held_out=True),
        "out_of_domain": Split(("bars",), held_out=True),
        "hard": Split(("area in chalk", "perimeter in chalk"), held_out=True),
    },
    draw=draw,
)


def rectangle_prompts(split: str, num: int, seed: int = 0) -> list[Prompt]:
    """Draw vision-math rows.

    Args:
        split: "train", "val" (in domain, held out), "out_of_domain", "hard" (never trained on) or "warm_start".
        num: Number of rows.
        seed: Another seed draws other rows of the same split.

    Returns:
        Rows with one 84 x 84 picture each; the same for the same arguments.
    """
    return draw_prompts(FAMILY, split, num, seed)


class GridRectangles(SyntheticBenchmark):
    """Vision math: area and perimeter of a drawn rectangle; out of domain: three bars; hard: chalk drawings."""

    family = FAMILY
