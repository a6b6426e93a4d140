import copy
import dataclasses
import json
import os
import pickle
from pathlib import Path

import pytest
import torch

from mapo.rewards.math_answer import MathAnswer, quick_verdict
from mapo.types import Completion, Prompt


def completion(text: str, answer: str, *, prefill: str = "", **metadata: object) -> Completion:
    prompt = Prompt("row", ({"role": "user", "content": "?"},), (), answer, metadata)
    return Completion(prompt, prefill, text, torch.tensor([1]), False)


@pytest.fixture(scope="module")
def reward():
    reward = MathAnswer(timeout=2.0)
    yield reward
    reward.close()


def grade(reward: MathAnswer, gold: str, boxed: str, **metadata: object) -> float | None:
    return reward([completion(f"<think>so</think> \\boxed{{{boxed}}}", gold, **metadata)])[0]


@pytest.mark.parametrize(
    ("gold", "boxed"),
    [
        ("42", "42"),
        ("42", "42.0"),
        ("1,000", "1000"),
        (r"10,\!236", "10236"),
        (r"\$32,\!348", "32348"),
        (r"4 \sqrt { 2 }", r"4\sqrt{2}"),
        ("\frac{1}{2}", r"\frac{1}{2}"),
        (r"\frac{1}{2}", "0.5"),
        (r"9.4 \mathrm{~cm}^{2}", "9.4"),
        (r"145^\circ", "145"),
        ("145", r"145^{\circ}"),
        (r"28\%", "28"),
        (r"\text{odd}", "Odd."),
        (r"\text{(C)}", "C"),
        (r"864 \mbox{ inches}^2", r"864 \text{ square inches}"),
        ("18", "18 dollars"),
    ],
)
def test_spelling_numbers_and_units_are_decided_at_once(gold, boxed):
    assert quick_verdict(gold, boxed) is True


@pytest.mark.parametrize(
    ("gold", "boxed"),
    [
        ("42", "43"),
        ("42", "-42"),
        ("0.333", "1/3"),
        ("42", "4200"),
        (r"\text{even}", r"\text{neve}"),
        (r"\text{(C)}", "D"),
        ("5 cm", r"5 \text{ km}"),
        (r"12\text{ degrees}", "12 percent"),
        ("1", "1000000000000000000000000000001"),
    ],
)
def test_different_answers_are_told_apart_at_once(gold, boxed):
    assert quick_verdict(gold, boxed) is False


@pytest.mark.parametrize(
    ("gold", "boxed", "value"),
    [
        (r"2\sqrt{2}", r"\sqrt{8}", 1.0),
        ("x=5", "5", 1.0),
        (r"137 \frac{1}{2}", "137.5", 1.0),
        ("(x+1)(x-1)", "x^2-1", 1.0),
        (r"\{1,2\}", r"\{2,1\}", 1.0),
        (r"\frac{1}{3}", "0.333333333", 1.0),
        (r"28\%", "0.28", 1.0),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} \frac{2}{2} \\ 2 \end{pmatrix}", 1.0),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 2 \\ 1 \end{pmatrix}", 0.0),
        ("2k", "5k", 0.0),
        ("2k", "2", 0.0),
        (r"\left[ \frac{3}{2}, 2 \right)", r"\left[ \frac{3}{2}, 2 \right]", 0.0),
        ("3", r"\left(", 0.0),
    ],
)
def test_the_rest_is_decided_by_algebra(reward, gold, boxed, value):
    assert isinstance(quick_verdict(gold, boxed), tuple)
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


@pytest.mark.parametrize("text", ["", "42", "None", r"\boxed{}", r"\boxed{42", r"\boxed{42} or \boxed{4"])
@pytest.mark.parametrize("gold", ["42", "None", ""])
def test_no_closed_box_is_wrong_whatever_the_gold(reward, text, gold):
    assert reward([completion(text, gold)]) == [0.0]


def test_the_last_box_counts_and_may_start_in_the_prefill(reward):
    assert reward([completion(r"\boxed{1} no, \boxed{2}", "2"), completion("2}", "2", prefill=r"\boxed{")]) == [
        1.0,
        1.0,
    ]


def test_a_batch_keeps_its_order_and_failures_are_none(reward):
    golds_and_answers = [
        (r"2\sqrt{2}", r"\sqrt{8}"),
        ("3", "100000000!"),
        ("3", "4"),
        (r"2\sqrt{2}", r"\sqrt{8}"),
        ("x+1", "x"),
    ]
    batch = [completion(f"\\boxed{{{answer}}}", gold) for gold, answer in golds_and_answers]
    assert reward(batch) == [1.0, None, 0.0, 1.0, 0.0]


PATHOLOGICAL = {
    "power tower": "9**9**9",
    "LaTeX power tower": "9^{9^{9^9}}",
    "huge factorial": "100000000!",
    "factorial tower": "3!!!!!!!!",
    "huge binomial": r"\binom{1000000000}{500000000}",
    "10,000 nested braces": "{" * 10_000 + "1" + "}" * 10_000,
    "1 MB of text": "x" * 1_000_000,
    "1 MB of digits": "1" * 1_000_000,
    "1 MB of spaces": " " * 1_000_000 + "1",
    "1 MB of text commands": r"\text{" * 150_000 + "}" * 150_000,
    "NUL bytes": "\0" * 100 + "4",
    "lone surrogate": "\ud800",
    "unclosed parentheses": "(" * 900,
    "deep parentheses": "(" * 400 + "1" + ")" * 400,
    "deep fractions": r"\frac{" * 90 + "1" + "}{2}" * 90,
    "deep roots": r"\sqrt{" * 120 + "2" + "}" * 120,
    "huge sum": r"\sum_{n=1}^{10000000} \frac{1}{n^n}",
    "huge product": r"\prod_{n=1}^{10000000} n",
    "hard integral": r"\int_0^1 x^{x^x} dx",
    "huge expansion": "(x+y+z+w)^{5000}",
    "division by zero": r"\frac{1}{0}",
    "long matrix": r"\begin{pmatrix}" + r"1 & 2 \\" * 100 + r"\end{pmatrix}",
    "many backslashes": "\\\\" * 450,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PATHOLOGICAL)
def test_pathological_answers_earn_nothing_and_the_next_one_is_graded(reward, name):
    # The reward's deadline is 2 s: a hang would not come back, and a wrong "right" is not 0 or None.
    assert grade(reward, "3", PATHOLOGICAL[name]) in (0.0, None)
    assert grade(reward, r"2\sqrt{2}", r"\sqrt{8}") == 1.0


def test_unclosed_boxes_of_any_length_are_wrong(reward):
    assert reward([completion(r"\boxed{" * 100_000 + "3", "3"), completion(r"\boxed{3" + "{}" * 500_000, "3")]) == [
        0.0,
        0.0,
    ]


def test_it_stays_a_recipe_after_use(reward):
    grade(reward, r"2\sqrt{2}", r"\sqrt{8}")
    assert dataclasses.asdict(reward)["timeout"] == 2.0
    assert reward == MathAnswer(timeout=2.0)
    for twin in (copy.deepcopy(reward), pickle.loads(pickle.dumps(reward))):
        assert twin == reward
        assert grade(twin, r"2\sqrt{2}", r"\sqrt{8}") == 1.0
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


def rows(path: str) -> list[dict]:
    folder = os.environ.get("MAPO_BENCHMARK_DATA")
    if not folder:
        pytest.skip("MAPO_BENCHMARK_DATA is not set")
    return [json.loads(line) for line in (Path(folder) / path).read_text().splitlines()]


def golds(name: str) -> list[str]:
    if name == "gsm8k":
        return [row["answer"].split("####")[1].strip() for row in rows("gsm8k/test.jsonl")]
    if name == "geometry3k":
        return [row["choices"]["ABCD".index(row["answer"])] for row in rows("geometry3k/test_text.jsonl")]
    return [row["answer"] for row in rows(f"{name}/{'test' if name == 'math500' else 'train_derived'}.jsonl")]


@pytest.mark.benchmark_rows
@pytest.mark.parametrize("name", ["gsm8k", "geometry3k", "math500", "math12k"])
def test_real_golds_equal_themselves_and_no_other_rows(reward, name):
    answers = golds(name)
    same = reward([completion(f"\\boxed{{{answer}}}", answer) for answer in answers])
    assert [answer for answer, value in zip(answers, same, strict=True) if value != 1.0] == []
    pairs = list(zip(answers, answers[7:] + answers[:7], strict=True))
    other = reward([completion(f"\\boxed{{{answer}}}", gold) for gold, answer in pairs])
    right = {pair for pair, value in zip(pairs, other, strict=True) if value != 0.0 and pair[0] != pair[1]}
    # Rows whose answers are the same number in other words, such as "x=5" and "5".
    assert right <= {pair for pair in pairs if pair[0].removeprefix("x=") == pair[1].removeprefix("x=")}


@pytest.mark.benchmark_rows
def test_real_choices_are_graded_by_letter_and_by_text(reward):
    table = rows("geometry3k/test_text.jsonl")
    cells = [(row, letter, text) for row in table for letter, text in zip("ABCD", row["choices"], strict=True)]

    def batch(answers: list[str]) -> list[Completion]:
        return [
            completion(f"\\boxed{{{answer}}}", row["answer"], choices=row["choices"])
            for answer, (row, _, _) in zip(answers, cells, strict=True)
        ]

    by_letter = reward(batch([letter for _, letter, _ in cells]))
    assert by_letter == [float(letter == row["answer"]) for row, letter, _ in cells]
    by_text = reward(batch([text for _, _, text in cells]))  # some rows hold one text twice
    assert by_text == [float(text == row["choices"]["ABCD".index(row["answer"])]) for row, _, text in cells]
