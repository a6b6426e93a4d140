"""MAPO's advantage percent deviation."""

import pytest
import torch

from mapo.advantages.percent_deviation import PercentDeviation, percent_deviation
from mapo.advantages.z_score import z_score

VECTORS = [
    ([0.9, 1, 1, 1], [-0.0769, 0.0256, 0.0256, 0.0256]),
    ([0.1, 0.1, 1, 1], [-0.818, -0.818, 0.818, 0.818]),
    ([0.1, 0.9, 1, 1], [-0.867, 0.2, 0.333, 0.333]),
    ([0, 0.1, 0.1, 0.1], [-1, 0.333, 0.333, 0.333]),
    ([0.1, 1, 1, 1], [-0.871, 0.290, 0.290, 0.290]),
    ([1] + [0] * 11, [11] + [-1] * 11),
    ([1] + [0.1] * 11, [4.714] + [-0.429] * 11),
    ([0.1] + [0] * 11, [11] + [-1] * 11),
    ([0.9] + [0.1] * 11, [4.4] + [-0.4] * 11),
]


@pytest.mark.parametrize(("rewards", "expected"), VECTORS)
def test_vectors_of_the_paper(rewards, expected):
    advantages = percent_deviation(torch.tensor([rewards], dtype=torch.float32))
    torch.testing.assert_close(advantages, torch.tensor([expected], dtype=torch.float32), rtol=1e-4, atol=6e-4)


def test_equals_the_z_score_where_half_succeed():
    # μ = σ = 1/2 for as many ones as zeros.
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0]])
    torch.testing.assert_close(percent_deviation(rewards), z_score(rewards))


def test_the_scale_of_the_rewards_changes_nothing():
    rewards = torch.rand(3, 8, dtype=torch.float64)
    torch.testing.assert_close(percent_deviation(0.3 * rewards, eps=0.0), percent_deviation(rewards, eps=0.0))


def test_groups_that_mirror_each_other_under_the_z_score_are_told_apart():
    rewards = torch.tensor([[0, 0.1, 0.1, 0.1], [0.9, 1, 1, 1]])
    low, high = percent_deviation(rewards)
    assert float(low.abs().max()) > 10 * float(high.abs().max())


@pytest.mark.parametrize("eps", [0.0, 1e-6])
def test_a_mean_of_zero_gives_exact_zeros(eps):
    assert torch.equal(percent_deviation(torch.zeros(2, 5), eps=eps), torch.zeros(2, 5))


def test_never_below_minus_one_nor_above_the_others():
    torch.manual_seed(0)
    rewards = torch.rand(200, 12).pow(8)
    advantages = percent_deviation(rewards)
    assert float(advantages.min()) >= -1
    assert float(advantages.max()) <= 11


def test_a_negative_eps_is_refused_when_built_and_when_called():
    with pytest.raises(ValueError, match="eps must be >= 0, got -1"):
        PercentDeviation(eps=-1)
    with pytest.raises(ValueError, match="eps must be >= 0, got -1"):
        percent_deviation(torch.zeros(1, 2), eps=-1)


def test_the_component_carries_its_numbers(scores_of, phase):
    scores = scores_of([[0.9, 1, 1, 1], [1, 0, 0, 0]])
    advantages = PercentDeviation(eps=0.0)(scores, phase)
    torch.testing.assert_close(advantages[1], torch.tensor([2.0, -1.0, -1.0, 0.0]))
    assert torch.equal(PercentDeviation()(scores, phase), percent_deviation(scores.rewards, valid=scores.valid))
