"""EmoSet: photographs and the emotion they evoke, one of Mikels' eight."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from mapo.data.emotion_benchmark import EmotionBenchmark
from mapo.data.json_file import read_json
from mapo.data.rows import RowError
from mapo.data.source import known_split, text
from mapo.types import Prompt

MIKELS = ("amusement", "awe", "contentment", "excitement", "anger", "disgust", "fear", "sadness")
"""The eight classes of Mikels et al. 2005 (https://doi.org/10.3758/BF03192732), in the order of EmoSet's info.json."""


class EmoSet(EmotionBenchmark):
    """EmoSet of Yang et al. 2023 (https://arxiv.org/abs/2307.07961): 118,102 labelled pictures, eight classes.

    Two sources are read. The Hub id ``LiangJian24/EmoSet``, the subset of MAPO's recipe, has 2,100 training and 2,000
    test rows with a question of their own: ``{"images": [<picture>], "problem": "<image>Which emotion ...", "answer":
    "awe", "course_grained": ..., "intensity": ...}``; its card states no licence. The official layout
    (https://github.com/JingyuanYY/EmoSet, MIT; the pictures' rights stay with their owners) is EmoSet-118K's folder
    ``image/`` beside ``train.json`` (94,481), ``val.json`` (5,905) and ``test.json`` (17,716), lists of
    ``["awe", "image/awe/awe_05033.jpg", "annotation/awe/awe_05033.json"]``; annotations are not read.

    Not known: how the Hub's rows word their problems and answers. An answer that is none of the eight classes, in any
    case, is a fault of its row; MAPO's paper reports cells that do not all fit 2,000 test rows.
    """

    set_prefix = "emoset"
    hub_id = "LiangJian24/EmoSet"
    columns = ("images", "problem", "answer")
    labels = MIKELS

    @override
    def rows(self, split: str) -> Sequence[Mapping[str, Any]]:
        official = [name for name in ("train", "val", "test") if (Path(self.path) / f"{name}.json").is_file()]
        if not official:
            return super().rows(split)
        file = Path(self.path) / f"{known_split(split, official, self.path)}.json"
        entries = read_json(file)
        if not isinstance(entries, list):
            raise ValueError(f"{file} holds no list of [label, picture, annotation]; fetch it again")
        return [{"entry": entry} for entry in entries]

    @override
    def to_prompt(self, sample_id: str, row: Mapping[str, Any]) -> Prompt:
        if "entry" in row:
            return self._official_prompt(sample_id, row["entry"])
        extra = {name: row[name] for name in ("course_grained", "intensity") if name in row}
        # The question is not ours: it may put letters before its classes in another order.
        return self.ask(
            sample_id,
            text(row["answer"]).strip().casefold(),
            row["images"],
            question=text(row["problem"]),
            graded_by="text",
            **extra,
        )

    def _official_prompt(self, sample_id: str, entry: Any) -> Prompt:
        if not isinstance(entry, list) or len(entry) < 3 or not all(isinstance(value, str) for value in entry):
            raise RowError(sample_id, f"it is no list [label, picture, annotation]: {str(entry)[:80]}")
        # The authors' README shows the picture's name as a further element behind the label; their lists lack it.
        label, name = entry[0], entry[-2]
        return self.ask(sample_id, label, name)
