"""Choices behind the letters A, B, …: written into a question, and checked against the right answer."""

import re
from collections.abc import Sequence

from mapo.data.rows import RowError

_LETTER = re.compile(r"\(?([A-Za-z])[).:]*")


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
    """Refuse an answer that is neither the letter of one of the choices nor the text of one, in any case.

    Raises:
        RowError: It names no choice, though there are some.
    """
    match = _LETTER.fullmatch(answer.strip())
    texts = [choice.strip().casefold() for choice in choices]
    if not choices or answer.strip().casefold() in texts:
        return
    if match is None or match.group(1).upper() not in map(letter_of, range(len(choices))):
        listed = lettered(choices, "{letter}: {text}").replace("\n", "; ")
        raise RowError(
            sample_id,
            f"its answer {answer!r} is not among its {len(choices)} choices ({listed}); write one's letter or text",
        )
