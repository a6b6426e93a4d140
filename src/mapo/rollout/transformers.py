"""Rollouts in process, with the policy's own Hugging Face model."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from typing_extensions import override

from mapo.functional.device_memory import free_memory
from mapo.policies.adapters import merged_adapters
from mapo.policies.model import PolicyModel
from mapo.rollout.base import RolloutEngine
from mapo.rollout.capacity import plan
from mapo.rollout.completing import Completing
from mapo.rollout.decoder import Decoder
from mapo.rollout.lean import LeanDecoder
from mapo.rollout.mode import sampling_mode
from mapo.rollout.padded import PaddedDecoder
from mapo.rollout.probe import Probe, probe
from mapo.rollout.records import build_rollouts
from mapo.types import EncodedPrompt, Rollouts, Sampling


@dataclass(frozen=True)
class TransformersEngine(RolloutEngine):
    """Samples with the weights in place: a prompt and its images pass through the model once for all completions.

    Keys and values of a prompt are stored once, too; completions that ended make room for others that wait. Other
    architectures than those of ``mapo.policies.shared_prefix`` are decoded by transformers itself, in waves, with a
    copy of the prompt in every row; a line in the log says why.
    """

    max_batch_rows: int | None = None
    """Most completions that decode at once; None: 128 on the CPU, as many as fit in the free memory elsewhere."""
    cuda_graphs: bool = False
    """Record decoding steps as CUDA graphs and replay them; off until it has been measured on a GPU."""

    def __post_init__(self) -> None:
        if self.max_batch_rows is not None and self.max_batch_rows < 1:
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
        renderer, device = policy.renderer, policy.device
        if not prompts:
            return build_rollouts(renderer, (), (), (), group_size=group_size, temperature=sampling.temperature)
        # Prompts of similar length side by side waste little room, and one that is too long is found at once.
        longest_first = sorted(range(len(prompts)), key=lambda index: -len(prompts[index].input_ids))
        rows = [prompt * group_size + row for prompt in longest_first for row in range(group_size)]
        with sampling_mode(policy), merged_adapters(policy.model) as not_merged:
            found = probe(policy, prompts[longest_first[0]], reason=not_merged)
            token_ids, logprobs = Completing(
                self._decoder(found, policy, prompts, group_size, sampling.max_completion_tokens),
                torch.tensor(streams, dtype=torch.int64, device=device),
                group_size=group_size,
                sampling=sampling,
                banned=torch.tensor(renderer.banned_ids, dtype=torch.int64, device=device),
                ends=torch.tensor(renderer.eos_ids, dtype=torch.int64, device=device),
            ).run(rows)
        return build_rollouts(
            renderer, prompts, token_ids, logprobs, group_size=group_size, temperature=sampling.temperature
        )

    def _decoder(
        self,
        found: Probe,
        policy: PolicyModel,
        prompts: Sequence[EncodedPrompt],
        group_size: int,
        completion_tokens: int,
    ) -> Decoder:
        capacity = plan(
            prompts,
            group_size=group_size,
            completion_tokens=completion_tokens,
            max_rows=self.max_batch_rows,
            footprint=found.footprint,
            free_bytes=free_memory(policy.device),
        )
        if found.reason is None:
            return LeanDecoder(
                policy, prompts, capacity, completion_tokens=completion_tokens, cuda_graphs=self.cuda_graphs
            )
        return PaddedDecoder(policy, prompts, capacity)
