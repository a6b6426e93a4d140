"""Accuracy of a class label, such as an emotion."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from typing_extensions import override

from mapo.rewards.answer_text import words
from mapo.rewards.base import Reward
from mapo.rewards.boxed import last_boxed
from mapo.rewards.choices import choice_index, choices_of, starts_with_letter
from mapo.types import Completion, Prompt

_NEGATION = re.compile(r"\b(?:not|no|never|neither|nor|without)\b|n['’]t\b")


@dataclass(frozen=True)
class LabelMatch(Reward):
    r"""1 where the answer names the right class and no other, else 0.

    The answer is the content of the last ``\boxed{…}``. Where the classes are known (``labels``, or the row's
    ``choices``) it may be wrapped in words ("The emotion is sadness"), and, with ``choices``, be a letter; an answer
    that names two classes, or denies one, is wrong. Where they are not, the answer must be the class, in any case and
    punctuation.

    Raises:
        ValueError: When ``labels`` is empty or repeats a class, or a row's answer is not one of the classes.
    """

    weight: float = 0.9
    """Share of this component in the total reward."""
    required_for_success: bool = True
    """A completion succeeds only if this component is fully earned."""
    is_accuracy: bool = True
    """Whether this component is the accuracy of the metrics."""
    labels: list[str] | None = None
    """The closed set of classes; by default each row's metadata column "choices", if it has one."""
    require_boxed: bool = True
    r"""Only a boxed answer counts, as in the paper; otherwise the text after </think> is read where there is no box."""

    def __post_init__(self) -> None:
        if self.labels is not None and len({words(label) for label in self.labels} - {""}) != max(len(self.labels), 1):
            raise ValueError(f"labels must name at least one class, and each once, got {self.labels}")

    @override
    def __call__(self, completions: Sequence[Completion]) -> list[float | None]:
        return [float(self._is_right(completion)) for completion in completions]

    def _is_right(self, completion: Completion) -> bool:
        gold = self._gold(completion.prompt)
        answer = self._answer(completion.prefill + completion.text)
        if answer is None or not gold:
            return False
        choices = choices_of(completion.prompt.metadata)
        return named_label(answer, labels=self.labels or choices, choices=choices) == gold

    def _gold(self, prompt: Prompt) -> str:
        choices = choices_of(prompt.metadata)
        gold = named_label(prompt.answer, labels=self.labels or choices, choices=choices)
        if gold is None:
            raise ValueError(
                f"answer {prompt.answer!r} of sample {prompt.sample_id!r} is none of the classes "
                f"{self.labels or choices}: correct the row, or the labels of the reward"
            )
        return gold

    def _answer(self, text: str) -> str | None:
        boxed = last_boxed(text)
        if boxed is None and not self.require_boxed:
            return text.rpartition("</think>")[2]
        return boxed


def named_label(answer: str, *, labels: Sequence[str], choices: Sequence[str] = ()) -> str | None:
    """Return the one class that an answer names, in lower case.

    Args:
        answer: A short text.
        labels: The closed set; empty where it is not known, and then the answer itself is the class.
        choices: Texts behind the letters A, B, …, if the question had any.

    Returns:
        None where no class is named, more than one is, or one is denied.

    Example:
        >>> emotions = ["joy", "sadness"]
        >>> named_label("The emotion is Sadness.", labels=emotions)
        'sadness'
        >>> named_label("joy or sadness", labels=emotions) is None
        True
        >>> named_label("(A)", labels=emotions, choices=["sadness", "joy"])
        'sadness'
    """
    index = choice_index(answer, choices) if choices else None
    text = words(choices[index] if index is not None else answer)
    if not labels or text in (classes := {words(label) for label in labels}):
        return text
    if _NEGATION.search(text) or (choices and starts_with_letter(answer)):
        return None
    named = set(_any_of(frozenset(classes)).findall(text))
    return named.pop() if len(named) == 1 else None


@lru_cache(maxsize=64)
def _any_of(classes: frozenset[str]) -> re.Pattern[str]:
    # The longest first, so that "pleasant surprise" is not read as "surprise".
    longest_first = sorted(classes, key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")
