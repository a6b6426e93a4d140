"""Records that travel through a phase, and the legend of their shapes.

Shape legend, used in every signature of the package:
    B  prompts of this rank          G  completions per prompt (``group_size``)      N  rows, a flat list of completions
    P  tokens of one prompt          T  tokens of one completion (padded: longest)   V  vocabulary
A *group* is the G completions of one prompt; it is a row of every ``[B, G]`` tensor and never spans two ranks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor


class Prompt(NamedTuple):
    """One raw row of a data set: what is asked, and what is right; a NamedTuple, as Lightning's batch transfer wants.

    Attributes:
        sample_id: Identifies the row inside its data set, the same in every run; groups and figures go by it.
        messages: Chat messages, ``{"role": ..., "content": ...}``, the content a text or a list of parts
            ``{"type": "text", "text": ...}`` and ``{"type": "image"}``; an image part stands for the next picture.
        images: Pictures in order: PIL images, file paths, or ``{"bytes": ..., "path": ...}`` as ``datasets`` has them.
        answer: The right answer as the data set writes it.
        metadata: Further columns by name (choices, subject, level, the data set's own id).
    """

    sample_id: str
    messages: tuple[Mapping[str, Any], ...]
    images: tuple[Any, ...]
    answer: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        temperature: Divides the logits before the softmax; 0 is greedy decoding.
        top_p: Keep the smallest set of tokens whose probability reaches this; 1 keeps all.
        top_k: Keep the k most probable tokens; 0 keeps all.
        max_completion_tokens: A completion that reaches this many tokens without an end is recorded as truncated.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_completion_tokens: int = 2048

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError(f"temperature must be >= 0 (0 is greedy), got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must lie in (0, 1], got {self.top_p}")
        if self.top_k < 0:
            raise ValueError(f"top_k must be >= 0 (0 keeps all tokens), got {self.top_k}")
        if self.max_completion_tokens < 1:
            raise ValueError(f"max_completion_tokens must be >= 1, got {self.max_completion_tokens}")


@dataclass(frozen=True)
class EncodedPrompt:
    r"""A prompt as the policy reads it.

    Attributes:
        prompt: The raw row.
        input_ids: Token ids, image placeholders already expanded to one token per image feature.
        features: What else the processor returned for this one prompt: sequence-aligned tensors of shape ``[1, P]``
            (``mm_token_type_ids``) and flat ones whose first dimension counts patches or images (``pixel_values``,
            ``image_grid_thw``). Empty for a text model.
        prefill: What the chat template wrote after the last message's header, e.g. ``"<think>\n"``: the completion
            continues it. Empty for most templates.
    """

    prompt: Prompt
    input_ids: Int[Tensor, " P"]
    features: Mapping[str, Tensor]
    prefill: str


@dataclass(frozen=True)
class Completion:
    r"""One sampled answer, as a reward sees it.

    Attributes:
        prompt: The raw row that was asked.
        prefill: What the chat template had already written of the answer, e.g. ``"<think>\n"``.
        text: The decoded completion without special tokens.
        token_ids: The sampled ids as they are, the end-of-sequence token included when one was sampled.
        truncated: True when sampling stopped at ``max_completion_tokens`` without an end-of-sequence token.
    """

    prompt: Prompt
    prefill: str
    text: str
    token_ids: Int[Tensor, " T"]
    truncated: bool


@dataclass(frozen=True)
class Rollouts:
    """The sampled groups of one phase on this rank.

    Attributes:
        prompts: B encoded prompts.
        completions: B groups of G completions, ragged in length.
        sampling_logprobs: As ``completions``: log-probability in nats of every sampled token under the engine's
            log_softmax(logits / T) over the allowed tokens, before top-p and top-k. NaN where the engine cannot tell,
            as vLLM with a truncated law.
        temperature: The T of that law; scoring reads it from here. Greedy decoding records 1.
    """

    prompts: tuple[EncodedPrompt, ...]
    completions: tuple[tuple[Completion, ...], ...]
    sampling_logprobs: tuple[tuple[Float[Tensor, " T"], ...], ...]
    temperature: float


@dataclass(frozen=True)
class Scores:
    """What the rewards said of the completions; a row is a group.

    Attributes:
        rewards: Weighted mean of the components, in [0, 1]; 0 where not valid.
        success: True where every component marked ``required_for_success`` is fully earned (equals 1).
        accuracy: The component marked ``is_accuracy``, in [0, 1]; success where no component is.
        valid: False where a component could not be scored; such a completion is out of its group's statistics.
        components: Each component's values by name; NaN where it returned None.
    """

    rewards: Float[Tensor, "B G"]
    success: Bool[Tensor, "B G"]
    accuracy: Float[Tensor, "B G"]
    valid: Bool[Tensor, "B G"]
    components: Mapping[str, Float[Tensor, "B G"]]


@dataclass(frozen=True)
class Phase:
    """What an advantage may know of the phase beyond its own groups, identical on any number of ranks.

    Attributes:
        index: Rollout phases finished before this one.
        seed: The run's seed, for advantages that draw random numbers by hashing (seed, index, sample id).
        sample_ids: Sample id of every row of the scores, this rank's.
        num_groups: Groups of the phase over all ranks.
        num_active_groups: Those over all ranks whose valid rewards are not all equal.
        batch_sums: What ``Advantage.batch_sums`` returned, summed over all ranks.
    """

    index: int
    seed: int
    sample_ids: tuple[str, ...]
    num_groups: int
    num_active_groups: int
    batch_sums: tuple[float, ...] = ()


class TokenScores(NamedTuple):
    """Per-token quantities of N completions, right-padded with zeros to the longest, in nats.

    Attributes:
        logprobs: log_softmax(logits / T) over the allowed tokens, at the completion's tokens; float32.
        entropy: Entropy of that law at the same positions, detached; None unless asked for.
    """

    logprobs: Float[Tensor, "N T"]
    entropy: Float[Tensor, "N T"] | None
