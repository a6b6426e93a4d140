import json
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict, Features, Image, List, Value
from hub_copies import FORMS, png, write_copy
from PIL import Image as Picture

from mapo.data.geometry3k import Geometry3K
from mapo.policies.images import open_image

FEATURES = Features({"images": List(Image()), "problem": Value("string"), "answer": Value("string")})


def hub_copy(num=3):
    rows = [
        {
            "images": [{"bytes": png(30 + i), "path": None}],
            "problem": f"<image>Find ${i}x$.",
            "answer": f"{i} \\sqrt {{ 2 }}",
        }
        for i in range(num)
    ]
    return DatasetDict(
        train=Dataset.from_list(rows, features=FEATURES), test=Dataset.from_list(rows[:1], features=FEATURES)
    )


def official_row(folder, number, *, picture=True, **changes):
    row = {"annotat_text": "Find $x$.", "problem_text": "Find x.", "choices": ["1", "2 \\sqrt { 3 }"], "answer": "B"}
    problem = folder / str(number)
    problem.mkdir(parents=True)
    (problem / "data.json").write_text(json.dumps(row | changes))
    if picture:
        (problem / "img_diagram.png").write_bytes(png(number))


@pytest.mark.parametrize("form", FORMS)
def test_rows_in_the_hubs_schema(tmp_path, form):
    data = Geometry3K(str(write_copy(tmp_path / "copy", hub_copy(), form)), instruction="")
    data.setup("fit")
    assert (len(data.train_set), data.eval_names) == (3, ["geometry3k_test"])
    row = data.train_set[2]
    assert (row.sample_id, row.answer) == ("train-2", "2 \\sqrt { 2 }")
    assert row.messages[0]["content"] == [{"type": "image"}, {"type": "text", "text": "Find $2x$."}]
    assert not isinstance(row.images[0], Picture.Image)  # decoded by the policy, not here
    assert open_image(row.images[0]).size == (32, 20)


def test_rows_in_the_official_layout(tmp_path):
    for number in (30, 4, 100):
        official_row(tmp_path / "train", number)
    official_row(tmp_path / "test", 7, annotat_text="")
    data = Geometry3K(str(tmp_path), instruction="")
    data.setup("fit")
    assert [row.sample_id for row in data.train_set] == ["train-4", "train-30", "train-100"]
    row = data.train_set[0]
    assert (row.answer, row.metadata["letter"]) == ("2 \\sqrt { 3 }", "B")
    assert open_image(row.images[0]).size == (4, 20)
    assert data.eval_sets["geometry3k_test"][0].messages[0]["content"][1]["text"] == "Find x."


def test_the_folder_of_one_split_is_that_split(tmp_path):
    official_row(tmp_path / "train", 4)
    data = Geometry3K(str(tmp_path / "train"), eval_splits=())
    data.setup("fit")
    assert len(data.train_set) == 1
    with pytest.raises(ValueError, match="has no split 'test'; its splits are train"):
        Geometry3K(str(tmp_path / "train")).setup("validate")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"picture": False}, "'train-9': its diagram .*img_diagram.png is missing"),
        ({"answer": ""}, "'train-9': its answer '' is not the letter of one of its 2 choices"),
        ({"answer": "C"}, "'train-9': its answer 'C' is not the letter of one of its 2 choices"),
        ({"choices": None}, "'train-9': its answer 'B' is not the letter of one of its 0 choices"),
        ({"choices": ["1", " "]}, "'train-9': the answer is empty"),
        ({"annotat_text": "", "problem_text": None}, "'train-9': the question is empty"),
    ],
)
def test_a_faulty_official_row_is_named(tmp_path, changes, reason):
    official_row(tmp_path / "train", 4)
    official_row(tmp_path / "train", 9, **changes)
    with pytest.raises(ValueError, match=f"set 'train': 1 of 2 rows cannot be used. {reason}"):
        Geometry3K(str(tmp_path), eval_splits=()).setup("fit")


def test_broken_json_and_a_broken_picture_are_named(tmp_path):
    official_row(tmp_path / "train", 4)
    (tmp_path / "train" / "4" / "img_diagram.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="'train-4': cannot read the image"):
        Geometry3K(str(tmp_path), eval_splits=()).setup("fit")
    (tmp_path / "train" / "4" / "data.json").write_text("{")
    with pytest.raises(ValueError, match=r"'train-4': .*data.json is no JSON"):
        Geometry3K(str(tmp_path), eval_splits=()).setup("fit")


def test_a_hub_row_without_a_picture_is_named(tmp_path):
    rows = [{"images": [], "problem": "Find $x$.", "answer": "1"}]
    DatasetDict(train=Dataset.from_list(rows, features=FEATURES)).save_to_disk(tmp_path)
    with pytest.raises(ValueError, match="'train-0': it has no picture"):
        Geometry3K(str(tmp_path), eval_splits=()).setup("fit")


@pytest.mark.benchmark_rows
def test_real_rows(real_rows, capsys):
    data = Geometry3K(str(real_rows / "geometry3k"), eval_splits=())
    data.setup("fit")
    assert len(data.train_set) == 6
    for row in data.train_set:
        official = json.loads((Path(row.images[0]).parent / "data.json").read_text())
        # The drawing's size as annotated: the picture belongs to its row.
        assert open_image(row.images[0]).size == (official["img_width"], official["img_height"])
        assert row.answer == official["choices"]["ABCD".index(official["answer"])]
    with capsys.disabled():
        print("\ngeometry3k train: 6 rows, all with real pictures")


@pytest.mark.benchmark_rows
def test_real_texts_with_generated_pictures(tmp_path, real_rows, capsys):
    lines = (real_rows / "geometry3k" / "test_text.jsonl").read_text().splitlines()
    for row in map(json.loads, lines):
        official_row(tmp_path / "test", row["id"], **row)
    data = Geometry3K(str(tmp_path))
    data.setup("validate")
    assert len(data.eval_sets["geometry3k_test"]) == len(lines) == 130
    with capsys.disabled():
        print("\ngeometry3k test: 130 rows, all with generated pictures")
