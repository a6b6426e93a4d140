"""GPG's centered reward, amplified by how few groups carry a signal."""

from dataclasses import replace

import pytest
import torch

from mapo.advantages.centered import centered
from mapo.advantages.gpg import Amplified, amplified

REWARDS = torch.tensor([[1.0, 0, 0, 1], [1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 1, 0]])


def test_by_hand():
    # Two of four groups carry a signal, so α = 2: ±1/2 becomes ±1, and 1/4, -3/4 become 1/2, -3/2.
    advantages = amplified(REWARDS, num_groups=4, num_active_groups=2)
    expected = torch.tensor([[1.0, -1, -1, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0.5, 0.5, 0.5, -1.5]])
    torch.testing.assert_close(advantages, expected)


def test_where_every_group_has_a_signal_it_is_the_centered_reward():
    rewards = torch.rand(3, 8, dtype=torch.float64)
    assert torch.equal(amplified(rewards, num_groups=3, num_active_groups=3), centered(rewards))


def test_silent_groups_do_not_dilute_the_mean_over_groups():
    # The mean over all groups of what is amplified is the mean over those with a signal of what is not.
    plain = centered(REWARDS)[[0, 3]].abs().mean()
    assert float(amplified(REWARDS, num_groups=4, num_active_groups=2).abs().mean()) == pytest.approx(float(plain))


def test_the_split_over_ranks_changes_nothing(scores_of, phase):
    whole = amplified(REWARDS, num_groups=4, num_active_groups=2)
    ranks = [amplified(REWARDS[rank::2], num_groups=4, num_active_groups=2) for rank in range(2)]
    assert torch.equal(whole[0::2], ranks[0])
    assert torch.equal(whole[1::2], ranks[1])


def test_a_phase_without_any_signal_gives_exact_zeros():
    assert torch.equal(amplified(REWARDS[1:3], num_groups=2, num_active_groups=0), torch.zeros(2, 4))


@pytest.mark.parametrize(("groups", "active"), [(4, 1), (4, 0), (2, 3)])
def test_counts_that_cannot_be_those_of_the_phase_are_refused(groups, active):
    with pytest.raises(ValueError, match=f"between the 2 groups .* num_groups={groups}, got {active}"):
        amplified(REWARDS, num_groups=groups, num_active_groups=active)


def test_the_component_reads_the_counts_of_the_phase(scores_of, phase):
    scores = scores_of([[0.9, 1, 1, 1], [1, 0, 0, 0]])
    expected = 2.5 * centered(scores.rewards, valid=scores.valid)
    assert torch.equal(Amplified()(scores, replace(phase, num_groups=10, num_active_groups=4)), expected)
