"""Runs that differ in their seed alone are one method, under the name of its YAML file."""

import numpy as np
import pytest
from documents import ROOT
from simulated_runs import write_run

from mapo.compare.methods import group_methods, matched, read_algorithms
from mapo.compare.runs import read_run

ALGORITHMS = read_algorithms(ROOT / "configs" / "algorithm")
GRPO = {"class_path": "mapo.advantages.z_score.ZScore", "init_args": {"ddof": 1, "eps": 1e-6}}
RLOO = {"class_path": "mapo.advantages.leave_one_out.LeaveOneOut"}


@pytest.fixture
def run(tmp_path):
    def make(name, seed=0, /, **model):
        return read_run(write_run(tmp_path / name, {30: {"in": np.array([1.0, 0.0])}}, seed=seed, model=model))

    return make


def test_seeds_of_a_method_are_its_repetitions_in_order(run):
    runs = [run("a", 2, advantage=GRPO), run("b", 0, advantage=RLOO), run("c", 1, advantage=GRPO)]
    methods = group_methods(runs, ALGORITHMS)
    assert [(method.name, method.seeds) for method in methods] == [("grpo", (1, 2)), ("rloo", (0,))]
    assert methods[0].settings["model.advantage"] == "ZScore"
    assert methods[1].settings["model.advantage"] == "LeaveOneOut"
    assert not [key for key in methods[0].settings if "advantage" not in key]


def test_what_changes_speed_or_evaluation_alone_makes_no_method(run):
    runs = [run("a", 0), run("b", 1, max_tokens_per_micro_batch=99, seed=5, evaluation={"greedy": True})]
    assert len(group_methods(runs, ALGORITHMS)) == 1


def test_a_run_from_before_there_was_an_argument_that_makes_no_method_is_not_of_another(run, tmp_path):
    policy = {"path": "builtin"}
    new = {"max_skipped_steps": 3, "policy": {**policy, "gradient_checkpointing": True, "reference_on_host": True}}
    runs = [run("old", policy=policy), run("new", 1, **new)]
    (method,) = group_methods(runs, ALGORITHMS, dict.fromkeys((tmp_path / "old", tmp_path / "new"), "mine"))
    assert (method.name, method.seeds) == ("mine", (0, 1))


def test_methods_of_one_name_are_told_apart_by_what_differs(run):
    runs = [run("a", advantage=GRPO), run("b", advantage=GRPO, group_size=8)]
    names = [method.name for method in group_methods(runs, ALGORITHMS)]
    assert names == ["grpo (model.group_size 12)", "grpo (model.group_size 8)"]


def test_a_method_without_a_file_is_called_after_its_advantage(run):
    (method,) = group_methods([run("a", advantage={"class_path": "mine.FromMedian"})], ALGORITHMS)
    assert method.name == "FromMedian"


def test_given_names_win_and_must_be_of_one_method(run, tmp_path):
    runs = [run("a"), run("b", 1)]
    names = dict.fromkeys((tmp_path / "a", tmp_path / "b"), "mine")
    assert [method.name for method in group_methods(runs, ALGORITHMS, names)] == ["mine"]
    with pytest.raises(ValueError, match=r"'mine' are of several methods: they differ in model\.group_size"):
        group_methods([runs[0], run("c", 2, group_size=8)], ALGORITHMS, {**names, tmp_path / "c": "mine"})


def test_a_seed_twice_is_refused(run):
    with pytest.raises(ValueError, match=r"a and .*b are the same method, .* with the same seed, 4"):
        group_methods([run("a", 4), run("b", 4)], ALGORITHMS)


def test_the_file_that_says_most_gives_the_name():
    given = {"model": {"advantage": GRPO, "loss": {"class_path": "mapo.losses.x.Other"}}}
    less, more = {"model": {"advantage": "ZScore"}}, {"model": {"advantage": GRPO, "loss": {"class_path": "Other"}}}
    assert matched(less, given) == 1
    assert matched(more, given) == 4
    assert matched({"model": {"advantage": {"class_path": "ZScore", "init_args": {"ddof": 0}}}}, given) is None
    assert matched({"model": {"advantage": {"class_path": "ZScore", "init_args": {"eps": "1e-6"}}}}, given) == 2


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_run_that_follows_a_file_is_called_after_it(run, name):
    model = {key.removesuffix("+"): value for key, value in ALGORITHMS[name]["model"].items()}  # as it is when merged
    (method,) = group_methods([run("a", **model)], ALGORITHMS)
    equal = [other for other, pattern in ALGORITHMS.items() if pattern == ALGORITHMS[name]]
    assert method.name == " = ".join(equal)


def test_rewards_added_to_those_of_a_run_are_found_among_them():
    given = {"rewards": [{"class_path": "a.First"}, {"class_path": "a.Length", "init_args": {"weight": 0.5}}]}
    assert matched({"rewards+": [{"class_path": "Length"}]}, given) == 1
    assert matched({"rewards+": {"class_path": "Length", "init_args": {"weight": 0.5}}}, given) == 2
    assert matched({"rewards+": [{"class_path": "Other"}]}, given) is None
    assert matched({"rewards": [{"class_path": "First"}]}, given) is None
