"""`make ablation` at reduced length: it goes on where it was, and ends in a report."""

import importlib
import json
import re

import pytest
from documents import ROOT


@pytest.fixture
def ablation(monkeypatch, tmp_path, capsys):
    """Return a function that runs two methods for two phases, and what it printed."""
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    main = importlib.import_module("benchmarks.ablation").main

    def run(*arguments):
        main(["--methods", "grpo", "rloo", "--seeds", "1", "--phases", "2", "--questions", "4", *arguments])
        return capsys.readouterr().out

    return run


@pytest.mark.slow
def test_finished_runs_are_kept_interrupted_ones_continue_and_changed_ones_begin_anew(ablation, tmp_path):
    first = ablation("--jobs", "2")
    assert first.startswith("2 methods x 1 seeds, 2 phases each, on mapo_tiny_emotion: 0 runs are there, 2 to go")
    assert re.search(r"^2/2 \w+, seed 0: A_S .* %, A_T .* %, A .* % in \d+ s; 0 s left$", first, re.M)
    page = (tmp_path / "docs" / "ablation.md").read_text()
    assert "Difference to grpo" in page
    assert re.search(r"rloo (and grpo are not distinguishable|is (better|worse) than grpo)", page)
    assert (tmp_path / "docs" / "ablation_curves.png").is_file()

    folder = tmp_path / "runs" / "ablation" / "rloo" / "seed_0"
    before = json.loads((folder / "results.json").read_text())
    (folder / "results.json").unlink()  # as if the last thing it does had not come about
    second = ablation()
    assert "1 runs are there, 1 to go" in second
    after = json.loads((folder / "results.json").read_text())
    assert after["sets"] == before["sets"]
    assert "Restored all states from the checkpoint" in (folder / "output.log").read_text()

    changed = ["--methods", "rloo", "--seeds", "1", "--phases", "2", "--questions", "5"]
    module = importlib.import_module("benchmarks.ablation")
    (plan,) = module.plan_runs(module.parse(changed))
    assert not plan.finished
    assert not any(word.startswith("--ckpt_path") for word in plan.prepare())
    assert not (folder / "checkpoints").exists()


def test_files_that_set_the_same_are_run_once_under_both_names(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module("benchmarks.ablation")
    (tmp_path / "configs" / "algorithm").mkdir(parents=True)
    for name, group_size in (("first", 8), ("other", 4), ("same", 8)):
        (tmp_path / "configs" / "algorithm" / f"{name}.yaml").write_text(
            f"# {name}\nmodel: {{group_size: {group_size}}}\n"
        )
    plans = module.plan_runs(module.parse(["--seeds", "2"]))
    assert [(plan.method, plan.seed) for plan in plans] == [(m, s) for s in (0, 1) for m in ("first = same", "other")]


def test_a_run_of_another_package_begins_anew_and_one_under_other_documents_does_not(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT))
    module = importlib.import_module("benchmarks.ablation")
    package = tmp_path / "package"
    (package / "losses").mkdir(parents=True)
    (package / "losses" / "one.py").write_text("bound = 0.2\n")

    def plan():
        sources = module.digest_of_sources(package)
        return module.Plan("grpo", 0, tmp_path / "run", ("fit", "--seed_everything=0"), sources)

    plan().prepare()
    (tmp_path / "run" / "results.json").write_text('{"finished": true}')
    (package / "README.md").write_text("another commit")
    assert plan().finished
    (package / "losses" / "one.py").write_text("bound = 0.3\n")
    assert not plan().finished
