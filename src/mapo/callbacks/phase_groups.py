"""The groups of a phase from all ranks, as far as diagnostics need them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mapo.advantages.base import Advantage
from mapo.advantages.groups import has_signal
from mapo.callbacks.ranks import gather
from mapo.modules.records import PhaseRecord
from mapo.rewards.choices import choices_of
from mapo.types import Phase, Scores


@dataclass(frozen=True)
class PhaseGroups:
    """Groups with at least one completion that could be scored.

    Attributes:
        sample_ids: Of the prompt of every group.
        num_choices: How many answers the prompt offers; 0 for an open question.
        scores: What the rewards said.
        advantages: What the policy was updated with.
        used: Groups that an optimizer step trained on; False for those that dynamic sampling left out.
    """

    sample_ids: tuple[str, ...]
    num_choices: tuple[int, ...]
    scores: Scores
    advantages: Float[Tensor, "B G"]
    used: Bool[Tensor, " B"]

    @classmethod
    def of(cls, record: PhaseRecord) -> Self:
        """Return this rank's groups."""
        rows = record.scores.valid.any(dim=1).nonzero()[:, 0]
        prompts = [record.rollouts.prompts[row].prompt for row in rows.tolist()]
        choices = tuple(len(set(choices_of(prompt.metadata))) for prompt in prompts)
        ids = tuple(prompt.sample_id for prompt in prompts)
        used = torch.ones(len(rows), dtype=torch.bool) if record.steps is None else record.steps[rows].cpu() >= 0
        return cls(ids, choices, _rows(record.scores, rows), record.advantages[rows].cpu(), used)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the groups of several parts as one."""
        names = [field.name for field in fields(Scores) if field.name != "components"]
        scores = {name: torch.cat([getattr(part.scores, name) for part in parts]) for name in names}
        components = {
            name: torch.cat([part.scores.components[name] for part in parts]) for name in parts[0].scores.components
        }
        return cls(
            tuple(sample_id for part in parts for sample_id in part.sample_ids),
            tuple(num for part in parts for num in part.num_choices),
            Scores(**scores, components=components),
            torch.cat([part.advantages for part in parts]),
            torch.cat([part.used for part in parts]),
        )

    def of_all_ranks(self) -> Self:
        """Return the groups of all ranks; every rank must call it."""
        return self.joined(gather(self))

    def used_groups(self) -> Self:
        """Return the groups that were trained on; the advantages of the others are 0 whatever their rewards are."""
        rows = self.used.nonzero()[:, 0]
        return type(self)(
            tuple(self.sample_ids[row] for row in rows.tolist()),
            tuple(self.num_choices[row] for row in rows.tolist()),
            _rows(self.scores, rows),
            self.advantages[rows],
            self.used[rows],
        )

    def phase(self, index: int, seed: int, advantage: Advantage) -> Phase:
        """Return what an advantage may know of these groups as a whole; they have to be those of all ranks."""
        active = int(has_signal(self.scores.rewards, self.scores.valid).sum())
        return Phase(index, seed, self.sample_ids, len(self), active, advantage.batch_sums(self.scores))

    def __len__(self) -> int:
        return len(self.sample_ids)


def _rows(scores: Scores, rows: Int[Tensor, " B"]) -> Scores:
    return Scores(
        rewards=scores.rewards[rows].cpu(),
        success=scores.success[rows].cpu(),
        accuracy=scores.accuracy[rows].cpu(),
        valid=scores.valid[rows].cpu(),
        components={name: values[rows].cpu() for name, values in scores.components.items()},
    )
