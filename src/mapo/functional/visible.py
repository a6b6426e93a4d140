"""Text that anybody may have written, a model or the rows of a data set, made fit for one line of a terminal."""

import unicodedata

_SHAPELESS = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")  # control, format, surrogate, private, unassigned, line ends
_JOINERS = "\u200c\u200d"  # format characters that belong to words and emoji


def is_shapeless(character: str) -> bool:
    """Tell whether a character has no shape of its own: a terminal or a browser would obey it rather than show it."""
    return unicodedata.category(character) in _SHAPELESS and character not in _JOINERS


def is_blank(text: str) -> bool:
    r"""Tell whether nothing of a text can be seen.

    Example:
        >>> [is_blank(text) for text in ("", " \u200b\u202e", "a")]
        [True, True, False]
    """
    return all(c.isspace() or is_shapeless(c) or c in _JOINERS for c in text)


def visible(text: str) -> str:
    r"""Return a text with characters without a shape of their own (control, direction marks, ...) written as escapes.

    Example:
        >>> print(visible("a\x1b[31mb\u202e\n"))
        a\x1b[31mb\u202e\n
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(repr(c)[1:-1] if is_shapeless(c) else c for c in text)


def one_line(text: str, most: int = 400) -> str:
    """Return a text as one line that can be shown anywhere: visible, and cut in its middle where it is long.

    Args:
        text: Any text.
        most: Characters of it that stay, > 0; three quarters of them are its beginning.

    Example:
        >>> one_line("abcdefghij", 4)
        'abc[... 6 characters ...]j'
    """
    if len(text) <= most:
        return visible(text)
    head = most - most // 4
    tail = len(text) - (most - head)
    return f"{visible(text[:head])}[... {tail - head:,} characters ...]{visible(text[tail:])}"
