"""GSM8K: grade-school word problems in text, answered by a number."""

from collections.abc import Mapping, Sequence
from typing import Any

from typing_extensions import override

from mapo.data.base import PromptDataModule
from mapo.data.rows import LazyPrompts, RowError
from mapo.data.source import load_rows, text
from mapo.types import Prompt


class GSM8K(PromptDataModule):
    r"""GSM8K of Cobbe et al. 2021 (https://arxiv.org/abs/2110.14168), MIT licence; 7,473 training and 1,319 test rows.

    Hub id ``openai/gsm8k``, configuration ``main``. A row is ``{"question": "Ann has 3 bags of 400 nails. How many?",
    "answer": "She has 3 * 400 = <<3*400=1200>>1200 nails.\n#### 1,200"}``. The answer is what stands behind ``####``,
    without thousands separators: ``1200``; the worked solution before it is kept as the metadata ``solution``.
    """

    def __init__(
        self,
        path: str = "openai/gsm8k",
        *,
        train_split: str = "train",
        eval_splits: Sequence[str] = ("test",),
        **kwargs: Any,
    ) -> None:
        """Name the source.

        Args:
            path: Hub id, ``save_to_disk`` folder, or folder with ``train.jsonl`` and ``test.jsonl`` (or parquet).
            train_split: Split to train on.
            eval_splits: Splits to evaluate; each is a set called ``gsm8k_<split>``.
            **kwargs: Those of ``PromptDataModule``.
        """
        super().__init__(**kwargs)
        self.path = path
        self.train_split = train_split
        self.eval_splits = tuple(eval_splits)

    @override
    def train_prompts(self) -> Sequence[Prompt]:
        return self._read(self.train_split)

    @override
    def eval_prompts(self) -> Mapping[str, Sequence[Prompt]]:
        return {f"gsm8k_{split}": self._read(split) for split in self.eval_splits}

    def _read(self, split: str) -> Sequence[Prompt]:
        rows = load_rows(self.path, split, columns=("question", "answer"), config="main")

        def to_prompt(index: int, row: Mapping[str, Any]) -> Prompt:
            sample_id = f"{split}-{index}"
            solution, mark, answer = text(row["answer"]).rpartition("####")
            if not mark:
                raise RowError(sample_id, f"its answer has no '####' before the result: {answer[-80:]!r}")
            number = answer.strip().replace(",", "")
            return self.prompt(sample_id, text(row["question"]), number, solution=solution.strip())

        return LazyPrompts(rows, to_prompt)
