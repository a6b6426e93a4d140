"""Prompts to tokens and back. (Contract; the body is being written.)"""

from collections.abc import Sequence

from jaxtyping import Int
from torch import Tensor

from mapo.types import EncodedPrompt, Prompt


class Renderer:
    """The one path between text and tokens: chat template, processor and tokenizer of one policy; holds no weights."""

    eos_ids: tuple[int, ...]
    banned_ids: tuple[int, ...]  # never sampled, -inf in every log-prob
    pad_id: int

    def encode(self, prompt: Prompt) -> EncodedPrompt:
        """Render and tokenise one prompt with its images; an over-long one is a ValueError that names it."""
        raise NotImplementedError

    def prompt_length(self, prompt: Prompt) -> int:
        """Return the number of tokens ``encode`` would give, from image headers alone."""
        raise NotImplementedError

    def decode(self, token_ids: Int[Tensor, " T"] | Sequence[int]) -> str:
        """Return a completion's text without special tokens."""
        raise NotImplementedError
