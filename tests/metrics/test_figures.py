import math
import random

import pytest

from mapo.metrics.figures import category_accuracies, paper_summary, set_figures
from mapo.metrics.interval import wilson_interval
from mapo.metrics.samples import Sample

NAN = math.nan


def sample(name: str, accuracy: str, answers: str = "", **fields) -> Sample:
    """A sample by its accuracies, one digit each, and its answers, one letter each; ``-`` for none."""
    values = tuple(float(digit) for digit in accuracy)
    settings = {
        "judged": (True,) * len(values),
        "truncated": (False,) * len(values),
        "success": tuple(value == 1 for value in values),
        "lengths": tuple(range(1, len(values) + 1)),
        "answers": tuple(None if letter == "-" else letter for letter in answers),
    }
    return Sample(name, values, **settings | fields)


def test_figures_by_hand():
    """Three samples of four completions, and one row that could not be asked."""
    samples = [
        sample("a", "1100", "rrwv", truncated=(False, False, True, True)),
        sample("b", "1000", "rww-", judged=(True, True, True, False)),
        sample("c", "1111", "rrrr", components={}),
        Sample("d"),
    ]
    found = set_figures(samples, 4, votes=True)
    # p = (1/2 + 1/4 + 1 + 0) / 4 = 7/16; in sixteenths the deviations are 1, -3, 9, -7: squares 1 + 9 + 81 + 49 = 140
    # se² = 140/256 / 16; n_eff = (7/16 x 9/16) / se² = 63/256 x 16 x 256/140 = 7.2 of 16 completions
    low, high = wilson_interval(7 / 16, 7.2)
    assert found == pytest.approx(
        {
            "accuracy": 7 / 16,
            "accuracy_low": low,
            "accuracy_high": high,
            "pass@1": 7 / 16,
            # a: 1 - C(2,2)/C(4,2) = 5/6; b: 1 - C(3,2)/C(4,2) = 1/2; c: 1; d: 0
            "pass@2": (5 / 6 + 1 / 2 + 1 + 0) / 4,
            "pass@4": 3 / 4,
            # a: r wins 2 to 1 to 1; b: w wins 2 to 1; c: r; d: nobody votes
            "maj@4": 2 / 4,
            "truncated_share": 2 / 12,
            "completion_length": 2.5,  # 1 to 4 tokens
            "failed_verdict_share": 1 / 12,
            "success_rate": 7 / 12,
            "num_samples_evaluated": 4,
            "num_bad_rows": 1,
        }
    )


@pytest.mark.parametrize(("num", "ks"), [(1, []), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_pass_at_k_comes_for_powers_of_two_and_all_completions(num, ks):
    found = set_figures([sample("a", "1" * num, "r" * num)], num, votes=True)
    assert [name for name in found if name.startswith("pass@")] == [f"pass@{k}" for k in ks]
    assert [name for name in found if name.startswith("maj@")] == ([f"maj@{num}"] if num > 1 else [])


def test_half_a_point_counts_as_half_and_passes_nothing():
    halves = [Sample("a", (0.5, 0.5), (True, True), (False, False), (False, False), (1, 1))]
    found = set_figures(halves, 2)
    assert (found["accuracy"], found["pass@2"]) == (0.5, 0.0)


def test_components_are_means_over_what_they_could_score():
    rows = [
        sample("a", "10", components={"think_format": (1.0, 0.0), "length_credit": (NAN, 0.5)}),
        sample("b", "00", components={"think_format": (1.0, 1.0), "length_credit": (NAN, NAN)}),
    ]
    found = set_figures(rows, 2)
    assert (found["think_format"], found["length_credit"]) == (0.75, 0.5)


def test_a_set_whose_rows_are_all_bad_is_all_wrong_and_has_no_completions():
    found = set_figures([Sample("a"), Sample("b")], 2, votes=True)
    assert (found["accuracy"], found["pass@2"], found["maj@2"], found["num_bad_rows"]) == (0, 0, 0, 2)
    assert all(math.isnan(found[name]) for name in ("truncated_share", "completion_length", "success_rate"))


def test_nothing_has_no_figures_but_its_number():
    found = set_figures([], 2, votes=True)
    assert found.pop("num_samples_evaluated") == 0
    assert all(map(math.isnan, found.values()))


def test_the_order_of_samples_does_not_matter_to_the_last_bit():
    rng = random.Random(0)
    rows = [sample(str(i), "".join(rng.choice("01") for _ in range(3)), "abc") for i in range(101)]
    expected = set_figures(rows, 3, votes=True)
    for _ in range(5):
        rng.shuffle(rows)
        assert set_figures(rows, 3, votes=True) == expected


def test_a_sample_counts_in_each_of_its_categories():
    rows = [
        sample("a", "10", categories={"level": ("2",), "skill": ("angles", "areas")}),
        sample("b", "11", categories={"level": ("1",), "skill": ("areas",)}),
        sample("c", "00", categories={"level": ("2",)}),
        Sample("d"),
    ]
    assert category_accuracies(rows) == {
        ("level", "1"): (1.0, 1),
        ("level", "2"): (0.25, 2),  # (1/2 + 0) / 2
        ("skill", "angles"): (0.5, 1),
        ("skill", "areas"): (0.75, 2),
    }


def test_the_summary_counts_every_set_once():
    """The GRPO row of the paper: Geometry3K, then MathVision, MathVista, MathVerse."""
    found = paper_summary([51.91], [26.74, 72.70, 43.93])
    assert found == pytest.approx({"A_S": 51.91, "A_T": 143.37 / 3, "A": (51.91 + 143.37 / 3) / 2})


@pytest.mark.parametrize(("inside", "outside"), [([0.5], []), ([], [0.5]), ([], [])])
def test_without_sets_of_both_kinds_there_is_no_summary(inside, outside):
    assert paper_summary(inside, outside) == {}
