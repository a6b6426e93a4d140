"""RLOO's leave-one-out baseline."""

import torch

from mapo.advantages.centered import centered
from mapo.advantages.leave_one_out import LeaveOneOut, leave_one_out


def test_by_hand():
    # The others of .9 have mean 1; the others of each 1 have mean 2.9 / 3.
    advantages = leave_one_out(torch.tensor([[0.9, 1, 1, 1]]))
    torch.testing.assert_close(advantages, torch.tensor([[-0.1, 0.1 / 3, 0.1 / 3, 0.1 / 3]]))


def test_equals_the_definition_over_the_valid_others():
    torch.manual_seed(0)
    rewards, valid = torch.rand(4, 8, dtype=torch.float64), torch.rand(4, 8) < 0.8
    advantages = leave_one_out(rewards, valid=valid)
    for i, j in valid.nonzero().tolist():
        others = valid[i].clone()
        others[j] = False
        torch.testing.assert_close(advantages[i, j], rewards[i, j] - rewards[i][others].mean())


def test_tends_to_the_centered_reward_in_large_groups():
    rewards = torch.rand(2, 100_000, dtype=torch.float64)
    torch.testing.assert_close(leave_one_out(rewards), centered(rewards), rtol=2e-5, atol=0.0)


def test_a_shift_of_the_rewards_changes_nothing():
    rewards = torch.rand(3, 8, dtype=torch.float64) / 2
    torch.testing.assert_close(leave_one_out(rewards + 0.5), leave_one_out(rewards))


def test_two_completions_are_judged_by_each_other():
    torch.testing.assert_close(leave_one_out(torch.tensor([[0.2, 0.9]])), torch.tensor([[-0.7, 0.7]]))


def test_the_component_passes_on_what_is_valid(scores_of, phase):
    advantages = LeaveOneOut()(scores_of([[0.9, 1, 1, 1], [1, 0, 0, 1]]), phase)
    torch.testing.assert_close(advantages[1], torch.tensor([1.0, -0.5, -0.5, 0.0]))
