"""The contract of a reward component."""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence

from mapo.types import Completion


class Reward(ABC):
    """One component of the total reward, weighted against the others.

    An implementation is a frozen dataclass that redeclares the three fields below with its own defaults.

    Attributes:
        weight: Share of the total, >= 0; the total is sum(weight * value) / sum(weight).
        required_for_success: A completion succeeds only if every component so marked equals 1.
        is_accuracy: This component is the accuracy that metrics report; at most one of a run's components.
    """

    weight: float = 1.0
    required_for_success: bool = False
    is_accuracy: bool = False

    @property
    def name(self) -> str:
        """The class name in snake case; the key of this component in logs."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower()

    @abstractmethod
    def __call__(self, completions: Sequence[Completion]) -> Sequence[float | None]:
        """Return one value in [0, 1] per completion, in order; None where it could not be scored."""

    def answer(self, completion: Completion) -> str | None:
        """Return what this component reads as the answer, alike where it takes two answers for the same.

        Returns:
            None where the completion gives no answer, or this component reads none (the default).
        """
        return None

    def with_limit(self, max_completion_tokens: int) -> "Reward":
        """Return this component, told the length limit of the rollouts; most do not need it."""
        return self

    def close(self) -> None:
        """Release worker processes and files; called once when a run ends."""
