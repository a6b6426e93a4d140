"""Disks that are full or read-only while a run writes: one line, everything earlier as it was, and the run goes on.

The normal suite fills the disk while a checkpoint is written; the thorough one at every file of a run.
"""

import contextlib
import random
import re
import subprocess
import time
from pathlib import Path

import pytest
from disks import failing, unlock
from forks import processes_of
from injection import THOROUGH, LossError
from spoilt import spoiling
from undisturbed import CONFIG, FIT, assert_nothing_left, assert_nothing_lost, last_run

from mapo.modules.checkpoint_files import checkpoints_in, damage

WRITTEN = "mapo.modules.checkpoint_io:_write"
ROW = "mapo.callbacks.json_lines:JsonLines.append"
EXPORT = '{"class_path": "mapo.callbacks.export.HuggingFaceExport"}'
# What is being written: the function that does, which call of it, and how many bytes a file may then have.
FULL = {
    "a checkpoint": (WRITTEN, 2, 1_000_000),
    "a log": (ROW, 4, 10),
    "the first checkpoint": (WRITTEN, 1, 1000),
    "TensorBoard's events": ("lightning.pytorch.loggers.tensorboard:TensorBoardLogger.log_metrics", 3, 10),
    "a results file": ("mapo.callbacks.summary:write_results", 2, 10),
    "config.yaml": ("lightning.pytorch.cli:SaveConfigCallback.setup", 1, 1000),
    "an export": ("mapo.modules.export_folder:save_policy", 1, 100_000),
}
READ_ONLY = {
    "a checkpoint": (WRITTEN, 2),
    "a log": (ROW, 4),
    "a results file": ("mapo.callbacks.summary:write_results", 2),
    "config.yaml": ("lightning.pytorch.cli:SaveConfigCallback.setup", 1),
    "an export": ("mapo.modules.export_folder:save_policy", 1),
}


def said(folder: Path) -> str:
    """Return what a run has said; the process that writes it down ends a little later."""
    deadline = time.monotonic() + 30
    while processes_of(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    return (folder / "output.txt").read_text()


def assert_one_line(code: int, text: str) -> None:
    """Check that a run ended with its one line: what, where, what to do."""
    *_, last = text.splitlines()
    assert code == 2, text
    assert last.startswith("mapo: error: ")
    assert re.search("cannot be written|File too large|Permission denied|not writable|No space left", last)
    assert re.search("[Mm]ake room|let this user in", last)
    assert "Traceback" not in text


def assert_checkpoints_whole(folder: Path) -> None:
    faults = {path: damage(path) for path in checkpoints_in(*folder.glob("runs/tiny/*/checkpoints"))}
    if any(faults.values()):
        raise LossError(str(faults))


def options(what: str) -> tuple[str, ...]:
    return ("--trainer.callbacks+", EXPORT) if what == "an export" else ()


def go_on(forks, folder: Path, undisturbed: Path, what: str = "") -> None:
    """Run again with nothing in the way, and compare with the run that nothing disturbed."""
    shared_memory = {path.name for path in Path("/dev/shm").iterdir()}
    assert_checkpoints_whole(folder)
    assert forks.run(folder, *FIT, *options(what)) == 0, said(folder)
    assert_nothing_lost(folder, undisturbed)
    assert_nothing_left(folder, shared_memory)
    if what == "an export" and not (last_run(folder) / "export" / "config.json").is_file():
        raise LossError("no export")


@pytest.mark.slow
@pytest.mark.parametrize("what", list(FULL) if THOROUGH else list(FULL)[:1])
def test_a_full_disk(forks, undisturbed, tmp_path, inject, what):
    with inject(f"disk full: {what}"):
        code = forks.run(tmp_path, *FIT, *options(what), *failing(*FULL[what]))
        assert_one_line(code, said(tmp_path))
        go_on(forks, tmp_path, undisturbed, what)


@pytest.mark.slow
@pytest.mark.skipif(not THOROUGH, reason="part of make test-faults")
@pytest.mark.parametrize("what", READ_ONLY)
def test_a_read_only_folder(forks, undisturbed, tmp_path, inject, what):
    with inject(f"read-only folder: {what}"):
        code = forks.run(tmp_path, *FIT, *options(what), *failing(*READ_ONLY[what]))
        text = said(tmp_path)
        unlock(tmp_path / "runs")
        assert_one_line(code, text)
        go_on(forks, tmp_path, undisturbed, what)


@pytest.mark.slow
@pytest.mark.skipif(not THOROUGH, reason="part of make test-faults")
@pytest.mark.parametrize("room", [1_000_000, None], ids=["full", "read-only"])
def test_answers_of_a_broken_off_validation(forks, tmp_path, inject, room):
    """An evaluation cannot write down its answers; what it had kept is found by the next one."""
    validate = ("validate", "--config", str(CONFIG))
    (tmp_path / "whole").mkdir()
    with inject(f"{'read-only folder' if room is None else 'disk full'}: answers of an evaluation"):
        assert forks.run(tmp_path / "whole", *validate) == 0
        fault = failing("mapo.modules.spool:FolderSpool.add", 3, room and 10)
        code = forks.run(tmp_path, *validate, *fault)
        text = said(tmp_path)
        unlock(tmp_path / "runs")
        assert_one_line(code, text)
        assert "its answers so far are in" in text
        assert forks.run(tmp_path, *validate) == 0, said(tmp_path)
        assert "continuing an interrupted validate: 3 of 3 rows of plane_figures" in said(tmp_path)
        mine, theirs = (last_run(folder) / "evaluation.jsonl" for folder in (tmp_path, tmp_path / "whole"))
        if mine.read_text() != theirs.read_text():
            raise LossError("other answers")


@pytest.mark.slow
@pytest.mark.skipif(not THOROUGH, reason="part of make test-faults")
@pytest.mark.parametrize("room", [10, None], ids=["full", "read-only"])
def test_a_skipped_step_that_cannot_be_kept(forks, undisturbed, tmp_path, inject, room):
    spoilt = spoiling(tmp_path, "gradient", "nan", [3])
    with inject(f"{'read-only folder' if room is None else 'disk full'}: a skipped step"):
        code = forks.run(tmp_path, *FIT, *spoilt, *failing("mapo.modules.numeric_faults:Fault.write", 1, room))
        text = said(tmp_path)
        unlock(tmp_path / "runs")
        assert_one_line(code, text)
        for left in tmp_path.glob("runs/tiny/*/faults"):
            left.rmdir()  # there is nothing in it
        go_on(forks, tmp_path, undisturbed)


@contextlib.contextmanager
def small_disk(folder: Path, size: int):
    """Mount a disk of so many bytes; the tests that need one are passed over where nobody may mount."""
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
    if made.returncode:
        pytest.skip("mounting is not allowed")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.slow
@pytest.mark.skipif(not THOROUGH, reason="part of make test-faults")
@pytest.mark.parametrize("place", range(6))
def test_a_disk_that_is_full_at_a_random_byte(forks, undisturbed, tmp_path, inject, place):
    size = random.Random(place).randrange(20_000, 20_000_000)
    with small_disk(tmp_path / "runs", size), inject("disk full: at a random byte"):
        assert_one_line(forks.run(tmp_path, *FIT), said(tmp_path))
        subprocess.run(["mount", "-o", "remount,size=200m", tmp_path / "runs"], check=True)
        go_on(forks, tmp_path, undisturbed)
