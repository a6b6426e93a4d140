"""Choices behind the letters A, B, …: written into a question, and checked against the right answer."""

import re
from collections.abc import Sequence

from mapo.data.rows import RowError

_LETTER = re.compile(r"\(?([A-Z])[).:]*")


def lettered(choices: Sequence[str], form: str = "({letter}) {text}") -> str:
    """Return one line per choice.

    Example:
        >>> print(lettered(["yes", "no"]))
        (A) yes
        (B) no
    """
    return "\n".join(form.format(letter=letter_of(i), text=choice) for i, choice in enumerate(choices))


def letter_of(index: int) -> str:
    """Return the letter of a choice, A for the first one."""
    return chr(ord("A") + index)


def refuse_other_answers(sample_id: str, answer: str, choices: Sequence[str]) -> None:
    """Refuse an answer that is neither the letter of one of the choices nor the text of one.

    Raises:
        RowError: It names no choice, though there are some.
    """
    match = _LETTER.fullmatch(answer.strip())
    if not choices or answer in choices or (match and ord(match.group(1)) - ord("A") < len(choices)):
        return
    listed = "; ".join(f"{letter_of(i)}: {choice}" for i, choice in enumerate(choices))
    raise RowError(sample_id, f"its answer {answer!r} is not among its {len(choices)} choices ({listed})")
