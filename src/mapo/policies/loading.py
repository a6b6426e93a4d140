"""Hugging Face weights as a policy needs them: dropout off, trainable in float32, the rest as asked."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

VISION_TOWERS = ("visual", "vision_tower", "vision_model", "vision_encoder")


def load_config(path: str, **kwargs: Any) -> Any:
    """Load a model's configuration.

    Raises:
        ValueError: Nothing can be loaded from this path; the message says what a path may be.
    """
    from transformers import AutoConfig

    folder = Path(path).expanduser()
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ValueError(f"policy path {path!r} is a folder without config.json; name the folder of a saved model")
    try:
        return AutoConfig.from_pretrained(path, **kwargs)
    except OSError as error:
        raise ValueError(
            f"policy path {path!r} cannot be loaded. It must be 'builtin', a local folder that holds config.json, or a "
            f"model's name on the Hugging Face Hub, which needs the network unless it is cached: {error}"
        ) from error


def reads_images(config: Any) -> bool:
    """Return True for models that answer about images and text, False for language models."""
    from transformers import AutoModelForImageTextToText

    mapped = type(config) in AutoModelForImageTextToText._model_mapping
    return mapped or "AutoModelForImageTextToText" in (getattr(config, "auto_map", None) or {})


def load_generation_config(path: str, config: Any, **kwargs: Any) -> Any:
    """Load generation_config.json, or derive it from the configuration where a model has none."""
    from transformers import GenerationConfig

    kwargs.pop("trust_remote_code", None)
    try:
        return GenerationConfig.from_pretrained(path, **kwargs)
    except OSError:
        return GenerationConfig.from_model_config(config)


def load_network(path: str, config: Any, *, dtype: torch.dtype, **kwargs: Any) -> Any:
    """Load a model with its language-model head, in train mode and with every dropout at 0."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    auto = AutoModelForImageTextToText if reads_images(config) else AutoModelForCausalLM
    network = auto.from_pretrained(path, config=config, dtype=dtype, **kwargs)
    disable_dropout(network)
    # Gradient checkpointing looks at the mode; without dropout the mode changes nothing else.
    return network.train()


def disable_dropout(network: nn.Module) -> None:
    """Set every dropout probability to 0, so that the mode of the model does not change its log-probs."""
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, 0.0)


def freeze_vision(network: nn.Module) -> None:
    """Take the vision tower out of training.

    Raises:
        ValueError: The model has none.
    """
    towers = [module for name, module in network.named_modules() if name.rpartition(".")[2] in VISION_TOWERS]
    if not towers:
        raise ValueError(f"freeze_vision=True, but {type(network).__name__} has no vision tower; leave it False")
    for tower in towers:
        tower.requires_grad_(False)


def set_precision(parameters: Iterable[nn.Parameter], *, frozen: torch.dtype) -> None:
    """Keep trainable parameters in float32 and frozen ones in the given type; buffers stay as they are.

    A step of 1e-6 would be lost in bfloat16, whose neighbours are 1/256 apart.
    """
    for parameter in parameters:
        parameter.data = parameter.data.to(torch.float32 if parameter.requires_grad else frozen)


def enable_checkpointing(network: Any) -> None:
    """Recompute activations in the backward pass instead of keeping them."""
    settings = {"use_reentrant": False}
    if hasattr(network, "activation_checkpointing_enable"):
        network.activation_checkpointing_enable(activation_checkpointing_kwargs=settings)
    else:  # transformers before 5.23
        network.gradient_checkpointing_enable(gradient_checkpointing_kwargs=settings)
