"""Every gold answer of the benchmarks is right in several spellings, and another row's is wrong unless it is equal."""

import importlib
import os
from collections import Counter
from pathlib import Path

import pytest
import torch
from documents import ROOT

from mapo.rewards.choices import choices_of, named_choice
from mapo.rewards.math_answer import MathAnswer
from mapo.rewards.normal_form import normal_form
from mapo.types import Completion, Prompt

BENCHMARKS = ("gsm8k", "math500", "math12k", "geometry3k", "mathvista", "mathvision", "mathverse", "wemath")
LETTERS = ("{}", "({})", r"\text{{{}}}", r"\textbf{{({})}}", "{}.", "**{}**", "The answer is {}")
FREE = ("{}", "{}.", "the answer is {}", "x = {}", r"\mathbf{{{}}}")

pytestmark = pytest.mark.benchmark_rows


@pytest.fixture(scope="module")
def reward():
    reward = MathAnswer()
    yield reward
    reward.close()


@pytest.fixture(scope="module")
def real_answers():
    name = os.environ.get("MAPO_BENCHMARK_DATA")
    if not name:
        pytest.skip("MAPO_BENCHMARK_DATA is not set")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        module = importlib.import_module("benchmarks.real_answers")
    return module, module.golds(Path(name))


def completion(gold, answer: str) -> Completion:
    prompt = Prompt("row", (), (), gold.text, gold.metadata)
    return Completion(prompt, "", f"\\boxed{{{answer}}}", torch.tensor([1]), False)


def spellings(module, gold) -> list[str]:
    choices = choices_of(gold.metadata)
    index = named_choice(gold.text, choices) if choices else None
    if index is not None:
        return [*(form.format("ABCDEFGH"[index]) for form in LETTERS), *module.spellings(choices[index])]
    forms = FREE if "=" not in gold.text and ":" not in gold.text and " " not in gold.text else FREE[:3]
    return [*(form.format(gold.text) for form in forms), *module.spellings(gold.text)]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_gold_is_right_in_every_spelling(reward, real_answers, name, capsys):
    module, golds = real_answers
    cases = [(gold, answer) for gold in golds if gold.source == name for answer in spellings(module, gold)]
    values = reward([completion(gold, answer) for gold, answer in cases])
    with capsys.disabled():
        print(f"\n{name}: {len(cases)} spellings of golds, {values.count(1.0)} right")
    assert [(gold.text, answer) for (gold, answer), v in zip(cases, values, strict=True) if v != 1.0] == []


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_gold_of_another_row_is_wrong_unless_it_is_equal(reward, real_answers, name, capsys):
    _, golds = real_answers
    golds = [gold for gold in golds if gold.source == name]
    cases = [(a, b) for step in (1, 7, 20) for a, b in zip(golds, golds[step:] + golds[:step], strict=True)]
    values = reward([completion(gold, other.text) for gold, other in cases])
    counts = Counter((same(*case), value) for case, value in zip(cases, values, strict=True))
    with capsys.disabled():
        print(f"\n{name}: (equal, value) {dict(counts)}")
    wrong = [(a.text, b.text) for (a, b), v in zip(cases, values, strict=True) if v == 1.0 and not same(a, b)]
    assert wrong == []
    assert [(a.text, b.text) for (a, b), v in zip(cases, values, strict=True) if v == 0.0 and a.text == b.text] == []


def same(gold, other) -> bool:
    """Whether two rows have one answer: the same choice of this row, or the same form."""
    choices = choices_of(gold.metadata)
    index = named_choice(gold.text, choices) if choices else None
    if index is not None and named_choice(other.text, choices) == index:
        return True
    return normal_form(gold.text if index is None else choices[index]) == normal_form(other.text)
