"""Checkpoints of another version, model, number of ranks or configuration: refused, or gone on with, in words.

The normal suite takes one of each kind, the thorough one all.
"""

import re
import shutil
from pathlib import Path

import pytest
import torch
from injection import THOROUGH
from undisturbed import CONFIG, FIT

RUN = ("fit", "--config", str(CONFIG))
LAST = "runs/tiny/version_0/checkpoints/last.ckpt"
LORA = ("--model.policy.lora.rank=4",)
ANOTHER = "the checkpoint holds another model than model.policy describes: "


def as_it_is(checkpoint: dict) -> None:
    pass


def older(checkpoint: dict) -> None:
    checkpoint["written_by"]["versions"]["mapo"] = "0.0.1"


def on_four_ranks(checkpoint: dict) -> None:
    checkpoint["written_by"]["ranks"] = 4


def fewer_words(checkpoint: dict) -> None:
    (name,) = (name for name in checkpoint["state_dict"] if name.endswith("embed_tokens.weight"))
    checkpoint["state_dict"][name] = checkpoint["state_dict"][name][:-3].clone()


def fewer_layers(checkpoint: dict) -> None:
    state = checkpoint["state_dict"]
    checkpoint["state_dict"] = {name: weight for name, weight in state.items() if ".layers.1." not in name}


# What was changed in a checkpoint, the arguments of the run that goes on from it, and what that says.
GONE_ON_WITH = {
    "version": (older, (), r"was written with mapo 0\.0\.1, this is \S+: figures may differ"),
    "advantage": (
        as_it_is,
        ("--model.advantage=ZScore",),
        r"model\.advantage\.class_path was '\S+MixedAdvantage' in the",
    ),
    "number of ranks": (on_four_ranks, (), r"was written on 4 ranks, this run has 1"),
    "argument of the advantage": (
        as_it_is,
        ("--model.advantage.eps=0.1",),
        r"model\.advantage\.init_args\.eps was 1e-06 in the checkpoint, is 0\.1 now",
    ),
    "group size": (as_it_is, ("--model.group_size=6",), r"model\.group_size was 4 in the checkpoint, is 6 now"),
}
REFUSED = {
    "vocabulary": (fewer_words, (), rf"{ANOTHER}\S+embed_tokens\.weight is \(\d+, 96\) there, \(\d+, 96\) here"),
    "architecture": (fewer_layers, (), rf"{ANOTHER}\S+layers\.1\.\S+ is missing, and \d+ more"),
    "all weights to LoRA": (as_it_is, LORA, rf"{ANOTHER}\S+lora_A\S+ is missing"),
    "batch size": (as_it_is, ("--data.batch_size=4",), r"batch_size"),
    "optimizer": (
        as_it_is,
        ("--model.optimizer=torch.optim.SGD", "--model.optimizer.lr=0.1"),
        r"the checkpoint's optimizer has amsgrad, betas.*, which SGD does not know",
    ),
    "choice of trained weights": (
        as_it_is,
        ("--model.policy.freeze_vision=true",),
        r"the checkpoint trained \d+ tensors of the model, this run trains \d+",
    ),
    "rows": (as_it_is, ("--data.num_train=9",), r"rows"),
}


@pytest.fixture
def changed(undisturbed, tmp_path):
    """Copy the run, with a change to its last checkpoint."""

    def change(how) -> None:
        shutil.copytree(undisturbed / "runs", tmp_path / "runs")
        checkpoint = torch.load(tmp_path / LAST, weights_only=True)
        how(checkpoint)
        torch.save(checkpoint, tmp_path / LAST)

    return change


def last_line(folder: Path) -> str:
    return (folder / "output.txt").read_text().splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("what", list(GONE_ON_WITH) if THOROUGH else list(GONE_ON_WITH)[:1])
def test_a_checkpoint_that_differs_is_gone_on_with_and_says_so(forks, changed, tmp_path, inject, what):
    how, arguments, words = GONE_ON_WITH[what]
    with inject(f"foreign checkpoint: {what}"):
        changed(how)
        assert forks.run(tmp_path, *RUN, "--ckpt_path", LAST, *arguments) == 0
        assert re.search(words, (tmp_path / "output.txt").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("what", list(REFUSED) if THOROUGH else list(REFUSED)[:1])
def test_a_checkpoint_that_does_not_fit_is_refused(forks, changed, tmp_path, inject, what):
    how, arguments, words = REFUSED[what]
    with inject(f"foreign checkpoint: {what}"):
        changed(how)
        assert forks.run(tmp_path, *RUN, "--ckpt_path", LAST, *arguments) == 2
        assert last_line(tmp_path).startswith("mapo: error: ")
        assert re.search(words, last_line(tmp_path)), last_line(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not THOROUGH, reason="part of make test-faults")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), r"embed_tokens\.weight is missing"),
        (("--model.policy.lora.rank=8",), r"lora_A\S+ is \(4, \d+\) there, \(8,"),
    ],
    ids=["LoRA to full", "another rank"],
)
def test_adapters_fit_their_own_rank_alone(forks, tmp_path, inject, arguments, words):
    with inject("foreign checkpoint: adapters"):
        assert forks.run(tmp_path, *FIT, *LORA, "--trainer.max_epochs=1") == 0, (tmp_path / "output.txt").read_text()
        assert forks.run(tmp_path, *FIT, *arguments) == 2
        assert re.search(f"{ANOTHER}.*{words}", last_line(tmp_path)), last_line(tmp_path)
