"""How the policy answers evaluation sets."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Literal

from mapo.modules.set_entries import entry_of
from mapo.types import Sampling

Mode = Literal["greedy", "sampled"]
SUFFIX: dict[Mode, str] = {"sampled": "", "greedy": "_greedy"}
"""What the figures of a mode end in."""


@dataclass(frozen=True, kw_only=True)
class Draws:
    """How the completions of some sets are drawn; a field that is left out is as for all other sets."""

    greedy: bool | None = None
    """Answer every prompt once with the most probable tokens."""
    num_samples: int | None = None
    """Completions drawn per prompt with ``sampling``; 0 for none."""
    sampling: Sampling | None = None
    """How they are drawn, given as a whole."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How completions are drawn in validation, test and prediction; the defaults are the paper's.

    Raises:
        ValueError: Nothing would be evaluated.
    """

    greedy: bool = True
    """Answer every prompt once with the most probable tokens; metrics end in ``_greedy``."""
    num_samples: int = 1
    """Completions drawn per prompt with ``sampling``; 0 for none."""
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.5, top_p=0.95))
    """How they are drawn; its length limit holds for greedy completions, too."""
    sets: dict[str, Draws] = field(default_factory=dict)
    """What differs for some sets, by name or by pattern such as ``mathverse_*``; a name wins over a pattern, of several
    patterns the first."""
    resume: bool = True
    """Keep the answers of a ``validate``, ``test`` or ``predict`` until it is over: interrupted and started again with
    nothing changed, it samples only what is missing."""

    def __post_init__(self) -> None:
        if self.num_samples < 0 or (self.num_samples == 0 and not self.greedy):
            raise ValueError(f"evaluation needs greedy: true or num_samples >= 1, got num_samples={self.num_samples}")
        if self.num_samples and self.sampling.temperature == 0:
            raise ValueError("evaluation.sampling.temperature is 0: set num_samples: 0 and greedy: true instead")
        for key in self.sets:
            try:
                self.of(key)
            except ValueError as error:
                raise ValueError(f"evaluation.sets[{key!r}]: {error}") from error

    def of(self, set_name: str) -> "Evaluation":
        """Return how the completions of one set are drawn, with no further exceptions."""
        draws = entry_of(self.sets, set_name) or Draws()
        given = {name: value for name, value in vars(draws).items() if value is not None}
        return replace(self, sets={}, **given)

    def modes(self, set_name: str) -> Iterator[tuple[Mode, int, Sampling]]:
        """Yield each mode of a set with its completions per prompt and its sampling."""
        own = self.of(set_name)
        if own.num_samples:
            yield "sampled", own.num_samples, own.sampling
        if own.greedy:
            limit = own.sampling.max_completion_tokens
            yield "greedy", 1, Sampling(temperature=0.0, max_completion_tokens=limit)

    def check(self, set_names: Iterable[str]) -> None:
        """Refuse exceptions for sets that do not exist.

        Raises:
            ValueError: A name or pattern in ``sets`` matches none of the sets.
        """
        names = list(set_names)
        for key in self.sets:
            if key not in names and not any(fnmatchcase(name, key) for name in names):
                raise ValueError(
                    f"model.evaluation.sets has an entry for {key!r}, which matches no evaluation set; "
                    f"the sets are {', '.join(names)}"
                )
