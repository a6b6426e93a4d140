import pytest

from mapo.rewards.structure import is_name, listing, matrix, relation, split_outside


@pytest.mark.parametrize(
    ("text", "opening", "parts"),
    [
        ("1, 2", "", ["1", "2"]),
        ("(1, 2, 3)", "(", ["1", "2", "3"]),
        (r"[0, \infty)", "[", ["0", r"\infty"]),
        (r"\{1, \{2, 3\}\}", r"\{", ["1", r"\{2, 3\}"]),
        (r"\{5\}", r"\{", ["5"]),
        ("{1, 3}", r"\{", ["1", "3"]),
        ("(1, 2), (3, 4)", "", ["(1, 2)", "(3, 4)"]),
        ("1, 2, and 3", "", ["1", "2", "3"]),
        (r"x = 1 \text{ or } x = 2", "", ["x = 1", "x = 2"]),
        (r"1 \pm \sqrt{2}", "", [r"1 + \sqrt{2}", r"1 - \sqrt{2}"]),
        ("10,000, 20,000", "", ["10,000", "20,000"]),
        ("(10,000)", "(", ["10", "000"]),
        (r"\frac{1}{2}, f(1, 2)", "", [r"\frac{1}{2}", "f(1, 2)"]),
    ],
)
def test_lists_are_split_outside_of_brackets(text, opening, parts):
    found = listing(text)
    assert found is not None
    assert (found.opening, found.parts) == (opening, parts)


@pytest.mark.parametrize(
    "text",
    ["", "5", "10,000", "x = 1,234,567", "10,000 cm", "(x+1)(x-1)", "(5)", "{5}", r"\frac{1}{2}", ",", "sand"],
)
def test_single_values_are_no_lists(text):
    assert listing(text) is None


def test_order_counts_in_tuples_and_intervals_only():
    assert listing("(1, 2)").is_ordered
    assert listing("[1, 2)").is_ordered
    assert not listing(r"\{1, 2\}").is_ordered
    assert not listing("1, 2").is_ordered


@pytest.mark.parametrize("name", ["pmatrix", "bmatrix", "Bmatrix", "smallmatrix"])
def test_the_cells_of_a_matrix_are_read(name):
    assert matrix(rf"\begin{{{name}}} 1 & \frac{{1}}{{2}} \\ a & b \\ \end{{{name}}}") == [
        ["1", r"\frac{1}{2}"],
        ["a", "b"],
    ]


def test_an_array_in_brackets_is_a_matrix_and_a_determinant_is_none():
    assert matrix(r"[\begin{array}{cc} 1 & 2 \end{array}]") == [["1", "2"]]
    assert matrix(r"\begin{vmatrix} 1 & 2 \\ 3 & 4 \end{vmatrix}") is None


@pytest.mark.parametrize(
    ("text", "sides"),
    [
        ("x = 5", ("x", "5")),
        ("a = b = 5", ("a", "5")),
        (r"x \in [-2,7]", ("x", "[-2,7]")),
        ("domain: (0, 1)", ("domain", "(0, 1)")),
        ("3:2", None),
        ("x < 2", None),
        (r"\sum_{k=1} k", None),
    ],
)
def test_both_sides_of_a_relation(text, sides):
    assert relation(text) == sides


@pytest.mark.parametrize(
    "text", ["x", "x_1", "x_{12}", "f(x)", "f^{-1}(x)", "(x, y)", r"m\angle ABC", "S.A.", "Area of it"]
)
def test_what_only_names_a_value(text):
    assert is_name(text)


@pytest.mark.parametrize("text", ["2x", "x + 1", "x^2", r"\frac{x}{2}", "5", "a" * 61])
def test_what_is_more_than_a_name(text):
    assert not is_name(text)


def test_splitting_is_linear_and_survives_unbalanced_brackets():
    assert split_outside("(" * 100_000 + "1,2", {","}) == ["(" * 100_000 + "1,2"]
    assert split_outside(")1,2", {","}) == [")1,2"]
