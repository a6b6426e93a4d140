from mapo.callbacks.own_table import own_table


def test_every_figure_has_a_line_with_the_modes_that_sets_have():
    sets = {"we_math": {"score": 0.5, "composite": 525.0, "score_greedy": 0.25}, "other": {"depth": 1 / 3}, "grid": {}}
    assert own_table(sets).splitlines() == [
        "set     | figure    | sampled | greedy",
        "--------+-----------+---------+-------",
        "we_math | score     |     0.5 |   0.25",
        "we_math | composite |     525 |      -",
        "other   | depth     |   0.333 |      -",
    ]


def test_without_such_figures_there_is_no_table():
    assert own_table({"grid": {}}) is None
