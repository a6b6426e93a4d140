"""Rows cut into micro-batches by the tokens that one forward and backward pass may hold."""

import bisect
import heapq
import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from mapo.policies.packing import packed_length
from mapo.types import EncodedPrompt

Row = tuple[EncodedPrompt, int]
"""A prompt, and how many tokens its completion has."""


def even_micro_batches(
    steps: Sequence[Sequence[Row]],
    *,
    max_tokens: int,
    shares_prefix: bool,
    max_over_ranks: Callable[[Int[Tensor, " S"]], Int[Tensor, " S"]],
) -> list[list[list[int]]]:
    """Cut the rows of S optimizer steps into micro-batches, as many on every rank.

    Args:
        steps: This rank's rows of every step, at least one each.
        max_tokens: As in ``micro_batches``.
        shares_prefix: As in ``micro_batches``.
        max_over_ranks: Returns the largest of each number over all ranks.

    Returns:
        For every step the rows of each micro-batch. An empty one stands for a forward and backward pass that this rank
        has no rows for and takes all the same: others wait for it.
    """

    def cut(rows: Sequence[Row], at_least: int) -> list[list[int]]:
        return micro_batches(rows, max_tokens=max_tokens, shares_prefix=shares_prefix, at_least=at_least)

    needed = torch.tensor([len(cut(rows, 1)) for rows in steps])
    wanted = max_over_ranks(needed).tolist()
    parts = [cut(rows, num) for rows, num in zip(steps, wanted, strict=True)]
    return [step + [[]] * (num - len(step)) for step, num in zip(parts, wanted, strict=True)]


def micro_batches(rows: Sequence[Row], *, max_tokens: int, shares_prefix: bool, at_least: int = 1) -> list[list[int]]:
    """Cut rows into as few micro-batches as hold them, all about equally full, the fullest one first.

    Args:
        rows: In any order.
        max_tokens: Most tokens of a micro-batch.
        shares_prefix: How tokens count. True: a prompt once for all of its rows (those with the same object), which
            stay together, or in as few slices as fit. False: every row as the longest one of its micro-batch.
        at_least: Make so many, if fewer would do and the rows can be cut so often.

    Returns:
        Indices of the rows; each comes once.

    Raises:
        ValueError: A row alone has too many tokens; its sample is named.

    Example:
        >>> from mapo.types import Prompt
        >>> prompts = [EncodedPrompt(Prompt("", (), (), "", {}), torch.zeros(10), {}, "") for _ in range(2)]
        >>> rows = [(prompt, length) for prompt in prompts for length in (5, 9)]
        >>> micro_batches(rows, max_tokens=40, shares_prefix=True)
        [[1, 0], [3, 2]]
        >>> micro_batches(rows, max_tokens=60, shares_prefix=False)
        [[1, 3], [0, 2]]
    """
    for prompt, completion_length in rows:
        check_row(prompt.prompt.sample_id, len(prompt.input_ids), completion_length, max_tokens)
    return (_packed if shares_prefix else _padded)(rows, max_tokens, at_least)


def check_row(sample_id: str, prompt_length: int, completion_length: int, max_tokens: int) -> None:
    """Refuse a row that no micro-batch can hold.

    Args:
        sample_id: Of the prompt.
        prompt_length: Tokens of the prompt.
        completion_length: Tokens of the completion, or the most that it may have.
        max_tokens: Most tokens of a micro-batch.

    Raises:
        ValueError: It is too long; the message names the sample, its length and the fix.
    """
    tokens = prompt_length + completion_length
    if tokens > max_tokens:
        raise ValueError(
            f"sample {sample_id!r} takes {prompt_length} tokens of prompt + {completion_length} of completion = "
            f"{tokens}, more than max_tokens_per_micro_batch={max_tokens}; raise it to {tokens} or more if the memory "
            "allows it, or keep prompts (policy.max_prompt_tokens) or completions shorter"
        )


def _packed(rows: Sequence[Row], max_tokens: int, at_least: int) -> list[list[int]]:
    groups: dict[int, list[int]] = {}
    for index, (prompt, _) in enumerate(rows):
        groups.setdefault(id(prompt), []).append(index)
    slices = [piece for group in groups.values() for piece in _slices(rows, group, max_tokens)]
    tokens = [packed_length(len(rows[piece[0]][0].input_ids), [rows[i][1] for i in piece]) for piece in slices]
    packs = _fewest(tokens, max_tokens, at_least)
    packs.sort(key=lambda pack: -sum(tokens[piece] for piece in pack))
    return [[row for piece in pack for row in slices[piece]] for pack in packs]


def _slices(rows: Sequence[Row], group: Sequence[int], max_tokens: int) -> list[list[int]]:
    room = max_tokens - len(rows[group[0]][0].input_ids)
    parts = _fewest([packed_length(0, [rows[index][1]]) for index in group], room, 1)
    return [[group[place] for place in part] for part in parts]


def _padded(rows: Sequence[Row], max_tokens: int, at_least: int) -> list[list[int]]:
    if not rows:
        return []
    lengths = [len(prompt.input_ids) + completion_length for prompt, completion_length in rows]
    order = sorted(range(len(rows)), key=lambda index: -lengths[index])
    num = max(len(_runs(order, lengths, max_tokens)), min(at_least, len(rows)))
    longest = lengths[order[0]]
    # The smallest budget that needs no more of them makes them equally full.
    budgets = range(longest, max_tokens)
    place = bisect.bisect_left(budgets, True, key=lambda budget: len(_runs(order, lengths, budget)) <= num)
    parts = _runs(order, lengths, longest + place)
    return sorted(parts, key=lambda part: -len(part) * lengths[part[0]])


def _runs(order: Sequence[int], lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Cut rows, the longest one first, into runs whose padded size stays within the budget."""
    runs, start = [], 0
    while start < len(order):
        stop = start + max_tokens // lengths[order[start]]
        runs.append(list(order[start:stop]))
        start = stop
    return runs


def _fewest(sizes: Sequence[int], capacity: int, at_least: int) -> list[list[int]]:
    """Return the fewest even bins that hold items of these sizes, each of which fits into one."""
    num = max(at_least, 1, math.ceil(sum(sizes) / max(capacity, 1)))
    bins = _spread(sizes, min(num, len(sizes)))
    while len(bins) < len(sizes) and max(sum(sizes[item] for item in content) for content in bins) > capacity:
        bins = _spread(sizes, len(bins) + 1)
    return bins


def _spread(sizes: Sequence[int], num: int) -> list[list[int]]:
    """Put the largest item into the emptiest of so many bins, then the next one, until none is left."""
    bins: list[list[int]] = [[] for _ in range(num)]
    emptiest = [(0, 0, place) for place in range(num)]
    for item in sorted(range(len(sizes)), key=lambda item: -sizes[item]):
        used, count, place = emptiest[0]
        bins[place].append(item)
        heapq.heapreplace(emptiest, (used + sizes[item], count + 1, place))
    return bins
