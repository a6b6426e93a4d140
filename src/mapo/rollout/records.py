"""Sampled ids as the records that rewards and losses read."""

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from mapo.policies.renderer import Renderer
from mapo.types import Completion, EncodedPrompt, Rollouts


def build_rollouts(
    renderer: Renderer,
    prompts: Sequence[EncodedPrompt],
    token_ids: Sequence[Int[Tensor, " T"]],
    logprobs: Sequence[Float[Tensor, " T"]],
    *,
    group_size: int,
    temperature: float,
) -> Rollouts:
    """Return the rollouts of B prompts from a flat list of B x G completions, prompt after prompt.

    Args:
        renderer: Decodes the completions and knows what ends one.
        prompts: B prompts.
        token_ids: Completions as sampled; one that does not close with an end-of-sequence id is truncated.
        logprobs: The sampler's, per token.
        group_size: G.
        temperature: Of the sampler; 0 (greedy) is recorded as 1.
    """
    completions = [
        Completion(
            prompt=prompts[row // group_size].prompt,
            prefill=prompts[row // group_size].prefill,
            text=renderer.decode(ids),
            token_ids=ids,
            truncated=len(ids) == 0 or int(ids[-1]) not in renderer.eos_ids,
        )
        for row, ids in enumerate(token_ids)
    ]
    starts = range(0, len(completions), group_size)
    return Rollouts(
        prompts=tuple(prompts),
        completions=tuple(tuple(completions[start : start + group_size]) for start in starts),
        sampling_logprobs=tuple(tuple(logprobs[start : start + group_size]) for start in starts),
        temperature=temperature or 1.0,
    )
