"""The clipped surrogate: where it follows the ratio, where it stops, and what can never leak into it."""

import inspect
import math

import pytest
import torch

from mapo.losses.clipped import ClippedPolicyLoss, clipped_surrogate

PAPER = {"clip_low": 0.2, "clip_high": 0.3, "dual_clip": 3.0}


def at_ratio(ratio, advantage, **bounds):
    """Loss, its derivative by the log-prob, and the statistics of a single token."""
    logprobs = torch.tensor([[math.log(ratio) - 1.0]], dtype=torch.float64, requires_grad=True)
    old = torch.tensor([[-1.0]], dtype=torch.float64)
    advantages = torch.tensor([advantage], dtype=torch.float64)
    mask = torch.ones(1, 1, dtype=torch.bool)
    loss, statistics = clipped_surrogate(logprobs, old, advantages, mask, **(PAPER | bounds))
    slope = torch.autograd.grad(loss.sum(), logprobs)[0].item()
    return loss.item(), slope, {name: value.item() for name, value in statistics.items()}


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope", "cut"),
    [
        (1.2, 2.0, -2.4, -2.4, None),  # A > 0 inside the range: -ρA, and d/dlogp of it is the same
        (1.5, 2.0, -2.6, 0.0, "high"),  # A > 0 and already 1.5 times as likely: held at 1.3
        (0.5, 2.0, -1.0, -1.0, None),  # A > 0 below the range: still pulled up
        (0.9, -2.0, 1.8, 1.8, None),  # A < 0 inside the range
        (0.5, -2.0, 1.6, 0.0, "low"),  # A < 0 and already half as likely: held at .8
        (1.5, -2.0, 3.0, 3.0, None),  # A < 0 above the range: still pushed down
        (4.0, -2.0, 6.0, 0.0, "dual"),  # A < 0 far above: the dual clip holds at 3
        (4.0, 0.0, 0.0, 0.0, None),
    ],
)
def test_each_branch_by_hand(ratio, advantage, loss, slope, cut):
    value, derivative, statistics = at_ratio(ratio, advantage)
    assert value == pytest.approx(loss)
    assert derivative == pytest.approx(slope)
    assert statistics.pop("importance_ratio") == pytest.approx(ratio)
    assert statistics == {f"clip_fraction_{name}": float(name == cut) for name in ("low", "high", "dual")}


def test_without_the_dual_clip_a_negative_advantage_is_followed_without_limit():
    value, slope, statistics = at_ratio(40.0, -2.0, dual_clip=None)
    assert (value, slope) == (pytest.approx(80.0), pytest.approx(80.0))
    assert statistics["clip_fraction_dual"] == 0


@pytest.mark.parametrize("bounds", [{}, {"clip_low": 0.0, "clip_high": 0.0}])
@pytest.mark.parametrize("advantage", [-2.0, 2.0])
def test_on_policy_it_is_the_plain_policy_gradient(advantage, bounds):
    # ρ = 1 whatever the bounds: the loss is -A and its slope -A, with nothing clipped.
    value, slope, statistics = at_ratio(1.0, advantage, **bounds)
    assert (value, slope) == (-advantage, -advantage)
    assert sum(statistics.values()) == 1.0


def test_a_wide_range_is_plain_importance_sampling():
    torch.manual_seed(0)
    logprobs, old = -torch.rand(3, 4), -torch.rand(3, 4)
    advantages, mask = torch.randn(3), torch.ones(3, 4, dtype=torch.bool)
    loss, _ = clipped_surrogate(logprobs, old, advantages, mask, clip_low=0.99, clip_high=1e9, dual_clip=None)
    torch.testing.assert_close(loss, -(logprobs - old).exp() * advantages[:, None])


def test_old_logprobs_are_constants_even_if_they_are_the_very_same_tensor():
    logprobs = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    mask = torch.ones(1, 2, dtype=torch.bool)
    loss, _ = clipped_surrogate(logprobs, logprobs, torch.tensor([2.0]), mask, **PAPER)
    loss.sum().backward()
    assert torch.equal(logprobs.grad, torch.tensor([[-2.0, -2.0]]))


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["logprobs", "old", "both", "advantage"])
def test_masked_positions_leak_into_neither_loss_nor_gradient(poison, where):
    clean = torch.tensor([[-1.0, -2.0], [-1.0, -1.0]])
    mask = torch.tensor([[True, False], [False, False]])
    logprobs = clean.masked_fill(~mask, poison) if where in ("logprobs", "both") else clean.clone()
    old = clean.masked_fill(~mask, poison) if where in ("old", "both") else clean.clone()
    advantages = torch.tensor([2.0, poison if where == "advantage" else 1.0])
    logprobs.requires_grad_()
    loss, statistics = clipped_surrogate(logprobs, old, advantages, mask, **PAPER)
    assert torch.equal(loss.detach(), torch.tensor([[-2.0, 0.0], [0.0, 0.0]]))
    loss.sum().backward()
    assert torch.equal(logprobs.grad, torch.tensor([[-2.0, 0.0], [0.0, 0.0]]))
    assert all(torch.equal(value[~mask], torch.zeros(3)) for value in statistics.values())


@pytest.mark.parametrize("gap", [-1e4, 1e4])
@pytest.mark.parametrize("advantage", [-2.0, 2.0])
def test_policies_far_apart_stay_finite(gap, advantage):
    logprobs = torch.tensor([[gap]], requires_grad=True)
    mask = torch.ones(1, 1, dtype=torch.bool)
    bounds = PAPER | {"dual_clip": None}
    loss, statistics = clipped_surrogate(logprobs, torch.zeros(1, 1), torch.tensor([advantage]), mask, **bounds)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert logprobs.grad.isfinite().all()
    assert statistics["importance_ratio"].item() == pytest.approx(math.exp(math.copysign(20, gap)))


def test_statistics_and_advantages_carry_no_gradient():
    logprobs = torch.tensor([[-1.0]], requires_grad=True)
    advantages = torch.tensor([1.0], requires_grad=True)
    loss, statistics = ClippedPolicyLoss()(logprobs, -torch.ones(1, 1), advantages, torch.ones(1, 1, dtype=torch.bool))
    assert not any(value.requires_grad for value in statistics.values())
    loss.sum().backward()
    assert advantages.grad is None


def test_rows_do_not_see_each_other():
    torch.manual_seed(0)
    logprobs, old, advantages = -torch.rand(6, 5), -torch.rand(6, 5), torch.randn(6)
    mask = torch.rand(6, 5) < 0.7
    loss, _ = clipped_surrogate(logprobs, old, advantages, mask, **PAPER)
    order = torch.randperm(6)
    permuted, _ = clipped_surrogate(logprobs[order], old[order], advantages[order], mask[order], **PAPER)
    assert torch.equal(permuted, loss[order])


def test_empty_batches_stay_in_the_graph():
    logprobs = torch.zeros(0, 3, requires_grad=True)
    loss, _ = ClippedPolicyLoss()(logprobs, torch.zeros(0, 3), torch.zeros(0), torch.zeros(0, 3, dtype=torch.bool))
    loss.sum().backward()
    assert logprobs.grad.shape == (0, 3)


def test_the_component_is_the_function_with_the_papers_numbers():
    parameters = inspect.signature(ClippedPolicyLoss).parameters
    assert {name: parameters[name].default for name in PAPER} == PAPER
    logprobs, old = torch.tensor([[0.5, -0.5, 2.0]]), torch.zeros(1, 3)
    mask = torch.ones(1, 3, dtype=torch.bool)
    for bounds in ({}, {"clip_low": 0.1, "clip_high": 0.4, "dual_clip": None}):
        ours, theirs = (
            ClippedPolicyLoss(**bounds)(logprobs, old, torch.tensor([-1.0]), mask),
            clipped_surrogate(logprobs, old, torch.tensor([-1.0]), mask, **(PAPER | bounds)),
        )
        assert torch.equal(ours[0], theirs[0])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"clip_low": -0.1}, r"clip_low must lie in \[0, 1\), got -0.1"),
        ({"clip_low": 1.0}, r"clip_low must lie in \[0, 1\), got 1.0"),
        ({"clip_high": -0.1}, "clip_high must be >= 0, got -0.1"),
        ({"clip_high": float("nan")}, "clip_high must be >= 0, got nan"),
        ({"dual_clip": 1.0}, "dual_clip must be > 1, got 1.0"),
    ],
)
def test_bounds_that_make_no_range_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        ClippedPolicyLoss(**fields)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("old_logprobs", (2, 4)), ("completion_mask", (3,)), ("advantages", (2, 3)), ("advantages", (3,))],
)
def test_shapes_that_do_not_fit_are_refused_by_name(name, shape):
    arguments = {
        "logprobs": torch.zeros(2, 3),
        "old_logprobs": torch.zeros(2, 3),
        "advantages": torch.zeros(2),
        "completion_mask": torch.ones(2, 3, dtype=torch.bool),
    }
    arguments[name] = arguments[name].new_zeros(shape)
    with pytest.raises(ValueError, match=f"{name} has shape"):
        ClippedPolicyLoss()(**arguments)
