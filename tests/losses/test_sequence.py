"""GSPO's surrogate: one ratio per completion, followed or cut as a whole."""

import inspect
import math

import pytest
import torch

from mapo.losses.aggregation import SequenceMean
from mapo.losses.clipped import clipped_surrogate
from mapo.losses.sequence import SequencePolicyLoss, sequence_surrogate

BOUNDS = {"clip_low": 0.2, "clip_high": 0.3}


def batch():
    torch.manual_seed(0)
    logprobs = -torch.rand(6, 5, dtype=torch.float64)
    old = logprobs + 0.6 * torch.randn(6, 5, dtype=torch.float64)
    mask = torch.arange(5) < torch.tensor([5, 3, 1, 0, 4, 2])[:, None]
    return logprobs.requires_grad_(), old, torch.randn(6, dtype=torch.float64), mask


@pytest.mark.parametrize(
    ("ratios", "advantage", "loss", "slope", "cut"),
    [
        ((1.0, 1.44), 2.0, -2.4, -1.2, None),  # s = √1.44 = 1.2, inside: -sA, and each of two tokens moves half of it
        ((0.5, 2.0), 2.0, -2.0, -1.0, None),  # tokens far off on either side, a completion as likely as before
        ((1.0, 4.0), 2.0, -2.6, 0.0, "high"),  # s = 2: held at 1.3
        ((1.0, 0.25), 2.0, -1.0, -0.5, None),  # A > 0 below the range: still pulled up
        ((1.0, 0.25), -2.0, 1.6, 0.0, "low"),  # s = 1/2: held at .8
        ((1.0, 4.0), -2.0, 4.0, 2.0, None),  # A < 0 above the range: still pushed down
    ],
)
def test_each_branch_by_hand(ratios, advantage, loss, slope, cut):
    logprobs = torch.tensor([ratios], dtype=torch.float64).log().requires_grad_()
    advantages, mask = torch.tensor([advantage], dtype=torch.float64), torch.ones(1, 2, dtype=torch.bool)
    losses, statistics = sequence_surrogate(logprobs, torch.zeros(1, 2).double(), advantages, mask, **BOUNDS)
    assert losses[0].tolist() == pytest.approx([loss, loss])
    losses.mean().backward()  # the completion's mean over its tokens is its loss
    assert logprobs.grad[0].tolist() == pytest.approx([slope, slope])
    ratio = math.sqrt(ratios[0] * ratios[1])
    assert statistics.pop("importance_ratio")[0].tolist() == pytest.approx([ratio, ratio])
    expected = {f"clip_fraction_{name}": [float(name == cut)] * 2 for name in ("low", "high")}
    assert {name: values[0].tolist() for name, values in statistics.items()} == expected


def test_completions_of_one_token_are_clipped_as_by_ppo():
    logprobs, old, advantages, _ = batch()
    mask = torch.zeros(6, 5, dtype=torch.bool)
    mask[:, 0] = True
    ours, statistics = sequence_surrogate(logprobs, old, advantages, mask, **BOUNDS)
    theirs, expected = clipped_surrogate(logprobs, old, advantages, mask, **BOUNDS, dual_clip=None)
    torch.testing.assert_close(ours, theirs)
    for name, values in statistics.items():
        torch.testing.assert_close(values, expected[name])


def test_with_the_sequence_mean_it_is_the_papers_objective():
    logprobs, old, advantages, mask = batch()
    aggregation = SequenceMean()
    losses, _ = sequence_surrogate(logprobs, old, advantages, mask, **BOUNDS)
    ours = (aggregation.token_weights(mask) * losses).sum() / aggregation.normaliser(mask)
    objective = []
    for new, before, advantage, kept in zip(logprobs, old, advantages, mask, strict=True):
        if kept.any():
            ratio = (new[kept].sum() - before[kept].sum()).div(kept.sum()).exp()
            objective.append(torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.3) * advantage))
    expected = -torch.stack(objective).mean()
    torch.testing.assert_close(ours, expected)
    gradients = [torch.autograd.grad(value, logprobs, retain_graph=True)[0] for value in (ours, expected)]
    torch.testing.assert_close(*gradients)
    assert gradients[0].norm() > 0.01


def test_on_policy_it_is_the_plain_policy_gradient():
    logprobs, _, advantages, mask = batch()
    losses, statistics = sequence_surrogate(logprobs, logprobs, advantages, mask, clip_low=0.0, clip_high=0.0)
    losses.sum().backward()  # every token of a completion moves by -A
    torch.testing.assert_close(logprobs.grad, (-advantages[:, None] * mask).expand(6, 5))
    assert float(statistics["importance_ratio"][mask].sum()) == mask.sum()
    assert float(statistics["clip_fraction_low"].sum() + statistics["clip_fraction_high"].sum()) == 0


def test_rows_do_not_see_each_other_nor_their_padding():
    logprobs, old, advantages, mask = batch()
    loss, _ = sequence_surrogate(logprobs, old, advantages, mask, **BOUNDS)
    for row in range(6):
        short = int(mask[row].sum())
        one = (values[row : row + 1, :short] for values in (logprobs, old))
        alone, _ = sequence_surrogate(*one, advantages[row : row + 1], mask[row : row + 1, :short], **BOUNDS)
        torch.testing.assert_close(alone[0], loss[row, :short])


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["logprobs", "old", "both", "advantage"])
def test_masked_positions_leak_into_neither_loss_nor_gradient(poison, where):
    clean = torch.tensor([[-1.0, -2.0], [-1.0, -1.0]])
    mask = torch.tensor([[True, False], [False, False]])
    logprobs = clean.masked_fill(~mask, poison) if where in ("logprobs", "both") else clean.clone()
    old = clean.masked_fill(~mask, poison) if where in ("old", "both") else clean.clone()
    advantages = torch.tensor([2.0, poison if where == "advantage" else 1.0])
    loss, statistics = sequence_surrogate(logprobs.requires_grad_(), old, advantages, mask, **BOUNDS)
    assert torch.equal(loss.detach(), torch.tensor([[-2.0, 0.0], [0.0, 0.0]]))
    loss.sum().backward()
    assert torch.equal(logprobs.grad, torch.tensor([[-2.0, 0.0], [0.0, 0.0]]))
    assert all(torch.equal(value[~mask], torch.zeros(3)) for value in statistics.values())


def test_without_an_advantage_loss_and_gradient_are_zero_as_it_says():
    logprobs, old, advantages, mask = batch()
    loss, _ = SequencePolicyLoss()(logprobs, old, torch.zeros_like(advantages), mask)
    loss.sum().backward()
    assert SequencePolicyLoss.zero_without_advantage
    assert not loss.any()
    assert not logprobs.grad.any()


def test_the_component_is_the_function_with_the_papers_numbers():
    parameters = inspect.signature(SequencePolicyLoss).parameters
    assert {name: parameters[name].default for name in BOUNDS} == {"clip_low": 3e-4, "clip_high": 4e-4}
    logprobs, old, advantages, mask = batch()
    ours = SequencePolicyLoss(**BOUNDS)(logprobs, old, advantages, mask)
    assert torch.equal(ours[0], sequence_surrogate(logprobs, old, advantages, mask, **BOUNDS)[0])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"clip_low": 1.0}, r"clip_low must lie in \[0, 1\), got 1.0"),
        ({"clip_high": float("nan")}, "clip_high must be >= 0, got nan"),
    ],
)
def test_bounds_that_make_no_range_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        SequencePolicyLoss(**fields)


def test_shapes_that_do_not_fit_are_refused_by_name():
    with pytest.raises(ValueError, match="advantages has shape"):
        SequencePolicyLoss()(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(3), torch.ones(2, 3, dtype=torch.bool))
