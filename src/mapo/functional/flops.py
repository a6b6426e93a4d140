"""Floating-point operations that a computation needs, in closed form: matrix products and attention."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MatrixProducts:
    """Products with weight matrices that every token goes through, and the attention between tokens.

    A token costs 2 FLOPs per weight forward, 2 per weight for the gradient of its input, and 2 per trained weight for
    that weight's gradient. Attention costs 2 FLOPs per product of two numbers forward and 4 backward. Norms,
    activations, softmaxes and lookups are left out; so is what an implementation computes again in its backward pass.

    Source: appendix B of PaLM (https://arxiv.org/abs/2204.02311), which has 6N + 12LHQT per token for N trained
    weights, L layers, H heads of size Q and T tokens; here only the pairs are counted that a causal mask leaves.

    Attributes:
        weights: Numbers in the matrices that each token is multiplied with.
        trained: Those of them that have a gradient.
        passed: Those whose input has one, because something before them is trained.
    """

    weights: int
    trained: int = 0
    passed: int = 0

    def forward(self, tokens: int, attention: int = 0) -> int:
        """Return the FLOPs of the forward pass.

        Args:
            tokens: How many go through.
            attention: Products of two numbers in all scores and all weighted sums of values: over the layers, pairs of
                positions x heads x (size of a key + size of a value).

        Example:
            >>> MatrixProducts(weights=10).forward(tokens=3, attention=5)
            70
        """
        return 2 * (self.weights * tokens + attention)

    def backward(self, tokens: int, attention: int = 0) -> int:
        """Return the FLOPs of the backward pass; 0 where nothing is trained here or before.

        Example:
            >>> MatrixProducts(weights=10, trained=4, passed=10).backward(tokens=3, attention=5)
            104
        """
        return 2 * ((self.trained + self.passed) * tokens + 2 * attention * bool(self.passed))


def causal_pairs(start: int, stop: int, window: int | None = None) -> int:
    """Return how many pairs (query, key) a causal mask leaves to the queries at places start .. stop - 1.

    Σ min(i + 1, window) over i = start .. stop - 1; each position sees itself and what is before it.

    Args:
        start: First query; keys begin at 0.
        stop: One past the last query.
        window: Most keys of one query; None: all.

    Example:
        >>> causal_pairs(0, 4), causal_pairs(3, 5), causal_pairs(0, 4, window=2)
        (10, 9, 7)
    """
    if window is None:
        return (stop * (stop + 1) - start * (start + 1)) // 2
    growing = causal_pairs(min(start, window), min(stop, window))
    return growing + window * (max(stop, window) - max(start, window))


def window_pairs(height: int, width: int, window: int | None = None) -> int:
    """Return how many pairs attend to each other in a grid of patches cut into square windows.

    Windows of ``window`` x ``window`` patches begin at the upper left; those at the other edges are what is left.

    Args:
        height: Rows of patches.
        width: Columns.
        window: Patches along a side; None: one window, the whole grid.

    Example:
        >>> window_pairs(2, 3), window_pairs(2, 3, window=2)
        (36, 20)
    """
    if window is None:
        return (height * width) ** 2
    return _squares(height, window) * _squares(width, window)


def _squares(length: int, part: int) -> int:
    """Return the sum of the squared lengths of the parts."""
    whole, rest = divmod(length, part)
    return whole * part**2 + rest**2
