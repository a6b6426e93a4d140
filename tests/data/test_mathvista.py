import json
import shutil

import pytest
from hub_copies import place_picture
from math_copies import hub_copy, mathvista, official_copy

from mapo.data.mathvista import MathVista
from mapo.policies.images import open_image


def read(path, **settings):
    data = MathVista(str(path), **{"instruction": ""} | settings)
    data.setup("validate")
    return data.eval_sets["mathvista_testmini"]


def refuse(folder, row, reason):
    path = official_copy(folder / "copy", "mathvista", [mathvista("1"), mathvista("20") | row])
    with pytest.raises(ValueError, match=f"set 'mathvista_testmini': 1 of 2 rows cannot be used. {reason}"):
        read(path)


@pytest.mark.parametrize("form", ["save_to_disk", "parquet", "named"])
def test_rows_in_the_hubs_schema(tmp_path, form):
    first, second = read(hub_copy(tmp_path / "copy", "mathvista", form))
    assert (first.sample_id, second.sample_id, first.answer) == ("1", "20", "no")
    image, text = first.messages[0]["content"]
    assert (image, text["text"]) == ({"type": "image"}, mathvista()["query"])
    assert open_image(first.images[0]).size == (40, 20)
    assert first.metadata["choices"] == ["yes", "no"]
    assert first.metadata["precision"] is None
    assert first.metadata["categories"] == {
        "question_type": "multi_choice",
        "answer_type": "text",
        "task": "figure question answering",
        "context": "bar chart",
        "category": "general-vqa",
        "grade": "not applicable",
        "skills": ["statistical reasoning", "counting"],
        "language": "english",
        "source": "Own",
    }


@pytest.mark.parametrize("folder", ["", "data"])
def test_rows_in_the_official_layout(tmp_path, folder):
    rows = [mathvista("1", query=None), mathvista("20", query=None)]
    official_copy(tmp_path / folder, "mathvista", rows)
    (tmp_path / folder / "query.json").write_text(json.dumps({"1": "Hint: as the authors ask.\nQuestion: ..."}))
    first, second = read(tmp_path)
    assert first.messages[0]["content"][1]["text"] == "Hint: as the authors ask.\nQuestion: ..."
    assert second.messages[0]["content"][1]["text"] == mathvista()["query"]  # composed, as the source has none
    assert first.images[0] == str(tmp_path / folder / "images" / "1.jpg")


@pytest.mark.parametrize(
    ("kind", "precision", "answer", "words"),
    [
        ("integer", None, "8", "requiring an integer answer and provide the final value, e.g., 1, 2, 3, at the end"),
        ("float", 1.0, "1.5", "number with one decimal place and provide the final value, e.g., 1.2, 1.3, 1.4, at"),
        ("float", 2.0, "1.52", "number with two decimal places and provide the final value, e.g., 1.23, 1.34, 1.45,"),
        ("list", None, "[1, 2]", "requiring a Python list as an answer and provide the final list, e.g., [1, 2, 3],"),
    ],
)
def test_free_answers_say_their_form(tmp_path, kind, precision, answer, words):
    free = {"choices": None, "question_type": "free_form", "answer_type": kind, "precision": precision, "query": None}
    row = mathvista("1", **free, answer=answer, unit="years")
    (prompt,) = read(hub_copy(tmp_path / "copy", "mathvista", rows=[row]))
    text = prompt.messages[0]["content"][1]["text"]
    assert words in text
    assert text.endswith("\nQuestion: Is red the largest? (Unit: years)")
    assert (prompt.answer, prompt.metadata["choices"], prompt.metadata["precision"]) == (answer, [], precision)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": " "}, "'20': the question is empty"),
        ({"question": None}, "'20': the question is empty"),
        ({"answer": ""}, "'20': it has no answer; those of the split test are not public, evaluate testmini"),
        ({"answer": "maybe"}, r"'20': its answer 'maybe' is not among its 2 choices \(A: yes; B: no\)"),
        ({"answer": "C"}, "'20': its answer 'C' is not among its 2 choices"),
        ({"choices": None}, "'20': its question_type is multi_choice, but it has no choices"),
        ({"choices": "yes;no"}, "'20': its choices is a str"),
        ({"precision": "one"}, "'20': its precision is 'one', not a whole number"),
        ({"metadata": "counting"}, "'20': its metadata is a str"),
        ({"image": None}, "'20': it has no picture"),
        ({"image": 5}, "'20': cannot read the image .*got int"),
        ({"pid": None, "question": ""}, "'testmini-1': the question is empty"),
    ],
)
def test_a_faulty_row_is_named(tmp_path, row, reason):
    refuse(tmp_path, row, reason)


def test_mixed_types_are_read_or_named(tmp_path):
    numbers = {"pid": 20, "choices": [7, 8], "answer": 8, "question": 15}
    path = official_copy(tmp_path / "a", "mathvista", [mathvista("1"), mathvista(**numbers)])
    _, second = read(path)
    assert (second.sample_id, second.answer, second.metadata["choices"]) == ("20", "8", ["7", "8"])
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "testmini.json").write_text(json.dumps([mathvista("1"), "row"]))
    place_picture(tmp_path / "b" / "images" / "1.jpg")
    with pytest.raises(ValueError, match="'testmini-1': it is a str, not an object of columns"):
        read(tmp_path / "b")


def test_a_missing_picture_is_named_or_counts_as_wrong(tmp_path):
    path = official_copy(tmp_path / "copy", "mathvista")
    (path / "images" / "20.jpg").unlink()
    with pytest.raises(ValueError, match=r"'20': its picture .*copy/images/20.jpg is missing.*unpack"):
        read(path)
    data = MathVista(str(path), on_bad_row="skip")
    with pytest.warns(UserWarning, match="1 rows are counted as wrong"):
        data.setup("validate")
    assert list(data.bad_rows["mathvista_testmini"]) == ["20"]


def test_a_missing_column_no_rows_and_another_split_are_named(tmp_path):
    lacking = {column: value for column, value in mathvista().items() if column != "answer"}
    with pytest.raises(ValueError, match="has no column answer; its columns are pid, question"):
        read(official_copy(tmp_path / "a", "mathvista", [lacking]))
    with pytest.raises(ValueError, match="set 'mathvista_testmini' has no rows"):
        read(official_copy(tmp_path / "b", "mathvista", []))
    with pytest.raises(ValueError, match="has no split 'testmini'; its splits are test"):
        read(official_copy(tmp_path / "c", "mathvista", split="test"))


def test_broken_queries_are_named(tmp_path):
    path = official_copy(tmp_path / "copy", "mathvista")
    (path / "query.json").write_text("{")
    with pytest.raises(ValueError, match=r"query\.json is no JSON"):
        read(path)


@pytest.mark.benchmark_rows
def test_real_rows(tmp_path, capsys, real_rows):
    source = real_rows / "mathvista"
    rows = json.loads((source / "testmini.json").read_text())
    for name in ("testmini.json", "query.json"):
        shutil.copy(source / name, tmp_path)
    (tmp_path / "images").mkdir()
    real = sorted(source.glob("images_from_notebook/*.png"))
    for file in real:
        shutil.copy(file, tmp_path / "images" / f"{file.stem}.jpg")
    missing = [row["image"] for row in rows.values() if not (tmp_path / row["image"]).exists()]
    for name in missing:
        place_picture(tmp_path / name)
    asked = read(tmp_path)
    (tmp_path / "query.json").unlink()
    composed = read(tmp_path)
    assert [row.sample_id for row in asked] == list(rows)
    assert [row.messages for row in asked] == [row.messages for row in composed]  # the authors' words, to the letter
    assert len(asked) == 54
    for row in asked:
        official = rows[row.sample_id]
        assert official["question"].strip() in row.messages[0]["content"][1]["text"]
        assert row.answer == official["answer"]
        if row.sample_id in {file.stem for file in real}:  # the picture belongs to its row
            size = official["metadata"]["img_width"], official["metadata"]["img_height"]
            assert open_image(row.images[0]).size == size
    with capsys.disabled():
        print(f"\nmathvista: {len(asked)} rows, {len(real)} real pictures, {len(missing)} generated")
