"""Demonstrations for the warm start: worked problems, first clean, then of mixed quality."""

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from random import Random
from typing import Any

from typing_extensions import override

from mapo.data import drawn_faces, grid_rectangles, plane_figures
from mapo.data.base import PromptDataModule
from mapo.data.loader import PhaseLoader
from mapo.data.problem import INSTRUCTION, Family, Problem, Solution, as_prompt, draw_problems
from mapo.data.rows import LazyPrompts
from mapo.types import Prompt


def completion(solution: Solution) -> str:
    r"""Return the completion that thinks and then boxes the answer.

    Example:
        >>> print(completion(Solution("4*6=24", "24")))
        <think>4*6=24</think>\boxed{24}
    """
    return f"<think>{solution.thought}</think>\\boxed{{{solution.answer}}}"


def guess(problem: Problem, rng: Random) -> Solution:
    """Return an answer out of the blue."""
    return Solution("guess", rng.choice(problem.choices) if problem.choices else str(rng.randint(4, 99)))


def slip(problem: Problem, rng: Random) -> Solution:
    """Return the right thought, except that its end and the answer are wrong."""
    thought, answer = problem.worked
    if problem.choices:
        return Solution(thought, rng.choice([choice for choice in problem.choices if choice != answer]))
    wrong = str(rng.choice([near for off in (-10, -2, -1, 1, 2, 10) if (near := int(answer) + off) > 0]))
    return Solution(thought.removesuffix(answer) + wrong, wrong)


def badly_formatted(solution: Solution, rng: Random) -> str:
    """Return a completion that lacks a tag, the thought or the box."""
    thought, answer = solution
    return rng.choice((f"{thought}\\boxed{{{answer}}}", f"<think>{thought}</think>{answer}", f"\\boxed{{{answer}}}"))


def mixed_completion(problem: Problem, rng: Random) -> str:
    """Return a completion of mixed quality: 35 % right, 65 % guesses, slips and misreadings; 15 % badly formatted."""
    quality = rng.choices(("right", "guess", "slip", "misread"), weights=(35, 35, 15, 15))[0]
    solution = {
        "right": lambda: problem.worked,
        "guess": lambda: guess(problem, rng),
        "slip": lambda: slip(problem, rng),
        "misread": lambda: problem.misread,
    }[quality]()
    return badly_formatted(solution, rng) if rng.random() < 0.15 else completion(solution)


# Family, problems in its pool, share of a batch in eighths.
_FAMILIES: tuple[tuple[Family, int, int], ...] = (
    (grid_rectangles.FAMILY, 4000, 3),
    (drawn_faces.FAMILY, 2400, 2),
    (plane_figures.FAMILY, 8000, 3),
)


class WarmStartDemonstrations(PromptDataModule):
    """What the built-in model is made from: demonstrations of all three task families, out-of-domain kinds included.

    Every row carries its completion as ``metadata["completion"]``, as ``SupervisedModule`` reads it. One epoch is the
    whole curriculum: clean demonstrations first, then ones of mixed quality, which leave the model able to solve what
    it mostly gets wrong: something for reinforcement learning to find.
    """

    def __init__(
        self,
        *,
        clean_steps: int = 1400,
        mixed_steps: int = 230,
        num_eval: int = 48,
        batch_size: int = 64,
        instruction: str = INSTRUCTION,
        **settings: Any,
    ) -> None:
        """Keep the settings; problems are drawn in ``setup``.

        Args:
            clean_steps: Batches of right and well-formatted completions.
            mixed_steps: Batches after them of which a third is right and a seventh badly formatted.
            num_eval: Held-out problems of each evaluation set, with clean completions.
            batch_size: Demonstrations of one optimizer step over all ranks, a multiple of 8: three eighths
                rectangles, two eighths faces, three eighths problems in words.
            instruction: Appended to every question.
            **settings: As ``PromptDataModule``.
        """
        super().__init__(batch_size=batch_size, instruction=instruction, **settings)
        if batch_size % 8:
            raise ValueError(f"batch_size must be a multiple of 8 (eighths go to the families), got {batch_size}")
        if clean_steps < 0 or mixed_steps < 0 or clean_steps + mixed_steps == 0:
            raise ValueError(
                f"clean_steps and mixed_steps must be >= 0 and not both 0, got {clean_steps}, {mixed_steps}"
            )
        self.clean_steps = clean_steps
        self.mixed_steps = mixed_steps
        self.num_eval = num_eval
        self.problems: dict[str, Problem] = {}

    @override
    def train_prompts(self) -> Sequence[Prompt]:
        return list(chain.from_iterable(self._draw(family, "warm_start", pool) for family, pool, _ in _FAMILIES))

    @override
    def eval_prompts(self) -> Mapping[str, Sequence[Prompt]]:
        sets = {}
        for family, _, _ in _FAMILIES:
            for split, suffix in (("val", ""), ("out_of_domain", "_out_of_domain")):
                rows = self._draw(family, split, self.num_eval)
                sets[family.name + suffix] = [
                    _with(row, completion(self.problems[row.sample_id].worked)) for row in rows
                ]
        return sets

    @override
    def train_dataloader(self) -> PhaseLoader:
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0)) if self.seed is None else self.seed
        order = list(islice(self._order(seed), (self.clean_steps + self.mixed_steps) * self.batch_size))
        rows = LazyPrompts(order, lambda index, row: self._demonstrate(self.train_set[row], index, seed))
        # The order is the curriculum; shuffling would mix its stages.
        return PhaseLoader(
            rows,
            batch_size=self.batch_size,
            seed=seed,
            shuffle=False,
            on_changed_rows=self.on_changed_rows,
            **self._data_parallel(),
        )

    def _draw(self, family: Family, split: str, num: int) -> list[Prompt]:
        problems = draw_problems(family, split, num, seed=0, distinct=split != "warm_start")
        named = {f"{family.name}/{split}/{index}": problem for index, problem in enumerate(problems)}
        self.problems |= named
        return [as_prompt(p, name, instruction=self.instruction, system=self.system) for name, p in named.items()]

    def _order(self, seed: int) -> Iterator[int]:
        """Yield positions in ``train_set`` without end, batch by batch, every family running through its pool anew."""
        streams = [self._stream(family, Random(f"{seed}/{family.name}")) for family, _, _ in _FAMILIES]
        while True:
            for stream, (_, _, eighths) in zip(streams, _FAMILIES, strict=True):
                yield from islice(stream, eighths * self.batch_size // 8)

    def _stream(self, family: Family, rng: Random) -> Iterator[int]:
        pool = [i for i, row in enumerate(self.train_set) if row.sample_id.startswith(f"{family.name}/")]
        while True:
            rng.shuffle(pool)
            yield from pool

    def _demonstrate(self, row: Prompt, index: int, seed: int) -> Prompt:
        problem = self.problems[row.sample_id]
        if index < self.clean_steps * self.batch_size:
            return _with(row, completion(problem.worked))
        return _with(row, mixed_completion(problem, Random(f"{seed}/{index}")))


def _with(row: Prompt, text: str) -> Prompt:
    return row._replace(metadata={**row.metadata, "completion": text})
