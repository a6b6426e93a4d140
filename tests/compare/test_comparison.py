"""From folders of runs with known accuracies to a table, and to a sentence that is right about them."""

import numpy as np
import pytest
from simulated_runs import answers, chances, write_run

from mapo.compare.comparison import compare
from mapo.compare.sentences import sentence

SEEDS, QUESTIONS = 3, 80


@pytest.fixture
def simulate(tmp_path):
    """Return a comparison of "ours", better by ``gap``, with "theirs", whose accuracy is 60 %."""

    def make(gap, *, number=0, seeds=SEEDS, spread=0.01, **settings):
        rng = np.random.default_rng(number)
        hard = {name: rng.uniform(-0.2, 0.2, QUESTIONS) for name in ("in", "out_a", "out_b")}
        names = {}
        for name, accuracy in (("theirs", 0.6), ("ours", 0.6 + gap)):
            for seed in range(seeds):
                sets = {
                    kind: answers(rng, chances(rng, accuracy, values, seeds=1, spread=spread))[0]
                    for kind, values in hard.items()
                }
                before = {kind: answers(rng, np.full(QUESTIONS, 0.3)) for kind in hard}
                folder = tmp_path / f"{number}" / name / f"version_{seed}"
                write_run(folder, {0: before, 30: sets}, seed=seed, model={"advantage": {"class_path": f"a.{name}"}})
                names[folder] = name
        return compare([], names=names, **{"num_replicates": 2000, **settings})

    return make


@pytest.mark.parametrize(("gap", "word"), [(0.3, "ours is better than theirs"), (-0.3, "ours is worse than theirs")])
def test_sentence_about_a_clear_difference(simulate, gap, word):
    comparison = simulate(gap)
    (pair,) = comparison.pairs
    assert sentence(comparison, pair).startswith(f"{word}: A ")
    assert "effect (h = " in sentence(comparison, pair)


def test_sentences_about_no_difference_name_one_in_about_one_case_of_twenty_at_most(simulate):
    found = [simulate(0.0, number=number, num_replicates=500) for number in range(16)]
    sentences = [sentence(comparison, comparison.pairs[0]) for comparison in found]
    alike = [
        text for text in sentences if text.startswith("ours and theirs are not distinguishable with this much data")
    ]
    assert len(alike) >= 13  # of 16; fewer would come by chance one time in 150 at a rate of 5 %
    covered = [one.levels["theirs"]["A"].low <= 0.6 <= one.levels["theirs"]["A"].high for one in found]
    assert np.mean(covered) >= 0.85


def test_measures_are_the_papers_columns(simulate):
    comparison = simulate(0.1)
    assert [measure.name for measure in comparison.measures] == ["in", "out_a", "out_b", "A_S", "A_T", "A"]
    values = {name: level.value for name, level in comparison.levels["ours"].items()}
    assert values["A_S"] == values["in"]
    assert values["A_T"] == pytest.approx((values["out_a"] + values["out_b"]) / 2)
    assert values["A"] == pytest.approx((values["A_S"] + values["A_T"]) / 2)
    assert comparison.pairs[0].differences["A"].value == pytest.approx(
        values["A"] - comparison.levels["theirs"]["A"].value
    )
    assert comparison.pairs[0].paired_runs


def test_curves_go_from_before_training_to_its_end(simulate):
    comparison = simulate(0.1)
    curve = comparison.curves["ours"]["A"]
    assert list(curve) == [0, 30]
    assert curve[0].value == pytest.approx(0.3, abs=0.08)
    assert curve[30].value == comparison.levels["ours"]["A"].value
    assert comparison.before["A"] == comparison.curves[comparison.reference]["A"][0]


def test_reference_comes_first_and_the_others_are_held_against_it(simulate):
    assert simulate(0.3).reference == "theirs"
    comparison = simulate(0.3, number=1, reference="ours")
    assert comparison.reference == "ours"
    assert sentence(comparison, comparison.pair("theirs", "ours")).startswith("theirs is worse than ours")
    with pytest.raises(ValueError, match="no method 'mine' to hold the others against; there is theirs, ours"):
        simulate(0.3, number=2, reference="mine")


def test_one_seed_is_said_to_cover_questions_alone(simulate):
    comparison = simulate(0.3, seeds=1)
    assert comparison.warnings[0].startswith("One seed only (theirs, ours)")
    assert "over questions alone" in sentence(comparison, comparison.pairs[0])


def test_answers_of_a_mode_that_a_run_lacks_are_asked_for_in_vain(simulate):
    with pytest.raises(ValueError, match="has no greedy answers under val/"):
        simulate(0.0, mode="greedy")


def test_sets_without_any_out_of_domain_are_averaged(tmp_path):
    sets = {"one": np.array([1.0, 0.0]), "two": np.array([1.0, 1.0])}
    comparison = compare([write_run(tmp_path / "run", {30: sets})])
    assert comparison.headline == "mean"
    assert next(iter(comparison.levels.values()))["mean"].value == pytest.approx(0.75)
    assert comparison.pairs == []
