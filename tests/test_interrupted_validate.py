"""A `validate` that is killed half-way and started again ends as one that was not."""

import json
import os
import subprocess
import sys

import pytest
from command_line import CONFIGS, invoke

pytestmark = pytest.mark.slow

# Notes what it is asked, and sends its own process a signal in the third batch, when greedy answers are to be scored.
WATCH = """
import os
import signal

CALLS = 0


def watch(completions, sample_id):
    global CALLS
    CALLS += 1
    with open("asked.txt", "a") as file:
        file.write(f"{len(completions) // len(set(sample_id))} {' '.join(dict.fromkeys(sample_id))}\\n")
    if "STOP_BY" in os.environ and CALLS == 6:
        os.kill(os.getpid(), getattr(signal, os.environ["STOP_BY"]))
    return [1.0] * len(completions)
"""
CONFIG = """
model:
  rewards+: [{class_path: FunctionReward, init_args: {function: watch.watch, weight: 0.0}}]
  evaluation: {num_samples: 3}
data: {num_eval: 9, eval_batch_size: 4}
"""
COMMAND = ("validate", "--config", "configs/mapo_tiny.yaml", "--config", "watch.yaml")


def prepare(folder):
    (folder / "watch.py").write_text(WATCH)
    (folder / "watch.yaml").write_text(CONFIG)
    (folder / "configs").symlink_to(CONFIGS)
    return folder


def finish(folder):
    """Run to the end in this process."""
    sys.modules.pop("watch", None)
    outcome = invoke(folder, *COMMAND)
    sys.modules.pop("watch", None)
    assert outcome.code == 0, outcome.err
    return outcome


def asked(folder):
    """Return every (samples per prompt, sample id) that was scored."""
    lines = [line.split() for line in (folder / "asked.txt").read_text().splitlines()]
    return [(num, sample_id) for num, *sample_ids in lines for sample_id in sample_ids]


def latest(folder, name):
    return max(folder.glob(f"runs/mapo_tiny/version_*/{name}")).read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = prepare(tmp_path_factory.mktemp("whole"))
    finish(folder)
    return folder


@pytest.mark.parametrize(("signal", "code"), [("SIGKILL", -9), ("SIGINT", 130), ("SIGTERM", 0)])
def test_killed_half_way_and_started_again_it_ends_with_the_same_files(whole, tmp_path, signal, code):
    folder = prepare(tmp_path)
    environment = os.environ | {"STOP_BY": signal, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "mapo", *COMMAND]
    killed = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert killed.returncode == code, killed.stderr[-3000:]
    assert not list(folder.glob("runs/mapo_tiny/*/results*.json"))
    before = asked(folder)
    if signal != "SIGKILL":
        assert "validate was broken off; its answers so far are in runs/.unfinished/" in killed.stderr
    outcome = finish(folder)
    assert "continuing an interrupted validate: " in outcome.log
    # The answers that were being scored are sampled again: those of the one row of the third batch.
    lost = len(before) + len(asked(folder)[len(before) :]) - len(asked(whole))
    assert lost == (0 if signal == "SIGTERM" else 1)
    assert set(asked(folder)) == set(asked(whole))
    assert latest(folder, "evaluation.jsonl") == latest(whole, "evaluation.jsonl")
    assert json.loads(latest(folder, "results.json")) == json.loads(latest(whole, "results.json"))
    assert not (folder / "runs" / ".unfinished").exists()
