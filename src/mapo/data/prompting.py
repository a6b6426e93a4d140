r"""From a data set's question to chat messages: the instruction as data, pictures where the text refers to them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

THINK_AND_BOX = (
    "Think first: write your reasoning inside <think> </think> tags. "
    "After them, give the final answer, put in \\boxed{}."
)

_MARKER = re.compile(r"<image(\d*)>")


def build_messages(
    question: str, images: Sequence[Any], *, instruction: str = THINK_AND_BOX, system: str | None = None
) -> tuple[tuple[Mapping[str, Any], ...], tuple[Any, ...]]:
    r"""Return the chat messages of one question, and its pictures in the order in which the messages show them.

    A marker ``<image>`` in the text stands for the next picture, ``<image2>`` for the second one, as often as it is
    named. Pictures without a marker come before the text.

    Args:
        question: The data set's text.
        images: Its pictures.
        instruction: Appended after an empty line; where it holds ``{question}``, it is the whole text, and the question
            stands there. Nothing is added when it is empty.
        system: Text of a system message, which is left out when None.

    Raises:
        ValueError: The question is empty, a marker has no picture, or both kinds of marker are mixed.

    Example:
        >>> messages, images = build_messages("Is <image> red?", ["a.png"], instruction="Say yes or no.")
        >>> messages[0]["content"]
        [{'type': 'text', 'text': 'Is '}, {'type': 'image'}, {'type': 'text', 'text': ' red?\n\nSay yes or no.'}]
    """
    if not _MARKER.sub("", question).strip():
        raise ValueError("the question is empty")
    before, placed, after = instruction.rpartition("{question}")
    if not placed:
        after = f"\n\n{instruction}" if instruction else ""
    unmarked, marked = _split(question.strip(), len(images))
    pieces = _join([*unmarked, before, *marked, after])
    order = [piece for piece in pieces if isinstance(piece, int)]
    content = [_part(piece) for piece in pieces] if order else pieces[0]
    messages: list[Mapping[str, Any]] = [{"role": "user", "content": content}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    return tuple(messages), tuple(images[i] for i in order)


def _split(question: str, num_images: int) -> tuple[list[int], list[str | int]]:
    """Return the pictures without a marker, and the question cut at its markers into strings and picture numbers."""
    named = [int(number) - 1 if number else None for number in _MARKER.findall(question)]
    if None in named and any(number is not None for number in named):
        raise ValueError("the question mixes <image> with numbered markers such as <image1>; use one kind")
    marked = [i if number is None else number for i, number in enumerate(named)]
    for number in marked:
        if not 0 <= number < num_images:
            raise ValueError(f"the question has a marker for picture {number + 1}, but the row has {num_images}")
    pieces: list[str | int] = []
    texts = _MARKER.split(question)[::2]  # the odd elements are the markers' numbers
    for text, following in zip(texts, [*marked, None], strict=True):
        pieces += [text, following] if following is not None else [text]
    return [i for i in range(num_images) if i not in marked], pieces


def _join(pieces: Sequence[str | int]) -> list[str | int]:
    """Put neighbouring strings together, and leave empty ones out."""
    joined: list[str | int] = []
    for piece in pieces:
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        elif piece != "":
            joined.append(piece)
    return joined


def _part(piece: str | int) -> dict[str, str]:
    return {"type": "text", "text": piece} if isinstance(piece, str) else {"type": "image"}
