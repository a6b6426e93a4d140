import json
import shutil

import pytest
from math_copies import hub_copy, mathvision, official_copy

from mapo.data.mathvision import MathVision, with_one_picture
from mapo.policies.images import open_image


def read(path, split="test", **settings):
    data = MathVision(str(path), eval_splits=[split], **{"instruction": ""} | settings)
    data.setup("validate")
    return data.eval_sets[f"mathvision_{split}"]


@pytest.mark.parametrize("form", ["save_to_disk", "parquet", "named"])
def test_rows_in_the_hubs_schema(tmp_path, form):
    first, second = read(hub_copy(tmp_path / "copy", "mathvision", form, split="test"))
    assert (first.sample_id, first.answer, first.metadata["choices"]) == ("1", "B", ["$a$", "$b$", "none of them"])
    assert first.metadata["categories"] == {"subject": "analytic geometry", "level": "4"}
    question, image, options = first.messages[0]["content"]
    assert (question["text"], image["type"]) == ("Which line is the $y$-axis?\n", "image")
    assert (
        options["text"].strip() == "(A) $a$\n(B) $b$\n(C) none of them\nAnswer with the letter of the correct option."
    )
    assert open_image(first.images[0]).size == (40, 20)
    assert (second.answer, second.metadata["choices"]) == (r"\sqrt{2}", [])


@pytest.mark.parametrize("folder", ["", "data"])
def test_rows_in_the_official_layout(tmp_path, folder):
    for split, rows in (("test", None), ("testmini", [mathvision("12")])):
        official_copy(tmp_path, "mathvision", rows, split=split)
        (tmp_path / folder).mkdir(exist_ok=True)
        shutil.move(tmp_path / f"{split}.jsonl", tmp_path / folder / f"{split}.jsonl")
    data = MathVision(str(tmp_path), eval_splits=["test", "testmini"])
    data.setup("validate")
    assert {name: len(rows) for name, rows in data.eval_sets.items()} == {
        "mathvision_test": 2,
        "mathvision_testmini": 1,
    }
    assert MathVision(str(tmp_path)).eval_splits == ("test",)


def test_bare_letters_are_not_listed(tmp_path):
    rows = [
        mathvision("1", options=["A", "B"]),
        mathvision("2", options=["(A)", "(B)"]),
        mathvision("3", options=["$A$", "$B$"]),
        mathvision("4", options=["B", "A"]),
    ]
    texts = [
        row.messages[0]["content"][2]["text"] for row in read(official_copy(tmp_path, "mathvision", rows, split="test"))
    ]
    assert ["(A)" in text for text in texts] == [False, False, False, True]
    assert all(text.endswith("Answer with the letter of the correct option.") for text in texts)


def test_one_picture_stands_for_all_markers(tmp_path):
    question = "<image1>\nWhich side is opposite to <image3>?\n<image2>"
    (row,) = read(official_copy(tmp_path, "mathvision", [mathvision(question=question, options=[])], split="test"))
    text = "<image 1>\nWhich side is opposite to <image 3>?\n<image 2>"
    assert row.messages[0]["content"] == [{"type": "image"}, {"type": "text", "text": text}]
    assert len(row.images) == 1
    assert with_one_picture("Which side?") == "Which side?"
    assert with_one_picture("<image> and <image>") == "<image > and <image >"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": "<image1>"}, "'12': the question is empty"),
        ({"answer": "D"}, r"'12': its answer 'D' is not among its 3 choices \(A: \$a\$; B: \$b\$; C: none of them\)"),
        ({"answer": None}, "'12': its answer '' is not among its 3 choices"),
        ({"options": [], "answer": " "}, "'12': the answer is empty"),
        ({"options": "ABC"}, "'12': its options is a str"),
        ({"image": ""}, "'12': it has no picture"),
        ({"image": "images/none.jpg"}, "'12': its picture .*images/none.jpg is missing"),
        ({"id": None, "question": ""}, "'test-1': the question is empty"),
    ],
)
def test_a_faulty_row_is_named(tmp_path, row, reason):
    path = official_copy(tmp_path, "mathvision", [mathvision("1"), mathvision("12")], split="test")
    (path / "test.jsonl").write_text("\n".join(map(json.dumps, [mathvision("1"), mathvision("12") | row])))
    with pytest.raises(ValueError, match=f"set 'mathvision_test': 1 of 2 rows cannot be used. {reason}"):
        read(path)


def test_a_missing_column_and_no_rows_are_named(tmp_path):
    (tmp_path / "test.jsonl").write_text(json.dumps({"id": "1", "problem": "1 + 1?"}))
    with pytest.raises(ValueError, match="has no column question, options, image, answer, level, subject; its columns"):
        read(tmp_path)
    (tmp_path / "test.jsonl").write_text("")
    with pytest.raises(ValueError, match="set 'mathvision_test' has no rows"):
        read(tmp_path)


@pytest.mark.benchmark_rows
def test_real_rows(tmp_path, capsys, real_rows):
    source = real_rows / "mathvision"
    rows = [json.loads(line) for line in (source / "test.jsonl").read_text().splitlines()]
    prompts = read(source)
    assert len(prompts) == len(rows) == 60
    for prompt, row in zip(prompts, rows, strict=True):
        assert (prompt.sample_id, prompt.answer) == (row["id"], row["answer"])
        assert prompt.images == (str(source / row["image"]),)
        assert min(open_image(prompt.images[0]).size) > 20
    mini = {json.loads(line)["id"] for line in (source / "testmini_ids.jsonl").read_text().splitlines()}
    assert len(mini) == 304
    kept = [row for row in rows if row["id"] in mini]
    (tmp_path / "testmini.jsonl").write_text("\n".join(map(json.dumps, kept)))
    (tmp_path / "images").symlink_to(source / "images")
    assert {prompt.sample_id for prompt in read(tmp_path, "testmini")} == {row["id"] for row in kept}
    with capsys.disabled():
        print(f"\nmathvision: {len(prompts)} rows of test, {len(kept)} of them of testmini, all with real pictures")
