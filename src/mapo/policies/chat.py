"""Chat messages in the two dialects of Hugging Face templates, and what a template writes ahead of an answer."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

_SENTINEL = "ANSWER-STARTS-HERE"


def as_parts(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return messages whose content is a list of parts, as the templates of vision-language models read it.

    Example:
        >>> as_parts([{"role": "user", "content": "hi"}])
        [{'role': 'user', 'content': [{'type': 'text', 'text': 'hi'}]}]
    """
    return [dict(message) | {"content": _parts(message["content"])} for message in messages]


def as_text(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return messages whose content is one string, as the templates of language models read it."""
    joined = ["".join(part["text"] for part in _parts(message["content"])) for message in messages]
    return [dict(message) | {"content": text} for message, text in zip(messages, joined, strict=True)]


def count_images(messages: Sequence[Mapping[str, Any]]) -> int:
    """Return the number of image parts."""
    return sum(part["type"] == "image" for message in messages for part in _parts(message["content"]))


def text_parts(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the texts of all messages in order."""
    return [part["text"] for message in messages for part in _parts(message["content"]) if part["type"] == "text"]


def find_prefill(render: Callable[..., str]) -> str:
    """Return what a template writes of the answer itself when it opens one, such as ``<think>`` and a line break.

    The opening is compared with the header of an earlier, finished answer: what goes beyond that header is prefill.

    Args:
        render: Messages and ``add_generation_prompt`` to text.
    """
    question = {"role": "user", "content": "question"}
    closed = render([question], add_generation_prompt=False)
    opening = render([question], add_generation_prompt=True).removeprefix(closed)
    try:
        answer = {"role": "assistant", "content": _SENTINEL}
        earlier = render([question, answer, question], add_generation_prompt=False).partition(_SENTINEL)[0]
    except Exception:  # templates raise what they like at conversations they do not know; then only the tag is left
        earlier = ""
    lengths = range(len(opening), 0, -1)
    header = next((length for length in lengths if earlier.endswith(opening[:length])), None)
    if header is None:
        _, tag, rest = opening.partition("<think>")
        return tag + rest
    return opening[header:]


def _parts(content: str | Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else [dict(part) for part in content]
