r"""MATH as 12,000 training and 500 test problems: competition mathematics in text, answered by an expression."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from mapo.data.benchmark import Benchmark
from mapo.data.json_file import read_json
from mapo.data.rows import RowError
from mapo.data.source import load_rows, text
from mapo.types import Prompt

_BOX = re.compile(r"\\(?:boxed|fbox)\s*(\{|[^\s${}]+)")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


class Math12K(Benchmark):
    r"""MATH of Hendrycks et al. 2021 (https://arxiv.org/abs/2103.03874), MIT licence; 12,000 / 500 rows.

    Hub id ``hiyouga/math12k``, whose test split is MATH-500 and whose train split is the rest of MATH. A row is
    ``{"problem": "What is $\\frac{1}{2}$ of $3\\sqrt{8}$?", "answer": "3\\sqrt{2}"}``.

    The authors' own layout is read, too, from ``<split>/<subject>/<number>.json`` (7,500 training and 5,000 test rows:
    its test split holds training rows of the Hub's) or as rows of any other source: ``{"problem": "What is ...?",
    "level": "Level 2", "type": "Algebra", "solution": "Half of $6\\sqrt{2}$ is $\\boxed{3\\sqrt{2}}$."}``. The answer
    is then the content of the solution's last box, which is how MATH-500's answers were made; ``subject`` (the type)
    and ``level`` are its categories.
    """

    set_prefix = "math12k"
    hub_id = "hiyouga/math12k"
    columns = ("problem",)

    @override
    def rows(self, split: str) -> Sequence[Mapping[str, Any]]:
        files = sorted(
            Path(self.path, split).glob("*/*.json"), key=lambda file: (file.parent.name, len(file.name), file)
        )
        if files:
            return [{"file": file} for file in files]
        rows = load_rows(self.path, split, columns=self.columns)
        if not {"answer", "solution"} & set(rows.column_names):
            there = ", ".join(rows.column_names)
            raise ValueError(f"{self.path!r} has neither a column answer nor solution; its columns are {there}")
        return rows

    @override
    def sample_id(self, split: str, index: int, row: Mapping[str, Any]) -> str:
        if "file" in row:
            return f"{split}/{row['file'].parent.name}/{row['file'].name}"  # as in MATH-500's unique_id
        return super().sample_id(split, index, row)

    @override
    def to_prompt(self, sample_id: str, row: Mapping[str, Any]) -> Prompt:
        if "file" in row:
            row = _read(sample_id, row["file"])
        solution = text(row.get("solution"))
        answer = text(row["answer"]) if "answer" in row else solution_answer(solution)
        if answer is None:
            raise RowError(sample_id, f"its solution has no \\boxed answer: ...{solution[-80:]!r}")
        known = {"subject": text(row.get("type")), "level": text(row.get("level")).removeprefix("Level ")}
        metadata: dict[str, Any] = {"solution": solution} if solution else {}
        if categories := {name: value for name, value in known.items() if value}:
            metadata["categories"] = categories
        return self.prompt(sample_id, text(row["problem"]), answer, **metadata)


def solution_answer(solution: str) -> str | None:
    r"""Return the content of the last ``\boxed{…}`` or ``\fbox{…}`` of a worked solution; one word needs no braces.

    Source: the rule of MATH's authors (https://github.com/hendrycks/math).

    Returns:
        None where there is no box, or the last one is never closed.

    Example:
        >>> solution_answer(r"So $x = \boxed{\frac{1}{2}}$."), solution_answer(r"It is $\boxed 5$.")
        ('\\frac{1}{2}', '5')
    """
    boxes = list(_BOX.finditer(solution))
    if not boxes or boxes[-1].group(1) != "{":
        return boxes[-1].group(1) if boxes else None
    start, depth = boxes[-1].end(), 1
    for brace in _BRACE.finditer(solution, start):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth == 0:
            return solution[start : brace.start()].strip()
    return None


def _read(sample_id: str, file: Path) -> Mapping[str, Any]:
    try:
        row = read_json(file)
        return {"problem": row["problem"], **row}
    except (ValueError, KeyError, TypeError) as error:
        raise RowError(sample_id, f"{file} is no JSON object with a problem and a solution: {error!r}") from error
