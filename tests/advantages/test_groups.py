"""What every advantage refuses, and when a group carries no signal."""

import pytest
import torch

from mapo.advantages.batch_normalised import batch_normalised
from mapo.advantages.centered import centered
from mapo.advantages.focal import focal_z_score
from mapo.advantages.gpg import amplified
from mapo.advantages.groups import has_signal
from mapo.advantages.leave_one_out import leave_one_out
from mapo.advantages.mad import mad_score
from mapo.advantages.mixed import mixed_advantages
from mapo.advantages.percent_deviation import percent_deviation
from mapo.advantages.tree import tree_deviation
from mapo.advantages.z_score import z_score


def mixed(rewards, *, valid=None):
    return mixed_advantages(rewards, rewards >= 0.999, valid=valid)


def focal(rewards, *, valid=None):
    return focal_z_score(rewards, rewards >= 0.999, valid=valid)


def gpg(rewards, *, valid=None):
    return amplified(rewards, valid=valid, num_groups=20, num_active_groups=10)


def reinforce(rewards, *, valid=None):
    return batch_normalised(rewards, valid=valid, square_sum=20.0, count=200.0)


ADVANTAGES = [
    z_score,
    centered,
    leave_one_out,
    percent_deviation,
    mixed,
    tree_deviation,
    mad_score,
    focal,
    gpg,
    reinforce,
]
every_advantage = pytest.mark.parametrize("advantage", ADVANTAGES, ids=lambda f: f.__name__)


def random_groups(groups=7, size=12, *, dtype=torch.float32):
    torch.manual_seed(0)
    rewards = (torch.rand(groups, size, dtype=torch.float64) * 11).floor() / 10
    return rewards.to(dtype), torch.rand(groups, size) < 0.8


@every_advantage
def test_permuting_groups_changes_nothing_but_the_order(advantage):
    rewards, valid = random_groups()
    order = torch.randperm(len(rewards))
    assert torch.equal(advantage(rewards[order], valid=valid[order]), advantage(rewards, valid=valid)[order])


@every_advantage
def test_a_group_does_not_see_the_others(advantage):
    rewards, valid = random_groups()
    alone = [advantage(rewards[i : i + 1], valid=valid[i : i + 1]) for i in range(len(rewards))]
    assert torch.equal(torch.cat(alone), advantage(rewards, valid=valid))


@every_advantage
def test_permuting_completions_changes_nothing_but_the_order(advantage):
    rewards, valid = random_groups(dtype=torch.float64)
    order = torch.randperm(rewards.shape[1])
    permuted = advantage(rewards[:, order], valid=valid[:, order])
    torch.testing.assert_close(permuted, advantage(rewards, valid=valid)[:, order], rtol=1e-12, atol=1e-12)


@every_advantage
def test_invalid_completions_are_as_if_they_were_not_there(advantage):
    rewards, valid = random_groups()
    poisoned = rewards.masked_fill(~valid, float("nan"))
    advantages = advantage(poisoned, valid=valid)
    for row, kept, ours in zip(rewards, valid, advantages, strict=True):
        torch.testing.assert_close(ours[kept], advantage(row[kept][None])[0])
        assert torch.equal(ours[~kept], torch.zeros_like(ours[~kept]))


@every_advantage
def test_advantages_of_a_group_sum_to_zero(advantage):
    rewards, valid = random_groups(dtype=torch.float64)
    totals = advantage(rewards, valid=valid).sum(dim=1)
    torch.testing.assert_close(totals, torch.zeros(7, dtype=torch.float64), rtol=0.0, atol=1e-12)


@every_advantage
@pytest.mark.parametrize("level", [0.0, 0.1, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("size", [2, 3, 7, 12])
def test_equal_rewards_give_exact_zeros(advantage, level, size):
    rewards = torch.full((2, size), level)
    assert torch.equal(advantage(rewards), torch.zeros(2, size))


@every_advantage
def test_fewer_than_two_valid_completions_give_zeros(advantage):
    rewards = torch.tensor([[1.0, 0.0, 0.5], [1.0, 0.0, 0.5]])
    valid = torch.tensor([[True, False, False], [False, False, False]])
    assert torch.equal(advantage(rewards, valid=valid), torch.zeros(2, 3))


@every_advantage
@pytest.mark.parametrize("bad", [1.1, -0.1, 2.0, -1.0, float("nan"), float("inf")])
def test_a_reward_outside_its_range_is_refused_by_place_and_value(advantage, bad):
    rewards = torch.zeros(3, 4)
    rewards[2, 1] = bad
    with pytest.raises(ValueError, match=rf"rewards\[2, 1\] = {bad:.6g} lies outside \[0, 1\]"):
        advantage(rewards)


@every_advantage
def test_rounding_just_outside_the_range_is_taken_as_the_bound(advantage):
    rewards = torch.tensor([[1.0 + 5e-7, 1.0, 0.0, -5e-7]])
    torch.testing.assert_close(advantage(rewards), advantage(torch.tensor([[1.0, 1.0, 0.0, 0.0]])))


@every_advantage
def test_a_group_of_one_is_refused(advantage):
    with pytest.raises(ValueError, match="group_size must be >= 2, got 1"):
        advantage(torch.zeros(3, 1))


@every_advantage
def test_a_flat_list_of_rewards_is_refused(advantage):
    with pytest.raises(ValueError, match=r"rewards must be \[B, G\].*got shape \(4,\)"):
        advantage(torch.zeros(4))


@every_advantage
@pytest.mark.parametrize("valid", [torch.ones(1, 3, dtype=torch.bool), torch.ones(2, 3)])
def test_a_validity_of_another_shape_or_type_is_refused(advantage, valid):
    with pytest.raises(ValueError, match=r"valid must be bool of the rewards' shape \(2, 3\)"):
        advantage(torch.zeros(2, 3), valid=valid)


@every_advantage
@pytest.mark.parametrize(
    ("given", "returned"),
    [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)],
)
def test_at_least_float32(advantage, given, returned):
    rewards = torch.tensor([[1.0, 0.0, 0.0, 0.5, 0.0]])
    advantages = advantage(rewards.to(given))
    assert advantages.dtype == returned
    torch.testing.assert_close(advantages.float(), advantage(rewards))


@every_advantage
def test_nothing_is_changed_in_place(advantage):
    rewards, valid = random_groups()
    before = rewards.clone(), valid.clone()
    advantage(rewards, valid=valid)
    assert torch.equal(rewards, before[0])
    assert torch.equal(valid, before[1])


@every_advantage
def test_no_groups_give_no_advantages(advantage):
    assert advantage(torch.zeros(0, 4)).shape == (0, 4)


def test_signal_is_a_difference_among_valid_rewards():
    rewards = torch.tensor([[0.1, 0.1, 0.1], [0.1, 0.1, 0.2], [0.1, 0.1, 0.2]])
    valid = torch.tensor([[True, True, True], [True, True, True], [True, True, False]])
    assert has_signal(rewards, valid).flatten().tolist() == [False, True, False]
