"""Weights between sampler and policy: by hand, at their limits, and the same however completions are cut."""

import pytest
import torch

from mapo.functional.divergence import k3
from mapo.losses.sampler_correction import SamplerCorrection, effective_share, sampler_weights

# Probabilities of three sampled tokens, of two completions; the last place of the second one is padding.
POLICY = torch.tensor([[0.60, 0.10, 0.50], [0.05, 0.30, 1.00]], dtype=torch.float64)
SAMPLER = torch.tensor([[0.20, 0.40, 0.40], [0.50, 0.20, 1.00]], dtype=torch.float64)
MASK = torch.tensor([[True, True, True], [True, True, False]])
RATIOS = [[3.0, 0.25, 1.25], [0.1, 1.5, 0.0]]  # and over a completion: 3 · .25 · 1.25 = .9375 and .1 · 1.5 = .15


def weights_of(correction, policy=POLICY, sampler=SAMPLER, mask=MASK):
    return correction(policy.log(), sampler.log(), mask)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"cap": None}, RATIOS),
        ({"cap": 2.0}, [[2.0, 0.25, 1.25], [0.1, 1.5, 0.0]]),
        ({"cap": None, "mask_below": 0.2, "mask_above": 2.0}, [[0.0, 0.25, 1.25], [0.0, 1.5, 0.0]]),
        ({"cap": 1.25, "mask_above": 2.0}, [[0.0, 0.25, 1.25], [0.1, 1.25, 0.0]]),
        ({"level": "sequence", "cap": None}, [[0.9375] * 3, [0.15, 0.15, 0.0]]),
        ({"level": "sequence", "cap": None, "mask_below": 0.5}, [[0.9375] * 3, [0.0, 0.0, 0.0]]),
    ],
    ids=["plain", "truncated", "masked as IcePop", "both", "sequence", "sequence masked"],
)
def test_weights_by_hand(settings, expected):
    weights, _ = weights_of(SamplerCorrection(**settings))
    torch.testing.assert_close(weights, torch.tensor(expected, dtype=torch.float64))


def test_statistics_by_hand():
    weights, statistics = weights_of(SamplerCorrection(cap=2.0, mask_below=0.2))
    trained = {name: values[MASK].tolist() for name, values in statistics.items()}
    assert trained["sampler_capped_share"] == [1, 0, 0, 0, 0]  # 3 > 2
    assert trained["sampler_masked_share"] == [0, 0, 0, 1, 0]  # .1 < .2
    assert trained["sampler_weight"] == pytest.approx([2.0, 0.25, 1.25, 0.0, 1.5])
    assert trained["sampler_weight_square"] == pytest.approx([4.0, 0.0625, 1.5625, 0.0, 2.25])
    # k3 of KL(sampler ‖ policy): ρ - 1 - log ρ; for ρ = 3 it is 2 - 1.0986
    assert trained["sampler_kl"][0] == pytest.approx(0.9014, abs=1e-4)
    torch.testing.assert_close(statistics["sampler_kl"][MASK], k3(SAMPLER.log(), POLICY.log())[MASK])
    assert not any(values[~MASK].any() for values in (weights, *statistics.values()))


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("cap", [None, 1.0, float("inf")])
def test_equal_log_probs_have_a_weight_of_exactly_one(level, cap):
    logprobs = torch.randn(4, 7, generator=torch.Generator().manual_seed(0)) - 3
    mask = torch.ones(4, 7, dtype=torch.bool)
    correction = SamplerCorrection(level=level, cap=cap, mask_below=0.5, mask_above=1.5)
    weights, statistics = correction(logprobs, logprobs, mask)
    assert (weights == 1).all()
    assert not statistics["sampler_kl"].any()


def test_an_infinite_cap_is_none():
    capped, plain = (weights_of(SamplerCorrection(cap=cap))[0] for cap in (float("inf"), None))
    assert capped.equal(plain)


def test_weights_correct_what_the_sampler_drew_too_often():
    # Drawn from the sampler, weighted by policy / sampler: the mean of any f is its mean under the policy.
    policy, sampler, f = (torch.tensor(x, dtype=torch.float64) for x in ([0.6, 0.4], [0.2, 0.8], [1.0, -2.0]))
    weights, _ = weights_of(SamplerCorrection(cap=None), policy[:, None], sampler[:, None], torch.ones(2, 1) > 0)
    assert float((sampler * weights[:, 0] * f).sum()) == pytest.approx(float((policy * f).sum()))


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_a_completion_weighs_the_same_in_any_batch(level):
    correction = SamplerCorrection(level=level)
    together, _ = weights_of(correction)
    for row in range(2):
        alone, _ = weights_of(correction, POLICY[row : row + 1], SAMPLER[row : row + 1], MASK[row : row + 1])
        assert alone.equal(together[row : row + 1])


def test_what_is_masked_reaches_neither_weights_nor_gradient():
    policy = POLICY.log().masked_fill(~MASK, float("nan")).requires_grad_()
    sampler = SAMPLER.log().masked_fill(~MASK, float("inf"))
    weights, statistics = SamplerCorrection(level="sequence")(policy, sampler, MASK)
    assert weights.isfinite().all()
    assert all(values.isfinite().all() for values in statistics.values())
    assert not weights.requires_grad


def test_a_token_the_sampler_hardly_gave_has_a_finite_weight():
    weights, _ = weights_of(SamplerCorrection(cap=None), torch.tensor([[1.0]]), torch.tensor([[1e-30]]), MASK[:1, :1])
    assert float(weights) == pytest.approx(4.85e8, rel=1e-2)  # exp(20)


def test_effective_share_falls_from_equal_weights_to_a_single_one():
    for weights, share in (([3.0, 3.0, 3.0, 3.0], 1.0), ([1.0, 0.0, 0.0, 0.0], 0.25), ([0.0, 0.0, 0.0, 0.0], 0.0)):
        w = torch.tensor(weights)
        assert effective_share(float(w.mean()), float(w.square().mean())) == share


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"level": "prompt"}, "'token' or 'sequence', got 'prompt'"),
        ({"cap": 0.5}, r"cap must be >= 1.*got 0\.5"),
        ({"mask_below": 1.0}, r"mask_below must lie in \[0, 1\).*got 1\.0"),
        ({"mask_above": 1.0}, r"mask_above must be > 1.*got 1\.0"),
    ],
)
def test_bounds_that_would_drop_equal_log_probs_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        SamplerCorrection(**settings)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"sampling_logprobs has shape \(2, 2\), expected .* \(2, 3\)"):
        sampler_weights(
            POLICY.log(), SAMPLER.log()[:, :2], MASK, level="token", cap=2.0, mask_below=None, mask_above=None
        )
