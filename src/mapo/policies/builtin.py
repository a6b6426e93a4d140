"""The tiny Qwen2.5-VL that ships inside the package, and the code that makes one with random weights."""

import json
from pathlib import Path
from typing import Any

import torch

from mapo.policies.builtin_tokenizer import (
    CHAT_TEMPLATE,
    END_OF_TURN,
    IMAGE_PAD,
    PADDING,
    VIDEO_PAD,
    VISION_END,
    VISION_START,
    build_tokenizer,
)

_PATCH, _MERGE = 14, 2  # 28 x 28 pixels become one image token
_MIN_PIXELS, _MAX_PIXELS = 56 * 56, 168 * 168  # 4 to 36 image tokens; the built-in pictures, 84 x 84, take 9


def builtin_path() -> Path:
    """Return the folder of the built-in model, in the layout that ``from_pretrained`` reads.

    Example:
        >>> (builtin_path() / "config.json").is_file()
        True
    """
    return Path(__file__).with_name("builtin_model")


def build_tiny(folder: str | Path, *, seed: int = 0) -> Path:
    """Write a Qwen2.5-VL of half a million random weights with its tokenizer, processor and chat template.

    It is what ``configs/warm_start_tiny.yaml`` trains into the built-in model: 2 language layers of width 96, a vision
    tower of 2 blocks of width 64, all of whose attention is global.

    Args:
        folder: Created if need be; files of the same names are replaced.
        seed: Of the weights; the global random state is left alone.

    Returns:
        The folder.
    """
    from transformers import GenerationConfig, Qwen2_5_VLForConditionalGeneration

    path = Path(folder)
    tokenizer = build_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    config = _config(tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Qwen2_5_VLForConditionalGeneration(config)
    ends = tokenizer.convert_tokens_to_ids([END_OF_TURN, PADDING])
    network.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=tokenizer.pad_token_id)
    network.to(torch.bfloat16).save_pretrained(path)
    tokenizer.save_pretrained(path)
    (path / "preprocessor_config.json").write_text(json.dumps(_image_settings(), indent=2) + "\n")
    return path


def _config(tokenizer: Any) -> Any:
    from transformers import Qwen2_5_VLConfig

    special = tokenizer.convert_tokens_to_ids
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 96,
        "intermediate_size": 288,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "max_position_embeddings": 2048,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": special(END_OF_TURN),
        "pad_token_id": special(PADDING),
    }
    vision = {
        "depth": 2,
        "hidden_size": 64,
        "intermediate_size": 192,
        "num_heads": 4,
        "out_hidden_size": 96,
        "patch_size": _PATCH,
        "spatial_merge_size": _MERGE,
        "window_size": 112,
        "fullatt_block_indexes": [0, 1],
    }
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=special(IMAGE_PAD),
        video_token_id=special(VIDEO_PAD),
        vision_start_token_id=special(VISION_START),
        vision_end_token_id=special(VISION_END),
        tie_word_embeddings=True,
    )


def _image_settings() -> dict[str, Any]:
    """Return the image settings in the layout of the published Qwen2.5-VL folders, which every reader understands."""
    return {
        "processor_class": "Qwen2_5_VLProcessor",
        "image_processor_type": "Qwen2VLImageProcessor",
        "min_pixels": _MIN_PIXELS,
        "max_pixels": _MAX_PIXELS,
        "patch_size": _PATCH,
        "temporal_patch_size": 2,
        "merge_size": _MERGE,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
