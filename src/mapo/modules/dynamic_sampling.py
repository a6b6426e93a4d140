"""DAPO's dynamic sampling: more prompts until every group of a phase tells right from wrong, or there are no more."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from mapo.advantages.groups import has_signal
from mapo.modules.groups import Groups
from mapo.types import Prompt, Scores

UNSOLVED, TELLING, SOLVED, UNSCORED = range(4)


@dataclass(frozen=True)
class DynamicSampling:
    """Samples waves of B prompts until B groups have right and wrong completions, at most 1 + max_refills waves.

    The loader's batch of a phase holds all prompts that the phase may need, so an epoch has fewer phases; those that
    are not needed wait for the next epoch. The first B groups that tell right from wrong, in the order of the prompts,
    are trained on, the same ones on any number of ranks; if there are fewer, the step is taken on those. Groups are
    judged by their accuracy alone: format or length do not make one of them worth training on.

    Source: DAPO, section 3.2 (https://arxiv.org/abs/2503.14476). Deviation: the prompts of a phase are limited, and a
    phase without any such group ends the training instead of looking on.
    """

    max_refills: int = 2
    """Further waves that a phase may sample, >= 0; 2 as in the authors' script, which draws three batches per step."""

    def __post_init__(self) -> None:
        if self.max_refills < 0:
            raise ValueError(f"max_refills must be >= 0, got {self.max_refills}; 0 leaves silent groups out at most")

    @property
    def max_waves(self) -> int:
        """Most waves of a phase."""
        return 1 + self.max_refills

    def waves(self, prompts: Sequence[Prompt]) -> list[Sequence[Prompt]]:
        """Cut this rank's prompts of a phase into waves.

        Raises:
            ValueError: They are not as many for every wave.
        """
        size, rest = divmod(len(prompts), self.max_waves)
        if rest or not size:
            raise ValueError(
                f"a batch of {len(prompts)} prompts does not hold 1 + max_refills = {self.max_waves} waves; "
                "use a PromptDataModule, whose loader sees to it, or batches of a multiple"
            )
        return [prompts[start : start + size] for start in range(0, len(prompts), size)]

    def draw(
        self,
        prompts: Sequence[Prompt],
        sample: Callable[[Sequence[Prompt]], Groups],
        *,
        rank: int,
        over_ranks: Callable[[Int[Tensor, " B"]], Int[Tensor, "B W"]],
    ) -> tuple[Groups, Int[Tensor, "B W"]]:
        """Sample as many waves as are needed, the same number on every rank.

        Args:
            prompts: Of this rank, for all waves.
            sample: Samples and scores the groups of one wave.
            rank: This one of W.
            over_ranks: Returns the numbers of all ranks, a column each.

        Returns:
            All groups that were sampled on this rank, with a place for those that are trained on; and the outcomes of
            the groups of all ranks.
        """
        sampled: list[Groups] = []
        for wave in self.waves(prompts):
            sampled.append(sample(wave))
            told = over_ranks(torch.cat([outcomes(groups.scores) for groups in sampled]))
            wanted = len(wave) * told.shape[1]
            if int((told == TELLING).sum()) >= wanted:
                break
        return Groups.join(sampled, places(told, wanted)[:, rank], wanted), told


def outcomes(scores: Scores) -> Int[Tensor, " B"]:
    """Return of every group whether its accuracy tells completions apart, or else why not.

    Returns:
        ``TELLING`` where two valid completions differ in accuracy; ``SOLVED`` where all valid ones are right,
        ``UNSOLVED`` where they are all as wrong, ``UNSCORED`` where none is valid.

    Example:
        >>> flags = torch.tensor([[True, False], [True, True], [False, False]])
        >>> outcomes(Scores(flags.float(), flags, flags.float(), torch.ones_like(flags), {}))
        tensor([1, 2, 0])
    """
    accuracy, valid = scores.accuracy, scores.valid
    solved = ((accuracy == 1) | ~valid).all(dim=1)
    silent = torch.where(valid.any(dim=1), torch.where(solved, SOLVED, UNSOLVED), UNSCORED)
    return torch.where(has_signal(accuracy, valid)[:, 0], TELLING, silent)


def places(told: Int[Tensor, "B W"], wanted: int) -> Int[Tensor, "B W"]:
    """Number the first ``wanted`` telling groups in the order of the prompts, which go round the ranks.

    Args:
        told: Outcomes; row i holds the i-th group of every rank.
        wanted: Most groups that are trained on.

    Returns:
        From 0; -1 for groups that are left out.

    Example:
        >>> places(torch.tensor([[TELLING, SOLVED], [TELLING, TELLING], [TELLING, UNSOLVED]]), wanted=3)
        tensor([[ 0, -1],
                [ 1,  2],
                [-1, -1]])
    """
    telling = (told == TELLING).flatten()
    number = telling.cumsum(0) - 1
    return torch.where(telling & (number < wanted), number, -1).view_as(told)


def ran_dry(told: Int[Tensor, "B W"], *, phase: int, sampling: DynamicSampling) -> str:
    """Return what to say of a phase in which no group tells right from wrong.

    Example:
        >>> ran_dry(torch.tensor([[SOLVED], [UNSOLVED]]), phase=3, sampling=DynamicSampling(max_refills=0))
        'phase 3: dynamic sampling ran dry. Of 2 prompts in 1 wave none has both right and wrong completions: 1 are ...'
    """
    solved, unsolved, unscored = (int((told == outcome).sum()) for outcome in (SOLVED, UNSOLVED, UNSCORED))
    waves = f"{sampling.max_waves} wave{'' if sampling.max_waves == 1 else 's'}"
    return (
        f"phase {phase}: dynamic sampling ran dry. Of {told.numel()} prompts in {waves} none has both right and wrong "
        f"completions: {solved} are solved by all of theirs, {unsolved} by none, {unscored} could not be scored. "
        "There is nothing to learn from, so the training ends here. Where prompts are solved, take harder ones; where "
        "they are not, easier ones, a larger group_size or a better start; a larger max_refills looks at more prompts"
    )
