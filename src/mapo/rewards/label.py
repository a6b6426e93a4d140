"""Accuracy of a class label, such as an emotion."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from typing_extensions import override

from mapo.rewards.answer_text import unwrap, words
from mapo.rewards.base import Reward
from mapo.rewards.boxed import last_boxed
from mapo.rewards.choices import choices_of
from mapo.types import Completion, Prompt

_MAX_CHARACTERS = {True: 1000, False: 20_000}  # of an answer in a box and without one; longer ones name no class
_MARKS = re.compile(r"[\s_*`]+")
_DENIAL = re.compile(
    r"\b(?:not|no|non|never|neither|nor|none|without|cannot|hardly|rather than|instead of|anything but|other than"
    r"|unlike|except|lacks?|lacking|absence|absent|false|wrong|incorrect|(?:is|are|was|does|do|did|can)nt)\b|n['’]t\b"
)
_REASON = re.compile(r"\b(?:because|since|due to|given that)\b")
_LETTERS = re.compile(
    r"[(\[](?P<bracketed>[a-z])[)\]]"
    r"|^\W*(?P<leading>[a-z])\s*(?:[).:\]]|\s-\s)"
    r"|\b(?:option|choice|letter)\W+(?P<announced>[a-z])\b"
    r"|(?:^|\b(?:is|answer|emotion|class|label|category)\b)\W*(?P<closing>[a-z])\W*$"
    r"|(?<![\w'’.-])(?P<bare>[b-hj-z])(?![\w'’-]|\.\w)"  # a and i are words, too
    r"|\b(?P<joined>a)\s*(?:[,/&]|or\b|and\b)|(?:[,/&]\s*|\b(?:or|and)\s+)(?P<added>a)\W*$"
)


@dataclass(frozen=True)
class LabelMatch(Reward):
    r"""1 where the answer names the right class and no other, else 0.

    The answer is the content of the last ``\boxed{…}``. Where the classes are known (``labels``, or the row's
    ``choices``) it may be wrapped in words ("The emotion is sadness, because …"), and, with ``choices``, be a letter;
    an answer that names two classes, by letter or by text, or denies one, is wrong. Where they are not, the answer must
    be the class, in any case and punctuation. An answer of more than 1,000 characters (20,000 without a box) names
    none. A row's ``graded_by`` says which of letter and text must be there, its ``aliases`` map other spellings to
    classes.

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
        if self.labels is not None and len({plain(label) for label in self.labels} - {""}) != max(len(self.labels), 1):
            raise ValueError(f"labels must name at least one class, and each once, got {self.labels}")

    @override
    def __call__(self, completions: Sequence[Completion]) -> list[float | None]:
        return [float(self._is_right(completion)) for completion in completions]

    @override
    def answer(self, completion: Completion) -> str | None:
        text = self._text(completion.prefill + completion.text)
        graded_by = completion.prompt.metadata.get("graded_by") or "either"
        return None if text is None else self._named(text, completion.prompt, graded_by)

    def _is_right(self, completion: Completion) -> bool:
        gold = self._gold(completion.prompt)
        return bool(gold) and self.answer(completion) == gold

    def _gold(self, prompt: Prompt) -> str | None:
        gold = self._named(prompt.answer, prompt, "either")
        if gold is None and prompt.answer.strip():
            raise ValueError(
                f"answer {prompt.answer!r} of sample {prompt.sample_id!r} is none of the classes "
                f"{self.labels or choices_of(prompt.metadata)}: correct the row, or the labels of the reward"
            )
        return gold

    def _named(self, text: str, prompt: Prompt, graded_by: str) -> str | None:
        choices, aliases = choices_of(prompt.metadata), prompt.metadata.get("aliases") or {}
        return named_label(text, labels=self.labels or choices, choices=choices, aliases=aliases, graded_by=graded_by)

    def _text(self, text: str) -> str | None:
        boxed = last_boxed(text)
        answer = text.rpartition("</think>")[2] if boxed is None and not self.require_boxed else boxed
        return answer if answer is not None and len(answer) <= _MAX_CHARACTERS[boxed is not None] else None


def named_label(
    answer: str,
    *,
    labels: Sequence[str],
    choices: Sequence[str] = (),
    aliases: Mapping[str, str] | None = None,
    graded_by: str = "either",
) -> str | None:
    """Return the one class that an answer names, in lower case.

    Args:
        answer: A short text.
        labels: The closed set; empty where it is not known, and then the answer itself is the class.
        choices: Texts behind the letters A, B, …, if the question had any.
        aliases: Other spellings, each with its class.
        graded_by: What must name the class: a "letter", its "text", or "either". Letters mean nothing to "text".

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
    text = plain(answer)
    if not labels:
        return text or None
    classes = _plain_each(tuple(labels))
    others = zip(_plain_each(tuple(aliases or ())), _plain_each(tuple((aliases or {}).values())), strict=True)
    spellings = dict(others) | dict(zip(classes, classes, strict=True))
    by_text = {spellings[text]} if text in spellings else _named(text, spellings)
    if by_text is None:
        return None
    by_letter = set() if graded_by == "text" or text in spellings else _lettered(text, choices)
    named = by_text | by_letter
    asked = {"letter": by_letter, "text": by_text}.get(graded_by, named)
    return next(iter(named)) if asked and len(named) == 1 and named <= set(classes) else None


def plain(text: str) -> str:
    r"""Return a text in lower case without LaTeX, emphasis and marks around it, words one space apart.

    Example:
        >>> plain(r"\textbf{\text{Pleasant\_surprise}}!")
        'pleasant surprise'
    """
    for _ in range(3):  # one command inside another
        text = unwrap(text)
    return words(_MARKS.sub(" ", text.replace("\\_", " ")))


@lru_cache(maxsize=64)  # the classes of a data set come with every row
def _plain_each(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(plain(text) for text in texts)


def _named(text: str, spellings: Mapping[str, str]) -> set[str] | None:
    """Return the classes whose spellings occur in a text; None where one is denied."""
    found = list(_occurrences(text, frozenset(spellings)))
    # What follows "because" is about the picture: no hope there denies nothing. It must not name another class, though.
    reason = _REASON.search(text, found[0][1]) if found else None
    claim = list(text[: reason.start()] if reason else text)
    for start, end in found:
        claim[start:end] = " " * len(claim[start:end])  # a class may itself be called "no emotion"
    return None if found and _DENIAL.search("".join(claim)) else {spellings[text[start:end]] for start, end in found}


def _occurrences(text: str, spellings: frozenset[str]) -> Iterator[tuple[int, int]]:
    """Yield where spellings occur as words of their own, none inside a longer one."""
    reach = 0
    for match in _any_of(spellings).finditer(text):
        if match.end(1) > reach:
            reach = match.end(1)
            yield match.span(1)


@lru_cache(maxsize=64)
def _any_of(spellings: frozenset[str]) -> re.Pattern[str]:
    # The longest first, so that "pleasant surprise" is not read as "surprise"; a look-ahead, so that overlaps show.
    longest_first = sorted(spellings, key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?<!\w-)(?=({'|'.join(map(re.escape, longest_first))})(?!\w|-\w))")


def _lettered(text: str, choices: Sequence[str]) -> set[str]:
    """Return the classes that letters name; a letter behind which there is no choice names itself."""
    letters = {match[match.lastgroup or 0] for match in _LETTERS.finditer(text)} if choices else set()
    texts = {chr(ord("a") + index): choice for index, choice in enumerate(_plain_each(tuple(choices)))}
    return {texts.get(letter, letter) for letter in letters}
