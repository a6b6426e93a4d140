import json

import pytest

from mapo.data.json_file import json_lines, read_json


def test_lines_keep_their_number_and_what_is_wrong_with_them(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n[2]\r\n{"a": \n"\xff"\n')
    lines = json_lines(file)
    assert [(line.number, line.value) for line in lines] == [(1, {"a": 1}), (3, [2]), (4, None), (5, None)]
    assert [line.fault and line.fault.split()[0] for line in lines] == [None, None, "Expecting", "'utf-8'"]
    assert lines[2].fault == "Expecting value (column 7)"


def test_separators_inside_a_text_end_no_line(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({"a": "one\u2028line"}, ensure_ascii=False) + "\n{}\n", encoding="utf-8")
    assert read_json(file) == [{"a": "one\u2028line"}, {}]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b'{}\n{"a" 1}\n', r"line 2 of .*a\.jsonl is no JSON: Expecting ':' delimiter \(column 6\); mend"),
        ("a.json", b'{\n"a" 1}', r"a\.json is no JSON: Expecting ':' delimiter \(line 2, column 5\); mend it"),
        ("a.json", b"[" * 100_000, r"a\.json is no JSON: maximum recursion depth.*; mend it, or fetch it again"),
        ("a.jsonl", b"[" * 100_000, r"line 1 of .*a\.jsonl is no JSON: maximum recursion depth"),
        ("a.json", b'"\xff"', r"a\.json is no JSON: 'utf-8' codec .*; mend it, or fetch it again"),
    ],
)
def test_what_is_no_json_is_named_with_its_place(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_json(tmp_path / name)


def test_a_whole_file_is_one_value(tmp_path):
    (tmp_path / "a.json").write_text('{"b": [1]}')
    assert read_json(tmp_path / "a.json") == {"b": [1]}
