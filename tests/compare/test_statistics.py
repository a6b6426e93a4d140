"""Intervals cover the truth as often as they say, and a difference that is not there is seldom seen."""

import math

import numpy as np
import pytest
from simulated_runs import answers, chances

from mapo.compare.statistics import Bootstrap, Interval, cohens_h
from mapo.metrics.interval import mean_interval

BOTH = {"in": 0.5, "out": 0.5}
NUM_SIMULATIONS = 150
T_QUANTILE = {2: 12.706, 3: 4.303, 6: 2.571}  # 97.5 %, by the number of runs


def simulate(rng, *, seeds, spread, gap, difficulty=0.15, questions=60):
    """Return the answers of two methods; the second is better by ``gap`` on average over runs and questions."""
    found = {}
    for name in BOTH:
        hard = rng.uniform(-1, 1, questions) * difficulty * math.sqrt(3)
        found[name] = [answers(rng, chances(rng, 0.5 + g, hard, seeds=seeds, spread=spread)) for g in (0, gap)]
    return found


def intervals(**settings) -> list[tuple[Interval, Interval]]:
    rng = np.random.default_rng(1)
    found = []
    for seed in range(NUM_SIMULATIONS):
        bootstrap = Bootstrap(simulate(rng, **settings), num_replicates=500, seed=seed)
        found.append((bootstrap.level(0, BOTH), bootstrap.difference(1, 0, BOTH, paired=True)))
    return found


@pytest.mark.parametrize(
    ("seeds", "spread"), [(3, 0.0), (3, 0.03), (3, 0.1), (2, 0.05), (6, 0.05)], ids=lambda value: str(value)
)
def test_intervals_over_runs_cover_the_truth_at_about_the_nominal_rate(seeds, spread):
    """Nominal is 95 %; with 150 simulations the standard error of a rate is 1.8 points."""
    found = intervals(seeds=seeds, spread=spread, gap=0.06)
    level = np.mean([one.low <= 0.5 <= one.high for one, _ in found])
    difference = np.mean([one.low <= 0.06 <= one.high for _, one in found])
    assert level >= 0.91
    assert difference >= 0.91
    # It is not their width alone that makes them cover: Student's t on the true standard error is hardly narrower.
    error = np.std([one.value for _, one in found])
    assert np.mean([one.high - one.low for _, one in found]) < 1.25 * 2 * T_QUANTILE[seeds] * error


def test_intervals_of_one_run_cover_other_questions_and_not_other_runs():
    alike, spread = (intervals(seeds=1, spread=spread, gap=0.06) for spread in (0.0, 0.1))
    assert 0.91 <= np.mean([one.low <= 0.06 <= one.high for _, one in alike]) <= 0.99
    assert np.mean([one.low <= 0.06 <= one.high for _, one in spread]) < 0.8
    assert not any(one.covers_runs for pair in alike for one in pair)


@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (3, 0.0), (3, 0.05)])
def test_a_difference_that_is_not_there_is_seen_about_one_time_in_twenty_at_most(seeds, spread):
    found = [one for _, one in intervals(seeds=seeds, spread=spread, gap=0.0)]
    assert np.mean([one.sign != 0 for one in found]) <= 0.09  # 5 % and two standard errors
    assert np.mean([one.p_value < 0.05 for one in found]) <= 0.09


@pytest.mark.parametrize("gap", [0.3, -0.3])
def test_a_clear_difference_is_seen_on_its_side(gap):
    signs = [one.sign for _, one in intervals(seeds=3, spread=0.01, gap=gap)]
    assert np.mean([sign == np.sign(gap) for sign in signs]) > 0.95
    assert -np.sign(gap) not in signs


def test_width_is_that_of_students_t_where_runs_alone_differ():
    """Three runs at 0.4, 0.5 and 0.6 on endlessly many equal questions: 0.5 ± 4.303 · 0.1 / √3."""
    runs = np.repeat([[0.4], [0.5], [0.6]], 50, axis=1)
    found = Bootstrap({"in": [runs, np.full((3, 50), 0.5)]}, num_replicates=100_000)
    one = found.difference(0, 1, {"in": 1.0}, paired=True)
    assert one.value == pytest.approx(0.0)
    assert one.high == pytest.approx(4.303 * 0.1 / math.sqrt(3), rel=0.03)
    assert one.low == pytest.approx(-one.high, rel=0.05)


def test_level_of_one_run_has_the_interval_of_its_results_file():
    accuracy = np.array([[1.0] * 40 + [0.0] * 20])
    one = Bootstrap({"in": [accuracy]}, num_replicates=50_000).level(0, {"in": 1.0})
    assert (one.low, one.high) == pytest.approx(mean_interval(accuracy[0].tolist()), abs=0.005)


def test_runs_that_agree_by_chance_are_not_taken_for_certain():
    """Each of three runs answers one question more than the other method's, each another one."""
    ours, theirs = np.ones((3, 60)), np.ones((3, 60))
    for run in range(3):
        theirs[run, run] = 0
    one = Bootstrap({"in": [ours, theirs]}).difference(0, 1, {"in": 1.0}, paired=True)
    assert one.value == pytest.approx(1 / 60)
    assert one.sign == 0


@pytest.mark.parametrize(("apart", "sign"), [(0, 0), (1, 0), (4, 0), (8, 1)])
@pytest.mark.parametrize("seeds", [1, 3])
def test_a_handful_of_questions_is_no_difference(apart, sign, seeds):
    """Of 48; by McNemar's exact test, p is 1 for one question, .125 for four and .008 for eight on one side."""
    theirs = np.ones((seeds, 48))
    theirs[:, :apart] = 0
    one = Bootstrap({"in": [np.ones((seeds, 48)), theirs]}).difference(0, 1, {"in": 1.0}, paired=True)
    assert one.sign == sign
    assert one.low < one.value < one.high
    assert (one.p_value < 0.05) == (sign != 0)


def test_everything_right_is_not_certain_either():
    one = Bootstrap({"in": [np.ones((3, 60))]}).level(0, {"in": 1.0})
    assert one.high == 1
    assert 0.9 < one.low < 0.96


def test_pairing_by_question_and_by_seed_narrows_what_they_share():
    rng = np.random.default_rng(0)
    hard, runs = rng.uniform(-0.4, 0.4, 200), rng.normal(0, 0.1, (3, 1))
    chance = np.clip(0.5 + hard + runs, 0, 1)
    bootstrap = Bootstrap({"in": [chance, np.clip(chance - 0.02, 0, 1)]})
    paired, not_paired = (bootstrap.difference(0, 1, {"in": 1.0}, paired=paired) for paired in (True, False))
    assert paired.sign == 1
    assert not_paired.sign == 0
    assert paired.high - paired.low < 0.2 * (not_paired.high - not_paired.low)


def test_equal_seeds_give_equal_intervals_and_the_order_of_methods_only_the_sign():
    rng = np.random.default_rng(0)
    one, other = answers(rng, np.full((3, 40), 0.6)), answers(rng, np.full((3, 40), 0.5))
    first = Bootstrap({"in": [one, other]}).difference(0, 1, {"in": 1.0}, paired=True)
    again = Bootstrap({"in": [one, other]}).difference(0, 1, {"in": 1.0}, paired=True)
    turned = Bootstrap({"in": [one, other]}).difference(1, 0, {"in": 1.0}, paired=True)
    assert first == again
    assert turned.value == -first.value
    assert (turned.low, turned.high) == pytest.approx((-first.high, -first.low), abs=0.02)


def test_methods_with_other_seeds_can_be_compared_with_the_spread_of_both():
    rng = np.random.default_rng(0)
    few, many = answers(rng, np.full((2, 50), 0.5)), answers(rng, np.full((5, 50), 0.5))
    one = Bootstrap({"in": [few, many]}).difference(0, 1, {"in": 1.0}, paired=False)
    assert one.covers_runs
    assert one.low < one.value < one.high
    single = Bootstrap({"in": [few[:1], many]}).difference(0, 1, {"in": 1.0}, paired=False)
    assert not single.covers_runs


def test_effect_size_is_cohens():
    assert cohens_h(0.5, 0.5) == 0
    assert cohens_h(1.0, 0.0) == pytest.approx(math.pi)
    assert cohens_h(0.2, 0.4) == -cohens_h(0.4, 0.2)
