"""Our verdicts on recorded model answers against the verdicts that were published with them.

    MAPO_BENCHMARK_DATA=<folder> python -m benchmarks.recorded_verdicts --json verdicts.json

Every difference is printed with the row's id, who is right, and why; the rows themselves are not.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.real_answers import Recorded, data_folder, recorded_answers
from benchmarks.report import table, write_json
from mapo.rewards.choices import choices_of, named_choice
from mapo.rewards.math_answer import MathAnswer
from mapo.rewards.quantity import split_unit
from mapo.types import Completion, Prompt

CLASSES = ("ours right", "theirs right", "ambiguous", "not explained")


class Difference(NamedTuple):
    """One recorded answer on which the verdicts differ, without the row."""

    file: str
    id: str
    ours: bool | None
    theirs: bool
    who: str
    reason: str


def verdicts(rows: Sequence[Recorded]) -> list[float | None]:
    """Return our verdicts, each recorded answer in a box."""
    reward = MathAnswer()
    try:
        return reward([_completion(row) for row in rows])
    finally:
        reward.close()


def _completion(row: Recorded) -> Completion:
    prompt = Prompt(row.id, (), (), row.gold, row.metadata)
    return Completion(prompt, "", f"\\boxed{{{row.answer}}}", torch.zeros(1, dtype=torch.long), False)


def differences(rows: Sequence[Recorded]) -> list[Difference]:
    """Return every recorded answer on which we differ from the published verdict, explained."""
    found = []
    for row, value in zip(rows, verdicts(rows), strict=True):
        ours = None if value is None else value == 1.0
        if ours is not row.verdict:
            found.append(Difference(row.file, row.id, ours, row.verdict, *explain(row, ours)))
    return found


def explain(row: Recorded, ours: bool | None) -> tuple[str, str]:
    """Return who is right about a row, and why, where a rule says so."""
    choices = choices_of(row.metadata)
    if row.verdict and not ours and row.guess in choices and named_choice(row.answer, choices) is None:
        return "ours right", "no answer was extracted; the choice most similar to that text was credited"
    named = named_choice(split_unit(row.answer)[0], choices)
    if ours and not row.verdict and choices and named == named_choice(row.gold, choices):
        return "ours right", "the value of the right choice, with a unit that the choices leave out"
    return "not explained", "look at the row"


def main(argv: Sequence[str] | None = None) -> None:
    """Print agreement per file and every difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the results, too")
    options = parser.parse_args(argv)
    folder = data_folder()
    if folder is None:
        parser.error("MAPO_BENCHMARK_DATA is not set to the folder of real rows")
    rows = recorded_answers(folder)
    found = differences(rows)
    results: dict[str, Any] = {"files": {}, "differences": [d._asdict() for d in found]}
    for file in dict.fromkeys(row.file for row in rows):
        here = [d for d in found if d.file == file]
        counts = {name: sum(d.who == name for d in here) for name in CLASSES}
        num = sum(row.file == file for row in rows)
        results["files"][file] = {"answers": num, "agree": num - len(here), **counts}
    print(summary(results["files"]))
    print()
    print(table(["file", "id", "ours", "theirs", "who", "reason"], [list(map(str, d)) for d in found], names=6))
    if options.json:
        write_json(options.json, results)


def summary(files: dict[str, dict[str, int]]) -> str:
    """Return one line per file."""
    rows = [
        [name, str(c["answers"]), f"{c['agree'] / c['answers']:.1%}", *(str(c[k]) for k in CLASSES)]
        for name, c in files.items()
    ]
    return table(["file", "answers", "agree", *CLASSES], rows, names=1)


if __name__ == "__main__":
    main()
