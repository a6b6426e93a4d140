"""Checkpoints in shards: written beside their place, checked when they are loaded, removed as a whole."""

import resource
import shutil
from pathlib import Path

import pytest
import ranks
import torch
from lightning.pytorch.strategies import ModelParallelStrategy

from mapo.modules.checkpoint_files import damage, newest_whole, remove_drafts, require_whole
from mapo.modules.fsdp2 import FSDP2Strategy

pytestmark = pytest.mark.slow


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def begin(tmp_path_factory, tiny_lm_path):
    """Make a run of one rank that holds all shards, up to four steps or from there on."""

    def fit(folder, **settings):
        settings = {"path": str(tiny_lm_path), "max_steps": 4, **settings}
        try:
            return ranks.run_one(folder, "resumed", settings, "fsdp2")
        finally:
            torch.distributed.destroy_process_group()

    return fit


@pytest.fixture(scope="module")
def saved(begin, tmp_path_factory):
    """Return the folder of the checkpoints of a run."""
    return Path(begin(tmp_path_factory.mktemp("run"))["last"]).parent


@pytest.fixture
def kept(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "kept"))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_run_leaves_whole_checkpoints_and_nothing_beside_them(saved):
    assert all(path.suffix == ".ckpt" for path in saved.iterdir())
    last = saved / "last.ckpt"
    assert damage(last) is None
    assert names(last) == {".metadata", "meta.pt", "shards.json", "__0_0.distcp"}


def test_a_flipped_bit_is_found_before_anything_is_loaded(begin, kept, tmp_path):
    shard = kept / "last.ckpt" / "__0_0.distcp"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    message = r"last.ckpt is damaged: its shard __0_0.distcp does not match its checksum; the newest .*step=4.*ckpt"
    with pytest.raises(ValueError, match=message):
        begin(tmp_path / "continued", max_steps=-1, ckpt_path=str(kept / "last.ckpt"))
    with pytest.raises(ValueError, match=message):  # as `mapo export` does
        require_whole(kept / "last.ckpt")


def test_a_cut_shard_is_passed_over(kept):
    shard = kept / "last.ckpt" / "__0_0.distcp"
    shard.write_bytes(shard.read_bytes()[:-1])
    found, faults = newest_whole(kept.glob("*.ckpt"))
    assert "step=4" in found.name
    assert {path.name for path in faults} == {"last.ckpt"}
    with pytest.raises(ValueError, match="bytes; the newest whole one beside it is"):
        require_whole(kept / "last.ckpt")


@pytest.mark.parametrize("where", ["write_sums", "put"])
def test_a_save_that_is_broken_off_leaves_the_earlier_one(begin, tmp_path, monkeypatch, where):
    folder, whole = tmp_path / "run", []

    def broken_off(*_):
        whole.append(damage(folder / "kept" / "last.ckpt"))
        raise Killed

    begin(folder, max_steps=2)
    monkeypatch.setattr(f"mapo.modules.fsdp2.{where}", broken_off)
    with pytest.raises(Killed):
        begin(folder, ckpt_path=str(folder / "kept" / "last.ckpt"))
    assert whole == [None]
    assert damage(folder / "kept" / "last.ckpt") is None


def test_a_full_disk_is_named_and_leaves_the_earlier_one(begin, tmp_path):
    folder = tmp_path / "run"
    begin(folder, max_steps=2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(ValueError, match=r"ckpt cannot be written: File too large. Earlier .* --ckpt_path last"):
            begin(folder, ckpt_path=str(folder / "kept" / "last.ckpt"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert damage(folder / "kept" / "last.ckpt") is None
    assert not list((folder / "kept").glob("*.part"))


def test_a_checkpoint_that_is_removed_in_part_passes_for_a_draft(kept, monkeypatch):
    strategy = FSDP2Strategy()
    monkeypatch.setattr(ModelParallelStrategy, "is_global_zero", True)

    def killed(path, **_):
        (path / "__0_0.distcp").unlink()
        raise Killed

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(Killed):
        strategy.remove_checkpoint(kept / "last.ckpt")
    monkeypatch.undo()
    assert not (kept / "last.ckpt").exists()
    assert remove_drafts(kept) == [kept / "last.ckpt.part"]
    assert all(damage(path) is None for path in kept.iterdir())
