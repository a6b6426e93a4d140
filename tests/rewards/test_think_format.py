import pytest
import torch

from mapo.rewards.think_format import ThinkFormat
from mapo.types import Completion, Prompt

PROMPT = Prompt("row", ({"role": "user", "content": "?"},), (), "4", {})


def credit(text: str, *, prefill: str = "", truncated: bool = False, require_boxed: bool = True) -> float | None:
    completion = Completion(PROMPT, prefill, text, torch.tensor([1]), truncated)
    return ThinkFormat(require_boxed=require_boxed)([completion])[0]


@pytest.mark.parametrize(
    "text",
    [
        r"<think>2 + 2</think> \boxed{4}",
        "<think>\n2 + 2\nmakes \\boxed{3}? no\n</think>\nThe answer is \\boxed{4}.\n",
        "\n" + r"<think>a</think>\boxed{\frac{1}{2}}",
        r"<think></think>\boxed{4}",  # as in the paper's code
    ],
)
def test_think_then_box_earns_the_credit(text):
    assert credit(text) == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        r"\boxed{4}",
        r"2 + 2 \boxed{4}",
        r"<think>2 + 2 \boxed{4}",
        r"2 + 2</think>\boxed{4}",
        r"</think>2 + 2<think>\boxed{4}",
        r"so: <think>a</think>\boxed{4}",
        r"<think>\boxed{4}</think>",
        r"<think>\boxed{4}</think> The answer is 4.",
        r"<think>a</think>\boxed{4",
        r"<think>a</think>\boxed{4} <think>b</think>\boxed{4}",
        r"<think><think>a</think>\boxed{4}",
        r"<think>a</think></think>\boxed{4}",
        r"<THINK>a</THINK>\boxed{4}",
    ],
)
def test_anything_else_earns_nothing(text):
    assert credit(text) == 0.0


def test_a_thought_that_the_template_opened_counts():
    text = r"2 + 2</think>\boxed{4}"
    assert credit(text, prefill="<think>\n") == 1.0
    assert credit("<think>" + text, prefill="<think>\n") == 0.0  # opened twice
    assert credit(r"\boxed{4}", prefill="<think>\n\n</think>\n\n") == 1.0  # a template that also closed it


def test_a_truncated_completion_earns_nothing():
    assert credit(r"<think>a</think>\boxed{4}", truncated=True) == 0.0


def test_the_box_is_optional_but_an_answer_is_not():
    assert credit("<think>a</think> joy", require_boxed=False) == 1.0
    assert credit("<think>a</think> ", require_boxed=False) == 0.0


def test_the_defaults_are_the_papers():
    assert (ThinkFormat().weight, ThinkFormat().required_for_success, ThinkFormat().is_accuracy) == (0.1, True, False)
    assert ThinkFormat().name == "think_format"
