"""Code blocks of a Markdown page, and how to run them at reduced length."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

from mapo.__main__ import main

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]*) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S
)
_FILE = re.compile(r"# (\S+\.(?:py|yaml))\n")

# Two phases of six completions: everything a command touches, at a fraction of its length.
_SHORT_FIT = [
    "--trainer.limit_train_batches=2",
    "--trainer.val_check_interval=2",
    "--data.max_train_samples=32",
    "--data.max_eval_samples=4",
    "--model.group_size=6",
    "--model.evaluation.sampling.max_completion_tokens=32",
]
_SHORT_SUPERVISED = ["--data.clean_steps=1", "--data.mixed_steps=1", "--data.num_eval=4"]
_SHORT_EVALUATION = ["--data.max_eval_samples=4"]


class Block(NamedTuple):
    """One fenced block; ``reason`` is why its commands cannot run here."""

    language: str
    code: str
    reason: str | None

    @property
    def commands(self) -> list[list[str]]:
        return [words for line in self.code.splitlines() if (words := shlex.split(line, comments=True))]


def blocks(page: Path, *languages: str) -> list[Block]:
    """Return the blocks of a page in these languages, in order."""
    found = _BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(m["language"], m["code"], m["reason"]) for m in found if m["language"] in languages]


def write_files(page: Path, folder: Path) -> list[str]:
    """Write every block that begins with a file name, ``# name.py``, to that file, and return the names."""
    names = []
    for block in blocks(page, "python", "yaml"):
        if named := _FILE.match(block.code):
            (folder / named[1]).write_text(block.code, encoding="utf-8")
            names.append(named[1])
    return names


def run_command(words: list[str], *, runs_here: bool = True) -> None:
    """Run ``python -m mapo ...`` in this process: shortened, or where it cannot run here, up to its plan.

    Where it cannot run, a fit prints its plan, which parses and builds everything but the weights, and any other
    command its configuration.
    """
    assert words[:3] == ["python", "-m", "mapo"], words
    arguments = words[3:]
    subcommand = arguments[1] if arguments[0] == "supervised" else arguments[0]
    if "--plan" in arguments or "--print_config" in arguments:
        extra = []
    elif not runs_here:
        extra = ["--plan=true"] if subcommand == "fit" else ["--print_config"]
    elif subcommand == "export":
        extra = []  # it takes no longer
    elif arguments[0] == "supervised":
        extra = _SHORT_SUPERVISED
    elif subcommand == "compare":
        extra = []
    else:
        extra = _SHORT_FIT if subcommand == "fit" else _SHORT_EVALUATION
    stops = "--plan" in arguments or "--print_config" in arguments or not runs_here
    if not stops:
        main([*arguments, *extra])
        return
    with pytest.raises(SystemExit) as stop:
        main([*arguments, *extra])
    assert stop.value.code == 0, words
