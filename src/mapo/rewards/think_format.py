"""Credit for the asked-for format: think, then answer in a box."""

from collections.abc import Sequence
from dataclasses import dataclass

from typing_extensions import override

from mapo.rewards.base import Reward
from mapo.rewards.boxed import last_boxed
from mapo.types import Completion


@dataclass(frozen=True)
class ThinkFormat(Reward):
    r"""1 where the whole completion is one ``<think>…</think>`` followed by text with a ``\boxed{…}``, else 0.

    Source: the format reward of MAPO (https://arxiv.org/abs/2509.18849), whose code matches
    ``<think>.*</think>.*\\boxed\{.*\}.*`` over the full completion; an empty thought earns there, and so it does here.
    Deviations: each tag must occur exactly once, the box must be closed, space around the whole is ignored, and what
    the chat template already wrote of the answer (an opening ``<think>``) counts as part of it. A truncated completion
    earns 0.
    """

    weight: float = 0.1
    """Share of this component in the total reward."""
    required_for_success: bool = True
    """A completion succeeds only if this component is fully earned."""
    is_accuracy: bool = False
    """Whether this component is the accuracy of the metrics."""
    require_boxed: bool = True
    r"""Ask for a closed \boxed{…} after the thought; otherwise any text there will do."""

    @override
    def __call__(self, completions: Sequence[Completion]) -> list[float | None]:
        return [float(not c.truncated and is_think_format(c.prefill + c.text, self.require_boxed)) for c in completions]


def is_think_format(text: str, require_boxed: bool = True) -> bool:
    r"""Tell whether a text is one thought followed by an answer.

    Args:
        text: A whole completion.
        require_boxed: The answer must hold a closed ``\boxed{…}``; otherwise it must not be empty.

    Returns:
        False also where a tag is repeated or something stands before the thought.

    Example:
        >>> is_think_format(r"<think>2 + 2</think> It is \boxed{4}.")
        True
        >>> is_think_format(r"Well, <think>2 + 2</think> It is \boxed{4}.")
        False
    """
    text = text.strip()
    if not text.startswith("<think>") or text.count("<think>") != 1 or text.count("</think>") != 1:
        return False
    answer = text.partition("</think>")[2]
    return last_boxed(answer) is not None if require_boxed else bool(answer.strip())
