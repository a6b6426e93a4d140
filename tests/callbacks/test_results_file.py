import json

import pytest

from mapo.callbacks.results_file import versions, write_results


def test_results_are_plain_json(tmp_path):
    path = write_results(tmp_path / "new", {"stage": "fit", "sets": {"grid": {"accuracy": float("nan")}}})
    assert path == tmp_path / "new" / "results.json"
    assert json.loads(path.read_text()) == {"stage": "fit", "sets": {"grid": {"accuracy": None}}}
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]


def test_a_later_fit_replaces_the_file_and_an_evaluation_does_not(tmp_path):
    write_results(tmp_path, {"stage": "test"})
    assert write_results(tmp_path, {"stage": "fit", "phases": 1}).name == "results.json"
    assert write_results(tmp_path, {"stage": "fit", "phases": 2}).name == "results.json"
    assert write_results(tmp_path, {"stage": "test"}).name == "results_test.json"
    assert json.loads((tmp_path / "results.json").read_text())["phases"] == 2


@pytest.mark.parametrize("content", ["", "[]", '{"other": 1}'])
def test_a_strange_file_of_that_name_is_no_obstacle(tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    assert write_results(tmp_path, {"stage": "validate"}).name == "results.json"


def test_a_failure_leaves_the_old_file_whole(tmp_path):
    path = write_results(tmp_path, {"stage": "fit", "phases": 1})
    with pytest.raises(TypeError):
        write_results(tmp_path, {"stage": "fit", "phases": object()})
    assert json.loads(path.read_text())["phases"] == 1


def test_versions_are_those_installed():
    import torch

    assert versions()["torch"] == torch.__version__
