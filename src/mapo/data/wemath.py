"""We-Math: composite problems with their sub-problems, which tell mastery from memorization."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from typing_extensions import override

from mapo.data.benchmark import EvaluationOnlyBenchmark
from mapo.data.four_dimensional import four_dimensional_score
from mapo.data.lettered_choices import letter_of, lettered, refuse_other_answers
from mapo.data.official_layout import official_rows, picture
from mapo.data.rows import RowError
from mapo.data.source import text
from mapo.types import Prompt

_KEY = re.compile(r"(?P<steps>[23])steps_(?P<part>[123]|multi)")
_STEPS = {"2": "two-step", "3": "three-step"}
_STRAY = re.compile(r";(?=[A-Z]\.$)")  # in "Shape ;C." the separator got before a letter that belongs to the text


class WeMath(EvaluationOnlyBenchmark):
    """We-Math of Qiao et al. 2024 (https://arxiv.org/abs/2407.01284): testmini, 1,740 rows of 525 composite problems.

    CC BY-NC 4.0. Hub id ``We-Math/We-Math``: ``{"ID": "2steps_7", "split": "testmini", "knowledge concept":
    "Circumference of Circles", "question": "What is its circumference?", "option": "A. 15π;B. 10π; C. No correct
    answer", "answer": "B", "image_path": "2steps/image/7-1.png", "key": "2steps_1", "question number": 7, "knowledge
    concept description": "…"}``, the column ``image_path`` holding the file's name or the picture itself. The official
    layout is ``data/testmini.json`` with the pictures' folders beside it.

    The rows of one composite problem share their ID: ``2steps_1`` and ``2steps_2`` are the sub-problems of
    ``2steps_multi``, and so on. A choice is graded by its letter. ``figures`` gives the four-dimensional score: a
    problem is right there when more than half of its completions are, exact for one completion, and a composite
    problem counts only if all of its rows are in the set.
    """

    set_prefix = "wemath"
    hub_id = "We-Math/We-Math"
    columns = ("ID", "key", "question", "option", "answer", "image_path", "knowledge concept")
    default_eval_splits = ("testmini",)
    terms = "its licence (CC BY-NC 4.0) forbids commercial use, and its rows are published as a test set"

    @override
    def rows(self, split: str) -> Sequence[Any]:
        rows = official_rows(self.path, split, columns=self.columns)
        return super().rows(split) if rows is None else rows

    @override
    def sample_id(self, split: str, index: int, row: Mapping[str, Any]) -> str:
        problem, part = text(row["ID"]), text(row["key"]).rpartition("_")[2]
        return f"{problem}-{part}" if problem and part else super().sample_id(split, index, row)

    @override
    def to_prompt(self, sample_id: str, row: Mapping[str, Any]) -> Prompt:
        question, answer = text(row["question"]), text(row["answer"])
        key, choices = _KEY.fullmatch(text(row["key"])), choices_of(text(row["option"]))
        if key is None:
            raise RowError(sample_id, f"its key {row['key']!r} is not of the form 2steps_1 or 3steps_multi")
        if not question.strip():
            raise RowError(sample_id, "the question is empty")
        if len(choices) < 2:
            raise RowError(sample_id, f"its option {row['option']!r} is no list 'A. …; B. …'")
        refuse_other_answers(sample_id, answer, choices)
        listed = lettered(choices, "{letter}. {text}")
        return self.prompt(
            sample_id,
            f"{question}\nOptions:\n{listed}\nAnswer with the letter of the correct option.",
            answer,
            images=[picture(self.path, sample_id, row["image_path"])],
            choices=choices,
            graded_by="letter",
            knowledge_concept=row["knowledge concept"],
            categories={"steps": _STEPS[key["steps"]] if key["part"] == "multi" else "one-step", "key": key.group()},
        )

    @override
    def figures(self, name: str, accuracies: Mapping[str, float]) -> Mapping[str, float]:
        right: dict[str, dict[str, bool]] = defaultdict(dict)
        for sample_id, accuracy in accuracies.items():
            problem, _, part = sample_id.rpartition("-")
            right[problem][part] = accuracy > 0.5
        wanted = {steps: [*map(str, range(1, int(steps) + 1)), "multi"] for steps in _STEPS}
        complete = [
            ([parts[part] for part in names[:-1]], parts["multi"])
            for problem, parts in right.items()
            if (names := wanted.get(problem[:1])) and set(names) == set(parts)
        ]
        return four_dimensional_score(complete) | {"composite_problems": len(complete)} if complete else {}


def choices_of(option: str) -> list[str]:
    """Return the texts behind the letters of an ``option`` cell.

    A separator counts where the next letter in order and a text follow it: some texts end in a stray one.

    Returns:
        No choice where the cell does not begin with ``A.``.

    Example:
        >>> choices_of("A. 10 cm;B. 15 cm ; C. No correct answer"), choices_of("A. Shape ;B.; B. No correct answer")
        (['10 cm', '15 cm', 'No correct answer'], ['Shape B.', 'No correct answer'])
    """
    start = re.match(r"\s*A\s*\.", option)
    if start is None:
        return []
    choices: list[str] = []
    rest = option[start.end() :]
    while mark := re.search(rf";\s*{letter_of(len(choices) + 1)}\s*\.\s*(?=[^;\s])", rest):
        choices.append(rest[: mark.start()])
        rest = rest[mark.end() :]
    return [_STRAY.sub("", choice.strip(" ;")) for choice in [*choices, rest]]
