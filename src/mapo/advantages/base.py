"""The contract of an advantage: groups of scores in, one number per completion out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from mapo.types import Phase, Scores


class Advantage(ABC):
    """How much better a completion is than the rest of its group.

    An implementation is a frozen dataclass whose fields are plain numbers, so that YAML and checkpoints can hold it. It
    is pure: the same scores and phase give the same advantages, on any number of ranks and in any order of groups.
    """

    @abstractmethod
    def __call__(self, scores: Scores, phase: Phase) -> Float[Tensor, "B G"]:
        """Return dimensionless advantages.

        Args:
            scores: This rank's groups; a row is a group.
            phase: Numbers of the whole batch, over all ranks.

        Returns:
            float32 advantages, 0 where a completion is not valid or its group has no signal.
        """

    def check_group_size(self, group_size: int) -> None:
        """Warn of a group size of which the method makes little; called once per fit, on the advantage in use alone."""
        return

    def batch_sums(self, scores: Scores) -> tuple[float, ...]:
        """Return numbers of this rank's groups that are needed summed over all ranks; none by default.

        The sums come back as ``phase.batch_sums``, in this order. Every rank must return as many.
        """
        return ()

    def branches(self, scores: Scores, phase: Phase) -> Mapping[str, Float[Tensor, "B G"]]:
        """Return the addends of the advantages by name, before any cap, for the logs; empty where there is but one."""
        return {}
