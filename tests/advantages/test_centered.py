"""Dr. GRPO's centered reward."""

import torch

from mapo.advantages.centered import Centered, centered
from mapo.advantages.percent_deviation import percent_deviation


def test_by_hand():
    # μ = (.9 + 3) / 4 = .975.
    advantages = centered(torch.tensor([[0.9, 1, 1, 1], [1, 0, 0, 1]]))
    torch.testing.assert_close(advantages, torch.tensor([[-0.075, 0.025, 0.025, 0.025], [0.5, -0.5, -0.5, 0.5]]))


def test_is_the_percent_deviation_times_the_mean():
    rewards = torch.rand(3, 8, dtype=torch.float64)
    expected = percent_deviation(rewards, eps=0.0) * rewards.mean(dim=1, keepdim=True)
    torch.testing.assert_close(centered(rewards), expected)


def test_a_shift_of_the_rewards_changes_nothing():
    rewards = torch.rand(3, 8, dtype=torch.float64) / 2
    torch.testing.assert_close(centered(rewards + 0.5), centered(rewards))


def test_stays_inside_one_reward():
    assert float(centered(torch.eye(12)).abs().max()) < 1


def test_the_component_passes_on_what_is_valid(scores_of, phase):
    advantages = Centered()(scores_of([[0.9, 1, 1, 1], [1, 0, 0, 1]]), phase)
    torch.testing.assert_close(advantages[1], torch.tensor([2 / 3, -1 / 3, -1 / 3, 0.0]))
