"""Decoding with each prompt stored once and room for the completions set aside."""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from typing_extensions import override

from mapo.policies.decoder_weights import read_weights
from mapo.policies.decoding import Completions, KeyValues, Prompts, decode_step
from mapo.policies.model import PolicyModel
from mapo.rollout.capacity import Capacity
from mapo.rollout.decoder import Decoder
from mapo.rollout.prefill import prefill
from mapo.rollout.step_graphs import Step, StepGraphs
from mapo.types import EncodedPrompt


class LeanDecoder(Decoder):
    """Rows that read one copy of their prompt; where one is dropped, another takes its place.

    Attributes:
        dtype: Of keys, values and products.
    """

    dtype: torch.dtype
    _layout: Prompts
    _longest: int
    _even: bool

    def __init__(
        self,
        policy: PolicyModel,
        prompts: Sequence[EncodedPrompt],
        capacity: Capacity,
        *,
        completion_tokens: int,
        cuda_graphs: bool = False,
    ) -> None:
        """Read the weights as they are now and set memory aside.

        Args:
            policy: Of an architecture that ``decoder_weights.why_not`` has nothing against, its adapters merged.
            prompts: All that will be continued.
            capacity: Rows and prompts at the same time.
            completion_tokens: The most that a row is going to have.
            cuda_graphs: Record steps and replay them, on a CUDA device.
        """
        self._policy, self._prompts, self._capacity = policy, prompts, capacity
        self._weights = read_weights(policy.model)
        self.dtype = self._weights.dtype
        self._prompt_tokens = max(len(prompt.input_ids) for prompt in prompts)
        self._stored = [
            (self._new(capacity.prompts, self._prompt_tokens), self._new(capacity.rows, completion_tokens))
            for _ in self._weights.layers
        ]
        self._step: Step = partial(decode_step, self._weights, self._stored)
        if cuda_graphs and policy.device.type == "cuda":
            self._step = StepGraphs(self._step, max_rows=capacity.rows, max_tokens=completion_tokens)
        nothing = torch.empty(0, dtype=torch.int64, device=policy.device)
        self._known: list[int] = []  # the stored prompts, by place
        self._first_logits: list[Tensor] = []  # of each
        self._begin, self._behind = nothing, nothing  # of each: its first column, the position behind it
        self._place, self._lengths = nothing, nothing  # of each row: its prompt's place, its own tokens
        self._lay_out()
        # The position behind a prompt is its length, or less after an image.
        positions = torch.arange(self._prompt_tokens + completion_tokens, device=policy.device)
        self._rotation = self._weights.rotary(positions)

    @override
    def room(self, owners: Sequence[int]) -> int:
        known = set(self._known)
        for count, owner in enumerate(owners[: self._capacity.rows - len(self._place)]):
            if len(known | {owner}) > self._capacity.prompts:
                return count
            known.add(owner)
        return min(len(owners), self._capacity.rows - len(self._place))

    @override
    def add(self, owners: Sequence[int]) -> Float[Tensor, "R V"]:
        unknown = [owner for owner in dict.fromkeys(owners) if owner not in self._known]
        for asked in self._portions(unknown):
            self._store(asked)
        places = [self._known.index(owner) for owner in owners]
        self._place = torch.cat([self._place, torch.tensor(places, device=self._place.device)])
        self._lengths = torch.cat([self._lengths, torch.zeros_like(self._place[: len(places)])])
        self._lay_out()
        return torch.stack([self._first_logits[place] for place in places])

    @override
    def keep(self, running: Bool[Tensor, " N"], waiting: Sequence[int]) -> Int[Tensor, " R"]:
        rows = _fill_gaps(running, [own.part(len(running), slice(0, self._longest)) for _, own in self._stored])
        self._lengths = self._lengths[rows]
        owners = {self._known[place] for place in self._place[rows].tolist()} | set(waiting)
        needed = torch.tensor([owner in owners for owner in self._known], device=rows.device)
        places = _fill_gaps(needed, [prefix.part(len(needed), slice(None)) for prefix, _ in self._stored])
        moved = torch.zeros_like(needed, dtype=torch.int64).index_copy_(0, places, torch.arange(len(places)).to(places))
        self._place = moved[self._place[rows]]
        self._begin, self._behind = self._begin[places], self._behind[places]
        self._known, self._first_logits = (
            [former[place] for place in places.tolist()] for former in (self._known, self._first_logits)
        )
        self._lay_out()
        return rows

    @override
    def advance(self, tokens: Int[Tensor, " N"]) -> Float[Tensor, "N V"]:
        position = self._behind[self._place] + self._lengths
        rotation = (self._rotation[0][position], self._rotation[1][position])
        own = Completions(self._lengths, self._longest, self._own_mask())
        logits = self._step(tokens, rotation, self._layout, own)
        self._lengths, self._longest = self._lengths + 1, self._longest + 1
        return logits

    def _new(self, sequences: int, tokens: int) -> KeyValues:
        # Zeros, since masked places are multiplied by 0, which a NaN would survive.
        shape = (sequences, self._weights.num_key_heads, tokens, self._weights.head_size)
        device, dtype = self._policy.device, self.dtype
        return KeyValues(*(torch.zeros(shape, dtype=dtype, device=device) for _ in range(2)))

    def _portions(self, owners: Sequence[int]) -> Iterator[list[int]]:
        portion: list[int] = []
        for owner in owners:
            length = max(len(self._prompts[index].input_ids) for index in [*portion, owner])
            if portion and length * (len(portion) + 1) > self._capacity.prefill_tokens:
                yield portion
                portion = []
            portion.append(owner)
        if portion:
            yield portion

    def _store(self, owners: list[int]) -> None:
        read = prefill(self._policy, [self._prompts[owner] for owner in owners])
        places = slice(len(self._known), len(self._known) + len(owners))
        columns = slice(self._prompt_tokens - read.attention_mask.shape[1], None)
        for (prefix, _), layer in zip(self._stored, read.cache.layers, strict=True):
            prefix.keys[places, :, columns], prefix.values[places, :, columns] = layer.keys, layer.values
        begin = self._prompt_tokens - read.attention_mask.sum(dim=1)
        self._begin, self._behind = torch.cat([self._begin, begin]), torch.cat([self._behind, read.position])
        self._known += owners
        self._first_logits += list(read.logits)

    def _lay_out(self) -> None:
        """Work out what stays the same until rows come or go."""
        self._longest = int(self._lengths.max()) if len(self._lengths) else 0
        self._even = bool((self._lengths == self._longest).all())
        if len(self._place):
            self._layout = _lay_out(self._place, self._begin, self._prompt_tokens, self.dtype)

    def _own_mask(self) -> Float[Tensor, "N 1 1 T"] | None:
        if self._even:
            return None
        behind = torch.arange(self._longest + 1, device=self._lengths.device) > self._lengths[:, None]
        return _mask(behind, self.dtype)


def _lay_out(place: Int[Tensor, " N"], begin: Int[Tensor, " S"], end: int, dtype: torch.dtype) -> Prompts:
    """Return where the rows of every prompt stand beside one another."""
    counts = torch.bincount(place, minlength=len(begin))
    width, rows = int(counts.max()), torch.arange(len(place), device=place.device)
    order = place.argsort(stable=True)
    index = torch.empty_like(place).index_copy_(0, order, rows - (counts.cumsum(0) - counts)[place[order]])
    place_of = place * width + index
    row_at = place_of.new_zeros(len(begin) * width).index_copy_(0, place_of, rows)
    ordered = len(row_at) == len(rows) and torch.equal(place_of, rows)
    first = int(begin.min())
    hidden = torch.arange(first, end, device=place.device) < begin[:, None]
    mask = _mask(hidden, dtype) if bool(hidden.any()) else None
    return Prompts(len(begin), width, None if ordered else row_at, place_of, slice(first, None), mask)


def _mask(hidden: Bool[Tensor, "S L"], dtype: torch.dtype) -> Float[Tensor, "S 1 1 L"]:
    zeros = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
    return zeros.masked_fill_(hidden, float("-inf"))[:, None, None]


def _fill_gaps(kept: Bool[Tensor, " N"], stored: Sequence[KeyValues]) -> Int[Tensor, " R"]:
    """Move the last kept sequences to the places of dropped ones, and return which sequence is where now."""
    count = int(kept.sum())
    gaps, movers = (~kept[:count]).nonzero()[:, 0], kept[count:].nonzero()[:, 0] + count
    if len(gaps):
        for layer in stored:
            layer.keys[gaps], layer.values[gaps] = layer.keys[movers], layer.values[movers]
    return torch.arange(count, device=kept.device).index_copy_(0, gaps, movers)
