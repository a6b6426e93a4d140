"""Attention over packs, in which every completion sees its prompt and itself."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from mapo.policies.packing import Block, Run

NAME = "mapo_shared_prefix"

_View: TypeAlias = Callable[[Tensor], Tensor]

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def register() -> None:
    """Make ``NAME`` an attention implementation of transformers; without a pack it is its ``sdpa``."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, shared_prefix_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def shared_prefix_attention(
    module: Any,
    query: Float[Tensor, "N H L D"],
    key: Float[Tensor, "N K L D"],
    value: Float[Tensor, "N K L D"],
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    shared_prefix: Sequence[Block] | None = None,
    **kwargs: Any,
) -> tuple[Float[Tensor, "N L H D"], None]:
    """Return the attention of a pack, or of ordinary rows where ``shared_prefix`` is None, as transformers calls it.

    Args:
        module: The attention layer.
        query: Rotated queries of H heads; a pack is N = 1 row.
        key: Rotated keys of K heads, each shared by H / K query heads.
        value: Values.
        attention_mask: For ordinary rows alone.
        scaling: Factor of the scores; 1/√D when None.
        shared_prefix: The blocks of a pack.
        **kwargs: What else transformers hands to its attention functions.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if shared_prefix is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    if query.device.type == "cpu":
        return merged_attention(query, key, value, shared_prefix, scaling), None
    return masked_attention(module, query, key, value, shared_prefix, scaling), None


def merged_attention(
    query: Float[Tensor, "1 H L D"],
    key: Float[Tensor, "1 K L D"],
    value: Float[Tensor, "1 K L D"],
    blocks: Sequence[Block],
    scaling: float | None,
) -> Float[Tensor, "1 L H D"]:
    """Return the attention of a pack on the CPU without any mask and without copies of the prompt's keys.

    Completions attend to their prompt (all of them in one call) and to themselves; the two results o₁, o₂ with their
    log-sum-exps ℓ₁, ℓ₂ are merged exactly: o = σ(ℓ₁ - ℓ₂) o₁ + σ(ℓ₂ - ℓ₁) o₂. Given o and log(exp ℓ₁ + exp ℓ₂), the
    backward pass of each part by itself gives its share of the exact gradient.

    Source: the recomputation of FlashAttention, alg. 4 (https://arxiv.org/abs/2205.14135), split by keys as in Ring
    Attention (https://arxiv.org/abs/2310.01889).
    """
    if torch.is_autocast_enabled("cpu"):  # which does not know of these calls
        dtype = torch.get_autocast_dtype("cpu")
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    return _MergedAttention.apply(query, key, value, blocks, scaling).transpose(1, 2)


def masked_attention(
    module: Any,
    query: Float[Tensor, "1 H L D"],
    key: Float[Tensor, "1 K L D"],
    value: Float[Tensor, "1 K L D"],
    blocks: Sequence[Block],
    scaling: float | None,
) -> Float[Tensor, "1 L H D"]:
    """Return the attention of a pack on any device: completions of one length against [prompt; themselves]."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    parts = []
    for block in blocks:
        prompt = _section(block.prompt)
        parts.append(
            sdpa_attention_forward(module, prompt(query), prompt(key), prompt(value), None, scaling=scaling)[0]
        )
        for run in block.runs:
            own, shape = _rows(run), (run.length, block.prompt_length + run.length)
            keys, values = (
                torch.cat([prompt(tensor).expand(run.count, -1, -1, -1), own(tensor)], dim=2) for tensor in (key, value)
            )
            mask = torch.ones(shape, dtype=torch.bool, device=query.device).tril(block.prompt_length)[None, None]
            output = sdpa_attention_forward(module, own(query), keys, values, mask, scaling=scaling)[0]
            parts.append(output.flatten(0, 1)[None])
    return torch.cat(parts, dim=1)


class _MergedAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, blocks: Sequence[Block], scaling: float | None
    ) -> Tensor:
        output = torch.empty_like(query)
        logsumexp = query.new_empty(query.shape[:-1], dtype=torch.promote_types(query.dtype, torch.float32))

        def part(asking: _View, seen: _View, causal: bool) -> tuple[Tensor, Tensor]:
            return _flash(asking(query), seen(key), seen(value), 0.0, causal, scale=scaling)

        for block in blocks:
            prompt, rest = _section(block.prompt), _section(block.completions)
            prompt(output)[:], prompt(logsumexp)[:] = part(prompt, prompt, True)
            if block.runs:
                rest(output)[:], rest(logsumexp)[:] = part(rest, prompt, False)
            for own in map(_rows, block.runs):
                _merge(own(output), own(logsumexp), *part(own, own, True))
        ctx.save_for_backward(query, key, value, output, logsumexp)
        ctx.blocks, ctx.scaling = blocks, scaling
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, output, logsumexp = ctx.saved_tensors
        d_query, d_key, d_value = (torch.empty_like(tensor) for tensor in (query, key, value))

        def part(asking: _View, seen: _View, causal: bool) -> tuple[Tensor, Tensor, Tensor]:
            inputs = (asking(gradient), asking(query), seen(key), seen(value), asking(output), asking(logsumexp))
            return _flash_backward(*inputs, 0.0, causal, scale=ctx.scaling)

        for block in ctx.blocks:
            prompt, rest = _section(block.prompt), _section(block.completions)
            prompt(d_query)[:], prompt(d_key)[:], prompt(d_value)[:] = part(prompt, prompt, True)
            if block.runs:
                rest(d_query)[:], *shares = part(rest, prompt, False)
                for total, share in zip((d_key, d_value), shares, strict=True):
                    prompt(total).add_(share)
            for own in map(_rows, block.runs):
                share, own(d_key)[:], own(d_value)[:] = part(own, own, True)
                own(d_query).add_(share)
        return d_query, d_key, d_value, None, None


def _section(places: slice) -> _View:
    """Return a view of consecutive tokens, [1, H, L, ...] -> [1, H, length, ...]."""
    return lambda tensor: tensor[:, :, places]


def _rows(run: Run) -> _View:
    """Return a view of a run with one row per completion, [1, H, L, ...] -> [count, H, length, ...]."""
    return lambda tensor: tensor[0, :, run.tokens].unflatten(1, (run.count, run.length)).transpose(0, 1)


def _merge(output: Tensor, logsumexp: Tensor, own_output: Tensor, own_logsumexp: Tensor) -> None:
    weight = torch.sigmoid(own_logsumexp - logsumexp).unsqueeze(-1)
    output.copy_(torch.lerp(output.to(weight.dtype), own_output.to(weight.dtype), weight))
    torch.logaddexp(logsumexp, own_logsumexp, out=logsumexp)
