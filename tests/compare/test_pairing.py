"""Only like is compared with like, and unequal budgets are told."""

import numpy as np
import pytest
from simulated_runs import write_run

from mapo.compare.methods import group_methods
from mapo.compare.pairing import budget, budget_warnings, shared_sets
from mapo.compare.runs import read_run

HALF = np.array([1.0, 0.0, 1.0, 0.0])
JUDGE = {"class_path": "mapo.rewards.math_answer.MathAnswer", "init_args": {"is_accuracy": True, "rule": "math_verify"}}


@pytest.fixture
def pair(tmp_path):
    """Return two runs with their last answers, the second changed."""

    def make(answers=None, **changes):
        first = read_run(write_run(tmp_path / "first", {30: {"in": HALF}}, model={"rewards": [JUDGE]}))
        settings = {"model": {"rewards": [JUDGE]}} | changes
        second = read_run(write_run(tmp_path / "second", {30: answers or {"in": 1 - HALF}}, **settings))
        return [(run, run.evaluation("val", "sampled", 30)) for run in (first, second)]

    return make


def test_the_same_questions_drawn_alike_are_paired(pair):
    assert shared_sets(pair({"more": HALF, "in": HALF}), "sampled") == (["in"], ["more"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"answers": {"in": HALF[:3]}},
            "4 and 3 questions, 1 only in the first and 0 only in the second, such as 'in/3'",
        ),
        ({"right": "2"}, "right answer of 'in/0' is '1' in the first and '2' in the second"),
        (
            {"model": {"rewards": [JUDGE], "evaluation": {"num_samples": 1, "sampling": {"temperature": 0.5}}}},
            "temperature is 1.0 in the first and 0.5 in the second",
        ),
        (
            {
                "model": {
                    "rewards": [JUDGE],
                    "evaluation": {"sampling": {"temperature": 1.0}, "sets": {"i*": {"num_samples": 4}}},
                }
            },
            "num_samples is 1 in the first and 4 in the second",
        ),
        (
            {"model": {"rewards": [{**JUDGE, "init_args": {"is_accuracy": True, "rule": "mathruler"}}]}},
            "rule is math_verify in the first and mathruler in the second",
        ),
    ],
)
def test_what_differs_is_named(pair, changes, words):
    with pytest.raises(ValueError, match=f"set 'in' cannot be paired in .*first and .*second: .*{words}"):
        shared_sets(pair(**changes), "sampled")


def test_runs_without_a_common_set_say_what_each_has(pair):
    with pytest.raises(
        ValueError, match=r"no evaluation set that all runs have answered \(.*first: in; .*second: other"
    ):
        shared_sets(pair({"other": HALF}), "sampled")


def test_budget_counts_completions_steps_and_tokens(tmp_path):
    folders = [
        write_run(
            tmp_path / str(s),
            {30: {"in": HALF}},
            seed=s,
            model={"updates_per_phase": 2},
            results={"tokens_sampled": 100 * s},
        )
        for s in (1, 2)
    ]
    (method,) = group_methods([read_run(folder) for folder in folders], {})
    own = budget(method)
    assert (own.rollouts, own.steps, own.tokens) == (30 * 8 * 12, 60, 150)
    assert budget_warnings([method], [own]) == []


def test_dynamic_sampling_is_told_since_what_it_leaves_is_not_counted(tmp_path):
    model = {"dynamic_sampling": {"max_refills": 2}}
    (method,) = group_methods([read_run(write_run(tmp_path / "run", {30: {"in": HALF}}, model=model))], {})
    (line,) = budget_warnings([method], [budget(method)])
    assert "samples up to 3 times its rollouts" in line


def test_unequal_budgets_and_broken_runs_are_told(tmp_path):
    results = {"phases": 20, "tokens_sampled": 30_000, "finished": False}
    folders = [
        write_run(tmp_path / "full", {30: {"in": HALF}}),
        write_run(tmp_path / "short", {20: {"in": HALF}}, model={"group_size": 6}, results=results),
    ]
    methods = group_methods([read_run(folder) for folder in folders], {}, dict(zip(folders, "ab", strict=True)))
    lines = budget_warnings(methods, [budget(method) for method in methods])
    assert lines[0] == "Unequal budget: rollouts per run differ (2,880: a; 960: b)."
    assert lines[1] == "Unequal budget: steps per run differ (30: a; 20: b)."
    assert lines[2] == "Unequal budget: tokens sampled per run differ by more than a tenth (40,000: a; 30,000: b)."
    assert lines[3].endswith("short was broken off; its last evaluation is compared.")
    assert len(lines) == 4
