"""Credit for staying short of the length limit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from typing_extensions import override

from mapo.rewards.base import Reward
from mapo.types import Completion


@dataclass(frozen=True)
class LengthCredit(Reward):
    """1 up to ``limit - buffer`` tokens, falling linearly to 0 at ``limit``.

    Source: the soft overlong punishment of DAPO, section 3.4 (https://arxiv.org/abs/2503.14476), plus 1: written as
    earned credit, since rewards lie in [0, 1] here.

    Raises:
        ValueError: When ``limit`` is below 1 or ``buffer`` lies outside [0, limit].
    """

    weight: float
    """Share of this component in the total reward; DAPO's is half of the accuracy's."""
    limit: int | None = None
    """Tokens at which no credit is left (DAPO: 20480); the rollouts' max_completion_tokens when null."""
    buffer: int | None = None
    """Tokens over which the credit falls from 1 to 0 (DAPO: 4096); a fifth of the limit, as there, when null; 0 cuts it
    off behind the limit."""
    required_for_success: bool = False
    """A completion succeeds only if this component is fully earned."""
    is_accuracy: bool = False
    """Whether this component is the accuracy of the metrics."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be >= 1 token, got {self.limit}")
        if self.buffer is not None and not 0 <= self.buffer <= (self.buffer if self.limit is None else self.limit):
            raise ValueError(f"buffer must lie in [0, limit] = [0, {self.limit}] tokens, got {self.buffer}")

    @override
    def with_limit(self, max_completion_tokens: int) -> "LengthCredit":
        """Return this component with the limit filled in where it was None."""
        return self if self.limit is not None else replace(self, limit=max_completion_tokens)

    @override
    def __call__(self, completions: Sequence[Completion]) -> list[float | None]:
        if self.limit is None:
            raise ValueError(
                "limit is None: give it, or call with_limit with the rollouts' max_completion_tokens first"
            )
        limit, buffer = self.limit, self.limit // 5 if self.buffer is None else self.buffer
        return [length_credit(len(c.token_ids), limit=limit, buffer=buffer) for c in completions]


def length_credit(length: int, *, limit: int, buffer: int) -> float:
    """Return the credit of a completion's length.

    c = 1 for n ≤ L - b, max(0, (L - n) / b) for longer ones.

    Args:
        length: n, tokens of the completion, the end-of-sequence token included.
        limit: L, in tokens.
        buffer: b, in tokens; with 0 the credit is 1 up to and at the limit, and 0 behind it.

    Returns:
        Credit in [0, 1].

    Example:
        >>> [length_credit(n, limit=100, buffer=20) for n in (80, 90, 100)]
        [1.0, 0.5, 0.0]
    """
    if length <= limit - buffer:
        return 1.0
    return max(0.0, (limit - length) / buffer) if buffer else 0.0
