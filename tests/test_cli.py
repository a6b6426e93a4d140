"""The four commands, run for real on the built-in model, and how configurations combine."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from command_line import SHORT, invoke

from mapo.cli import differences, stored_hyperparameters

FIT = ["fit", "--config", "configs/mapo_tiny.yaml", *SHORT]
SETS = ["grid_rectangles", "grid_rectangles_out_of_domain", "grid_rectangles_hard"]


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished fit, and what it said."""
    folder = tmp_path_factory.mktemp("finished")
    outcome = invoke(folder, *FIT)
    assert outcome.code == 0, outcome.err
    return folder, outcome


def run_folder(folder: Path, version: int = 0) -> Path:
    return folder / "runs" / "mapo_tiny" / f"version_{version}"


# -- fit, validate, test, predict --------------------------------------------------------------------------------------


def test_fit_leaves_figures_completions_and_checkpoints(finished):
    folder, outcome = finished
    run = run_folder(folder)
    results = json.loads((run / "results.json").read_text())
    assert (results["finished"], results["phases"], list(results["sets"])) == (True, 2, SETS)
    accuracy = results["sets"]["grid_rectangles"]["accuracy"]
    assert (accuracy["before_phase"], accuracy["after_phase"]) == (0, 2)
    completions = rows(run / "completions.jsonl")
    assert len(completions) == 2 * 2 * 4
    assert results["tokens_sampled"] == sum(row["num_tokens"] for row in completions)
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"last.ckpt", "step-2.ckpt"}
    for words in ("Closing summary of fit", "grid_rectangles_hard", "results.json", "2/2 phases"):
        assert words in outcome.out


def test_fit_is_silent_about_what_nobody_can_act_on(finished):
    said = finished[1].out + finished[1].err + finished[1].log
    for noise in ("litlogger", "litmodels", "LeafSpec", "Loading weights", "LightningCLI's args"):
        assert noise not in said


def test_fit_writes_every_phase_to_tensorboard(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    steps = {}
    for file in run_folder(finished[0]).glob("events.out.tfevents.*"):
        events = EventAccumulator(str(file)).Reload()
        steps |= {name: [event.step for event in events.Scalars(name)] for name in events.Tags()["scalars"]}
    for name in ("train/reward", "train/accuracy", "train/policy_loss", "time/rollout_s", "train/reward/math_answer"):
        assert steps[name] == [0, 1]
    assert {f"val/{name}/accuracy_greedy" for name in SETS} <= set(steps)


def test_saved_configuration_repeats_the_run(finished):
    folder, _ = finished
    again = invoke(folder, "fit", "--config", str(run_folder(folder) / "config.yaml"), "--trainer.logger.version=9")
    assert again.code == 0, again.err
    first, second = (rows(run_folder(folder, version) / "completions.jsonl") for version in (0, 9))
    assert first == second


def test_validate_of_a_checkpoint_finds_the_figures_of_its_fit(finished):
    folder, _ = finished
    last = run_folder(folder) / "checkpoints" / "last.ckpt"
    options = [*FIT[1:], "--trainer.logger.name=validated", "--ckpt_path", str(last)]
    outcome = invoke(folder, "validate", *options)
    assert outcome.code == 0, outcome.err
    assert "Summary of validate" in outcome.out
    (found,) = (folder / "runs" / "validated").rglob("results*.json")
    validated, fitted = (json.loads(path.read_text())["sets"] for path in (found, run_folder(folder) / "results.json"))
    assert {name: {m: v["after"] for m, v in figures.items()} for name, figures in validated.items()} == {
        name: {m: v["after"] for m, v in figures.items()} for name, figures in fitted.items()
    }


def test_test_and_predict_keep_every_completion(finished):
    folder, _ = finished
    for command, file in (("test", "evaluation.jsonl"), ("predict", "predictions.jsonl")):
        outcome = invoke(folder, command, *FIT[1:], f"--trainer.logger.name={command}")
        assert outcome.code == 0, outcome.err
        (found,) = (folder / "runs" / command).rglob(file)
        kept = rows(found)
        assert {(row["stage"], row["set"], row["mode"]) for row in kept} == {
            (command, name, mode) for name in SETS for mode in ("sampled", "greedy")
        }
        assert len(kept) == 3 * 3 * 2
    assert outcome.out.endswith(f"predictions  {found.relative_to(folder)}\n")


@pytest.mark.slow
def test_a_second_run_into_the_same_folder_replaces_no_completions(finished):
    folder, _ = finished
    for _ in range(2):
        outcome = invoke(folder, *FIT, "--trainer.logger.name=same", "--trainer.logger.version=0")
        assert outcome.code == 0, outcome.err
    run = folder / "runs" / "same" / "version_0"
    assert rows(run / "completions.jsonl") == rows(run / "completions.1.jsonl")


def test_a_fit_without_logger_or_validation_runs(finished, tmp_path):
    outcome = invoke(
        tmp_path, *FIT, "--trainer.logger=false", "--trainer.limit_val_batches=0", "--trainer.callbacks=null"
    )
    assert outcome.code == 0, outcome.err
    assert "No validation ran" in outcome.out


# -- resuming ----------------------------------------------------------------------------------------------------------


def test_resumed_run_goes_on_with_what_the_command_line_says(tmp_path):
    # Arguments of the first file's saver stay where this one has none of its own.
    often = {"monitor": None, "save_last": False, "every_n_train_steps": 2, "save_top_k": -1}
    saver = {"class_path": "ModelCheckpoint", "init_args": often}
    limits = {"limit_train_batches": 1.0, "val_check_interval": 4, "limit_val_batches": 0, "callbacks": [saver]}
    (tmp_path / "whole_epoch.yaml").write_text(yaml.safe_dump({"trainer": limits}))
    fit = [*FIT[:3], *SHORT[2:], "--config", "whole_epoch.yaml"]
    first = invoke(tmp_path, *fit, "--trainer.max_steps=2")
    assert first.code == 0, first.err
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    rest = invoke(tmp_path, *fit, "--ckpt_path", str(checkpoint), "--model.gradient_clip_norm=0.5")
    assert rest.code == 0, rest.err
    assert "model.gradient_clip_norm was 1.0 in the checkpoint, is 0.5 now" in rest.log
    continued = run_folder(tmp_path)  # the checkpoint is its newest
    assert [row["phase"] for row in rows(continued / "completions.jsonl")] == sorted([0, 1, 2, 3] * 8)
    assert rest.log.count("in the checkpoint, is") == 1  # all else is as it was
    assert not run_folder(tmp_path, 1).exists()
    state = torch.load(continued / "checkpoints" / "step-4.ckpt", weights_only=True)
    assert (state["global_step"], state["hyper_parameters"]["gradient_clip_norm"]) == (4, 0.5)


def test_an_older_checkpoint_is_a_branch_with_logs_of_its_own(finished, tmp_path):
    folder = shutil.copytree(finished[0] / "runs", tmp_path / "runs").parent
    checkpoints = run_folder(folder) / "checkpoints"
    shutil.copyfile(checkpoints / "last.ckpt", checkpoints / "newer.ckpt")
    before = (run_folder(folder) / "completions.jsonl").read_bytes()
    runs = set(run_folder(folder).parent.iterdir())
    options = ["--ckpt_path", str(checkpoints / "last.ckpt"), "--trainer.limit_train_batches=4"]
    outcome = invoke(folder, *FIT, *options, "--trainer.limit_val_batches=0", "--trainer.callbacks=null")
    assert outcome.code == 0, outcome.err
    assert "is not the newest checkpoint of its run (newer.ckpt is)" in outcome.log
    assert (run_folder(folder) / "completions.jsonl").read_bytes() == before
    assert len(set(run_folder(folder).parent.iterdir()) - runs) == 1


def test_last_means_a_new_run_only_where_a_fit_begins(tmp_path):
    outcome = invoke(tmp_path, *FIT, "--ckpt_path", "last", "--plan=true")
    assert outcome.code == 0, outcome.err
    assert "no whole checkpoint" in invoke(tmp_path, "validate", *FIT[1:], "--ckpt_path", "last").error


def test_what_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        stored_hyperparameters(str(tmp_path / "none.ckpt"))
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    with pytest.raises(ValueError, match=r"text\.ckpt is damaged"):
        stored_hyperparameters(str(tmp_path / "text.ckpt"))
    assert stored_hyperparameters("last") == {}
    assert stored_hyperparameters(str(tmp_path)) == {}  # a sharded one


def test_differences_name_nested_arguments_and_skip_what_is_new():
    stored = {"advantage": {"class_path": "A", "init_args": {"ddof": 0}}, "seed": 1, "_instantiator": "x"}
    given = {"advantage": {"class_path": "A", "init_args": {"ddof": 1, "eps": 0.1}}, "seed": 1, "new": 3}
    assert differences(stored, given) == ["model.advantage.init_args.ddof was 0 in the checkpoint, is 1 now"]


# -- configurations ----------------------------------------------------------------------------------------------------


def printed(folder: Path, *arguments: str) -> dict:
    outcome = invoke(folder, *arguments, "--print_config")
    assert outcome.code == 0, outcome.err
    return yaml.safe_load(outcome.out)


def test_later_files_win_and_options_win_over_files(tmp_path):
    (tmp_path / "second.yaml").write_text("model: {group_size: 6, kl_coef: 0.5}\ndata: {init_args: {batch_size: 4}}\n")
    two = printed(tmp_path, *FIT[:3], "--config", "second.yaml", "--model.kl_coef=0.25", "--seed_everything=7")
    assert (two["model"]["group_size"], two["model"]["kl_coef"], two["seed_everything"]) == (6, 0.25, 7)
    assert two["data"]["class_path"] == "mapo.data.grid_rectangles.GridRectangles"  # the first file's
    assert two["data"]["init_args"]["batch_size"] == 4
    assert two["model"]["rewards"][0]["init_args"]["weight"] == 0.9


def test_printed_configuration_parses_to_itself(tmp_path):
    outcome = invoke(tmp_path, *FIT, "--config", "configs/algorithm/rloo.yaml", "--print_config")
    (tmp_path / "whole.yaml").write_text(outcome.out)
    assert printed(tmp_path, "fit", "--config", "whole.yaml") == yaml.safe_load(outcome.out)


def test_components_go_by_their_class_names(tmp_path):
    options = ["--data", "PlaneFigures", "--model.advantage", "ZScore", "--model.advantage.ddof=1"]
    config = printed(
        tmp_path, *FIT[:3], *options, "--model.rewards+=LengthCredit", "--model.rollout", "TransformersEngine"
    )
    assert config["data"]["class_path"] == "mapo.data.plane_figures.PlaneFigures"
    assert config["model"]["advantage"]["class_path"] == "mapo.advantages.z_score.ZScore"
    assert config["model"]["advantage"]["init_args"]["ddof"] == 1
    names = [reward["class_path"].rpartition(".")[2] for reward in config["model"]["rewards"]]
    assert names == ["MathAnswer", "ThinkFormat", "LengthCredit"]


@pytest.mark.parametrize("method", ["mapo", "grpo", "dr_grpo", "rloo", "apd"])
def test_every_method_trains_by_one_more_config(tmp_path, method):
    options = ["--config", f"configs/algorithm/{method}.yaml", "--trainer.limit_val_batches=0"]
    outcome = invoke(tmp_path, *FIT[:3], *options, *FIT[3:], "--trainer.callbacks=null")
    assert outcome.code == 0, outcome.err
    run = run_folder(tmp_path)
    assert json.loads((run / "results.json").read_text())["phases"] == 2
    assert any(row["advantage"] for row in rows(run / "completions.jsonl"))


# -- help --------------------------------------------------------------------------------------------------------------


def test_help_of_fit_shows_arguments_in_their_authors_words(tmp_path):
    outcome = invoke(tmp_path, "fit", "--help")
    assert outcome.code == 0
    for words in ("G, completions per prompt", "--plan", "`--model.group_size 8`", "mapo.advantages.z_score.ZScore"):
        assert words in outcome.out


@pytest.mark.parametrize(
    ("option", "name", "words"),
    [
        ("--model.advantage.help", "MixedAdvantage", "the defaults are the paper's"),
        ("--model.loss.help", "ClippedPolicyLoss", "--model.loss.clip_high"),
        ("--data.help", "GSM8K", "jsonl files named after their splits"),
    ],
)
def test_help_of_a_component_explains_its_arguments(tmp_path, option, name, words):
    outcome = invoke(tmp_path, "fit", option, name)
    assert outcome.code == 0
    assert words in " ".join(outcome.out.split())
    assert "__main__" not in outcome.out


def test_commands_that_need_no_lightning_answer_in_words(tmp_path):
    assert invoke(tmp_path, "--version").out == "mapo 0.1.0\n"
    assert "examples:" in invoke(tmp_path, "--help").out
    nothing = invoke(tmp_path)
    assert (nothing.code, "commands:" in nothing.out) == (2, True)


def test_working_folder_is_searched_for_classes(tmp_path):
    assert str(tmp_path) not in sys.path
    (tmp_path / "beside_the_configs.py").write_text(
        "from dataclasses import dataclass\nfrom mapo.advantages.z_score import ZScore\n\n\n"
        "@dataclass(frozen=True)\nclass Own(ZScore):\n    pass\n"
    )
    config = printed(tmp_path, *FIT[:3], "--model.advantage", "beside_the_configs.Own")
    assert config["model"]["advantage"]["class_path"] == "beside_the_configs.Own"
