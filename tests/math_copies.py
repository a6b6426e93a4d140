"""Small synthetic copies of the vision math benchmarks, in the schema of the Hub and in the layout of their authors."""

import json
from pathlib import Path

from datasets import Dataset, DatasetDict, Features, Image, List, Value
from hub_copies import place_picture, png

STRING = Value("string")
MATHVISTA = Features(
    {
        **dict.fromkeys(("pid", "question", "image"), STRING),
        "decoded_image": Image(),
        "choices": List(STRING),
        "unit": STRING,
        "precision": Value("float64"),
        **dict.fromkeys(("answer", "question_type", "answer_type"), STRING),
        "metadata": {
            **dict.fromkeys(("category", "context", "grade", "language", "source", "split", "task"), STRING),
            "skills": List(STRING),
            "img_width": Value("int64"),
        },
        "query": STRING,
    }
)
MATHVERSE = Features(
    {
        **dict.fromkeys(("sample_index", "problem_index", "problem_version", "question"), STRING),
        "image": Image(),
        **dict.fromkeys(("answer", "question_type"), STRING),
        "metadata": dict.fromkeys(("split", "source", "subject", "subfield"), STRING),
        **dict.fromkeys(("query_wo", "query_cot", "question_for_eval"), STRING),
    }
)
MATHVISION = Features(
    {
        **dict.fromkeys(("id", "question"), STRING),
        "options": List(STRING),
        "image": STRING,
        "decoded_image": Image(),
        **dict.fromkeys(("answer", "solution"), STRING),
        "level": Value("int64"),
        "subject": STRING,
    }
)
WEMATH = Features(
    {
        **dict.fromkeys(("ID", "split", "knowledge concept", "question", "option", "answer"), STRING),
        "image_path": Image(),
        "key": STRING,
        "question number": Value("int64"),
        "knowledge concept description": STRING,
    }
)
PICTURE_COLUMNS = {"mathvista": "image", "mathverse": "image", "mathvision": "image", "wemath": "image_path"}
FEATURES = {"mathvista": MATHVISTA, "mathverse": MATHVERSE, "mathvision": MATHVISION, "wemath": WEMATH}


def mathvista(pid="1", **changes):
    row = {
        "pid": pid,
        "question": "Is red the largest?",
        "image": f"images/{pid}.jpg",
        "choices": ["yes", "no"],
        "unit": None,
        "precision": None,
        "answer": "no",
        "question_type": "multi_choice",
        "answer_type": "text",
        "metadata": {
            "split": "testmini",
            "language": "english",
            "img_width": 40,
            "source": "Own",
            "category": "general-vqa",
            "task": "figure question answering",
            "context": "bar chart",
            "grade": "not applicable",
            "skills": ["statistical reasoning", "counting"],
        },
        "query": "Hint: Please answer the question and provide the correct option letter, e.g., A, B, C, D, at the "
        "end.\nQuestion: Is red the largest?\nChoices:\n(A) yes\n(B) no",
    }
    return row | changes


def mathverse(index="1", version="Text Dominant", **changes):
    question = "Angle 1 is 50°. Then angle 2 = ()\nChoices:\nA:50°\nB:60°"
    row = {
        "sample_index": index,
        "problem_index": "1",
        "problem_version": version,
        "question": "" if version == "Vision Only" else question,
        "image": None if version == "Text Only" else f"images_version_1-4/image_{index}.png",
        "answer": "B",
        "question_type": "multi-choice",
        "metadata": {"split": "testmini", "source": "Own", "subject": "Plane Geometry", "subfield": "Angle"},
        "query_wo": f"Please directly answer.\nQuestion: {question}",
        "query_cot": "According to the question shown in the image, please first conduct reasoning."
        if version == "Vision Only"
        else f"Please first conduct reasoning.\nQuestion: {question}",
        "question_for_eval": question,
    }
    return row | changes


def mathvision(number="1", **changes):
    row = {
        "id": number,
        "question": "Which line is the $y$-axis?\n<image1>",
        "options": ["$a$", "$b$", "none of them"],
        "image": f"images/{number}.jpg",
        "answer": "B",
        "solution": None,
        "level": 4,
        "subject": "analytic geometry",
    }
    return row | changes


def wemath(problem="2steps_7", part="1", **changes):
    steps, number = problem.split("_")
    row = {
        "ID": problem,
        "split": "testmini",
        "knowledge concept": "Circumference of Circles",
        "question": "What is the circumference?",
        "option": "A. 15π;B. 10π ; C. No correct answer",
        "answer": "B",
        "image_path": f"{steps}/image/{number}-{part}.png",
        "key": f"{steps}_{part}",
        "question number": 7,
        "knowledge concept description": "2 π r",
    }
    return row | changes


ROWS = {
    "mathvista": [mathvista("1"), mathvista("20")],
    "mathverse": [mathverse("1"), mathverse("2", "Vision Only"), mathverse("3", "Text Lite")],
    "mathvision": [mathvision("1"), mathvision("12", options=[], answer=r"\sqrt{2}", level=1)],
    "wemath": [wemath("2steps_7", part) for part in ("1", "2", "multi")],
}


def hub_copy(path: Path, name: str, form: str = "save_to_disk", rows=None, split: str = "testmini") -> Path:
    """Write rows in the Hub's schema, pictures inside."""
    stored = [_with_picture(name, row) for row in (ROWS[name] if rows is None else rows)]
    copy = Dataset.from_list(stored, features=FEATURES[name])
    if form == "save_to_disk":
        DatasetDict({split: copy}).save_to_disk(path)
    elif form == "parquet":
        copy.to_parquet(path / "data" / f"{split}-00000-of-00001-0123456789abcdef.parquet")
    else:
        copy.to_parquet(path / f"{split}.parquet")
    return path


def _with_picture(name: str, row: dict) -> dict:
    column = PICTURE_COLUMNS[name]
    held = "decoded_image" if "decoded_image" in FEATURES[name] else column
    return row | {held: {"bytes": png(), "path": None} if row[column] else None}


def official_copy(path: Path, name: str, rows=None, *, split: str = "testmini", pictures: str = "") -> Path:
    """Write rows as the authors publish them, and their pictures below a folder."""
    rows = ROWS[name] if rows is None else rows
    path.mkdir(parents=True, exist_ok=True)
    if name == "mathvision":
        (path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    else:
        held = {row["pid"]: row for row in rows} if name == "mathvista" else rows
        (path / f"{split}.json").write_text(json.dumps(held))
    for row in rows:
        image = row.get(PICTURE_COLUMNS[name]) if isinstance(row, dict) else None
        if image and isinstance(image, str):
            place_picture(path / pictures / image)
    return path
