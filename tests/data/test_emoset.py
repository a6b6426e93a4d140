import json
import shutil
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict, Features, Image, List, Value
from hub_copies import FORMS, png, write_copy

from mapo.data.emoset import MIKELS, EmoSet
from mapo.policies.images import open_image

FEATURES = Features(
    {
        "images": List(Image()),
        "problem": Value("string"),
        "course_grained": Value("string"),
        "intensity": Value("string"),
        "answer": Value("string"),
    }
)


def hub_row(number=0, **changes):
    row = {
        "images": [{"bytes": png(30 + number), "path": None}],
        "problem": "<image>Which emotion is it?",
        "course_grained": "positive",
        "intensity": "high",
        "answer": MIKELS[number].capitalize(),
    }
    return row | changes


def hub_copy(*train):
    rows = train or [hub_row(number) for number in range(3)]
    return DatasetDict(
        train=Dataset.from_list(list(rows), features=FEATURES), test=Dataset.from_list([hub_row()], features=FEATURES)
    )


def official(folder, entries, split="test", pictures=True):
    (folder / f"{split}.json").write_text(json.dumps(entries))
    for entry in entries if pictures else ():
        file = folder / entry[-2]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(20))


def entry(label="awe", number=5033):
    return [label, f"image/{label}/{label}_{number:05}.jpg", f"annotation/{label}/{label}_{number:05}.json"]


@pytest.mark.parametrize("form", FORMS)
def test_rows_in_the_hubs_schema(tmp_path, form):
    data = EmoSet(str(write_copy(tmp_path / "copy", hub_copy(), form)), instruction="")
    data.setup("fit")
    assert (len(data.train_set), data.eval_names) == (3, ["emoset_test"])
    row = data.train_set[2]
    assert (row.sample_id, row.answer) == ("train-2", "contentment")
    assert row.messages[0]["content"] == [{"type": "image"}, {"type": "text", "text": "Which emotion is it?"}]
    assert open_image(row.images[0]).size == (32, 20)
    assert row.metadata == {
        "choices": MIKELS,
        "graded_by": "text",
        "categories": {"label": "contentment"},
        "course_grained": "positive",
        "intensity": "high",
    }


def test_rows_of_the_official_lists(tmp_path):
    official(tmp_path, [entry("awe"), entry("sadness", 1)])
    data = EmoSet(str(tmp_path), instruction="")
    data.setup("validate")
    awe, sadness = data.eval_sets["emoset_test"]
    assert (awe.sample_id, awe.answer, sadness.answer) == ("test-0", "awe", "sadness")
    assert awe.messages[0]["content"] == [
        {"type": "image"},
        {"type": "text", "text": f"Which emotion does the picture evoke? Choose from {', '.join(MIKELS)}."},
    ]
    assert awe.images == (str(tmp_path / "image" / "awe" / "awe_05033.jpg"),)
    assert awe.metadata == {"choices": MIKELS, "categories": {"label": "awe"}}


def test_lists_with_the_pictures_name_behind_the_label_are_read_too(tmp_path):
    label, picture, annotation = entry()
    official(tmp_path, [[label, "awe_05033", picture, annotation]])
    data = EmoSet(str(tmp_path))
    data.setup("validate")
    assert data.eval_sets["emoset_test"][0].images == (str(tmp_path / picture),)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (entry("joy"), "'test-1': its label 'joy' is none of the classes amusement, awe"),
        (["awe", "image/awe/gone.jpg", "annotation/awe/gone.json"], r"'test-1': its picture .*awe/gone.jpg is missing"),
        (["awe"], r"'test-1': it is no list \[label, picture, annotation\]: \['awe'\]"),
        (["awe", 3, "x"], r"'test-1': it is no list \[label, picture, annotation\]"),
        ({"label": "awe"}, r"'test-1': it is no list \[label, picture, annotation\]"),
    ],
)
def test_a_faulty_entry_is_named(tmp_path, bad, reason):
    official(tmp_path, [entry()])
    official(tmp_path, [entry(), bad], pictures=False)
    with pytest.raises(ValueError, match=f"set 'emoset_test': 1 of 2 rows cannot be used. {reason}"):
        EmoSet(str(tmp_path)).setup("validate")
    data = EmoSet(str(tmp_path), on_bad_row="skip")
    with pytest.warns(UserWarning, match="1 rows are counted as wrong"):
        data.setup("validate")
    assert (len(data.eval_sets["emoset_test"]), list(data.bad_rows["emoset_test"])) == (1, ["test-1"])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"images": []}, "'train-1': it has no picture"),
        ({"answer": "joy"}, "'train-1': its label 'joy' is none of the classes"),
        ({"answer": None}, "'train-1': its label '' is none of the classes"),
        ({"problem": "<image>"}, "'train-1': the question is empty"),
        ({"problem": "<image> or <image>?"}, "'train-1': the question has a marker for picture 2, but the row has 1"),
    ],
)
def test_a_faulty_hub_row_is_named(tmp_path, changes, reason):
    hub_copy(hub_row(), hub_row(1, **changes)).save_to_disk(tmp_path)
    with pytest.raises(ValueError, match=reason):
        EmoSet(str(tmp_path)).setup("fit")


def test_a_wrong_source_is_named(tmp_path):
    official(tmp_path, [])
    with pytest.raises(ValueError, match="set 'emoset_test' has no rows"):
        EmoSet(str(tmp_path)).setup("validate")
    with pytest.raises(ValueError, match="has no split 'train'; its splits are test"):
        EmoSet(str(tmp_path)).setup("fit")
    for content, message in (("{", "is no JSON"), ("{}", "holds no list")):
        (tmp_path / "test.json").write_text(content)
        with pytest.raises(ValueError, match=rf"test\.json {message}"):
            EmoSet(str(tmp_path)).setup("validate")
    other = tmp_path / "other"
    DatasetDict(test=Dataset.from_list([{"image": "a", "label": "awe"}])).save_to_disk(other)
    with pytest.raises(ValueError, match="has no column images, problem, answer; its columns are image, label"):
        EmoSet(str(other)).setup("validate")


@pytest.mark.benchmark_rows
def test_real_rows(tmp_path, real_rows, capsys):
    labels = json.loads((real_rows / "emoset" / "info.json").read_text())["emotion"]["label2idx"]
    assert sorted(labels, key=labels.get) == list(MIKELS)
    generated = 0
    for split in ("test", "val"):
        entries = json.loads((real_rows / "emoset" / f"{split}.json").read_text())
        for _, picture, _ in entries:
            target, own = tmp_path / picture, real_rows / "emoset" / picture
            target.parent.mkdir(parents=True, exist_ok=True)
            generated += not own.is_file()
            shutil.copyfile(own, target) if own.is_file() else target.write_bytes(png(20))
        shutil.copyfile(real_rows / "emoset" / f"{split}.json", tmp_path / f"{split}.json")
    data = EmoSet(str(tmp_path), eval_splits=["test", "val"])
    data.setup("validate")
    counts = {name: len(rows) for name, rows in data.eval_sets.items()}
    assert counts == {"emoset_test": 256, "emoset_val": 128}
    with capsys.disabled():
        print(f"\nEmoSet: {counts}, {384 - generated} with their own picture, {generated} with a generated one")
    for rows in data.eval_sets.values():
        assert {row.answer for row in rows} == set(MIKELS)
        assert all(Path(row.images[0]).parent.name == row.answer for row in rows)
