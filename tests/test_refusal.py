"""Whatever goes wrong, a command ends with one line; what nobody foresaw leaves its traceback in a file."""

import errno
import importlib
import os
import sys

import pytest
import torch
from torch.utils.data import DataLoader

import mapo.refusal
from mapo.data.loader import PhaseLoader
from mapo.refusal import one_line_errors


@pytest.fixture
def ending(tmp_path, monkeypatch, capsys):
    """Run a function that raises; return the exit code and the one line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MAPO_DEBUG", raising=False)

    def run(function):
        with pytest.raises(SystemExit) as stopped, one_line_errors():
            function()
        line = capsys.readouterr().err
        assert line.startswith("mapo: error: ")
        assert line.count("\n") == 1
        return stopped.value.code, line.removeprefix("mapo: error: ").rstrip()

    return run


def raising(error):
    def function():
        raise error

    return function


def test_a_refusal_of_this_package_is_told_as_it_is(ending):
    code, line = ending(lambda: PhaseLoader([], batch_size=0))
    assert (code, line[:30]) == (2, "batch_size (0 prompts per phas")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "runs/x"), ["runs/x: No space left", "make room"]),
        (OSError(errno.ENOSPC, "No space left on device"), ["No space left", "test_refusal.py, line", "make room"]),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), ["Disk quota exceeded", "--ckpt_path last"]),
        (PermissionError(errno.EACCES, "Permission denied", "rows"), ["rows: Permission denied", "another place"]),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "rows"), ["rows: No such file"]),
        (OSError(errno.EADDRINUSE, "Address already in use"), ["already in use", "MASTER_PORT"]),
        (OSError(errno.EMFILE, "Too many open files"), ["Too many open files", "ulimit -n"]),
        (MemoryError(), ["out of memory in ", "test_refusal.py, line", "max_tokens_per_micro_batch"]),
        (torch.OutOfMemoryError("CUDA out of memory. Tried\nmore"), ["(CUDA out of memory. Tried)", "lora"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_the_machine_refuses_is_told_with_what_to_do(ending, error, words):
    code, line = ending(raising(error))
    assert code == 2
    for word in words:
        assert word in line


def test_an_interrupt_says_how_to_go_on(ending):
    assert ending(raising(KeyboardInterrupt())) == (
        130,
        "interrupted; a fit goes on with --ckpt_path last, an evaluation with the same command",
    )


def test_an_interrupt_that_lightning_has_caught_says_so_too(ending):
    def interrupted():
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    assert ending(interrupted)[0] == 130


def test_what_nobody_foresaw_leaves_its_traceback(ending, tmp_path):
    code, line = ending(lambda: {}["gold"])
    (file,) = tmp_path.iterdir()
    assert code == 1
    assert line.startswith("KeyError: 'gold' (")
    assert line.endswith(f"nobody foresaw this, its traceback is in {file}")
    assert 'lambda: {}["gold"]' in file.read_text()


def test_a_fault_of_a_library_is_no_refusal_even_where_this_package_calls_it(ending):
    code, line = ending(lambda: mapo.refusal.Path("\0").read_text())
    assert code == 1
    assert line.startswith("ValueError: ")


def test_a_traceback_that_cannot_be_kept_is_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mapo.refusal, "Path", lambda name: tmp_path / "none" / name)
    with pytest.raises(SystemExit), one_line_errors():
        raise KeyError("gold")
    *above, line = capsys.readouterr().err.splitlines()
    assert above[0] == "Traceback (most recent call last):"
    assert line.endswith("nobody foresaw this, its traceback is above")


def test_debugging_lets_every_error_through(monkeypatch):
    monkeypatch.setenv("MAPO_DEBUG", "1")
    for error in (KeyError("gold"), KeyboardInterrupt(), MemoryError()):
        with pytest.raises(type(error)), one_line_errors():
            raise error


def test_what_fails_in_the_wake_of_a_refusal_does_not_hide_it(ending):
    def fails_to_close():
        try:
            PhaseLoader([], batch_size=0)
        finally:
            os.close(-1)

    assert ending(fails_to_close)[1].startswith("batch_size (0 prompts")


def test_a_file_of_ones_own_that_is_no_python_is_named(ending, tmp_path, monkeypatch):
    (tmp_path / "no_python.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    code, line = ending(lambda: importlib.import_module("no_python"))
    assert (code, line) == (2, f"{tmp_path / 'no_python.py'}, line 1: invalid syntax")


class Rows:
    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 1

    def __getitem__(self, place):
        raise self.error


def test_a_process_that_reads_data_is_quoted(ending):
    error = ValueError("row 'train-1' has no picture\nreplace the file")
    code, line = ending(lambda: next(iter(DataLoader(Rows(error), num_workers=1))))
    assert code == 2
    words = "row 'train-1' has no picture replace the file (Caught ValueError in DataLoader worker process 0)"
    assert line == words


def test_a_fault_in_a_process_that_reads_data_keeps_its_traceback(ending, tmp_path):
    code, line = ending(lambda: next(iter(DataLoader(Rows(AttributeError("gold")), num_workers=1))))
    assert code == 1
    assert "AttributeError" in line
    (file,) = tmp_path.glob("mapo-traceback-*")
    assert "in __getitem__" in file.read_text()
