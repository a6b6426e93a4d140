"""How many completions decode at once: planned from the memory that is free, never guessed."""

from collections.abc import Sequence
from dataclasses import dataclass

from mapo.types import EncodedPrompt

_ROWS_ON_CPU = 128
DRAW_BYTES = 48  # of every token of the vocabulary: logits, law, weights, and their sums in double precision
SPARE = 0.1  # of the free memory, for what the allocator cannot use


@dataclass(frozen=True)
class Capacity:
    """What is decoded at the same time.

    Attributes:
        rows: Completions.
        prompts: Prompts whose keys and values are kept for them.
        prefill_tokens: Prompts pass through the model together up to so many tokens, padding included; a longer prompt
            does so alone.
    """

    rows: int
    prompts: int
    prefill_tokens: int = 16_384


@dataclass(frozen=True)
class Footprint:
    """What a model needs, measured on one prompt.

    Attributes:
        cache_bytes: Keys and values of one token.
        prefill_bytes: For one token of a prompt while it passes through the model.
        vocabulary: V.
        shared: Whether the completions of a prompt share its keys and values.
    """

    cache_bytes: int
    prefill_bytes: int
    vocabulary: int
    shared: bool


def plan(
    prompts: Sequence[EncodedPrompt],
    *,
    group_size: int,
    completion_tokens: int,
    max_rows: int | None,
    footprint: Footprint,
    free_bytes: int | None,
) -> Capacity:
    """Return how much is decoded at once; what does not fit waits until rows have ended.

    Every row is given room for a completion of the full length and every prompt for the longest one, so that a rollout
    that began cannot run out of memory. Up to twice the prompts that fill the rows are kept, since the last rows of
    one prompt go on beside the first rows of others.

    Args:
        prompts: All.
        group_size: G.
        completion_tokens: The most tokens of a completion.
        max_rows: More rows are never decoded at once; None: 128 on the CPU, elsewhere as many as fit.
        footprint: Of the model.
        free_bytes: Of the device; None on the CPU, whose memory is not planned.

    Raises:
        ValueError: Not even one completion of the longest prompt fits.
    """
    num, longest = len(prompts), max(prompts, key=lambda prompt: len(prompt.input_ids))
    prompt_tokens = len(longest.input_ids)
    most = min(num * group_size, max_rows or (_ROWS_ON_CPU if free_bytes is None else num * group_size))

    together = Capacity.prefill_tokens
    if free_bytes is not None and footprint.prefill_bytes:
        together = max(prompt_tokens, min(together, free_bytes // 4 // footprint.prefill_bytes))

    def capacity(rows: int) -> Capacity:
        return Capacity(rows, min(num, rows, 2 * -(-rows // group_size)), together)

    def needed(wanted: Capacity) -> int:
        copies = wanted.prompts if footprint.shared else wanted.rows
        tokens = copies * prompt_tokens + wanted.rows * completion_tokens
        return tokens * footprint.cache_bytes + wanted.rows * footprint.vocabulary * DRAW_BYTES

    if free_bytes is None:
        return capacity(most)
    left = int(free_bytes * (1 - SPARE)) - min(together, num * prompt_tokens) * footprint.prefill_bytes
    for rows in range(most, 0, -1):
        if needed(capacity(rows)) <= left:
            return capacity(rows)
    raise ValueError(
        f"one completion of sample {longest.prompt.sample_id!r} ({prompt_tokens} prompt tokens and up to "
        f"{completion_tokens} more) takes {needed(capacity(1)) / 2**30:.2f} GiB, and {max(left, 0) / 2**30:.2f} GiB of "
        "the device are free; lower max_completion_tokens or max_prompt_tokens, or use a device with more memory"
    )
