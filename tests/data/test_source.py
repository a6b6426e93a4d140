import json

import pytest
from datasets import Dataset, DatasetDict
from hub_copies import FORMS, write_copy

from mapo.data.source import known_split, load_rows, text

ROWS = [{"a": "1"}, {"a": "2"}]


@pytest.mark.parametrize("form", FORMS)
def test_a_split_of_a_copy_in_any_form(tmp_path, form):
    copy = DatasetDict(train=Dataset.from_list(ROWS), test=Dataset.from_list(ROWS[:1]))
    path = str(write_copy(tmp_path / "copy", copy, form))
    assert list(load_rows(path, "train", columns=["a"])) == ROWS
    assert len(load_rows(path, "test", columns=["a"])) == 1
    with pytest.raises(ValueError, match=r"has no split 'tests'; its splits are (train, test|test, train)"):
        load_rows(path, "tests", columns=["a"])
    with pytest.raises(ValueError, match=r"has no column b, c; its columns are a\. Rename them there, or use JSONL"):
        load_rows(path, "test", columns=["b", "a", "c"])


def test_a_copy_of_all_that_the_hub_has_keeps_its_configurations(tmp_path):
    parts = []
    for name, num in (("main", 2), ("other", 1)):
        Dataset.from_list(ROWS[:num]).to_parquet(tmp_path / name / "test-00000-of-00001.parquet")
        files = [{"split": "test", "path": f"{name}/test-*"}]
        parts.append({"config_name": name, "data_files": files})
    (tmp_path / "README.md").write_text(f"---\nconfigs: {json.dumps(parts)}\n---\n")
    assert len(load_rows(str(tmp_path), "test", columns=["a"], config="main")) == 2
    assert len(load_rows(str(tmp_path), "test", columns=["a"], config="other")) == 1
    with pytest.raises(ValueError, match=r"cannot load .*Config name is missing"):
        load_rows(str(tmp_path), "test", columns=["a"])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("test.jsonl", b"", r"test\.jsonl is empty; write the rows of the split 'test' into it"),
        (
            "test.jsonl",
            b'{"a": 1}\n{"a": \n',
            r"line 2 of .*test\.jsonl is no JSON: Expecting value .*; mend ",
        ),
        ("test.jsonl", b'{"a": 1}\n{"a": "\xff"}\n', r"line 2 of .*test\.jsonl is no JSON: 'utf-8' codec"),
        ("test.parquet", b"no parquet", r"test\.parquet cannot be read: Parquet .*; fetch or write it again"),
        ("dataset_dict.json", b'{"splits": ["test"]}', "is no whole copy of save_to_disk: No such files"),
        ("dataset_dict.json", b"{", "is no whole copy of save_to_disk: .*; write it again"),
        (".hidden", b"no data", "cannot load .* Expected a Hub id that can be reached, a folder written by save_to_"),
    ],
)
def test_files_that_cannot_be_read_are_named_with_the_way_out(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=words):
        load_rows(str(tmp_path), "test", columns=["a"])


def test_the_path_of_a_file_is_refused_with_its_folder(tmp_path):
    (tmp_path / "test.jsonl").write_text('{"a": 1}')
    with pytest.raises(ValueError, match=rf"test\.jsonl' is a file; name its folder, '{tmp_path}'"):
        load_rows(str(tmp_path / "test.jsonl"), "test", columns=["a"])


def test_what_is_nowhere_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"cannot load 'nobody/nothing'.* Expected a Hub id that can be reached"):
        load_rows("nobody/nothing", "test", columns=["a"])


def test_a_known_split_is_given_back():
    assert known_split("test", {"train": 1, "test": 2}, "rows") == "test"


def test_a_cell_as_text():
    assert [text(value) for value in ("a", 1, 2.5, None)] == ["a", "1", "2.5", ""]
    for value in (["a"], {"a": 1}):
        with pytest.raises(ValueError, match=f"a {type(value).__name__} stands where a text belongs .*; write a text"):
            text(value)
