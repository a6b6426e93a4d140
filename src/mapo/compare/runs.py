"""What runs left in their folders: settings, results, and the accuracy of every question at every evaluation."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import yaml

Mode = Literal["sampled", "greedy"]
Place = tuple[str, Mode, int, str]
"""Where an answer belongs: stage, mode, phases before it, set."""
SUFFIX: Mapping[Mode, str] = {"sampled": "", "greedy": "_greedy"}
"""What the figures of a mode end in."""
_ANSWERS = re.compile(r"evaluation(\.rank\d+)?\.jsonl")


@dataclass(frozen=True)
class Answers:
    """How one set was answered in one evaluation.

    Attributes:
        right: Right answer of every question, by sample id; ids in order.
        accuracy: Of every question, [Q], mean over its completions; a share of 1.
    """

    right: Mapping[str, str]
    accuracy: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        folder: As it was given.
        config: Its ``config.yaml``; for a run put together in Python, the module's arguments under ``model``.
        results: Its ``results.json``.
        answers: By stage, mode, phase and set.
    """

    folder: Path
    config: Mapping[str, Any]
    results: Mapping[str, Any]
    answers: Mapping[Place, Answers]

    @property
    def seed(self) -> int | None:
        """Of the sampling noise and the order of the data."""
        return self.results.get("seed")

    @property
    def out_of_domain(self) -> Sequence[str]:
        """Names of the sets that are out of domain."""
        return list(self.results.get("out_of_domain", ()))

    def modes(self, stage: str) -> set[Mode]:
        """Return how sets were answered in a stage."""
        return {mode for found, mode, _, _ in self.answers if found == stage}

    def phases(self, stage: str, mode: Mode) -> list[int]:
        """Return when sets were evaluated, in phases of training before."""
        return sorted({phase for found, how, phase, _ in self.answers if (found, how) == (stage, mode)})

    def last_phase(self, stage: str, mode: Mode) -> int:
        """Return the phase of the last evaluation that came to its end."""
        figures = self.results.get("sets", {}).values() if self.results["stage"] == "fit" and stage == "val" else ()
        ends = [own.get(f"accuracy{SUFFIX[mode]}", {}).get("after_phase") for own in figures]
        return max((end for end in ends if end is not None), default=self.phases(stage, mode)[-1])

    def evaluation(self, stage: str, mode: Mode, phase: int) -> dict[str, Answers]:
        """Return the answers of one evaluation, by set."""
        return {place[3]: found for place, found in self.answers.items() if place[:3] == (stage, mode, phase)}

    @property
    def model(self) -> Mapping[str, Any]:
        """Arguments of the module."""
        return dict(self.config.get("model") or {})


def find_runs(paths: Iterable[str | Path]) -> list[Path]:
    """Return the folders of runs among and below some folders, each once.

    Raises:
        ValueError: A folder is missing, or holds no run with answers.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            raise ValueError(f"{path} is no folder; runs are in runs/<name>/version_<n>")
        below = sorted({file.parent for file in path.rglob("evaluation*.jsonl") if _ANSWERS.fullmatch(file.name)})
        runs = [folder for folder in below if (folder / "results.json").is_file()]
        if not runs:
            missing = f"results.json ({below[0]} has not come to its end)" if below else "evaluation.jsonl"
            raise ValueError(f"{path} holds no run that can be compared: there is no {missing}")
        found |= dict.fromkeys(runs)
    return list(found)


def read_run(folder: Path) -> Run:
    """Read what a run left.

    Raises:
        ValueError: A file is missing or broken, or the answers are not those of the results.
    """
    results = _read_json(folder / "results.json")
    answers = _with_bad_rows(_read_answers(folder), results.get("bad_rows", {}))
    run = Run(folder, _read_config(folder), results, answers)
    _check(run)
    return run


def _read_config(folder: Path) -> Mapping[str, Any]:
    for name, key in (("config.yaml", None), ("hparams.yaml", "model")):
        if (path := folder / name).is_file():
            found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            return found if key is None else {key: found}
    raise ValueError(f"{folder} has neither config.yaml nor hparams.yaml, so nothing says what was run there")


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is no results.json of this package: {error}") from error


def _read_answers(folder: Path) -> dict[Place, Answers]:
    """Return the answers in the files of all ranks."""
    means: dict[Place, dict[str, tuple[str, float]]] = {}
    for path in sorted(folder.glob("evaluation*.jsonl")):
        if _ANSWERS.fullmatch(path.name):
            for place, questions in _read_rows(path).items():
                means.setdefault(place, {}).update(questions)
    return {place: _in_order(questions) for place, questions in means.items()}


def _read_rows(path: Path) -> dict[Place, dict[str, tuple[str, float]]]:
    """Return right answer and mean accuracy of every question, by place and sample id; of two evaluations the later."""
    places: dict[Place, dict[str, dict[int, tuple[str, float]]]] = {}
    for row in _rows(path):
        place = (row["stage"], row["mode"], row["phase"], row["set"])
        questions = places.setdefault(place, {})
        if row["index"] in questions.get(row["sample_id"], {}):
            questions = places[place] = {}  # evaluated again
        questions.setdefault(row["sample_id"], {})[row["index"]] = (str(row["answer"]), float(row["accuracy"] or 0))
    return {
        place: {
            name: (next(iter(found.values()))[0], sum(value for _, value in found.values()) / len(found))
            for name, found in questions.items()
        }
        for place, questions in places.items()
    }


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: no JSON ({error}); the run was cut off there") from error


def _in_order(questions: Mapping[str, tuple[str, float]]) -> Answers:
    names = sorted(questions)
    accuracy = np.array([questions[name][1] for name in names])
    return Answers({name: questions[name][0] for name in names}, accuracy)


def _with_bad_rows(answers: Mapping[Place, Answers], bad_rows: Mapping[str, Mapping[str, str]]) -> dict[Place, Answers]:
    """Return the answers and, counted as wrong, the rows that could not be asked."""
    complete = {}
    for place, found in answers.items():
        questions = dict(zip(found.right, zip(found.right.values(), found.accuracy, strict=True), strict=True))
        bad = dict.fromkeys(bad_rows.get(place[3], {}), ("", 0.0))
        complete[place] = _in_order({**bad, **questions})
    return complete


def _check(run: Run) -> None:
    """Refuse answers that are not those that the results are about."""
    for (_, mode, phase, name), found in run.answers.items():
        figure = run.results.get("sets", {}).get(name, {}).get(f"accuracy{SUFFIX[mode]}", {})
        if figure.get("after_phase") != phase or figure["after"] is None:
            continue
        accuracy = float(found.accuracy.mean())
        if abs(accuracy - figure["after"]) > 1e-4:
            raise ValueError(
                f"{run.folder}: {mode} accuracy of {name!r} is {figure['after']:.4f} in results.json, "
                f"{accuracy:.4f} by the {len(found.right)} questions in the files of its evaluation"
            )
