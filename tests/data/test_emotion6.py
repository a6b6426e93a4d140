import csv
import shutil

import pytest
from datasets import Dataset
from PIL import Image as Picture

from mapo.data.emotion6 import EKMAN, NEUTRAL, Emotion6, dominant
from mapo.policies.images import open_image

SHARES = [f"prob. {emotion}" for emotion in (*EKMAN, NEUTRAL)]


def table_row(filename="joy/60.jpg", **shares):
    row = {"": 7, "filename": filename, "valence": 6.6} | dict.fromkeys(SHARES, 0.0)
    return row | {f"prob. {emotion}": share for emotion, share in shares.items()}


def official(folder, *rows, split="test", pictures=True):
    with (folder / f"{split}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(table_row()))
        writer.writeheader()
        writer.writerows(rows)
    for row in rows if pictures else ():
        picture = folder / "images" / row["filename"]
        picture.parent.mkdir(parents=True, exist_ok=True)
        Picture.new("RGB", (24, 20)).save(picture)


def rows_of(folder, **settings):
    data = Emotion6(str(folder), **settings)
    data.setup("validate")
    return data, next(iter(data.eval_sets.values()))


@pytest.mark.parametrize(
    ("label", "name", "choices", "answers"),
    [
        ("folder", "emotion6_test", EKMAN, ["joy", "fear"]),
        ("argmax", "emotion6_argmax_test", (*EKMAN, NEUTRAL), ["joy", "neutral"]),
        ("argmax_of_six", "emotion6_argmax_of_six_test", EKMAN, ["joy", "sadness"]),
    ],
)
def test_the_label_is_an_argument(tmp_path, label, name, choices, answers):
    official(
        tmp_path,
        table_row(joy=0.6, neutral=0.4),
        table_row("fear/1.jpg", fear=0.2, sadness=0.35, neutral=0.45),
    )
    data, rows = rows_of(tmp_path, label=label, instruction="")
    assert data.eval_names == [name]
    assert [row.answer for row in rows] == answers
    assert rows[1].metadata == {"choices": choices, "categories": {"label": answers[1]}}
    assert rows[1].images == (str(tmp_path / "images" / "fear" / "1.jpg"),)
    question = f"Which emotion does the picture evoke? Choose from {', '.join(choices)}."
    assert rows[1].messages[0]["content"] == [{"type": "image"}, {"type": "text", "text": question}]


def test_a_tie_goes_to_the_folder_if_it_is_among_the_first():
    shares = {"anger": 0.1, "disgust": 0.4, "joy": 0.4, "neutral": 0.1}
    assert dominant(shares, "joy") == "joy"
    assert dominant(shares, "disgust") == "disgust"
    assert dominant(shares, "anger") == "disgust"  # not among the first: the order decides


def test_a_copy_in_another_form_has_the_same_columns(tmp_path):
    official(tmp_path, table_row(joy=1.0))
    Dataset.from_list([table_row(joy=1.0) | {"image": "images/joy/60.jpg"}], split="test").save_to_disk(tmp_path / "a")
    (tmp_path / "images").rename(tmp_path / "a" / "images")
    _, rows = rows_of(tmp_path / "a", label="argmax")
    assert rows[0].answer == "joy"
    assert open_image(rows[0].images[0]).size == (24, 20)


@pytest.mark.parametrize(
    ("bad", "label", "reason"),
    [
        (table_row("joy/gone.jpg"), "folder", r"its picture .*images/joy/gone\.jpg is missing"),
        (table_row("love/1.jpg"), "folder", "its picture 'love/1.jpg' is in no folder of anger, disgust"),
        (table_row("neutral/1.jpg"), "folder", "its picture 'neutral/1.jpg' is in no folder of"),
        (table_row(""), "folder", "its picture '' is in no folder of"),
        (table_row(joy=""), "argmax", "its column 'prob. joy' holds no number: ''"),
        (table_row(neutral="much"), "argmax", "its column 'prob. neutral' holds no number: 'much'"),
        (table_row(joy="nan"), "argmax", "its column 'prob. joy' holds no number: nan"),
    ],
)
def test_a_faulty_row_is_named(tmp_path, bad, label, reason):
    official(tmp_path, table_row(joy=1.0))
    official(tmp_path, table_row(joy=1.0), bad, pictures=False)
    with pytest.raises(ValueError, match=f"1 of 2 rows cannot be used. 'test-1': {reason}"):
        rows_of(tmp_path, label=label)
    with pytest.warns(UserWarning, match="1 rows are counted as wrong"):
        data, rows = rows_of(tmp_path, label=label, on_bad_row="skip")
    assert (len(rows), [*data.bad_rows[data.eval_names[0]]]) == (1, ["test-1"])


def test_a_wrong_source_or_label_is_named(tmp_path):
    official(tmp_path)
    with pytest.raises(ValueError, match="set 'emotion6_test' has no rows"):
        rows_of(tmp_path)
    with pytest.raises(ValueError, match=r"has no train\.csv; its splits are test"):
        Emotion6(str(tmp_path)).setup("fit")
    with pytest.raises(
        ValueError, match=r"gone' is no folder\. Emotion6 is not on the Hugging Face Hub.* test\.csv and im"
    ):
        rows_of(tmp_path / "gone")
    with pytest.raises(ValueError, match="label must be one of 'folder', 'argmax', 'argmax_of_six', got 'most'"):
        Emotion6(str(tmp_path), label="most")
    (tmp_path / "test.csv").write_text("file,prob. joy\njoy/1.jpg,1\n")
    with pytest.raises(
        ValueError, match=r"test\.csv' has no column filename, prob\. anger, .*; its columns are file, "
    ):
        rows_of(tmp_path)


@pytest.mark.benchmark_rows
def test_real_rows(tmp_path, real_rows, capsys):
    source = real_rows / "emotion6"
    shutil.copyfile(source / "train.csv", tmp_path / "train.csv")
    generated = 0
    with (source / "train.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    for name in (row["filename"] for row in table):
        own, target = source / "images" / name, tmp_path / "images" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        generated += not own.is_file()
        shutil.copyfile(own, target) if own.is_file() else Picture.new("RGB", (20, 20)).save(target)
    answers = {}
    for label in ("folder", "argmax", "argmax_of_six"):
        _, rows = rows_of(tmp_path, label=label, eval_splits=["train"])
        assert len(rows) == len(table) == 240
        answers[label] = [row.answer for row in rows]
    assert answers["folder"] == [row["label"] for row in table]  # the repository's own column is the folder
    differ = {
        label: sum(a != b for a, b in zip(answers["folder"], answers[label], strict=True))
        for label in ("argmax", "argmax_of_six")
    }
    assert differ == {"argmax": 135, "argmax_of_six": 121}  # as the docstring says
    for emotions in ((*EKMAN, NEUTRAL), EKMAN):
        shares = [sorted(float(row[f"prob. {emotion}"]) for emotion in emotions) for row in table]
        assert sum(row[-1] == row[-2] for row in shares) == 14  # ties, as it says, too
    with capsys.disabled():
        print(f"\nEmotion6: 240 rows, {240 - generated} with their own picture, {generated} with a generated one")
