"""DGPO's score in mean absolute deviations."""

import pytest
import torch

from mapo.advantages.mad import MADScore, mad_score
from mapo.advantages.z_score import z_score


def test_by_hand():
    # μ = 3/4, |r - μ| = 1/4, 1/4, 1/4, 3/4 with mean 3/8: r = 1 gives 2/3, r = 0 gives -2.
    advantages = mad_score(torch.tensor([[1.0, 1, 1, 0]]), eps=0.0)
    torch.testing.assert_close(advantages, torch.tensor([[2 / 3, 2 / 3, 2 / 3, -2.0]]))


def test_equals_the_z_score_where_half_succeed():
    # As many ones as zeros: every |r - μ| is 1/2, and so is σ.
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0]])
    torch.testing.assert_close(mad_score(rewards), z_score(rewards))


def test_an_affine_map_of_the_rewards_changes_nothing():
    rewards = torch.rand(3, 8, dtype=torch.float64)
    torch.testing.assert_close(mad_score(0.3 * rewards + 0.5, eps=0.0), mad_score(rewards, eps=0.0))


@pytest.mark.parametrize("successes", range(1, 12))
def test_every_group_pulls_with_the_same_total(successes):
    # Σ |A| = G whatever p is; the z-score's is 2G √(p(1 - p)), largest at p = 1/2.
    rewards = torch.tensor([[1.0] * successes + [0.0] * (12 - successes)])
    assert float(mad_score(rewards, eps=0.0).abs().sum()) == pytest.approx(12)


def test_two_completions_that_differ_are_one_deviation_apart_from_the_mean():
    torch.testing.assert_close(mad_score(torch.tensor([[0.2, 0.6]]), eps=0.0), torch.tensor([[-1.0, 1.0]]))


def test_a_negative_eps_is_refused_when_built_and_when_called():
    with pytest.raises(ValueError, match="eps must be >= 0, got -1"):
        MADScore(eps=-1)
    with pytest.raises(ValueError, match="eps must be >= 0, got -1"):
        mad_score(torch.zeros(1, 2), eps=-1)


def test_the_component_carries_its_numbers(scores_of, phase):
    # Of three valid ones: μ = 1/3, |r - μ| = 2/3, 1/3, 1/3 with mean 4/9.
    advantages = MADScore(eps=0.0)(scores_of([[0.9, 1, 1, 1], [1, 0, 0, 0]]), phase)
    torch.testing.assert_close(advantages[1], torch.tensor([1.5, -0.75, -0.75, 0.0]))
