"""Success rate and certainty of a group."""

import math

import pytest
import torch

from mapo.functional.certainty import certainty, success_rate


def flags(*rows: str) -> torch.Tensor:
    return torch.tensor([[mark == "1" for mark in row] for row in rows])


def test_success_rate_by_hand():
    assert success_rate(flags("1110", "0000", "1111", "1010")).tolist() == [0.75, 0.0, 1.0, 0.5]


def test_only_valid_completions_count():
    assert success_rate(flags("1110", "1110"), valid=flags("0111", "0000")).tolist() == pytest.approx([2 / 3, 0.0])


def test_the_prior_is_the_mean_of_a_beta_law():
    rate = success_rate(flags("1110", "0000"), prior_successes=2.0, prior_failures=1.0)
    assert rate.tolist() == pytest.approx([5 / 7, 2 / 7])
    nothing = success_rate(flags("11"), valid=flags("00"), prior_successes=2.0, prior_failures=1.0)
    assert nothing.tolist() == pytest.approx([2 / 3])


def test_a_prior_forgets_itself_as_groups_grow():
    success = torch.tensor([[True] * 300_000 + [False] * 100_000])
    assert success_rate(success, prior_successes=1.0, prior_failures=1.0).item() == pytest.approx(0.75, abs=1e-5)


def test_certainty_by_hand():
    rates = torch.tensor([0.0, 1 / 12, 0.25, 0.5, 0.75, 1.0])
    assert certainty(rates).tolist() == pytest.approx([1.0, 0.694, 0.25, 0.0, 0.25, 1.0], abs=5e-4)


def test_certainty_does_not_care_which_outcome_is_called_success():
    rates = torch.linspace(0, 1, 11)
    torch.testing.assert_close(certainty(rates), certainty(1 - rates))


def mean_certainty(p: float, n: int, *, unbiased: bool) -> float:
    """Exact mean over the binomial law of the number of successes."""
    counts = torch.arange(n + 1)
    weights = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    values = certainty((counts / n).double(), num_valid=torch.full_like(counts, n) if unbiased else None)
    return float((torch.tensor(weights, dtype=torch.float64) * values).sum())


@pytest.mark.parametrize(("p", "n"), [(0.1, 8), (0.2, 12), (0.9, 16)])
def test_the_papers_certainty_is_too_high_by_the_stated_bias(p, n):
    bias = mean_certainty(p, n, unbiased=False) - (1 - 4 * p * (1 - p))
    assert bias == pytest.approx(4 * p * (1 - p) / n, rel=1e-6)


@pytest.mark.parametrize("p", [0.1, 0.05, 0.95])
def test_the_unbiased_form_is_right_on_average_where_the_clamp_is_far(p):
    # The clamp at 0 acts only near p = 1/2, which 16 draws at these rates hardly ever show.
    assert mean_certainty(p, 16, unbiased=True) == pytest.approx(1 - 4 * p * (1 - p), abs=1e-3)
    assert mean_certainty(p, 4, unbiased=True) < mean_certainty(p, 4, unbiased=False)


def test_the_unbiased_form_stays_in_its_range():
    n = torch.tensor([2, 2, 4, 4, 1, 0])
    rates = torch.tensor([0.5, 1.0, 0.25, 0.5, 1.0, 0.0])
    assert certainty(rates, num_valid=n).tolist() == pytest.approx([0.0, 1.0, 0.0, 0.0, 1.0, 1.0])


def test_the_unbiased_form_tends_to_the_papers():
    rates = torch.linspace(0, 1, 11, dtype=torch.float64)
    large = torch.full((11,), 10**9)
    torch.testing.assert_close(certainty(rates, num_valid=large), certainty(rates), rtol=0.0, atol=1e-8)
