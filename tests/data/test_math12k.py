import json

import pytest
from datasets import Dataset, DatasetDict
from hub_copies import FORMS, write_copy

from mapo.data.math12k import Math12K, solution_answer

HUB = [
    {"problem": "What is $\\frac{1}{2}$ of $3\\sqrt{8}$?", "answer": "3\\sqrt{2}"},
    {"problem": "What is $2 + 3$?", "answer": "5"},
]
OFFICIAL = {
    "problem": "What is $2 + 3$?",
    "level": "Level 2",
    "type": "Prealgebra",
    "solution": "Not $\\boxed{6}$: it is $\\boxed{\\frac{10}{2}}$.",
}


def write(folder, rows, split="train"):
    folder.mkdir(exist_ok=True)
    (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))


@pytest.mark.parametrize("form", FORMS)
def test_rows_in_the_hubs_schema(tmp_path, form):
    copy = DatasetDict(train=Dataset.from_list(HUB), test=Dataset.from_list(HUB[:1]))
    data = Math12K(str(write_copy(tmp_path / "copy", copy, form)), instruction="")
    data.setup("fit")
    assert (len(data.train_set), data.eval_names) == (2, ["math12k_test"])
    row = data.train_set[1]
    assert (row.sample_id, row.messages[0]["content"], row.answer) == ("train-1", "What is $2 + 3$?", "5")
    assert data.eval_sets["math12k_test"][0].answer == "3\\sqrt{2}"


def check_official(row):
    assert row.answer == "\\frac{10}{2}"
    assert row.metadata["categories"] == {"subject": "Prealgebra", "level": "2"}
    assert row.metadata["solution"] == OFFICIAL["solution"]


def test_rows_of_the_authors_schema_are_answered_by_their_last_box(tmp_path):
    write(tmp_path, [OFFICIAL])
    data = Math12K(str(tmp_path), eval_splits=())
    data.setup("fit")
    check_official(data.train_set[0])


def test_rows_in_the_authors_folders(tmp_path):
    for number in (2, 10):
        folder = tmp_path / "train" / "prealgebra"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.json").write_text(json.dumps(OFFICIAL))
    data = Math12K(str(tmp_path), eval_splits=())
    data.setup("fit")
    assert [row.sample_id for row in data.train_set] == ["train/prealgebra/2.json", "train/prealgebra/10.json"]
    check_official(data.train_set[1])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", r"'train/algebra/1.json': .*1.json is no JSON object with a problem and a solution"),
        ("[]", "1.json is no JSON object"),
        ('{"solution": "$\\\\boxed{1}$"}', "1.json is no JSON object with a problem .*KeyError"),
        ('{"problem": "1?", "solution": "It is 1."}', r"its solution has no \\boxed answer: ...'It is 1.'"),
        ('{"problem": " ", "solution": "$\\\\boxed{1}$"}', "the question is empty"),
        ('{"problem": "1?", "solution": "$\\\\boxed{}$"}', "the answer is empty"),
    ],
)
def test_a_faulty_file_is_named(tmp_path, content, reason):
    (tmp_path / "train" / "algebra").mkdir(parents=True)
    (tmp_path / "train" / "algebra" / "1.json").write_text(content)
    with pytest.raises(ValueError, match=reason):
        Math12K(str(tmp_path), eval_splits=()).setup("fit")


def test_a_source_without_answers_is_named(tmp_path):
    write(tmp_path, [{"problem": "1 + 1?", "result": "2"}])
    with pytest.raises(ValueError, match="neither a column answer nor solution; its columns are problem, result"):
        Math12K(str(tmp_path)).setup("fit")
    write(tmp_path, [{"question": "1 + 1?", "answer": "2"}])
    with pytest.raises(ValueError, match="has no column problem; its columns are question, answer"):
        Math12K(str(tmp_path)).setup("fit")


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        (r"$\boxed{\text{a \} b}}$", r"\text{a \} b}"),
        (r"$x = \fbox{3}$", "3"),
        (r"so \boxed 23$.", "23"),
        (r"\boxed{1} and \boxed{2", None),
        ("no box", None),
        ("", None),
    ],
)
def test_the_last_box_of_a_solution(solution, answer):
    assert solution_answer(solution) == answer


@pytest.mark.benchmark_rows
def test_real_rows(real_rows):
    path = str(real_rows / "math12k")
    derived = Math12K(path, train_split="train_derived", eval_splits=())
    official = Math12K(path, train_split="hendrycks_rows", eval_splits=())
    derived.setup("fit")
    official.setup("fit")
    assert (len(derived.train_set), len(official.train_set)) == (256, 256)
    assert [row.answer for row in official.train_set] == [row.answer for row in derived.train_set]
    levels = {row.metadata["categories"]["level"] for row in official.train_set}
    assert levels == {"1", "2", "3", "4", "5"}
    assert len({row.metadata["categories"]["subject"] for row in official.train_set}) == 7
