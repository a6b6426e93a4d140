"""What a training step costs as groups and prompts grow: our step alone, with larger and larger G, then P.

    python -m benchmarks.scaling --json scaling.json
    python -m benchmarks.scaling --groups text-p1000-c64-g8 text-p1000-c64-g16 --prompts text-p256-c64-g8

Every case has its own training loop on the same random model; in a round each of them takes one step, so that a load
that comes and goes does not favour a case. ``×`` is the median over the rounds of a row's CPU seconds divided by those
of the row above it in the same series: where G or P doubles, 2 is proportional, 1 is free. A completion has exactly C
tokens; the step is that of ``step_vs_trl.py``.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from benchmarks.mapo_side import MapoSide
from benchmarks.report import quiet, table, write_json
from benchmarks.stopwatch import Seconds
from benchmarks.task import Task
from benchmarks.tiny_models import SIZES, Size, build_model, build_prompts
from benchmarks.update import Case

GROUPS = ("text-p1000-c64-g4", "text-p1000-c64-g8", "text-p1000-c64-g16")
PROMPTS = ("text-p250-c64-g8", "text-p500-c64-g8", "text-p1000-c64-g8", "text-p2000-c64-g8")
PARTS = ("step", "rollout", "update")


@dataclass(frozen=True)
class Scaling:
    """Measured steps.

    Attributes:
        series: Cases by what grows from one to the next.
        rounds: By case, one entry per round: the seconds of every part.
    """

    series: Mapping[str, Sequence[str]]
    rounds: Mapping[str, Sequence[Mapping[str, Seconds]]]

    def median(self, case: str, part: str) -> float:
        """Return the median CPU seconds of a part."""
        return statistics.median(parts[part].cpu for parts in self.rounds[case])

    def growth(self, case: str, smaller: str, part: str) -> float:
        """Return the median over the rounds of a case's CPU seconds divided by those of a smaller one."""
        pairs = zip(self.rounds[case], self.rounds[smaller], strict=True)
        return statistics.median(large[part].cpu / small[part].cpu for large, small in pairs)

    def as_json(self) -> dict[str, Any]:
        """Return all readings, and the medians and ratios that the table shows."""
        return {
            "medians": {case: {part: self.median(case, part) for part in PARTS} for case in self.rounds},
            "growth": {
                what: {
                    f"{case} / {smaller}": {part: self.growth(case, smaller, part) for part in PARTS}
                    for smaller, case in pairwise(cases)
                }
                for what, cases in self.series.items()
            },
            "rounds": {
                case: [{part: seconds._asdict() for part, seconds in parts.items()} for parts in readings]
                for case, readings in self.rounds.items()
            },
        }


def measure(series: Mapping[str, Sequence[str]], size: Size, *, rounds: int, num_prompts: int) -> Scaling:
    """Let all cases take one step per round.

    Args:
        series: Names of cases, by what grows.
        size: Of the model.
        rounds: That count; one before them warms up, and one is planned behind them, so that no loop ends in the last.
        num_prompts: Per step.
    """
    names = list(dict.fromkeys(name for cases in series.values() for name in cases))
    with tempfile.TemporaryDirectory() as folder:
        sides = {}
        for name in names:
            sys.stderr.write(f"{name} ...\n")
            task = build_task(Case.parse(name), size, Path(folder), num_steps=rounds + 2, num_prompts=num_prompts)
            sides[name] = MapoSide(task)
        readings = [{name: take_step(side) for name, side in sides.items()} for _ in range(rounds + 1)][1:]
        for side in sides.values():
            side.close()
    return Scaling(series, {name: [reading[name] for reading in readings] for name in names})


def build_task(case: Case, size: Size, folder: Path, *, num_steps: int, num_prompts: int) -> Task:
    """Draw the prompts of all steps, and write the model where it is not there yet."""
    path = folder / case.kind
    if not path.exists():
        build_model(case.kind, size, path)
    num = num_steps * num_prompts
    prompts = build_prompts(case.kind, tokens=case.prompt_tokens, num=num, vocabulary=size.vocabulary)
    phases = [prompts[start : start + num_prompts] for start in range(0, num, num_prompts)]
    return Task(path, phases, case.group_size, case.completion_tokens)


def take_step(side: MapoSide) -> dict[str, Seconds]:
    """Take one step and check that it sampled every token it should."""
    seconds, task = side.step(), side.task
    if side.completion_tokens != task.rows * task.completion_tokens:
        raise RuntimeError(f"{side.completion_tokens} tokens were sampled, not {task.rows} x {task.completion_tokens}")
    return seconds


def as_table(found: Scaling) -> str:
    """Return the one table: CPU seconds, and how they grow from row to row of a series."""
    header = ["grows", "case", "step s", "rollout s", "update s", "× step", "× rollout", "× update"]
    rows = []
    for what, cases in found.series.items():
        for smaller, case in zip([None, *cases], cases, strict=False):
            seconds = [f"{found.median(case, part):.2f}" for part in PARTS]
            growth = ["" if smaller is None else f"{found.growth(case, smaller, part):.2f}" for part in PARTS]
            rows.append([what, case, *seconds, *growth])
    return table(header, rows, names=2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the cases, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--groups", nargs="+", default=GROUPS, help="cases whose G grows, like text-p1000-c64-g8")
    parser.add_argument("--prompts", nargs="+", default=PROMPTS, help="cases whose P grows")
    parser.add_argument("--rounds", type=int, default=5, help="that count; one more warms up")
    parser.add_argument("--threads", type=int, default=1, help="of torch, within one operation")
    parser.add_argument("--num-prompts", type=int, default=2, help="per step")
    parser.add_argument("--size", choices=SIZES, default="small", help="of the model")
    parser.add_argument("--json", type=Path, help="file for all readings")
    options = parser.parse_args(arguments)
    quiet()
    torch.set_num_threads(options.threads)
    series = {"G": options.groups, "P": options.prompts}
    found = measure(series, SIZES[options.size], rounds=options.rounds, num_prompts=options.num_prompts)
    print(as_table(found))
    if options.json:
        settings = {"model": asdict(SIZES[options.size]), "num_prompts": options.num_prompts}
        write_json(options.json, settings | found.as_json())


if __name__ == "__main__":
    main()
