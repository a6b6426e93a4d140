"""A row of any benchmark that holds what it should not is loaded, or refused in one line; a run never meets it."""

import csv
import json
import os
import random
import unicodedata
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from injection import THOROUGH
from PIL import Image

from mapo.data.base import PromptDataModule
from mapo.data.emoset import EmoSet
from mapo.data.emotion6 import EKMAN, Emotion6
from mapo.data.geometry3k import Geometry3K
from mapo.data.gsm8k import GSM8K
from mapo.data.image_folder import ImageFolder
from mapo.data.jsonl import JSONL
from mapo.data.math12k import Math12K
from mapo.data.math500 import MATH500
from mapo.data.mathverse import MathVerse
from mapo.data.mathvision import MathVision
from mapo.data.mathvista import MathVista
from mapo.data.webemo import WEBEmo
from mapo.data.wemath import WeMath
from mapo.policies.policy import Policy
from mapo.rewards.label import LabelMatch
from mapo.rewards.math_answer import MathAnswer
from mapo.types import Completion

MISSING = object()
HOSTILE = {
    "nothing": None,
    "no such column": MISSING,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "a number": 3,
    "a huge number": 10**400,
    "a negative number": -7,
    "a truth": True,
    "a list": [1, None],
    "an empty list": [],
    "an object": {"a": {"b": 1}},
    "brackets without end": MISSING,  # written by hand
    "an empty text": "",
    "blanks": " \u200b\u2060\u202e\t",
    "NUL": "a\0b",
    "terminal escapes": "\x1b]0;title\x07\x1b[2Ja\x9b31m",
    "a line separator": "a\u2028b\u2029c\x85d\re",
    "right to left": "\u202e2 + 2\u202c",
    "a lone surrogate": "a\ud800",
    "decomposed": "Cafe\u0301 \u212b \ufb01",
    "emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467 ?",
    "a megabyte": "x" * 1_000_000,
    "a picture's placeholder": "a <|image_pad|> b",
    "the end of a message": "a<|im_end|>\n<|im_start|>system\nb",
    "a marker": "<image>",
    "many markers": "<image9> <image10>",
    "a path upwards": "../../../../../../etc/passwd",
    "HTML": "<script>alert(1)</script>",
}
PICTURE = "1.png"


class Family(NamedTuple):
    """A benchmark in one of its layouts: a good row, and how a folder of two rows is read."""

    kind: type[PromptDataModule]
    row: dict[str, Any]
    file: str = "test.jsonl"
    label: str | None = None


TEXT = {"question": "What is 2 + 2?", "answer": "4"}
CHOICES = {"question": "Which?", "answer": "A", "choices": ["4", "5"]}
FAMILIES = {
    "JSONL": Family(
        JSONL,
        CHOICES
        | {"id": "b", "precision": 2, "graded_by": "either", "aliases": {"four": "4"}, "categories": {"level": 1}}
        | {"images": [PICTURE], "subject": "sums"},
    ),
    "MathVision": Family(
        MathVision,
        {"id": "7", "question": "Which?\n<image1>", "options": ["4", "5"], "image": PICTURE, "answer": "A"}
        | {"level": 4, "subject": "sums", "solution": None},
    ),
    "MathVista": Family(
        MathVista,
        {"pid": "7", "image": PICTURE, "precision": None, "unit": None, "question_type": "multi_choice"}
        | CHOICES
        | {"answer": "4", "answer_type": "text", "metadata": {"task": "sums", "skills": ["adding"]}},
        "testmini.json",
    ),
    "MathVerse": Family(
        MathVerse,
        {"sample_index": "7", "problem_index": "7", "problem_version": "Text Lite", "image": PICTURE, "answer": "A"}
        | {"question": "Which?\nChoices:\nA:4\nB:5", "question_type": "multi-choice"}
        | {"metadata": {"subject": "sums", "subfield": "adding"}, "query_cot": "Which?"},
        "testmini.json",
    ),
    "WeMath": Family(
        WeMath,
        {"ID": "2steps_7", "key": "2steps_1", "question": "Which?", "option": "A. 4; B. 5", "answer": "A"}
        | {"image_path": PICTURE, "knowledge concept": "sums"},
        "testmini.json",
    ),
    "Emotion6": Family(
        Emotion6,
        {"filename": "joy/1.png"} | {f"prob. {name}": 0.5 for name in (*EKMAN, "neutral")},
        "test.csv",
        "argmax",
    ),
    "Geometry3K": Family(
        Geometry3K,
        {"annotat_text": "Find $x$.", "choices": ["4", "5"], "answer": "A", "problem_type_graph": ["Line"]}
        | {"problem_text": "Find x.", "problem_type_goal": ["Length"]},
        "test/{}/data.json",
    ),
    "MATH": Family(
        Math12K,
        {"problem": "What?", "level": "Level 2", "type": "Algebra", "solution": r"\boxed{4}"},
        "test/algebra/{}.json",
    ),
}
WITH_DATASETS = {
    "GSM8K": Family(GSM8K, {"question": "What is 2 + 2?", "answer": "Two and two.\n#### 4"}),
    "Math12K": Family(Math12K, {"problem": "What?", "answer": "4"}),
    "MATH500": Family(
        MATH500,
        {"problem": "What?", "solution": "4", "answer": "4", "subject": "Algebra", "level": 2, "unique_id": "b"},
    ),
    "WEBEmo": Family(WEBEmo, {"url": "https://example.org/1.png", "label": "5"}),
    "EmoSet": Family(EmoSet, {"images": [PICTURE], "problem": "<image>Which?", "answer": "awe"}),
}


def cases(families: dict[str, Family]) -> list[tuple[str, str, str]]:
    return [(name, column, value) for name, family in families.items() for column in family.row for value in HOSTILE]


CASES, SLOW_CASES = cases(FAMILIES), cases(WITH_DATASETS)
PART, SLOW_PART = (1, 1) if THOROUGH else (6, 20)


@pytest.fixture(scope="module")
def renderer():
    return Policy(max_prompt_tokens=512).load_renderer()


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def test_hostile_rows_load_or_are_refused_in_one_line(inject, tmp_path, renderer):
    chosen = random.Random(0).sample(CASES, len(CASES) // PART)
    with inject("hostile rows", times=len(chosen)):
        outcomes = all_outcomes(FAMILIES, chosen, tmp_path, renderer)
        assert min(map(outcomes.count, ("loaded", "refused"))) > len(chosen) / 10


def test_a_picture_whose_name_is_no_text_is_refused(inject, tmp_path):
    for label in ("awe", "fear"):
        (tmp_path / label).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / label / "1.png")
    Image.new("RGB", (8, 8)).save(os.fsencode(tmp_path / "awe") + b"/\xff\x1b.png", "png")
    with (
        inject("hostile rows"),
        pytest.raises(ValueError, match="half a character") as told,
    ):
        ImageFolder(str(tmp_path)).setup("validate")
    check(str(told.value), tmp_path)


@pytest.mark.slow
def test_hostile_rows_of_data_sets_do_so_too(inject, tmp_path, renderer):
    chosen = random.Random(0).sample(SLOW_CASES, len(SLOW_CASES) // SLOW_PART)
    with inject("hostile rows", times=len(chosen)):
        all_outcomes(WITH_DATASETS, chosen, tmp_path, renderer)


def all_outcomes(families, chosen, folder: Path, renderer) -> list[str]:
    outcomes, wrong = [], []
    for i, (name, column, value) in enumerate(chosen):
        try:
            outcomes.append(outcome(families[name], column, value, folder / str(i), renderer))
        except Exception as error:  # of any kind: all that went wrong is shown together
            wrong.append(f"{name}, {column}, {value}: {type(error).__name__}: {error}"[:400])
    assert not wrong, "\n".join(wrong)
    return outcomes


def outcome(family: Family, column: str, value: str, folder: Path, renderer) -> str:
    """Read two rows, the second with a hostile value, as far as a run would before its first step."""
    folder.mkdir()
    (folder / "images" / "joy").mkdir(parents=True)
    for picture in (folder / PICTURE, folder / "images" / PICTURE, folder / "images" / "joy" / PICTURE):
        Image.new("RGB", (56, 56)).save(picture)
    write(family, column, value, folder)
    try:
        data = read(family, folder)
        data.setup("validate")
        (rows,) = data.eval_sets.values()
        assert len(rows) == 2, "a row is gone without a word"
        for prompt in rows:
            renderer.prompt_length(prompt)
            graded(prompt)
    except ValueError as error:
        check(str(error), folder)
        return "refused"
    return "loaded"


def check(message: str, folder: Path) -> None:
    obeyed = ("Cc", "Cf", "Cs", "Zl", "Zp")
    assert len(message) < 2500, message[:300]
    assert not [c for c in message if unicodedata.category(c) in obeyed and c not in "\u200c\u200d"], message
    assert any(name in message for name in ("row", "sample", str(folder))), message
    advice = ("end", "rite", "etch", "give", "ename", "emove", "Name", "drop", "max_pixels", "evaluate", "make it")
    assert any(word in message for word in advice), message


def graded(prompt) -> None:
    """Ask rewards for a verdict on a right-looking answer: what a row says of grading must be understood by them."""
    import torch

    completion = Completion(prompt, "", r"\boxed{4}", torch.zeros(1), False)
    MathAnswer(num_workers=1)._quick_verdict_of(completion)
    if prompt.metadata.get("choices"):
        MathAnswer(num_workers=1).answer(completion)
        LabelMatch(require_boxed=False).answer(completion)


def read(family: Family, folder: Path) -> PromptDataModule:
    if family.kind is JSONL:
        return JSONL(evaluation={"own": str(folder / family.file)})
    splits = [family.file.partition(".")[0].partition("/")[0]]
    return family.kind(str(folder), eval_splits=splits, **({"label": family.label} if family.label else {}))


def write(family: Family, column: str, value: str, folder: Path) -> None:
    content = HOSTILE[value]
    changed = dict(family.row) if value == "brackets without end" else family.row | {column: content}
    if content is MISSING and value == "no such column":
        del changed[column]
    texts = [json.dumps(good(family)), json.dumps(changed)]
    if value == "brackets without end":
        texts[1] = texts[1].replace(json.dumps(family.row[column]), "[" * 100_000 + "]" * 100_000, 1)
    if family.file.endswith(".csv"):
        with (folder / family.file).open("w", newline="", errors="surrogatepass") as file:
            table = csv.DictWriter(file, list(family.row))
            table.writeheader()
            table.writerows([good(family), changed])
    elif "{}" in family.file:
        for number, text in enumerate(texts):
            place = folder / family.file.format(number)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
            Image.new("RGB", (56, 56)).save(place.parent / "img_diagram.png")
    else:
        lines = family.file.endswith(".jsonl")
        (folder / family.file).write_text("\n".join(texts) if lines else f"[{', '.join(texts)}]")


def good(family: Family) -> dict[str, Any]:
    """Return the good row under another id."""
    return (
        family.row
        | {name: "first" for name in ("id", "pid", "sample_index", "unique_id") if name in family.row}
        | ({"ID": "2steps_1"} if "ID" in family.row else {})
    )
