"""The rows an update trains on: (prompt, completion, advantage), cut into mini-batches."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mapo.functional.success_bins import success_bins
from mapo.types import EncodedPrompt, Rollouts, Scores


@dataclass(frozen=True)
class Experience:
    """N completions ready to be trained on, in any order: what belongs to a group is already in the advantage.

    Attributes:
        prompts: The prompt of every row.
        token_ids: The sampled tokens of every row, ragged.
        advantages: One dimensionless number per row.
        trained: False for rows that carry no loss, no KL and no share of the normaliser: completions that are not
            valid, truncated ones where those are masked, and those of groups that are left out.
        success_bins: Of the group of every row, for the logs.
        sampling_logprobs: As the rollout engine reported them, in nats, ragged.
        old_logprobs: Of the policy before the first step of the phase, in nats, zero-padded to the longest row; None
            when the current policy is that policy.
        ref_logprobs: Of the frozen reference, likewise; None until it has scored the rows.
        steps: Optimizer step of the phase that trains on every row, -1 for rows that none does; None to cut the rows
            into equal parts.
    """

    prompts: tuple[EncodedPrompt, ...]
    token_ids: tuple[Int[Tensor, " T"], ...]
    advantages: Float[Tensor, " N"]
    trained: Bool[Tensor, " N"]
    success_bins: Int[Tensor, " N"]
    sampling_logprobs: tuple[Float[Tensor, " T"], ...]
    old_logprobs: Float[Tensor, "N T"] | None = None
    ref_logprobs: Float[Tensor, "N T"] | None = None
    steps: Int[Tensor, " N"] | None = None

    @classmethod
    def from_groups(
        cls,
        rollouts: Rollouts,
        scores: Scores,
        advantages: Float[Tensor, "B G"],
        *,
        trained: Bool[Tensor, "B G"] | None = None,
        steps: Int[Tensor, " B"] | None = None,
    ) -> Self:
        """Flatten groups to rows, prompt by prompt.

        Args:
            rollouts: The groups.
            scores: Theirs.
            advantages: Theirs.
            trained: Completions to train on; the valid ones when None.
            steps: Optimizer step of every group, as for rows.
        """
        rows = [(p, c) for p, group in zip(rollouts.prompts, rollouts.completions, strict=True) for c in group]
        return cls(
            prompts=tuple(prompt for prompt, _ in rows),
            token_ids=tuple(completion.token_ids for _, completion in rows),
            advantages=advantages.flatten(),
            trained=(scores.valid if trained is None else trained).flatten(),
            success_bins=success_bins(scores.success, valid=scores.valid).repeat_interleave(scores.valid.shape[1]),
            sampling_logprobs=tuple(logprobs for group in rollouts.sampling_logprobs for logprobs in group),
            steps=None if steps is None else steps.repeat_interleave(scores.valid.shape[1]),
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Put micro-batches of an optimizer step together again; their old log-probs are left out."""
        return cls(
            prompts=tuple(prompt for part in parts for prompt in part.prompts),
            token_ids=tuple(token_ids for part in parts for token_ids in part.token_ids),
            advantages=torch.cat([part.advantages for part in parts]),
            trained=torch.cat([part.trained for part in parts]),
            success_bins=torch.cat([part.success_bins for part in parts]),
            sampling_logprobs=tuple(logprobs for part in parts for logprobs in part.sampling_logprobs),
        )

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def completion_mask(self) -> Bool[Tensor, "N T"]:
        """True at trained tokens."""
        lengths = torch.tensor([len(ids) for ids in self.token_ids])
        longest = int(lengths.max()) if len(lengths) else 0
        return (torch.arange(longest) < lengths[:, None]) & self.trained[:, None]

    def mini_batches(self, num: int) -> list[Self]:
        """Cut into ``num`` parts; part k holds the same prompts on any number of ranks, and may be empty on some."""
        if self.steps is not None:
            return [self._rows((self.steps == step).nonzero()[:, 0].tolist()) for step in range(num)]
        if len(self) % num:
            raise ValueError(f"{len(self)} completions do not divide into {num} mini-batches")
        size = len(self) // num
        return [self._rows(range(start, start + size)) for start in range(0, len(self), size)]

    @property
    def lengths(self) -> list[tuple[EncodedPrompt, int]]:
        """Every row's prompt, and how many tokens its completion has."""
        return [(prompt, len(token_ids)) for prompt, token_ids in zip(self.prompts, self.token_ids, strict=True)]

    @property
    def with_signal(self) -> Bool[Tensor, " N"]:
        """True for the rows of groups (those with the same prompt object) that have any advantage to train on."""
        own = (self.trained & (self.advantages != 0)).tolist()
        groups = {id(prompt) for prompt, signal in zip(self.prompts, own, strict=True) if signal}
        return torch.tensor([id(prompt) in groups for prompt in self.prompts], dtype=torch.bool)

    @property
    def num_groups(self) -> int:
        """Prompts, each counted once."""
        return len({id(prompt) for prompt in self.prompts})

    def select(self, rows: Sequence[int]) -> Self:
        """Return these rows; of none, the shortest row without a weight, which can be run and trains nothing."""
        if rows:
            return self._rows(rows)
        shortest = min(range(len(self)), key=lambda row: len(self.prompts[row].input_ids) + len(self.token_ids[row]))
        return replace(self._rows([shortest]), trained=torch.zeros(1, dtype=torch.bool))

    def with_old_logprobs(self, old_logprobs: Float[Tensor, "N T"]) -> Self:
        """Return the same rows with the log-probs of the policy that opened the phase."""
        return replace(self, old_logprobs=old_logprobs.detach())

    def with_ref_logprobs(self, ref_logprobs: Float[Tensor, "N T"]) -> Self:
        """Return the same rows with the log-probs of the reference."""
        return replace(self, ref_logprobs=ref_logprobs.detach())

    def _rows(self, rows: Sequence[int]) -> Self:
        index = torch.tensor(list(rows), dtype=torch.long)
        return type(self)(
            tuple(self.prompts[row] for row in rows),
            tuple(self.token_ids[row] for row in rows),
            self.advantages[index],
            self.trained[index],
            self.success_bins[index],
            tuple(self.sampling_logprobs[row] for row in rows),
        )
