"""A benchmark with a bad row and a figure of its own, and an accuracy that reads its answers, for YAML to name."""

from collections.abc import Mapping
from dataclasses import dataclass

from typing_extensions import override

from mapo.data.grid_rectangles import GridRectangles
from mapo.rewards.boxed import last_boxed
from mapo.rewards.math_answer import MathAnswer
from mapo.types import Completion


@dataclass(frozen=True)
class Boxed(MathAnswer):
    """Answers are what is in the box, letter by letter."""

    @override
    def answer(self, completion: Completion) -> str | None:
        return last_boxed(completion.text)


class Rectangles(GridRectangles):
    """Rectangles; the first row of the set in domain has no answer."""

    @override
    def eval_prompts(self):
        sets = dict(super().eval_prompts())
        first, *rest = sets["grid_rectangles"]
        return sets | {"grid_rectangles": [first._replace(answer=""), *rest]}

    @override
    def figures(self, name: str, accuracies: Mapping[str, float]) -> dict[str, float]:
        return {"solved": sum(value == 1 for value in accuracies.values())}
