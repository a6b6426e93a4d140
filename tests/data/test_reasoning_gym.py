import json
import sys
from collections import Counter

import pytest
from command_line import invoke
from fake_reasoning_gym import fake_library

from mapo.data.reasoning_gym import ReasoningGym

__all__ = ["fake_library"]

FAKES = {"successor": {"weight": 3.0, "config": {"largest": 5000}}, "anything": {}}


def setup(*arguments, **settings):
    data = ReasoningGym(*arguments, **settings)
    data.setup("fit")
    return data


def questions(rows):
    return [row.metadata["entry"]["question"] for row in rows]


@pytest.mark.usefixtures("fake_library")
def test_rows_carry_what_the_verifier_needs():
    data = setup(FAKES, num_train=8, num_eval=4, instruction="")
    assert data.eval_names == ["reasoning_gym"]
    row = next(row for row in data.train_set if row.metadata["task"] == "successor")
    assert row.messages[0]["content"] == row.metadata["entry"]["question"]
    assert row.answer == row.metadata["entry"]["answer"]
    assert (row.metadata["config"], row.metadata["categories"]) == ({"largest": 5000}, {"task": "successor"})
    json.dumps(row.metadata)
    other = next(row for row in data.train_set if row.metadata["task"] == "anything")
    assert (other.answer, other.metadata["entry"]["answer"]) == ("any that the task accepts", None)


@pytest.mark.usefixtures("fake_library")
def test_tasks_share_the_rows_by_weight_and_take_turns():
    data = setup(FAKES, num_train=10, num_eval=8)
    drawn = [row.metadata["task"] for row in data.train_set]
    assert Counter(drawn) == {"successor": 8, "anything": 2}
    assert Counter(drawn[:5]) == {"successor": 4, "anything": 1}
    assert len({row.sample_id for row in data.train_set}) == 10


@pytest.mark.usefixtures("fake_library")
def test_training_and_evaluation_never_share_a_question():
    few = {"successor": {"config": {"largest": 400}}}  # so that seeds draw the same questions
    trained = [set(questions(setup(few, num_train=200, num_eval=1, problem_seed=seed).train_set)) for seed in (0, 1)]
    assert all(len(seen) == 200 for seen in trained)
    assert trained[0] != trained[1]
    evaluated = questions(setup(few, num_train=1, num_eval=60).eval_sets["reasoning_gym"])
    assert len(set(evaluated)) == 60
    assert not set(evaluated) & (trained[0] | trained[1])


@pytest.mark.usefixtures("fake_library")
def test_the_same_seed_draws_the_same_questions_and_evaluation_stays():
    first, again, other = (setup(["successor"], num_train=20, num_eval=5, problem_seed=seed) for seed in (0, 0, 7))
    assert questions(first.train_set) == questions(again.train_set)
    assert not set(questions(first.train_set)) & set(questions(other.train_set))
    assert questions(first.eval_sets["reasoning_gym"]) == questions(other.eval_sets["reasoning_gym"])


@pytest.mark.usefixtures("fake_library")
def test_a_set_of_its_own_for_every_task():
    data = setup(FAKES, num_train=4, num_eval=6, set_per_task=True)
    assert {name: len(rows) for name, rows in data.eval_sets.items()} == {
        "reasoning_gym_successor": 6,
        "reasoning_gym_anything": 6,
    }


@pytest.mark.usefixtures("fake_library")
def test_what_cannot_be_drawn_is_named():
    with pytest.raises(
        ValueError, match=r"task 'successor' has only .* different questions to draw for train, not 1000"
    ):
        setup({"successor": {"config": {"largest": 50}}})
    with pytest.raises(ValueError, match=r"refuses the task 'none' with config \{\}: Dataset 'none' not registered"):
        setup(["none"])
    with pytest.raises(ValueError, match=r"refuses the task 'successor' with config .*: largest must be positive"):
        setup({"successor": {"config": {"largest": 0}}})
    with pytest.raises(ValueError, match=r"refuses the task 'successor' with config .*'smallest'"):
        setup({"successor": {"config": {"smallest": 0}}})


@pytest.mark.parametrize(
    ("tasks", "reason"),
    [
        ([], "tasks is empty"),
        ({"a": {"min_terms": 2}}, "task 'a' has min_terms; it may have weight, and config"),
        ({"a": {"weight": 0}}, "weight of task 'a' must be > 0, got 0"),
        ({"a": {"config": {"seed": 1, "size": 2}}}, "config of task 'a' sets seed, size; use problem_seed"),
    ],
)
def test_settings_that_are_none(tasks, reason):
    with pytest.raises(ValueError, match=reason):
        ReasoningGym(tasks)


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)  # as if it were not installed
    with pytest.raises(ValueError, match=r"ReasoningGym needs reasoning-gym .*pip install 'mapo\[reasoning-gym\]'"):
        setup(["chain_sum"])


def test_ten_lines_of_configuration(tmp_path):
    (tmp_path / "own.yaml").write_text(
        """
model:
  policy: {path: builtin}
  rewards: [{class_path: mapo.rewards.reasoning_gym_score.ReasoningGymScore}]
data:
  class_path: mapo.data.reasoning_gym.ReasoningGym
  init_args:
    tasks:
      chain_sum: {weight: 2, config: {min_terms: 3}}
      spell_backward: {}
"""
    )
    outcome = invoke(tmp_path, "fit", "--config", "own.yaml", "--plan=true")
    assert outcome.code == 0, outcome.err
    assert "reasoning_gym_score 0.9" in outcome.out


def test_the_library_itself():
    pytest.importorskip("reasoning_gym")
    data = setup({"chain_sum": {"config": {"min_terms": 3}}, "spell_backward": {}}, num_train=20, num_eval=10)
    assert not set(questions(data.train_set)) & set(questions(data.eval_sets["reasoning_gym"]))
    again = setup(data.tasks, num_train=20, num_eval=10)
    assert questions(again.train_set) == questions(data.train_set)  # the same seed draws the same
    sums = [row.metadata["entry"] for row in data.train_set if row.metadata["task"] == "chain_sum"]
    assert all(entry["metadata"]["num_terms"] >= 3 for entry in sums)
