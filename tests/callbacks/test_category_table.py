from mapo.callbacks.category_table import category_table


def test_accuracies_of_both_modes_stand_beside_the_number_of_rows():
    found = {
        "accuracy": 0.5,
        "accuracy/level/1": 0.75,
        "num_samples/level/1": 4.0,
        "accuracy/level/2": 0.25,
        "num_samples/level/2": 12.0,
        "accuracy_greedy/level/1": 1.0,
        "accuracy_greedy/level/2": 0.5,
    }
    assert category_table({"grid": found, "bars": {"accuracy": 1.0}}).splitlines()[2:] == [
        "grid | level    | 1     |    4 |  75.0 % | 100.0 %",
        "grid | level    | 2     |   12 |  25.0 % |  50.0 %",
    ]


def test_a_large_set_shows_its_smallest_categories_and_counts_the_rest():
    subjects = {f"accuracy/subject/s{i:02}": 0.5 for i in range(16)}
    levels = {f"accuracy/type/t{i}": 0.5 for i in range(3)}
    lines = category_table({"grid": subjects | levels}).splitlines()
    assert [line.split(" | ")[1].strip() for line in lines[2:14]] == ["type"] * 3 + ["subject"] * 9
    assert lines[14:] == ["7 more of grid in results.json"]


def test_a_value_may_hold_slashes_and_long_ones_are_cut():
    values = {"accuracy/kind/text/vision": 0.5, f"accuracy/kind/{'x' * 60}": 0.5}
    cells = [line.split(" | ")[2].strip() for line in category_table({"grid": values}).splitlines()[2:]]
    assert cells == ["text/vision", "x" * 39 + "…"]


def test_a_category_with_one_value_says_nothing_new():
    assert category_table({"grid": {"accuracy/kind/bars": 0.5}, "bars": {}}) is None
