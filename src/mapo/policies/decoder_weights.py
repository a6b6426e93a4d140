"""The weights of a decoder as one decoding step reads them, straight from the Hugging Face modules."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from mapo.policies import shared_prefix

Map: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LayerWeights:
    """One block: attention and SwiGLU, each behind an RMSNorm.

    Attributes:
        attention_norm: Before attention.
        query_key_value: Projections of all heads, one after the other.
        query_norm: Of every query head; None where there is none.
        key_norm: Of every key head.
        attention_output: Back to the hidden size.
        scaling: Factor of the scores.
        mlp_norm: Before the MLP.
        gate_up: Its two inner projections, one after the other.
        down: Back to the hidden size.
    """

    attention_norm: Map
    query_key_value: Map
    query_norm: Map | None
    key_norm: Map | None
    attention_output: Map
    scaling: float
    mlp_norm: Map
    gate_up: Map
    down: Map


@dataclass(frozen=True)
class DecoderWeights:
    """A decoder of the Llama kind, its language-model head included.

    Attributes:
        embedding: One row per token.
        layers: In order.
        norm: After the last layer.
        head: To logits.
        rotary: Positions of text, the same on all axes, to cosines and sines.
        num_heads: Query heads.
        num_key_heads: Key and value heads.
        head_size: D.
        dtype: Of keys, values and products; the residual stream has that of the embedding.
    """

    embedding: Float[Tensor, "V E"]
    layers: Sequence[LayerWeights]
    norm: Map
    head: Map
    rotary: Callable[[Tensor], tuple[Tensor, Tensor]]
    num_heads: int
    num_key_heads: int
    head_size: int
    dtype: torch.dtype


def why_not(model: Any) -> str | None:
    """Return why the weights of a model cannot be read, None when they can."""
    network = _causal_lm(model).base_model
    if any(isinstance(parameter.data, DTensor) for parameter in network.parameters()):
        return "its weights are sharded"
    reason = shared_prefix.why_not(network)
    if reason is None and network.get_decoder().config.hidden_act != "silu":
        return f"its activation is {network.get_decoder().config.hidden_act!r}, not 'silu'"
    return reason


def read_weights(model: Any) -> DecoderWeights:
    """Read the weights as they are now; adapters have to be merged into them.

    Products are computed in autocast's type where it is on, for which the weights are cast once. On the CPU projections
    of the same input are joined and, in float32, laid out as oneDNN multiplies them: that is one more copy of the
    weights while it is in use, and a decoding step takes two thirds of the time.

    Args:
        model: Of an architecture that ``why_not`` has nothing against.
    """
    causal_lm = _causal_lm(model)
    decoder = causal_lm.base_model.get_decoder()
    attention = decoder.layers[0].self_attn
    dtype = _compute_dtype(_unwrap(attention.q_proj).weight)
    embedding = decoder.embed_tokens.weight.detach()
    read_norm = partial(_norm, dtype=embedding.dtype)
    return DecoderWeights(
        embedding=embedding,
        layers=[_layer(layer, read_norm, dtype) for layer in decoder.layers],
        norm=read_norm(decoder.norm),
        head=_Product([causal_lm.get_output_embeddings()], dtype),
        rotary=partial(_rotary, decoder.rotary_emb, embedding[:1]),
        num_heads=decoder.config.num_attention_heads,
        num_key_heads=decoder.config.num_key_value_heads,
        head_size=attention.head_dim,
        dtype=dtype,
    )


class _Product:
    """Linear maps of one input, their outputs one after the other."""

    def __init__(self, linears: Sequence[Any], dtype: torch.dtype) -> None:
        linears = [_unwrap(linear) for linear in linears]
        weights = [linear.weight.detach().to(dtype) for linear in linears]
        biases = [None if linear.bias is None else linear.bias.detach().to(dtype) for linear in linears]
        self.dtype = dtype
        self.parts = list(zip(weights, biases, strict=True))
        self.packed = (
            weights[0].device.type == "cpu" and dtype == torch.float32 and torch.backends.mkldnn.is_available()
        )
        if weights[0].device.type == "cpu":
            bias = None if biases[0] is None else torch.cat([part for part in biases if part is not None])
            joined = torch.cat(weights) if len(weights) > 1 else weights[0].contiguous()
            self.parts = [(torch.ops.mkldnn._reorder_linear_weight(joined) if self.packed else joined, bias)]

    def __call__(self, inputs: Float[Tensor, "N I"]) -> Float[Tensor, "N O"]:
        inputs = inputs.to(self.dtype)
        if self.packed:
            return torch.ops.mkldnn._linear_pointwise(inputs, *self.parts[0], "none", [], "")
        outputs = [nn.functional.linear(inputs, *part) for part in self.parts]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)


def _layer(layer: Any, read_norm: Callable[[Any], Map], dtype: torch.dtype) -> LayerWeights:
    attention, mlp = layer.self_attn, layer.mlp
    return LayerWeights(
        attention_norm=read_norm(layer.input_layernorm),
        query_key_value=_Product([attention.q_proj, attention.k_proj, attention.v_proj], dtype),
        query_norm=read_norm(attention.q_norm) if hasattr(attention, "q_norm") else None,
        key_norm=read_norm(attention.k_norm) if hasattr(attention, "k_norm") else None,
        attention_output=_Product([attention.o_proj], dtype),
        scaling=attention.scaling,
        mlp_norm=read_norm(layer.post_attention_layernorm),
        gate_up=_Product([mlp.gate_proj, mlp.up_proj], dtype),
        down=_Product([mlp.down_proj], dtype),
    )


def _norm(module: Any, *, dtype: torch.dtype) -> Map:
    weight = module.weight.detach().to(dtype)
    return lambda states: nn.functional.rms_norm(states.to(dtype), weight.shape, weight, module.variance_epsilon)


def _rotary(module: Any, like: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    several = hasattr(module, "mrope_section")
    asked = positions.expand(3, 1, -1) if several else positions[None]
    cosines, sines = module(like, asked)
    # transformers before 5.23 leaves the choice among the three axes to the layers; here they are equal.
    return cosines.reshape(-1, *cosines.shape[-2:])[0], sines.reshape(-1, *sines.shape[-2:])[0]


def _compute_dtype(weight: Tensor) -> torch.dtype:
    kind = weight.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype


def _causal_lm(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _unwrap(linear: Any) -> Any:
    return linear.get_base_layer() if hasattr(linear, "get_base_layer") else linear
