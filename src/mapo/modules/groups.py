"""The groups of a phase on this rank: what was sampled and scored, and which of it is trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mapo.types import Rollouts, Scores


@dataclass(frozen=True)
class Groups:
    """B sampled groups, in the order of their prompts.

    Attributes:
        rollouts: What was sampled.
        scores: What the rewards said of it.
        seconds: Time it took, by part of the phase.
        slots: Place of every group among those that the optimizer steps share; -1 for one that is left out.
        num_slots: How many places there are: of this rank, or of all ranks where places are numbered over all.
    """

    rollouts: Rollouts
    scores: Scores
    seconds: Mapping[str, float]
    slots: Int[Tensor, " B"]
    num_slots: int

    @classmethod
    def of(cls, rollouts: Rollouts, scores: Scores, **seconds: float) -> Self:
        """Return groups that are all trained on, in their own order."""
        return cls(rollouts, scores, seconds, torch.arange(len(rollouts.prompts)), len(rollouts.prompts))

    @classmethod
    def join(cls, waves: "Sequence[Groups]", slots: Int[Tensor, " B"], num_slots: int) -> Self:
        """Return the groups of several waves one after another, with new places."""
        rollouts = replace(
            waves[0].rollouts,
            prompts=tuple(prompt for wave in waves for prompt in wave.rollouts.prompts),
            completions=tuple(group for wave in waves for group in wave.rollouts.completions),
            sampling_logprobs=tuple(group for wave in waves for group in wave.rollouts.sampling_logprobs),
        )
        seconds = {part: sum(wave.seconds[part] for wave in waves) for part in waves[0].seconds}
        return cls(rollouts, _join_scores([wave.scores for wave in waves]), seconds, slots, num_slots)

    @property
    def used_scores(self) -> Scores:
        """The scores with nothing valid in groups that are left out: they have no part in any statistics."""
        valid = self.scores.valid & (self.slots >= 0)[:, None]
        rewards = self.scores.rewards.masked_fill(~valid, 0.0)
        return replace(self.scores, rewards=rewards, success=self.scores.success & valid, valid=valid)

    @property
    def sample_ids(self) -> tuple[str, ...]:
        """Sample id of every group's prompt."""
        return tuple(encoded.prompt.sample_id for encoded in self.rollouts.prompts)

    def trained(self, *, mask_truncated: bool) -> Bool[Tensor, "B G"]:
        """Return which completions are trained on: valid ones of groups not left out.

        Args:
            mask_truncated: Leave out truncated completions as well. They stay in their group's statistics.
        """
        valid = self.used_scores.valid
        truncated = [[completion.truncated for completion in group] for group in self.rollouts.completions]
        return valid & ~torch.tensor(truncated, dtype=torch.bool).reshape(valid.shape) if mask_truncated else valid

    def steps(self, num: int) -> Int[Tensor, " B"]:
        """Return which of ``num`` optimizer steps trains on every group; -1 for those that are left out."""
        return torch.where(self.slots >= 0, self.slots * num // self.num_slots, -1)


def _join_scores(scores: Sequence[Scores]) -> Scores:
    return Scores(
        rewards=torch.cat([one.rewards for one in scores]),
        success=torch.cat([one.success for one in scores]),
        accuracy=torch.cat([one.accuracy for one in scores]),
        valid=torch.cat([one.valid for one in scores]),
        components={name: torch.cat([one.components[name] for one in scores]) for name in scores[0].components},
    )
