"""``mapo compare`` as a user meets it."""

import json
import re

import numpy as np
import pytest
from command_line import invoke
from PIL import Image
from simulated_runs import write_run


@pytest.fixture
def folder(tmp_path):
    """Three methods of two seeds each."""
    rng = np.random.default_rng(0)
    for name, accuracy in (("ZScore", 0.5), ("LeaveOneOut", 0.55), ("Mine", 0.9)):
        for seed in range(2):
            sets = {kind: (rng.random(40) < accuracy).astype(float) for kind in ("in", "out_of_domain")}
            model = {"advantage": {"class_path": f"somewhere.{name}"}}
            write_run(tmp_path / "runs" / f"{name}_{seed}", {0: sets, 30: sets}, seed=seed, model=model)
    return tmp_path


def test_terminal_has_the_table_the_differences_and_a_sentence_for_each_pair(folder):
    outcome = invoke(folder, "compare", "runs", "--reference", "ZScore")
    assert outcome.code == 0, outcome.err
    assert re.search(r"^method +\| seeds \| +in \| +out_of_domain \| +A_S \| +A_T \| +A$", outcome.out, re.M)
    assert re.search(r"^ZScore +\| +2 \|", outcome.out, re.M)
    assert len(re.findall(r"^\w+ (?:and|is) .*(?:distinguishable|better|worse).*\.$", outcome.out, re.M)) == 3
    assert "rloo and" in outcome.out  # named after its YAML file
    assert outcome.out.rstrip().endswith("report  comparison/report.md")


def test_report_is_written_as_markdown_pictures_and_json(folder):
    invoke(folder, "compare", "runs", "--output", "out")
    page = (folder / "out" / "report.md").read_text()
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", page)
    assert pictures == ["report_differences.png", "report_curves.png"]
    for picture in pictures:
        with Image.open(folder / "out" / picture) as image:
            assert min(image.size) > 150
            assert len(image.convert("L").resize((100, 100)).getcolors()) > 10  # not an empty page
    found = json.loads((folder / "out" / "report.json").read_text())
    assert len(found["pairs"]) == 3
    assert all(pair["sentence"] in page for pair in found["pairs"])
    mine = found["methods"]["Mine"]
    assert mine["seeds"] == [0, 1]
    assert mine["accuracy"]["A"]["low"] < mine["accuracy"]["A"]["value"] < mine["accuracy"]["A"]["high"]
    assert list(mine["curves"]["A"]) == ["0", "30"]
    assert mine["budget"] == {"rollouts": 2880, "steps": 30, "tokens": 40000.0}


def test_one_method_alone_is_held_against_nothing(folder):
    outcome = invoke(folder, "compare", "runs/Mine_0", "runs/Mine_1")
    page = (folder / "comparison" / "report.md").read_text()
    assert re.search(r"^before training +\| +\|", outcome.out, re.M)
    assert re.search(r"^Mine +\| +2 \|", outcome.out, re.M)
    assert "Difference" not in outcome.out
    assert "Difference" not in page
    assert "paired" not in page


def test_row_before_training_is_called_after_its_method_unless_all_began_alike(folder):
    assert re.search(r"^before rloo +\| +\|", invoke(folder, "compare", "runs").out, re.M)
    for number, name in enumerate(("ZScore", "Mine")):
        sets = {0: {"in": np.array([1.0, 0.0])}, 30: {"in": np.array([1.0, float(number)])}}
        write_run(folder / "alike" / name, sets, model={"advantage": {"class_path": f"somewhere.{name}"}})
    assert re.search(r"^before training +\| +\|", invoke(folder, "compare", "alike").out, re.M)


def test_names_of_ones_own(folder):
    runs = ["runs/Mine_0", "runs/Mine_1"]
    outcome = invoke(folder, "compare", "runs/ZScore_0", "runs/ZScore_1", "--name", "our reward", *runs)
    assert re.search(r"^our reward +\|", outcome.out, re.M)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no runs are named"),
        (["nowhere"], "nowhere is no folder"),
        (["runs", "--mode", "both"], "argument --mode: invalid choice: 'both'"),
        (["runs", "--refrence", "a"], "unrecognized arguments: --refrence a"),
        (["runs", "--reference", "a"], "there is no method 'a'"),
        (["runs", "--name", "mine"], "--name mine: the folders of its runs are missing"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(folder, arguments, words):
    assert words in invoke(folder, "compare", *arguments).error


def test_more_methods_than_colours_are_drawn_one_by_one(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(7):
        model = {"advantage": {"class_path": f"somewhere.Method{number}"}}
        write_run(tmp_path / "runs" / str(number), {30: {"in": (rng.random(20) < 0.5).astype(float)}}, model=model)
    outcome = invoke(tmp_path, "compare", "runs")
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("distinguishable") + outcome.out.count(" than ") == 6  # with the reference alone
    with Image.open(tmp_path / "comparison" / "report_curves.png") as image:
        assert image.width > image.height
