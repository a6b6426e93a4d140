"""CISPO's truncated importance weights: no token loses its gradient."""

import inspect
import math

import pytest
import torch

from mapo.losses.clipped import clipped_surrogate
from mapo.losses.truncated_is import TruncatedISLoss, truncated_is_loss

BOUNDS = {"min_weight": 0.5, "max_weight": 2.0}


def at_ratio(ratio, advantage, **bounds):
    """Loss, its derivative by the log-prob, and the statistics of a single token of log-prob -3."""
    logprobs = torch.tensor([[-3.0]], dtype=torch.float64, requires_grad=True)
    old = torch.tensor([[-3.0 - math.log(ratio)]], dtype=torch.float64)
    advantages, mask = torch.tensor([advantage], dtype=torch.float64), torch.ones(1, 1, dtype=torch.bool)
    loss, statistics = truncated_is_loss(logprobs, old, advantages, mask, **(BOUNDS | bounds))
    slope = torch.autograd.grad(loss.sum(), logprobs)[0].item()
    return loss.item(), slope, {name: value.item() for name, value in statistics.items()}


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope", "cut"),
    [
        (1.5, 2.0, 9.0, -3.0, None),  # -1.5 · 2 · -3, and the weight is a constant to the gradient
        (8.0, 2.0, 12.0, -4.0, "high"),  # truncated at 2, but still pulled up
        (0.1, 2.0, 3.0, -1.0, "low"),  # lifted to 1/2
        (8.0, -2.0, -12.0, 4.0, "high"),  # the same for a negative advantage: no side is left out
        (0.1, -2.0, -3.0, 1.0, "low"),
        (8.0, 0.0, 0.0, 0.0, None),
    ],
)
def test_each_branch_by_hand(ratio, advantage, loss, slope, cut):
    value, derivative, statistics = at_ratio(ratio, advantage)
    assert value == pytest.approx(loss)
    assert derivative == pytest.approx(slope)
    assert statistics.pop("importance_ratio") == pytest.approx(ratio)
    assert statistics == {f"clip_fraction_{name}": float(name == cut) for name in ("low", "high")}


def test_inside_the_bounds_its_gradient_is_that_of_the_clipped_surrogate():
    torch.manual_seed(0)
    logprobs = -torch.rand(3, 4, dtype=torch.float64).requires_grad_()
    old = logprobs.detach() + 0.05 * torch.randn(3, 4, dtype=torch.float64)
    advantages, mask = torch.randn(3, dtype=torch.float64), torch.rand(3, 4) < 0.7
    ours, _ = truncated_is_loss(logprobs, old, advantages, mask, **BOUNDS)
    theirs, _ = clipped_surrogate(logprobs, old, advantages, mask, clip_low=0.9, clip_high=9.0, dual_clip=None)
    gradients = [torch.autograd.grad(loss.sum(), logprobs)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def test_no_lower_bound_follows_the_ratio_down_to_zero():
    assert at_ratio(1e-6, 2.0, min_weight=0.0)[1] == pytest.approx(-2e-6)


def test_rows_do_not_see_each_other():
    torch.manual_seed(0)
    logprobs, old, advantages = -torch.rand(6, 5), -torch.rand(6, 5), torch.randn(6)
    mask = torch.rand(6, 5) < 0.7
    loss, _ = truncated_is_loss(logprobs, old, advantages, mask, **BOUNDS)
    order = torch.randperm(6)
    permuted, _ = truncated_is_loss(logprobs[order], old[order], advantages[order], mask[order], **BOUNDS)
    assert torch.equal(permuted, loss[order])


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["logprobs", "old", "both", "advantage"])
def test_masked_positions_leak_into_neither_loss_nor_gradient(poison, where):
    clean = torch.tensor([[-1.0, -2.0], [-1.0, -1.0]])
    mask = torch.tensor([[True, False], [False, False]])
    logprobs = clean.masked_fill(~mask, poison) if where in ("logprobs", "both") else clean.clone()
    old = clean.masked_fill(~mask, poison) if where in ("old", "both") else clean.clone()
    advantages = torch.tensor([2.0, poison if where == "advantage" else 1.0])
    loss, statistics = truncated_is_loss(logprobs.requires_grad_(), old, advantages, mask, **BOUNDS)
    assert torch.equal(loss.detach(), torch.tensor([[2.0, 0.0], [0.0, 0.0]]))
    loss.sum().backward()
    assert torch.equal(logprobs.grad, torch.tensor([[-2.0, 0.0], [0.0, 0.0]]))
    assert all(torch.equal(value[~mask], torch.zeros(3)) for value in statistics.values())


def test_policies_far_apart_stay_finite():
    loss, slope, _ = at_ratio(math.exp(300.0), -1.0, max_weight=math.inf)
    assert slope == pytest.approx(math.exp(20))
    assert math.isfinite(loss)


def test_without_an_advantage_loss_and_gradient_are_zero_as_it_says():
    assert TruncatedISLoss.zero_without_advantage
    assert at_ratio(3.0, 0.0)[:2] == (0.0, 0.0)


def test_the_component_is_the_function_with_its_numbers():
    parameters = inspect.signature(TruncatedISLoss).parameters
    assert {name: parameters[name].default for name in BOUNDS} == {"min_weight": 0.0, "max_weight": 5.0}
    logprobs, old = torch.tensor([[-0.5, -2.5, -1.0]]), -torch.ones(1, 3)
    arguments = logprobs, old, torch.tensor([-1.0]), torch.ones(1, 3, dtype=torch.bool)
    assert torch.equal(TruncatedISLoss(**BOUNDS)(*arguments)[0], truncated_is_loss(*arguments, **BOUNDS)[0])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"min_weight": -0.1}, r"min_weight must lie in \[0, 1\], got -0.1"),
        ({"min_weight": 1.5}, r"min_weight must lie in \[0, 1\], got 1.5"),
        ({"max_weight": 0.5}, "max_weight must be >= 1, .* got 0.5"),
        ({"max_weight": float("nan")}, "max_weight must be >= 1, .* got nan"),
    ],
)
def test_bounds_that_leave_out_an_on_policy_token_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        TruncatedISLoss(**fields)


def test_shapes_that_do_not_fit_are_refused_by_name():
    with pytest.raises(ValueError, match="old_logprobs has shape"):
        TruncatedISLoss()(torch.zeros(2, 3), torch.zeros(2, 4), torch.zeros(2), torch.ones(2, 3, dtype=torch.bool))
