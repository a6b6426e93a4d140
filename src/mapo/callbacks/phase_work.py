"""What a rollout phase had to compute, whatever was computed beyond."""

from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Bool
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from mapo.modules.mapo import MAPOModule
from mapo.modules.records import PhaseRecord
from mapo.policies.model_flops import ModelFlops


@dataclass(frozen=True)
class PhaseWork:
    """The work of one phase, on one rank or on all.

    Attributes:
        prompts: Groups sampled.
        sampled_tokens: Tokens of all completions.
        trained_tokens: Those of them that the update has to run: of completions that are trained on, and where groups
            without signal can be skipped, of groups with signal.
        rollout_flops: Model FLOPs of sampling; 0 where they are not counted.
        update_flops: Model FLOPs of the optimizer steps, with the old and the reference log-probs that they need.
    """

    prompts: int = 0
    sampled_tokens: int = 0
    trained_tokens: int = 0
    rollout_flops: int = 0
    update_flops: int = 0

    def __add__(self, other: "PhaseWork") -> "PhaseWork":
        return PhaseWork(*(own + more for own, more in zip(vars(self).values(), vars(other).values(), strict=True)))


@dataclass(frozen=True)
class WorkCounter:
    """Counts phases of one policy.

    Attributes:
        policy: FLOPs of what is trained; None where they are not counted.
        base: FLOPs without adapters, which sampling merges and the reference does not have.
    """

    policy: ModelFlops | None = None
    base: ModelFlops | None = None

    @classmethod
    def of(cls, module: MAPOModule) -> Self:
        """Look at a loaded policy; one whose FLOPs are not known is named once."""
        try:
            return cls(ModelFlops.of(module.actor), ModelFlops.of(module.actor, adapters=False))
        except ValueError as error:
            rank_zero_info(f"PhaseThroughput: no TFLOP/s and no utilisation, since {error}")
            return cls()

    def count(self, module: MAPOModule, record: PhaseRecord) -> PhaseWork:
        """Return the work of one rank's phase."""
        lengths = [[len(one.token_ids) for one in group] for group in record.rollouts.completions]
        mask = record.scores.valid if record.trained is None else record.trained
        trained = [
            [length for length, is_trained in zip(group, row, strict=True) if is_trained and needed]
            for group, row, needed in zip(lengths, mask.tolist(), _needed(module, mask, record), strict=True)
        ]
        return PhaseWork(
            prompts=len(lengths),
            sampled_tokens=sum(map(sum, lengths)),
            trained_tokens=sum(map(sum, trained)),
            rollout_flops=self._rollout(record, lengths),
            update_flops=self._update(module, record, trained),
        )

    def _rollout(self, record: PhaseRecord, lengths: list[list[int]]) -> int:
        if self.base is None:
            return 0
        return sum(self.base.forward(*group) for group in zip(record.rollouts.prompts, lengths, strict=True))

    def _update(self, module: MAPOModule, record: PhaseRecord, lengths: list[list[int]]) -> int:
        if self.policy is None or self.base is None:
            return 0
        steps = record.steps
        if steps is None:
            steps = torch.arange(len(lengths)) * module.updates_per_phase // max(len(lengths), 1)
        flops = 0
        for step, prompt, group in zip(steps.tolist(), record.rollouts.prompts, lengths, strict=True):
            if group:
                forward = self.policy.forward(prompt, group)
                flops += forward + self.policy.backward(prompt, group)
                flops += forward if step > 0 else 0  # scored before the first optimizer step
                flops += self.base.forward(prompt, group) if module.objective.kl_coef else 0
        return flops


def _needed(module: MAPOModule, trained: Bool[Tensor, "B G"], record: PhaseRecord) -> list[bool]:
    """Tell of every group whether the update has to run it."""
    if not module.objective.skips_silent_groups:
        return [True] * len(record.advantages)
    return ((record.advantages != 0) & trained).any(dim=1).tolist()
