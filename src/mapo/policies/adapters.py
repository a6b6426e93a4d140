"""Low-rank adapters as a part of the weights they adapt, for as long as tokens are sampled."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from mapo.functional.device_memory import free_memory


@contextmanager
def merged_adapters(model: Any) -> Iterator[str | None]:
    """Within this context the base weights of a LoRA model contain the adapters, which are switched off.

    W' = W + (α / r) B A, summed in float32. The weights before are put back afterwards, the very tensors: subtracting
    would leave rounding errors behind.

    Source: Hu et al., "LoRA" (https://arxiv.org/abs/2106.09685), section 4.1.

    Args:
        model: With or without adapters; without, nothing happens.

    Yields:
        None, or why the adapters stay beside the weights.
    """
    layers = _adapted_layers(model)
    reason = _why_not(layers)
    before: list[tuple[Any, Tensor]] = []
    with ExitStack() as stack:
        try:
            if layers and reason is None:
                for layer in layers:
                    weight = layer.get_base_layer().weight
                    before.append((weight, weight.data))
                    weight.data = _merge(layer)
                stack.enter_context(model.disable_adapter())
            yield reason
        finally:
            for weight, data in before:
                weight.data = data


def merged_weights(model: Any, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a LoRA model's weights under the names of its base model, the adapters added to what they adapt.

    W' = W + (α / r) B A, summed and kept in float32.

    Args:
        model: Made by peft.
        weights: Its state dict; its own weights, which may be sharded, are not looked at.

    Raises:
        ValueError: The adapters are not plain LoRA beside linear layers.
    """
    left = dict(weights)
    for name, layer in model.named_modules():
        if not _is_adapted(layer):
            continue
        if not _is_plain(layer):
            raise ValueError(f"{name} cannot be merged: its adapters are not plain LoRA beside a linear layer")
        total = left.pop(f"{name}.base_layer.weight").float()
        for adapter in layer.active_adapters:
            down, up = (left.pop(f"{name}.lora_{side}.{adapter}.weight").float() for side in "AB")
            total = total + layer.scaling[adapter] * (up @ down)
        left[f"{name}.weight"] = total
    return {name.removeprefix("base_model.model.").replace(".base_layer.", "."): w for name, w in left.items()}


def _is_adapted(module: Any) -> bool:
    from peft.tuners.lora import LoraLayer

    return isinstance(module, LoraLayer)


def _is_plain(layer: Any) -> bool:
    from peft.tuners.lora import Linear

    return not (type(layer) is not Linear or layer.merged or layer.lora_variant or any(layer.lora_bias.values()))


def _adapted_layers(model: Any) -> list[Any]:
    if not hasattr(model, "disable_adapter"):
        return []
    return [module for module in model.modules() if _is_adapted(module)]


def _why_not(layers: list[Any]) -> str | None:
    if not layers:
        return None
    weights = [layer.get_base_layer().weight for layer in layers]
    if any(isinstance(weight.data, DTensor) for weight in weights):
        return "its weights are sharded"
    if not all(map(_is_plain, layers)):
        return "its adapters are not plain LoRA beside linear layers"
    free, needed = free_memory(weights[0].device), sum(weight.nbytes for weight in weights)
    if free is not None and needed > free / 2:
        return f"a copy of its adapted weights takes {needed / 2**30:.1f} GiB, which is more than half of what is free"
    return None


def _merge(layer: Any) -> Tensor:
    weight = layer.get_base_layer().weight.data
    with torch.autocast(weight.device.type, enabled=False):
        total = sum((layer.get_delta_weight(name).float() for name in layer.active_adapters), weight.float())
    return total.to(weight.dtype)
