"""What is found out about a policy when it first samples: whether it decodes lean, and what that takes."""

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from lightning.pytorch.utilities import rank_zero_info

from mapo.policies import decoder_weights
from mapo.policies.model import PolicyModel
from mapo.rollout.capacity import Capacity, Footprint
from mapo.rollout.lean import LeanDecoder
from mapo.rollout.padded import PaddedDecoder
from mapo.rollout.prefill import prefill
from mapo.types import EncodedPrompt

# Of the spread of the logits; two correct orders of operations differ by 1e-6 in float32.
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6, torch.bfloat16: 0.1, torch.float16: 0.02}


@dataclass(frozen=True)
class Probe:
    """The outcome.

    Attributes:
        reason: Why transformers' own forward decodes; None where the lean one does.
        footprint: Memory that the policy takes.
    """

    reason: str | None
    footprint: Footprint


_found: WeakKeyDictionary[PolicyModel, dict[tuple[Any, ...], Probe]] = WeakKeyDictionary()


def probe(policy: PolicyModel, prompt: EncodedPrompt, *, reason: str | None) -> Probe:
    """Run a prompt and two tokens through both forwards, the first time that a policy samples on a device.

    Args:
        policy: In sampling mode.
        prompt: Any; the longest one shows best what a prompt takes.
        reason: Why the policy cannot decode lean whatever its architecture, if so.
    """
    device = policy.device
    autocast = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None
    known = _found.setdefault(policy, {})
    key = (device, autocast, reason)
    if key not in known:
        known[key] = _probe(policy, prompt, reason)
        if known[key].reason is not None:
            rank_zero_info(f"Rollouts are decoded by transformers' own forward, which is slower: {known[key].reason}")
    return known[key]


def _probe(policy: PolicyModel, prompt: EncodedPrompt, reason: str | None) -> Probe:
    device, tokens = policy.device, len(prompt.input_ids)
    before = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    read = prefill(policy, [prompt])
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    stored = sum(layer.keys.nbytes + layer.values.nbytes for layer in read.cache.layers)
    reason = reason or decoder_weights.why_not(policy.model) or _difference(policy, prompt)
    footprint = Footprint(
        cache_bytes=-(-stored // tokens),
        prefill_bytes=-(-(peak - before) // tokens),
        vocabulary=read.logits.shape[-1],
        shared=reason is None,
    )
    return Probe(reason, footprint)


def _difference(policy: PolicyModel, prompt: EncodedPrompt) -> str | None:
    """Return by how much the logits of the two forwards differ, None where it is rounding alone."""
    lean = LeanDecoder(policy, [prompt], Capacity(rows=2, prompts=1), completion_tokens=3)
    own = PaddedDecoder(policy, [prompt], Capacity(rows=2, prompts=2))
    logits = [lean.add([0, 0]), own.add([0, 0])][1]
    for _ in range(2):
        tokens = logits.topk(2, dim=-1).indices.diagonal()
        ours, logits = lean.advance(tokens), own.advance(tokens)
        gap, spread = float((ours.double() - logits.double()).abs().max()), float(logits.double().std())
        tolerance = _TOLERANCE[lean.dtype]
        if not gap <= tolerance * spread:
            return f"its logits would differ by {gap:.2g} (allowed: {tolerance * spread:.2g})"
    return None
