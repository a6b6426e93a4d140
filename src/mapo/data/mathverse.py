"""MathVerse: the same diagram problems told in up to six versions, from all in words to all in the picture."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from typing_extensions import override

from mapo.data.benchmark import EvaluationOnlyBenchmark
from mapo.data.cells import fields, present, texts
from mapo.data.lettered_choices import letter_of, lettered, refuse_other_answers
from mapo.data.official_layout import official_rows, picture
from mapo.data.rows import RowError
from mapo.data.source import load_rows, text
from mapo.types import Prompt

Version = Literal["Text Dominant", "Text Lite", "Text Only", "Vision Intensive", "Vision Dominant", "Vision Only"]
VERSIONS: tuple[Version, ...] = get_args(Version)

_FORMS = {
    "multi-choice": "the correct option letter, e.g., A, B, C, D, at the end.",
    "free-form": "the final value, e.g., 1, 2.5, 300, at the end.",
}
_CHOICE = re.compile(r"^\s*\(?([A-Z])\s*[).:．：]\s*", re.MULTILINE)  # "A:50°", "A.35", "(A) 35"


class MathVerse(EvaluationOnlyBenchmark):
    r"""MathVerse of Zhang et al. 2024 (https://arxiv.org/abs/2403.14624): 788 problems in five versions, and text only.

    MIT licence. Hub id ``AI4Math/MathVerse``, its configurations named as their splits: ``testmini`` of 3,940 rows and
    ``testmini_text_only`` of 788: ``{"sample_index": "1", "problem_index": "1", "problem_version": "Text Dominant",
    "question": "Angle 1 is 50°. Then angle 2 = ()\nChoices:\nA:50°\nB:60°", "image": <picture>, "answer": "B",
    "question_type": "multi-choice", "metadata": {"split": "testmini", "source": "GeoQA", "subject": "Plane Geometry",
    "subfield": "Angle"}, "query_wo": "…", "query_cot": "…", "question_for_eval": "…"}``. The official layout is
    ``testmini.json`` and ``testmini_text_only.json`` with a folder ``images``; the website's rows (an object by pid,
    the version inside the metadata; CC BY-SA 4.0) are read, too.

    The question is the authors' ``query_cot``, composed alike where the source has none: it asks for reasoning, then a
    letter or a value. A row of version "Vision Only" has its question in the picture. A choice is graded by letter or
    text. Strict matches all: the authors grade with a language model, so their figures do not compare.
    """

    set_prefix = "mathverse"
    hub_id = "AI4Math/MathVerse"
    columns = ("question", "image", "answer", "question_type", "metadata")
    default_eval_splits = ("testmini",)
    terms = "its rows are published as a test set, and training on them makes every figure on it worthless"

    def __init__(self, path: str | None = None, *, versions: Sequence[Version] | None = None, **kwargs: Any) -> None:
        """Name the source.

        Args:
            path: Hub id, ``save_to_disk`` folder, folder of parquet or jsonl files named after their splits, or folder
                in the benchmark's official layout; its Hub id when None.
            versions: Versions of the problems to use; all that a split holds when None. "Text Only" rows are a split
                of their own, ``testmini_text_only``.
            **kwargs: Those of ``EvaluationOnlyBenchmark``.

        Raises:
            ValueError: There is no such version.
        """
        super().__init__(path, **kwargs)
        if versions is not None and (not versions or not set(versions) <= set(VERSIONS)):
            raise ValueError(f"versions must be some of {', '.join(map(repr, VERSIONS))}, got {list(versions)}")
        self.versions = VERSIONS if versions is None else tuple(versions)

    @override
    def rows(self, split: str) -> Any:
        rows: Any = official_rows(self.path, split, columns=self.columns)
        if rows is None:
            rows = load_rows(self.path, split, columns=self.columns, config=split)
        return rows if set(self.versions) == set(VERSIONS) else self._chosen(split, rows)

    def _chosen(self, split: str, rows: Any) -> Any:
        listed = isinstance(rows, list)
        versions = [_version(row) for row in (rows if listed else rows.remove_columns("image"))]
        kept = [i for i, version in enumerate(versions) if version in self.versions or version not in VERSIONS]
        if versions and not kept:
            raise ValueError(
                f"split {split!r} of {self.path!r} has no row of versions {', '.join(self.versions)}, only of "
                f"{', '.join(sorted(set(versions)))}; 'Text Only' is in the split testmini_text_only"
            )
        return [rows[i] for i in kept] if listed else rows.select(kept)

    @override
    def sample_id(self, split: str, index: int, row: Mapping[str, Any]) -> str:
        return text(row.get("sample_index") or row.get("pid")) or super().sample_id(split, index, row)

    @override
    def to_prompt(self, sample_id: str, row: Mapping[str, Any]) -> Prompt:
        version, answer = _version(row), text(row["answer"])
        if version not in VERSIONS:
            raise RowError(sample_id, f"its problem_version {version!r} is none of {', '.join(map(repr, VERSIONS))}")
        if not text(row["question"]).strip() and version != "Vision Only":
            raise RowError(sample_id, "the question is empty")
        choices = _choices(sample_id, row)
        refuse_other_answers(sample_id, answer, choices)
        return self.prompt(
            sample_id,
            text(row.get("query_cot")) or _query(row),
            answer,
            images=[] if version == "Text Only" else [picture(self.path, sample_id, row["image"])],
            choices=choices,
            problem_index=row.get("problem_index"),
            categories={"version": version} | _topics(fields(sample_id, row, "metadata")),
        )


def choices_in(question: str) -> list[str]:
    r"""Return the texts behind the letters A, B, … that a question lists under ``Choices:``.

    Returns:
        None of them where it lists fewer than two, or spells them in no known way: the letters alone count then.

    Example:
        >>> choices_in("Then angle 3 = ()\nChoices:\nA:50°\nB:60°"), choices_in("Find y.\nChoices:\nA.35\nB.40")
        (['50°', '60°'], ['35', '40'])
    """
    listed = question.rpartition("Choices:")[2] if "Choices:" in question else ""
    marks: list[re.Match[str]] = []
    for mark in _CHOICE.finditer(listed):
        if mark.group(1) == letter_of(len(marks)):
            marks.append(mark)
    ends = [mark.start() for mark in marks[1:]] + [len(listed)]
    if len(marks) < 2:
        return []
    return [listed[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)]


def _choices(sample_id: str, row: Mapping[str, Any]) -> list[str]:
    """Return a row's choices: a column of the website's rows, part of the question elsewhere."""
    if row.get("choices"):
        return texts(sample_id, row, "choices")
    return choices_in(text(row["question"])) or choices_in(text(row.get("question_for_eval")))


def _version(row: Any) -> str:
    if not isinstance(row, Mapping):
        return ""
    metadata = row.get("metadata")
    inside = metadata.get("problem_version") if isinstance(metadata, Mapping) else None  # the website's rows
    return text(row.get("problem_version") or inside)


def _topics(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return subject and subfield under the Hub's names; the website has the plural."""
    topics = {name: metadata.get(name) or metadata.get(f"{name}s") for name in ("subject", "subfield")}
    return present(topics, *topics)


def _query(row: Mapping[str, Any]) -> str:
    question = text(row["question"]).strip()
    if row.get("choices"):
        question = f"{question}\nChoices:\n{lettered(list(map(text, row['choices'])), '{letter}:{text}')}".lstrip()
    form = _FORMS.get(text(row["question_type"]).replace("_", "-"), "the final answer, at the end.")
    request = f"lease first conduct reasoning, and then answer the question and provide {form}"
    return (
        f"P{request}\nQuestion: {question}" if question else f"According to the question shown in the image, p{request}"
    )
