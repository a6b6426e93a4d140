"""The contract of a policy loss: token quantities in, one loss per token out."""

from abc import ABC, abstractmethod
from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor


class PolicyLoss(ABC):
    """The per-token surrogate; how tokens are summed is the aggregation's business, so that sums stay exact."""

    zero_without_advantage: ClassVar[bool] = False
    """Whether loss and gradient are 0 where the advantage is: groups of such completions then need not be run."""

    @abstractmethod
    def __call__(
        self,
        logprobs: Float[Tensor, "N T"],
        old_logprobs: Float[Tensor, "N T"],
        advantages: Float[Tensor, " N"],
        completion_mask: Bool[Tensor, "N T"],
    ) -> tuple[Float[Tensor, "N T"], dict[str, Float[Tensor, "N T"]]]:
        """Return the loss of every token, and per-token statistics for the logs.

        Args:
            logprobs: Of the current policy, with gradient, in nats.
            old_logprobs: Of the policy that sampled, detached, in nats.
            advantages: One per completion, broadcast over its tokens.
            completion_mask: True at trained tokens; a completion is never split over calls.

        Returns:
            The loss per token, 0 where masked, and detached statistics by name to be averaged over trained tokens.
        """
