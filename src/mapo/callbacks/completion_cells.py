"""Sampled completions with what they earned, as the cells of a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from mapo.callbacks.markdown import shorten
from mapo.types import Prompt


def completion_cells(
    prompts: Sequence[Prompt], rows: Sequence[Mapping[str, Any]], *, max_characters: int
) -> tuple[list[str], list[list[str]]]:
    """Return head and lines of a table of completions with the texts of their prompts.

    Args:
        prompts: Raw rows the completions answer, by ``sample_id``.
        rows: Completions as ``phase_rows`` or ``evaluation_rows`` give them.
        max_characters: Longer texts are shortened, visibly.

    Returns:
        Plain text; a prompt's text stands beside its first completion only.
    """
    texts = {prompt.sample_id: prompt_text(prompt) for prompt in prompts}
    components = list(rows[0]["components"]) if rows else []
    marks = [name for name in ("success", "advantage", "truncated") if rows and name in rows[0]]
    header = ["sample", "prompt", "completion", "tokens", *components, "reward", *marks]
    lines: list[list[str]] = []
    seen = ""
    for row in rows:
        question = texts.get(row["sample_id"], "") if row["sample_id"] != seen else ""
        seen = row["sample_id"]
        written = [shorten(question, max_characters), shorten(row["text"], max_characters), str(row["num_tokens"])]
        figures = [row["components"][name] for name in components] + [row["reward"]] + [row[name] for name in marks]
        lines.append([seen, *written, *map(_figure, figures)])
    return header, lines


def prompt_text(prompt: Prompt) -> str:
    """Return the messages of a prompt as a person reads them.

    Example:
        >>> part = {"type": "image"}, {"type": "text", "text": "What is x?"}
        >>> prompt_text(Prompt("7", ({"role": "user", "content": part},), (), "3", {}))
        'user: [image] What is x?'
    """
    return "\n".join(f"{message['role']}: {_content(message['content'])}" for message in prompt.messages)


def _content(content: str | Sequence[Mapping[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return " ".join(part["text"] if part["type"] == "text" else f"[{part['type']}]" for part in content)


def _figure(value: float | bool | None) -> str:
    if value is None:
        return "not scored"
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value:.3g}"
