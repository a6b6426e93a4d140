"""GSM8K: grade-school word problems in text, answered by a number."""

from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from mapo.data.benchmark import Benchmark
from mapo.data.rows import RowError
from mapo.data.source import text
from mapo.types import Prompt


class GSM8K(Benchmark):
    r"""GSM8K of Cobbe et al. 2021 (https://arxiv.org/abs/2110.14168), MIT licence; 7,473 training and 1,319 test rows.

    Hub id ``openai/gsm8k``, configuration ``main``. A row is ``{"question": "Ann has 3 bags of 400 nails. How many?",
    "answer": "She has 3 * 400 = <<3*400=1200>>1200 nails.\n#### 1,200"}``. The answer is what stands behind ``####``,
    without thousands separators: ``1200``; the worked solution before it is kept as the metadata ``solution``.
    """

    set_prefix = "gsm8k"
    hub_id = "openai/gsm8k"
    hub_config = "main"
    columns = ("question", "answer")

    @override
    def to_prompt(self, sample_id: str, row: Mapping[str, Any]) -> Prompt:
        solution, mark, answer = text(row["answer"]).rpartition("####")
        if not mark:
            raise RowError(sample_id, f"its answer has no '####' before the result: {answer[-80:]!r}")
        number = answer.strip().replace(",", "")
        return self.prompt(sample_id, text(row["question"]), number, solution=solution.strip())
