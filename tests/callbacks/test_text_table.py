import sys

import pytest

from mapo.callbacks.text_table import text_table

HEADER = ["set", "way", "first", "second", "third"]
ROWS = [["grid", "a", "1", "22", "333"], ["bars", "bb", "1", "2", "3"]]


def test_a_table_that_fits_is_one_block():
    assert text_table(HEADER, ROWS, keys=2, width=37).splitlines() == [
        "set  | way | first | second | third",
        "-----+-----+-------+--------+------",
        "grid | a   |     1 |     22 |   333",
        "bars | bb  |     1 |      2 |     3",
    ]


def test_a_table_that_is_too_wide_goes_on_below_with_its_keys():
    assert text_table(HEADER, ROWS, keys=2, width=34).splitlines() == [
        "set  | way | first | second",
        "-----+-----+-------+-------",
        "grid | a   |     1 |     22",
        "bars | bb  |     1 |      2",
        "",
        "set  | way | third",
        "-----+-----+------",
        "grid | a   |   333",
        "bars | bb  |     3",
    ]


@pytest.mark.parametrize(("columns", "blocks"), [("37", 1), ("34", 2)])
def test_a_table_is_as_wide_as_the_terminal(monkeypatch, columns, blocks):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", columns)
    assert text_table(HEADER, ROWS, keys=2).count("set ") == blocks


def test_without_a_terminal_a_line_has_120_characters(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    assert text_table(["set", "x" * 58, "y" * 50], [["grid", "1", "2"]]).count("set ") == 1
    assert text_table(["set", "x" * 58, "y" * 60], [["grid", "1", "2"]]).count("set ") == 2


def test_a_column_that_fits_nowhere_stands_alone_beside_the_keys():
    lines = text_table(["set", "x", "y"], [["grid", "1", "2" * 200]], width=20).splitlines()
    assert lines[0] == "set  | x"
    assert lines[-1] == f"grid | {'2' * 200}"


def test_a_table_of_keys_alone_is_still_a_table():
    assert text_table(["set"], [["grid"]]) == "set\n----\ngrid"
