"""What a user may get wrong on the command line: one line that names it, and an exit code that is not 0.

The normal suite makes a few of these mistakes, the thorough one all; ``tests/test_bad_input.py`` makes others.
"""

import pytest
from command_line import SHORT, invoke
from injection import THOROUGH

TINY = ["--config", "configs/mapo_tiny.yaml"]
FIT = ["fit", *TINY, *SHORT]
ROWS = ["fit", *TINY, "--data", "JSONL", "--data.batch_size=1", '--data.evaluation={"own": "rows.jsonl"}']
SUPERVISED = ["supervised", "fit", "--config", "configs/warm_start_tiny.yaml"]

OWN = """
from mapo.rewards.base import Reward

class Own(Reward):
    weight, required_for_success, is_accuracy = 1.0, True, True

class Faulty(Own):
    def __call__(self, completions):
        return {}["gold"]

class Broken(Faulty):
    def __init__(self):
        raise KeyError("gold")

class Few(Own):
    def __call__(self, completions):
        return [1.0]

class Large(Own):
    def __call__(self, completions):
        raise MemoryError

class Interrupted(Own):
    def __call__(self, completions):
        raise KeyboardInterrupt
"""
FILES = {
    "own.py": OWN,
    "no_python.py": "def f(:",
    "lacking.py": "import a_package_that_is_not_installed",
    "rows.jsonl": '{"question": "1+1?", "answer": "2"}',
    "half.jsonl": '{"question": "1+1?", "answer": "2"}\n{"question": ',
    "other.jsonl": '{"frage": "1+1?", "answer": "2"}',
    "empty.jsonl": "",
    "empty.yaml": "",
    "list.yaml": "- model",
    "tab.yaml": "model:\n\tgroup_size: 8",
}


def reward(name: str) -> list[str]:
    return [*FIT, "--model.rewards", f'[{{"class_path": "{name}"}}]']


# The first ones are made in the normal suite as well.
MISTAKES = {
    "no prompts in a batch": ([*FIT, "--data.batch_size=0"], "batch_size must be >= 1, got 0"),
    "a negative learning rate": (
        [*FIT, "--model.optimizer.init_args.lr=-1"],
        "model.optimizer cannot be made: Invalid learning rate: -1.0",
    ),
    "a module of one's own that is no Python": (reward("no_python.Own"), "no_python.py, line 1: invalid syntax"),
    "a file that is no text": (["fit", "--config", "binary.yaml"], "binary.yaml cannot be read: 'utf-8' codec"),
    "a replay of what is no fault": (
        ["replay", "rows.jsonl", "--ckpt_path", "x"],
        "rows.jsonl is no file that fit wrote",
    ),
    # -- the others
    "a seed below 0": ([*FIT, "--seed_everything=-1"], "--seed_everything: -1 is not in bounds"),
    "a schedule that cannot be": (
        [*FIT, "--model.lr_scheduler=torch.optim.lr_scheduler.LinearLR", "--model.lr_scheduler.start_factor=0"],
        "model.lr_scheduler cannot be made: Starting multiplicative factor",
    ),
    "an unknown optimizer": ([*FIT, "--model.optimizer=Adamm"], "there is no class 'Adamm'"),
    "an unknown strategy": ([*FIT, "--trainer.strategy=warp"], "`strategy='warp'`"),
    "no devices": ([*FIT, "--trainer.devices=0"], "devices"),
    "more devices than prompts": ([*FIT, "--trainer.devices=64"], "do not divide by 64 ranks"),
    "an unknown accelerator": ([*FIT, "--trainer.accelerator=warp"], "no trainer can be made of these trainer options"),
    "an unknown precision": ([*FIT, "--trainer.precision=8-bit"], "expected one of 64, 32, 16"),
    "a strategy that is not installed": ([*FIT, "--trainer.strategy=deepspeed"], "pip install"),
    "epochs below 0": ([*FIT, "--trainer.max_epochs=-5"], "`max_epochs` must be"),
    "no phases between validations": ([*FIT, "--trainer.val_check_interval=0"], "trainer.limit_val_batches to 0"),
    "no rows": ([*FIT, "--data.num_train=0"], "num_train must be >= 1, got 0"),
    "top_p above 1": ([*FIT, "--model.sampling.top_p=2"], "top_p must lie in (0, 1], got 2.0"),
    "no rewards": ([*FIT, "--model.rewards", "[]"], "rewards is empty"),
    "pictures of no pixels": ([*FIT, "--model.policy.max_pixels=0"], "max_pixels must be >= 1, got 0"),
    "a class that is not there": (reward("own.Nothing"), "'own.Nothing'"),
    "a module that lacks another": (reward("lacking.Own"), "No module named 'a_package_that_is_not_installed'"),
    "too few verdicts": (reward("own.Few"), "returned 1 values for 3 completions"),
    "too little memory": (reward("own.Large"), "out of memory in"),
    "a file with a tab": (["fit", "--config", "tab.yaml"], "tab.yaml, line 2 is no YAML"),
    "a file with a list": (["fit", *TINY, "--config", "list.yaml"], "list.yaml holds no arguments"),
    "an empty file": (["fit", *TINY, "--config", "empty.yaml"], "empty.yaml holds no arguments"),
    "a folder for a file": (["fit", "--config", "configs"], "--config: Path is not a file"),
    "a best checkpoint that was not kept": ([*FIT, "--trainer.callbacks=null", "--ckpt_path=best"], 'ckpt_path="best"'),
    "rows that are not there": ([*ROWS, "--data.train=none.jsonl"], "cannot read 'none.jsonl'"),
    "half a row": ([*ROWS, "--data.train=half.jsonl"], "line 2 of half.jsonl is no JSON object"),
    "a column that is not there": ([*ROWS, "--data.train=other.jsonl"], "no column 'question'; its columns are frage"),
    "a file without rows": ([*ROWS, "--data.train=empty.jsonl"], "set 'train' has no rows"),
    "a policy that is a file": ([*FIT, "--model.policy.path=own.py"], "policy path 'own.py' cannot be loaded"),
    "a policy without a configuration": ([*FIT, "--model.policy.path=configs"], "a folder without config.json"),
    "an engine that is not installed": ([*FIT, "--model.rollout=mapo.rollout.vllm.VLLMEngine"], "not installed"),
    "a logger that is not installed": ([*FIT, "--trainer.logger=WandbLogger"], "pip install"),
    "a folder below a file": ([*FIT, "--trainer.logger.init_args.save_dir=own.py"], "Not a directory"),
    "no prompts in supervised training": ([*SUPERVISED, "--data.batch_size=0"], "batch_size must be >= 1, got 0"),
    "nothing to be supervised": (["supervised", "fit"], "such as --config configs/warm_start_tiny.yaml"),
    "a supervised learning rate": ([*SUPERVISED, "--model.optimizer.lr=-1"], "model.optimizer cannot be made"),
    "an unknown command": (["frobnicate"], "invalid choice: 'frobnicate'"),
    "an export without a checkpoint": (["export", "--output", "model"], "required: --ckpt_path"),
    "a folder without runs": (["compare", "configs"], "configs holds no run that can be compared"),
    "no runs": (["compare"], "no runs are named"),
}
NORMAL = 5


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "binary.yaml").write_bytes(bytes(range(128, 256)))
    return tmp_path


@pytest.mark.parametrize("mistake", list(MISTAKES) if THOROUGH else list(MISTAKES)[:NORMAL])
def test_a_mistake_is_answered_with_one_line(folder, inject, mistake):
    arguments, words = MISTAKES[mistake]
    with inject("mistakes on the command line"):
        assert words in invoke(folder, *arguments).error


@pytest.mark.parametrize("name", ["Broken", "Faulty"] if THOROUGH else ["Broken"])
def test_a_fault_in_code_of_ones_own_leaves_its_traceback(folder, inject, name):
    with inject("mistakes in code of the user's own"):
        outcome = invoke(folder, *reward(f"own.{name}"))
        (kept,) = folder.glob("mapo-traceback-*")
        last = outcome.err.splitlines()[-1]
        assert outcome.code == 1
        assert last.startswith("mapo: error: KeyError: 'gold' (")
        assert "own.py, line" in last
        assert str(kept) in last
        assert "own.py" in kept.read_text()


@pytest.mark.skipif(not THOROUGH, reason="part of make test-faults")
def test_an_interrupted_command_says_how_to_go_on(folder, inject):
    with inject("Ctrl-C"):
        outcome = invoke(folder, *reward("own.Interrupted"))
        assert outcome.code == 130
        assert outcome.err.splitlines()[-1].startswith("mapo: error: interrupted; a fit goes on with --ckpt_path last")
