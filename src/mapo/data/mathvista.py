"""MathVista: mathematical reasoning in many visual contexts, answered by a choice, a number or a list."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from mapo.data.benchmark import EvaluationOnlyBenchmark
from mapo.data.cells import fields, present, texts, whole_number
from mapo.data.json_file import read_json
from mapo.data.lettered_choices import lettered, refuse_other_answers
from mapo.data.official_layout import official_rows, picture
from mapo.data.rows import RowError
from mapo.data.source import text
from mapo.types import Prompt

_NUMBER = "requiring a floating-point number with {} and provide the final value, e.g., {}, at the end."
_HINTS = {
    ("text", None): "and provide the correct option letter, e.g., A, B, C, D, at the end.",
    ("integer", None): "requiring an integer answer and provide the final value, e.g., 1, 2, 3, at the end.",
    ("float", 1): _NUMBER.format("one decimal place", "1.2, 1.3, 1.4"),
    ("float", 2): _NUMBER.format("two decimal places", "1.23, 1.34, 1.45"),
    ("list", None): "requiring a Python list as an answer and provide the final list, "
    "e.g., [1, 2, 3], [1.2, 1.3, 1.4], at the end.",
}
_ROW_CATEGORIES = ("question_type", "answer_type")
_CATEGORIES = ("task", "context", "category", "grade", "skills", "language", "source")


class MathVista(EvaluationOnlyBenchmark):
    """MathVista of Lu et al. 2023 (https://arxiv.org/abs/2310.02255): testmini 1,000 rows, test 5,141 without answers.

    CC BY-SA 4.0 for the benchmark's own part; questions and pictures belong to the authors of its 28 sources; for
    testing only. Hub id ``AI4Math/MathVista``, splits testmini and test: ``{"pid": "24", "question": "Is it so?",
    "image": "images/24.jpg", "decoded_image": <picture>, "choices": ["yes", "no"], "unit": null, "precision": null,
    "question_type": "multi_choice", "answer_type": "text", "answer": "no", "metadata": {"task": "figure question
    answering", "context": "bar chart", "category": "general-vqa", "grade": "not applicable", "skills": ["statistical
    reasoning"], "language": "english", "source": "FigureQA", ...}, "query": "Hint: ..."}``. The official layout is
    ``data/testmini.json``, an object of such rows by pid, with ``query.json`` and the folder ``images``.

    The question is the authors' ``query``: a hint at the form of the answer, the question, the choices by letter; it is
    composed alike where the source has none. A choice is graded by letter or text, a float to ``precision`` decimals.
    Strict matches all: the authors let a language model extract the answers first, so their figures do not compare.
    """

    set_prefix = "mathvista"
    hub_id = "AI4Math/MathVista"
    columns = ("pid", "question", "image", "choices", "answer", "question_type", "answer_type", "precision", "metadata")
    default_eval_splits = ("testmini",)
    terms = "its licence allows its rows as a test set only and prohibits training on them"

    @override
    def rows(self, split: str) -> Sequence[Any]:
        rows = official_rows(self.path, split, columns=self.columns)
        if rows is None:
            return super().rows(split)
        queries = _queries(Path(self.path))
        return [row | {"query": queries.get(str(row["pid"]))} if isinstance(row, dict) else row for row in rows]

    @override
    def sample_id(self, split: str, index: int, row: Mapping[str, Any]) -> str:
        return text(row["pid"]) or super().sample_id(split, index, row)

    @override
    def to_prompt(self, sample_id: str, row: Mapping[str, Any]) -> Prompt:
        answer, choices = text(row["answer"]), texts(sample_id, row, "choices")
        precision = whole_number(sample_id, row, "precision")
        if not text(row["question"]).strip():
            raise RowError(sample_id, "the question is empty")
        if not answer.strip():
            raise RowError(sample_id, "it has no answer; those of the split test are not public, evaluate testmini")
        if row["question_type"] == "multi_choice" and not choices:
            raise RowError(sample_id, "its question_type is multi_choice, but it has no choices")
        refuse_other_answers(sample_id, answer, choices)
        metadata = fields(sample_id, row, "metadata")
        return self.prompt(
            sample_id,
            text(row.get("query")) or _query(row, choices, precision),
            answer,
            images=[picture(self.path, sample_id, row.get("decoded_image") or row["image"])],
            choices=choices,
            precision=precision,
            unit=row.get("unit"),
            categories=present(row, *_ROW_CATEGORIES) | present(metadata, *_CATEGORIES),
        )


def _queries(root: Path) -> dict[str, str]:
    """Return the authors' prompts by pid; none where the file is absent."""
    for file in (root / "query.json", root / "data" / "query.json"):
        if file.is_file():
            queries = read_json(file)
            if not isinstance(queries, dict):
                raise ValueError(
                    f"{file} holds a {type(queries).__name__}, not an object of texts by pid; fetch it again"
                )
            return queries
    return {}


def _query(row: Mapping[str, Any], choices: Sequence[str], precision: int | None) -> str:
    """Return what the authors' own program writes for a row (evaluation/build_query.py of lupantech/MathVista)."""
    hint = _HINTS.get((text(row["answer_type"]), precision))
    unit = f" (Unit: {row['unit']})" if row.get("unit") else ""
    lines = [f"Hint: Please answer the question {hint}"] if hint else []
    lines.append(f"Question: {text(row['question'])}{unit}")
    return "\n".join([*lines, "Choices:", lettered(choices)] if choices else lines).strip()
