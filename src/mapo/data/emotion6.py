"""Emotion6: photographs and the emotions that viewers felt, six of Ekman's and neutral."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from typing_extensions import override

from mapo.data.emotion_benchmark import EmotionBenchmark
from mapo.data.rows import RowError
from mapo.data.source import missing_columns, text
from mapo.types import Prompt

EKMAN = ("anger", "disgust", "fear", "joy", "sadness", "surprise")
"""Ekman's six basic emotions in the order of the table's columns: the folders that pictures were searched for."""

NEUTRAL = "neutral"
"""The seventh emotion that viewers could name; no folder, so a class only where viewers decide."""

_LABELS = {"folder": EKMAN, "argmax": (*EKMAN, NEUTRAL), "argmax_of_six": EKMAN}


class Emotion6(EmotionBenchmark):
    """Emotion6 of Peng et al. 2015 (https://openaccess.thecvf.com/content_cvpr_2015/html/Peng_A_Mixed_Bag_2015_CVPR_paper.html).

    1,980 pictures, 330 for each of six search words, rated by 15 viewers each; for academic research only. Rows are
    read from ``<split>.csv`` beside ``images/``, as in
    ``{"filename": "joy/60.jpg", "prob. anger": 0.0, "prob. disgust": 0.0, "prob. fear": 0.0666667, "prob. joy": 0.5,
    "prob. sadness": 0.0, "prob. surprise": 0.266667, "prob. neutral": 0.166667}``, the picture at
    ``images/joy/60.jpg``; further columns are left alone. A copy in parquet, jsonl or ``save_to_disk`` form has the
    same columns, and may hold the picture in a column ``image``. There is no official split and no Hub id; MAPO's paper
    evaluates 594 rows, without saying which or by which label.

    The right answer is one of three. "folder" is the word a picture was searched for, six classes. "argmax" is what
    most viewers felt, neutral included: seven classes. "argmax_of_six" leaves neutral out of that. On the 240 rows that
    the project's tests read, "argmax" differs from "folder" on 135 and "argmax_of_six" on 121, so figures by one are
    not comparable to figures by another. Where viewers tie (14 of the 240), the folder decides if it is among the
    first, and the order of the columns if not.
    """

    set_prefix = "emotion6"
    columns = ("filename", *(f"prob. {emotion}" for emotion in (*EKMAN, NEUTRAL)))

    def __init__(
        self, path: str, *, label: Literal["folder", "argmax", "argmax_of_six"] = "folder", **kwargs: Any
    ) -> None:
        """Name the source and the label.

        Args:
            path: Folder with ``<split>.csv`` and ``images/``, or with a copy of such rows in another form.
            label: What the right answer is: the "folder" of a picture, or the "argmax" of what viewers felt, with
                neutral or "argmax_of_six" without. A set is called ``emotion6_<split>``, and where viewers decide
                ``emotion6_argmax_<split>`` or ``emotion6_argmax_of_six_<split>``.
            **kwargs: Those of ``Benchmark``.

        Raises:
            ValueError: There is no such label.
        """
        super().__init__(path, **kwargs)
        if label not in _LABELS:
            raise ValueError(f"label must be one of {', '.join(map(repr, _LABELS))}, got {label!r}")
        self.label = label
        self.labels = _LABELS[label]
        self.set_prefix = "emotion6" if label == "folder" else f"emotion6_{label}"

    @override
    def rows(self, split: str) -> Sequence[Mapping[str, Any]]:
        file = self.split_file(split, ".csv")
        return super().rows(split) if file is None else _table(file, self.columns)

    @override
    def to_prompt(self, sample_id: str, row: Mapping[str, Any]) -> Prompt:
        name = text(row["filename"])
        folder = PurePosixPath(name).parts[0] if name else ""
        label = folder if self.label == "folder" else dominant(self._shares(sample_id, row), folder)
        if label not in self.labels:
            raise RowError(sample_id, f"its picture {name!r} is in no folder of {', '.join(self.labels)}")
        return self.ask(sample_id, label, row.get("image") or f"images/{name}")

    def _shares(self, sample_id: str, row: Mapping[str, Any]) -> dict[str, float]:
        return {emotion: _share(sample_id, row, f"prob. {emotion}") for emotion in self.labels}


def dominant(probabilities: Mapping[str, float], folder: str) -> str:
    """Return the emotion that most viewers felt.

    Args:
        probabilities: Share of viewers in [0, 1] by emotion.
        folder: Decides a tie if it is among the first.

    Returns:
        One of the keys; a tie that the folder does not decide goes to the first of them.

    Example:
        >>> felt = {"anger": 0.4, "joy": 0.4, "neutral": 0.2}
        >>> dominant(felt, "joy"), dominant(felt, "neutral")
        ('joy', 'anger')
    """
    most = max(probabilities.values())
    first = [emotion for emotion, share in probabilities.items() if share == most]
    return folder if folder in first else first[0]


def _share(sample_id: str, row: Mapping[str, Any], column: str) -> float:
    try:
        share = float(row[column])
    except (TypeError, ValueError) as error:
        raise RowError(sample_id, f"its column {column!r} holds no number: {row[column]!r}") from error
    if not math.isfinite(share):
        raise RowError(sample_id, f"its column {column!r} holds no number: {share}")
    return share


def _table(file: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    with file.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines)
        try:
            there, rows = reader.fieldnames or [], list(reader)
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{file} is no table, from line {reader.line_num}: {error}; fetch it again") from error
    missing = [column for column in columns if column not in there]
    if missing:
        raise missing_columns(str(file), missing, there)
    return rows
