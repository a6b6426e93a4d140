"""Checkpoints that are cut short, empty or have flipped bits: found, named, and the previous one offered.

The normal suite damages one for each way of reading it, the thorough one many more, anywhere in the file.
"""

import random
import re
import shutil
from itertools import islice
from pathlib import Path

import pytest
import torch
from command_line import invoke
from injection import THOROUGH, LossError
from undisturbed import CONFIG, FIT, assert_nothing_lost, assert_same

from mapo.modules.checkpoint_files import checkpoints_in, damage
from mapo.modules.mapo import MAPOModule

DRAWN = 40 if THOROUGH else 5
RUN = ["--config", str(CONFIG)]
COMMANDS = {
    "export": ["export", "--output", "model", "--ckpt_path"],
    "replay": ["replay", "fault.pt", "--ckpt_path"],
    "validate": ["validate", *RUN, "--ckpt_path"],
    "fit": ["fit", *RUN, "--ckpt_path"],
}
EMPTY_FAULT = {
    **dict.fromkeys(("phase", "step", "rank"), 0),
    **{name: [] for name in ("suspects", "prompts", "prompt_of_row", "token_ids", "sampling_logprobs")},
    **{name: torch.zeros(0) for name in ("advantages", "trained", "success_bins")},
    "temperature": 1.0,
}


@pytest.fixture
def run(undisturbed, tmp_path):
    """Copy the run; return the folder of its checkpoints."""
    shutil.copytree(undisturbed / "runs", tmp_path / "runs")
    torch.save(EMPTY_FAULT, tmp_path / "fault.pt")
    return tmp_path / "runs/tiny/version_0/checkpoints"


def spoil(path: Path, draw: random.Random) -> str:
    """Damage a file at a place drawn at random; return how."""
    size, how = path.stat().st_size, draw.choice(["bit", "bit", "cut", "hole", "empty"])
    place = draw.randrange(size)
    with path.open("r+b") as file:
        if how == "bit":
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ 1 << draw.randrange(8)]))
        elif how == "hole":  # a block that never reached the disk
            file.seek(place)
            file.write(bytes(min(4096, size - place)))
        else:
            file.truncate(place if how == "cut" else 0)
    return f"{how} at {place} of {size}"


def spoilt(path: Path, draw: random.Random):
    """Yield descriptions of damages; one that changes nothing that is read is passed over, and must do no harm."""
    whole = path.read_bytes()
    content = torch.load(path, weights_only=True)
    while True:
        path.write_bytes(whole)
        how = spoil(path, draw)
        if damage(path) is not None:
            yield how
        else:
            try:
                assert_same(torch.load(path, weights_only=True), content)
            except AssertionError as error:
                raise LossError(f"{how}: not noticed") from error


def assert_named_and_replaced(line: str, path: Path) -> None:
    match = re.search(r"the checkpoint (\S+) is damaged: .+; the newest whole one beside it is (\S+)$", line)
    assert match, line
    assert match[1].endswith(path.name)
    assert damage(path.parent / Path(match[2]).name) is None


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_damaged_checkpoint_is_refused_by_every_command(run, tmp_path, inject, command):
    times = 1 if not THOROUGH else 4 if command in ("fit", "validate") else 8
    draw = random.Random(command)
    with inject(f"damaged checkpoint: {command}", times=times):
        for how in islice(spoilt(run / "last.ckpt", draw), times):
            line = invoke(tmp_path, *COMMANDS[command], "runs/tiny/version_0/checkpoints/last.ckpt").error
            assert_named_and_replaced(line, run / "last.ckpt")
            assert not (tmp_path / "model").exists(), how


@pytest.mark.slow
def test_a_damaged_checkpoint_is_not_loaded_by_hand(run, inject):
    with inject("damaged checkpoint: load_from_checkpoint", times=DRAWN):
        for how in islice(spoilt(run / "last.ckpt", random.Random(0)), DRAWN):
            with pytest.raises(ValueError, match="is damaged") as refused:
                MAPOModule.load_from_checkpoint(run / "last.ckpt")
            assert_named_and_replaced(str(refused.value), run / "last.ckpt")
            assert not isinstance(refused.value, UnicodeError), how


@pytest.mark.slow
@pytest.mark.parametrize("draw", range(4 if THOROUGH else 1))
def test_last_passes_over_damaged_checkpoints(forks, run, undisturbed, tmp_path, inject, draw):
    """All that hold the end of the run are damaged: it goes on from an earlier one, to the same end."""
    with inject("damaged checkpoint: --ckpt_path last"):
        chance, steps = random.Random(draw), {}
        for path in checkpoints_in(run):
            steps[path] = torch.load(path, weights_only=True)["global_step"]
        ends = [path for path, step in steps.items() if step == max(steps.values())]
        for path in ends:
            next(spoilt(path, chance))
        assert forks.run(tmp_path, *FIT) == 0, (tmp_path / "output.txt").read_text()
        said = (tmp_path / "output.txt").read_text()
        for path in ends:
            assert re.search(rf"{re.escape(path.name)} is passed over: ", said), said
        assert_nothing_lost(tmp_path, undisturbed)
