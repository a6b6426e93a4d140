"""Statistics of a phase, by hand."""

import math

import pytest
import torch

from mapo.advantages.mixed import MixedAdvantage
from mapo.advantages.z_score import z_score
from mapo.metrics.certainty_statistics import advantage_sums, certainty_statistics, guess_floor, success_histogram
from mapo.types import Phase, Scores


def statistics(*groups, valid=None):
    rewards = torch.tensor(groups, dtype=torch.float32)
    valid = torch.ones_like(rewards, dtype=torch.bool) if valid is None else torch.tensor(valid)
    scores = Scores(rewards.masked_fill(~valid, 0.0), (rewards == 1) & valid, rewards, valid, {})
    phase = Phase(0, 0, tuple(map(str, range(len(groups)))), len(groups), len(groups))
    advantage = MixedAdvantage()
    return certainty_statistics(
        scores,
        advantage(scores, phase),
        z_scores=z_score(scores.rewards, valid=valid),
        branches=advantage.branches(scores, phase),
    )


def test_a_phase_by_hand():
    #                           λ    z-score     percent deviation  mixed        Σ |A|
    found = statistics(
        [0.1, 0.1, 1, 1],  #    0    ∓1          -                  ∓1           4
        [0, 0.1, 0.1, 0.1],  #  1    -           -1, 1/3            -1, 1/3      2
        [0.1, 1, 1, 1],  #     1/4   -1.732, .577  -.871, .290      -1.517, .506  3.034
        [1, 1, 1, 1],  #        1    0           0                  0            0
        [0.1, 0.1, 0.1, 0.1],
    )
    assert (found["silent_share"], found["silent_solved_share"]) == (0.4, 0.2)
    assert found["active_certainty"] == pytest.approx((0 + 1 + 0.25) / 3)
    sums = {name.removeprefix("advantage_sum/"): v for name, v in found.items() if name.startswith("advantage_sum")}
    # Of the branches: 3/4 of 2 · 1.732 and the whole z-scores of the first; 1/4 of 2 · .871 and all of the second.
    expected = {"none": 2, "few": 0, "half": 4, "most": 3.034, "all": 0, "z_score": 6.598, "percent_deviation": 2.435}
    assert sums == pytest.approx(expected, abs=2e-3)
    assert found["max_advantage"] == pytest.approx(1.517, abs=1e-3)
    assert found["unsolved_advantage_share"] == pytest.approx(2 / 9.034, abs=1e-3)
    assert found["reversion_rate"] == pytest.approx(1 / 3)  # of three pairs the last over the first
    assert found["reversion_rate_grpo"] == pytest.approx(2 / 3)
    assert found["mirror_rate_grpo"] == pytest.approx(1 / 3)
    assert found["mirror_rate"] == 0


def test_without_a_prior_branches_and_bins_share_out_the_same_sum():
    torch.manual_seed(0)
    found = statistics(*((torch.rand(30, 12) * 11).floor() / 10).tolist())
    by_bin = sum(found[f"advantage_sum/{name}"] for name in ("none", "few", "half", "most", "all"))
    assert by_bin == pytest.approx(found["advantage_sum/z_score"] + found["advantage_sum/percent_deviation"])


def test_one_format_credit_among_eleven_bare_answers_is_all_there_is():
    found = statistics([0.1] + [0.0] * 11)
    assert found["max_advantage"] == pytest.approx(11, abs=2e-3)
    assert found["unsolved_advantage_share"] == 1


def test_a_silent_phase_has_no_share_of_nothing():
    found = statistics([1, 1, 1], [0, 0, 0])
    assert found["silent_share"] == 1
    assert found["silent_solved_share"] == 0.5
    absent = "active_certainty", "unsolved_advantage_share", "reversion_rate", "mirror_rate", "mirror_rate_grpo"
    assert all(math.isnan(found[name]) for name in absent)


def test_what_could_not_be_scored_is_no_success():
    success, valid = torch.tensor([[True, True, False]]), torch.tensor([[True, False, True]])
    assert success_histogram(success, valid=valid).tolist() == [0, 1, 0, 0]


def test_sums_have_every_bin_and_the_branches():
    sums = advantage_sums(torch.tensor([[1.0, -1.0]]), torch.tensor([3]), {"own": torch.tensor([[0.5, -0.5]])})
    assert sums == {"none": 0.0, "few": 0.0, "half": 0.0, "most": 2.0, "all": 0.0, "own": 1.0}


def test_guessing():
    assert guess_floor([8] * 5) == pytest.approx(1 / 8)
    assert guess_floor([2, 0]) == pytest.approx(0.25)  # an open question is not guessed
    assert math.isnan(guess_floor([0, 0]))
    assert math.isnan(guess_floor([]))
