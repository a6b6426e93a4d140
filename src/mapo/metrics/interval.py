"""How far an accuracy may be from what endlessly many prompts would give."""

import math
from collections.abc import Sequence

_Z_95 = 1.959963984540054  # 97.5 % of a normal distribution lie below it


def wilson_interval(share: float, size: float, z: float = _Z_95) -> tuple[float, float]:
    """Return Wilson's score interval of a share.

    (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)

    Source: Wilson 1927 (https://doi.org/10.1080/01621459.1927.10502953).

    Args:
        share: p, in [0, 1].
        size: n, independent observations behind it, > 0; need not be whole.
        z: Quantile of the normal distribution; 95 % of it lie between -1.96 and 1.96.

    Returns:
        The lower and the upper end, in [0, 1]; exactly 0 below a share of 0, and 1 above a share of 1.

    Example:
        >>> low, high = wilson_interval(8 / 10, 10)
        >>> f"{low:.3f} to {high:.3f}"
        '0.490 to 0.943'
    """
    square = z * z / size
    centre, half = share + square / 2, z * math.sqrt(share * (1 - share) / size + square / (4 * size))
    low, high = (centre - half) / (1 + square), (centre + half) / (1 + square)
    # At a share of 0 or 1 an end is that share, which rounding would miss by 1e-17.
    return 0.0 if share == 0 else max(0.0, low), 1.0 if share == 1 else min(1.0, high)


def effective_size(means: Sequence[float], num: int = 1) -> float:
    """Return how many independent completions know as much about the mean as these samples do.

    n_eff = p(1-p) / se², with p the mean of the samples' means mᵢ and se² = Σ (mᵢ - p)² / N² its squared standard
    error, clustered by sample.

    Source: the clustered standard error is that of Miller 2024 (https://arxiv.org/abs/2411.00640).

    Args:
        means: Mean accuracy of each of N samples over its completions, in [0, 1].
        num: Completions per sample.

    Returns:
        At least N, at most N x num: N where a sample's completions agree, as with one completion of 0 or 1; N x num
        where they are as good as independent. N where p is 0 or 1 or all samples are alike, which tells nothing of se.

    Example:
        >>> effective_size([1.0, 0.0, 1.0, 1.0], num=4), effective_size([0.5, 0.0, 0.5, 1.0], num=2)
        (4.0, 8.0)
    """
    samples = len(means)
    mean = math.fsum(means) / samples
    deviations = math.fsum((value - mean) ** 2 for value in means)
    if deviations == 0 or not 0 < mean < 1:
        return float(samples)
    size = mean * (1 - mean) * samples**2 / deviations
    # More than all completions it cannot be; below N it only comes by rounding.
    return min(max(size, samples), samples * num)


def mean_interval(means: Sequence[float], num: int = 1) -> tuple[float, float]:
    """Return the 95 % confidence interval of the mean accuracy of a set.

    Wilson's interval with the effective number of completions in place of n.

    Source: for clustered samples, Franco et al. 2019 (https://doi.org/10.1093/jssam/smy019) recommend this form.

    Args:
        means: Mean accuracy of each sample over its completions, in [0, 1].
        num: Completions per sample.

    Returns:
        The lower and the upper end; NaN without samples.

    Example:
        >>> low, high = mean_interval([1.0] * 8 + [0.0] * 2)
        >>> f"{low:.3f} to {high:.3f}"
        '0.490 to 0.943'
    """
    if not means:
        return math.nan, math.nan
    return wilson_interval(math.fsum(means) / len(means), effective_size(means, num))
