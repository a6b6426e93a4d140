import copy
import dataclasses
import pickle

import pytest
import torch

from mapo.rewards.math_answer import MathAnswer
from mapo.types import Completion, Prompt


def completion(text: str, answer: str, *, prefill: str = "", **metadata: object) -> Completion:
    prompt = Prompt("row", ({"role": "user", "content": "?"},), (), answer, metadata)
    return Completion(prompt, prefill, text, torch.tensor([1]), False)


@pytest.fixture(scope="module")
def reward():
    reward = MathAnswer(timeout=2.0)
    yield reward
    reward.close()


@pytest.fixture(scope="module")
def mathruler_reward():
    pytest.importorskip("mathruler")
    reward = MathAnswer(timeout=2.0, rule="mathruler")
    yield reward
    reward.close()


def grade(reward: MathAnswer, gold: str, boxed: str, **metadata: object) -> float | None:
    return reward([completion(f"<think>so</think> \\boxed{{{boxed}}}", gold, **metadata)])[0]


@pytest.mark.parametrize(
    ("gold", "boxed", "value"),
    [
        (r"\sin 30^\circ", "0.5", 0.0),  # of 30 radians
        (r"\sin \frac{\pi}{6}", "0.5", 1.0),
        ("x < 2", "2 > x", 1.0),
        ("x^2 - 2x + 1 = 0", "(x - 1)^2 = 0", 1.0),
        (r"[-2, 7]", r"-2 \leq x \leq 7", 0.0),
        (r"-2 \leq x \leq 7", r"[-2, 7]", 1.0),
        (r"\tan^2(y) + 1", r"\sec^2(y)", 1.0),
        ("3", r"\left(", 0.0),
        ("5", "3 | 5", 0.0),  # what cannot be read as a whole is not read in part
        ("5", "> 5", 0.0),
        ("5", r"\neq 5", 0.0),
    ],
)
def test_the_rest_is_decided_by_algebra(reward, gold, boxed, value):
    assert grade(reward, gold, boxed) == value


@pytest.mark.parametrize("answer", ["B", r"5\sqrt{2}"])
@pytest.mark.parametrize(
    ("boxed", "value"),
    [
        ("B", 1.0),
        ("(b)", 1.0),
        (r"5 \sqrt { 2 }", 1.0),
        (r"\sqrt{50}", 1.0),
        (r"(B) $5\sqrt{2}$", 1.0),
        ("A", 0.0),
        ("42", 0.0),
        (r"(A) 5\sqrt{2}", 0.0),
        ("E", 0.0),
    ],
)
def test_choices_go_by_letter_or_by_text(reward, answer, boxed, value):
    assert grade(reward, answer, boxed, choices=["42", r"5\sqrt{2}", "72", "east"]) == value


@pytest.mark.parametrize(
    ("graded_by", "boxed", "value"),
    [
        ("letter", "B", 1.0),
        ("letter", r"\text{(B)}", 1.0),
        ("letter", r"(B) 5\sqrt{2}", 1.0),
        ("letter", r"5\sqrt{2}", 0.0),
        ("letter", "C", 0.0),
        ("text", r"5 \sqrt{2}", 1.0),
        ("text", r"\sqrt{50}", 1.0),
        ("text", r"(B) 5\sqrt{2}", 1.0),
        ("text", "B", 0.0),
        ("text", "72", 0.0),
        ("either", "B", 1.0),
        ("either", r"5\sqrt{2}", 1.0),
    ],
)
@pytest.mark.parametrize("answer", ["B", r"5\sqrt{2}"])
def test_a_benchmark_may_ask_for_the_letter_or_for_the_text(reward, answer, graded_by, boxed, value):
    choices = ["42", r"5\sqrt{2}", "72", "east"]
    assert grade(reward, answer, boxed, choices=choices, graded_by=graded_by) == value


def test_an_unknown_way_of_grading_is_refused(reward):
    with pytest.raises(ValueError, match="graded_by must be 'letter', 'text' or 'either', got 'colour'"):
        grade(reward, "B", "B", choices=["1", "2"], graded_by="colour")


@pytest.mark.parametrize(
    ("gold", "boxed", "precision", "value"),
    [("3.46", r"2\sqrt{3}", 2, 1.0), ("3.46", "3.464", 2.0, 1.0), ("3.46", "3.5", 2, 0.0), ("8", "8 years", None, 1.0)],
)
def test_numbers_are_rounded_to_the_precision_of_the_row(reward, gold, boxed, precision, value):
    assert grade(reward, gold, boxed, precision=precision) == value


@pytest.mark.parametrize("text", ["", "42", "None", r"\boxed{}", r"\boxed{42", r"\boxed{42} or \boxed{4"])
@pytest.mark.parametrize("gold", ["42", "None", ""])
def test_no_closed_box_is_wrong_whatever_the_gold(reward, text, gold):
    assert reward([completion(text, gold)]) == [0.0]


def test_a_gold_answer_may_stand_in_a_box_or_a_solution(reward):
    assert grade(reward, r"\boxed{14{,}916}", "14916") == 1.0
    assert grade(reward, r"So $2x = 6$ and $x = \boxed{3}$.", "x = 3") == 1.0
    assert grade(reward, r"So $2x = 6$ and $x = \boxed{3}$.", "6") == 0.0


def test_a_gold_answer_of_any_length_is_a_failure_not_a_wait(reward):
    before = reward.failures["length"]
    assert grade(reward, r"\text{" * 300_000, "5") is None
    assert reward.failures["length"] == before + 1


def test_the_last_box_counts_and_may_start_in_the_prefill(reward):
    assert reward([completion(r"\boxed{1} no, \boxed{2}", "2"), completion("2}", "2", prefill=r"\boxed{")]) == [
        1.0,
        1.0,
    ]


def test_a_batch_keeps_its_order_and_failures_are_none(reward):
    golds_and_answers = [
        ("x < 2", "2 > x"),
        ("3", "100000000!"),
        ("3", "4"),
        ("x < 2", "2 > x"),
        ("x < 2", "x > 2"),
    ]
    batch = [completion(f"\\boxed{{{answer}}}", gold) for gold, answer in golds_and_answers]
    before = reward.failures["timeout"]
    assert reward(batch) == [1.0, None, 0.0, 1.0, 0.0]
    assert reward.failures["timeout"] == before + 1


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{\frac{1}{2}}", "0.5"),
        (r"so \boxed{1} or \boxed{50\%}", "50"),
        (r"\boxed{(c)}", "C"),
        ("5", None),
        (r"\boxed{5", None),
        (r"\boxed{}", None),
        (r"\boxed{" + "1" * 1001 + "}", None),
    ],
)
def test_the_answer_is_read_from_the_last_closed_box(reward, text, answer):
    assert reward.answer(completion(text, "gold")) == answer


def test_the_answer_to_a_choice_is_its_letter(reward):
    choices = ["42", r"5\sqrt{2}"]
    texts = [r"\boxed{B}", r"\boxed{5 \sqrt{2}}", r"\boxed{(B) 5\sqrt{2}}"]
    assert {reward.answer(completion(text, "A", choices=choices)) for text in texts} == {"B"}


# mathruler's own peculiarities, so that its verdicts are seen to be the ones that count.
@pytest.mark.parametrize(
    ("gold", "boxed", "value"),
    [
        (r"2\sqrt{2}", r"2 \sqrt{2}", 1.0),
        ("x=5", "y=5", 1.0),
        ("1,-2", "-2,1", 0.0),
        (r"\frac{2}{4}", r"\frac{1}{2}", 0.0),
        ("None", "None", 1.0),
        ("1.5", "9**9**9", None),
    ],
)
def test_the_rule_of_the_paper_can_be_chosen(mathruler_reward, gold, boxed, value):
    assert grade(mathruler_reward, gold, boxed) == value


def test_the_rule_of_the_paper_takes_no_missing_box_for_the_word_none(mathruler_reward):
    assert mathruler_reward([completion("no box", "None"), completion(r"\boxed{None", "None")]) == [0.0, 0.0]


def test_choices_and_precision_hold_under_the_rule_of_the_paper(mathruler_reward):
    assert grade(mathruler_reward, "B", r"5 \sqrt{2}", choices=["42", r"5\sqrt{2}"]) == 1.0
    assert grade(mathruler_reward, "3.46", "3.464", precision=2) == 1.0


def test_it_stays_a_recipe_after_use(reward):
    grade(reward, "x < 2", "2 > x")
    assert dataclasses.asdict(reward)["timeout"] == 2.0
    assert reward == MathAnswer(timeout=2.0)
    for twin in (copy.deepcopy(reward), pickle.loads(pickle.dumps(reward))):
        assert twin == reward
        assert grade(twin, "x < 2", "2 > x") == 1.0
        twin.close()


def test_the_defaults_are_the_papers():
    reward = MathAnswer()
    assert (reward.name, reward.weight, reward.required_for_success, reward.is_accuracy) == (
        "math_answer",
        0.9,
        True,
        True,
    )


def test_impossible_settings_are_refused_at_construction():
    with pytest.raises(ValueError, match="timeout must be > 0 seconds, got -1"):
        MathAnswer(timeout=-1)


def test_a_rule_that_is_unknown_or_not_installed_is_refused_at_construction(monkeypatch):
    with pytest.raises(ValueError, match="rule must be one of math_verify, mathruler, got 'sympy'"):
        MathAnswer(rule="sympy")
    monkeypatch.setattr("mapo.rewards.verifier.find_spec", lambda name: None if name == "mathruler" else object())
    with pytest.raises(ValueError, match=r"package\(s\) mathruler: run `pip install 'mapo\[mathruler\]'`"):
        MathAnswer(rule="mathruler")
