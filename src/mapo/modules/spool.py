"""The answers of an evaluation on disk, from the moment they are there until it is over."""

import contextlib
import fcntl
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from lightning.pytorch.utilities import rank_zero_warn
from typing_extensions import override

from mapo.modules.records import EvaluationRecord
from mapo.modules.stored_answers import from_line, row_digest, split_record, to_line
from mapo.types import EncodedPrompt, Prompt

Encode = Callable[[Prompt], EncodedPrompt]


class Spool:
    """Keeps no answers: what an evaluation has that is not to be resumed.

    Attributes:
        folder: Where answers are kept; None for nowhere.
    """

    folder: Path | None = None

    def rows_answered(self, set_name: str, modes: Sequence[str]) -> int:
        """Return how many rows of a set were found answered in all of these modes."""
        return 0

    def find(
        self, stage: str, set_name: str, mode: str, prompts: Sequence[Prompt], encode: Encode
    ) -> dict[int, EvaluationRecord]:
        """Return the answers found, each a record of its own, by the prompt's place among these.

        Args:
            stage: Of the records.
            set_name: The set of the prompts.
            mode: How they are to be answered.
            prompts: Raw rows.
            encode: Renders a row; it is called for rows that may have an answer.
        """
        return {}

    def add(self, record: EvaluationRecord) -> None:
        """Keep the answers of a batch."""

    def remove(self) -> None:
        """Forget everything: the evaluation is over."""

    def close(self) -> None:
        """Let go of the files; what is in them stays."""


class FolderSpool(Spool):
    """Answers of an interrupted evaluation, from the files of all ranks; and those to come, in this rank's file.

    Args:
        folder: Exists.
        rank: This process's; ranks write to files of their own.
    """

    folder: Path

    def __init__(self, folder: Path, rank: int) -> None:
        self.folder = folder
        # Where a line begins rather than what it says: all completions of a large set would not fit into memory twice.
        self._places: dict[tuple[str, str], dict[str, tuple[Path, int]]] = {}
        for path in sorted(folder.glob("*.jsonl")):
            for place, line in _lines(path):
                self._places.setdefault((line["set"], line["mode"]), {})[line["sample_id"]] = (path, place)
        self._path = folder / f"rank{rank}.jsonl"
        self._file: IO[bytes] | None = None
        self._failed = False

    @override
    def rows_answered(self, set_name: str, modes: Sequence[str]) -> int:
        answered = [self._places.get((set_name, mode), {}).keys() for mode in modes]
        return len(set.intersection(*map(set, answered))) if answered else 0

    @override
    def find(
        self, stage: str, set_name: str, mode: str, prompts: Sequence[Prompt], encode: Encode
    ) -> dict[int, EvaluationRecord]:
        places, found = self._places.get((set_name, mode), {}), {}
        for index, prompt in enumerate(prompts):
            if prompt.sample_id in places:
                line, encoded = _read(*places[prompt.sample_id]), encode(prompt)
                if line["row"] == row_digest(encoded):
                    found[index] = from_line(line, stage, encoded)
        return found

    @override
    def add(self, record: EvaluationRecord) -> None:
        if self._failed:
            return
        lines = [json.dumps(to_line(part)).encode() + b"\n" for part in split_record(record)]
        try:
            if self._file is None:
                self._file = _open_for_lines(self._path)
            self._file.write(b"".join(lines))
            self._file.flush()
        except OSError as error:
            self._failed = True
            with contextlib.suppress(OSError):  # it would write what is left over
                self.close()
            rank_zero_warn(f"answers are no longer kept for a restart: {self._path} cannot be written ({error})")

    @override
    def remove(self) -> None:
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # other evaluations may be unfinished
            self.folder.parent.rmdir()

    @override
    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


class Lock:
    """A file that one process at a time may hold; it is let go of when the process ends, however that comes.

    Args:
        path: The file; made if missing.

    Raises:
        BlockingIOError: Another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise
        except OSError:  # a file system without locks
            return

    def release(self) -> None:
        """Let another process hold it."""
        self._file.close()


def _lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield where each whole line begins, and what it says; a process that was killed may have left a part of one."""
    place = 0
    with path.open("rb") as file:
        for text in file:
            try:
                line = json.loads(text)
            except ValueError:
                line = None
            if isinstance(line, dict):
                yield place, line
            place += len(text)


def _read(path: Path, place: int) -> Mapping[str, Any]:
    with path.open("rb") as file:
        file.seek(place)
        line: Mapping[str, Any] = json.loads(file.readline())
    return line


def _open_for_lines(path: Path) -> IO[bytes]:
    """Open a file at its end, after a line break: a part of a line must not spoil the next one."""
    file = path.open("ab+")
    if file.tell():
        file.seek(-1, 2)
        if file.read(1) != b"\n":
            file.write(b"\n")
    return file
