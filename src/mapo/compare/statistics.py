"""How sure a mean over questions and seeds is, and the difference of two."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from mapo.metrics.interval import wilson_interval

Floats = npt.NDArray[np.float64]
_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % confidence interval.

    Attributes:
        value: The estimate.
        low: Lower end.
        high: Upper end.
        p_value: Two-sided, that a difference is 0; None for what is no difference.
        covers_runs: Whether the interval says how far another training run may be off, and not only other questions.
    """

    value: float
    low: float
    high: float
    p_value: float | None
    covers_runs: bool

    @property
    def sign(self) -> int:
        """1 or -1 where the interval lies on one side of 0, else 0."""
        return (self.low > 0) - (self.high < 0)


@dataclass(frozen=True)
class _Part:
    """What contributes to an estimate as one sample of runs, with weight and accuracies [S, Q] of every set."""

    weights: Mapping[str, float]
    accuracy: Mapping[str, Floats]

    @property
    def num_runs(self) -> int:
        return next(iter(self.accuracy.values())).shape[0]

    @property
    def value(self) -> float:
        return float(sum(weight * self.accuracy[name].mean() for name, weight in self.weights.items()))

    def run_variance(self) -> float:
        """Return the variance of the mean over runs that their spread shows; answers drawn anew count in."""
        per_run = sum(weight * self.accuracy[name].mean(axis=1) for name, weight in self.weights.items())
        return float(np.var(per_run, ddof=1) / self.num_runs)

    def answer_variance(self, name: str) -> float:
        """Return the share in it of what neither a question nor a run explains: the mean square of interaction."""
        accuracy = self.accuracy[name]
        residual = accuracy - accuracy.mean(axis=0) - accuracy.mean(axis=1, keepdims=True) + accuracy.mean()
        runs, questions = accuracy.shape
        return float((residual**2).sum() / ((runs - 1) * max(questions - 1, 1)) / accuracy.size)


class Bootstrap:
    """Intervals of accuracies and of their differences, over questions and training runs.

    Every method answers the same questions, with S runs of different seeds. A replicate draws Q questions with
    replacement, the same for all methods, so that a difference is paired. Runs are too few to be drawn likewise (three
    have ten samples, and their spread is a third too small); the mean over runs moves by a normal deviate instead,
    whose variance is s² (S - 1) / χ² with S - 1 degrees of freedom: Student's t. That variance is not taken below what
    answers drawn anew explain, and what they explain is left out of the questions' part, so that nothing counts twice.
    95 % of the replicates lie within an interval. Two methods are thought to have answered two questions more, one each
    alone right, so that a difference in a handful of questions is not taken for certain.

    Source: resampling questions and models together, Bouthillier et al. 2021 (https://arxiv.org/abs/2103.03098) and
    Miller 2024 (https://arxiv.org/abs/2411.00640); two-way layouts, Owen 2007 (https://doi.org/10.1214/07-AOAS122); the
    two questions more, after Agresti and Min 2005 (https://doi.org/10.1002/sim.1781).
    """

    def __init__(
        self, accuracies: Mapping[str, Sequence[Floats]], *, num_replicates: int = 10_000, seed: int = 0
    ) -> None:
        """Draw the questions.

        Args:
            accuracies: By set, one matrix [S, Q] of shares of 1 per method; its columns are the same questions for all.
            num_replicates: Replicates.
            seed: Of the draws; equal seeds give equal intervals.
        """
        self._accuracies, self._num = accuracies, num_replicates
        self._seed = seed
        rng = np.random.default_rng(seed)
        means = {name: np.stack([one.mean(axis=0) for one in found], axis=1) for name, found in accuracies.items()}
        self._known_deviates: dict[tuple[int, int], tuple[Floats, Floats]] = {}
        self._moves = {name: _moves(found, num_replicates, rng) for name, found in means.items()}
        # The two questions more: how often each is drawn is Poisson's, as for any one of many.
        one, other = rng.poisson(1, (2, len(means), num_replicates))
        self._more = {name: (one[k] - other[k]) / found.shape[0] for k, (name, found) in enumerate(means.items())}

    def value(self, method: int, weights: Mapping[str, float]) -> float:
        """Return a method's weighted mean over sets."""
        return _Part(weights, {name: self._accuracies[name][method] for name in weights}).value

    def level(self, method: int, weights: Mapping[str, float]) -> Interval:
        """Return a method's weighted mean over sets; its interval is Wilson's, of the effective size it amounts to.

        Args:
            method: Its place.
            weights: Of the sets, which add up to 1.
        """
        part = _Part(weights, {name: self._accuracies[name][method] for name in weights})
        moves = {name: self._moves[name][:, method] for name in weights}
        low, high = np.quantile(self._draws([part], moves), (0.025, 0.975))
        value, deviation = part.value, (high - low) / (2 * _Z)
        size = sum(self._accuracies[name][method].shape[1] for name in weights)
        if deviation > 0 and 0 < value < 1:
            size = value * (1 - value) / deviation**2
        return Interval(value, *wilson_interval(value, size), None, part.num_runs > 1)

    def difference(self, first: int, second: int, weights: Mapping[str, float], *, paired: bool) -> Interval:
        """Return the first method's weighted mean over sets less the second's.

        Args:
            first: Place of a method.
            second: Place of another.
            weights: Of the sets, which add up to 1.
            paired: Whether equal rows of both are runs with the same seed.
        """
        a, b = ({name: self._accuracies[name][place] for name in weights} for place in (first, second))
        if paired:
            parts = [_Part(weights, {name: a[name] - b[name] for name in weights})]
        else:
            parts = [_Part(weights, a), _Part({name: -weight for name, weight in weights.items()}, b)]
        moves = {name: self._moves[name][:, first] - self._moves[name][:, second] for name in weights}
        value = sum(part.value for part in parts)
        # Rounded, since draws that are 0 but for the last digit must not count as one side.
        draws = np.round(value + self._draws(parts, moves, self._more), 12)
        low, high = (float(end) for end in np.quantile(draws, (0.025, 0.975)))
        beyond = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
        p_value = min(1.0, 2 * (beyond + 1) / (self._num + 1))
        return Interval(value, low, high, p_value, all(part.num_runs > 1 for part in parts))

    def _draws(
        self, parts: Sequence[_Part], moves: Mapping[str, Floats], more: Mapping[str, Floats] | None = None
    ) -> Floats:
        """Return deviations from an estimate, as other questions and other runs would make them."""
        covers_runs = all(part.num_runs > 1 for part in parts)
        draws = np.zeros(self._num)
        answers = dict.fromkeys(moves, 0.0)
        for place, part in enumerate(parts if covers_runs else ()):
            own = {name: part.answer_variance(name) for name in moves}
            answers = {name: answers[name] + own[name] for name in moves}
            floor = sum(part.weights[name] ** 2 * own[name] for name in moves)
            normal, scale = self._deviates(place, part.num_runs - 1)
            draws += normal * np.sqrt(np.maximum(part.run_variance() * scale, floor))
        weights = parts[0].weights
        for name, move in moves.items():
            variance = float(np.var(move))
            left = math.sqrt(max(0.0, 1 - answers[name] / variance)) if variance > 0 else 1.0
            draws += weights[name] * left * (move if more is None else move + more[name])
        return draws

    def _deviates(self, place: int, degrees: int) -> tuple[Floats, Floats]:
        """Return normal deviates, and ν / χ² for variances with ν degrees of freedom; the same for every estimate."""
        if (place, degrees) not in self._known_deviates:
            rng = np.random.default_rng((self._seed, place, degrees))
            chi_square = rng.chisquare(degrees, self._num)
            self._known_deviates[place, degrees] = rng.standard_normal(self._num), degrees / chi_square
        return self._known_deviates[place, degrees]


def cohens_h(first: float, second: float) -> float:
    """Return Cohen's effect size of two shares.

    h = 2 arcsin √p₁ - 2 arcsin √p₂; 0.2 is small, 0.5 medium, 0.8 large.

    Source: Cohen 1988, Statistical Power Analysis for the Behavioral Sciences, section 6.2.

    Args:
        first: In [0, 1].
        second: In [0, 1].

    Example:
        >>> round(cohens_h(0.75, 0.5), 3)
        0.524
    """
    return 2 * math.asin(math.sqrt(min(max(first, 0.0), 1.0))) - 2 * math.asin(math.sqrt(min(max(second, 0.0), 1.0)))


def _moves(means: Floats, num: int, rng: np.random.Generator) -> Floats:
    """Return by how much a resampling of the questions moves the means of the columns of [Q, M]; [num, M]."""
    questions = means.shape[0]
    at_once = max(1, 2_000_000 // questions)
    moved = []
    for start in range(0, num, at_once):
        rows = min(at_once, num - start)
        drawn = rng.integers(questions, size=(rows, questions)) + questions * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * questions).reshape(rows, questions)
        moved.append(counts.astype(np.float64) @ means / questions)
    return np.concatenate(moved) - means.mean(axis=0)
