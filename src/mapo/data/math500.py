"""MATH-500: the subset of MATH that results are usually quoted on."""

from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from mapo.data.benchmark import Benchmark
from mapo.data.source import text
from mapo.types import Prompt


class MATH500(Benchmark):
    r"""MATH-500 of Lightman et al. 2023 (https://arxiv.org/abs/2305.20050), MIT licence; 500 test rows and no others.

    Hub id ``HuggingFaceH4/MATH-500``. A row is ``{"problem": "What is $\\frac{1}{2}$ of $3\\sqrt{8}$?", "solution":
    "Half of $6\\sqrt{2}$ is $\\boxed{3\\sqrt{2}}$.", "answer": "3\\sqrt{2}", "subject": "Algebra", "level": 2,
    "unique_id": "test/algebra/1.json"}``. The unique id is the sample id; ``subject`` (7) and ``level`` (1 to 5) are
    its categories. ``mapo.data.math12k.Math12K`` trains on the rest of MATH, and has the same rows as its test split.
    """

    set_prefix = "math500"
    hub_id = "HuggingFaceH4/MATH-500"
    columns = ("problem", "solution", "answer", "subject", "level", "unique_id")

    @override
    def sample_id(self, split: str, index: int, row: Mapping[str, Any]) -> str:
        return text(row["unique_id"]) or super().sample_id(split, index, row)

    @override
    def to_prompt(self, sample_id: str, row: Mapping[str, Any]) -> Prompt:
        return self.prompt(
            sample_id,
            text(row["problem"]),
            text(row["answer"]),
            solution=text(row["solution"]),
            categories={"subject": text(row["subject"]), "level": text(row["level"])},
        )
