"""Decoding with transformers' own forward and cache, for any architecture."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from typing_extensions import override

from mapo.policies.model import PolicyModel
from mapo.rollout.capacity import Capacity
from mapo.rollout.decoder import Decoder
from mapo.rollout.prefill import prefill
from mapo.types import EncodedPrompt


class PaddedDecoder(Decoder):
    """Rows in one left-padded batch, each with a copy of its prompt; new rows wait until it is empty."""

    _cache: Any
    _mask: Int[Tensor, "N L"]
    _position: Int[Tensor, " N"]
    _axes: tuple[int, ...]

    def __init__(self, policy: PolicyModel, prompts: Sequence[EncodedPrompt], capacity: Capacity) -> None:
        self._policy, self._prompts, self._capacity = policy, prompts, capacity
        self._num = 0

    @override
    def room(self, owners: Sequence[int]) -> int:
        return 0 if self._num else min(self._capacity.rows, len(owners))

    @override
    def add(self, owners: Sequence[int]) -> Float[Tensor, "R V"]:
        asked = list(dict.fromkeys(owners))
        logits, self._cache, mask, position, self._axes = prefill(self._policy, [self._prompts[i] for i in asked])
        rows = torch.tensor([asked.index(owner) for owner in owners], device=logits.device)
        self._cache.reorder_cache(rows)
        self._mask, self._position, self._num = mask[rows], position[rows], len(rows)
        return logits[rows]

    @override
    def keep(self, running: Bool[Tensor, " N"], waiting: Sequence[int]) -> Int[Tensor, " R"]:
        rows = running.nonzero()[:, 0]
        self._num = len(rows)
        if self._num:
            self._cache.reorder_cache(rows)
            self._mask, self._position = self._mask[rows], self._position[rows]
        return rows

    @override
    def advance(self, tokens: Int[Tensor, " N"]) -> Float[Tensor, "N V"]:
        self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        batch = {
            "input_ids": tokens[:, None],
            "attention_mask": self._mask,
            "position_ids": self._position[:, None].expand(*self._axes, -1, -1),
        }
        logits, self._cache = self._policy.next_logits(batch, self._cache)
        self._position = self._position + 1
        return logits
