"""All advantages, without a list of them."""

import subprocess
import sys
from dataclasses import dataclass, replace

import torch

from mapo.advantages.base import Advantage
from mapo.advantages.family import family
from mapo.advantages.mixed import MixedAdvantage

IMPORTS_ONE_ALONE = "from mapo.advantages.family import family; print(*(one.__name__ for one in family()))"


def test_those_of_the_package_are_found_without_being_imported():
    done = subprocess.run([sys.executable, "-c", IMPORTS_ONE_ALONE], capture_output=True, text=True, check=True)
    assert {"MixedAdvantage", "ZScore", "Centered", "LeaveOneOut", "PercentDeviation"} <= set(done.stdout.split())


def test_one_defined_elsewhere_is_found_and_one_that_needs_arguments_is_not():
    @dataclass(frozen=True)
    class OfTomorrow(Advantage):
        scale: float = 1.0

        def __call__(self, scores, phase):
            return scores.rewards * self.scale

    @dataclass(frozen=True)
    class Variant(OfTomorrow):
        """A subclass of a subclass."""

    @dataclass(frozen=True)
    class NeedsALimit(Advantage):
        limit: float

        def __call__(self, scores, phase):
            return scores.rewards.clamp(max=self.limit)

    found = family()
    assert {OfTomorrow, Variant} <= set(found)
    assert NeedsALimit not in found
    assert len(found) == len(set(found))


def test_every_one_has_its_defaults_and_gives_an_advantage_per_completion(phase, scores_of):
    assert MixedAdvantage in family()
    scores = scores_of([[0.9, 1, 1, 1], [0, 0.1, 0.1, 0.1]])
    for cls in family():
        if cls.__module__.startswith("mapo."):
            one = cls()
            advantages = one(scores, replace(phase, batch_sums=one.batch_sums(scores)))
            assert advantages.shape == (2, 4)
            assert torch.isfinite(advantages).all()
