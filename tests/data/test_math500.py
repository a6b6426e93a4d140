import json

import pytest
from datasets import Dataset, DatasetDict
from hub_copies import FORMS, write_copy

from mapo.data.math500 import MATH500

ROWS = [
    {
        "problem": f"What is ${i} + 3$?",
        "solution": f"It is $\\boxed{{{i + 3}}}$.",
        "answer": str(i + 3),
        "subject": ["Algebra", "Prealgebra"][i % 2],
        "level": i + 1,
        "unique_id": f"test/algebra/{i}.json",
    }
    for i in range(3)
]


@pytest.mark.parametrize("form", FORMS)
def test_rows_in_the_hubs_schema(tmp_path, form):
    copy = DatasetDict(test=Dataset.from_list(ROWS))
    data = MATH500(str(write_copy(tmp_path / "copy", copy, form)), instruction="")
    data.setup("validate")
    assert data.eval_names == ["math500_test"]
    row = data.eval_sets["math500_test"][2]
    assert (row.sample_id, row.answer, row.messages[0]["content"]) == ("test/algebra/2.json", "5", "What is $2 + 3$?")
    assert row.metadata["categories"] == {"subject": "Algebra", "level": "3"}
    assert row.metadata["solution"] == "It is $\\boxed{5}$."


def test_there_is_nothing_to_train_on(tmp_path):
    (tmp_path / "test.jsonl").write_text(json.dumps(ROWS[0]))
    with pytest.raises(ValueError, match="has no split 'train'; its splits are test"):
        MATH500(str(tmp_path)).setup("fit")


def test_a_repeated_id_and_an_empty_answer_are_named(tmp_path):
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, [ROWS[0], ROWS[0]])))
    with pytest.raises(ValueError, match=r"set 'math500_test': sample id 'test/algebra/0.json' is there twice"):
        MATH500(str(tmp_path)).setup("validate")
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, [ROWS[0], ROWS[1] | {"answer": ""}])))
    with pytest.raises(ValueError, match=r"1 of 2 rows cannot be used. 'test/algebra/1.json': the answer is empty"):
        MATH500(str(tmp_path)).setup("validate")


@pytest.mark.benchmark_rows
def test_real_rows(real_rows):
    data = MATH500(str(real_rows / "math500"))
    data.setup("validate")
    rows = data.eval_sets["math500_test"]
    assert len(rows) == 120
    assert len({row.metadata["categories"]["subject"] for row in rows}) == 7
    assert {row.metadata["categories"]["level"] for row in rows} == {"1", "2", "3", "4", "5"}
