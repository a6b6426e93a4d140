"""MAPO's mixed advantage."""

import dataclasses
import math

import pytest
import torch

from mapo.advantages.certainty import Constant, Quadratic, Triangle
from mapo.advantages.mixed import MixedAdvantage, mixed_advantages
from mapo.advantages.percent_deviation import percent_deviation
from mapo.advantages.z_score import ZScore, z_score
from mapo.functional.certainty import certainty, success_rate
from mapo.types import Scores

VECTORS = [
    ([0.9, 1, 1, 1], 0.75, 0.25, [-1.318, 0.439, 0.439, 0.439]),
    ([0.1, 0.1, 1, 1], 0.5, 0.0, [-1, -1, 1, 1]),
    ([0.1, 0.9, 1, 1], 0.5, 0.0, [-1.722, 0.397, 0.662, 0.662]),
    ([0, 0.1, 0.1, 0.1], 0.0, 1.0, [-1, 0.333, 0.333, 0.333]),
    ([0.1, 1, 1, 1], 0.75, 0.25, [-1.517, 0.506, 0.506, 0.506]),
    ([1] + [0] * 11, 1 / 12, 0.694, [8.652] + [-0.787] * 11),
    ([1] + [0.1] * 11, 1 / 12, 0.694, [4.287] + [-0.390] * 11),
    ([0.1] + [0] * 11, 0.0, 1.0, [11] + [-1] * 11),
    ([0.9] + [0.1] * 11, 0.0, 1.0, [4.4] + [-0.4] * 11),
]


def row(*rewards, dtype=torch.float64):
    rewards = torch.tensor([rewards], dtype=dtype)
    return rewards, rewards == 1


def random_groups():
    torch.manual_seed(0)
    rewards = (torch.rand(20, 12, dtype=torch.float64) * 11).floor() / 10
    return rewards, rewards == 1


@pytest.mark.parametrize(("rewards", "p", "weight", "expected"), VECTORS)
def test_vectors_of_the_paper(rewards, p, weight, expected):
    rewards, success = row(*rewards, dtype=torch.float32)
    rate = success_rate(success)
    assert rate.item() == pytest.approx(p)
    assert certainty(rate).item() == pytest.approx(weight, abs=6e-4)
    advantages = mixed_advantages(rewards, success)
    torch.testing.assert_close(advantages, torch.tensor([expected], dtype=torch.float32), rtol=1e-4, atol=6e-4)


def test_vector_with_the_sample_deviation():
    advantages = mixed_advantages(*row(0.9, 1, 1, 1), ddof=1)
    torch.testing.assert_close(advantages[0, :2], torch.tensor([-1.144, 0.381]).double(), rtol=0.0, atol=6e-4)


def test_by_hand_in_fractions():
    # μ = 3/4, sample σ = 1/2, λ = 1/4: r = 1 gives 3/4 · 1/2 + 1/4 · 1/3 = 11/24, r = 0 gives 3/4 · -3/2 - 1/4 = -11/8.
    advantages = mixed_advantages(*row(1, 1, 1, 0), ddof=1, eps=0.0)
    torch.testing.assert_close(advantages, torch.tensor([[11 / 24, 11 / 24, 11 / 24, -11 / 8]]).double())


def test_half_successes_give_the_z_score_and_certain_groups_the_percent_deviation():
    rewards, success = row(1, 1, 1, 0, 0.1, 0)
    assert torch.equal(mixed_advantages(rewards, success), z_score(rewards))
    assert torch.equal(mixed_advantages(rewards, success & False), percent_deviation(rewards))
    assert torch.equal(mixed_advantages(rewards, success | True), percent_deviation(rewards))


def test_two_binary_completions_are_grpo():
    rewards, success = row(1, 0)
    assert torch.equal(mixed_advantages(rewards, success), z_score(rewards))


@pytest.mark.parametrize("successes", range(1, 12))
def test_weight_against_grpo_of_a_binary_reward(successes):
    # The mixed advantage is rho(p) = (1 - λ) + λ √((1 - p) / p) times the z-score: above 1 for hard prompts.
    rewards, success = row(*[1] * successes, *[0] * (12 - successes))
    p = successes / 12
    weight = 1 - 4 * p * (1 - p)
    rho = (1 - weight) + weight * math.sqrt((1 - p) / p)
    torch.testing.assert_close(mixed_advantages(rewards, success, eps=0.0), rho * z_score(rewards, eps=0.0))
    assert (rho > 1) == (p < 0.5) or p == 0.5


def test_success_is_what_the_rewards_say_and_not_a_total_of_one():
    rewards, _ = row(0.95, 0.95, 0.2, 0.2)  # right, but long: no total equals 1
    success = rewards > 0.5
    assert torch.equal(mixed_advantages(rewards, success), z_score(rewards))


def test_whitening_afterwards_would_be_grpo_again():
    rewards, success = random_groups()
    mixture = mixed_advantages(rewards, success)
    whitened = (mixture - mixture.mean(1, keepdim=True)) / mixture.std(1, keepdim=True, correction=0)
    torch.testing.assert_close(whitened, z_score(rewards, eps=0.0))
    scale = mixture.std(1, correction=0)
    assert float(scale.max() / scale.min()) > 1.5  # the weights of the groups survive in what is returned


def test_the_unbiased_certainty_counts_valid_completions():
    rewards, success = row(1, 1, 1, 0, 0)
    valid = torch.tensor([[True, True, True, True, False]])
    # p = 3/4 of n = 4: λ = 1 - 3/4 · 4/3 = 0, so what is left is the z-score.
    ours = mixed_advantages(rewards, success, valid=valid, unbiased=True)
    assert torch.equal(ours, z_score(rewards, valid=valid))
    # p = 1/12 of n = 12: λ = 1 - 4 · 11/144 · 12/11 = 2/3.
    rewards, success = row(1, *[0] * 11)
    expected = z_score(rewards) / 3 + 2 * percent_deviation(rewards) / 3
    torch.testing.assert_close(mixed_advantages(rewards, success, unbiased=True), expected, rtol=1e-6, atol=0.0)


def test_the_prior_pulls_a_format_only_group_away_from_the_percent_deviation():
    rewards, success = row(0.1, *[0] * 11)
    # p = (0 + 1) / (12 + 2) = 1/14: λ = 1 - 4 · 13/196 = 36/49.
    expected = 13 / 49 * z_score(rewards) + 36 / 49 * percent_deviation(rewards)
    advantages = mixed_advantages(rewards, success, prior_successes=1.0, prior_failures=1.0)
    torch.testing.assert_close(advantages, expected, rtol=1e-6, atol=0.0)


def test_the_cap_clamps_both_signs_and_nothing_else():
    rewards, success = row(0.1, *[0] * 11)
    capped = mixed_advantages(rewards, success, max_advantage=3.0)
    assert capped[0, 0].item() == 3.0
    assert torch.equal(capped[0, 1:], mixed_advantages(rewards, success)[0, 1:])
    assert mixed_advantages(*row(0.9, 1, 1, 1), max_advantage=1.0)[0, 0].item() == -1.0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ddof": 2}, "ddof must be 0 .* or 1"),
        ({"eps": -1e-6}, "eps must be >= 0"),
        ({"prior_successes": -1.0}, "prior_successes must be >= 0, got -1.0"),
        ({"prior_failures": float("nan")}, "prior_failures must be >= 0, got nan"),
        ({"unbiased": True, "prior_failures": 1.0}, "choose one"),
        ({"max_advantage": 0.0}, "max_advantage must be > 0, got 0.0"),
    ],
)
def test_bad_numbers_are_refused_when_built_and_when_called(fields, message):
    with pytest.raises(ValueError, match=message):
        MixedAdvantage(**fields)
    with pytest.raises(ValueError, match=message):
        mixed_advantages(*row(1, 0), **fields)


def test_another_certainty_is_not_corrected_as_if_it_were_the_quadratic_one():
    with pytest.raises(ValueError, match=r"unbiased corrects the quadratic certainty, got Triangle\(\)"):
        MixedAdvantage(unbiased=True, certainty=Triangle())


@pytest.mark.parametrize("success", [torch.ones(1, 3, dtype=torch.bool), torch.ones(1, 2)])
def test_successes_of_another_shape_or_type_are_refused(success):
    with pytest.raises(ValueError, match="success must be bool of the rewards' shape"):
        mixed_advantages(torch.zeros(1, 2), success)


def test_the_component_carries_its_numbers(scores_of, phase):
    scores = scores_of([[0.9, 1, 1, 1], [1, 1, 0, 0]])
    assert torch.equal(
        MixedAdvantage()(scores, phase), mixed_advantages(scores.rewards, scores.success, valid=scores.valid)
    )
    fields = {"ddof": 1, "eps": 0.1, "prior_successes": 1.0, "prior_failures": 2.0, "max_advantage": 0.5}
    expected = mixed_advantages(scores.rewards, scores.success, valid=scores.valid, **fields)
    assert torch.equal(MixedAdvantage(**fields)(scores, phase), expected)
    unbiased = mixed_advantages(scores.rewards, scores.success, valid=scores.valid, unbiased=True)
    assert torch.equal(MixedAdvantage(unbiased=True)(scores, phase), unbiased)


def test_defaults_are_the_papers():
    assert {field.name: field.default for field in dataclasses.fields(MixedAdvantage)} == {
        "ddof": 0,
        "eps": 1e-6,
        "unbiased": False,
        "prior_successes": 0.0,
        "prior_failures": 0.0,
        "max_advantage": None,
        "certainty": Quadratic(),
    }


def test_any_certainty_weighs_the_two_and_makes_the_neighbours_its_limits(scores_of, phase):
    scores = scores_of([[0.9, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0.1, 0.1]])
    z, deviation = z_score(scores.rewards, valid=scores.valid), percent_deviation(scores.rewards, valid=scores.valid)
    for value, expected in ((0.0, z), (1.0, deviation), (0.25, 0.75 * z + 0.25 * deviation)):
        mixture = MixedAdvantage(certainty=Constant(value))(scores, phase)
        torch.testing.assert_close(mixture, expected)
    # p = 3/6 and 2/5: the triangle's λ is 0 and 1/5.
    weight = torch.tensor([[0.0], [0.2]])
    torch.testing.assert_close(
        MixedAdvantage(certainty=Triangle())(scores, phase), (1 - weight) * z + weight * deviation
    )


def test_the_success_prior_reaches_every_certainty(scores_of, phase):
    scores = scores_of([[0.9, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0.1, 0.1]])
    pulled = MixedAdvantage(prior_successes=1e6, prior_failures=1e6, certainty=Triangle())(scores, phase)
    torch.testing.assert_close(pulled, z_score(scores.rewards, valid=scores.valid))  # p = 1/2, λ = 0


@pytest.mark.parametrize(
    ("advantage", "size", "warned"),
    [
        (MixedAdvantage(), 4, True),
        (MixedAdvantage(), 6, False),
        (MixedAdvantage(unbiased=True), 4, False),
        (MixedAdvantage(prior_successes=1.0, prior_failures=1.0), 4, False),
        (MixedAdvantage(certainty=Constant()), 4, False),
        (ZScore(), 4, False),
    ],
)
def test_small_groups_are_warned_of_where_certainty_suffers(advantage, size, warned, recwarn):
    advantage.check_group_size(size)
    expected = [f"MixedAdvantage with group_size = {size}"] if warned else []
    assert [str(warning.message).partition(":")[0] for warning in recwarn] == expected


def test_making_advantages_does_not_warn(scores_of, phase, recwarn):
    MixedAdvantage()(scores_of([[1.0, 1.0, 0.0, 0.0]] * 2), phase)
    assert not recwarn


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": torch.zeros(2)}, r"weights must be of shape \(1,\), one per group, got \(2,\)"),
        ({"weights": torch.zeros(1, 1)}, "weights must be of shape"),
        ({"weights": torch.tensor([1.5])}, r"weights must lie in \[0, 1\], got 1.5"),
        ({"weights": torch.tensor([-0.1])}, r"weights must lie in \[0, 1\], got -0.1"),
        ({"weights": torch.tensor([math.nan])}, r"weights must lie in \[0, 1\], got nan"),
        ({"weights": torch.zeros(1), "unbiased": True}, "give one or the other"),
        ({"weights": torch.zeros(1), "prior_failures": 1.0}, "give one or the other"),
    ],
)
def test_weights_that_cannot_be_certainties_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        mixed_advantages(*row(1, 0), **arguments)


def test_branches_add_up_to_the_advantage_before_its_cap(phase):
    rewards, success = random_groups()
    valid = torch.ones_like(success)
    valid[:, 3] = False
    scores = Scores(rewards.masked_fill(~valid, 0.0), success, success.double(), valid, {})
    for settings in ({}, {"ddof": 1, "unbiased": True}, {"prior_successes": 1.0, "prior_failures": 2.0}):
        branches = MixedAdvantage(**settings, max_advantage=0.5).branches(scores, phase)
        assert list(branches) == ["z_score", "percent_deviation"]
        torch.testing.assert_close(sum(branches.values()), MixedAdvantage(**settings)(scores, phase))


def test_branches_take_over_from_each_other_with_certainty(phase, scores_of):
    # λ = 0 in a group that is half right, 1 in one where nothing is.
    branches = MixedAdvantage().branches(scores_of([[0.1, 0.1, 1, 1], [0, 0.1, 0.1, 0.1]]), phase)
    assert branches["percent_deviation"][0].tolist() == [0.0] * 4
    assert branches["z_score"][1].tolist() == [0.0] * 4
    torch.testing.assert_close(branches["z_score"][0], torch.tensor([-1.0, -1.0, 1.0, 1.0]), rtol=0.0, atol=1e-4)
