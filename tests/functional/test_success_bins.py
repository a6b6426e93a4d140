"""Groups by success rate: the bins' edges are exact."""

import pytest
import torch

from mapo.functional.success_bins import BINS, success_bins


def names(*counts, size):
    success = torch.arange(size) < torch.tensor(counts)[:, None]
    return [BINS[index] for index in success_bins(success).tolist()]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (2, ["none", "half", "all"]),
        (3, ["none", "half", "half", "all"]),  # thirds belong to the half
        (4, ["none", "few", "half", "most", "all"]),
        (12, ["none"] + ["few"] * 3 + ["half"] * 5 + ["most"] * 3 + ["all"]),
    ],
)
def test_every_number_of_successes_has_its_bin(size, expected):
    assert names(*range(size + 1), size=size) == expected


def test_a_completion_that_could_not_be_scored_does_not_count():
    success = torch.tensor([[True, True, False, False], [False, True, True, True], [True, True, True, True]])
    valid = torch.tensor([[True, True, False, False], [True, False, True, False], [False, False, False, False]])
    assert [BINS[index] for index in success_bins(success, valid=valid)] == ["all", "half", "none"]


def test_bins_follow_their_groups_when_these_are_permuted():
    torch.manual_seed(0)
    success, order = torch.rand(30, 7) < 0.5, torch.randperm(30)
    assert torch.equal(success_bins(success)[order], success_bins(success[order]))
    assert torch.equal(success_bins(success), success_bins(success[:, torch.randperm(7)]))
