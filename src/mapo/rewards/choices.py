"""Multiple choice: which of the choices an answer names, by letter or by text."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mapo.rewards.answer_text import clean, key, unwrap

_LEAD_IN = re.compile(r"^(?:the )?(?:correct |final )?(?:answer|option|choice)(?: is)?:? +", re.IGNORECASE)
_LETTER = re.compile(r"[(\[]?([A-Za-z])[)\].:]*")
_LETTER_AND_TEXT = re.compile(r"[(\[]?([A-Za-z])(?:[)\]][.:]?|[.:])\s*(\S.*)", re.DOTALL)


def choices_of(metadata: Mapping[str, Any]) -> list[str]:
    """Return a row's choices, in order; an empty list where it has none."""
    return [str(choice) for choice in metadata.get("choices") or ()]


def choice_letter(text: str) -> str | None:
    r"""Return the capital letter an answer consists of, in any wrapping.

    Example:
        >>> [choice_letter(text) for text in ("B", "(b)", r"\text{B.}", "The answer is B", "AB")]
        ['B', 'B', 'B', 'B', None]
    """
    match = _LETTER.fullmatch(_plain(text))
    return match.group(1).upper() if match else None


def letter_before_text(text: str) -> str | None:
    """Return the capital letter in front of a text, as in ``(B) 42``; None where there is none."""
    match = _LETTER_AND_TEXT.fullmatch(_plain(text))
    return match.group(1).upper() if match else None


def choice_index(text: str, choices: Sequence[str]) -> int | None:
    """Return the index of the one choice that an answer names.

    Args:
        text: A gold answer or a model's: a letter, the text of a choice, or both.
        choices: The texts in order; the first one is A.

    Returns:
        None where no choice is named, or the letter and the text that follows it disagree.

    Example:
        >>> [choice_index(text, ["42", "52"]) for text in ("B", "(B)", "52", "(B) 52", "(A) 52", "C")]
        [1, 1, 1, 1, None, None]
    """
    keys = [key(choice) for choice in choices]
    if keys.count(key(text)) == 1:  # before the letters: a choice may itself read "A"
        return keys.index(key(text))
    letter, rest = choice_letter(text), None
    if letter is None and (match := _LETTER_AND_TEXT.fullmatch(_plain(text))):
        letter, rest = match.group(1).upper(), match.group(2)
    index = ord(letter) - ord("A") if letter else len(choices)
    if index >= len(choices) or (rest is not None and key(rest) != keys[index]):
        return None
    return index


def named_choice(text: str, choices: Sequence[str], graded_by: str | None = None) -> int | None:
    """Return the index of the choice that an answer names in the way its benchmark asks for.

    Args:
        text: A gold answer or a model's.
        choices: The texts in order; the first one is A.
        graded_by: "letter", and a text alone names nothing; "text", and a letter alone names nothing; "either", the
            same as None.

    Raises:
        ValueError: When ``graded_by`` is none of these.

    Example:
        >>> [named_choice(text, ["42", "52"], "letter") for text in ("B", "(B) 52", "52", "(A) 52")]
        [1, 1, None, 0]
        >>> [named_choice(text, ["42", "52"], "text") for text in ("B", "(B) 52", "52", "(A) 52")]
        [None, 1, 1, None]
    """
    if graded_by in (None, "either"):
        return choice_index(text, choices)
    if graded_by == "letter":
        letter = choice_letter(text) or letter_before_text(text)
        index = ord(letter) - ord("A") if letter else len(choices)
        return index if index < len(choices) else None
    if graded_by != "text":
        raise ValueError(
            f"graded_by must be 'letter', 'text' or 'either', got {graded_by!r}: correct the rows' metadata"
        )
    index_of = {key(choice): index for index, choice in reversed(list(enumerate(choices)))}
    is_letter_alone = choice_letter(text) is not None and key(text) not in index_of
    return None if is_letter_alone else choice_index(text, choices)


def _plain(text: str) -> str:
    return _LEAD_IN.sub("", unwrap(clean(text)).strip(" *_")).strip(" *_")
