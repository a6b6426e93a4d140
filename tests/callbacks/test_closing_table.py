from mapo.callbacks.closing_table import evaluation_table, fit_table, summary_table
from mapo.callbacks.timeline import Timeline


def answered(accuracy: float, suffix: str = "", **further: float) -> dict[str, float]:
    figures = {"accuracy": accuracy, "accuracy_low": accuracy - 0.05, "accuracy_high": accuracy + 0.05}
    figures |= {"num_samples_evaluated": 96.0, "truncated_share": 0.25, "failed_verdict_share": 0.0} | further
    return {f"{name}{suffix}": value for name, value in figures.items()}


def lines(sets, *components: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")] for line in evaluation_table(sets, components).splitlines()]


def test_a_set_has_a_line_for_each_way_in_which_it_was_answered():
    sampled = {"pass@1": 0.3, "pass@2": 0.4, "pass@12": 0.5, "maj@12": 0.35, "think_format": 0.9}
    both = answered(0.3, **sampled) | answered(0.6, "_greedy", think_format=1.0)
    assert lines({"grid": both, "bars": answered(0.5, "_greedy", think_format=0.0)}, "think_format") == [
        ["set", "answers", "rows", "accuracy (95 %)", "pass@n", "maj@n", "think_format", "truncated"],
        ["-----+------------+------+--------------------+--------+--------+--------------+----------"],
        ["grid", "12 sampled", "96", "30.0 % (25.0-35.0)", "50.0 %", "35.0 %", "90.0 %", "25.0 %"],
        ["grid", "greedy", "96", "60.0 % (55.0-65.0)", "-", "-", "100.0 %", "25.0 %"],
        ["bars", "greedy", "96", "50.0 % (45.0-55.0)", "-", "-", "0.0 %", "25.0 %"],
    ]


def test_bad_rows_and_failed_verdicts_stand_beside_the_accuracy_where_there_are_any():
    sets = {"grid": answered(0.5, num_bad_rows=2.0), "bars": answered(0.5, failed_verdict_share=0.125)}
    header, _, grid, bars = lines(sets)
    assert header == ["set", "answers", "rows", "bad", "accuracy (95 %)", "failed", "truncated"]
    assert (grid[2:4], grid[5]) == (["96", "2"], "-")
    assert (bars[2:4], bars[5]) == (["96", "-"], "12.5 %")


def test_a_usual_table_fits_a_terminal_of_120_columns():
    figures = answered(0.95, **{"pass@4": 1.0, "maj@4": 1.0, "think_format": 1.0})
    table = evaluation_table({"grid_rectangles_out_of_domain": figures}, ["think_format"])
    assert len(table.splitlines()) == 3
    assert max(map(len, table.splitlines())) <= 120


def test_a_module_that_samples_nothing_shows_its_loss():
    assert lines({"grid": {"loss": 1.5}})[2] == ["grid", "1.500"]


def test_a_set_without_an_accuracy_is_still_named():
    assert lines({"grid": {"num_samples_evaluated": 0.0}}) == [["set", "rows"], ["-----+-----"], ["grid", "0"]]


def test_the_summary_shows_the_modes_that_it_has():
    greedy = {name: {"accuracy_greedy": value} for name, value in (("A_S", 0.5), ("A_T", 0.25), ("A", 0.375))}
    assert [line.split("|")[-1].strip() for line in summary_table(greedy).splitlines()] == [
        "greedy",
        "-------------------+-------",
        "50.0 %",
        "25.0 %",
        "37.5 %",
    ]


def test_a_fit_shows_the_summary_below_its_sets():
    timeline, summary = Timeline(), Timeline()
    for phase, accuracy in ((0, 0.25), (20, 0.75)):
        timeline.read({"grid": {"accuracy": accuracy, "num_samples_evaluated": 8}}, phase)
        summary.read({"A": {"accuracy": accuracy / 2}}, phase)
    assert fit_table(timeline, summary).splitlines() == [
        "set             | sampled before -> after |   phase | rows",
        "----------------+-------------------------+---------+-----",
        "grid            |        25.0 % -> 75.0 % | 0 -> 20 |    8",
        "A, mean of both |        12.5 % -> 37.5 % | 0 -> 20 |    -",
    ]
