"""Accuracy of a mathematical answer."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from typing_extensions import override

from mapo.rewards.base import Reward
from mapo.rewards.boxed import last_boxed
from mapo.rewards.choices import choice_index, choices_of, named_choice
from mapo.rewards.equality import Verdict, compare, equal_when_rounded
from mapo.rewards.normal_form import normal_form
from mapo.rewards.verifier import MAX_PAIR_CHARACTERS, Rule, Verifier
from mapo.types import Completion

_MAX_ANSWER_CHARACTERS = 1000  # several times the longest gold answer of the benchmarks; longer ones are no answers


@dataclass(frozen=True)
class MathAnswer(Reward):
    r"""1 where the last ``\boxed{…}`` equals the row's answer, 0 where not, None where that could not be decided.

    Choices, precision, spelling, numbers, units and the values of expressions are compared here, at once; the rest goes
    to math-verify (https://github.com/huggingface/Math-Verify) in a worker process. No closed box is a wrong answer. A
    unit counts only where both answers have one. ``docs/verification.md`` has the rules in full.

    Metadata of a row: ``choices``, the texts behind the letters A, B, …; ``graded_by``, which of the two a right answer
    names: "letter", "text" or "either" (the default); ``precision``, decimals to which numbers are rounded before they
    are compared, as MathVista does (https://arxiv.org/abs/2310.02255).

    Raises:
        ValueError: When a setting of the verifier is out of range, or the library of the rule is not installed.
    """

    weight: float = 0.9
    """Share of this component in the total reward."""
    required_for_success: bool = True
    """A completion succeeds only if this component is fully earned."""
    is_accuracy: bool = True
    """Whether this component is the accuracy of the metrics."""
    rule: Rule = "math_verify"
    """How free answers are compared: as above, or by "mathruler" alone, as in the paper's code (an extra)."""
    timeout: float = 3.0
    """Seconds that computer algebra may take over one answer; later the verdict is None."""
    memory_mb: int = 1024
    """Address space of a worker process, in MiB."""
    num_workers: int | None = None
    """Worker processes of every rank; when None, the cores of the machine, shared by its ranks, 8 at most."""

    def __post_init__(self) -> None:
        self._new_verifier()  # its refusals come at construction

    def _new_verifier(self) -> Verifier:
        return Verifier(self.timeout, self.memory_mb, self.num_workers, self.rule)

    @cached_property
    def _verifier(self) -> Verifier:
        return self._new_verifier()

    @property
    def failures(self) -> Counter[str]:
        """Verdicts that failed so far, by reason."""
        return self._verifier.failures

    @override
    def __call__(self, completions: Sequence[Completion]) -> list[float | None]:
        quick = [self._quick_verdict_of(c) for c in completions]
        pairs = list(dict.fromkeys(verdict for verdict in quick if isinstance(verdict, tuple)))
        judged = dict(zip(pairs, self._verifier.verify(pairs), strict=True))
        verdicts = [judged[verdict] if isinstance(verdict, tuple) else verdict for verdict in quick]
        return [None if verdict is None else float(verdict) for verdict in verdicts]

    def _quick_verdict_of(self, completion: Completion) -> Verdict:
        answer = _boxed_answer(completion)
        if answer is None:
            return False
        return quick_verdict(completion.prompt.answer, answer, completion.prompt.metadata, self.rule)

    @override
    def answer(self, completion: Completion) -> str | None:
        answer = _boxed_answer(completion)
        if answer is None:
            return None
        choices = choices_of(completion.prompt.metadata)
        named = named_choice(answer, choices, completion.prompt.metadata.get("graded_by")) if choices else None
        return normal_form(answer) if named is None else chr(ord("A") + named)

    @override
    def close(self) -> None:
        self._verifier.close()


def _boxed_answer(completion: Completion) -> str | None:
    answer = last_boxed(completion.prefill + completion.text)
    return answer if answer and len(answer) <= _MAX_ANSWER_CHARACTERS else None


def quick_verdict(gold: str, answer: str, metadata: Mapping[str, Any], rule: Rule = "math_verify") -> Verdict:
    r"""Compare two short answers without computer algebra.

    Args:
        gold: The right answer as the data set writes it; a letter or a text where there are choices.
        answer: A model's answer.
        metadata: Of the row, for its ``choices``, ``graded_by`` and ``precision``.
        rule: "math_verify", or "mathruler", which leaves everything to the library but choices and precision.

    Returns:
        A verdict, or, where there is none yet, the pair of texts that the library has to compare.

    Raises:
        ValueError: When ``graded_by`` is not one of its three values.

    Example:
        >>> quick_verdict("B", "(b)", {"choices": ["3", "4"]}), quick_verdict("3.46", r"2\sqrt{3}", {"precision": 2})
        (True, True)
        >>> quick_verdict("x < 2", "2 > x", {})
        ('x < 2', '2 > x')
    """
    if gold.count(r"\boxed") == 1:  # some data sets put the answer in a box, or give a whole solution
        gold = last_boxed(gold) or gold
    if len(gold) > MAX_PAIR_CHARACTERS:
        return gold, answer
    graded_by, choices = metadata.get("graded_by"), choices_of(metadata)
    if choices and (right := _right_choice(gold, choices, graded_by)) is not None:
        named = named_choice(answer, choices, graded_by)
        if named is not None or graded_by == "letter":
            return named == right
        gold = choices[right]
    precision = metadata.get("precision")
    if precision is not None and (rounded := equal_when_rounded(gold, answer, int(float(precision)))) is not None:
        return rounded
    if rule == "mathruler":
        return gold.strip() == answer.strip() or (gold, answer)
    return compare(gold, answer)


def _right_choice(gold: str, choices: Sequence[str], graded_by: str | None) -> int | None:
    by_letter = named_choice(gold, choices, graded_by) if graded_by == "letter" else None
    return choice_index(gold, choices) if by_letter is None else by_letter
