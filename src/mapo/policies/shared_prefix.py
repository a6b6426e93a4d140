"""Groups scored with their prompt run once: which models can, and how a pack goes through them."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mapo.policies import shared_prefix_attention
from mapo.policies.packing import pack
from mapo.types import EncodedPrompt

# Each was compared with its own plain forward: all tokens pass through the attention function and nothing else mixes
# them, what the root is given (positions, the layout) reaches every layer.
_LANGUAGE_MODELS = ("llama", "mistral", "qwen2", "qwen3")
_VISION_LANGUAGE_MODELS = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
_FIXED_ROTATIONS = ("default", "linear", "llama3", "yarn")


def why_not(network: Any) -> str | None:
    """Return why a model has to score every row with its own copy of the prompt; None when it can share.

    Args:
        network: The Hugging Face model without its head.
    """
    kind = network.config.model_type
    known = _LANGUAGE_MODELS + _VISION_LANGUAGE_MODELS
    if kind not in known or not type(network).__module__.startswith("transformers."):
        return f"{type(network).__name__} is none of the architectures known to allow it ({', '.join(known)})"
    config = network.get_decoder().config
    if config._attn_implementation not in ("sdpa", shared_prefix_attention.NAME):
        return f"its attention implementation is {config._attn_implementation!r}, and only 'sdpa' allows it"
    kinds = {*(getattr(config, "layer_types", None) or ["full_attention"])} - {"full_attention"}
    if kinds or getattr(config, "sliding_window", None) is not None:
        return f"it has layers that see only part of the context ({', '.join(sorted(kinds)) or 'sliding_window'})"
    rotation = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if rotation not in _FIXED_ROTATIONS:
        return f"its rotary positions ({rotation}) depend on the longest row of a batch"
    return None


def enable(network: Any) -> None:
    """Let a model run packs; ordinary rows go through it as before.

    It stays like this: the recomputation of gradient checkpointing looks at the implementation again in the backward
    pass.

    Raises:
        ValueError: The model cannot run packs.
    """
    reason = why_not(network)
    if reason is not None:
        raise ValueError(f"completions cannot share their prompt in this model: {reason}")
    shared_prefix_attention.register()
    network.get_decoder().config._attn_implementation = shared_prefix_attention.NAME


def completion_states(
    network: Any,
    prompts: Sequence[EncodedPrompt],
    completions: Sequence[Int[Tensor, " T"]],
    positions: Sequence[Int[Tensor, "A P"]],
    *,
    device: torch.device,
) -> Float[Tensor, "M H"]:
    """Return the last hidden state that predicts each of the M completion tokens, row by row.

    Args:
        network: The Hugging Face model without its head, after ``enable``.
        prompts: N prompts; rows with the same object share its pass through the network.
        completions: N completions as sampled.
        positions: Rotary positions of each prompt's tokens.
        device: Where the network is.
    """
    packed = pack(prompts, completions, positions, device=device)
    # A mask of four dimensions is taken as it is, so that none of L x L is built; the blocks say it all.
    mask = torch.empty(1, 1, 1, 1, dtype=torch.bool, device=device)
    output = network(**packed.inputs, attention_mask=mask, shared_prefix=packed.blocks, use_cache=False)
    return output.last_hidden_state[0].index_select(0, packed.sources)
