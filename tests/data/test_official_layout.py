import json

import pytest
from hub_copies import place_picture, png

from mapo.data.official_layout import official_rows, picture, pictures
from mapo.data.rows import RowError


def test_rows_of_lists_objects_and_lines(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "list.json").write_text('[{"a": 1}, {"a": 2}]')
    (tmp_path / "data" / "object.json").write_text('{"9": {"a": 3}, "10": {"a": 4}}')
    (tmp_path / "data" / "lines.jsonl").write_text(json.dumps({"a": "one\u2028line"}, ensure_ascii=False) + "\n\n")
    found = {split: official_rows(str(tmp_path), split, columns=["a"]) for split in ("list", "object", "lines")}
    assert found == {"list": [{"a": 1}, {"a": 2}], "object": [{"a": 3}, {"a": 4}], "lines": [{"a": "one\u2028line"}]}


def test_a_split_is_read_from_parquet_where_that_lies_beside_it(tmp_path):
    for name in ("testmini.json", "testmini.parquet", "test.json"):
        (tmp_path / name).write_text('[{"a": 1}]')
    assert official_rows(str(tmp_path), "testmini", columns=["a"]) is None
    assert official_rows(str(tmp_path), "test", columns=["a"]) == [{"a": 1}]


def test_other_folders_are_left_to_others(tmp_path):
    (tmp_path / "dataset_dict.json").write_text("{}")
    (tmp_path / "dataset_infos.json").write_text("{}")
    (tmp_path / "query.json").write_text("{}")
    assert official_rows(str(tmp_path), "testmini", columns=[]) is None
    assert official_rows("nobody/nothing", "testmini", columns=[]) is None


def test_another_split_another_column_and_broken_json_are_named(tmp_path):
    (tmp_path / "test.json").write_text('[{"a": 1, "b": 2}, {"b": 3}, 4]')
    assert official_rows(str(tmp_path), "test", columns=["a"]) == [{"a": 1, "b": 2}, {"a": None, "b": 3}, 4]
    with pytest.raises(ValueError, match="has no split 'testmini'; its splits are test"):
        official_rows(str(tmp_path), "testmini", columns=["a"])
    with pytest.raises(ValueError, match=r"test\.json' has no column question; its columns are a, b\. Rename"):
        official_rows(str(tmp_path), "test", columns=["a", "question"])
    for broken, reason in (('"rows"', "holds a str, not a list of rows"), ("{", "is no JSON")):
        (tmp_path / "test.json").write_text(broken)
        with pytest.raises(ValueError, match=rf"test\.json {reason}"):
            official_rows(str(tmp_path), "test", columns=["a"])


@pytest.mark.parametrize("folder", ["", "images", "data", "data/images"])
def test_a_picture_is_found_where_archives_put_it(tmp_path, folder):
    place_picture(tmp_path / folder / "sub" / "1.png")
    assert picture(str(tmp_path), "7", "sub/1.png") == str(tmp_path / folder / "sub" / "1.png")


def test_a_picture_that_is_inside_the_row_is_kept():
    stored = {"bytes": png(), "path": "1.png"}
    assert picture("nobody/nothing", "7", stored) is stored


def test_one_picture_may_stand_without_a_list(tmp_path):
    place_picture(tmp_path / "a.png")
    place_picture(tmp_path / "b.png")
    files = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    assert pictures(str(tmp_path), "7", "a.png") == files[:1]
    assert pictures(str(tmp_path), "7", ["a.png", "b.png"]) == files
    for none in (None, [], "", [None]):
        with pytest.raises(RowError, match="row '7': it has no picture"):
            pictures(str(tmp_path), "7", none)


@pytest.mark.parametrize("image", [None, "", {"bytes": None, "path": None}])
def test_a_row_without_a_picture_is_refused(image):
    with pytest.raises(RowError, match="row '7': it has no picture"):
        picture("nobody/nothing", "7", image)


def test_a_missing_file_is_named_with_its_place(tmp_path):
    for image in ("images/1.jpg", {"bytes": None, "path": "images/1.jpg"}):
        with pytest.raises(RowError, match=rf"row '7': its picture {tmp_path}/images/1.jpg is missing.*unpack"):
            picture(str(tmp_path), "7", image)
