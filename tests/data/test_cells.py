import pytest

from mapo.data.cells import fields, present, texts, whole_number
from mapo.data.rows import RowError


def test_cells_of_the_right_type():
    row = {"options": [1, "two", None], "metadata": {"task": "counting"}, "precision": 2.0, "none": None}
    assert texts("7", row, "options") == ["1", "two", ""]
    assert fields("7", row, "metadata") == {"task": "counting"}
    assert whole_number("7", row, "precision") == 2
    assert (texts("7", row, "none"), fields("7", row, "none"), whole_number("7", row, "none")) == ([], {}, None)
    assert whole_number("7", {"precision": float("nan")}, "precision") is None


@pytest.mark.parametrize(
    ("read", "value", "reason"),
    [
        (texts, "A;B", "its cell is a str .'A;B'., not a list of texts"),
        (texts, {"A": 1}, "its cell is a dict"),
        (fields, "task", "its cell is a str .'task'., not an object of columns"),
        (whole_number, "one", "its cell is 'one', not a whole number"),
        (whole_number, 1.5, "its cell is 1.5, not a whole number"),
        (whole_number, float("inf"), "its cell is inf, not a whole number"),
    ],
)
def test_another_type_is_named_with_its_row(read, value, reason):
    with pytest.raises(RowError, match=f"row '7': {reason}"):
        read("7", {"cell": value}, "cell")


def test_present_columns_are_texts():
    assert present({"level": 4, "skills": ["a", 2], "grade": ""}, "level", "skills", "grade", "task") == {
        "level": "4",
        "skills": ["a", "2"],
    }
