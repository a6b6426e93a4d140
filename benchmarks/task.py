"""What both sides of a comparison are given: model files, prompts, sampling, loss and optimiser."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mapo.types import Prompt

CLIP = 0.2
"""Range of the importance ratio, on both ends."""
STD_EPS = 1e-4
"""Added to a group's standard deviation of rewards."""


@dataclass(frozen=True)
class Task:
    """GRPO without a reference, on policy, all completions of a step in one forward pass, in fp32.

    Attributes:
        folder: Model, tokenizer and processor.
        phases: Prompts of every step, the same number in each.
        group_size: Completions per prompt.
        completion_tokens: Tokens of every completion: what would end one is never sampled.
        script: Completions of the first step, prompt after prompt, instead of sampled ones; from the full vocabulary.
        clip_norm: Largest gradient norm; None clips nothing.
        temperature: Of sampling and scoring.
        learning_rate: Of AdamW, without weight decay.
    """

    folder: Path
    phases: Sequence[Sequence[Prompt]]
    group_size: int
    completion_tokens: int
    script: Sequence[Sequence[int]] | None = None
    clip_norm: float | None = 1.0
    temperature: float = 1.0
    learning_rate: float = 1e-6

    @property
    def rows(self) -> int:
        """Completions of a step."""
        return len(self.phases[0]) * self.group_size


def reward(token_ids: Sequence[int]) -> float:
    """Return the share of odd token ids: a number that differs between completions and costs nothing."""
    return sum(token % 2 for token in token_ids) / len(token_ids)
