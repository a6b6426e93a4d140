"""A trained policy as a folder that transformers, or with adapters peft, loads."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mapo.policies.adapters import merged_weights
from mapo.policies.companions import save_companions
from mapo.policies.model import PolicyModel
from mapo.policies.sharding import full_state_dict

SavedType = Literal["float32", "bfloat16"]


def save_policy(
    actor: PolicyModel,
    folder: str | Path,
    *,
    dtype: SavedType = "bfloat16",
    merge: bool = True,
    weights: Mapping[str, Tensor] | None = None,
) -> Path:
    """Save weights, tokenizer and processor in the layout of the model that the policy was loaded from.

    Args:
        actor: Stays as it is. The saved weights are held in the host's memory meanwhile.
        folder: Created if need be; files of the same names are replaced.
        dtype: Of the saved weights.
        merge: With LoRA, add the adapters to the weights, in float32; False saves the adapters alone, as peft does.
        weights: The policy's whole state dict, for one whose own weights are sharded.

    Returns:
        The folder. ``Policy(path=...)`` and ``from_pretrained`` load it; adapters alone are loaded with the base model.

    Raises:
        ValueError: The adapters are not plain LoRA beside linear layers and cannot be merged.
    """
    path, network = Path(folder), actor.model
    state = {name.removeprefix("model."): w.detach() for name, w in (weights or full_state_dict(actor)).items()}
    adapted = hasattr(network, "disable_adapter")
    if adapted and not merge:
        of_adapters = {name: w.to("cpu", getattr(torch, dtype)) for name, w in state.items() if "lora_" in name}
        network.save_pretrained(path, state_dict=of_adapters, save_embedding_layers=False)
    else:
        base, state = (network.get_base_model(), merged_weights(network, state)) if adapted else (network, state)
        _with_weights(base, state, getattr(torch, dtype)).save_pretrained(path)
    save_companions(actor.renderer, path, revision=getattr(network.config, "_commit_hash", None))
    return path


def _with_weights(network: Any, weights: Mapping[str, Tensor], dtype: torch.dtype) -> Any:
    """Return a model of the same architecture that has these weights, and shares none with the other."""
    config = copy.deepcopy(network.config)
    for name in config.sub_configs:  # each says its own type, and only the outermost follows the weights
        getattr(config, name).dtype = dtype
    with torch.device("meta"):
        empty = type(network)(config)
    empty.load_state_dict({name: weight.to("cpu", dtype) for name, weight in weights.items()}, assign=True)
    empty.tie_weights()  # they are two tensors now
    # Names of published checkpoints are older than those of the modules; loading remembers how it translated them.
    empty._weight_conversions = getattr(network, "_weight_conversions", None)
    empty.generation_config = network.generation_config
    return empty
