"""A validation that was interrupted on two ranks goes on on one, and the other way round."""

import json

import pytest
import ranks

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_lm_path):
    """What was asked, and what came out, by run; a list over the ranks where there were two."""
    folder, path = tmp_path_factory.mktemp("validations"), str(tiny_lm_path)

    def alone(name, **arguments):
        return ranks.run(folder, {name: ("validated", {"path": path, **arguments})})[name]

    single = {"whole": alone("whole"), "cut on one": alone("cut on one", batches=4)}
    together = ranks.launch(
        folder,
        {
            "whole on two": ("validated", {"path": path}),
            "cut on two": ("validated", {"path": path, "batches": 2}),
            "on two": ("validated", {"path": path, "in_folder": str(folder / "cut on one")}),
        },
    )
    single["on one"] = alone("on one", in_folder=str(folder / "cut on two"))
    return folder, single | {name: [rank[name] for rank in together] for name in together[0]}


def asked(*parts):
    return sorted(row for part in parts for row in part["asked"])


def rows(folder):
    lines = [line for path in folder.glob("evaluation*.jsonl") for line in path.read_text().splitlines()]
    return sorted(map(json.loads, lines), key=lambda row: (row["set"], row["mode"], row["sample_id"], row["index"]))


@pytest.mark.parametrize(("cut", "num", "rest"), [("cut on two", 4, "on one"), ("cut on one", 7, "on two")])
def test_each_row_is_asked_once_and_the_figures_are_those_of_one_process(runs, cut, num, rest):
    base, by_name = runs
    before, after, whole = (as_list(by_name[name]) for name in (cut, rest, "whole"))
    assert len(asked(*before)) == 2 * num  # in two modes
    assert "val/far/accuracy" in whole[0]["figures"]
    assert asked(*before, *after) == asked(*whole)
    for rank in after:
        assert rank["figures"] == whole[0]["figures"]
    assert not (base / cut / ".unfinished").exists()


def as_list(run):
    return run if isinstance(run, list) else [run]


def test_two_ranks_end_with_the_answers_of_one(runs):
    base, by_name = runs
    assert asked(*by_name["whole on two"]) == asked(by_name["whole"])
    assert [rank["figures"] for rank in by_name["whole on two"]] == [by_name["whole"]["figures"]] * 2
    assert not (base / "whole on two" / ".unfinished").exists()
    assert rows(base / "whole on two") == rows(base / "whole")
