"""The policy's weights as an engine of its own takes them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from mapo.functional.fingerprint import weights_fingerprint
from mapo.policies.adapters import merged_adapters
from mapo.policies.model import PolicyModel


def version_of(policy: PolicyModel) -> str:
    """Return a digest of the weights that training changes; equal digests mean equal weights."""
    trained = {name: weight.detach() for name, weight in policy.model.named_parameters() if weight.requires_grad}
    return weights_fingerprint(trained)


@contextmanager
def whole_weights(policy: PolicyModel) -> Iterator[dict[str, Tensor]]:
    """Within this context: all weights under the names of the model without adapters, which are merged meanwhile.

    Raises:
        ValueError: The adapters cannot be merged.
    """
    with merged_adapters(policy.model) as reason:
        if reason is not None:
            raise ValueError(f"vLLM needs the adapters merged into the weights, but {reason}; use TransformersEngine")
        base = policy.model.get_base_model() if hasattr(policy.model, "get_base_model") else policy.model
        yield {
            name.replace(".base_layer.", "."): weight.data
            for name, weight in base.named_parameters()
            if ".lora_" not in name
        }


def check_names(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Compare the policy's weights with those of the engine's network, by name.

    vLLM keeps what it is not given, with a line in its log, and is left without any weights by a name that it does not
    know; so nothing is sent unless all names fit.

    Args:
        network: vLLM's; its ``hf_to_vllm_mapper`` and ``packed_modules_mapping`` say how names translate.
        weights: The policy's, by name.

    Raises:
        ValueError: Names are missing, or unknown to the engine.
    """
    known = {name.replace(".base_layer.", ".") for name, _ in network.named_parameters()}
    given = {_translate(network, name, known) for name in weights}
    for problem, names in (("does not know", given - known), ("would not be given", known - given)):
        if names:
            raise ValueError(
                f"the weights of {type(network).__name__} in vLLM are not those of the policy: it {problem} "
                f"{len(names)} of {len(known)}, {min(names)!r} among them; use TransformersEngine with this model"
            )


def pack_heads(network: nn.Module) -> None:
    """Let vLLM's CPU build compute with the new embeddings where the head is tied to them.

    It multiplies with packed copies of weights, and reloading renews those of the layers that are given weights: not
    that of a tied head, whose weight goes by the name of the embeddings.
    """
    for name, layer in network.named_modules():
        method = getattr(layer, "quant_method", None)
        if name.rpartition(".")[2] == "lm_head" and method is not None and layer.weight.device.type == "cpu":
            method.process_weights_after_loading(layer)


def _translate(network: nn.Module, name: str, known: set[str]) -> str:
    mapper: Any = getattr(network, "hf_to_vllm_mapper", None)
    name = name if mapper is None else next(iter(mapper.apply_list([name])), name)
    if name in known:
        return name
    packed: Mapping[str, list[str]] = getattr(network, "packed_modules_mapping", {})
    for whole, parts in packed.items():
        for part in parts:
            fused = name.replace(f".{part}.", f".{whole}.")
            if fused in known:
                return fused
    return name
