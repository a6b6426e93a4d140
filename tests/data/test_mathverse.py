import json
import shutil

import pytest
from datasets import Dataset, DatasetDict, Features, Value
from hub_copies import place_picture
from math_copies import MATHVERSE, hub_copy, mathverse, official_copy

from mapo.data.mathverse import VERSIONS, MathVerse, choices_in
from mapo.policies.images import open_image

TEXT_ONLY = mathverse("9", "Text Only", image="")


def read(path, split="testmini", **settings):
    data = MathVerse(str(path), eval_splits=[split], **{"instruction": ""} | settings)
    data.setup("validate")
    return data.eval_sets[f"mathverse_{split}"]


def text_of(prompt):
    content = prompt.messages[0]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


@pytest.mark.parametrize("form", ["save_to_disk", "parquet", "named"])
def test_rows_in_the_hubs_schema(tmp_path, form):
    first, second, third = read(hub_copy(tmp_path / "copy", "mathverse", form))
    assert [row.sample_id for row in (first, second, third)] == ["1", "2", "3"]
    assert (first.answer, first.metadata["choices"]) == ("B", ["50°", "60°"])
    assert first.metadata["categories"] == {
        "version": "Text Dominant",
        "subject": "Plane Geometry",
        "subfield": "Angle",
    }
    assert text_of(first) == mathverse()["query_cot"]
    assert open_image(first.images[0]).size == (40, 20)
    assert text_of(second).startswith("According to the question shown in the image")
    assert second.metadata["choices"] == ["50°", "60°"]  # of question_for_eval: its own question is in the picture


def test_the_text_only_split_has_no_pictures(tmp_path):
    features = Features(MATHVERSE | {"image": Value("string")})
    rows = Dataset.from_list([TEXT_ONLY, TEXT_ONLY | {"sample_index": "10", "image": None}], features=features)
    DatasetDict(testmini_text_only=rows).save_to_disk(tmp_path / "copy")
    prompts = read(tmp_path / "copy", "testmini_text_only")
    assert [(prompt.images, text_of(prompt)) for prompt in prompts] == [((), TEXT_ONLY["query_cot"])] * 2


@pytest.mark.parametrize("pictures", ["", "images"])
def test_rows_in_the_official_layout(tmp_path, pictures):
    official_copy(tmp_path, "mathverse", pictures=pictures)
    official_copy(tmp_path, "mathverse", [TEXT_ONLY], split="testmini_text_only")
    data = MathVerse(str(tmp_path), eval_splits=["testmini", "testmini_text_only"])
    data.setup("validate")
    assert {name: len(rows) for name, rows in data.eval_sets.items()} == {
        "mathverse_testmini": 3,
        "mathverse_testmini_text_only": 1,
    }
    place = tmp_path / pictures / "images_version_1-4" / "image_1.png"
    assert data.eval_sets["mathverse_testmini"][0].images == (str(place),)


@pytest.mark.parametrize("write", [hub_copy, official_copy])
def test_versions_are_chosen(tmp_path, write):
    path = write(tmp_path / "copy", "mathverse")
    chosen = read(path, versions=["Text Lite", "Vision Only"])
    assert [row.metadata["categories"]["version"] for row in chosen] == ["Vision Only", "Text Lite"]
    assert len(read(path, versions=VERSIONS)) == 3
    with pytest.raises(
        ValueError, match="has no row of versions Text Only, only of Text Dominant, Text Lite, Vision Only"
    ):
        read(path, versions=["Text Only"])
    for wrong in (["Vision"], []):
        with pytest.raises(ValueError, match=r"versions must be some of 'Text Dominant', .*got \["):
            MathVerse(str(path), versions=wrong)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({}, "Please first conduct reasoning, and then answer the question and provide the correct option letter, "),
        (
            {"question_type": "free-form"},
            "answer the question and provide the final value, e.g., 1, 2.5, 300, at the end.",
        ),
        (
            {"question": "", "problem_version": "Vision Only"},
            "According to the question shown in the image, please first",
        ),
    ],
)
def test_a_prompt_is_composed_where_the_source_has_none(tmp_path, row, words):
    row = mathverse("1", query_cot=None) | row
    (prompt,) = read(official_copy(tmp_path, "mathverse", [row]))
    assert words in text_of(prompt)
    assert text_of(prompt).endswith(f"\nQuestion: {row['question']}" if row["question"] else "at the end.")


def test_rows_of_the_website(tmp_path):
    metadata = {"source": "Own", "subjects": "Functions", "subfields": "Functions Property"}
    common = {"choices": None, "unit": None, "precision": None, "question_type": "free_form", "answer": "(0,0)"}
    rows = {
        "73": common | {"pid": "73", "question": "State the centre.\n", "image": "73.png"},
        "74": common | {"pid": "74", "question": "State the centre.", "image": None},
        "75": common | {"pid": "75", "question": "", "image": "75.png"},
        "76": common | {"pid": "76", "question": "Pick.", "image": "75.png", "choices": ["(1,1)", "(0,0)"]},
    }
    versions = ("Text Lite", "Text Only", "Vision Only", "Text Lite")
    for row, version in zip(rows.values(), versions, strict=True):
        row["metadata"] = metadata | {"problem_version": version}
    (tmp_path / "website.json").write_text(json.dumps(rows))
    for name in ("73.png", "75.png"):
        place_picture(tmp_path / "images" / name)
    prompts = read(tmp_path, "website")
    assert [(prompt.sample_id, len(prompt.images)) for prompt in prompts] == [
        ("73", 1),
        ("74", 0),
        ("75", 1),
        ("76", 1),
    ]
    assert prompts[0].metadata["categories"] == {
        "version": "Text Lite",
        "subject": "Functions",
        "subfield": "Functions Property",
    }
    assert text_of(prompts[0]).endswith("at the end.\nQuestion: State the centre.")
    assert text_of(prompts[3]).endswith("\nQuestion: Pick.\nChoices:\nA:(1,1)\nB:(0,0)")
    assert [row.sample_id for row in read(tmp_path, "website", versions=["Text Only"])] == ["74"]


@pytest.mark.parametrize(
    ("question", "choices"),
    [
        ("Find y.\nChoices:\nA:5\nB:6\nC:7", ["5", "6", "7"]),
        ("Find y.\nChoices:\nA.7/2\nB.\\sqrt{593} (approximately 24.35)", ["7/2", "\\sqrt{593} (approximately 24.35)"]),
        ("Find y.\nChoices:\n(A) yes\n(B) no", ["yes", "no"]),
        ("Find y.\nChoices:\nA: 4 units\nleft.\nB:4 units right.", ["4 units\nleft.", "4 units right."]),
        ("Find y.\nChoices:\nA:C: 1\nB:2", ["C: 1", "2"]),
        ("Find y.\nChoices:\nin the picture", []),
        ("A: 1\nB: 2", []),
    ],
)
def test_choices_in_a_question(question, choices):
    assert choices_in(question) == choices


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": ""}, "'2': the question is empty"),
        ({"answer": "C"}, r"'2': its answer 'C' is not among its 2 choices \(A: 50°; B: 60°\)"),
        ({"answer": None}, "'2': its answer '' is not among its 2 choices"),
        ({"answer": None, "question": "Find y.", "question_for_eval": ""}, "'2': the answer is empty"),
        ({"problem_version": "Vision"}, "'2': its problem_version 'Vision' is none of 'Text Dominant', 'Text Lite', "),
        ({"metadata": ["Angle"]}, "'2': its metadata is a list"),
        ({"image": None}, "'2': it has no picture"),
        ({"image": "none.png"}, "'2': its picture .*none.png is missing"),
        ({"choices": "A;B"}, "'2': its choices is a str"),
        ({"sample_index": None, "image": None}, "'testmini-1': it has no picture"),
    ],
)
def test_a_faulty_row_is_named(tmp_path, row, reason):
    path = official_copy(tmp_path, "mathverse", [mathverse("1"), mathverse("2")])
    (path / "testmini.json").write_text(json.dumps([mathverse("1"), mathverse("2") | row]))
    for versions in (None, ["Text Dominant"]):  # a row whose version is unknown is not passed over
        with pytest.raises(ValueError, match=f"set 'mathverse_testmini': 1 of 2 rows cannot be used. {reason}"):
            read(path, versions=versions)


def test_a_missing_column_mixed_types_and_no_rows_are_named(tmp_path):
    (tmp_path / "testmini.json").write_text(json.dumps([{"problem": "1 + 1?"}]))
    with pytest.raises(ValueError, match="has no column question, image, answer, question_type, metadata; its columns"):
        read(tmp_path)
    (tmp_path / "testmini.json").write_text(json.dumps([mathverse("1", "Vision Only"), "row"]))
    place_picture(tmp_path / "images_version_1-4" / "image_1.png")
    for versions in (None, ["Vision Only"]):
        with pytest.raises(ValueError, match="'testmini-1': it is a str, not an object of columns"):
            read(tmp_path, versions=versions)
    (tmp_path / "testmini.json").write_text("[]")
    with pytest.raises(ValueError, match="set 'mathverse_testmini' has no rows"):
        read(tmp_path, versions=["Text Lite"])


@pytest.mark.benchmark_rows
def test_real_rows(tmp_path, capsys, real_rows):
    source = real_rows / "mathverse"
    words = read(source, "testmini_text_only")
    website = read(source, "visualizer_rows")
    assert (len(words), len(website)) == (70, 54)
    rows = json.loads((source / "testmini_text_only.json").read_text())
    for prompt, row in zip(words, rows, strict=True):
        assert (prompt.sample_id, prompt.images, text_of(prompt)) == (row["sample_index"], (), row["query_cot"].strip())
        assert len(prompt.metadata["choices"]) >= 2 * (row["question_type"] == "multi-choice")
    composed = [{column: row[column] for column in row if column != "query_cot"} for row in rows]
    (tmp_path / "testmini_text_only.json").write_text(json.dumps(composed))
    assert [text_of(row) for row in read(tmp_path, "testmini_text_only")] == [text_of(row) for row in words]
    shown = [prompt for prompt in website if prompt.images]
    assert len(shown) == 45
    official = json.loads((source / "visualizer_rows.json").read_text())
    for prompt in shown:  # the picture belongs to its row
        size = official[prompt.sample_id]["metadata"]
        assert open_image(prompt.images[0]).size == (size["img_width"], size["img_height"])
    shutil.copy(source / "output_testmini_template.json", tmp_path / "testmini.json")
    listed = {row["image"] for row in json.loads((tmp_path / "testmini.json").read_text())}
    for name in listed:
        place_picture(tmp_path / "images" / name)
    template = read(tmp_path)
    assert sorted(row.metadata["categories"]["version"] for row in template) == sorted(set(VERSIONS) - {"Text Only"})
    with capsys.disabled():
        print(f"\nmathverse: {len(words)} rows of text only, {len(website)} of the website with {len(shown)} real")
        print(f"pictures, {len(template)} in five versions with {len(listed)} generated pictures")
