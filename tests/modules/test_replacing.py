"""Whatever stands where, and wherever it is broken off: the old one or the new one is left, and nothing else."""

from pathlib import Path

import pytest

from mapo.modules.replacing import broken_off, put, restore


class Killed(BaseException):
    pass


def make(path: Path, kind: str, content: str) -> Path:
    if kind == "file":
        path.write_text(content)
    elif kind == "folder":
        path.mkdir()
        (path / "weights").write_text(content)
    elif kind == "link":
        make(path.with_name("elsewhere"), "folder", content)
        path.symlink_to("elsewhere")
    return path


def content_of(path: Path) -> str:
    return (path / "weights" if path.is_dir() else path).read_text()


@pytest.mark.parametrize("old", ["nothing", "file", "folder", "link"])
@pytest.mark.parametrize("new", ["file", "folder"])
def test_the_new_one_is_in_its_place_and_nothing_beside_it(tmp_path, old, new):
    path = make(tmp_path / "last.ckpt", old, "old")
    put(make(tmp_path / "draft", new, "new"), path)
    assert content_of(path) == "new"
    assert {found.name for found in tmp_path.iterdir()} <= {"last.ckpt", "elsewhere"}
    if old == "link":
        assert content_of(tmp_path / "elsewhere") == "old"


@pytest.mark.parametrize(("old", "new"), [("folder", "file"), ("folder", "folder"), ("file", "folder")])
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_one_of_both_is_left_wherever_it_is_broken_off(tmp_path, monkeypatch, old, new, steps):
    path = make(tmp_path / "last.ckpt", old, "old")
    draft = make(tmp_path / "draft", new, "new")
    rename, done = Path.rename, []

    def killed_after_some(self, target):
        if len(done) == steps:
            raise Killed
        done.append(target)
        return rename(self, target)

    def killed(_):
        raise Killed

    monkeypatch.setattr(Path, "rename", killed_after_some)
    monkeypatch.setattr("mapo.modules.replacing._sync", killed)
    with pytest.raises(Killed):
        put(draft, path)
    monkeypatch.undo()
    assert broken_off(tmp_path, ".ckpt") == ([path] if steps else [])
    assert restore(path) == (steps == 1)
    assert content_of(path) == ("new" if steps == 2 else "old")
    assert {found.name for found in tmp_path.iterdir()} - {"draft"} == {"last.ckpt"}


def test_a_draft_that_cannot_be_put_leaves_the_old_one(tmp_path):
    path = make(tmp_path / "last.ckpt", "folder", "old")
    with pytest.raises(FileNotFoundError):
        put(tmp_path / "draft", path)
    assert content_of(path) == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["last.ckpt"]
