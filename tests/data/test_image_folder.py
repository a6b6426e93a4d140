from collections import Counter

import pytest
from command_line import invoke
from PIL import Image

from mapo.data.image_folder import ImageFolder


def paint(*files):
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (3, 4)).save(file)


@pytest.fixture
def splits(tmp_path):
    """Return a folder of two splits: eight pictures to train on, and four to test on."""
    root = tmp_path / "Own Pictures"
    paint(*(root / "train" / label / f"{i}.jpg" for label in ("fear", "awe") for i in range(4)))
    paint(*(root / "test" / label / f"{i}.PNG" for label in ("fear", "awe") for i in range(2)))
    return root


def test_folders_of_splits(splits):
    data = ImageFolder(str(splits), instruction="", max_eval_samples=3)
    data.setup("fit")
    assert data.eval_names == ["own_pictures_test"]
    assert (len(data.train_set), len(data.eval_sets["own_pictures_test"])) == (8, 3)
    (row,) = [row for row in data.train_set if row.sample_id == "train/fear/2.jpg"]
    assert row.answer == "fear"
    assert row.images == (str(splits / "train" / "fear" / "2.jpg"),)
    assert row.metadata == {"choices": ["awe", "fear"], "categories": {"label": "fear"}}
    text = "Which class does the picture show? Choose from awe, fear."
    assert row.messages[0]["content"] == [{"type": "image"}, {"type": "text", "text": text}]


def test_the_order_is_fixed_and_mixes_the_classes(tmp_path):
    paint(*(tmp_path / label / f"{i}.jpg" for label in ("awe", "fear") for i in range(30)))
    data, again = ImageFolder(str(tmp_path), name="own"), ImageFolder(str(tmp_path), name="own")
    data.setup("validate")
    again.setup("validate")
    rows = data.eval_sets["own"]
    assert [row.sample_id for row in rows] == [row.sample_id for row in again.eval_sets["own"]]
    assert min(Counter(row.answer for row in rows[:20]).values()) >= 5


def test_a_folder_without_splits_is_one_set_or_what_is_trained_on(tmp_path):
    paint(*(tmp_path / "FI" / label / "1.jpg" for label in ("awe", "fear", "mild_joy")))
    data = ImageFolder(str(tmp_path / "FI"), what="emotion", verb="evoke", instruction="")
    data.setup("validate")
    assert data.eval_names == ["fi"]
    (row,) = [row for row in data.eval_sets["fi"] if row.answer == "mild_joy"]
    assert (
        row.messages[0]["content"][1]["text"]
        == "Which emotion does the picture evoke? Choose from awe, fear, mild_joy."
    )
    with pytest.raises(ValueError, match="has no split 'train'; its splits are all"):
        ImageFolder(str(tmp_path / "FI")).setup("fit")
    trained = ImageFolder(str(tmp_path / "FI"), train_split="all")
    trained.setup("fit")
    assert (len(trained.train_set), trained.eval_names) == (3, [])


def test_labels_from_the_names_of_files(tmp_path):
    paint(*(tmp_path / name for name in ("amusement_0001.jpg", "anger_0007.jpg", "mild_joy_1.jpg", "untitled.jpg")))
    question = "<image> Is it {labels}?"
    data = ImageFolder(
        str(tmp_path), name="art", label_from="file_name", question=question, instruction="", on_bad_row="skip"
    )
    with pytest.warns(UserWarning, match=r"'untitled.jpg': its name has no class before an underscore"):
        data.setup("validate")
    assert {row.sample_id: row.answer for row in data.eval_sets["art"]} == {
        "amusement_0001.jpg": "amusement",
        "anger_0007.jpg": "anger",
        "mild_joy_1.jpg": "mild_joy",
    }
    assert data.eval_sets["art"][0].messages[0]["content"][1]["text"] == " Is it amusement, anger, mild_joy?"


def test_labels_from_the_names_of_files_in_splits(tmp_path):
    paint(tmp_path / "train" / "awe_1.jpg", tmp_path / "val" / "awe_1.jpg", tmp_path / "val" / "fear_1.jpg")
    data = ImageFolder(str(tmp_path), name="art", label_from="file_name")
    data.setup("fit")
    assert data.train_set[0].metadata["choices"] == ["awe", "fear"]  # of all splits
    assert len(data.eval_sets["art_val"]) == 2


def test_given_labels_keep_their_order_and_are_all_there_are(splits):
    data = ImageFolder(str(splits), labels=["sadness", "fear", "awe"], instruction="")
    data.setup("validate")
    assert data.eval_sets["own_pictures_test"][0].metadata["choices"] == ["sadness", "fear", "awe"]
    reason = (
        "2 of 4 rows cannot be used. 'test/awe/[01].PNG': its class 'awe' is none of sadness, fear; add it to labels"
    )
    with pytest.raises(ValueError, match=reason):
        ImageFolder(str(splits), labels=["sadness", "fear"]).setup("validate")


def test_other_files_are_counted_and_broken_pictures_are_bad_rows(splits):
    (splits / "test" / "notes.txt").write_text("Mine.")
    (splits / "test" / "awe" / ".DS_Store").write_bytes(b"")
    (splits / "test" / "awe" / "1.PNG").write_bytes(b"no picture")
    (splits / "list.csv").write_text("Mine.")
    data = ImageFolder(str(splits), on_bad_row="skip")
    ignored = "3 files are no pictures of a class, and are ignored: list.csv, test/notes.txt, test/awe/.DS_Store"
    with pytest.warns(UserWarning, match=ignored):
        data.setup("validate")
    assert list(data.bad_rows["own_pictures_test"]) == ["test/awe/1.PNG"]
    assert len(data.eval_sets["own_pictures_test"]) == 3
    with pytest.raises(ValueError, match=r"'test/awe/1.PNG': cannot read the image"):
        ImageFolder(str(splits)).setup("validate")


def test_folders_that_are_none(tmp_path, splits):
    with pytest.raises(ValueError, match="none' is no folder"):
        ImageFolder(str(tmp_path / "none")).setup("validate")
    with pytest.raises(ValueError, match=r"holds no pictures as .*check path and label_from"):
        ImageFolder(str(splits / "test" / "awe")).setup("validate")
    with pytest.raises(ValueError, match="has no split 'val'; its splits are test, train"):
        ImageFolder(str(splits), eval_splits=["val"]).setup("validate")
    paint(splits / "awe" / "1.jpg")
    with pytest.raises(ValueError, match=r"holds both pictures of its own and splits \(test, train\)"):
        ImageFolder(str(splits)).setup("validate")
    paint(tmp_path / "one" / "awe" / "1.jpg")
    with pytest.raises(ValueError, match=r"labels must be two or more different classes.* got \['awe'\]"):
        ImageFolder(str(tmp_path / "one")).setup("validate")


@pytest.mark.parametrize(("settings", "reason"), [({"label_from": "name"}, "label_from"), ({"name": "a/b"}, "name")])
def test_settings_that_are_none(settings, reason):
    with pytest.raises(ValueError, match=f"{reason} must be .*, got "):
        ImageFolder("pictures", **settings)


def test_ten_lines_of_configuration(tmp_path, splits):
    (tmp_path / "own.yaml").write_text(
        """
model:
  policy: {path: builtin}
  rewards: [{class_path: mapo.rewards.label.LabelMatch}]
data:
  class_path: mapo.data.image_folder.ImageFolder
  init_args:
    path: Own Pictures
    what: emotion
    out_of_domain:
      - {class_path: mapo.data.image_folder.ImageFolder, init_args: {path: ArtPhoto, label_from: file_name}}
"""
    )
    outcome = invoke(tmp_path, "fit", "--config", "own.yaml", "--plan=true")
    assert outcome.code == 0, outcome.err
    assert "ImageFolder; out of domain: ImageFolder" in outcome.out
