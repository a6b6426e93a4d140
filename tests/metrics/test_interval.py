import math
import random

import pytest

from mapo.metrics.interval import effective_size, mean_interval, wilson_interval


@pytest.mark.parametrize(
    ("right", "of", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),  # as R's binom.confint(8, 10, methods = "wilson") has it
        (0, 10, 0.0, 0.2775),  # 0 to z² / (n + z²) = 3.8415 / 13.8415
        (10, 10, 0.7225, 1.0),
        (1, 1, 0.2065, 1.0),  # 1 / (1 + z²)
        # Newcombe 1998, table I, https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_values(right, of, low, high):
    assert wilson_interval(right / of, of) == pytest.approx((low, high), abs=5.1e-5)


def test_wilson_inverts_the_score_test():
    """At either end p₀ the observed share is 1.96 standard errors of p₀ away."""
    for end in wilson_interval(0.3, 50):
        assert abs(0.3 - end) / math.sqrt(end * (1 - end) / 50) == pytest.approx(1.959964, abs=1e-6)


@pytest.mark.parametrize("size", [1, 7, 20.3, 101, 1319])
def test_nothing_lies_below_a_share_of_0_or_above_1(size):
    """To the last bit: 4.9e-17 would be read as a figure."""
    assert wilson_interval(0.0, size)[0] == 0.0
    assert wilson_interval(1.0, size)[1] == 1.0


def test_wilson_is_symmetric():
    low, high = wilson_interval(0.2, 17)
    assert wilson_interval(0.8, 17) == pytest.approx((1 - high, 1 - low))


def test_one_completion_per_sample_is_plain_wilson():
    means = [1.0] * 8 + [0.0] * 2
    assert effective_size(means) == 10
    assert mean_interval(means) == wilson_interval(0.8, 10)


def test_completions_that_agree_add_nothing():
    assert effective_size([1.0, 1.0, 0.0, 1.0, 0.0], num=16) == 5


def test_effective_size_by_hand():
    # p = (1 + 1/2 + 1/2 + 0) / 4 = 1/2; se² = (1/4 + 0 + 0 + 1/4) / 16 = 1/32; p(1-p) / se² = 1/4 x 32 = 8
    assert effective_size([1.0, 0.5, 0.5, 0.0], num=4) == 8


def test_independent_completions_count_each():
    """Every sample is right with the same probability, so n_eff is close to all completions."""
    rng = random.Random(0)
    means = [sum(rng.random() < 0.3 for _ in range(4)) / 4 for _ in range(20_000)]
    assert effective_size(means, num=4) == pytest.approx(80_000, rel=0.02)


@pytest.mark.parametrize("means", [[0.0] * 6, [1.0] * 6, [0.25] * 6, [0.5]])
def test_where_nothing_varies_every_sample_counts_once(means):
    assert effective_size(means, num=4) == len(means)


def test_no_more_than_all_completions_count():
    assert effective_size([0.5, 0.5, 0.5, 0.75], num=4) == 16


def test_no_samples_have_no_interval():
    assert all(map(math.isnan, mean_interval([])))


def test_the_interval_covers_as_often_as_it_says():
    """500 evaluations of 60 prompts with 4 completions each; the prompts differ in difficulty."""
    rng, covered, runs = random.Random(1), 0, 500
    for _ in range(runs):
        means = []
        for _ in range(60):
            difficulty = rng.random()  # the true mean is 1/2
            means.append(sum(rng.random() < difficulty for _ in range(4)) / 4)
        low, high = mean_interval(means, num=4)
        covered += low <= 0.5 <= high
    assert 0.92 < covered / runs < 0.98
