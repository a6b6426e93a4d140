"""Random models of a few million parameters in the Hugging Face layout, and prompts of an exact length for them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image

from mapo.types import Prompt

Kind = Literal["text", "vl"]

PATCH, MERGE = 14, 2
PIXELS = PATCH * MERGE
"""Side of the square of pixels that becomes one image token."""
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
# Blanks around every token, since words are what lies between blanks.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|> {{ message.role }} "
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|> {% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %} <|im_end|> {% endfor %}"
    "{% if add_generation_prompt %}<|im_start|> assistant{% endif %}"
)
_TEMPLATE_TOKENS = 5  # of one user message and the opening of the answer
_IMAGE_MARKERS = 2


@dataclass(frozen=True)
class Size:
    """What decides on the cost of a model.

    Attributes:
        vocabulary: Tokens; embeddings are tied.
        hidden: Width of the language model; 64 per query head, and three query heads per key head.
        layers: Blocks of the language model.
        vision_hidden: Width of the vision tower; 64 per head.
        vision_layers: Blocks of the vision tower; the last attends globally, the others within windows.
    """

    vocabulary: int
    hidden: int
    layers: int
    vision_hidden: int
    vision_layers: int


SIZES: Mapping[str, Size] = {
    "small": Size(vocabulary=4096, hidden=384, layers=6, vision_hidden=192, vision_layers=4),
    "toy": Size(vocabulary=64, hidden=192, layers=1, vision_hidden=64, vision_layers=1),
}


def build_model(kind: Kind, size: Size, folder: Path, *, seed: int = 0) -> Path:
    """Write a Qwen2 language model or a Qwen2.5-VL with random weights, in fp32, and return its folder."""
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2Config,
        Qwen2ForCausalLM,
        Qwen2VLImageProcessorPil,
    )

    tokenizer = build_tokenizer(size.vocabulary)
    text = _text_settings(size, tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "text":
            model: Any = Qwen2ForCausalLM(Qwen2Config(**text, tie_word_embeddings=True))
        else:
            model = Qwen2_5_VLForConditionalGeneration(
                Qwen2_5_VLConfig(**_vision_language_settings(size, text, tokenizer))
            )
            Qwen2VLImageProcessorPil(min_pixels=PIXELS**2, max_pixels=4096 * PIXELS**2).save_pretrained(folder)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def build_tokenizer(vocabulary: int) -> Any:
    """Build a tokenizer of words ``w0``, ``w1``, ... between blanks, with the chat and vision tokens of Qwen2.5-VL."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    fixed = ["<unk>", "user", "assistant"]
    words = [*fixed, *(f"w{number}" for number in range(vocabulary - len(SPECIAL) - len(fixed)))]
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="<unk>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        chat_template=CHAT_TEMPLATE,
    )


def build_prompts(
    kind: Literal["text", "vl"], *, tokens: int, num: int, vocabulary: int, seed: int = 0
) -> list[Prompt]:
    """Return prompts of exactly ``tokens`` tokens; most of those with a picture are image tokens.

    Args:
        kind: With or without a picture.
        tokens: P, those of the chat template included.
        num: How many, all different.
        vocabulary: Of the model.
        seed: Of words and pixels.
    """
    generator = torch.Generator().manual_seed(seed)
    side = math.isqrt(int(0.87 * tokens)) if kind == "vl" else 0
    num_words = tokens - _TEMPLATE_TOKENS - (side**2 + _IMAGE_MARKERS if side else 0)
    if num_words < 1:
        raise ValueError(f"a prompt of {tokens} tokens leaves no room for words; ask for more tokens")
    words = torch.randint(vocabulary - 11, (num, num_words), generator=generator).tolist()
    return [
        _prompt(f"row-{row}", [f"w{word}" for word in words[row]], [_picture(side, generator)] if side else [])
        for row in range(num)
    ]


def _prompt(sample_id: str, words: Sequence[str], images: Sequence[Mapping[str, Any]]) -> Prompt:
    content = [*({"type": "image"} for _ in images), {"type": "text", "text": " ".join(words)}]
    return Prompt(sample_id, ({"role": "user", "content": content},), tuple(images), "none", {})


def _picture(side: int, generator: torch.Generator) -> dict[str, Any]:
    pixels = torch.randint(256, (side * PIXELS, side * PIXELS, 3), generator=generator, dtype=torch.uint8)
    file = BytesIO()
    Image.fromarray(pixels.numpy()).save(file, format="PNG")
    return {"bytes": file.getvalue(), "path": None}  # as data sets store it: decoding is part of a step


def _text_settings(size: Size, tokenizer: Any) -> dict[str, Any]:
    heads = size.hidden // 64
    return {
        "vocab_size": size.vocabulary,
        "hidden_size": size.hidden,
        "intermediate_size": size.hidden * 8 // 3,
        "num_hidden_layers": size.layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // 3,
        "max_position_embeddings": 8192,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _vision_language_settings(size: Size, text: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    names = {"image": "image_pad", "video": "video_pad", "vision_start": "vision_start", "vision_end": "vision_end"}
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [8, 12, 12]}
    vision = {
        "depth": size.vision_layers,
        "hidden_size": size.vision_hidden,
        "intermediate_size": size.vision_hidden * 8 // 3,
        "num_heads": size.vision_hidden // 64,
        "out_hidden_size": size.hidden,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "window_size": 4 * PIXELS,
        "fullatt_block_indexes": [size.vision_layers - 1],
    }
    tokens = {f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>") for name, token in names.items()}
    return {
        "text_config": text | {"rope_parameters": rope},
        "vision_config": vision,
        "tie_word_embeddings": True,
    } | tokens
