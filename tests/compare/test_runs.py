"""What is read from a run's folder is what the run found out."""

import json

import numpy as np
import pytest
from simulated_runs import write_run

from mapo.compare.runs import find_runs, read_run

HALF = np.array([1.0, 0.0, 1.0, 0.0])


def add_rows(folder, *rows, name="evaluation.jsonl", **common):
    usual = {"stage": "val", "set": "in", "mode": "sampled", "phase": 30, "answer": "1", "index": 0}
    with (folder / name).open("a") as file:
        file.writelines(json.dumps(usual | common | row) + "\n" for row in rows)


def test_accuracy_of_every_question_at_every_evaluation(tmp_path):
    run = read_run(write_run(tmp_path / "run", {0: {"in": 1 - HALF}, 30: {"in": HALF}}, seed=3))
    assert (run.seed, run.phases("val", "sampled"), run.last_phase("val", "sampled")) == (3, [0, 30], 30)
    assert run.evaluation("val", "sampled", 30)["in"].accuracy.tolist() == HALF.tolist()
    assert run.evaluation("val", "sampled", 0)["in"].accuracy.tolist() == (1 - HALF).tolist()


def test_several_completions_of_a_question_are_averaged_and_a_failed_verdict_is_wrong(tmp_path):
    folder = write_run(tmp_path / "run", {30: {"out": HALF}})
    rows = [{"sample_id": "a", "index": i, "accuracy": accuracy} for i, accuracy in enumerate((1.0, 0.0, None, 1.0))]
    add_rows(folder, *rows)
    assert read_run(folder).evaluation("val", "sampled", 30)["in"].accuracy.tolist() == [0.5]


def test_files_of_all_ranks_are_one_evaluation_and_files_of_other_runs_are_left_alone(tmp_path):
    folder = write_run(tmp_path / "run", {30: {"out": HALF}})
    add_rows(folder, {"sample_id": "a", "accuracy": 1.0}, name="evaluation.rank0.jsonl")
    add_rows(folder, {"sample_id": "b", "accuracy": 0.0}, name="evaluation.rank1.jsonl")
    add_rows(folder, {"sample_id": "c", "accuracy": 0.0}, name="evaluation.1.jsonl")
    assert list(read_run(folder).evaluation("val", "sampled", 30)["in"].right) == ["a", "b"]


def test_rows_that_could_not_be_asked_count_as_wrong(tmp_path):
    sets = {"in": {"accuracy": {"after": 0.4, "after_phase": 30, "before": None}}}
    results = {"sets": sets, "bad_rows": {"in": {"no picture": "missing"}}}
    run = read_run(write_run(tmp_path / "run", {30: {"in": HALF}}, results=results))
    assert run.evaluation("val", "sampled", 30)["in"].accuracy.mean() == pytest.approx(0.4)


def test_of_a_repeated_evaluation_the_later_counts(tmp_path):
    folder = write_run(tmp_path / "run", {30: {"in": HALF}})
    add_rows(folder, *({"sample_id": f"in/{i}", "accuracy": 1 - value} for i, value in enumerate(HALF)))
    assert read_run(folder).evaluation("val", "sampled", 30)["in"].accuracy.tolist() == (1 - HALF).tolist()


def test_an_evaluation_that_was_broken_off_is_not_the_last(tmp_path):
    folder = write_run(tmp_path / "run", {15: {"in": HALF}}, results={"finished": False})
    add_rows(folder, {"sample_id": "in/0", "accuracy": 1.0})
    assert read_run(folder).last_phase("val", "sampled") == 15


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "config.yaml").unlink(), "neither config.yaml nor hparams.yaml"),
        (lambda folder: (folder / "results.json").write_text("[1, 2"), "no results.json of this package"),
        (lambda folder: (folder / "evaluation.jsonl").write_text('{"stage": '), "line 1: no JSON"),
        (lambda folder: add_rows(folder, {"sample_id": "new", "accuracy": 1.0}), "0.5000 in results.json, 0.6000 by"),
    ],
)
def test_what_is_broken_is_named(tmp_path, change, words):
    folder = write_run(tmp_path / "run", {30: {"in": HALF}})
    change(folder)
    with pytest.raises(ValueError, match=words):
        read_run(folder)


def test_settings_of_a_run_put_together_in_python_are_those_of_its_module(tmp_path):
    folder = write_run(tmp_path / "run", {30: {"in": HALF}})
    (folder / "config.yaml").unlink()
    (folder / "hparams.yaml").write_text("group_size: 7\n")
    assert read_run(folder).model == {"group_size": 7}


def test_runs_are_found_below_a_folder_and_once(tmp_path):
    folders = [write_run(tmp_path / "a" / f"version_{i}", {30: {"in": HALF}}) for i in range(2)]
    (tmp_path / "a" / "version_2").mkdir()
    assert find_runs([tmp_path, folders[1]]) == folders


def test_folders_without_a_finished_run_say_what_is_missing(tmp_path):
    folder = write_run(tmp_path / "run", {30: {"in": HALF}})
    (folder / "results.json").unlink()
    with pytest.raises(ValueError, match=r"results.json \(.*run has not come to its end\)"):
        find_runs([tmp_path])
    (folder / "evaluation.jsonl").unlink()
    with pytest.raises(ValueError, match=r"there is no evaluation\.jsonl"):
        find_runs([tmp_path])
    with pytest.raises(ValueError, match="is no folder"):
        find_runs([tmp_path / "elsewhere"])
