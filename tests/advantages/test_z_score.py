"""GRPO's z-score."""

import math

import pytest
import torch

from mapo.advantages.centered import centered
from mapo.advantages.z_score import ZScore, z_score

VECTORS = [
    ([0.9, 1, 1, 1], [-1.732, 0.577, 0.577, 0.577]),
    ([0.1, 0.1, 1, 1], [-1, -1, 1, 1]),
    ([0.1, 0.9, 1, 1], [-1.722, 0.397, 0.662, 0.662]),
    ([0, 0.1, 0.1, 0.1], [-1.732, 0.577, 0.577, 0.577]),
    ([0.1, 1, 1, 1], [-1.732, 0.577, 0.577, 0.577]),
    ([1] + [0] * 11, [3.317] + [-0.302] * 11),
    ([1] + [0.1] * 11, [3.317] + [-0.302] * 11),
    ([0.1] + [0] * 11, [3.317] + [-0.302] * 11),
    ([0.9] + [0.1] * 11, [3.317] + [-0.302] * 11),
]


@pytest.mark.parametrize(("rewards", "expected"), VECTORS)
def test_vectors_of_the_paper(rewards, expected):
    advantages = z_score(torch.tensor([rewards], dtype=torch.float32))
    torch.testing.assert_close(advantages, torch.tensor([expected], dtype=torch.float32), rtol=0.0, atol=6e-4)


def test_by_hand_with_the_sample_deviation():
    # μ = .975, deviations (-.075, .025, .025, .025); Σ² = .0075, over n - 1 = 3 gives σ = .05.
    advantages = z_score(torch.tensor([[0.9, 1, 1, 1]], dtype=torch.float64), ddof=1, eps=0.0)
    torch.testing.assert_close(advantages, torch.tensor([[-1.5, 0.5, 0.5, 0.5]], dtype=torch.float64))


def test_a_large_eps_leaves_the_centered_reward():
    rewards = torch.rand(3, 8, dtype=torch.float64)
    torch.testing.assert_close(z_score(rewards, eps=1e9) * 1e9, centered(rewards), rtol=1e-6, atol=0.0)


def test_an_affine_map_of_the_rewards_changes_nothing():
    rewards = torch.rand(3, 8, dtype=torch.float64)
    torch.testing.assert_close(z_score(0.3 * rewards + 0.5, eps=0.0), z_score(rewards, eps=0.0))


def test_the_sample_deviation_shrinks_a_group_by_its_size():
    rewards = torch.rand(3, 8, dtype=torch.float64)
    ratio = math.sqrt(7 / 8)
    torch.testing.assert_close(z_score(rewards, ddof=1, eps=0.0), ratio * z_score(rewards, eps=0.0))


def test_two_completions_that_differ_are_one_deviation_apart_from_the_mean():
    torch.testing.assert_close(z_score(torch.tensor([[0.2, 0.6]]), eps=0.0), torch.tensor([[-1.0, 1.0]]))


@pytest.mark.parametrize(("name", "value"), [("ddof", 2), ("ddof", -1), ("eps", -1e-6), ("eps", float("nan"))])
def test_bad_numbers_are_refused_when_built_and_when_called(name, value):
    with pytest.raises(ValueError, match=name):
        ZScore(**{name: value})
    with pytest.raises(ValueError, match=name):
        z_score(torch.zeros(1, 2), **{name: value})


def test_the_component_carries_its_numbers(scores_of, phase):
    scores = scores_of([[0.9, 1, 1, 1], [1, 0, 0, 0]])
    expected = z_score(scores.rewards, valid=scores.valid, ddof=1, eps=0.1)
    assert torch.equal(ZScore(ddof=1, eps=0.1)(scores, phase), expected)
    assert torch.equal(ZScore()(scores, phase), z_score(scores.rewards, valid=scores.valid))
