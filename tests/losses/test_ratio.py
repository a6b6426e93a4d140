"""Importance ratios: what may not leak into them."""

import math

import torch

from mapo.losses.ratio import MAX_LOG_RATIO, log_ratio, ratio_of


def test_by_hand():
    ours = log_ratio(torch.tensor([[-1.0, -2.0]]), torch.tensor([[-1.5, -1.0]]), torch.ones(1, 2, dtype=torch.bool))
    assert ours.tolist() == [[0.5, -1.0]]
    torch.testing.assert_close(ratio_of(ours), torch.tensor([[math.e**0.5, 1 / math.e]]))


def test_the_clamp_keeps_policies_far_apart_finite():
    assert ratio_of(torch.tensor([-1e4, 1e4])).log().tolist() == [-MAX_LOG_RATIO, MAX_LOG_RATIO]


def test_masked_positions_and_old_logprobs_get_no_gradient():
    logprobs = torch.tensor([[-1.0, torch.nan]], requires_grad=True)
    old = torch.tensor([[-1.0, torch.inf]], requires_grad=True)
    ratio_of(log_ratio(logprobs, old, torch.tensor([[True, False]]))).sum().backward()
    assert logprobs.grad.tolist() == [[1.0, 0.0]]
    assert old.grad is None
