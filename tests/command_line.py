"""The command line in this process, at a length that fits a test."""

import contextlib
import io
import logging
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from mapo.__main__ import main

CONFIGS = Path(__file__).parents[1] / "configs"

# Two phases of two groups of four completions, and three rows per evaluation set.
SHORT = [
    "--trainer.limit_train_batches=2",
    "--trainer.val_check_interval=2",
    "--data.num_train=8",
    "--data.num_eval=3",
    "--data.batch_size=2",
    "--model.group_size=4",
    "--model.sampling.max_completion_tokens=24",
    "--model.evaluation.sampling.max_completion_tokens=24",
]


class Outcome(NamedTuple):
    """What a command left in the terminal; ``log`` holds Lightning's messages, which go to stderr as well."""

    code: int
    out: str
    err: str
    log: str

    @property
    def error(self) -> str:
        """The one line that says what was wrong."""
        assert self.code == 2, self
        assert "Traceback" not in self.err
        (line,) = [line for line in self.err.splitlines() if line.startswith("mapo: error: ")]
        assert self.err.endswith(f"{line}\n")  # nothing after it
        return line.removeprefix("mapo: error: ")


def invoke(folder: Path, *arguments: str) -> Outcome:
    """Run ``mapo`` in a folder that holds the configs, with no network."""
    out, err, log = io.StringIO(), io.StringIO(), io.StringIO()
    if not (folder / "configs").exists():
        (folder / "configs").symlink_to(CONFIGS)
    handler, code = logging.StreamHandler(log), 0
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(folder)
        patch.setenv("PL_GLOBAL_SEED", "0")  # seeding writes it; it is put back afterwards
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        patch.setattr(sys, "path", [*sys.path])
        logger.addHandler(handler)
        try:
            main(arguments)
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            logger.removeHandler(handler)
    return Outcome(code, out.getvalue(), err.getvalue(), log.getvalue())
