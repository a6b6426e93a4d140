"""Real gold answers and recorded model answers, from the folder that ``MAPO_BENCHMARK_DATA`` names."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_STATED = re.compile(r"(?:A:|####)\s*(.*?)\s*$")
_OPTION = re.compile(r";\s*(?=[A-H]\. )")


@dataclass(frozen=True)
class Gold:
    """A gold answer and what its row says about grading.

    Attributes:
        source: The benchmark.
        text: The answer as the benchmark writes it.
        metadata: ``choices`` and ``precision``, as a prompt has them.
    """

    source: str
    text: str
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recorded:
    """A model's answer with the verdict that was published with it.

    Attributes:
        file: Where it is recorded, without ending.
        id: Of the row, and of the solution where a row has several.
        gold: The right answer.
        answer: What was extracted from the completion; empty where nothing was.
        verdict: The published one.
        metadata: ``choices`` and ``precision``.
        guess: The answer that was graded in place of the extracted one, if another.
    """

    file: str
    id: str
    gold: str
    answer: str
    verdict: bool
    metadata: dict[str, Any] = field(default_factory=dict)
    guess: str | None = None


def data_folder() -> Path | None:
    """Return the folder of real rows; None where the variable is not set."""
    name = os.environ.get("MAPO_BENCHMARK_DATA")
    return Path(name) if name else None


def golds(folder: Path) -> list[Gold]:
    """Return the gold answers of all benchmarks, in the order of their rows."""
    found = [Gold("math500", row["answer"]) for row in _lines(folder / "math500/test.jsonl")]
    found += [Gold("math12k", row["answer"]) for row in _lines(folder / "math12k/train_derived.jsonl")]
    for split in ("train", "test"):
        rows = _lines(folder / f"gsm8k/{split}.jsonl")
        found += [Gold("gsm8k", _stated(row["answer"])) for row in rows]
    for row in _lines(folder / "geometry3k/test_text.jsonl"):
        choices = row["choices"]
        found.append(Gold("geometry3k", choices["ABCD".index(row["answer"])], {"choices": choices}))
    for row in _values(folder / "mathvista/testmini.json"):
        found.append(Gold("mathvista", row["answer"], {"choices": row["choices"], "precision": row["precision"]}))
    for row in _lines(folder / "mathvision/test.jsonl"):
        found.append(Gold("mathvision", row["answer"], {"choices": row["options"]}))
    for name in ("testmini_text_only", "visualizer_rows"):
        found += [Gold("mathverse", str(row["answer"])) for row in _values(folder / f"mathverse/{name}.json")]
    for row in _values(folder / "wemath/testmini.json"):
        choices = [re.sub(r"^[A-H]\. ?", "", option.strip()) for option in _OPTION.split(row["option"])]
        found.append(Gold("wemath", row["answer"], {"choices": choices}))
    return [gold for gold in found if gold.text.strip()]


def recorded_answers(folder: Path) -> list[Recorded]:
    """Return the recorded answers of four models, in the order of their files and rows."""
    folder = folder / "model_outputs"
    return [*_gsm8k(folder), *_mathvision(folder), *_mathvista(folder), *_geoqa(folder)]


def _gsm8k(folder: Path) -> Iterator[Recorded]:
    name = "gsm8k_example_model_solutions"
    for number, row in enumerate(_lines(folder / f"{name}.jsonl")):
        for model, solution in row.items():
            if isinstance(solution, dict):
                answer, verdict = _stated(solution["solution"]), solution["is_correct"]
                yield Recorded(name, f"{number}/{model}", _stated(row["ground_truth"]), answer, verdict)


def _mathvision(folder: Path) -> Iterator[Recorded]:
    name = "mathvision_gemini_pro_cot"
    for row in _lines(folder / f"{name}.jsonl"):
        metadata = {"choices": row["options"]}
        yield Recorded(name, row["id"], row["gold"], row["model_answer"] or "", row["correct"], metadata)


def _mathvista(folder: Path) -> Iterator[Recorded]:
    name = "mathvista_gpt4_2shot"
    for row in _lines(folder / f"{name}.jsonl"):
        metadata = {"choices": row["choices"], "precision": row["precision"]}
        answer, guess = row["extraction"] or "", row["prediction"]
        yield Recorded(name, row["pid"], row["answer"], answer, row["true_false"], metadata, guess)


def _geoqa(folder: Path) -> Iterator[Recorded]:
    name = "geoqa_qwen2vl_7b_grpo"
    for row in _lines(folder / f"{name}.jsonl"):
        image = Path(row["question"]["image_path"]).stem
        yield Recorded(name, image, row["ground_truth"], row["extracted_answer"] or "", row["is_correct"])


def _stated(solution: str) -> str:
    match = _STATED.search(solution)
    return match.group(1) if match else ""


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _values(path: Path) -> list[dict[str, Any]]:
    rows = json.loads(path.read_text(encoding="utf-8"))
    return list(rows.values()) if isinstance(rows, dict) else rows


def spellings(text: str) -> list[str]:
    r"""Return other ways in which models write an answer.

    Example:
        >>> spellings(r"\frac{1}{2}")[2:4]
        ['\\dfrac{1}{2}', '\\frac { 1 } { 2 }']
    """
    spaced = re.sub(r"(?<!\\)([{}=+,])", r" \1 ", text) if r"\text" not in text and r"\math" not in text else text
    spaced = re.sub(r"(?<=\d) , (?=\d{3})|(?<=\d) , (?=\\!)", ",", spaced)
    bracketed = re.sub(r"(?<!\\right)([)\]])", r"\\right\1", re.sub(r"(?<!\\left)([(\[])", r"\\left\1", text))
    return [
        text if "$" in text else f"${text}$",
        text.replace(r"\mathrm{~", r"\text{ ").replace(r"\%", "%").replace(r"^\circ", "°"),
        text.replace(r"\frac", r"\dfrac"),
        re.sub(" +", " ", spaced).strip(),
        bracketed if r"\left" not in text else text,
    ]
