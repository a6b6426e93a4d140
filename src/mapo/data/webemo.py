"""WEBEmo: stock photographs and the emotion they were searched for, at three levels of detail."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from typing_extensions import override

from mapo.data.emotion_benchmark import EmotionBenchmark
from mapo.data.rows import RowError
from mapo.data.source import text
from mapo.types import Prompt


class Emotion(NamedTuple):
    """A fine class and what it belongs to on the two levels above."""

    fine: str
    secondary: str
    polarity: str


EMOTIONS = (
    Emotion("affection", "love", "positive"),
    Emotion("cheerfulness", "joy", "positive"),
    Emotion("confusion", "confusion", "negative"),
    Emotion("contentment", "joy", "positive"),
    Emotion("disappointment", "sadness", "negative"),
    Emotion("disgust", "anger", "negative"),
    Emotion("enthrallment", "joy", "positive"),
    Emotion("envy", "anger", "negative"),
    Emotion("exasperation", "anger", "negative"),
    Emotion("gratitude", "love", "positive"),
    Emotion("horror", "fear", "negative"),
    Emotion("irritability", "anger", "negative"),
    Emotion("lust", "love", "positive"),
    Emotion("neglect", "sadness", "negative"),
    Emotion("nervousness", "fear", "negative"),
    Emotion("optimism", "joy", "positive"),
    Emotion("pride", "joy", "positive"),
    Emotion("rage", "anger", "negative"),
    Emotion("relief", "joy", "positive"),
    Emotion("sadness", "sadness", "negative"),
    Emotion("shame", "sadness", "negative"),
    Emotion("suffering", "sadness", "negative"),
    Emotion("surprise", "surprise", "positive"),
    Emotion("sympathy", "sadness", "negative"),
    Emotion("zest", "joy", "positive"),
)
"""The hierarchy of the authors' category.txt; a label in the lists is a place in it, counted from 0."""

OFFICIAL_SPELLINGS = {"cheerfullness": "cheerfulness", "irritabilty": "irritability"}
"""Classes that category.txt spells differently; the question shows the right spelling, an answer may use either."""

_LEVELS = {25: 0, 6: 1, 2: 2}


class WEBEmo(EmotionBenchmark):
    """WEBEmo of Panda et al. 2018 (https://arxiv.org/abs/1808.02212): about 268,000 stock photographs, 25 classes.

    The authors publish lists, not pictures, whose rights stay with the stock agency: ``train25.txt`` and
    ``test25.txt`` (53,489 lines), of lines ``https://as2.ftcdn.net/jpg/00/37/77/34/220_F_37773489_JJW3.jpg 5``, and
    ``category.txt``. The lists' licence is not known (a re-upload carries GPL-3.0). Pictures are read from ``images/``
    beside the lists, under the last part of their url; nothing is ever downloaded, and a missing picture is a fault of
    its row. A copy in parquet, jsonl or ``save_to_disk`` form has the columns ``url`` and ``label``, and may hold the
    picture in a column ``image``.

    Labels count from 0: 0 and 24 both occur, and there are 25 classes. The middle level holds Parrott's six emotions
    and, as in ``category.txt``, "confusion", which is none of them: seven choices; every row's ``categories`` name its
    fine class, so that figures over six can be had without its rows. MAPO's paper evaluates 2,000 rows, without saying
    which or on what level.
    """

    set_prefix = "webemo"
    columns = ("url", "label")

    def __init__(self, path: str, *, taxonomy: Literal[25, 6, 2] = 25, **kwargs: Any) -> None:
        """Name the source and the level.

        Args:
            path: Folder with ``<split>25.txt`` and ``images/``, or with a copy of such rows in another form.
            taxonomy: 25 fine classes, 6 secondary emotions (and "confusion"), or 2: positive and negative. A set is
                called ``webemo_<split>``, and on the coarser levels ``webemo6_<split>`` and ``webemo2_<split>``.
            **kwargs: Those of ``Benchmark``.

        Raises:
            ValueError: There is no such level.
        """
        super().__init__(path, **kwargs)
        if taxonomy not in _LEVELS:
            raise ValueError(f"taxonomy must be 25, 6 or 2 classes, got {taxonomy!r}")
        self.taxonomy = taxonomy
        self.set_prefix = "webemo" if taxonomy == 25 else f"webemo{taxonomy}"
        self.labels = tuple(dict.fromkeys(emotion[_LEVELS[taxonomy]] for emotion in EMOTIONS))
        self.what = "sentiment" if taxonomy == 2 else "emotion"

    @override
    def rows(self, split: str) -> Sequence[Mapping[str, Any]]:
        file = self.split_file(split, "25.txt")
        if file is None:
            return super().rows(split)
        try:
            lines = [line.decode("utf-8") for line in file.read_bytes().splitlines() if line.strip()]
        except UnicodeDecodeError as error:
            raise ValueError(f"{file} is no text: {error}; fetch it again") from error
        return [_fields(line) for line in lines]

    @override
    def to_prompt(self, sample_id: str, row: Mapping[str, Any]) -> Prompt:
        url, label = text(row["url"]), text(row["label"]).strip().casefold()
        emotion = _emotion(label)
        if emotion is None:
            classes = ", ".join(emotion.fine for emotion in EMOTIONS)
            raise RowError(sample_id, f"its label {label!r} is neither a number from 0 to 24 nor one of {classes}")
        # The finest level is the label itself; above it, the fine class breaks the figures down further.
        finest = self.taxonomy == 25
        metadata: dict[str, Any] = (
            {"aliases": OFFICIAL_SPELLINGS} if finest else {"categories": {"class": emotion.fine}}
        )
        image = row.get("image") or f"images/{PurePosixPath(urlsplit(url).path).name}"
        try:
            return self.ask(sample_id, emotion[_LEVELS[self.taxonomy]], image, **metadata)
        except RowError as error:
            raise RowError(sample_id, f"{error.reason}; it is that of {url!r}, which is not downloaded here") from error


def _fields(line: str) -> dict[str, str]:
    url, _, label = line.strip().rpartition(" ")
    return {"url": url.strip(), "label": label}


def _emotion(label: str) -> Emotion | None:
    """Return the class of a number counted from 0, or of a name in either spelling."""
    if label.isdecimal():
        return EMOTIONS[int(label)] if int(label) < len(EMOTIONS) else None
    name = OFFICIAL_SPELLINGS.get(label, label)
    return next((emotion for emotion in EMOTIONS if emotion.fine == name), None)
