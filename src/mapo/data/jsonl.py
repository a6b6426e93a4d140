"""One's own questions: a file of JSON lines for every set."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from mapo.data.base import PromptDataModule
from mapo.data.json_file import Line, json_lines
from mapo.data.lettered_choices import refuse_other_answers
from mapo.data.rows import LazyPrompts, RowError
from mapo.types import Prompt

_KINDS = {str: "text", int: "a number", float: "a number"}
_USUAL = {"images": "images", "choices": "choices", "sample_id": "id"}
_GRADED_BY = ("letter", "text", "either")


class JSONL(PromptDataModule):
    r"""Files of one JSON object per line: ``{"question": "What is 2 + 3?", "answer": "5"}``.

    A row may bring pictures (``"images": ["pictures/1.png"]``, one name or a list, relative to the file's folder; they
    stand where the question says ``<image>``, before it otherwise) and choices (``"choices": ["4", "5"]``, answered by
    letter or by text). All other columns are kept as metadata; of them ``graded_by``, ``precision``, ``aliases`` and
    ``categories`` mean what they mean to ``PromptDataModule.prompt``. A row is known by its id, or by its line:
    ``line-7``.
    """

    def __init__(
        self,
        train: str | None = None,
        evaluation: Mapping[str, str] | None = None,
        *,
        question: str = "question",
        answer: str = "answer",
        images: str | None = None,
        choices: str | None = None,
        sample_id: str | None = None,
        categories: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        """Name the files and their columns.

        Args:
            train: File to train on; none is needed to evaluate.
            evaluation: File of every evaluation set, by the name that its figures get.
            question: Column of the question.
            answer: Column of the right answer, text or a number; the letter or the text of a choice where there are
                choices.
            images: Column of the pictures; "images" where there is one when None.
            choices: Column of the texts behind the letters A, B, ...; "choices" where there is one when None.
            sample_id: Column of an id that is unique within its file; "id" where there is one when None.
            categories: Columns by which accuracies are broken down; a list counts towards each of its values.
            **settings: As ``PromptDataModule``.

        Raises:
            ValueError: A set has no name that can stand in that of a figure.
        """
        super().__init__(**settings)
        for name in evaluation or {}:
            if not name.strip() or "/" in name:
                raise ValueError(f"evaluation names a set {name!r}; choose a name without a slash, such as 'algebra'")
        self.train = train
        self.evaluation = dict(evaluation or {})
        self.required = {"question": question, "answer": answer}
        self.optional = {"images": images, "choices": choices, "sample_id": sample_id}
        self.categories = tuple(categories)

    @override
    def train_prompts(self) -> Sequence[Prompt]:
        if self.train is None:
            raise ValueError("train names no file: give the JSON lines to train on, or only evaluate")
        return self.read("train", self.train)

    @override
    def eval_prompts(self) -> Mapping[str, Sequence[Prompt]]:
        return {name: self.read(name, file) for name, file in self.evaluation.items()}

    def read(self, name: str, path: str) -> Sequence[Prompt]:
        """Return the prompts of a file, each made when it is asked for.

        Args:
            name: The set, for errors.
            path: The file.

        Raises:
            ValueError: The file is missing, or no row of it has a column that is asked for.
        """
        file = Path(path)
        try:
            lines = json_lines(file)
        except OSError as error:
            raise ValueError(f"set {name!r}: cannot read {path!r}: {error}. Name a file of JSON lines") from error
        reader = _Reader(name, file, self, lines)
        return LazyPrompts(lines, lambda _, line: reader.prompt(line))


class _Reader:
    """Turns the lines of one file into prompts."""

    def __init__(self, name: str, file: Path, data: JSONL, lines: Sequence[Line]) -> None:
        self.file, self.data = file, data
        rows = [line.value for line in lines if isinstance(line.value, dict)]
        there = {column: None for row in rows for column in row}  # a dict keeps the order of the file
        asked = data.required | {role: column for role, column in data.optional.items() if column is not None}
        for role, column in [*asked.items(), *(("categories", column) for column in data.categories)]:
            if rows and column not in there:
                named = f"{role}=<column>" if role != "categories" else "categories"
                raise ValueError(
                    f"set {name!r}: {str(file)!r} has no column {column!r}; its columns are {', '.join(there)}. "
                    f"Name the right one in {named}"
                )
        usual = {role: column for role, column in _USUAL.items() if column in there}
        self.columns = usual | asked
        # Text and numbers side by side are the mark of a broken export: what most rows have is right.
        self.kinds = {role: _kind_of(row[c] for row in rows if c in row) for role, c in data.required.items()}

    def prompt(self, line: Line) -> Prompt:
        row, sample_id, place = line.value, f"line-{line.number}", f"line {line.number} of {self.file}"
        if not isinstance(row, dict):
            fault = line.fault or f"it is {type(row).__name__}"
            raise RowError(sample_id, f"{place} is no JSON object: {fault}. Write one on each line")
        if (column := self.columns.get("sample_id")) and _present(row, column):
            sample_id = str(row[column])
        try:
            return self._prompt(sample_id, row)
        except RowError as error:
            raise RowError(sample_id, f"{place}: {error.reason}") from error
        except ValueError as error:
            raise RowError(sample_id, f"{place}: {error}") from error

    def _prompt(self, sample_id: str, row: Mapping[str, Any]) -> Prompt:
        question, answer = (self._text(row, role) for role in ("question", "answer"))
        if not question.strip():
            raise ValueError(f"the question (column {self.columns['question']!r}) is empty")
        choices = self._choices(row)
        refuse_other_answers(sample_id, answer, choices)
        prompt = self.data.prompt(sample_id, question, answer, images=self._images(row))
        elsewhere = (self.columns.get("images"), self.columns.get("choices"))
        metadata = _metadata({name: value for name, value in row.items() if name not in elsewhere})
        if choices:
            metadata["choices"] = choices
        if self.data.categories:
            named = {column: _category(row[column], column) for column in self.data.categories if _present(row, column)}
            metadata["categories"] = metadata.get("categories", {}) | named
        return prompt._replace(metadata=metadata)

    def _text(self, row: Mapping[str, Any], role: str) -> str:
        column = self.columns[role]
        value = row.get(column)
        kind = _KINDS.get(type(value))
        if value is None or kind is None or kind != self.kinds[role]:
            came = "missing" if value is None else f"{kind or type(value).__name__} ({value!r})"
            raise ValueError(f"the {role} (column {column!r}) is {came}; make it {self.kinds[role]}, as in other rows")
        return str(value)

    def _images(self, row: Mapping[str, Any]) -> list[str]:
        value = row.get(self.columns.get("images", "")) or []
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"the images are {value!r}; write the name of a file, or a list of names")
        files = [self.file.parent / name for name in names]
        for file in files:
            if not os.path.isfile(file):  # noqa: PTH113 - Path.is_file raises where a name is too long for a file
                raise ValueError(f"its picture {file} is missing; names are relative to the folder {self.file.parent}")
        return [str(file) for file in files]

    def _choices(self, row: Mapping[str, Any]) -> list[str]:
        value = row.get(self.columns.get("choices", "")) or []
        choices = value if isinstance(value, list) else [None]
        kinds, texts = {_KINDS.get(type(choice)) for choice in choices}, [str(choice) for choice in choices]
        different = {text.strip().casefold() for text in texts} - {""}
        if None in kinds or len(kinds) > 1 or len(different) < len(texts):
            raise ValueError(f"the choices are {value!r}; write a list of texts, all different and none of them empty")
        return texts


def _kind_of(values: Any) -> str:
    kinds = [_KINDS[type(value)] for value in values if type(value) in _KINDS]
    return max(["text", "a number"], key=kinds.count)


def _present(row: Mapping[str, Any], column: str) -> bool:
    return row.get(column) not in (None, "", [])


def _category(value: Any, column: str) -> str | list[str]:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str | int | float) for item in values):
        raise ValueError(f"the category {column!r} is {value!r}; write a text, a number, or a list of them")
    return [str(item) for item in values] if isinstance(value, list) else str(value)


def _metadata(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return further columns, refusing what would be read as something else than the user means."""
    if columns.get("graded_by") not in (None, *_GRADED_BY):
        raise ValueError(f"graded_by is {columns['graded_by']!r}; it must be one of {', '.join(_GRADED_BY)}")
    if type(columns.get("precision")) not in (int, type(None)):
        raise ValueError(f"precision is {columns['precision']!r}; it must be a number of decimals")
    for name in ("aliases", "categories"):
        if not isinstance(columns.get(name) or {}, Mapping):
            raise ValueError(f"{name} is {columns[name]!r}; it must be an object of names and values, or be renamed")
    if not all(isinstance(value, str) for value in (columns.get("aliases") or {}).values()):
        raise ValueError(f"aliases is {columns['aliases']!r}; every spelling must have the text of a choice")
    return {name: value for name, value in columns.items() if value is not None}
