"""Accuracy of a mathematical answer."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from typing_extensions import override

from mapo.rewards.answer_text import clean, key, unwrap
from mapo.rewards.base import Reward
from mapo.rewards.boxed import last_boxed
from mapo.rewards.choices import choice_index, choice_letter, choices_of
from mapo.rewards.quantity import parse_number, split_unit
from mapo.rewards.verifier import Verifier
from mapo.types import Completion

_MAX_ANSWER_CHARACTERS = 1000  # several times the longest gold answer of the benchmarks; longer ones are no answers
_TEXT = re.compile(r"(?=.*[A-Za-z]{3})[A-Za-z][A-Za-z ,.'-]*")
_NEAR = 1e-5  # differences from which on no rounding rule of the verifier makes two numbers equal


@dataclass(frozen=True)
class MathAnswer(Reward):
    r"""1 where the last ``\boxed{…}`` equals the row's answer, 0 where not, None where that could not be decided.

    Spelling, choices, numbers and units are compared here, at once; the rest goes to math-verify
    (https://github.com/huggingface/Math-Verify) in a worker process. No closed box is a wrong answer. A unit counts
    only where both answers have one.

    Raises:
        ValueError: When a setting of the verifier is out of range.
    """

    weight: float = 0.9
    """Share of this component in the total reward."""
    required_for_success: bool = True
    """A completion succeeds only if this component is fully earned."""
    is_accuracy: bool = True
    """Whether this component is the accuracy of the metrics."""
    timeout: float = 3.0
    """Seconds that computer algebra may take over one answer; later the verdict is None."""
    memory_mb: int = 1024
    """Address space of a worker process, in MiB."""
    num_workers: int = 1
    """Worker processes of every rank."""

    def __post_init__(self) -> None:
        Verifier(self.timeout, self.memory_mb, self.num_workers)  # its refusals come at construction

    @cached_property
    def _verifier(self) -> Verifier:
        return Verifier(self.timeout, self.memory_mb, self.num_workers)

    @override
    def __call__(self, completions: Sequence[Completion]) -> list[float | None]:
        quick = [_quick_verdict_of(c) for c in completions]
        pairs = list(dict.fromkeys(verdict for verdict in quick if isinstance(verdict, tuple)))
        judged = dict(zip(pairs, self._verifier.verify(pairs), strict=True))
        verdicts = [judged[verdict] if isinstance(verdict, tuple) else verdict for verdict in quick]
        return [None if verdict is None else float(verdict) for verdict in verdicts]

    @override
    def close(self) -> None:
        self._verifier.close()


def _quick_verdict_of(completion: Completion) -> bool | tuple[str, str]:
    answer = last_boxed(completion.prefill + completion.text)
    if not answer or len(answer) > _MAX_ANSWER_CHARACTERS:
        return False
    return quick_verdict(completion.prompt.answer, answer, choices_of(completion.prompt.metadata))


def quick_verdict(gold: str, answer: str, choices: Sequence[str] = ()) -> bool | tuple[str, str]:
    r"""Compare two short answers without computer algebra.

    Args:
        gold: The right answer as the data set writes it; a letter or a text where there are choices.
        answer: A model's answer.
        choices: The texts behind the letters A, B, …

    Returns:
        A verdict, or, where there is none yet, the pair of values that computer algebra has to compare.

    Example:
        >>> quick_verdict(r"145^\circ", "145"), quick_verdict("1,000", "100"), quick_verdict("B", "(b)", ["3", "4"])
        (True, False, True)
        >>> quick_verdict(r"2\sqrt{2}", r"\sqrt{8}")
        ('2\\sqrt{2}', '\\sqrt{8}')
    """
    if choices and (right := choice_index(gold, choices)) is not None:
        named = choice_index(answer, choices)
        if named is not None:
            return named == right
        gold = choices[right]
    if key(gold) == key(answer):
        return True
    if (letter := choice_letter(gold)) and (answer_letter := choice_letter(answer)):
        return answer_letter == letter
    if _TEXT.fullmatch(unwrap(clean(gold))):  # as mathematics, "even" and "neve" were the same product
        return False
    return _compare_quantities(clean(gold), clean(answer))


def _compare_quantities(gold: str, answer: str) -> bool | tuple[str, str]:
    (gold_value, gold_unit), (value, unit) = split_unit(gold), split_unit(answer)
    if gold_unit and unit and gold_unit != unit:
        return False
    if key(gold_value) == key(value):
        return True
    gold_number, number = parse_number(gold_value), parse_number(value)
    if gold_number is not None and number is not None:
        if gold_number == number:
            return True
        if (gold_unit == unit or "percent" not in (gold_unit, unit)) and abs(gold_number - number) > _NEAR:
            return False
    return _with_percent(gold_value, gold_unit), _with_percent(value, unit)


def _with_percent(value: str, unit: str) -> str:
    return value + r"\%" if unit == "percent" else value
