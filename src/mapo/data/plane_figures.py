"""Text math: angles and perimeters of plane figures; quadrilaterals and a word problem out of domain."""

from collections.abc import Callable
from random import Random

from mapo.data.problem import Family, Problem, Solution, Split, draw_prompts
from mapo.data.synthetic import SyntheticBenchmark
from mapo.types import Prompt

Numbers = tuple[int, ...]


def running_sum(numbers: Numbers) -> Solution:
    """Add numbers one by one.

    Example:
        >>> running_sum((3, 4, 5))
        Solution(thought='3+4=7,7+5=12', answer='12')
    """
    total, steps = numbers[0], []
    for number in numbers[1:]:
        steps.append(f"{total}+{number}={total + number}")
        total += number
    return Solution(",".join(steps), str(total))


def _third_angle(numbers: Numbers) -> Solution:
    total = sum(numbers)
    return Solution(f"{numbers[0]}+{numbers[1]}={total},180-{total}={180 - total}", str(180 - total))


def _twice_the_sum(numbers: Numbers) -> Solution:
    total = sum(numbers)
    return Solution(f"{numbers[0]}+{numbers[1]}={total},{total}*2={total * 2}", str(total * 2))


def _boxes(numbers: Numbers) -> Solution:
    product = numbers[0] * numbers[1]
    answer = product + numbers[2]
    return Solution(f"{numbers[0]}*{numbers[1]}={product},{product}+{numbers[2]}={answer}", str(answer))


def _half_the_product(numbers: Numbers) -> Solution:
    product = numbers[0] * numbers[1]
    return Solution(f"{numbers[0]}*{numbers[1]}={product},{product}/2={product / 2:g}", f"{product / 2:g}")


def _angles(rng: Random) -> Numbers:
    return rng.randint(20, 85), rng.randrange(20, 85, 10)


def _sides(num: int) -> Callable[[Random], Numbers]:
    return lambda rng: tuple(rng.randint(2, 12) for _ in range(num))


def _small(rng: Random) -> Numbers:
    return rng.randint(2, 9), rng.randint(2, 9), rng.randint(2, 9)


def _legs(rng: Random) -> Numbers:
    return 2 * rng.randint(1, 20), rng.randint(2, 60)


# kind: how it is asked, how its numbers are drawn, how it is solved
_KINDS: dict[str, tuple[str, Callable[[Random], Numbers], Callable[[Numbers], Solution]]] = {
    "triangle_angle": (
        "Two angles of a triangle are {} and {} degrees. What is the third angle?",
        _angles,
        _third_angle,
    ),
    "triangle_perimeter": (
        "The sides of a triangle are {}, {} and {}. What is its perimeter?",
        _sides(3),
        running_sum,
    ),
    "rectangle_perimeter": (
        "A rectangle is {} long and {} wide. What is its perimeter?",
        lambda rng: (rng.randint(2, 30), rng.randint(2, 19)),
        _twice_the_sum,
    ),
    "quadrilateral_perimeter": (
        "The sides of a quadrilateral are {}, {}, {} and {}. What is its perimeter?",
        _sides(4),
        running_sum,
    ),
    "word_problem": (
        "Tom has {} boxes of {} apples and {} more apples. How many apples has he?",
        _small,
        _boxes,
    ),
    "triangle_area": (
        "The legs of a right triangle are {} and {}. What is its area?",
        _legs,
        _half_the_product,
    ),
}


def _misread(numbers: Numbers, rng: Random) -> Numbers:
    """Return the numbers with one of them off by one, or by five where all are multiples of five."""
    at = rng.randrange(len(numbers))
    off = rng.choice((-1, 1)) * (5 if all(number % 5 == 0 for number in numbers) else 1)
    return (*numbers[:at], numbers[at] + off, *numbers[at + 1 :])


def draw(kind: str, rng: Random) -> Problem:
    """Draw one problem in words.

    Args:
        kind: "triangle_angle", "triangle_perimeter", "rectangle_perimeter", "quadrilateral_perimeter",
            "word_problem" or "triangle_area".
        rng: Source of every choice.

    Returns:
        A problem without a picture.
    """
    wording, numbers_of, solve = _KINDS[kind]
    numbers = numbers_of(rng)
    return Problem(kind, wording.format(*numbers), None, (), solve(numbers), solve(_misread(numbers, rng)))


_TRAINED = ("triangle_angle", "triangle_perimeter", "rectangle_perimeter")
_OUT_OF_DOMAIN = ("quadrilateral_perimeter", "word_problem")

FAMILY = Family(
    name="plane_figures",
    splits={
        "warm_start": Split((*_TRAINED, *_OUT_OF_DOMAIN, "triangle_angle", "rectangle_perimeter"), held_out=False),
        "train": Split(_TRAINED, held_out=False),
        "val": Split(_TRAINED, held_out=True),
        "out_of_domain": Split(_OUT_OF_DOMAIN, held_out=True),
        "hard": Split(("triangle_area",), held_out=True),
    },
    draw=draw,
)


def figure_prompts(split: str, num: int, seed: int = 0) -> list[Prompt]:
    """Draw text-math rows.

    Args:
        split: "train", "val" (in domain, held out), "out_of_domain", "hard" (never trained on) or "warm_start".
        num: Number of rows.
        seed: Another seed draws other rows of the same split.

    Returns:
        Rows without pictures; the same for the same arguments.
    """
    return draw_prompts(FAMILY, split, num, seed)


class PlaneFigures(SyntheticBenchmark):
    """Text math: angles and perimeters; out of domain: quadrilaterals and a word problem; hard: areas of triangles."""

    family = FAMILY
