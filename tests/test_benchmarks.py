"""The benchmarks run at toy size, and what they compare is the same work."""

import importlib
import json
from importlib.util import find_spec

import pytest
import torch
from documents import ROOT

from mapo.policies.policy import Policy

needs_trl = pytest.mark.skipif(find_spec("trl") is None, reason="needs TRL: the extra `benchmarks`")


@pytest.fixture(autouse=True)
def root_on_path(monkeypatch):
    """As `python -m benchmarks....` from the root of the repository has it."""
    monkeypatch.syspath_prepend(str(ROOT))


def load(name: str):
    return importlib.import_module(f"benchmarks.{name}")


def toy_task(folder, kind: str, **kwargs):
    models, task = load("tiny_models"), load("task")
    size = models.SIZES["toy"]
    models.build_model(kind, size, folder)
    prompts = models.build_prompts(kind, tokens=24, num=6, vocabulary=size.vocabulary)
    return task.Task(folder, [prompts[0:2], prompts[2:4], prompts[4:6]], group_size=4, completion_tokens=5, **kwargs)


@pytest.mark.parametrize("kind", ["text", "vl"])
def test_prompts_have_exactly_the_tokens_asked_for(tmp_path, kind):
    task = toy_task(tmp_path, kind)
    renderer = Policy(path=str(tmp_path)).load_renderer()
    encoded = [renderer.encode(prompt) for phase in task.phases for prompt in phase]
    assert {len(prompt.input_ids) for prompt in encoded} == {24}
    assert len({tuple(prompt.input_ids.tolist()) for prompt in encoded}) == 6
    assert int(renderer.tokenizer.unk_token_id) not in torch.cat([prompt.input_ids for prompt in encoded])
    assert all(("pixel_values" in prompt.features) == (kind == "vl") for prompt in encoded)


@pytest.mark.parametrize("kind", ["text", "vl"])
def test_our_side_samples_every_token_and_counts_the_parts_of_its_step(tmp_path, kind):
    side = load("mapo_side").MapoSide(toy_task(tmp_path, kind))
    for _ in range(2):
        seconds = side.step()
        assert side.completion_tokens == 2 * 4 * 5
        assert seconds.keys() == {"step", "rollout", "update"}
        assert 0 < seconds["rollout"].cpu + seconds["update"].cpu <= seconds["step"].cpu
    side.close()


@needs_trl
@pytest.mark.parametrize("kind", ["text", "vl"])
def test_both_sides_take_the_same_gradient_from_the_same_completions(tmp_path, kind):
    agreement = load("agreement").check_agreement(toy_task(tmp_path, kind), load("tiny_models").SIZES["toy"].vocabulary)
    assert agreement.gradient_norm > 1e-3
    assert agreement.gradient_difference < 1e-5


@needs_trl
def test_sides_that_differ_are_refused(tmp_path, monkeypatch):
    ours = load("mapo_side")
    monkeypatch.setattr(ours, "STD_EPS", 0.5)
    with pytest.raises(RuntimeError, match="do not do the same work"):
        load("agreement").check_agreement(toy_task(tmp_path, "text"), load("tiny_models").SIZES["toy"].vocabulary)


@needs_trl
@pytest.mark.slow
def test_step_vs_trl_prints_one_table_and_writes_its_readings(tmp_path, capsys):
    file, cases = tmp_path / "result.json", ["text-p24-c5", "vl-p24-c5"]
    load("step_vs_trl").main(["--cases", *cases, "--pairs", "2", "--size", "toy", "--json", str(file)])
    header, _, *rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()]
    assert [row[0].strip() for row in rows] == [case for case in cases for _ in range(3)]
    assert {len(row) for row in rows} == {len(header)}
    result = json.loads(file.read_text())
    assert result.keys() >= {"date", "commit", "versions", "threads", "model", "num_prompts", "group_size"}
    for case in result["cases"]:
        steps = {side: [reading["step"]["cpu"] for reading in readings] for side, readings in case["rounds"].items()}
        assert {len(seconds) for seconds in steps.values()} == {2}
        ratios = [theirs / ours for theirs, ours in zip(steps["TRL as is"], steps["mapo"], strict=True)]
        assert case["ratios"]["TRL as is"]["step"]["cpu"] == pytest.approx(sum(ratios) / 2)


def test_a_case_is_read_from_its_name():
    pytest.importorskip("trl")
    parse = load("step_vs_trl").Case.parse
    assert parse("vl-p300-c64").prompt_tokens == 300
    with pytest.raises(ValueError, match="text-p256-c64"):
        parse("text-256")


def test_loops_take_turns_and_hand_over_their_errors():
    turns, seen = load("turns"), []

    def loop(pause) -> None:
        for number in range(3):
            pause()
            seen.append(number)
        raise OSError("the disk is full")

    taking = turns.Turns(loop)
    assert seen == []
    taking.step()
    taking.step()
    assert seen == [0, 1]
    with pytest.raises(OSError, match="disk"):
        taking.step()
    with pytest.raises(RuntimeError, match="no step left"):
        taking.step()


def test_a_loop_can_be_broken_off():
    turns, ended = load("turns"), []

    def loop(pause) -> None:
        try:
            while True:
                pause()
        finally:
            ended.append(True)

    taking = turns.Turns(loop)
    taking.step()
    taking.close()
    assert ended == [True]
    assert taking.finished


@pytest.mark.slow
def test_scaling_prints_one_table_of_how_steps_grow(tmp_path, capsys):
    file, groups, prompts = tmp_path / "result.json", ["text-p24-c5-g2", "text-p24-c5-g4"], ["text-p24-c5-g4"]
    arguments = ["--groups", *groups, "--prompts", *prompts, "--rounds", "2", "--size", "toy", "--json", str(file)]
    load("scaling").main(arguments)
    header, _, *rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()]
    assert [[cell.strip() for cell in row[:2]] for row in rows] == [["G", groups[0]], ["G", groups[1]], ["P", *prompts]]
    assert [[cell.strip() == "" for cell in row[5:]] for row in rows] == [[True] * 3, [False] * 3, [True] * 3]
    assert {len(row) for row in rows} == {len(header)}
    result = json.loads(file.read_text())
    assert result.keys() >= {"date", "commit", "versions", "threads", "model", "num_prompts"}
    small, large = ([reading["step"]["cpu"] for reading in result["rounds"][case]] for case in groups)
    ratios = [above / below for above, below in zip(large, small, strict=True)]
    assert result["growth"]["G"][" / ".join(groups[::-1])]["step"] == pytest.approx(sum(ratios) / 2)


def test_a_step_that_sampled_too_little_is_no_reading(tmp_path, monkeypatch):
    side = load("mapo_side").MapoSide(toy_task(tmp_path, "text"))
    monkeypatch.setattr(type(side), "completion_tokens", 39)
    with pytest.raises(RuntimeError, match="39 tokens were sampled, not 8 x 5"):
        load("scaling").take_step(side)
    side.close()


def test_the_table_of_coverage_has_the_cases_that_the_documents_show(capsys):
    load("interval_coverage").main(["--simulations", "2", "--replicates", "20"])
    printed = capsys.readouterr().out.strip().splitlines()
    shown = (ROOT / "docs" / "compare.md").read_text(encoding="utf-8").splitlines()
    head = shown.index(printed[0])
    assert [line.split("|")[1:3] for line in printed] == [line.split("|")[1:3] for line in shown[head:][: len(printed)]]
    assert shown[head + len(printed)] == ""


def test_intervals_of_one_run_are_found_to_miss_what_runs_differ_by():
    coverage = load("interval_coverage").coverage
    alike, apart = (coverage(1, spread, simulations=60, replicates=200) for spread in (0.0, 0.2))
    assert min(alike[:2]) > 0.85
    assert max(apart[:2]) < 0.7


@pytest.mark.slow
def test_the_cost_of_the_diagnostics_is_measured_in_a_real_run(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    whole = load("diagnostics_cost").MAPOModule.training_step
    small = ["--data.batch_size=2", "--model.group_size=4", "--data.num_eval=1"]
    found = load("diagnostics_cost").measure(4, tmp_path, *small)
    assert list(found) == ["a training step", "scalars after it", "three figures"]
    assert 0 < found["scalars after it"] < found["a training step"]
    assert load("diagnostics_cost").MAPOModule.training_step is whole
