"""Rewards and data of the runs in ``ranks`` whose ranks meet something different each."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from arithmetic import EvenLength, Sums
from typing_extensions import override

from mapo.data.grid_rectangles import GridRectangles
from mapo.data.plane_figures import PlaneFigures
from mapo.rewards.base import Reward
from mapo.types import Prompt


@dataclass(frozen=True)
class Spotty(EvenLength):
    """Cannot score some samples, and is indifferent to others."""

    unscored: tuple[str, ...] = ()
    flat: tuple[str, ...] = ()

    @override
    def __call__(self, completions):
        earned = zip(completions, super().__call__(completions), strict=True)
        return [self._value(completion.prompt.sample_id, value) for completion, value in earned]

    def _value(self, sample_id, value):
        return None if sample_id in self.unscored else 0.5 if sample_id in self.flat else value


class Mixed(GridRectangles):
    """Rectangles, some of them replaced by questions without a picture."""

    def __init__(self, without_picture: tuple[str, ...], **settings) -> None:
        super().__init__(**settings)
        self.without_picture = without_picture

    @override
    def train_prompts(self) -> list[Prompt]:
        drawn = super().train_prompts()
        text = PlaneFigures(num_train=len(drawn)).train_prompts()
        rows = (t if p.sample_id in self.without_picture else p for p, t in zip(drawn, text, strict=True))
        return [row._replace(sample_id=p.sample_id) for row, p in zip(rows, drawn, strict=True)]


@dataclass(frozen=True)
class Reading(EvenLength):
    """Answers are the first token modulo 6; a fifth of them cannot be judged."""

    @override
    def __call__(self, completions):
        first = [completion.token_ids[:1].tolist() for completion in completions]
        values = super().__call__(completions)
        return [None if token and token[0] % 5 == 0 else value for token, value in zip(first, values, strict=True)]

    @override
    def answer(self, completion):
        return str(int(completion.token_ids[0]) % 6) if len(completion.token_ids) else None


@dataclass(frozen=True)
class Early(Reward):
    """Credit for a small first token; a third of them cannot be scored."""

    weight: float = 0.5

    @override
    def __call__(self, completions):
        first = [int(completion.token_ids[0]) for completion in completions]
        return [None if token % 3 == 0 else 1 / (1 + token % 7) for token in first]


class Kinds(Sums):
    """Sums with a category whose values only one of two ranks sees, and a figure of their own."""

    @override
    def eval_prompts(self):
        sets = {"near": self._rows(100, 9), "far": self._rows(1000, 4), "lonely": self._rows(2000, 1)}
        parity = [{"categories": {"place": ["even", "any"] if i % 2 == 0 else "odd"}} for i in range(9)]
        sets = {
            name: [p._replace(metadata=m) for p, m in zip(rows, parity, strict=False)] for name, rows in sets.items()
        }
        return sets | {"far": [*sets["far"], self.prompt("bad", "1+1=", "")]}

    @property
    @override
    def out_of_domain_names(self):
        return ["far", "lonely"]

    @override
    def figures(self, name, accuracies):
        return {"weighted": sum(value / (1 + i) for i, (_, value) in enumerate(sorted(accuracies.items())))}


@dataclass(frozen=True)
class Faulty(EvenLength):
    """Raises on the last rank, in the second phase."""

    calls: ClassVar[list[int]] = []

    @override
    def __call__(self, completions):
        self.calls.append(len(completions))
        if len(self.calls) == 2 and torch.distributed.get_rank() == 1:
            raise ValueError("no reward today")
        return super().__call__(completions)
