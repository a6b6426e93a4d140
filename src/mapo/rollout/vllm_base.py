"""What both ways to sample with vLLM have in common."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from typing_extensions import override

from mapo.policies.model import PolicyModel
from mapo.rollout.base import RolloutEngine
from mapo.rollout.records import build_rollouts
from mapo.rollout.vllm_requests import Answer, Request, build_requests, read_groups, reports_logprobs
from mapo.types import EncodedPrompt, Rollouts, Sampling


class RequestEngine(RolloutEngine):
    """Puts one request per prompt to a vLLM with weights of its own.

    vLLM draws its own noise from one seed per prompt: unlike ``TransformersEngine`` it promises no equal completions on
    other numbers of ranks. With top-p or top-k it reports the log-probs of a truncated law, which are of no use to
    anyone; NaN stands for them, and the policy's own, which are computed anyway, are all that training then has.
    """

    copies_weights: ClassVar[bool] = True

    @abstractmethod
    def answer(
        self, policy: PolicyModel, requests: Sequence[Request], *, max_completion_tokens: int
    ) -> list[list[Answer]]:
        """Return the completions of every request, sampled with the policy's weights.

        Args:
            policy: As given to ``generate``.
            requests: One per prompt.
            max_completion_tokens: Of each of them.
        """

    @override
    def reports_logprobs(self, sampling: Sampling) -> bool:
        return reports_logprobs(sampling)

    @override
    def generate(
        self,
        policy: PolicyModel,
        prompts: Sequence[EncodedPrompt],
        *,
        group_size: int,
        sampling: Sampling,
        streams: Sequence[int],
    ) -> Rollouts:
        renderer = policy.renderer
        requests = build_requests(renderer, prompts, group_size=group_size, sampling=sampling, streams=streams)
        answers = self.answer(policy, requests, max_completion_tokens=sampling.max_completion_tokens)
        token_ids, logprobs = read_groups(requests, answers, known=reports_logprobs(sampling))
        return build_rollouts(
            renderer, prompts, token_ids, logprobs, group_size=group_size, temperature=sampling.temperature
        )
