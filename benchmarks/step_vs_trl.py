"""One training step of ours against one of TRL's ``GRPOTrainer``, side by side in one process.

    python -m benchmarks.step_vs_trl --json result.json

Both sides have the same random model, prompts, group size, temperature, completion length, loss (GRPO without a
reference, on policy), optimiser (fused AdamW), precision (fp32) and threads, and each runs its framework's own training
loop. Before anything is timed, both are given the same completions, and their gradients must agree. Then they take
turns: ours, TRL as it is, TRL with its head on completion positions alone, as on a GPU ("fair head"). Ratios are
medians over the rounds, so that a load that comes and goes does not favour a side. ``rest`` is what lies between the
halves of a step: data, rewards, advantages and logs, and in TRL a second preparation of the pictures.

Both log rewards, lengths, entropy and clipped shares. TRL also keeps the texts and the per-sequence extremes of the
clipped shares; ours also the gap to the sampler's log-probs, and the statistics of groups.
"""

import argparse
import re
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch

from benchmarks.agreement import Agreement, check_agreement
from benchmarks.mapo_side import MapoSide
from benchmarks.report import quiet, table, write_json
from benchmarks.stopwatch import Seconds
from benchmarks.task import Task
from benchmarks.tiny_models import SIZES, Kind, Size, build_model, build_prompts
from benchmarks.trl_side import TrlSide

CASES = ("text-p64-c64", "text-p256-c64", "text-p512-c64", "vl-p300-c64")
SIDES = ("mapo", "TRL as is", "TRL, fair head")
PARTS = ("step", "rollout", "update", "rest")


@dataclass(frozen=True)
class Case:
    """The shape of one comparison, named like ``text-p256-c64``.

    Attributes:
        kind: Language model or vision-language model with one picture per prompt.
        prompt_tokens: P.
        completion_tokens: C, exactly.
    """

    kind: Kind
    prompt_tokens: int
    completion_tokens: int

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read a case from its name."""
        found = re.fullmatch(r"(text|vl)-p(\d+)-c(\d+)", name)
        if found is None:
            raise ValueError(f"case {name!r} is not like 'text-p256-c64' or 'vl-p300-c64'")
        kind: Kind = "vl" if found[1] == "vl" else "text"
        return cls(kind, int(found[2]), int(found[3]))


@dataclass(frozen=True)
class Result:
    """One measured case.

    Attributes:
        case: Its name.
        parameters: Of the model.
        agreement: Of the gradients on the same completions.
        rounds: By side, one entry per round: the seconds of every part.
    """

    case: str
    parameters: int
    agreement: Agreement
    rounds: Mapping[str, Sequence[Mapping[str, Seconds]]]

    def median(self, side: str, part: str, clock: str) -> float:
        """Return the median seconds of a part of a side's step."""
        return statistics.median(getattr(parts[part], clock) for parts in self.rounds[side])

    def ratio(self, side: str, part: str, clock: str) -> float:
        """Return the median over the rounds of a side's seconds divided by ours."""
        pairs = zip(self.rounds[side], self.rounds[SIDES[0]], strict=True)
        return statistics.median(getattr(other[part], clock) / getattr(ours[part], clock) for other, ours in pairs)

    def as_json(self) -> dict[str, Any]:
        """Return all readings, and the medians and ratios that the table shows."""
        clocks = Seconds._fields
        return {
            "case": self.case,
            "parameters": self.parameters,
            "agreement": self.agreement._asdict(),
            "medians": {s: {p: {c: self.median(s, p, c) for c in clocks} for p in PARTS} for s in SIDES},
            "ratios": {s: {p: {c: self.ratio(s, p, c) for c in clocks} for p in PARTS[:3]} for s in SIDES[1:]},
            "rounds": {s: [{p: x._asdict() for p, x in parts.items()} for parts in self.rounds[s]] for s in SIDES},
        }


def measure(case: Case, size: Size, *, rounds: int, num_prompts: int, group_size: int) -> Result:
    """Compare the sides on one case.

    Args:
        case: Shapes.
        size: Of the model.
        rounds: That count; one before them warms up, and one is planned behind them, so that no side ends its training
            within the last.
        num_prompts: Per step.
        group_size: Completions per prompt.
    """
    with tempfile.TemporaryDirectory() as folder:
        task = build_task(
            case, size, Path(folder), num_steps=rounds + 2, num_prompts=num_prompts, group_size=group_size
        )
        agreement = check_agreement(task, size.vocabulary)
        ours = MapoSide(task)
        theirs = TrlSide(replace(task, phases=[phase for phase in task.phases for _ in SIDES[1:]]))
        readings = [take_turns(ours, theirs, task) for _ in range(rounds + 1)][1:]  # the first one warms up
        ours.close()
        theirs.close()
    by_side = {side: [reading[side] for reading in readings] for side in SIDES}
    name = f"{case.kind}-p{case.prompt_tokens}-c{case.completion_tokens}"
    return Result(name, ours.num_parameters, agreement, by_side)


def build_task(case: Case, size: Size, folder: Path, *, num_steps: int, num_prompts: int, group_size: int) -> Task:
    """Write the model and draw the prompts of all steps."""
    build_model(case.kind, size, folder)
    prompts = build_prompts(
        case.kind, tokens=case.prompt_tokens, num=num_steps * num_prompts, vocabulary=size.vocabulary
    )
    phases = [prompts[start : start + num_prompts] for start in range(0, len(prompts), num_prompts)]
    return Task(folder, phases, group_size, case.completion_tokens)


def take_turns(ours: MapoSide, theirs: TrlSide, task: Task) -> dict[str, dict[str, Seconds]]:
    """Let every side take one step on the same prompts, and check that it sampled every token it should."""
    readings = {}
    for side in SIDES:
        readings[side] = with_rest(ours.step() if side == SIDES[0] else theirs.step(fair_head=side == SIDES[2]))
        tokens = (ours if side == SIDES[0] else theirs).completion_tokens
        if tokens != task.rows * task.completion_tokens:
            raise RuntimeError(f"{side} sampled {tokens} tokens, not {task.rows} x {task.completion_tokens}")
    return readings


def with_rest(parts: Mapping[str, Seconds]) -> dict[str, Seconds]:
    """Return the parts of a step and what lies between them."""
    step, halves = parts["step"], [parts["rollout"], parts["update"]]
    rest = Seconds(step.cpu - sum(half.cpu for half in halves), step.wall - sum(half.wall for half in halves))
    return {**parts, "rest": rest}


def as_table(results: Sequence[Result]) -> str:
    """Return the one table: CPU seconds of the parts, and how many times ours the others take."""
    seconds = ["CPU s", "rollout", "update", "rest", "wall s"]
    ratios = ["× CPU", "× rollout", "× update", "× wall"]
    return table(
        ["case", "side", *seconds, *ratios], [_row(result, side) for result in results for side in SIDES], names=2
    )


def _row(result: Result, side: str) -> list[str]:
    seconds = [result.median(side, part, "cpu") for part in PARTS] + [result.median(side, "step", "wall")]
    ratios = ["1"] * 4
    if side != SIDES[0]:
        shown = [(part, "cpu") for part in PARTS[:3]] + [("step", "wall")]
        ratios = [f"{result.ratio(side, part, clock):.2f}" for part, clock in shown]
    return [result.case, side, *(f"{value:.2f}" for value in seconds), *ratios]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the cases, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", nargs="+", default=CASES, help="like text-p256-c64 or vl-p300-c64")
    parser.add_argument("--pairs", type=int, default=5, help="rounds that count; one more warms up")
    parser.add_argument("--threads", type=int, default=1, help="of torch, within one operation")
    parser.add_argument("--prompts", type=int, default=2, help="per step")
    parser.add_argument("--group-size", type=int, default=8, help="completions per prompt")
    parser.add_argument("--size", choices=SIZES, default="small", help="of the model")
    parser.add_argument("--json", type=Path, help="file for all readings")
    options = parser.parse_args(arguments)
    quiet()
    torch.set_num_threads(options.threads)
    shapes = {"num_prompts": options.prompts, "group_size": options.group_size}
    results = []
    for name in options.cases:
        sys.stderr.write(f"{name} ...\n")
        results.append(measure(Case.parse(name), SIZES[options.size], rounds=options.pairs, **shapes))
    print(as_table(results))
    if options.json:
        size = asdict(SIZES[options.size])
        write_json(options.json, {"model": size, **shapes, "cases": [result.as_json() for result in results]})


if __name__ == "__main__":
    main()
