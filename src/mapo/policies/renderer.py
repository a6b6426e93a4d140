"""Prompts to tokens and back."""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor

from mapo.policies.chat import as_parts, as_text, count_images, find_prefill, text_parts
from mapo.policies.images import image_size, open_image
from mapo.policies.tokens import banned_ids, end_ids
from mapo.types import EncodedPrompt, Prompt


class Renderer:
    """The one path between text and tokens: chat template, processor and tokenizer of one policy; holds no weights.

    Attributes:
        eos_ids: Any of these ends a completion.
        banned_ids: Never sampled, -∞ in every log-prob: placeholders, vision, role and tool tokens.
        pad_id: Fills batches; masked everywhere.
        max_prompt_tokens: A longer prompt is refused, never cut.
        processor: The Hugging Face processor of a vision-language model, None for a language model.
        tokenizer: The Hugging Face tokenizer.
    """

    eos_ids: tuple[int, ...]
    banned_ids: tuple[int, ...]
    pad_id: int

    def __init__(
        self, *, tokenizer: Any, processor: Any, config: Any, generation_config: Any, max_prompt_tokens: int
    ) -> None:
        self.tokenizer = tokenizer
        self.processor = processor
        self.max_prompt_tokens = max_prompt_tokens
        self.eos_ids = end_ids(tokenizer, generation_config)
        if not self.eos_ids:
            raise ValueError("the policy's tokenizer and generation_config name no end-of-sequence token")
        self.banned_ids = banned_ids(tokenizer, config, self.eos_ids)
        self.pad_id = int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self.eos_ids[0])

    @cached_property
    def prefill(self) -> str:
        """What the chat template writes of every answer, such as ``<think>``; empty for most templates."""
        return find_prefill(self._render)

    @property
    def chat_template(self) -> Any:
        """The Jinja template in use, or several by name."""
        return (self.processor or self.tokenizer).chat_template

    @cached_property
    def _placeholders(self) -> tuple[str, ...]:
        tokens = (getattr(self.processor, name, None) for name in ("image_token", "video_token"))
        return tuple(token for token in tokens if isinstance(token, str) and token)

    @cached_property
    def _commands(self) -> re.Pattern[str]:
        """Finds what a text must not hold: it would be read as the end of a message, another speaker, a picture."""
        special = self.tokenizer.convert_ids_to_tokens([*self.banned_ids, *self.eos_ids])
        tokens = {*self._placeholders, *map(str, special)}
        return re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))))

    def encode(self, prompt: Prompt) -> EncodedPrompt:
        """Render and tokenise one prompt with its images; an over-long one is a ValueError that names it.

        Raises:
            ValueError: The prompt is longer than ``max_prompt_tokens``, has more or fewer image parts than images or
                a placeholder in its text, or an image cannot be read. The message names the sample.
        """
        self._check_length(prompt, self.prompt_length(prompt))
        images = [self._named(prompt, open_image, source) for source in prompt.images]
        features = dict(self._tokenize(prompt, images))
        input_ids = features.pop("input_ids")[0]
        features.pop("attention_mask", None)
        self._check_length(prompt, len(input_ids))
        return EncodedPrompt(prompt=prompt, input_ids=input_ids, features=features, prefill=self.prefill)

    def prompt_length(self, prompt: Prompt) -> int:
        """Return the number of tokens ``encode`` would give, from image headers alone.

        Raises:
            ValueError: As ``encode``, except that a long prompt is measured and not refused.
        """
        self._check_images(prompt)
        if prompt.images and not hasattr(self.processor.image_processor, "get_number_of_image_patches"):
            # Only the processor itself knows how many tokens its images take.
            images = [self._named(prompt, open_image, source) for source in prompt.images]
            return int(self._tokenize(prompt, images)["input_ids"].shape[1])
        # Each picture is one placeholder in the text, replaced by as many as it has features.
        return len(self.unexpanded_ids(prompt)) - len(prompt.images) + self._image_tokens(prompt)

    def unexpanded_ids(self, prompt: Prompt) -> list[int]:
        """Return the ids with one placeholder per picture, for engines that expand them themselves."""
        text = self._render(prompt.messages)
        return list(self.tokenizer(text, add_special_tokens=self._needs_bos(text))["input_ids"])

    @property
    def pixel_limits(self) -> dict[str, int]:
        """The smallest and largest area to which pictures are resized; empty where the processor has no such limits."""
        image_processor: Any = getattr(self.processor, "image_processor", None)
        if not hasattr(image_processor, "merge_size"):
            return {}
        size = dict(image_processor.size)  # of areas, whatever the names say
        return {"min_pixels": int(size["shortest_edge"]), "max_pixels": int(size["longest_edge"])}

    def decode(self, token_ids: Int[Tensor, " T"] | Sequence[int]) -> str:
        """Return a completion's text without special tokens."""
        ids = token_ids.tolist() if isinstance(token_ids, Tensor) else list(token_ids)
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def encode_completion(self, text: str, *, end: bool = True) -> Int[Tensor, " T"]:
        """Return the ids of a written completion, closed by the end-of-sequence token unless it is to be truncated."""
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        closing = self.tokenizer.eos_token_id if self.tokenizer.eos_token_id is not None else self.eos_ids[0]
        return torch.tensor([*ids, closing] if end else ids, dtype=torch.int64)

    def _render(self, messages: Any, add_generation_prompt: bool = True) -> str:
        if self.processor is None:
            speaker, messages = self.tokenizer, as_text(messages)
        else:
            speaker, messages = self.processor, as_parts(messages)
        return speaker.apply_chat_template(messages, add_generation_prompt=add_generation_prompt, tokenize=False)

    def _tokenize(self, prompt: Prompt, images: list[Image.Image]) -> Any:
        text = self._render(prompt.messages)
        if self.processor is None:
            return self.tokenizer([text], add_special_tokens=False, return_tensors="pt")
        return self._named(
            prompt,
            self.processor,
            images=images or None,
            text=[text],
            add_special_tokens=self._needs_bos(text),
            return_tensors="pt",
        )

    def _needs_bos(self, text: str) -> bool:
        # As transformers does: templates of language models write their own first token, some of processors do not.
        bos = self.tokenizer.bos_token
        return self.processor is not None and bos is not None and not text.startswith(bos)

    def _image_tokens(self, prompt: Prompt) -> int:
        return sum(self._named(prompt, self._tokens_of_image, source) for source in prompt.images)

    def _tokens_of_image(self, source: Any) -> int:
        width, height = image_size(source)
        image_processor = self.processor.image_processor
        return int(image_processor.get_number_of_image_patches(height, width)) // int(image_processor.merge_size) ** 2

    def _check_images(self, prompt: Prompt) -> None:
        parts = count_images(prompt.messages)
        if parts != len(prompt.images):
            raise ValueError(
                f"sample {prompt.sample_id!r} has {parts} image parts in its messages but {len(prompt.images)} images; "
                'every image needs one {"type": "image"} part'
            )
        if prompt.images and self.processor is None:
            raise ValueError(
                f"sample {prompt.sample_id!r} has images, but the policy is a language model without vision"
            )
        # Here and not in the processor alone, which sees a prompt only when its turn comes.
        text = "".join(text_parts(prompt.messages))
        if written := self._commands.search(text):
            means = "stands for a picture's features" if written.group() in self._placeholders else "commands the model"
            raise ValueError(
                f"sample {prompt.sample_id!r} has {written.group()!r} in its text, which {means}; "
                "remove it, and write <image> where a picture belongs"
            )

    def _check_length(self, prompt: Prompt, length: int) -> None:
        limit = self.max_prompt_tokens
        if length <= limit:
            return
        raise ValueError(
            f"sample {prompt.sample_id!r} has a prompt of {length} tokens, more than max_prompt_tokens={limit}. "
            + self._length_advice(prompt, length - limit)
        )

    def fitting_pixels(self, prompt: Prompt, excess: int) -> int | None:
        """Return the ``max_pixels`` at which a prompt is shorter by ``excess`` tokens; None where no size would do."""
        if not prompt.images or not hasattr(self.processor.image_processor, "get_number_of_image_patches"):
            return None
        tokens_each = (self._image_tokens(prompt) - excess) // len(prompt.images)
        image_processor = self.processor.image_processor
        pixels = tokens_each * (int(image_processor.patch_size) * int(image_processor.merge_size)) ** 2
        return pixels if tokens_each >= 1 else None

    def _length_advice(self, prompt: Prompt, excess: int) -> str:
        advice, pixels = "Raise max_prompt_tokens or drop the sample", self.fitting_pixels(prompt, excess)
        return advice if pixels is None else f"{advice}, or set the policy's max_pixels to {pixels} or less, which fits"

    def _named(self, prompt: Prompt, function: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except ValueError as error:
            raise ValueError(f"sample {prompt.sample_id!r}: {error}") from error
