"""Prompts, images included, run through the model once."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mapo.policies.batching import collate, next_position
from mapo.policies.model import PolicyModel
from mapo.types import EncodedPrompt


class Prefill(NamedTuple):
    """Prompts in one left-padded batch.

    Attributes:
        logits: Of the token after each prompt.
        cache: Keys and values, of the Hugging Face model's own kind.
        attention_mask: 1 at tokens, 0 at the padding.
        position: Rotary position of the token after each prompt.
        axes: Leading shape of position ids: (3,) for multimodal rotary positions, else ().
    """

    logits: Float[Tensor, "B V"]
    cache: Any
    attention_mask: Int[Tensor, "B P"]
    position: Int[Tensor, " B"]
    axes: tuple[int, ...]


def prefill(policy: PolicyModel, prompts: Sequence[EncodedPrompt]) -> Prefill:
    """Run prompts through the model."""
    positions = policy.positions(prompts)
    nothing = [torch.empty(0, dtype=torch.int64)] * len(prompts)
    batch = collate(prompts, nothing, positions, pad_id=policy.renderer.pad_id, side="left", device=policy.device)
    logits, cache = policy.next_logits(batch)
    position = torch.tensor([next_position(p) for p in positions], device=policy.device)
    return Prefill(logits, cache, batch["attention_mask"], position, tuple(batch["position_ids"].shape[:-2]))
