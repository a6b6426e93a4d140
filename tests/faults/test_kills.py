"""Runs that are killed at any moment and go on to the very weights and logs of a run that nothing disturbed.

The normal suite kills a few times; the thorough one fifty times more, at moments drawn at random.
"""

import random
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest
import torch
from forks import Moment, processes_of
from injection import THOROUGH, LossError

KILLS = 50
CONFIG = Path(__file__).with_name("run.yaml")
FIT = ("fit", "--config", str(CONFIG), "--ckpt_path", "last")

MODULE = "mapo.modules.mapo:MAPOModule"
# Where a run may be killed, and how often it comes by there.
PLACES = {
    "rollout": (f"{MODULE}.generate", 20),
    "reward": ("mapo.modules.mapo:score_completions", 6),
    "update": ("mapo.modules.whole_steps:WholeSteps.take_step", 6),
    "validation": (f"{MODULE}.validation_step", 12),
    "checkpoint written": ("mapo.modules.checkpoint_io:_put", 9),
    "checkpoint half written": ("bytes", 20_000_000),
    "log line": ("mapo.callbacks.json_lines:JsonLines.append", 20),
    "results": ("mapo.callbacks.summary:write_results", 2),
    "any": ("seconds", 4.0),
}
FEW = [
    Moment(f"{MODULE}.validation_step", 2),  # before there is any checkpoint
    Moment("bytes", 1_000_000),  # half of the first one
    Moment("mapo.modules.whole_steps:WholeSteps.take_step", 2, after=True),  # the weights have moved
    Moment("mapo.modules.checkpoint_io:_put", 1, after=True),  # saved, but not yet logged
    Moment("mapo.callbacks.json_lines:JsonLines.append", 2, after=True),
    Moment(f"{MODULE}.validation_step", 1, after=True),
]


@pytest.fixture(scope="module")
def undisturbed(forks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert forks.run(folder, *FIT) == 0, (folder / "output.txt").read_text()
    return folder


def last_run(folder: Path) -> Path:
    return max((folder / "runs" / "tiny").iterdir(), key=lambda path: int(path.name.removeprefix("version_")))


def final(folder: Path) -> dict:
    return torch.load(last_run(folder) / "checkpoints" / "last.ckpt", weights_only=True)


def events(folder: Path) -> list[tuple]:
    """Return tag, step and value of every scalar as the files have them, without what the clock says."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    found = []
    for path in sorted(last_run(folder).glob("events.out.tfevents.*")):
        for event in LegacyEventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.HasField("simple_value") or value.tag.startswith(("completions/", "images/")):
                    found.append((value.tag, event.step, value.simple_value))
    return found


def assert_same(mine, theirs, where="checkpoint"):
    if isinstance(theirs, dict):
        assert mine.keys() == theirs.keys(), where
        for key in theirs:
            assert_same(mine[key], theirs[key], f"{where}/{key}")
    elif isinstance(theirs, list | tuple):
        assert len(mine) == len(theirs), where
        for index, (here, there) in enumerate(zip(mine, theirs, strict=True)):
            assert_same(here, there, f"{where}/{index}")
    elif isinstance(theirs, torch.Tensor):
        assert torch.equal(mine, theirs), where
    else:
        assert mine == theirs, where


def assert_nothing_lost(folder: Path, undisturbed: Path) -> None:
    try:
        assert_same_run(folder, undisturbed)
    except AssertionError as error:
        raise LossError(str(error)) from error


def assert_same_run(folder: Path, undisturbed: Path) -> None:
    mine, theirs = final(folder), final(undisturbed)
    # Not "epoch": Lightning restores nothing from it, and counts one more where the last checkpoint is that of the end.
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        assert_same(mine[key], theirs[key], key)
    for name in ("completions.jsonl", "evaluation.jsonl"):
        assert (last_run(folder) / name).read_text() == (last_run(undisturbed) / name).read_text(), name
    logged, expected = events(folder), events(undisturbed)
    assert Counter(place[:2] for place in logged) == Counter(place[:2] for place in expected)
    values = [
        {
            (tag, step): value
            for tag, step, value in found
            if tag.startswith(("train/", "val/")) and "tokens_per" not in tag
        }
        for found in (logged, expected)
    ]
    assert values[0] == values[1]


def assert_nothing_left(folder: Path, shared_memory: set[str]) -> None:
    assert not [
        path.name for path in folder.rglob("*") if path.suffix in (".part", ".tmp") or path.name == ".unfinished"
    ]
    assert not [path.name for path in folder.rglob("stopped.ckpt")]
    assert not processes_of(folder)
    assert {path.name for path in Path("/dev/shm").iterdir()} <= shared_memory


def drawn(draw: random.Random) -> Moment:
    name = draw.choice(sorted(PLACES))
    function, most = PLACES[name]
    call = draw.uniform(0.3, most) if function == "seconds" else draw.randint(1, most)
    return Moment(function, call, after=draw.random() < 0.5)


@pytest.mark.slow
def test_killed_runs_go_on_as_if_nothing_had_happened(forks, undisturbed, tmp_path, inject):
    shared_memory = {path.name for path in Path("/dev/shm").iterdir()}
    with inject("kill -9, moments chosen", times=len(FEW)):
        codes = [forks.run(tmp_path, *FIT, moment=moment) for moment in FEW]
        assert codes == [-signal.SIGKILL] * len(FEW), (tmp_path / "output.txt").read_text()
        assert forks.run(tmp_path, *FIT) == 0, (tmp_path / "output.txt").read_text()
        assert_nothing_lost(tmp_path, undisturbed)
        assert_nothing_left(tmp_path, shared_memory)


@pytest.mark.slow
def test_sigterm_saves_and_leaves_with_code_0(forks, undisturbed, tmp_path, inject):
    with inject("SIGTERM", times=3):
        for call in (3, 1, 2):
            moment = Moment("mapo.modules.mapo:score_completions", call)
            assert forks.run(tmp_path, *FIT, moment=moment, sent=signal.SIGTERM) == 0
        said = (tmp_path / "output.txt").read_text()
        assert said.count("SIGTERM: everything is in") == 3
        assert forks.run(tmp_path, *FIT) == 0, said
        assert_nothing_lost(tmp_path, undisturbed)
        assert not list(tmp_path.rglob("stopped.ckpt"))


@pytest.mark.slow
@pytest.mark.skipif(not THOROUGH, reason="part of make test-faults")
@pytest.mark.parametrize("chain", range(KILLS // 5))
def test_runs_killed_at_random_moments(forks, undisturbed, tmp_path, inject, chain):
    draw = random.Random(chain)
    shared_memory = {path.name for path in Path("/dev/shm").iterdir()}
    with inject("kill -9, moments drawn at random", times=5):
        killed, moments = 0, []
        while killed < 5:
            moments.append(drawn(draw))
            code = forks.run(tmp_path, *FIT, moment=moments[-1])
            assert code in (0, -signal.SIGKILL), (moments, (tmp_path / "output.txt").read_text())
            killed += code == -signal.SIGKILL
            if code == 0:  # it was over before that moment came
                assert_nothing_lost(tmp_path, undisturbed)
                shutil.rmtree(tmp_path / "runs")
        assert forks.run(tmp_path, *FIT) == 0, (tmp_path / "output.txt").read_text()
        assert_nothing_lost(tmp_path, undisturbed)
        assert_nothing_left(tmp_path, shared_memory)
