from dataclasses import replace

import pytest
import torch

from mapo.functional.success_bins import BINS
from mapo.modules.experience import Experience
from mapo.types import Completion, EncodedPrompt, Prompt, Rollouts, Scores


def rollouts(lengths: list[list[int]]) -> Rollouts:
    """Groups whose completion g of prompt b has ids [10 b + g] * length."""
    prompts = tuple(
        EncodedPrompt(Prompt(f"row-{b}", (), (), "", {}), torch.zeros(3, dtype=torch.int64), {}, "")
        for b in range(len(lengths))
    )
    completions = tuple(
        tuple(Completion(p.prompt, "", "", torch.full((n,), 10 * b + g), False) for g, n in enumerate(row))
        for b, (p, row) in enumerate(zip(prompts, lengths, strict=True))
    )
    sampled = tuple(tuple(-torch.ones(n) for n in row) for row in lengths)
    return Rollouts(prompts, completions, sampled, 1.0)


def scores(valid: list[list[bool]]) -> Scores:
    mask = torch.tensor(valid)
    return Scores(mask.float(), mask, mask.float(), mask, {})


LENGTHS = [[1, 4], [2, 2], [5, 3], [1, 1]]


@pytest.fixture
def experience() -> Experience:
    valid = [[True, True], [True, False], [True, True], [True, True]]
    return Experience.from_groups(rollouts(LENGTHS), scores(valid), torch.arange(8.0).reshape(4, 2))


def identities(rows: Experience) -> list[tuple[str, float]]:
    return [(p.prompt.sample_id, a) for p, a in zip(rows.prompts, rows.advantages.tolist(), strict=True)]


def test_advantages_stay_with_their_rows_through_every_cut(experience):
    for part in experience.mini_batches(2):
        for rows in (part.select([3, 0, 2]), part.select([1])):
            for prompt, ids, advantage in zip(rows.prompts, rows.token_ids, rows.advantages.tolist(), strict=True):
                b, g = int(advantage) // 2, int(advantage) % 2
                assert prompt.prompt.sample_id == f"row-{b}"
                assert ids.tolist() == [10 * b + g] * LENGTHS[b][g]


def test_mini_batch_k_holds_the_same_prompts_on_one_rank_or_two(experience):
    """Rank r of W holds prompts r, r+W, ...; its k-th part must be its share of the global k-th part."""
    lengths, whole = LENGTHS, experience
    parts = [{name for name, _ in identities(part)} for part in whole.mini_batches(2)]
    for rank in range(2):
        local = [b for b in range(4) if b % 2 == rank]
        valid = [[True, True]] * 2
        mine = Experience.from_groups(rollouts([lengths[b] for b in local]), scores(valid), torch.zeros(2, 2))
        for k, part in enumerate(mine.mini_batches(2)):
            names = {f"row-{local[int(name.split('-')[1])]}" for name, _ in identities(part)}
            assert names <= parts[k]


def test_no_row_is_one_that_can_be_run_and_trains_nothing(experience):
    rows = experience.select([])
    assert identities(rows) == [("row-0", 0.0)]  # the shortest
    assert not rows.completion_mask.any()
    assert rows.lengths == experience.lengths[:1]


def test_groups_have_a_signal_where_a_trained_row_has_an_advantage(experience):
    signals = replace(experience, advantages=torch.tensor([0.0, 0.0, 0.0, 5.0, -1.0, 1.0, 0.0, 2.0]))
    assert not signals.trained[3]  # the 5 is of a completion that is not valid
    assert signals.with_signal.tolist() == [False] * 4 + [True] * 4
    assert signals.num_groups == 4


def test_invalid_completions_are_masked_out(experience):
    mask = experience.completion_mask
    assert mask.sum(dim=1).tolist() == [1, 4, 2, 0, 5, 3, 1, 1]


def test_indivisible_mini_batches_are_refused(experience):
    with pytest.raises(ValueError, match="8 completions do not divide into 3"):
        experience.mini_batches(3)


def test_every_row_knows_the_success_bin_of_its_group():
    # 2 of 2, 1 of 1 that could be scored, 1 of 2, 0 of 2
    valid = torch.tensor([[True, True], [True, False], [True, True], [True, True]])
    success = torch.tensor([[True, True], [True, False], [True, False], [False, False]])
    known = Scores(success.float(), success, success.float(), valid, {})
    rows = Experience.from_groups(rollouts(LENGTHS), known, torch.zeros(4, 2))
    assert [BINS[i] for i in rows.select([7, 0, 2, 5]).success_bins] == ["none", "all", "all", "half"]
