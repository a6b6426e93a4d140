"""MathVision (MATH-V): problems of mathematics competitions with a picture, by subject and level."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from typing_extensions import override

from mapo.data.benchmark import EvaluationOnlyBenchmark
from mapo.data.cells import present, texts
from mapo.data.lettered_choices import letter_of, lettered, refuse_other_answers
from mapo.data.official_layout import official_rows, picture
from mapo.data.rows import RowError
from mapo.data.source import text
from mapo.types import Prompt

_MARKER = re.compile(r"<image(\d*)>")


class MathVision(EvaluationOnlyBenchmark):
    r"""MATH-Vision of Wang et al. 2024 (https://arxiv.org/abs/2402.14804): test 3,040 rows, testmini 304 of them.

    MIT licence. Hub id ``MathLLMs/MathVision``: ``{"id": "279", "question": "Which line is the $y$-axis?\n<image1>",
    "options": ["$a$", "$b$", "$c$", "$d$", "none of them"], "image": "images/279.jpg", "decoded_image": <picture>,
    "answer": "A", "solution": null, "level": 4, "subject": "analytic geometry"}``; ``options`` may be empty. The
    official layout is ``data/test.jsonl`` and ``data/testmini.jsonl`` with the folder ``images``.

    A row has one picture file. Where its text has several markers, that file shows all of them, one below the other and
    each under its marker; as in the authors' evaluation it then comes before the text, whose markers stay as words.
    Options other than bare letters are listed below the question. A choice is graded by letter or text.
    """

    set_prefix = "mathvision"
    hub_id = "MathLLMs/MathVision"
    columns = ("id", "question", "options", "image", "answer", "level", "subject")
    terms = "its rows are published as a test set, and training on them makes every figure on it worthless"

    @override
    def rows(self, split: str) -> Sequence[Any]:
        rows = official_rows(self.path, split, columns=self.columns)
        return super().rows(split) if rows is None else rows

    @override
    def sample_id(self, split: str, index: int, row: Mapping[str, Any]) -> str:
        return text(row["id"]) or super().sample_id(split, index, row)

    @override
    def to_prompt(self, sample_id: str, row: Mapping[str, Any]) -> Prompt:
        question, answer, options = text(row["question"]), text(row["answer"]), texts(sample_id, row, "options")
        if not _MARKER.sub("", question).strip():
            raise RowError(sample_id, "the question is empty")
        refuse_other_answers(sample_id, answer, options)
        return self.prompt(
            sample_id,
            with_one_picture(_with_options(question, options)),
            answer,
            images=[picture(self.path, sample_id, row.get("decoded_image") or row["image"])],
            choices=options,
            solution=row.get("solution"),
            categories=present(row, "subject", "level"),
        )


def with_one_picture(question: str) -> str:
    """Return a question whose markers stand for one picture file, with at most the marker ``<image1>``.

    Returns:
        The question itself where it has no other marker; else one with words for markers, so that the picture, in which
        the markers are written too, comes first.

    Example:
        >>> with_one_picture("Continue <image1>:"), with_one_picture("Is <image2> a part of <image1>?")
        ('Continue <image1>:', 'Is <image 2> a part of <image 1>?')
    """
    if set(_MARKER.findall(question)) <= {"1"}:
        return question
    return _MARKER.sub(r"<image \1>", question)


def _with_options(question: str, options: Sequence[str]) -> str:
    """Add the options and what to do with them; bare letters have their texts in the picture."""
    if not options:
        return question
    bare = [option.strip("()$ ") for option in options] == [letter_of(i) for i in range(len(options))]
    listed = [] if bare else [lettered(options)]
    return "\n".join([question, *listed, "Answer with the letter of the correct option."])
