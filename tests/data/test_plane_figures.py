import re
from random import Random

import pytest

from mapo.data.plane_figures import draw, figure_prompts

RULES = {
    "triangle_angle": lambda a, b: 180 - a - b,
    "triangle_perimeter": lambda a, b, c: a + b + c,
    "rectangle_perimeter": lambda a, b: 2 * (a + b),
    "quadrilateral_perimeter": lambda a, b, c, d: a + b + c + d,
    "word_problem": lambda a, b, c: a * b + c,
    "triangle_area": lambda a, b: a * b / 2,
}


@pytest.mark.parametrize("kind", RULES)
def test_answers_follow_from_the_numbers_in_the_question(kind: str) -> None:
    for seed in range(50):
        problem = draw(kind, Random(seed))
        numbers = map(int, re.findall(r"\d+", problem.question))
        assert float(problem.worked.answer) == RULES[kind](*numbers) > 0


@pytest.mark.parametrize("kind", RULES)
def test_every_step_of_the_worked_solution_is_true(kind: str) -> None:
    for seed in range(50):
        for solution in (draw(kind, Random(seed)).worked, draw(kind, Random(seed)).misread):
            steps = [step.split("=") for step in solution.thought.split(",")]
            assert all(eval(left) == float(right) for left, right in steps)
            assert steps[-1][1] == solution.answer


def test_rows_are_words_alone() -> None:
    row = figure_prompts("train", 1)[0]
    assert row.images == ()
    assert row.messages[0]["content"].startswith("Two angles of a triangle are ")
