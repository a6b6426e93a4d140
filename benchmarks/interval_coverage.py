"""How often the intervals of ``mapo compare`` cover the truth, in simulations whose truth is known.

    python -m benchmarks.interval_coverage

Two methods answer the same questions of two sets, the second right more often by ``GAP``. Questions differ in
difficulty, and every run has an accuracy of its own around the method's.
"""

import argparse
import math
from collections.abc import Sequence

import numpy as np

from mapo.callbacks.markdown import table
from mapo.compare.statistics import Bootstrap

SEEDS, SPREADS = (1, 2, 3, 5), (0.0, 0.02, 0.06)
ACCURACY, GAP, DIFFICULTY, QUESTIONS = 0.5, 0.06, 0.15, 100  # difficulty: standard deviation; questions: of one set
WEIGHTS = {"in": 0.5, "out": 0.5}
_HEAD = ["seeds", "runs differ by", "accuracy covered", "difference covered", "width of the difference"]


def coverage(seeds: int, spread: float, *, simulations: int, replicates: int) -> tuple[float, float, float]:
    """Return how often intervals of an accuracy and of a paired difference cover the truth, and the latter's width.

    Args:
        seeds: Runs of each method.
        spread: Standard deviation of the accuracy of a run.
        simulations: Comparisons that are drawn.
        replicates: Of each bootstrap.
    """
    rng = np.random.default_rng(0)
    found = []
    for number in range(simulations):
        bootstrap = Bootstrap(_answers(rng, seeds, spread), num_replicates=replicates, seed=number)
        level, difference = bootstrap.level(0, WEIGHTS), bootstrap.difference(1, 0, WEIGHTS, paired=True)
        covered = level.low <= ACCURACY <= level.high, difference.low <= GAP <= difference.high
        found.append((*covered, difference.high - difference.low))
    level_rate, difference_rate, width = np.mean(found, axis=0).tolist()
    return level_rate, difference_rate, width


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.interval_coverage", description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=300, help="of every case; %(default)s")
    parser.add_argument("--replicates", type=int, default=1000, help="of every bootstrap; %(default)s")
    given = parser.parse_args(arguments)
    rows = []
    for seeds in SEEDS:
        for spread in SPREADS:
            *rates, width = coverage(seeds, spread, simulations=given.simulations, replicates=given.replicates)
            shown = [f"{100 * rate:.0f} %" for rate in rates]
            rows.append([str(seeds), f"{100 * spread:.0f} points", *shown, f"{100 * width:.0f} points"])
    print(table(_HEAD, rows))


def _answers(rng: np.random.Generator, seeds: int, spread: float) -> dict[str, list[np.ndarray]]:
    """Return right (1) and wrong (0) answers [S, Q] of both methods by set."""
    answers = {}
    for name in WEIGHTS:
        difficulty = rng.uniform(-1, 1, QUESTIONS) * DIFFICULTY * math.sqrt(3)
        chances = [ACCURACY + gap + difficulty + rng.normal(0, spread, (seeds, 1)) for gap in (0.0, GAP)]
        answers[name] = [(rng.random(chance.shape) < chance).astype(float) for chance in chances]
    return answers


if __name__ == "__main__":
    main()
