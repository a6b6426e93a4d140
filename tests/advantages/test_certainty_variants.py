"""The certainties of MAPO and of its ablations."""

from dataclasses import replace

import pytest
import torch

from mapo.advantages.certainty import Constant, Quadratic, Random, Triangle
from mapo.types import Phase

RATES = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
PHASE = Phase(index=3, seed=7, sample_ids=("a", "b", "c", "d", "e"), num_groups=5, num_active_groups=5)


def test_by_hand():
    # 1 - 4p(1 - p) at 1/4: 1 - 3/4; |1 - 2p| there: 1/2.
    torch.testing.assert_close(Quadratic()(RATES, PHASE), torch.tensor([1.0, 0.25, 0.0, 0.25, 1.0]))
    torch.testing.assert_close(Triangle()(RATES, PHASE), torch.tensor([1.0, 0.5, 0.0, 0.5, 1.0]))
    assert Constant(0.3)(RATES, PHASE).tolist() == pytest.approx([0.3] * 5)


def test_the_triangle_is_the_root_of_the_quadratic_and_never_below_it():
    # 1 - 4p(1 - p) = (1 - 2p)².
    rates = torch.rand(100, dtype=torch.float64)
    triangle, quadratic = Triangle()(rates, PHASE), Quadratic()(rates, PHASE)
    torch.testing.assert_close(triangle.square(), quadratic)
    assert bool((triangle >= quadratic - 1e-12).all())


@pytest.mark.parametrize("certainty", [Quadratic(), Triangle()])
def test_success_and_failure_are_as_certain(certainty):
    torch.testing.assert_close(certainty(1 - RATES, PHASE), certainty(RATES, PHASE))


def test_random_belongs_to_the_sample_and_not_to_its_place_or_rank():
    drawn = dict(zip(PHASE.sample_ids, Random()(RATES, PHASE).tolist(), strict=True))
    for ids in (("e", "c"), ("b",), ()):
        rank = replace(PHASE, sample_ids=ids)
        assert Random()(RATES[: len(ids)], rank).tolist() == [drawn[name] for name in ids]


@pytest.mark.parametrize("other", [{"index": 4}, {"seed": 8}])
def test_random_changes_with_phase_and_seed(other):
    assert not set(Random()(RATES, PHASE).tolist()) & set(Random()(RATES, replace(PHASE, **other)).tolist())


def test_random_is_uniform_and_does_not_look_at_the_success_rate():
    many = replace(PHASE, sample_ids=tuple(map(str, range(4000))))
    rates = torch.rand(4000)
    drawn = Random()(rates, many)
    assert drawn.dtype == rates.dtype
    assert float(drawn.min()) >= 0
    assert float(drawn.max()) < 1
    # Standard errors: 1/√12/√4000 = .0046 of the mean, .016 of the correlation.
    assert float(drawn.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(drawn.var()) == pytest.approx(1 / 12, abs=0.005)
    assert abs(float(torch.corrcoef(torch.stack([drawn, rates]))[0, 1])) < 0.07


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_constant_that_is_no_share_is_refused(value):
    with pytest.raises(ValueError, match=rf"value must lie in \[0, 1\], got {value}"):
        Constant(value)
