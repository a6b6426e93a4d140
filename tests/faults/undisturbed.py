"""What a run must have come to, whatever happened on its way: the weights and logs of one that nothing disturbed."""

import contextlib
import time
from collections import Counter
from pathlib import Path

import torch
from forks import TEMPORARY, processes_of
from injection import LossError
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from mapo.modules.checkpoint_files import read_state

CONFIG = Path(__file__).with_name("run.yaml")
FIT = ("fit", "--config", str(CONFIG), "--ckpt_path", "last")


def last_run(folder: Path) -> Path:
    return max((folder / "runs" / "tiny").iterdir(), key=lambda path: int(path.name.removeprefix("version_")))


def final(folder: Path) -> dict:
    path = last_run(folder) / "checkpoints" / "last.ckpt"
    if path.is_file():
        return torch.load(path, weights_only=True)
    dcp_to_torch_save(path, folder / TEMPORARY / "whole")
    tensors = torch.load(folder / TEMPORARY / "whole", weights_only=True)
    (folder / TEMPORARY / "whole").unlink()
    return {**read_state(path), "state_dict": tensors["state_dict"], "optimizer_states": [tensors["optimizer_0"]]}


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
    names = sorted(path.name for path in last_run(undisturbed).glob("*.jsonl"))
    assert names  # of every rank
    for name in names:
        assert (last_run(folder) / name).read_text() == (last_run(undisturbed) / name).read_text(), name
    logged, expected = events(folder), events(undisturbed)
    counts, wanted = (Counter(place[:2] for place in found) for found in (logged, expected))
    assert counts == wanted, f"lacks {wanted - counts}, has {counts - wanted} too many"
    values = [
        {
            (tag, step): value
            for tag, step, value in found
            if tag.startswith(("train/", "val/")) and "tokens_per" not in tag
        }
        for found in (logged, expected)
    ]
    assert values[0] == values[1]


def shared_memory() -> set[str]:
    """Return the names of the segments of shared memory that there are, whoever has them."""
    return {path.name for path in Path("/dev/shm").iterdir()}


def assert_nothing_left(folder: Path, others: set[str]) -> None:
    """Assert that runs in this folder have left no process, no shared memory but ``others``, and nothing half done."""
    half_done = (".part", ".partial", ".replaced", ".tmp")
    assert not [path for path in folder.rglob("*") if path.suffix in half_done or path.name == ".unfinished"]
    assert not list(folder.rglob("stopped.ckpt"))
    assert not list((folder / TEMPORARY).iterdir())
    assert not processes_of(folder)
    deadline = time.monotonic() + 10  # other programs' segments come and go
    while (left := _unused(shared_memory() - others)) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not left


def _unused(segments: set[str]) -> set[str]:
    """Return the segments that no living process has."""
    used = set()
    for path in Path("/proc").glob("[0-9]*/maps") if segments else ():
        with contextlib.suppress(OSError):  # it has ended
            mapped = path.read_text()
            used |= {name for name in segments if f"/dev/shm/{name}" in mapped}
    return segments - used
