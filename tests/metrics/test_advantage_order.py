"""Reversion and mirror, counted by hand on the paper's own groups."""

import math

import pytest
import torch

from mapo.advantages.mixed import mixed_advantages
from mapo.advantages.percent_deviation import percent_deviation
from mapo.advantages.z_score import z_score
from mapo.metrics.advantage_order import mirror_rate, reversion_rate

#   rewards            λ     σ     μ     largest |A| of: z-score  percent deviation  mixed
A = [0.9, 1, 1, 1]  # .25   .043  .975                1.732       .077          1.318
B = [0.1, 0.1, 1, 1]  # 0    .45   .55                 1           .818           1
C = [0.1, 0.9, 1, 1]  # 0    .377  .75                 1.722       .867          1.722
D = [0, 0.1, 0.1, 0.1]  # 1  .043  .075                1.732      1              1
E = [0.1, 1, 1, 1]  # .25   .390  .775                1.732       .871          1.517


def rates(advantages_of, *groups):
    rewards = torch.tensor(groups, dtype=torch.float32)
    success, valid = rewards == 1, torch.ones_like(rewards, dtype=torch.bool)
    advantages = advantages_of(rewards, success)
    return (
        reversion_rate(advantages, rewards, success, valid=valid),
        mirror_rate(advantages, rewards, valid=valid),
    )


def grpo(rewards, success):
    return z_score(rewards)


def apd(rewards, success):
    return percent_deviation(rewards)


def test_the_papers_examples():
    assert rates(grpo, A, B) == (1, 0)  # reverted: 1.732 > 1
    assert rates(mixed_advantages, A, B) == (1, 0)  # at G = 4 still: 1.318 > 1
    assert rates(apd, A, B) == (0, 0)  # .077 < .818
    assert rates(grpo, A, D)[1] == 1  # mirrored: the same z-scores at .075 and at .975
    assert rates(mixed_advantages, A, D)[1] == 0
    assert rates(apd, A, D)[1] == 0


def test_pairs_counted_by_hand():
    # More certain, and with less spread: A than B and C; D than B, C and E; E than B. A and E are equally certain, D
    # and A spread equally, E spreads more than C.
    # z-scores turn all of them round but D and E, whose extremes are the same.
    # Mixed: A over B (1.318 > 1) and E over B (1.517 > 1). Percent deviation: D over B, C and E, and E over B.
    groups = A, B, C, D, E
    assert rates(grpo, *groups)[0] == pytest.approx(5 / 6)
    assert rates(mixed_advantages, *groups)[0] == pytest.approx(2 / 6)
    assert rates(apd, *groups)[0] == pytest.approx(4 / 6)
    # All ten pairs have different means; A, D and E have the same z-scores.
    assert rates(grpo, *groups)[1] == pytest.approx(3 / 10)
    assert rates(mixed_advantages, *groups)[1] == 0


def test_with_rewards_of_0_and_1_a_z_score_turns_every_pair_round():
    # σ = √(p(1 - p)) falls as λ = 1 - 4p(1 - p) grows, and so does the largest z-score, √((1 - p) / p), grow.
    groups = [[float(i < num) for i in range(12)] for num in (1, 2, 3, 6)]
    assert rates(grpo, *groups) == (1, 0)


def test_rewards_shuffled_between_groups_lose_their_mirror():
    # The same eight rewards. At two levels they mirror and, spread equally, have no order to turn round. Mixed up they
    # do: [0, .9, 1, 1] is half right (λ = 0, σ = .421), [.1, .1, .1, 1] is more certain (λ = 1/4, σ = .390), and its
    # largest z-score is the larger one, 1.732 > 1.724.
    levels, mixed_up = ([0.0, 0.1, 0.1, 0.1], [0.9, 1.0, 1.0, 1.0]), ([0.0, 0.9, 1.0, 1.0], [0.1, 0.1, 0.1, 1.0])
    assert rates(grpo, *levels)[1] == 1
    assert math.isnan(rates(grpo, *levels)[0])
    assert rates(grpo, *mixed_up) == (1, 0)


def test_shuffling_many_groups_ends_what_their_levels_had_in_common():
    torch.manual_seed(0)
    hard, easy = torch.tensor([0.0, 0.1]), torch.tensor([0.9, 1.0])
    picks = torch.stack([(torch.arange(12) < num).long() for num in range(1, 12)])
    groups = torch.cat([hard[picks], easy[picks]])  # each group once at either level
    shuffled = groups.flatten()[torch.randperm(groups.numel())].reshape(groups.shape)
    before, after = rates(grpo, *groups.tolist()), rates(grpo, *shuffled.tolist())
    assert before[1] == pytest.approx(11 / (22 * 21 / 2))  # every group and its twin
    assert after[1] == 0
    assert before[0] != after[0]


def test_rates_do_not_depend_on_the_order_of_groups_or_completions():
    torch.manual_seed(1)
    rewards = (torch.rand(20, 6) * 11).floor() / 10
    shown = rewards[torch.randperm(20)][:, torch.randperm(6)]
    assert rates(mixed_advantages, *rewards.tolist()) == rates(mixed_advantages, *shown.tolist())


def test_a_completion_that_could_not_be_scored_is_not_part_of_its_group():
    # What is left of the first group, [.9, 1, 1], is more certain and spreads less.
    rewards = torch.tensor([[0.9, 1.0, 1.0, 0.0], B])
    valid = torch.tensor([[True, True, True, False], [True] * 4])
    advantages = z_score(rewards, valid=valid)  # 1.414 > 1
    assert reversion_rate(advantages, rewards, rewards == 1, valid=valid) == 1


def test_without_a_pair_there_is_no_rate():
    assert all(map(math.isnan, rates(grpo, A)))
    assert math.isnan(rates(grpo, A, A)[1])  # the same mean
    assert math.isnan(rates(grpo, B, C)[0])  # equally certain
