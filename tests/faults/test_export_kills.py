"""Exports that are killed at any moment leave no folder, the one they were to replace, or the new one; never a part."""

import random
import signal
from pathlib import Path

import pytest
from forks import Moment
from injection import THOROUGH, LossError
from undisturbed import assert_nothing_left, last_run, shared_memory

FOLDER = "mapo.modules.export_folder"
BETWEEN = Moment("mapo.modules.replacing:_make_room", 1, after=True)
FEW = [BETWEEN, Moment("mapo.policies.saving:save_companions", 1), Moment("mapo.modules.replacing:_sync", 1)]
RANDOM = 10


@pytest.fixture(scope="module")
def exports(forks, undisturbed, tmp_path_factory):
    """Return the commands of an export and of another one, and what each of them leaves."""
    folder = tmp_path_factory.mktemp("exports")
    ckpt_path = last_run(undisturbed) / "checkpoints" / "last.ckpt"
    commands = [
        ("export", "--ckpt_path", str(ckpt_path), "--output", "model", "--overwrite", "--dtype", dtype)
        for dtype in ("float32", "bfloat16")
    ]
    found = []
    for command in commands:
        assert forks.run(folder, *command) == 0, (folder / "output.txt").read_text()
        found.append(content(folder / "model"))
    assert found[0] != found[1]
    return commands, found


def content(folder: Path) -> dict[str, bytes] | None:
    """Return the files of an export; None where there is none."""
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else None


def kill_and_repeat(forks, folder: Path, exports, moments: list[Moment], *, old_one: bool) -> None:
    (old, new), (old_content, new_content) = exports
    others = shared_memory()
    for moment in moments:
        if old_one:
            assert forks.run(folder, *old) == 0, (folder / "output.txt").read_text()
        code = forks.run(folder, *new, moment=moment)
        assert code == -signal.SIGKILL or (moment.function == "seconds" and code == 0), (moment, code)
        left = content(folder / "model")
        if left is None and old_one:  # between the two names: whoever exports next finds the old one first
            left = content(folder / ".model.replaced")
        if left not in ((old_content, new_content) if old_one else (None, new_content)):
            raise LossError(f"{moment} leaves {left and sorted(left)}")
        assert forks.run(folder, *new) == 0, (folder / "output.txt").read_text()
        assert content(folder / "model") == new_content
        assert {path.name for path in folder.iterdir()} <= {"model", "output.txt", "tmp"}
    assert_nothing_left(folder, others)


@pytest.mark.slow
def test_an_export_that_is_killed_leaves_a_whole_one(forks, exports, tmp_path, inject):
    with inject("kill -9: export", times=len(FEW)):
        kill_and_repeat(forks, tmp_path, exports, FEW, old_one=True)


@pytest.mark.slow
def test_an_export_that_was_to_be_replaced_comes_back_unasked(forks, exports, tmp_path, inject):
    (old, new), (old_content, _) = exports
    with inject("kill -9: export", times=1):
        assert forks.run(tmp_path, *old) == 0
        assert forks.run(tmp_path, *new, moment=BETWEEN) == -signal.SIGKILL
        assert content(tmp_path / "model") is None
        assert forks.run(tmp_path, *(part for part in new if part != "--overwrite")) == 2
        assert "already holds a model" in (tmp_path / "output.txt").read_text()
        if content(tmp_path / "model") != old_content:
            raise LossError("the export that was to be replaced is gone")


@pytest.mark.slow
@pytest.mark.skipif(not THOROUGH, reason="part of make test-faults")
@pytest.mark.parametrize("old_one", [False, True])
def test_exports_killed_at_random_moments(forks, exports, tmp_path, inject, old_one):
    draw = random.Random(int(old_one))
    places = [
        (f"{FOLDER}:save_policy", 1),
        ("mapo.modules.model_card:ModelCard.write", 1),
        (f"{FOLDER}:put", 1),
        ("builtins:open", 12),
        ("seconds", 1.5),
    ]
    moments = [
        Moment(
            function, draw.uniform(0.1, most) if function == "seconds" else draw.randint(1, most), draw.random() < 0.5
        )
        for function, most in places
    ]
    with inject("kill -9: export", times=RANDOM // 2):
        kill_and_repeat(forks, tmp_path, exports, moments, old_one=old_one)
