import json

import pytest
from command_line import invoke
from PIL import Image

from mapo.data.jsonl import JSONL

ROWS = [
    {"question": "What is 2 + 3?", "answer": "5", "topic": "sums"},
    {"question": "What is 2 * 3?", "answer": "6", "topic": "products"},
]


def write(file, rows):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return str(file)


def read(tmp_path, rows, **settings):
    data = JSONL(evaluation={"own": write(tmp_path / "own.jsonl", rows)}, instruction="", **settings)
    data.setup("validate")
    return data


def test_a_training_file_and_any_number_of_named_sets(tmp_path):
    file = write(tmp_path / "all.jsonl", ROWS)
    data = JSONL(file, {"first": file, "second": write(tmp_path / "b.jsonl", ["", *ROWS])}, instruction="")
    data.setup("fit")
    assert data.eval_names == ["first", "second"]
    row = data.train_set[1]
    assert (row.sample_id, row.messages[0]["content"], row.answer) == ("line-2", "What is 2 * 3?", "6")
    assert row.metadata == {"question": "What is 2 * 3?", "answer": "6", "topic": "products"}
    assert [row.sample_id for row in data.eval_sets["second"]] == ["line-2", "line-3"]  # empty lines are no rows


def test_columns_of_other_names(tmp_path):
    rows = [
        {"q": "Sum?", "gold": 5, "no": 17, "field": "sums", "year": 2020, "tags": ["a", "b"], "question": "other"},
        {"q": "Product?", "gold": 6, "no": 18, "field": None, "year": 2021, "tags": []},
    ]
    names = {"question": "q", "answer": "gold", "sample_id": "no", "categories": ["field", "year", "tags"]}
    first, second = read(tmp_path, rows, **names).eval_sets["own"]
    assert (first.sample_id, first.answer) == ("17", "5")
    assert first.metadata["categories"] == {"field": "sums", "year": "2020", "tags": ["a", "b"]}
    assert first.metadata["question"] == "other"
    assert [first.metadata[name] for name in ("q", "gold", "no")] == ["Sum?", 5, 17]  # functions ask for them by name
    assert second.metadata["categories"] == {"year": "2021"}


def test_pictures_are_found_beside_the_file(tmp_path):
    for name in "ab":
        (tmp_path / "deep" / "pictures").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (3, 4)).save(tmp_path / "deep" / "pictures" / f"{name}.png")
    rows = [
        {"question": "Is <image2> or <image1> red?", "answer": "no", "images": ["pictures/a.png", "pictures/b.png"]},
        {"question": "Is it red?", "answer": "no", "images": "pictures/a.png"},
        {"question": "Is red a colour?", "answer": "yes", "images": None},
    ]
    data = JSONL(evaluation={"own": write(tmp_path / "deep" / "own.jsonl", rows)}, instruction="")
    data.setup("validate")
    both, one, none = data.eval_sets["own"]
    assert [image.rpartition("/")[2] for image in both.images] == ["b.png", "a.png"]
    assert [part["type"] for part in one.messages[0]["content"]] == ["image", "text"]
    assert none.images == ()


@pytest.mark.parametrize("answer", ["B", "b", "52", 52])
def test_a_choice_is_named_by_letter_or_by_text(tmp_path, answer):
    (row,) = read(tmp_path, [{"question": "Which?", "answer": answer, "choices": [42, 52]}]).eval_sets["own"]
    assert (row.answer, row.metadata["choices"]) == (str(answer), ["42", "52"])


def test_what_prompts_understand_is_passed_on(tmp_path):
    row = {"question": "Which?", "answer": "A", "choices": ["x", "y"], "graded_by": "letter", "precision": None}
    row |= {"categories": {"level": 5}, "topic": "letters"}
    (prompt,) = read(tmp_path, [row], categories=["topic"]).eval_sets["own"]
    assert prompt.metadata == {
        "question": "Which?",
        "answer": "A",
        "choices": ["x", "y"],
        "graded_by": "letter",
        "topic": "letters",
        "categories": {"level": 5, "topic": "letters"},
    }


GOOD = ROWS[0]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (GOOD | {"question": " "}, r"line 3 of .*own.jsonl: the question \(column 'question'\) is empty"),
        ({"answer": "5"}, r"the question \(column 'question'\) is missing; make it text, as in other rows"),
        (GOOD | {"answer": 5}, r"the answer \(column 'answer'\) is a number \(5\); make it text, as in other rows"),
        (GOOD | {"answer": ["5"]}, r"the answer \(column 'answer'\) is list \(\['5'\]\); make it text"),
        (GOOD | {"answer": True}, r"the answer \(column 'answer'\) is bool"),
        (GOOD | {"answer": ""}, "the answer is empty"),
        (GOOD | {"choices": ["4", "6"]}, r"line 3 of .*: its answer '5' is not among its 2 choices \(A: 4; B: 6\)"),
        (GOOD | {"choices": ["4", "5"], "answer": "C"}, "its answer 'C' is not among its 2 choices .*; write one's"),
        (GOOD | {"choices": "A. 4 B. 5"}, "the choices are 'A. 4 B. 5'; write a list of texts"),
        (GOOD | {"choices": ["5", 4]}, "write a list of texts"),
        (GOOD | {"choices": ["5", None]}, "write a list of texts"),
        (GOOD | {"choices": 5}, "the choices are 5; write a list of texts"),
        (GOOD | {"choices": ["5", "5 "]}, "write a list of texts, all different and none of them empty"),
        (GOOD | {"images": ["no.png"]}, r"its picture .*no.png is missing; names are relative to the folder"),
        (GOOD | {"images": ["own.jsonl"]}, "cannot read the image .*own.jsonl"),
        (GOOD | {"images": {"path": "no.png"}}, "write the name of a file, or a list of names"),
        (GOOD | {"question": "Is <image> red?"}, "the question has a marker for picture 1, but the row has 0"),
        (GOOD | {"topic": {"a": 1}}, "the category 'topic' is {'a': 1}; write a text"),
        (GOOD | {"graded_by": "me"}, "graded_by is 'me'; it must be one of letter, text, either"),
        (GOOD | {"precision": "2"}, "precision is '2'; it must be a number of decimals"),
        (
            GOOD | {"categories": "sums"},
            "categories is 'sums'; it must be an object of names and values, or be renamed",
        ),
        (GOOD | {"aliases": ["a"]}, "aliases is .'a'.; it must be an object"),
        ('{"question": "What', "line 3 of .*own.jsonl is no JSON object: Unterminated string.* Write one on each line"),
        ("[]", "line 3 of .*own.jsonl is no JSON object: it is list"),
    ],
)
def test_a_faulty_row_is_named_or_counted(tmp_path, row, reason):
    rows = [*ROWS, row]
    with pytest.raises(ValueError, match=f"set 'own': 1 of 3 rows cannot be used. 'line-3': .*{reason}"):
        read(tmp_path, rows, categories=["topic"])
    with pytest.warns(UserWarning, match=r"set 'own': 1 rows are counted as wrong. 'line-3'"):
        data = read(tmp_path, rows, categories=["topic"], on_bad_row="skip")
    assert (len(data.eval_sets["own"]), list(data.bad_rows["own"])) == (2, ["line-3"])


def test_bytes_that_are_no_text_are_named(tmp_path):
    file = tmp_path / "own.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"question": "One?", "answer": "1"}\n{"question": "\xff", "answer": "2"}\n')
    with pytest.raises(ValueError, match=r"1 of 2 rows cannot be used. 'line-2': line 2 of .* is no JSON object: 'utf"):
        JSONL(evaluation={"own": str(file)}).setup("validate")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            {"question": "problem"},
            "has no column 'problem'; its columns are question, answer, topic.*question=<column>",
        ),
        ({"choices": "options"}, "has no column 'options'; .*choices=<column>"),
        ({"categories": ["level"]}, "has no column 'level'; .*in categories"),
        ({"images": "image"}, "set 'own': .*own.jsonl' has no column 'image'"),
    ],
)
def test_another_column_is_named_with_those_there(tmp_path, settings, reason):
    with pytest.raises(ValueError, match=reason):
        read(tmp_path, ROWS, **settings)


def test_files_that_cannot_be_sets(tmp_path):
    with pytest.raises(ValueError, match=r"set 'own': cannot read .*none.jsonl'.*Name a file of JSON lines"):
        JSONL(evaluation={"own": str(tmp_path / "none.jsonl")}).setup("validate")
    with pytest.raises(ValueError, match="set 'own' has no rows"):
        read(tmp_path, ["", ""])
    with pytest.raises(ValueError, match="train names no file"):
        JSONL(evaluation={"own": write(tmp_path / "own.jsonl", ROWS)}).setup("fit")
    with pytest.raises(ValueError, match="evaluation names a set 'a/b'; choose a name without a slash"):
        JSONL(evaluation={"a/b": "x.jsonl"})
    with pytest.raises(ValueError, match="sample id '1' is there twice"):
        read(tmp_path, [row | {"id": 1} for row in ROWS])


def test_ten_lines_of_configuration(tmp_path):
    write(tmp_path / "train.jsonl", ROWS)
    (tmp_path / "own.yaml").write_text(
        """
model:
  policy: {path: builtin}
  rewards:
    - {class_path: mapo.rewards.math_answer.MathAnswer}
data:
  class_path: mapo.data.jsonl.JSONL
  init_args:
    train: train.jsonl
    evaluation: {mine: train.jsonl, yours: train.jsonl}
"""
    )
    outcome = invoke(tmp_path, "fit", "--config", "own.yaml", "--plan=true")
    assert outcome.code == 0, outcome.err
    assert "JSONL; out of domain: none" in outcome.out
