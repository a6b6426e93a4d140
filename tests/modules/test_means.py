import math

import torch

from mapo.modules.means import Means


def test_mean_weighs_values_not_calls():
    means = Means()
    means.add("reward", torch.tensor([1.0, 1.0, 1.0]))
    means.add("reward", torch.tensor([0.0]))
    assert means.compute() == {"reward": 0.75}


def test_only_masked_values_count():
    means = Means()
    means.add_tokens({"ratio": torch.tensor([[1.0, 9.0], [3.0, 9.0]])}, torch.tensor([[True, False], [True, False]]))
    assert means.compute() == {"ratio": 2.0}


def test_nothing_counted_is_nan_and_not_zero():
    means = Means()
    means.add("kl", torch.zeros(2), torch.tensor([False, False]))
    assert math.isnan(means.compute()["kl"])


def test_ranks_of_unequal_size_reduce_to_the_mean_over_all_values():
    one, other = Means(), Means()
    one.add("length", torch.tensor([1.0, 2.0, 3.0]))
    other.add("length", torch.tensor([6.0]))
    other_sums = torch.tensor([[6.0, 1.0]], dtype=torch.float64)
    assert one.compute(lambda sums: sums + other_sums) == {"length": 3.0}


def test_tokens_by_success_bin_share_out_the_whole():
    means, mask = Means(), torch.tensor([[True, True], [True, False], [True, True]])
    values, bins = torch.tensor([[1.0, 3.0], [8.0, 100.0], [4.0, 4.0]]), torch.tensor([0, 4, 0])
    means.add("kl", values, mask)
    means.add_by_bin("kl", values, mask, bins)
    means.add_by_bin("kl", values[:1], mask[:1], bins[1:2])  # a further micro-batch
    found = means.compute()
    assert (found["kl"], found["kl/none"], found["kl/all"]) == (4.0, 3.0, 4.0)  # 12 / 4 and (8 + 1 + 3) / 3 tokens
    assert math.isnan(found["kl/half"])


def test_largest_is_over_masked_values_of_all_calls_and_ranks():
    means = Means()
    for values in ([1.0, 9.0], [3.0, 7.0]):
        means.add_largest("weight", torch.tensor([values]), torch.tensor([[True, False]]))
    assert means.compute() == {"weight": 3.0}
    assert means.compute(reduce_max=lambda largest: largest.clamp_min(4.0)) == {"weight": 4.0}
    nothing = Means()
    nothing.add_largest("weight", torch.zeros(1, 2), torch.zeros(1, 2) > 0)
    assert not math.isfinite(nothing.compute()["weight"])
