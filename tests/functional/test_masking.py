"""Means and deviations see only what the mask shows them."""

import pytest
import torch

from mapo.functional.masking import masked_mean, masked_std


def case():
    torch.manual_seed(0)
    return torch.randn(4, 9, dtype=torch.float64), torch.rand(4, 9) < 0.6


def test_equals_the_selected_entries():
    values, mask = case()
    torch.testing.assert_close(masked_mean(values, mask), values[mask].mean())
    for ddof in (0, 1):
        torch.testing.assert_close(masked_std(values, mask, ddof=ddof), values[mask].std(correction=ddof))
        rows = torch.stack([row[kept].std(correction=ddof) for row, kept in zip(values, mask, strict=True)])
        torch.testing.assert_close(masked_std(values, mask, dim=1, ddof=ddof), rows)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_what_is_masked_reaches_neither_value_nor_gradient(poison):
    values, mask = case()
    clean = masked_std(values, mask, dim=1), masked_mean(values, mask, dim=1)
    poisoned = values.masked_fill(~mask, poison).requires_grad_()
    assert torch.equal(masked_std(poisoned, mask, dim=1), clean[0])
    mean = masked_mean(poisoned, mask, dim=1)
    assert torch.equal(mean, clean[1])
    mean.sum().backward()
    assert torch.equal(poisoned.grad == 0, ~mask)


def test_nothing_to_count_gives_zero():
    values, mask = torch.full((2, 3), float("nan")), torch.zeros(2, 3, dtype=torch.bool)
    assert torch.equal(masked_mean(values, mask, dim=1), torch.zeros(2))
    assert torch.equal(masked_std(values, mask, dim=1, ddof=1), torch.zeros(2))


def test_one_entry_has_no_sample_deviation():
    mask = torch.tensor([[True, False]])
    assert masked_std(torch.tensor([[3.0, 9.0]]), mask, dim=1, ddof=1).tolist() == [0.0]


def test_keepdim_keeps_the_rows():
    values, mask = case()
    assert masked_mean(values, mask, dim=1, keepdim=True).shape == (4, 1)
    assert masked_std(values, mask, dim=1, keepdim=True).shape == (4, 1)
