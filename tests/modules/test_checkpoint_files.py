import os
import random
import shutil

import pytest
import torch

from mapo.modules.checkpoint_files import (
    checkpoints_in,
    damage,
    draft_of,
    hold,
    newest_whole,
    read_state,
    remove_drafts,
    require_whole,
    restore_replaced,
)


@pytest.fixture
def content():
    return {
        "state_dict": {"a": torch.randn(40), "b": torch.arange(30).bfloat16()},
        "epoch": 3,
        "loops": {"x": [1, "y"]},
    }


@pytest.fixture
def whole(tmp_path, content):
    torch.save(content, tmp_path / "whole.ckpt")
    return tmp_path / "whole.ckpt"


def same(mine, theirs) -> bool:
    if isinstance(mine, dict):
        return mine.keys() == theirs.keys() and all(same(mine[key], theirs[key]) for key in mine)
    return torch.equal(mine, theirs) if isinstance(mine, torch.Tensor) else mine == theirs


def test_a_flipped_bit_is_found_or_harmless(tmp_path, whole, content):
    data, found = whole.read_bytes(), 0
    draw = random.Random(0)
    path = tmp_path / "flipped.ckpt"
    for place in range(0, len(data), 3):
        flipped = bytearray(data)
        flipped[place] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        if damage(path) is None:
            assert same(torch.load(path, weights_only=True), content), place
        else:
            found += 1
        path.unlink()
    assert found > len(data) / 9  # the others are padding, and copies of what the archive's directory says


def test_a_truncated_file_is_found(tmp_path, whole):
    data, path = whole.read_bytes(), tmp_path / "cut.ckpt"
    for size in {*range(0, len(data), 53), len(data) - 1}:
        path.write_bytes(data[:size])
        assert damage(path), size
    assert damage(whole) is None
    assert damage(tmp_path / "none.ckpt") == "there is no such file"


def test_the_tensors_of_a_state_are_not_read(whole, content):
    assert same(read_state(whole), content)


def test_the_newest_whole_one_is_chosen_and_newer_ones_are_named(tmp_path, whole):
    for name in ("older", "newer", "torn"):
        shutil.copyfile(whole, tmp_path / f"{name}.ckpt")
    (tmp_path / "torn.ckpt").write_bytes(whole.read_bytes()[:-10])
    assert len(checkpoints_in(tmp_path)) == 4
    chosen, faults = newest_whole(checkpoints_in(tmp_path))
    assert chosen == tmp_path / "newer.ckpt"
    assert list(faults) == [tmp_path / "torn.ckpt"]
    with pytest.raises(ValueError, match=r"torn.ckpt is damaged: it cannot be read.*newest whole one.*newer.ckpt"):
        require_whole(tmp_path / "torn.ckpt")
    assert newest_whole([tmp_path / "torn.ckpt"])[0] is None
    assert newest_whole([])[0] is None


def test_a_sharded_one_is_whole_when_its_last_files_are_there(tmp_path, whole):
    folder = tmp_path / "sharded.ckpt"
    folder.mkdir()
    (folder / "__0_0.distcp").write_bytes(b"shard")
    assert "was not finished" in damage(folder)
    (folder / ".metadata").write_bytes(b"index")
    assert "meta.pt" in damage(folder)
    shutil.copyfile(whole, folder / "meta.pt")
    assert damage(folder) is None
    assert read_state(folder)["epoch"] == 3
    assert newest_whole(checkpoints_in(tmp_path))[0] == folder
    (folder / "meta.pt").write_bytes(whole.read_bytes()[:100])
    assert damage(folder)


def test_drafts_are_removed_and_nothing_else(tmp_path, whole):
    draft_of(whole).write_bytes(b"half")
    (tmp_path / "notes.part").write_text("mine")
    assert remove_drafts(tmp_path) == [draft_of(whole)]
    assert {path.name for path in tmp_path.iterdir()} == {"whole.ckpt", "notes.part"}


def test_a_draft_that_is_being_written_stays(tmp_path, whole):
    with draft_of(whole).open("wb") as file:
        assert not hold(file)
        assert remove_drafts(tmp_path) == []
    assert remove_drafts(tmp_path) == [draft_of(whole)]


def test_the_newest_of_a_copied_run_is_the_one_with_the_most_steps(tmp_path):
    for steps, name in ((80, "last.ckpt"), (40, "step-40.ckpt")):
        torch.save({"global_step": steps}, tmp_path / name)
        os.utime(tmp_path / name, ns=(0, 10**9 * (100 - steps)))  # as a copy may leave them: the older one is newer
    assert newest_whole(checkpoints_in(tmp_path))[0] == tmp_path / "last.ckpt"


def test_a_run_that_was_written_to_last_comes_before_a_longer_one(tmp_path):
    for version, steps in ((0, 80), (1, 20)):
        (tmp_path / f"version_{version}").mkdir()
        path = tmp_path / f"version_{version}" / "last.ckpt"
        torch.save({"global_step": steps}, path)
        os.utime(path, ns=(0, 10**9 * (1 + version)))
    found, _ = newest_whole(checkpoints_in(tmp_path / "version_0", tmp_path / "version_1"))
    assert found == tmp_path / "version_1" / "last.ckpt"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_was_about_to_be_replaced_comes_back(tmp_path, whole, kind):
    path = tmp_path / "last.ckpt"
    aside = tmp_path / ".last.ckpt.replaced"
    if kind == "folder":
        aside.mkdir()
        (aside / ".metadata").touch()
        shutil.copyfile(whole, aside / "meta.pt")
    else:
        shutil.copyfile(whole, aside)
    for _ in range(2):  # as two ranks do
        restore_replaced(tmp_path)
        assert damage(path) is None
    assert {found.name for found in tmp_path.iterdir()} == {"whole.ckpt", "last.ckpt"}


def test_a_damage_is_looked_for_again_when_the_file_has_changed(tmp_path, whole, monkeypatch):
    looked = []
    monkeypatch.setattr("mapo.modules.checkpoint_files.damage", lambda path: looked.append(path))
    for _ in range(3):
        require_whole(whole)
    assert looked == [whole]
    os.utime(whole, ns=(0, 0))
    require_whole(whole)
    assert looked == [whole, whole]
