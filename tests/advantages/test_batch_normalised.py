"""REINFORCE++'s baseline, normalised over the whole batch."""

from dataclasses import replace

import pytest
import torch

from mapo.advantages.batch_normalised import BatchNormalised, batch_normalised, square_sum_and_count
from mapo.advantages.centered import centered
from mapo.advantages.z_score import z_score

REWARDS = torch.tensor([[1.0, 0, 0, 1], [1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 1, 0]], dtype=torch.float64)


def whole(rewards, **kwargs):
    square_sum, count = square_sum_and_count(rewards, valid=kwargs.get("valid"))
    return batch_normalised(rewards, square_sum=square_sum, count=count, **kwargs)


def test_by_hand():
    # r - μ: ±1/2 four times, eight zeros, 1/4 three times and -3/4. Σ² = 4/4 + 3/16 + 9/16 = 7/4 over 16: s = √7 / 8.
    advantages = whole(REWARDS, eps=0.0)
    torch.testing.assert_close(advantages, centered(REWARDS) * 8 / 7**0.5)


def test_one_group_alone_is_grpo():
    torch.testing.assert_close(whole(REWARDS[3:]), z_score(REWARDS[3:]))


def test_the_batch_has_mean_0_and_deviation_1():
    rewards = torch.rand(6, 8, dtype=torch.float64)
    valid = torch.rand(6, 8) < 0.8
    advantages = whole(rewards, valid=valid, eps=0.0)[valid]
    assert float(advantages.mean()) == pytest.approx(0, abs=1e-12)
    assert float(advantages.std(correction=0)) == pytest.approx(1)


def test_groups_keep_their_spread_relative_to_each_other():
    """What the z-score levels out: the group in which rewards differ more has the larger advantages."""
    advantages = whole(torch.tensor([[0.9, 1, 1, 1], [0, 1, 1, 1]], dtype=torch.float64))
    torch.testing.assert_close(advantages[1], 10 * advantages[0])


def test_the_split_over_ranks_changes_nothing(phase):
    sums = [sum(own) for own in zip(*(square_sum_and_count(REWARDS[rank::2]) for rank in range(2)), strict=True)]
    for rank in range(2):
        ours = batch_normalised(REWARDS[rank::2], square_sum=sums[0], count=sums[1])
        torch.testing.assert_close(ours, whole(REWARDS)[rank::2])


def test_a_batch_without_any_signal_gives_exact_zeros():
    assert torch.equal(whole(REWARDS[1:3], eps=0.0), torch.zeros(2, 4, dtype=torch.float64))


def test_a_sum_of_fewer_groups_is_refused():
    with pytest.raises(ValueError, match=r"square_sum = 0.5 is below the 1.75 of these groups; sum it over all ranks"):
        batch_normalised(REWARDS, square_sum=0.5, count=16.0)


def test_a_negative_eps_is_refused_when_built_and_when_called():
    with pytest.raises(ValueError, match="eps must be >= 0, got -1"):
        BatchNormalised(eps=-1)
    with pytest.raises(ValueError, match="eps must be >= 0, got -1"):
        whole(REWARDS, eps=-1)


def test_the_component_gets_its_own_sums_back(scores_of, phase):
    scores = scores_of([[0.9, 1, 1, 1], [1, 0, 0, 0]])
    advantage = BatchNormalised(eps=0.1)
    summed = replace(
        phase, batch_sums=tuple(3 * own for own in advantage.batch_sums(scores))
    )  # as of three equal ranks
    assert torch.equal(advantage(scores, summed), whole(scores.rewards, valid=scores.valid, eps=0.1))
    with pytest.raises(ValueError, match=r"phase.batch_sums is \(\), expected"):
        advantage(scores, phase)
