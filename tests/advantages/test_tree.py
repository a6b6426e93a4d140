"""TreeRPO's deviation relative to a coin's variance."""

import pytest
import torch

from mapo.advantages.percent_deviation import percent_deviation
from mapo.advantages.tree import TreeDeviation, tree_deviation


def test_by_hand():
    # μ = 3/4, μ(1 - μ) = 3/16: r = 1 gives 1/4 · 16/3 = 4/3, r = 0 gives -3/4 · 16/3 = -4.
    advantages = tree_deviation(torch.tensor([[1.0, 1, 1, 0]]), eps=0.0)
    torch.testing.assert_close(advantages, torch.tensor([[4 / 3, 4 / 3, 4 / 3, -4.0]]))


def test_of_low_rewards_it_is_the_percent_deviation():
    # (r - μ) / (μ(1 - μ)) tends to (r - μ) / μ with μ.
    rewards = 1e-4 * torch.rand(3, 8, dtype=torch.float64)
    expected = percent_deviation(rewards, eps=0.0)
    torch.testing.assert_close(tree_deviation(rewards, eps=0.0), expected, rtol=2e-4, atol=0.0)


def test_swapping_right_and_wrong_changes_the_sign_alone():
    rewards = torch.rand(3, 8, dtype=torch.float64)
    torch.testing.assert_close(tree_deviation(1 - rewards, eps=0.0), -tree_deviation(rewards, eps=0.0))


def test_solved_and_unsolved_groups_have_no_variance_and_get_exact_zeros():
    rewards = torch.tensor([[1.0] * 5, [0.0] * 5])
    assert torch.equal(tree_deviation(rewards, eps=0.0), torch.zeros(2, 5))


def test_the_rarer_outcome_gets_the_larger_advantage_on_either_side():
    # One of G right: 1/μ = G for it; one of G wrong: -G for that one.
    advantages = tree_deviation(torch.tensor([[1.0] + [0.0] * 11, [0.0] + [1.0] * 11]), eps=0.0)
    torch.testing.assert_close(advantages[:, 0], torch.tensor([12.0, -12.0]))


def test_a_negative_eps_is_refused_when_built_and_when_called():
    with pytest.raises(ValueError, match="eps must be >= 0, got -1"):
        TreeDeviation(eps=-1)
    with pytest.raises(ValueError, match="eps must be >= 0, got -1"):
        tree_deviation(torch.zeros(1, 2), eps=-1)


def test_the_component_carries_its_numbers(scores_of, phase):
    # The last one of the second group is not valid: μ = 1/3 of three, variance 2/9.
    advantages = TreeDeviation(eps=0.0)(scores_of([[0.9, 1, 1, 1], [1, 0, 0, 0]]), phase)
    torch.testing.assert_close(advantages[1], torch.tensor([3.0, -1.5, -1.5, 0.0]))
