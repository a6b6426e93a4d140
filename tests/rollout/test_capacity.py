import pytest
import torch

from mapo.rollout.capacity import Capacity, Footprint, plan
from mapo.types import EncodedPrompt, Prompt

FOOTPRINT = Footprint(cache_bytes=100, prefill_bytes=50, vocabulary=10, shared=True)


def prompts(*lengths):
    return [
        EncodedPrompt(Prompt(f"row-{i}", (), (), "", {}), torch.zeros(length, dtype=torch.int64), {}, "")
        for i, length in enumerate(lengths)
    ]


def planned(lengths, *, free_bytes, max_rows=None, footprint=FOOTPRINT, group_size=4, completion_tokens=20):
    return plan(
        prompts(*lengths),
        group_size=group_size,
        completion_tokens=completion_tokens,
        max_rows=max_rows,
        footprint=footprint,
        free_bytes=free_bytes,
    )


def test_all_that_fits_by_hand():
    # 8 rows x (20 tokens x 100 B + 10 x 48 B) + 2 prompts x 30 tokens x 100 B + 2 x 30 tokens x 50 B of prefill.
    needed = 8 * 2480 + 6000 + 3000
    assert planned((30, 20), free_bytes=int(needed / 0.9) + 2) == Capacity(8, 2, prefill_tokens=160)
    assert planned((30, 20), free_bytes=int(needed / 0.9) - 1).rows == 7


def test_copies_of_the_prompt_in_every_row_take_more():
    shared, copied = (Footprint(100, 50, 10, shared=shared) for shared in (True, False))
    free = 200_000
    few, many = (planned((100,) * 50, free_bytes=free, footprint=one).rows for one in (copied, shared))
    left = 0.9 * free - 1000 * 50  # a quarter of the memory for prompts on their way
    assert few == left // (10_000 + 2480) == 10
    assert many == 16  # 8 prompts; one row more would need 10


def test_memory_is_never_exceeded_and_always_used():
    def needed(rows, prompts, together):
        return prompts * 10_000 + rows * 2480 + min(together, 3000) * 50

    for free in range(30_000, 2_000_000, 30_011):
        found = planned((100, 60, 20) * 10, free_bytes=free)
        assert found.prompts == min(30, found.rows, 2 * -(-found.rows // 4))
        assert needed(found.rows, found.prompts, found.prefill_tokens) <= 0.9 * free
        more = found.rows + 1
        assert more > 120 or needed(more, min(30, more, 2 * -(-more // 4)), found.prefill_tokens) > 0.9 * free


@pytest.mark.parametrize(("max_rows", "rows"), [(None, 120), (10, 10), (1, 1), (500, 120)])
def test_limit_of_rows(max_rows, rows):
    assert planned((5,) * 30, free_bytes=10**9, max_rows=max_rows).rows == rows
    assert planned((5,) * 30, free_bytes=None, max_rows=max_rows).rows == rows
    assert planned((5,) * 100, free_bytes=None).rows == 128


def test_there_are_always_prompts_for_the_rows():
    for group_size in (1, 3, 8):
        for rows in range(1, 30):
            found = planned((5,) * 10, free_bytes=None, max_rows=rows, group_size=group_size)
            # Rows that begin in the midst of a group reach over one more prompt.
            assert found.prompts >= min(10, -(-(rows - 1) // group_size) + (group_size > 1))


def test_prompt_that_cannot_fit_is_named():
    with pytest.raises(ValueError, match=r"sample 'row-1' \(5000 prompt tokens and up to 20 more\).*lower"):
        planned((30, 5000, 20), free_bytes=400_000)
