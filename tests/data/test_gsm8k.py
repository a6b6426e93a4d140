import json

import pytest
from datasets import Dataset, DatasetDict
from hub_copies import FORMS, write_copy

from mapo.data.gsm8k import GSM8K

ROWS = [
    {"question": "Ann has 3 bags of 400 nails. How many?", "answer": "3 * 400 = <<3*400=1200>>1200\n#### 1,200"},
    {"question": "Bo owes 5. What does he have?", "answer": "Less than nothing.\n#### -5"},
]


def write(folder, rows, split="train"):
    (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))


@pytest.mark.parametrize("form", FORMS)
def test_rows_in_the_hubs_schema(tmp_path, form):
    copy = DatasetDict(train=Dataset.from_list(ROWS), test=Dataset.from_list(ROWS[:1]))
    data = GSM8K(str(write_copy(tmp_path / "copy", copy, form)), instruction="")
    data.setup("fit")
    assert data.eval_names == ["gsm8k_test"]
    first, second = data.train_set
    assert (first.sample_id, first.answer, second.answer) == ("train-0", "1200", "-5")
    assert first.messages[0]["content"] == ROWS[0]["question"]
    assert first.metadata["solution"] == "3 * 400 = <<3*400=1200>>1200"


def test_the_shards_of_a_split_are_read_in_order(tmp_path):
    write(tmp_path, ROWS[:1], "train-00000-of-00002")
    write(tmp_path, ROWS[1:], "train-00001-of-00002")
    data = GSM8K(str(tmp_path), eval_splits=())
    data.setup("fit")
    assert [row.answer for row in data.train_set] == ["1200", "-5"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": "1 + 1?", "answer": "2"}, "'train-1': its answer has no '####' before the result: '2'"),
        ({"question": "1 + 1?", "answer": "####"}, "'train-1': the answer is empty"),
        ({"question": None, "answer": "#### 2"}, "'train-1': the question is empty"),
    ],
)
def test_a_faulty_row_is_named(tmp_path, row, reason):
    write(tmp_path, [ROWS[0], row])
    with pytest.raises(ValueError, match=reason):
        GSM8K(str(tmp_path), eval_splits=()).setup("fit")


def test_another_column_another_split_and_an_empty_folder_are_named(tmp_path):
    with pytest.raises(ValueError, match="cannot load"):
        GSM8K(str(tmp_path)).setup("fit")
    write(tmp_path, [{"problem": "1 + 1?", "answer": "#### 2"}])
    with pytest.raises(ValueError, match="has no column question; its columns are problem, answer"):
        GSM8K(str(tmp_path)).setup("fit")
    with pytest.raises(ValueError, match="has no split 'test'; its splits are train"):
        GSM8K(str(tmp_path)).setup("validate")


@pytest.mark.benchmark_rows
def test_real_rows(real_rows):
    data = GSM8K(str(real_rows / "gsm8k"))
    data.setup("fit")
    assert (len(data.train_set), len(data.eval_sets["gsm8k_test"])) == (512, 256)
    rows = [*data.train_set, *data.eval_sets["gsm8k_test"]]
    assert all(float(row.answer) == float(row.answer.strip()) for row in rows)
