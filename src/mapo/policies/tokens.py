"""Which tokens end a completion, and which may never be sampled."""

import re
from typing import Any

# Markers that some vocabularies hold as ordinary added tokens: they open tool calls, code infilling or media.
_MARKERS = re.compile(r"tool|fim_|repo_name|file_sep|vision|image|video|audio|_pad|<\|?(im_|start_header|end_header)")


def end_ids(tokenizer: Any, generation_config: Any) -> tuple[int, ...]:
    """Return the ids that end a completion: the generation configuration's list and the tokenizer's own."""
    listed = getattr(generation_config, "eos_token_id", None)
    listed = listed if isinstance(listed, list | tuple) else [listed]
    return tuple(sorted({int(token) for token in (*listed, tokenizer.eos_token_id) if token is not None}))


def banned_ids(tokenizer: Any, config: Any, end: tuple[int, ...]) -> tuple[int, ...]:
    """Return the ids of all placeholder, vision, role and tool tokens, never one that ends a completion.

    A sampled image placeholder would break the next training forward, with more placeholders than features.
    """
    added = tokenizer.added_tokens_decoder
    named = {index for index, token in added.items() if token.special or _MARKERS.search(token.content)}
    media = {
        value
        for name, value in vars(config).items()
        if isinstance(value, int) and re.search(r"(image|video|vision|audio).*_token_(id|index)$", name)
    }
    # A tokenizer may hold more tokens than the model has rows, and the reverse.
    vocabulary = config.get_text_config().vocab_size
    found = (named | set(tokenizer.all_special_ids) | media) - set(end)
    return tuple(sorted(index for index in found if 0 <= index < vocabulary))
