"""Checkpoints on disks that fail: one line, the earlier one as it was, nothing left behind."""

import os
import resource
import tempfile
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.io import AsyncCheckpointIO

from mapo.modules.checkpoint_io import WholeCheckpointIO, use_whole_files

FIRST, SECOND = {"epoch": 1, "w": torch.zeros(10)}, {"epoch": 2, "w": torch.ones(50_000)}


@pytest.fixture
def file_size_limit():
    """Let writes fail beyond 100 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def read_only_folder():
    """A folder that this process may not write to, not even as root."""
    with tempfile.TemporaryDirectory() as name:
        folder, user = Path(name), os.geteuid()
        WholeCheckpointIO().save_checkpoint(FIRST, folder / "last.ckpt")
        folder.chmod(0o555)
        if user == 0:
            os.seteuid(65534)
        yield folder
        os.seteuid(user)
        folder.chmod(0o755)


def stored(folder: Path) -> int:
    """Return the epoch of the only file."""
    assert [found.name for found in folder.iterdir()] == ["last.ckpt"]
    return torch.load(folder / "last.ckpt", weights_only=True)["epoch"]


def test_a_checkpoint_replaces_another_one(tmp_path):
    path = tmp_path / "new" / "last.ckpt"
    for content in (FIRST, SECOND):
        WholeCheckpointIO().save_checkpoint(content, path)
        assert stored(path.parent) == content["epoch"]
    assert WholeCheckpointIO().load_checkpoint(path, weights_only=True)["epoch"] == 2


def test_a_sharded_checkpoint_of_the_same_name_makes_room(tmp_path):
    (tmp_path / "last.ckpt").mkdir()
    (tmp_path / "last.ckpt" / "__0_0.distcp").write_bytes(b"shard")
    WholeCheckpointIO().save_checkpoint(FIRST, tmp_path / "last.ckpt")
    assert stored(tmp_path) == 1


def test_a_write_that_fails_midway_leaves_the_earlier_checkpoint(tmp_path, file_size_limit):
    WholeCheckpointIO().save_checkpoint(FIRST, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match=r"last.ckpt cannot be written: File too large. Earlier .* --ckpt_path last"):
        WholeCheckpointIO().save_checkpoint(SECOND, tmp_path / "last.ckpt")
    assert stored(tmp_path) == 1


def test_a_full_disk_leaves_the_earlier_checkpoint(tmp_path):
    WholeCheckpointIO().save_checkpoint(FIRST, tmp_path / "last.ckpt")
    (tmp_path / "last.ckpt.part").symlink_to("/dev/full")
    with pytest.raises(ValueError, match=r"last.ckpt cannot be written: No space left on device"):
        WholeCheckpointIO().save_checkpoint(SECOND, tmp_path / "last.ckpt")
    assert stored(tmp_path) == 1


def test_a_read_only_folder_is_named(read_only_folder):
    with pytest.raises(ValueError, match=rf"{read_only_folder}/last.ckpt cannot be written: Permission denied"):
        WholeCheckpointIO().save_checkpoint(SECOND, read_only_folder / "last.ckpt")
    assert stored(read_only_folder) == 1


def test_bytes_that_change_on_their_way_to_the_disk_are_noticed(tmp_path, monkeypatch):
    WholeCheckpointIO().save_checkpoint(FIRST, tmp_path / "last.ckpt")

    def sync_and_spoil(descriptor):
        os.pwrite(descriptor, b"\xff" * 4, 1000)

    monkeypatch.setattr(os, "fsync", sync_and_spoil)
    with pytest.raises(ValueError, match="what was written differs from what was meant"):
        WholeCheckpointIO().save_checkpoint(SECOND, tmp_path / "last.ckpt")
    assert stored(tmp_path) == 1


def test_a_damaged_checkpoint_is_not_loaded(tmp_path):
    for name in ("good", "bad"):
        WholeCheckpointIO().save_checkpoint(SECOND, tmp_path / f"{name}.ckpt")
    data = bytearray((tmp_path / "bad.ckpt").read_bytes())
    data[len(data) // 2] ^= 1  # inside a weight: PyTorch would load it
    (tmp_path / "bad.ckpt").write_bytes(data)
    assert not torch.equal(torch.load(tmp_path / "bad.ckpt", weights_only=True)["w"], SECOND["w"])
    with pytest.raises(ValueError, match=r"bad.ckpt is damaged: its record .*data/0 .*checksum; .*good.ckpt"):
        WholeCheckpointIO().load_checkpoint(tmp_path / "bad.ckpt")


def test_the_file_is_never_a_whole_in_memory(tmp_path, monkeypatch):
    """What is handed to the operating system at once is a record, not the file."""
    pieces = []

    class Counting:
        def __init__(self, file):
            self.file = file

        def write(self, data):
            pieces.append(len(data))
            return self.file.write(data)

        def flush(self):
            self.file.flush()

    save = torch.save
    monkeypatch.setattr(torch, "save", lambda content, file: save(content, Counting(file)))
    WholeCheckpointIO().save_checkpoint({str(i): torch.ones(1000) for i in range(50)}, tmp_path / "last.ckpt")
    assert max(pieces) < sum(pieces) / 20


def test_only_lightnings_own_way_is_replaced():
    quiet = {"accelerator": "cpu", "devices": 1, "logger": False, "enable_checkpointing": False}
    plain, chosen = Trainer(**quiet), Trainer(**quiet, plugins=[AsyncCheckpointIO()])
    for trainer in (plain, chosen):
        use_whole_files(trainer)
    assert isinstance(plain.strategy.checkpoint_io, WholeCheckpointIO)
    assert isinstance(chosen.strategy.checkpoint_io, AsyncCheckpointIO)
