r"""The answer of a completion: what stands in its last ``\boxed{…}``."""

import re

_OPENING = re.compile(r"\\boxed\s*\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # an escaped brace is a character of the answer, not a delimiter
_ANY_BRACE = re.compile(r"[{}]")


def last_boxed(text: str) -> str | None:
    r"""Return the content of the last ``\boxed{…}``, in time linear in the text.

    Args:
        text: A completion of any length.

    Returns:
        The text between the box's balanced braces, stripped; None where there is no box or the last one is never closed
        (the answer of a truncated completion is not guessed from an earlier box).

    Example:
        >>> last_boxed(r"first \boxed{1}, then \boxed{\frac{3}{4}}.")
        '\\frac{3}{4}'
        >>> last_boxed(r"\boxed{1} or \boxed{2") is None
        True
    """
    start = None
    for opening in _OPENING.finditer(text):
        start = opening.end()
    if start is None:
        return None
    # A backslash too many hides the end of "\boxed{5\}": then every brace counts, and so do those of sets.
    end = _closing(_BRACE, text, start) or _closing(_ANY_BRACE, text, start)
    return None if end is None else text[start : end - 1].strip()


def _closing(brace: re.Pattern[str], text: str, start: int) -> int | None:
    depth = 1
    for match in brace.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return match.end()
    return None
