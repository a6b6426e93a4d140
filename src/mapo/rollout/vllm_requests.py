"""What vLLM is asked for one prompt, in process and over HTTP alike, and how its answer is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from mapo.policies.images import open_image
from mapo.policies.renderer import Renderer
from mapo.types import EncodedPrompt, Sampling

MAX_BANNED_IDS = 1024  # what vLLM's sampler for GPUs takes as logit_bias
_BAN = -1e9  # JSON has no infinity; the log-probs of the other tokens are the same as with one


@dataclass(frozen=True)
class Request:
    """One prompt and how its group is drawn.

    Attributes:
        prompt: As the policy reads it.
        token_ids: As vLLM takes it: one placeholder per picture, which its own processor expands.
        images: Decoded pictures, in order.
        sampling: Names and values that ``SamplingParams`` and the HTTP interface share.
        copies: How often the answer counts: G for greedy decoding, of which vLLM gives one completion alone.
    """

    prompt: EncodedPrompt
    token_ids: list[int]
    images: list[Image.Image]
    sampling: dict[str, Any]
    copies: int


@dataclass(frozen=True)
class Answer:
    """One completion as vLLM sampled it.

    Attributes:
        token_ids: With the token that ended it.
        logprobs: Of these tokens, in nats, under the law they were drawn from.
    """

    token_ids: Int[Tensor, " T"]
    logprobs: Float[Tensor, " T"]


def reports_logprobs(sampling: Sampling) -> bool:
    """Return whether vLLM's log-probs are those of the whole law.

    ``processed_logprobs`` come after temperature, bans, top-k and top-p, ``raw_logprobs`` before all of them: with a
    truncated law neither is log_softmax(logits / T) over the allowed tokens.
    """
    return sampling.top_p == 1 and sampling.top_k == 0


def build_requests(
    renderer: Renderer,
    prompts: Sequence[EncodedPrompt],
    *,
    group_size: int,
    sampling: Sampling,
    streams: Sequence[int],
) -> list[Request]:
    """Return one request per prompt.

    Raises:
        ValueError: There is not one stream per prompt.
    """
    if len(streams) != len(prompts):
        raise ValueError(f"generate needs one stream per prompt, got {len(streams)} for {len(prompts)} prompts")
    num = group_size if sampling.temperature > 0 else 1
    shared = {
        "n": num,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "max_tokens": sampling.max_completion_tokens,
        # What ends a completion is the policy's to say, not the checkpoint's.
        "ignore_eos": True,
        "stop_token_ids": list(renderer.eos_ids),
        "logit_bias": dict.fromkeys(renderer.banned_ids, _BAN),
    }
    return [
        Request(
            prompt=prompt,
            token_ids=renderer.unexpanded_ids(prompt.prompt) if prompt.prompt.images else prompt.input_ids.tolist(),
            images=[open_image(image) for image in prompt.prompt.images],
            sampling=shared | {"seed": seed_of(stream, group_size)},
            copies=group_size // num,
        )
        for prompt, stream in zip(prompts, streams, strict=True)
    ]


def seed_of(stream: int, group_size: int) -> int:
    """Return the seed of a prompt's first completion; vLLM gives completion i the seed + i.

    A multiple of G below 2⁶², so that two prompts never share the seed of any completion.

    Example:
        >>> seed_of(-1, 12) % 12, seed_of(7, 12)
        (0, 84)
    """
    return stream % (2**62 // group_size) * group_size


def check_expanded(request: Request, token_ids: Sequence[int] | None) -> None:
    """Compare the prompt as vLLM expanded it with the policy's.

    Raises:
        ValueError: They differ, so that completions would continue something else than what is scored.
    """
    own = request.prompt.input_ids.tolist()
    if token_ids is None or list(token_ids) == own:
        return
    raise ValueError(
        f"vLLM reads sample {request.prompt.prompt.sample_id!r} as {len(token_ids)} tokens, the policy as {len(own)}: "
        "their chat template or the size of their pictures differs; compare model.policy.min_pixels and max_pixels "
        "with what the engine was given"
    )


def read_groups(
    requests: Sequence[Request], answers: Sequence[Sequence[Answer]], *, known: bool
) -> tuple[list[Int[Tensor, " T"]], list[Float[Tensor, " T"]]]:
    """Return token ids and log-probs of all completions, prompt after prompt.

    Args:
        requests: What was asked.
        answers: Of every request, in order.
        known: Whether the log-probs are those of the whole law; NaN stands for them otherwise.
    """
    flat = [a for request, group in zip(requests, answers, strict=True) for a in group for _ in range(request.copies)]
    logprobs = [answer.logprobs if known else torch.full_like(answer.logprobs, torch.nan) for answer in flat]
    return [answer.token_ids for answer in flat], logprobs
