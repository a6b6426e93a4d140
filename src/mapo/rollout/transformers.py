"""Rollouts in process, with the policy's own Hugging Face model."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from mapo.functional.noise import token_noise
from mapo.policies.batching import collate, next_position
from mapo.policies.model import PolicyModel
from mapo.rollout.base import RolloutEngine
from mapo.rollout.mode import sampling_mode
from mapo.rollout.records import build_rollouts
from mapo.rollout.sampling import draw, token_law
from mapo.types import EncodedPrompt, Rollouts, Sampling


@dataclass(frozen=True)
class TransformersEngine(RolloutEngine):
    """Samples in waves: each prompt and its images pass through the model once, its G completions share the result."""

    max_batch_rows: int = 128
    """Completions that decode at once; more is faster until the key-value cache fills the memory."""

    def __post_init__(self) -> None:
        if self.max_batch_rows < 1:
            raise ValueError(f"max_batch_rows must be >= 1, got {self.max_batch_rows}")

    @override
    def generate(
        self,
        policy: PolicyModel,
        prompts: Sequence[EncodedPrompt],
        *,
        group_size: int,
        sampling: Sampling,
        streams: Sequence[int],
    ) -> Rollouts:
        if len(streams) != len(prompts):
            raise ValueError(f"generate needs one stream per prompt, got {len(streams)} for {len(prompts)} prompts")
        token_ids: list[Tensor] = []
        logprobs: list[Tensor] = []
        with sampling_mode(policy):
            for wave in self._waves(len(prompts), group_size):
                ids, values = self._decode_wave(policy, prompts[wave], streams[wave], group_size, sampling)
                token_ids += ids
                logprobs += values
        return build_rollouts(
            policy.renderer, prompts, token_ids, logprobs, group_size=group_size, temperature=sampling.temperature
        )

    def _waves(self, num_prompts: int, group_size: int) -> Iterator[slice]:
        step = max(1, self.max_batch_rows // group_size)
        return (slice(start, start + step) for start in range(0, num_prompts, step))

    def _decode_wave(
        self,
        policy: PolicyModel,
        prompts: Sequence[EncodedPrompt],
        streams: Sequence[int],
        group_size: int,
        sampling: Sampling,
    ) -> tuple[list[Int[Tensor, " T"]], list[Float[Tensor, " T"]]]:
        prompts_read = DecodeState.of(policy, prompts)
        keys = torch.tensor(streams, dtype=torch.int64, device=policy.device)
        token_ids, logprobs = [], []
        rows = torch.arange(len(prompts) * group_size, device=policy.device)
        # A group larger than a batch is decoded in pieces; they share the prefill too.
        for piece in rows.split(self.max_batch_rows):
            prompt, completion = piece // group_size, piece % group_size
            state = prompts_read.expand(prompt, last=len(piece) == len(rows))
            ids, values = _decode(policy, state, keys[prompt], completion, sampling)
            token_ids += ids
            logprobs += values
        return token_ids, logprobs


@dataclass
class DecodeState:
    """Rows that wait for their next token.

    Attributes:
        logits: Of the next token, [N, V].
        cache: Keys and values of all tokens so far, of the Hugging Face model's own kind.
        attention_mask: [N, L], 1 at tokens and 0 at the padding on their left.
        position: Rotary position of the next token, [N].
        axes: Leading shape of position ids: (3,) for multimodal rotary positions, else ().
    """

    logits: Float[Tensor, "N V"]
    cache: Any
    attention_mask: Int[Tensor, "N L"]
    position: Int[Tensor, " N"]
    axes: tuple[int, ...]

    @classmethod
    def of(cls, policy: PolicyModel, prompts: Sequence[EncodedPrompt]) -> "DecodeState":
        """Run the prompts, images included, through the model."""
        positions = policy.positions(prompts)
        nothing = [torch.empty(0, dtype=torch.int64)] * len(prompts)
        batch = collate(prompts, nothing, positions, pad_id=policy.renderer.pad_id, side="left", device=policy.device)
        logits, cache = policy.next_logits(batch)
        following = torch.tensor([next_position(p) for p in positions], device=policy.device)
        axes = tuple(batch["position_ids"].shape[:-2])
        return cls(logits, cache, batch["attention_mask"], following, axes)

    def expand(self, rows: Int[Tensor, " R"], *, last: bool) -> "DecodeState":
        """Return R rows, each a copy of one of these; the cache itself is used up when this is the last use."""
        cache = self.cache if last else copy.deepcopy(self.cache)
        cache.reorder_cache(rows)
        return DecodeState(self.logits[rows], cache, self.attention_mask[rows], self.position[rows], self.axes)

    def keep(self, rows: Int[Tensor, " R"]) -> None:
        """Drop all other rows."""
        self.cache.reorder_cache(rows)
        self.attention_mask, self.position = self.attention_mask[rows], self.position[rows]

    def advance(self, policy: PolicyModel, tokens: Int[Tensor, " N"]) -> None:
        """Append one token to each row and compute the logits of the one after it."""
        self.attention_mask = torch.nn.functional.pad(self.attention_mask, (0, 1), value=1)
        batch = {
            "input_ids": tokens[:, None],
            "attention_mask": self.attention_mask,
            "position_ids": self.position[:, None].expand(*self.axes, -1, -1),
        }
        self.logits, self.cache = policy.next_logits(batch, self.cache)
        self.position = self.position + 1


def _decode(
    policy: PolicyModel,
    state: DecodeState,
    streams: Int[Tensor, " N"],
    completion: Int[Tensor, " N"],
    sampling: Sampling,
) -> tuple[list[Int[Tensor, " T"]], list[Float[Tensor, " T"]]]:
    """Return N completions and the log-probs of their tokens, on the CPU."""
    device, limit = streams.device, sampling.max_completion_tokens
    banned = torch.tensor(policy.renderer.banned_ids, dtype=torch.int64, device=device)
    ends = torch.tensor(policy.renderer.eos_ids, dtype=torch.int64, device=device)
    rows = torch.arange(len(streams), device=device)  # which completion each row of the batch is
    running = torch.ones_like(rows, dtype=torch.bool)
    lengths = torch.zeros_like(rows)
    steps: list[tuple[Tensor, Tensor, Tensor]] = []
    for position in range(limit):
        law = token_law(state.logits, banned=banned, temperature=sampling.temperature)
        noise = token_noise(streams[rows], completion[rows], torch.full_like(rows, position))
        tokens, logprobs = draw(law, noise, sampling)
        steps.append((rows, tokens, logprobs))
        lengths[rows] += running
        running = running & ~torch.isin(tokens, ends)
        alive = int(running.sum())
        if alive == 0 or position + 1 == limit:
            break
        if alive <= len(rows) * 7 // 8:  # finished rows cost as much as others; dropping them copies the cache once
            kept = running.nonzero()[:, 0]
            state.keep(kept)
            rows, tokens, running = rows[kept], tokens[kept], running[kept]
        state.advance(policy, tokens)
    return _gather(steps, lengths)


def _gather(
    steps: Sequence[tuple[Int[Tensor, " R"], Int[Tensor, " R"], Float[Tensor, " R"]]], lengths: Int[Tensor, " N"]
) -> tuple[list[Int[Tensor, " T"]], list[Float[Tensor, " T"]]]:
    ids = lengths.new_zeros(len(lengths), len(steps))
    logprobs = steps[0][2].new_zeros(len(lengths), len(steps))
    for position, (rows, tokens, values) in enumerate(steps):
        ids[rows, position], logprobs[rows, position] = tokens, values
    ids, logprobs, cuts = ids.cpu(), logprobs.cpu(), lengths.tolist()
    return [row[:cut].clone() for row, cut in zip(ids, cuts, strict=True)], [
        row[:cut].clone() for row, cut in zip(logprobs, cuts, strict=True)
    ]
