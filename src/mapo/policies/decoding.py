"""One decoding step over completions whose prompts are stored once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mapo.policies.decoder_weights import DecoderWeights, LayerWeights

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


@dataclass(frozen=True)
class KeyValues:
    """Keys and values of one layer: S sequences of up to L tokens, K heads."""

    keys: Float[Tensor, "S K L D"]
    values: Float[Tensor, "S K L D"]

    def part(self, sequences: int, columns: slice) -> "KeyValues":
        """Return a view of the first sequences and of some tokens of each."""
        return KeyValues(self.keys[:sequences, :, columns], self.values[:sequences, :, columns])


@dataclass(frozen=True)
class Prompts:
    """Which prompt each of N rows continues: S prompts, each with ``width`` places for rows.

    Attributes:
        count: S, the first so many that are stored.
        width: The most rows of a prompt.
        row_at: Row at each of the S x width places, any row where none is; None where places and rows are the same.
        place_of: Place of each row.
        columns: Where the keys of the longest prompt are; all prompts end in the last column.
        mask: Added to scores, -∞ before a prompt begins; None where all are as long.
    """

    count: int
    width: int
    row_at: Int[Tensor, " M"] | None
    place_of: Int[Tensor, " N"]
    columns: slice
    mask: Float[Tensor, "S 1 1 P"] | None


@dataclass(frozen=True)
class Completions:
    """What N rows have of their own.

    Attributes:
        lengths: Tokens of each so far; the next one is written behind them.
        longest: The largest of these.
        mask: Added to scores, -∞ behind the next token; None where all are as long.
    """

    lengths: Int[Tensor, " N"]
    longest: int
    mask: Float[Tensor, "N 1 1 T"] | None


@torch.no_grad()
def decode_step(
    weights: DecoderWeights,
    stored: Sequence[tuple[KeyValues, KeyValues]],
    tokens: Int[Tensor, " N"],
    rotation: tuple[Float[Tensor, "N D"], Float[Tensor, "N D"]],
    prompts: Prompts,
    completions: Completions,
) -> Float[Tensor, "N V"]:
    """Append one token to each row and return the logits of the one after it.

    A row attends to its prompt, together with all rows of that prompt, and to itself; see ``merge``.

    Args:
        weights: Of the model.
        stored: Of every layer, keys and values of the prompts and of the rows; those of the tokens are written there.
        tokens: To append.
        rotation: Cosines and sines of their positions.
        prompts: The rows' prompts.
        completions: The rows' own tokens.
    """
    rows = torch.arange(len(tokens), device=tokens.device)
    own_columns = slice(0, completions.longest + 1)
    with torch.autocast(tokens.device.type, enabled=False):
        states = weights.embedding[tokens]
        for layer, (prefix, own) in zip(weights.layers, stored, strict=True):
            queries, keys, values = _project(weights, layer, states, rotation)
            own.keys[rows, :, completions.lengths], own.values[rows, :, completions.lengths] = keys, values
            of_prompt = _attend_to_prompts(queries, prefix.part(prompts.count, prompts.columns), prompts, layer.scaling)
            of_own = attend(queries, own.part(len(rows), own_columns), completions.mask, layer.scaling)
            outputs = merge(of_prompt, of_own).to(weights.dtype)
            states = states + layer.attention_output(outputs.flatten(1))
            gate, up = layer.gate_up(layer.mlp_norm(states)).chunk(2, dim=-1)
            states = states + layer.down(torch.nn.functional.silu(gate) * up)
        return weights.head(weights.norm(states))


def attend(
    queries: Float[Tensor, "S K Q D"], seen: KeyValues, mask: Float[Tensor, "S 1 1 L"] | None, scaling: float
) -> tuple[Float[Tensor, "S K Q D"], Float[Tensor, "S K Q"]]:
    """Return attention and the log-sum-exp of its scores, which are float32 or better.

    Args:
        queries: Q of every sequence and key head.
        seen: Keys and values of the same sequences.
        mask: Added to the scores.
        scaling: Factor of the scores.
    """
    if queries.device.type == "cpu":
        return _flash(queries, seen.keys, seen.values, 0.0, False, attn_mask=mask, scale=scaling)
    return products_attention(queries, seen, mask, scaling)


def products_attention(
    queries: Float[Tensor, "S K Q D"], seen: KeyValues, mask: Float[Tensor, "S 1 1 L"] | None, scaling: float
) -> tuple[Float[Tensor, "S K Q D"], Float[Tensor, "S K Q"]]:
    """Return what ``attend`` does, by batched matrix products: for devices without a kernel that hands out the sums."""
    flat, keys, values = (tensor.flatten(0, 1) for tensor in (queries, seen.keys, seen.values))
    precise = flat.dtype in (torch.float32, torch.float64)
    turned = keys.transpose(1, 2)
    scores = torch.bmm(flat, turned) if precise else torch.bmm(flat, turned, out_dtype=torch.float32)
    scores = scores.view(*queries.shape[:-1], -1) * scaling
    scores = scores if mask is None else scores + mask
    outputs = torch.bmm(scores.softmax(dim=-1).to(values.dtype).flatten(0, 1), values)
    return outputs.view_as(queries), scores.logsumexp(dim=-1)


def merge(
    first: tuple[Float[Tensor, "*S D"], Float[Tensor, "*S"]], second: tuple[Float[Tensor, "*S D"], Float[Tensor, "*S"]]
) -> Float[Tensor, "*S D"]:
    """Return the attention to two sets of keys together, from that to each.

    o = σ(ℓ₁ - ℓ₂) o₁ + σ(ℓ₂ - ℓ₁) o₂, with ℓ the log-sum-exps of the scores.

    Source: Juravsky et al., "Hydragen" (https://arxiv.org/abs/2402.05099), eq. 4.

    Example:
        >>> one, two = torch.tensor([[1.0]]), torch.tensor([[2.0]])
        >>> merge((one, torch.tensor([0.0])), (two, torch.tensor([0.0])))
        tensor([[1.5000]])
    """
    weight = torch.sigmoid(second[1] - first[1]).unsqueeze(-1)
    return torch.lerp(first[0].to(weight.dtype), second[0].to(weight.dtype), weight)


def _project(
    weights: DecoderWeights, layer: LayerWeights, states: Tensor, rotation: tuple[Tensor, Tensor]
) -> tuple[Float[Tensor, "N K R D"], Float[Tensor, "N K D"], Float[Tensor, "N K D"]]:
    """Return rotated queries, R for each of K key heads, rotated keys, and values."""
    num, key_heads = weights.num_heads, weights.num_key_heads
    heads = layer.query_key_value(layer.attention_norm(states)).unflatten(1, (-1, weights.head_size))
    rotated, values = heads[:, : num + key_heads], heads[:, num + key_heads :]
    if layer.query_norm is not None and layer.key_norm is not None:
        rotated = torch.cat([layer.query_norm(rotated[:, :num]), layer.key_norm(rotated[:, num:])], dim=1)
    cosines, sines = rotation
    first, second = rotated.chunk(2, dim=-1)
    rotated = rotated * cosines[:, None] + torch.cat([-second, first], dim=-1) * sines[:, None]
    rotated = rotated.to(weights.dtype)
    return rotated[:, :num].unflatten(1, (key_heads, -1)), rotated[:, num:], values


def _attend_to_prompts(
    queries: Float[Tensor, "N K R D"], prefix: KeyValues, prompts: Prompts, scaling: float
) -> tuple[Float[Tensor, "N K R D"], Float[Tensor, "N K R"]]:
    """Read the keys of a prompt once for all of its rows."""
    placed = queries if prompts.row_at is None else queries[prompts.row_at]
    shape = (prompts.count, prompts.width, *queries.shape[1:])
    asked = placed.reshape(shape).transpose(1, 2).flatten(2, 3)
    outputs, logsumexp = attend(asked, prefix, prompts.mask, scaling)

    def by_row(result: Tensor) -> Tensor:
        parted = result.unflatten(2, shape[1:2] + shape[3:4]).transpose(1, 2).flatten(0, 1)
        return parted if prompts.row_at is None else parted[prompts.place_of]

    return by_row(outputs), by_row(logsumexp)
