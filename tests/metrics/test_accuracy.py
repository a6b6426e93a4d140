from itertools import combinations

import pytest
import torch

from mapo.metrics.accuracy import SampleAccuracy, pass_at_k

RIGHT = torch.tensor([[1.0, 0.0, 0.5, 1.0], [0.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]])


def update(metric, accuracy, *, valid=None, truncated=None):
    flags = torch.zeros_like(accuracy, dtype=torch.bool)
    metric.update(
        accuracy,
        valid=~flags if valid is None else valid,
        truncated=flags if truncated is None else truncated,
        success=accuracy > 0,
        lengths=torch.arange(accuracy.numel()).reshape(accuracy.shape),
    )


def figures(metric):
    return {name: value.item() for name, value in metric.compute().items()}


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_pass_at_k_is_the_share_of_draws_with_a_right_one(k):
    for num_correct in range(6):
        correct = [i < num_correct for i in range(5)]
        draws = [any(draw) for draw in combinations(correct, k)]
        assert pass_at_k(torch.tensor([correct]), k).item() == pytest.approx(sum(draws) / len(draws), abs=1e-12)


@pytest.mark.parametrize("k", [0, 6])
def test_pass_at_k_needs_k_completions(k):
    with pytest.raises(ValueError, match=f"pass@{k} needs 1 <= k <= completions per sample, got 5"):
        pass_at_k(torch.ones(1, 5, dtype=torch.bool), k)


def test_figures_by_hand():
    metric = SampleAccuracy(ks=(1, 4))
    truncated = torch.zeros(3, 4, dtype=torch.bool)
    truncated[1] = True
    update(metric, RIGHT, truncated=truncated)
    assert figures(metric) == pytest.approx(
        {
            "accuracy": (2.5 / 4 + 1 / 4 + 1) / 3,  # half a point counts as half
            "pass@1": (2 / 4 + 1 / 4 + 1) / 3,  # half a point is not right
            "pass@4": 1.0,
            "truncated_share": 4 / 12,
            "completion_length": 5.5,  # lengths 0 to 11
            "failed_verdict_share": 0.0,
            "success_rate": 8 / 12,
            "num_samples_evaluated": 3.0,
        }
    )


def test_a_failed_verdict_is_wrong_and_counted_apart():
    metric = SampleAccuracy(ks=(1,))
    valid = torch.ones(3, 4, dtype=torch.bool)
    valid[2, :2] = False
    accuracy = RIGHT.clone()
    accuracy[~valid] = float("nan")
    update(metric, accuracy, valid=valid)
    found = figures(metric)
    assert found["accuracy"] == pytest.approx((2.5 / 4 + 1 / 4 + 2 / 4) / 3)
    assert found["pass@1"] == pytest.approx((2 / 4 + 1 / 4 + 2 / 4) / 3)
    assert found["failed_verdict_share"] == pytest.approx(2 / 12)


def test_rows_that_could_not_be_asked_are_wrong_but_have_no_completions():
    metric = SampleAccuracy(ks=(4,))
    update(metric, RIGHT)
    before = figures(metric)
    metric.add_wrong(3)
    after = figures(metric)
    assert after["accuracy"] == pytest.approx(before["accuracy"] / 2)
    assert after["pass@4"] == pytest.approx(0.5)
    assert after["completion_length"] == before["completion_length"]


@pytest.mark.parametrize("cut", [0, 1, 3])
def test_uneven_ranks_add_up_to_the_figures_of_one(cut):
    alone, ranks = SampleAccuracy(ks=(2,)), [SampleAccuracy(ks=(2,)) for _ in range(2)]
    update(alone, RIGHT)
    for rank, share in zip(ranks, (RIGHT[:cut], RIGHT[cut:]), strict=True):
        if len(share):
            update(rank, share)
    for name, reduce in ranks[0]._reductions.items():  # what torchmetrics does with the gathered states
        setattr(ranks[0], name, reduce(torch.stack([getattr(rank, name) for rank in ranks])))
    ranks[0]._update_count = 1
    found, expected = figures(ranks[0]), figures(alone)
    assert (found["accuracy"], found["pass@2"]) == (expected["accuracy"], expected["pass@2"])


def test_a_rank_without_rows_adds_nothing():
    metric = SampleAccuracy(ks=(1,))
    update(metric, RIGHT)
    before = figures(metric)
    update(metric, torch.zeros(0, 4))
    assert figures(metric) == before


def test_reset_and_half_precision_leave_the_sums_exact():
    metric = SampleAccuracy().to(torch.bfloat16)
    for _ in range(3):
        update(metric, torch.tensor([[1.0], [0.0], [0.0]]))
    assert figures(metric)["accuracy"] == pytest.approx(1 / 3, abs=1e-9)
    metric.reset()
    update(metric, torch.ones(1, 1))
    assert figures(metric)["accuracy"] == 1.0
