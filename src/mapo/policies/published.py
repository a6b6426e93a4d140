"""Shapes of published models, for plans where their configuration cannot be read."""

import json
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("published_shapes.json")


def published_config(name: str) -> Any:
    """Return the configuration of a model that the recipes name, with the numbers that decide its size.

    Source: ``config.json`` of each model on the Hub, https://huggingface.co/Qwen/Qwen2.5-VL-7B-Instruct and the others
    under their names. Everything else is the architecture's default: good for counting, not for computing.

    Returns:
        None for other models.

    Example:
        >>> published_config("Qwen/Qwen2.5-VL-7B-Instruct").get_text_config().num_hidden_layers
        28
    """
    from transformers import AutoConfig

    shape = json.loads(_FILE.read_text(encoding="utf-8")).get(name)
    if shape is None:
        return None
    return AutoConfig.for_model(shape.pop("model_type"), **shape)
