"""Aggregations: the formula over the whole batch, and the same number and gradient for any partition of it."""

import pytest
import torch

from mapo.losses.aggregation import ConstantLength, SequenceMean, TokenMean
from mapo.losses.clipped import ClippedPolicyLoss

AGGREGATIONS = [TokenMean(), SequenceMean(), ConstantLength(max_completion_tokens=9)]
every_aggregation = pytest.mark.parametrize("aggregation", AGGREGATIONS, ids=lambda a: type(a).__name__)

ROWS, TOKENS, VOCABULARY = 12, 7, 5


def batch(dtype=torch.float64):
    """A policy of one matrix, and completions of 0 to 7 tokens; the third trains nothing."""
    torch.manual_seed(0)
    lengths = torch.tensor([7, 1, 0, 3, 5, 2, 7, 6, 4, 1, 3, 2])
    mask = torch.arange(TOKENS) < lengths[:, None]
    return {
        "weight": torch.randn(4, VOCABULARY, dtype=dtype, requires_grad=True),
        "states": torch.randn(ROWS, TOKENS, 4, dtype=dtype),
        "targets": torch.randint(0, VOCABULARY, (ROWS, TOKENS)),
        "old": -1.6 + 0.3 * torch.randn(ROWS, TOKENS, dtype=dtype),
        "advantages": torch.randn(ROWS, dtype=dtype),
        "mask": mask,
    }


def token_losses(b, rows):
    logprobs = (b["states"][rows] @ b["weight"]).log_softmax(-1).gather(-1, b["targets"][rows][..., None])[..., 0]
    return ClippedPolicyLoss()(logprobs, b["old"][rows], b["advantages"][rows], b["mask"][rows])[0]


def gradient(aggregation, b, partition):
    """Accumulated over micro-batches as training does: known normaliser first, then one backward pass each."""
    normaliser = sum(aggregation.normaliser(b["mask"][rows]) for rows in partition)
    b["weight"].grad = None
    for rows in partition:
        loss = (aggregation.token_weights(b["mask"][rows]) * token_losses(b, rows)).sum()
        (loss / normaliser).backward()
    return b["weight"].grad


def expected_loss(aggregation, b):
    losses = token_losses(b, torch.arange(ROWS))
    completions = [row[kept] for row, kept in zip(losses, b["mask"], strict=True) if kept.any()]
    if isinstance(aggregation, TokenMean):
        return torch.cat(completions).mean()
    if isinstance(aggregation, SequenceMean):
        return torch.stack([tokens.mean() for tokens in completions]).mean()
    return torch.stack([tokens.sum() / 9 for tokens in completions]).mean()


@every_aggregation
def test_equals_the_formula_over_the_whole_batch(aggregation):
    b = batch()
    weights, normaliser = aggregation.token_weights(b["mask"]), aggregation.normaliser(b["mask"])
    loss = (weights * token_losses(b, torch.arange(ROWS))).sum() / normaliser
    torch.testing.assert_close(loss, expected_loss(aggregation, b), rtol=1e-13, atol=0.0)


@every_aggregation
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("sizes", [[12], [1] * 12, [5, 7], [3, 1, 4, 4], [11, 1]])
@pytest.mark.parametrize("order", ["given", "reversed", "by_length", "shuffled"])
def test_gradient_is_the_same_for_every_partition_and_order(aggregation, dtype, tolerance, sizes, order):
    b = batch(dtype)
    orders = {
        "given": torch.arange(ROWS),
        "reversed": torch.arange(ROWS).flip(0),
        "by_length": b["mask"].sum(1).argsort(),
        "shuffled": torch.randperm(ROWS),
    }
    whole = gradient(aggregation, b, [torch.arange(ROWS)])
    ours = gradient(aggregation, b, orders[order].split(sizes))
    assert float((ours - whole).norm() / whole.norm()) < tolerance
    assert float(whole.norm()) > 1e-3


@every_aggregation
def test_mean_over_ranks_of_local_sums_times_their_number_is_the_whole(aggregation):
    # As data-parallel training computes it: loss = local sum x world size / global normaliser, gradients averaged.
    b = batch()
    ranks = torch.arange(ROWS).split([4, 4, 4])
    normaliser = sum(aggregation.normaliser(b["mask"][rows]) for rows in ranks)
    gradients = []
    for rows in ranks:
        b["weight"].grad = None
        local = (aggregation.token_weights(b["mask"][rows]) * token_losses(b, rows)).sum()
        (local * 3 / normaliser).backward()
        gradients.append(b["weight"].grad)
    whole = gradient(aggregation, b, [torch.arange(ROWS)])
    assert float((torch.stack(gradients).mean(0) - whole).norm() / whole.norm()) < 1e-12


@every_aggregation
def test_padding_and_untrained_completions_change_nothing(aggregation):
    mask = batch()["mask"]
    wider = torch.nn.functional.pad(mask, (0, 5, 0, 2))
    assert torch.equal(aggregation.token_weights(wider)[:ROWS, :TOKENS], aggregation.token_weights(mask))
    assert float(aggregation.token_weights(wider)[ROWS:].sum()) == 0
    assert aggregation.normaliser(wider) == aggregation.normaliser(mask)


@every_aggregation
@pytest.mark.parametrize("shape", [(3, 4), (3, 0), (0, 4)])
def test_nothing_trained_is_a_zero_normaliser_and_zero_weights(aggregation, shape):
    mask = torch.zeros(shape, dtype=torch.bool)
    assert aggregation.normaliser(mask) == 0
    assert aggregation.normaliser(mask).dtype == torch.float64
    assert torch.equal(aggregation.token_weights(mask), torch.zeros(shape, dtype=torch.float64))


def test_the_three_agree_where_all_completions_are_of_the_full_length():
    mask, losses = torch.ones(4, 9, dtype=torch.bool), torch.rand(4, 9)
    means = [(a.token_weights(mask) * losses).sum() / a.normaliser(mask) for a in AGGREGATIONS]
    torch.testing.assert_close(means, [losses.double().mean()] * 3, rtol=1e-6, atol=0.0)


def test_by_hand():
    # Losses 1 2 3 and 6: mean of tokens 12/4, of completions (2 + 6)/2, constant length 12/(2 · 10).
    mask = torch.tensor([[True, True, True], [True, False, False]])
    losses = torch.tensor([[1.0, 2.0, 3.0], [6.0, 0.0, 0.0]])
    aggregations = [TokenMean(), SequenceMean(), ConstantLength(max_completion_tokens=10)]
    means = [float((a.token_weights(mask) * losses).sum() / a.normaliser(mask)) for a in aggregations]
    assert means == pytest.approx([3.0, 4.0, 0.6])


def test_the_rollouts_limit_fills_a_length_that_was_left_open():
    mask = torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="max_completion_tokens is None"):
        ConstantLength().normaliser(mask)
    assert ConstantLength().with_limit(5).normaliser(mask) == 10
    assert ConstantLength(max_completion_tokens=7).with_limit(5).normaliser(mask) == 14
    assert TokenMean().with_limit(5) == TokenMean()


@pytest.mark.parametrize("length", [0, -3])
def test_a_length_below_one_is_refused(length):
    with pytest.raises(ValueError, match=f"max_completion_tokens must be >= 1, got {length}"):
        ConstantLength(max_completion_tokens=length)
