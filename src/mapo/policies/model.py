"""The loaded policy: a Hugging Face model that scores completions. (Contract; the body is being written.)"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from mapo.policies.renderer import Renderer
from mapo.types import EncodedPrompt, TokenScores


class PolicyModel(nn.Module):
    """A Hugging Face model with its renderer, and with LoRA or a frozen reference where asked."""

    model: Any  # the Hugging Face model, wrapped by peft when LoRA is on
    renderer: Renderer

    def score(
        self,
        prompts: Sequence[EncodedPrompt],
        token_ids: Sequence[Int[Tensor, " T"]],
        *,
        temperature: float,
        entropy: bool = False,
    ) -> TokenScores:
        """Return the log-probs of N completions, row i continuing prompt i, with gradient where grad mode is on."""
        raise NotImplementedError

    @contextmanager
    def as_reference(self) -> Iterator[None]:
        """Within this context ``score`` is that of the frozen reference."""
        raise NotImplementedError
        yield
