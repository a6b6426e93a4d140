"""F-GRPO's focal weight on the z-score."""

import math

import pytest
import torch

from mapo.advantages.focal import FocalZScore, focal_z_score
from mapo.advantages.z_score import z_score


def test_by_hand():
    # p = 3/4, z-score of a right one 1/√3; (1 - p)^2 = 1/16.
    rewards = torch.tensor([[1.0, 1, 1, 0]])
    advantages = focal_z_score(rewards, rewards == 1, gamma=2.0, eps=0.0)
    right, wrong = 1 / math.sqrt(3) / 16, -math.sqrt(3) / 16
    torch.testing.assert_close(advantages, torch.tensor([[right, right, right, wrong]]))


def test_a_gamma_of_zero_is_the_z_score():
    rewards = torch.rand(5, 8)
    assert torch.equal(focal_z_score(rewards, rewards > 0.5, gamma=0.0, ddof=1), z_score(rewards, ddof=1))


def test_an_affine_map_of_the_rewards_changes_nothing_while_success_is_the_same():
    rewards = torch.rand(3, 8, dtype=torch.float64)
    success = rewards > 0.5
    torch.testing.assert_close(
        focal_z_score(0.3 * rewards + 0.5, success, eps=0.0), focal_z_score(rewards, success, eps=0.0)
    )


def test_success_is_counted_and_not_read_off_the_rewards():
    rewards = torch.tensor([[0.95, 0.95, 0.2, 0.2]])  # right, but long: no total equals 1
    advantages = focal_z_score(rewards, rewards > 0.5, gamma=1.0)
    torch.testing.assert_close(advantages, 0.5 * z_score(rewards))


def test_a_group_that_always_succeeds_gets_zeros_although_its_rewards_differ():
    rewards = torch.tensor([[1.0, 0.9, 0.8, 1.0]])
    assert float(focal_z_score(rewards, torch.ones_like(rewards, dtype=torch.bool)).abs().max()) == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"gamma": -0.5}, "gamma must be >= 0, got -0.5"), ({"ddof": 2}, "ddof must be 0"), ({"eps": -1.0}, "eps")],
)
def test_bad_numbers_are_refused_when_built_and_when_called(fields, message):
    with pytest.raises(ValueError, match=message):
        FocalZScore(**fields)
    with pytest.raises(ValueError, match=message):
        focal_z_score(torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool), **fields)


def test_the_component_carries_its_numbers(scores_of, phase):
    scores = scores_of([[0.9, 1, 1, 1], [1, 0, 0, 0]])
    expected = focal_z_score(scores.rewards, scores.success, valid=scores.valid, gamma=3.0, ddof=1, eps=0.1)
    assert torch.equal(FocalZScore(gamma=3.0, ddof=1, eps=0.1)(scores, phase), expected)
    assert float(expected[1].abs().max()) > 0
