"""What a policy will hold, counted from its configuration alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mapo.policies.loading import VISION_TOWERS, load_config, reads_images
from mapo.policies.policy import Policy
from mapo.policies.published import published_config


@dataclass(frozen=True)
class Blocks:
    """The blocks of a decoder or of a vision tower, all alike.

    Attributes:
        num: How many.
        hidden: Size of the residual stream.
        queries: Heads x size of a head.
        keys: Key heads x size of a head.
        inner: Inner size of the MLP.
        gated: Whether it multiplies two inner projections.
        trained: Whether anything in them or before them is trained, so that their activations are kept.
    """

    num: int
    hidden: int
    queries: int
    keys: int
    inner: int
    gated: bool
    trained: bool


@dataclass(frozen=True)
class Outline:
    """Numbers of parameters, and the shapes that decide what else a model needs.

    Attributes:
        trained: Parameters that are trained.
        frozen: Parameters that are not.
        layer: Parameters of the largest decoder layer.
        outside: Parameters outside the decoder layers: embeddings, head, vision tower.
        adapted: Parameters of the base that have adapters beside them.
        decoder: Its layers.
        tower: Those of the vision tower; None without one.
        merge: Patches that become one image token.
        vocabulary: V.
        published: Whether the shape is the package's own record, because the configuration could not be read here.
    """

    trained: int
    frozen: int
    layer: int
    outside: int
    adapted: int
    decoder: Blocks
    tower: Blocks | None
    merge: int
    vocabulary: int
    published: bool

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.trained + self.frozen

    @property
    def cache_numbers(self) -> int:
        """Numbers in the keys and values of one token."""
        return 2 * self.decoder.num * self.decoder.keys


def outline(policy: Policy) -> Outline:
    """Count what a policy will hold; no weight is loaded or made.

    Raises:
        ValueError: The configuration can neither be read nor is the model one of the recipes'.
    """
    config, published = _config(policy)
    network = _empty(config, policy)
    parameters = list(network.parameters())
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    causal_lm = network.get_base_model() if hasattr(network, "get_base_model") else network
    layers = causal_lm.base_model.get_decoder().layers
    sizes = [sum(parameter.numel() for parameter in layer.parameters()) for layer in layers]
    adapted = [module.base_layer for module in network.modules() if hasattr(module, "base_layer")]
    vision = getattr(config, "vision_config", None)
    return Outline(
        trained=trained,
        frozen=sum(parameter.numel() for parameter in parameters) - trained,
        layer=max(sizes),
        outside=sum(parameter.numel() for parameter in parameters) - sum(sizes),
        adapted=sum(parameter.numel() for layer in adapted for parameter in layer.parameters()),
        decoder=_decoder(config.get_text_config(), trained=trained > 0),
        tower=None if vision is None else _tower(causal_lm, vision),
        merge=getattr(vision, "spatial_merge_size", 1) ** 2,
        vocabulary=config.get_text_config().vocab_size,
        published=published,
    )


def _config(policy: Policy) -> tuple[Any, bool]:
    options: dict[str, Any] = {"revision": policy.revision, "trust_remote_code": policy.trust_remote_code}
    recorded = None if policy.revision else published_config(policy.path)
    if recorded is None or Path(policy.path).is_dir():
        return load_config(policy.resolve(), **options), False
    try:  # what is on this disk: a plan must not wait for a network that is not there
        return load_config(policy.path, **options, local_files_only=True), False
    except ValueError:
        return recorded, True


def _empty(config: Any, policy: Policy) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    auto = AutoModelForImageTextToText if reads_images(config) else AutoModelForCausalLM
    with torch.device("meta"):
        return policy.prepare(auto.from_config(config, trust_remote_code=policy.trust_remote_code))


def _decoder(config: Any, *, trained: bool) -> Blocks:
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Blocks(
        num=config.num_hidden_layers,
        hidden=config.hidden_size,
        queries=config.num_attention_heads * head,
        keys=(getattr(config, "num_key_value_heads", None) or config.num_attention_heads) * head,
        inner=config.intermediate_size,
        gated=True,
        trained=trained,
    )


def _tower(causal_lm: nn.Module, config: Any) -> Blocks:
    towers = [module for name, module in causal_lm.named_modules() if name.rpartition(".")[2] in VISION_TOWERS]
    weights = [parameter for tower in towers for parameter in tower.parameters()]
    hidden = config.hidden_size
    return Blocks(
        num=getattr(config, "depth", None) or config.num_hidden_layers,
        hidden=hidden,
        queries=hidden,
        keys=hidden,
        inner=config.intermediate_size,
        gated=any("gate_proj" in name for tower in towers for name, _ in tower.named_parameters()),
        trained=any(weight.requires_grad for weight in weights),
    )
