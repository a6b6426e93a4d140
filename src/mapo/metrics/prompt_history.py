"""How hard every prompt was when it was first seen, and how hard it is now."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from mapo.functional.success_bins import BINS, MASTERED


class Sightings(NamedTuple):
    """What is remembered of a prompt that was seen in training.

    Attributes:
        times: How often it was seen.
        first: Index into ``BINS`` when it was seen first.
        latest: When it was seen last.
        mastered: Whether more than two thirds of its completions have ever succeeded in a phase.
    """

    times: int
    first: int
    latest: int
    mastered: bool

    def then(self, now: int) -> "Sightings":
        """Return what is to be remembered after the prompt was seen again."""
        return Sightings(self.times + 1, self.first, now, self.mastered or now >= MASTERED)


class PromptHistory:
    """Follows prompts by their sample ids.

    Args:
        max_prompts: Most prompts to follow: the first ones that come. A checkpoint holds some 50 bytes of each.
    """

    def __init__(self, max_prompts: int) -> None:
        self.max_prompts = max_prompts
        self._seen: dict[str, Sightings] = {}

    def see(self, prompts: Iterable[tuple[str, int]]) -> float:
        """Take in the prompts of a phase and their bins, and return how many mastered ones are still mastered.

        Returns:
            Of the prompts that were mastered in an earlier phase, the share that is mastered now; NaN without any.

        Example:
            >>> history = PromptHistory(max_prompts=10)
            >>> history.see([("a", BINS.index("most")), ("b", BINS.index("all")), ("c", BINS.index("few"))])
            nan
            >>> history.see([("a", BINS.index("half")), ("b", BINS.index("most")), ("c", BINS.index("all"))])
            0.5
        """
        kept = []
        for sample_id, now in prompts:
            if sample_id not in self._seen and len(self._seen) >= self.max_prompts:
                continue
            before = self._seen.get(sample_id, Sightings(times=0, first=now, latest=now, mastered=False))
            if before.mastered:
                kept.append(now >= MASTERED)
            self._seen[sample_id] = before.then(now)
        return sum(kept) / len(kept) if kept else math.nan

    def migration(self) -> list[list[int]]:
        """Return how many prompts went from which bin (row, when first seen) to which (column, when last seen).

        Prompts that were seen once went nowhere and are not counted.

        Example:
            >>> history = PromptHistory(max_prompts=10)
            >>> _ = history.see([("a", 0), ("b", 0)]), history.see([("a", 2)]), history.see([("a", 4)])
            >>> history.migration()
            [[0, 0, 0, 0, 1], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
        """
        moves = [[0] * len(BINS) for _ in BINS]
        for prompt in self._seen.values():
            moves[prompt.first][prompt.latest] += prompt.times > 1
        return moves

    def state_dict(self) -> dict[str, Any]:
        """Return what is remembered in plain values."""
        return {sample_id: list(sightings) for sample_id, sightings in self._seen.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` returned."""
        self._seen = {sample_id: Sightings(*values) for sample_id, values in state.items()}
