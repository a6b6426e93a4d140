"""A trained policy as a folder that plain transformers loads."""

import copy
import shutil
from pathlib import Path
from typing import Literal

import torch

from mapo.policies.model import PolicyModel

# Everything but weights and configuration: copied as it is, because a processor that was loaded without its video part
# would save itself under another name.
_COMPANIONS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "generation_config.json",
)


def save_policy(actor: PolicyModel, folder: str | Path, *, dtype: Literal["float32", "bfloat16"] = "bfloat16") -> Path:
    """Save weights, tokenizer and processor in the layout of the model that the policy was loaded from.

    Args:
        actor: Not sharded; LoRA is merged into a copy. A second copy of the weights is held meanwhile.
        folder: Created if need be; files of the same names are replaced.
        dtype: Of the saved weights.

    Returns:
        The folder, which ``Policy(path=...)`` and ``from_pretrained`` load.
    """
    from transformers.utils import cached_file

    path = Path(folder)
    network = copy.deepcopy(actor.model).to("cpu", getattr(torch, dtype))
    if hasattr(network, "merge_and_unload"):
        network = network.merge_and_unload()
    for name in network.config.sub_configs:  # each says its own type, and only the outermost follows the weights
        getattr(network.config, name).dtype = network.dtype
    network.save_pretrained(path)
    source = str(actor.renderer.tokenizer.name_or_path)
    for name in _COMPANIONS:
        found = cached_file(source, name, _raise_exceptions_for_missing_entries=False)
        if found is not None and Path(found).resolve() != (path / name).resolve():
            shutil.copyfile(found, path / name)
    return path
