"""Closed forms against sums written out."""

import pytest

from mapo.functional.flops import MatrixProducts, causal_pairs, window_pairs


@pytest.mark.parametrize("window", [None, 1, 3, 8, 100])
@pytest.mark.parametrize(("start", "stop"), [(0, 0), (0, 9), (2, 3), (5, 9), (9, 12)])
def test_causal_pairs_are_the_sum_over_queries(start: int, stop: int, window: int | None) -> None:
    expected = sum(min(place + 1, window or stop) for place in range(start, stop))
    assert causal_pairs(start, stop, window) == expected


@pytest.mark.parametrize(("height", "width", "window"), [(8, 8, 4), (10, 6, 4), (2, 2, 8), (7, 5, 2)])
def test_window_pairs_are_the_sum_over_windows(height: int, width: int, window: int) -> None:
    cells = [(row // window, column // window) for row in range(height) for column in range(width)]
    assert window_pairs(height, width, window) == sum(cells.count(own) for own in cells)
    assert window_pairs(height, width) == (height * width) ** 2


def test_full_training_is_three_times_the_forward() -> None:
    """PaLM's 6N per token, when everything is trained."""
    all_trained = MatrixProducts(weights=100, trained=100, passed=100)
    assert all_trained.forward(7, 50) + all_trained.backward(7, 50) == 6 * 100 * 7 + 3 * 2 * 50


def test_nothing_trained_costs_no_backward() -> None:
    assert MatrixProducts(weights=100).backward(7, 50) == 0
