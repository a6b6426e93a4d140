r"""The answer of a completion: what stands in its last ``\boxed{…}``."""

import re

_OPENING = re.compile(r"\\boxed\s*\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # an escaped brace is a character of the answer, not a delimiter


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
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth == 0:
            return text[start : brace.start()].strip()
    return None
