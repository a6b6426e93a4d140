"""The contract of a rollout engine: prompts in, groups of completions out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from mapo.policies.model import PolicyModel
from mapo.policies.renderer import Renderer
from mapo.types import EncodedPrompt, Rollouts, Sampling


class RolloutError(RuntimeError):
    """An engine broke down while it was asked for completions; the policy is as it was before."""


class RolloutEngine(ABC):
    """Samples groups of completions from a policy.

    An implementation is a light recipe (plain fields); what it needs at run time it builds on first use.
    """

    copies_weights: ClassVar[bool] = False
    """Whether it samples with weights of its own, which can go stale: the second phase is then checked, too."""

    @abstractmethod
    def generate(
        self,
        policy: PolicyModel,
        prompts: Sequence[EncodedPrompt],
        *,
        group_size: int,
        sampling: Sampling,
        streams: Sequence[int],
    ) -> Rollouts:
        """Return ``group_size`` completions of every prompt, in the prompts' order.

        Args:
            policy: Sampled in eval mode without gradients; its mode is restored afterwards.
            prompts: B prompts.
            group_size: G completions per prompt.
            sampling: Temperature, top-p, top-k, length limit; the policy's banned ids are never sampled.
            streams: One 64-bit key per prompt (``mapo.functional.noise.stream_key``). The noise of a token is a hash of
                its prompt's key, the completion's index and the token's position, so the layout of a batch changes
                nothing.
        """

    def check(self, renderer: Renderer, samplings: Sequence[Sampling]) -> None:
        """Refuse, before any weight is loaded, what this engine cannot do or what it lacks.

        Args:
            renderer: The policy's.
            samplings: All ways in which the run is going to draw completions.
        """

    def reports_logprobs(self, sampling: Sampling) -> bool:
        """Return whether the log-probs of completions drawn in this way are known; NaN stands for them otherwise."""
        return True

    def rest(self) -> None:
        """Give back memory until the next ``generate``; called when no other follows soon, on every rank alike."""

    def close(self) -> None:
        """Release processes and memory; called once when a run ends."""
