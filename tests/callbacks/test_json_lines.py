import json
import resource

import pytest

from mapo.callbacks.json_lines import Cursor, JsonLines


def test_rows_are_written_through(tmp_path):
    file = JsonLines(tmp_path / "new" / "rows.jsonl")
    file.append([{"text": "zwei\n\u2028数"}, {"n": 1}])
    file.append([])
    lines = file.path.read_bytes().split(b"\n")
    assert [json.loads(line) for line in lines[:-1]] == [{"text": "zwei\n\u2028数"}, {"n": 1}]
    assert file.cursor.size == file.path.stat().st_size


def test_a_lone_surrogate_survives(tmp_path):
    file = JsonLines(tmp_path / "rows.jsonl")
    file.append([{"text": "a\ud800b"}])
    assert json.loads(file.path.read_text(encoding="utf-8"))["text"] == "a\ud800b"


def test_a_full_disk_is_named_and_leaves_whole_lines(tmp_path):
    file = JsonLines(tmp_path / "rows.jsonl")
    file.append([{"n": 0}])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))
    try:
        with pytest.raises(ValueError, match=r"rows.jsonl cannot be written: File too large. .*--ckpt_path last"):
            file.append([{"text": "long" * 10}])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert file.path.read_text() == '{"n": 0}\n'
    file.append([{"n": 1}])
    assert file.path.read_text() == '{"n": 0}\n{"n": 1}\n'


def test_a_number_that_json_lacks_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        JsonLines(tmp_path / "rows.jsonl").append([{"x": float("nan")}])


def test_a_file_is_cut_back_to_its_cursor_and_continued(tmp_path):
    path = tmp_path / "rows.jsonl"
    first = JsonLines(path)
    first.append([{"n": 0}])
    cursor = first.cursor
    first.append([{"n": 1}, {"n": 2}])

    again = JsonLines(path, cursor)
    assert path.read_text() == '{"n": 0}\n'
    again.append([{"n": 3}])
    assert path.read_text() == '{"n": 0}\n{"n": 3}\n'
    assert JsonLines(path, again.cursor).cursor == again.cursor  # twice in a row


@pytest.mark.parametrize("cursor", [None, Cursor(), Cursor(5, 1), Cursor(1000, 1)])
def test_a_file_that_is_not_the_cursors_is_kept_under_a_number(tmp_path, cursor):
    path = tmp_path / "rows.jsonl"
    for number in range(2):
        path.write_text(f'{{"run": {number}}}\n')
        JsonLines(path, cursor).append([{"run": "mine"}])
    assert path.read_text() == '{"run": "mine"}\n'
    assert (tmp_path / "rows.1.jsonl").read_text() == '{"run": 0}\n'
    assert (tmp_path / "rows.2.jsonl").read_text() == '{"run": 1}\n'


def test_every_reader_of_lines_finds_one_line_per_row(tmp_path):
    file, text = JsonLines(tmp_path / "rows.jsonl"), "a\u2028b\u2029c\x85d\x9b31me\x7f"
    file.append([{"text": text}])
    (line,) = file.path.read_text(encoding="utf-8").splitlines()
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["text"] == text
