"""Estimators of the divergence: right in value, and as a loss what the docstring says they are."""

import math

import pytest
import torch

from mapo.functional.divergence import k1, k2, k3


def laws():
    torch.manual_seed(0)
    logits = torch.randn(6, dtype=torch.float64, requires_grad=True)
    return logits, torch.randn(6, dtype=torch.float64).log_softmax(-1)


def expected_gradient(estimator):
    """Exact mean over the policy's own tokens, the sampling itself held fixed as it is in training."""
    logits, reference = laws()
    policy = logits.log_softmax(-1)
    return torch.autograd.grad((policy.detach().exp() * estimator(policy, reference)).sum(), logits)[0]


def divergence_gradient(forward):
    logits, reference = laws()
    policy = logits.log_softmax(-1)
    first, second = (reference, policy) if forward else (policy, reference)
    return torch.autograd.grad((first.exp() * (first - second)).sum(), logits)[0]


def test_values_by_hand():
    # π = 1/2, ref = 1/4: ρ = ln 2.
    logprobs, reference = torch.tensor([[0.5]]).log(), torch.tensor([[0.25]]).log()
    rho = math.log(2)
    assert k1(logprobs, reference).item() == pytest.approx(rho)
    assert k2(logprobs, reference).item() == pytest.approx(rho**2 / 2)
    assert k3(logprobs, reference).item() == pytest.approx(0.5 - 1 + rho)


@pytest.mark.parametrize("estimator", [k1, k3])
def test_k1_and_k3_are_unbiased(estimator):
    logits, reference = laws()
    policy = logits.log_softmax(-1).detach()
    divergence = (policy.exp() * (policy - reference)).sum()
    torch.testing.assert_close((policy.exp() * estimator(policy, reference)).sum(), divergence)


def test_all_agree_to_second_order_near_the_reference():
    reference = torch.tensor([[-1.0]], dtype=torch.float64)
    logprobs = reference + 1e-3
    torch.testing.assert_close(k3(logprobs, reference), k2(logprobs, reference), rtol=1e-3, atol=0.0)


def test_k1_as_a_loss_pulls_nowhere():
    assert expected_gradient(k1).abs().max() < 1e-15


def test_k2_as_a_loss_has_the_gradient_of_the_divergence():
    torch.testing.assert_close(expected_gradient(k2), divergence_gradient(forward=False))


def test_k3_as_a_loss_has_the_gradient_of_the_forward_divergence():
    torch.testing.assert_close(expected_gradient(k3), divergence_gradient(forward=True))
    assert not torch.allclose(expected_gradient(k3), divergence_gradient(forward=False))


@pytest.mark.parametrize("estimator", [k1, k2, k3])
def test_equal_policies_are_exactly_zero_with_a_gradient_that_is_finite(estimator):
    logprobs = torch.tensor([[-0.3, -90.0]], requires_grad=True)
    estimate = estimator(logprobs, logprobs.detach().clone())
    assert torch.equal(estimate, torch.zeros(1, 2))
    assert torch.autograd.grad(estimate.sum(), logprobs)[0].isfinite().all()


@pytest.mark.parametrize("estimator", [k1, k2, k3])
def test_no_gradient_goes_into_the_reference(estimator):
    logprobs = torch.tensor([[-1.0]], requires_grad=True)
    reference = torch.tensor([[-1.5]], requires_grad=True)
    estimator(logprobs, reference).sum().backward()
    assert reference.grad is None


def test_small_divergences_keep_their_digits_in_float32():
    reference = torch.zeros(1, 1)
    assert k3(torch.full((1, 1), 1e-4), reference).item() == pytest.approx(5e-9, rel=1e-3, abs=0.0)


def test_clamps():
    far = torch.tensor([[-50.0, 50.0]])
    zero = torch.zeros(1, 2)
    assert k1(far, zero).tolist() == [[-20.0, 20.0]]
    assert k2(far, zero).tolist() == [[200.0, 200.0]]
    assert k3(far, zero).tolist() == [[10.0, 10.0]]
    assert k1(far, zero, max_log_ratio=5.0).tolist() == [[-5.0, 5.0]]
    assert k3(far, zero, max_log_ratio=1.0, max_value=2.0).tolist()[0] == pytest.approx([math.e - 2, math.exp(-1)])
