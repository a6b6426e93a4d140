from itertools import combinations

import pytest
import torch

from mapo.metrics.accuracy import pass_at_k


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
