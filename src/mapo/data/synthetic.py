"""Benchmarks drawn by the package itself, each a task family with splits in and out of domain."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from typing_extensions import override

from mapo.data.base import PromptDataModule
from mapo.data.problem import INSTRUCTION, Family, draw_prompts
from mapo.types import Prompt


class SyntheticBenchmark(PromptDataModule):
    """A task family as a benchmark: three evaluation sets, named after the family.

    ``<family>`` holds problems of the kinds trained on, held out by their content; ``<family>_out_of_domain`` kinds
    that the built-in model has seen in its warm start and never sees in training; ``<family>_hard`` kinds it has never
    seen at all.
    """

    family: ClassVar[Family]

    def __init__(
        self,
        *,
        num_train: int = 480,
        num_eval: int = 96,
        problem_seed: int = 0,
        instruction: str = INSTRUCTION,
        **settings: Any,
    ) -> None:
        """Keep the settings; problems are drawn in ``setup``.

        Args:
            num_train: Problems to train on, all different.
            num_eval: Problems of each evaluation set, all different.
            problem_seed: Another seed draws other training problems; the evaluation sets stay.
            instruction: Appended to every question; the built-in model knows this one.
            **settings: As ``PromptDataModule``.
        """
        super().__init__(instruction=instruction, **settings)
        for name, number in (("num_train", num_train), ("num_eval", num_eval)):
            if number < 1:
                raise ValueError(f"{name} must be >= 1, got {number}")
        self.num_train = num_train
        self.num_eval = num_eval
        self.problem_seed = problem_seed

    @override
    def train_prompts(self) -> Sequence[Prompt]:
        return self._draw("train", self.num_train, self.problem_seed)

    @override
    def eval_prompts(self) -> Mapping[str, Sequence[Prompt]]:
        name = self.family.name
        sets = {name: "val", f"{name}_out_of_domain": "out_of_domain", f"{name}_hard": "hard"}
        return {set_name: self._draw(split, self.num_eval, 0) for set_name, split in sets.items()}

    @property
    @override
    def out_of_domain_names(self) -> list[str]:
        family = self.family.name
        return [name for name in (f"{family}_out_of_domain", f"{family}_hard") if name in self.eval_sets] + [
            *super().out_of_domain_names
        ]

    def _draw(self, split: str, num: int, seed: int) -> Sequence[Prompt]:
        return draw_prompts(self.family, split, num, seed, instruction=self.instruction, system=self.system)
