import ast
import shutil

import pytest
from datasets import Dataset, Features, Image, Value
from PIL import Image as Picture

from mapo.data.webemo import EMOTIONS, OFFICIAL_SPELLINGS, WEBEmo
from mapo.policies.images import open_image

URL = "https://stock.example/jpg/00/37/{}.jpg"
FINE = tuple(emotion.fine for emotion in EMOTIONS)
SECONDARY = ("love", "joy", "confusion", "sadness", "anger", "fear", "surprise")


def official(folder, *labels, split="test", pictures=True):
    (folder / "images").mkdir(exist_ok=True)
    (folder / f"{split}25.txt").write_text("".join(f"{URL.format(i)} {label}\n" for i, label in enumerate(labels)))
    for i in range(len(labels) if pictures else 0):
        Picture.new("RGB", (20 + i, 20)).save(folder / "images" / f"{i}.jpg")


def rows_of(folder, **settings):
    data = WEBEmo(str(folder), **settings)
    data.setup("validate")
    return data, next(iter(data.eval_sets.values()))


@pytest.mark.parametrize(
    ("taxonomy", "name", "choices", "answers"),
    [
        (25, "webemo_test", FINE, ["affection", "cheerfulness", "confusion", "zest"]),
        (6, "webemo6_test", SECONDARY, ["love", "joy", "confusion", "joy"]),
        (2, "webemo2_test", ("positive", "negative"), ["positive", "positive", "negative", "positive"]),
    ],
)
def test_the_taxonomy_is_an_argument(tmp_path, taxonomy, name, choices, answers):
    official(tmp_path, 0, 1, 2, 24)
    data, rows = rows_of(tmp_path, taxonomy=taxonomy, instruction="")
    assert data.eval_names == [name]
    assert [row.answer for row in rows] == answers
    assert rows[0].metadata["choices"] == choices
    what = "sentiment" if taxonomy == 2 else "emotion"
    question = f"Which {what} does the picture evoke? Choose from {', '.join(choices)}."
    assert rows[0].messages[0]["content"] == [{"type": "image"}, {"type": "text", "text": question}]
    fine = {} if taxonomy == 25 else {"class": "cheerfulness"}
    assert rows[1].metadata["categories"] == {"label": answers[1]} | fine


def test_a_picture_is_the_last_part_of_its_url_in_images(tmp_path):
    official(tmp_path, 3, 4)
    (tmp_path / "test25.txt").write_text(f"{URL.format(1)}?size=220#top 4\n\n")
    _, rows = rows_of(tmp_path)
    assert len(rows) == 1
    assert open_image(rows[0].images[0]).size == (21, 20)


def test_a_class_may_be_written_out_in_either_spelling(tmp_path):
    official(tmp_path, "cheerfullness", "Irritability", "zest")
    _, rows = rows_of(tmp_path)
    assert [row.answer for row in rows] == ["cheerfulness", "irritability", "zest"]
    assert rows[0].metadata["aliases"] == OFFICIAL_SPELLINGS


@pytest.mark.parametrize("form", ["save_to_disk", "parquet"])
def test_a_copy_may_hold_the_pictures_itself(tmp_path, form):
    picture = Picture.new("RGB", (33, 20))
    rows = [{"url": URL.format(i), "label": 24 - i, "image": picture} for i in range(2)]
    features = Features({"url": Value("string"), "label": Value("int64"), "image": Image()})
    copy = Dataset.from_list(rows, features=features, split="test")
    copy.save_to_disk(tmp_path) if form == "save_to_disk" else copy.to_parquet(tmp_path / "test.parquet")
    _, rows = rows_of(tmp_path)
    assert [row.answer for row in rows] == ["zest", "sympathy"]
    assert open_image(rows[1].images[0]).size == (33, 20)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"{URL.format(0)} 25", "its label '25' is neither a number from 0 to 24 nor one of affection, cheerfulness"),
        (f"{URL.format(0)} -1", "its label '-1' is neither a number from 0 to 24"),
        (f"{URL.format(0)} love", "its label 'love' is neither a number from 0 to 24"),
        (URL.format(0), "its label .* is neither a number from 0 to 24"),
        (
            f"{URL.format('gone')} 3",
            r"its picture .*images/gone\.jpg is missing.*it is that of '.*gone\.jpg', which is ",
        ),
        ("https://stock.example/ 3", r"its picture .*images is missing"),
    ],
)
def test_a_faulty_line_is_named(tmp_path, line, reason):
    official(tmp_path, 0, 1)
    (tmp_path / "test25.txt").write_text(f"{URL.format(1)} 1\n{line}\n")
    with pytest.raises(ValueError, match=f"set 'webemo_test': 1 of 2 rows cannot be used. 'test-1': {reason}"):
        rows_of(tmp_path)
    with pytest.warns(UserWarning, match="1 rows are counted as wrong"):
        data, rows = rows_of(tmp_path, on_bad_row="skip")
    assert (len(rows), list(data.bad_rows["webemo_test"])) == (1, ["test-1"])


def test_a_wrong_source_or_taxonomy_is_named(tmp_path):
    official(tmp_path)
    with pytest.raises(ValueError, match="set 'webemo_test' has no rows"):
        rows_of(tmp_path)
    with pytest.raises(ValueError, match=r"has no train25\.txt; its splits are test"):
        WEBEmo(str(tmp_path)).setup("fit")
    with pytest.raises(
        ValueError, match=r"gone' is no folder\. WEBEmo is not on the Hugging Face Hub.* test25\.txt and im"
    ):
        rows_of(tmp_path / "gone")
    with pytest.raises(ValueError, match="taxonomy must be 25, 6 or 2 classes, got 7"):
        WEBEmo(str(tmp_path), taxonomy=7)
    other = tmp_path / "other"
    Dataset.from_list([{"file": "a", "label": 3}], split="test").save_to_disk(other)
    with pytest.raises(ValueError, match="has no column url; its columns are file, label"):
        rows_of(other)


@pytest.mark.benchmark_rows
def test_real_rows(tmp_path, real_rows, capsys):
    source = real_rows / "webemo"
    _, _, literal = (source / "category.txt").read_text().partition("labels=")
    signs = {"+": "positive", "-": "negative"}
    official_classes = [(OFFICIAL_SPELLINGS.get(f, f), s, signs[p]) for f, s, p in ast.literal_eval(literal)]
    assert official_classes == [tuple(emotion) for emotion in EMOTIONS]
    lines = (source / "test25.txt").read_text().splitlines()
    numbers = [int(line.split()[1]) for line in lines]
    assert (min(numbers), max(numbers)) == (0, len(EMOTIONS) - 1)  # counted from 0: no other base fits
    (tmp_path / "images").mkdir()
    shutil.copyfile(source / "test25.txt", tmp_path / "test25.txt")
    generated = 0
    for line in lines:
        name = line.split()[0].rpartition("/")[2]
        own, target = source / "images" / name, tmp_path / "images" / name
        generated += not own.is_file()
        shutil.copyfile(own, target) if own.is_file() else Picture.new("RGB", (20, 20)).save(target)
    for taxonomy, level in ((25, "fine"), (6, "secondary"), (2, "polarity")):
        _, rows = rows_of(tmp_path, taxonomy=taxonomy)
        assert len(rows) == len(lines) == 256
        assert [row.answer for row in rows] == [getattr(EMOTIONS[number], level) for number in numbers]
    with capsys.disabled():
        print(f"\nWEBEmo: 256 rows, {256 - generated} with their own picture, {generated} with a generated one")
