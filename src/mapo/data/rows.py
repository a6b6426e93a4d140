"""Raw rows to prompts: read when needed, checked once, each fault named."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar, overload

from typing_extensions import override

from mapo.functional.visible import is_blank, one_line
from mapo.policies.images import image_size
from mapo.types import Prompt

Row = TypeVar("Row")

_MAX_PRECISION = 100  # decimals; a billion of them would take the memory of the machine


class RowError(ValueError):
    """A row that cannot become a prompt."""

    def __init__(self, sample_id: str, reason: str) -> None:
        """Name the row and what is wrong with it."""
        self.sample_id = sample_id
        self.reason = one_line(reason)  # it may quote what the row holds
        super().__init__(f"row {one_line(repr(sample_id))}: {self.reason}")


class LazyPrompts(Sequence[Prompt], Generic[Row]):
    """Prompts made from rows when they are asked for, so that a set's pictures need not fit into memory."""

    def __init__(self, rows: Sequence[Row], to_prompt: Callable[[int, Row], Prompt]) -> None:
        """Take the rows, and the function of (index, row) that makes a prompt or raises ``RowError``."""
        self.rows = rows
        self.to_prompt = to_prompt

    @override
    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Prompt: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Prompt]: ...

    @override
    def __getitem__(self, index: int | slice) -> Prompt | Sequence[Prompt]:
        if isinstance(index, slice):
            return select(self, range(len(self))[index])
        index = range(len(self))[index]
        return self.to_prompt(index, self.rows[index])


def select(prompts: Sequence[Prompt], indices: Sequence[int]) -> Sequence[Prompt]:
    """Return a view of some of the prompts, still read when asked for."""
    return LazyPrompts(indices, lambda _, index: prompts[index])


def admit(
    name: str, prompts: Sequence[Prompt], on_bad_row: Literal["error", "skip"]
) -> tuple[Sequence[Prompt], dict[str, str]]:
    """Read every row of a set once and return the usable ones, and the reason against each other one by sample id.

    Raises:
        ValueError: The set is empty, a sample id is there twice, or a row is faulty and ``on_bad_row`` is "error".
    """
    kept: list[int] = []
    seen: set[str] = set()
    bad: dict[str, str] = {}
    for index in range(len(prompts)):
        sample_id, reason = _examine(prompts, index)
        if sample_id in seen:
            raise ValueError(
                f"set {name!r}: sample id {one_line(repr(sample_id))} is there twice; remove one row, or give it an id "
                "of its own"
            )
        seen.add(sample_id)
        if reason is None:
            kept.append(index)
        else:
            bad[sample_id] = reason
    _refuse(name, len(prompts), bad, on_bad_row)
    return (select(prompts, kept) if bad else prompts), bad


def _examine(prompts: Sequence[Prompt], index: int) -> tuple[str, str | None]:
    try:
        prompt = prompts[index]
    except RowError as error:
        return error.sample_id, error.reason
    reason = fault(prompt)
    return prompt.sample_id, None if reason is None else one_line(reason)


def fault(prompt: Prompt) -> str | None:
    """Return what makes a prompt unusable, reading no more of its pictures than their headers; None where nothing."""
    if not isinstance(prompt.answer, str) or is_blank(prompt.answer):
        return f"the answer is empty or no text ({prompt.answer!r})"
    parts = [part for message in prompt.messages if message["role"] == "user" for part in _parts(message["content"])]
    texts = [part["text"] for part in parts if part["type"] == "text"]
    if all(map(is_blank, texts)):
        return "the question is empty"
    if broken := next((text for text in (prompt.sample_id, prompt.answer, *texts) if _is_broken(text)), None):
        return f"{broken!r} holds half a character (a lone surrogate), which no tokenizer reads; write it as UTF-8"
    precision = prompt.metadata.get("precision")
    if precision is not None and not 0 <= precision <= _MAX_PRECISION:
        return f"its precision is {precision}; it must be a number of decimals from 0 to {_MAX_PRECISION}"
    shown = sum(part["type"] == "image" for part in parts)
    if shown != len(prompt.images):
        return f"its messages show {shown} pictures, it has {len(prompt.images)}"
    try:
        for image in prompt.images:
            image_size(image)
    except ValueError as error:
        return str(error)
    return None


def _is_broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _parts(content: Any) -> Sequence[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def listed(reasons: Mapping[str, str], most: int = 5) -> str:
    """Return what is wrong with the first of some rows, by sample id, and how many there are besides.

    Example:
        >>> listed({"a": "no picture", "b": "no answer", "c": "no answer"}, most=2)
        "'a': no picture; 'b': no answer; and 1 more"
    """
    first = [f"{one_line(repr(sample_id))}: {reason}" for sample_id, reason in list(reasons.items())[:most]]
    return "; ".join(first + ([f"and {len(reasons) - most} more"] if len(reasons) > most else []))


def _refuse(name: str, total: int, bad: dict[str, str], on_bad_row: str) -> None:
    if total == 0:
        raise ValueError(f"set {name!r} has no rows; check its path and split")
    if bad and on_bad_row == "error":
        raise ValueError(
            f"set {name!r}: {len(bad)} of {total} rows cannot be used. {listed(bad)}. "
            "Mend or remove them, or pass on_bad_row='skip' (training leaves them out, evaluation counts them as wrong)"
        )
    if len(bad) == total:
        raise ValueError(f"set {name!r}: none of its {total} rows can be used. {listed(bad)}")
