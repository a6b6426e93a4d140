"""Geometry3K: plane geometry problems with a diagram, answered by a value."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from mapo.data.benchmark import Benchmark
from mapo.data.cells import texts
from mapo.data.json_file import read_json
from mapo.data.official_layout import pictures
from mapo.data.rows import RowError
from mapo.data.source import known_split, text
from mapo.types import Prompt


class Geometry3K(Benchmark):
    r"""Geometry3K of Lu et al. 2021 (https://arxiv.org/abs/2105.04165), MIT licence; 2,101 / 300 / 601 rows.

    Two sources hold the same problems. The Hub id ``hiyouga/geometry3k``, read by ``datasets``, has the splits train,
    validation and test: ``{"images": [<picture>], "problem": "<image>Find $x$.", "answer": "5 \\sqrt { 2 }"}``.
    The official layout is one folder per split (train, val, test) with ``<id>/data.json`` and ``<id>/img_diagram.png``:
    there the question is ``annotat_text`` (mathematics in LaTeX) and the answer the value of the right choice, as it is
    on the Hub; the letter, the choices and the problem types are kept as metadata.
    """

    set_prefix = "geometry3k"
    hub_id = "hiyouga/geometry3k"
    columns = ("images", "problem", "answer")

    @override
    def rows(self, split: str) -> Sequence[Mapping[str, Any]]:
        official = _official_splits(Path(self.path))
        if not official:
            return super().rows(split)
        return [{"folder": folder} for folder in official[known_split(split, official, self.path)]]

    @override
    def sample_id(self, split: str, index: int, row: Mapping[str, Any]) -> str:
        return f"{split}-{row['folder'].name}" if "folder" in row else super().sample_id(split, index, row)

    @override
    def to_prompt(self, sample_id: str, row: Mapping[str, Any]) -> Prompt:
        if "folder" in row:
            return self._official_prompt(sample_id, row["folder"])
        images = pictures(self.path, sample_id, row["images"])
        return self.prompt(sample_id, text(row["problem"]), text(row["answer"]), images=images)

    def _official_prompt(self, sample_id: str, folder: Path) -> Prompt:
        row, image = read_json(folder / "data.json"), folder / "img_diagram.png"
        if not isinstance(row, dict):
            raise RowError(sample_id, f"{folder / 'data.json'} holds a {type(row).__name__}, not an object of columns")
        if not image.is_file():
            raise RowError(sample_id, f"its diagram {image} is missing; unpack the pictures beside data.json")
        letter, choices = text(row.get("answer")).strip(), texts(sample_id, {"choices": None} | row, "choices")
        if letter not in "ABCDEFGH"[: len(choices)] or len(letter) != 1:
            raise RowError(sample_id, f"its answer {letter!r} is not the letter of one of its {len(choices)} choices")
        return self.prompt(
            sample_id,
            text(row.get("annotat_text")) or text(row.get("problem_text")),
            choices["ABCDEFGH".index(letter)],
            images=[str(image)],
            letter=letter,
            choices=choices,
            graph_types=row.get("problem_type_graph"),
            goal_types=row.get("problem_type_goal"),
        )


def _official_splits(root: Path) -> dict[str, list[Path]]:
    """Return the problem folders of every split in numeric order; the root may be one split's own folder."""
    roots = [folder for folder in root.iterdir() if folder.is_dir()] if root.is_dir() else []
    found = {folder.name: _problems(folder) for folder in [*sorted(roots), root]}
    return {name: problems for name, problems in found.items() if problems}


def _problems(folder: Path) -> list[Path]:
    problems = [path.parent for path in folder.glob("*/data.json")]
    return sorted(problems, key=lambda path: (len(path.name), path.name))
