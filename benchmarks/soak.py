"""A run of 2,000 phases of the built-in model: memory, open files, threads and child processes stay flat.

    python -m benchmarks.soak                       # make soak; about ten minutes on one core
    python -m benchmarks.soak --phases 100 --runs runs/short --picture short.png

The run is one of the command line: pictures read from files, answers that worker processes have to judge, a checkpoint
every 50 phases, a validation every 100, completions and figures written. After each phase the vitals of the process are
read from ``/proc``. The first half is warm-up: workers keep what they have parsed, up to 1,024 texts, and the allocator
finds its size. A vital is flat where its median over the last quarter of the run is above that of the quarter before by
at most 2 % (memory) or not at all (everything else).
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override

from benchmarks.report import table, write_json
from mapo.__main__ import main as mapo
from mapo.data.grid_rectangles import GridRectangles
from mapo.data.problem import INSTRUCTION

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MIB = 2**20
# How much each may grow from the third quarter to the last, as a share, and how it is shown.
VITALS = {
    "memory_mib": (0.02, "memory of the run, MiB"),
    "workers_mib": (0.02, "memory of its children, MiB"),
    "open_files": (0.0, "open files"),
    "threads": (0.0, "threads"),
    "children": (0.0, "child processes"),
}
Vitals = Mapping[str, float]


def vitals() -> dict[str, float]:
    """Return this process's resident memory and that of its children (MiB), its open files, threads and children."""
    own = Path("/proc/self")
    children = [pid for task in (own / "task").iterdir() for pid in (task / "children").read_text().split()]
    return {
        "memory_mib": _resident(own),
        "workers_mib": sum(_resident(Path("/proc", pid)) for pid in children),
        "open_files": len(list((own / "fd").iterdir())) - 1,  # the listing itself is one
        "threads": len(list((own / "task").iterdir())),
        "children": len(children),
    }


class VitalsLog(Callback):
    """Writes a line with the vitals after each phase."""

    def __init__(self, path: str) -> None:
        """Keep where to write."""
        self.path = Path(path)

    @override
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"phase": trainer.fit_loop.epoch_loop.total_batch_idx} | vitals()) + "\n")


def growth(trace: Sequence[Vitals], name: str) -> tuple[float, float]:
    """Return the median of a vital over the third quarter of a run, and over the last.

    Example:
        >>> growth([{"threads": float(n)} for n in [9, 9, 9, 2, 2, 2, 4, 4, 4]], "threads")
        (2.0, 4.0)
    """
    values = [row[name] for row in trace]
    late = -(-len(values) // 4)
    return statistics.median(values[len(values) // 2 : -late]), statistics.median(values[-late:])


def is_flat(trace: Sequence[Vitals], name: str) -> bool:
    """Return whether a vital has grown by no more than it may."""
    early, late = growth(trace, name)
    return late <= early * (1 + VITALS[name][0])


def draw(trace: Sequence[Vitals]) -> "Figure":
    """Draw every vital over the phases, one axis below the other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 8), layout="constrained")
    axes = figure.subplots(len(VITALS), sharex=True)
    phases = [row["phase"] + 1 for row in trace]
    for axis, (name, (_, label)) in zip(axes, VITALS.items(), strict=True):
        values = [row[name] for row in trace]
        axis.plot(phases, values, linewidth=1)
        axis.axvspan(0, len(trace) / 2, color="0.92")
        axis.set_ylim(0, max(*values, 1) * 1.15)
        axis.set_title(label, loc="left", fontsize=10)
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("rollout phase (grey: warm-up)")
    figure.suptitle(f"One run of {len(trace):,} phases")
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the table, draw the trace; return 1 where a vital has grown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--phases", type=int, default=2000, help="of the run; %(default)s")
    parser.add_argument("--runs", type=Path, default=Path("runs/soak"), help="folder that is made; %(default)s")
    parser.add_argument("--picture", type=Path, default=Path("docs/figures/soak.png"), help="%(default)s")
    given = parser.parse_args(arguments)
    given.runs.mkdir(parents=True)
    file = given.runs / "vitals.jsonl"
    mapo(["fit", *_options(given.runs, file, given.phases)])
    trace = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    if len(trace) != given.phases:
        raise RuntimeError(f"{file} has {len(trace)} lines for {given.phases} phases")
    rows = [[label, *_cells(trace, name)] for name, (_, label) in VITALS.items()]
    print(table(["vital", "third quarter", "last quarter", "most", "flat"], rows, names=1))
    write_json(given.runs / "soak.json", {"phases": given.phases, "growth": {n: growth(trace, n) for n in VITALS}})
    given.picture.parent.mkdir(parents=True, exist_ok=True)
    draw(trace).savefig(given.picture, dpi=100)
    return int(not all(is_flat(trace, name) for name in VITALS))


def _cells(trace: Sequence[Vitals], name: str) -> Iterator[str]:
    yield from (f"{value:,.0f}" for value in (*growth(trace, name), max(row[name] for row in trace)))
    yield "yes" if is_flat(trace, name) else "NO"


def _resident(process: Path) -> float:
    try:
        lines = (process / "status").read_text().splitlines()
    except OSError:  # it has ended meanwhile
        return 0.0
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def _questions(folder: Path) -> str:
    """Write 32 questions: three of four have a picture; every fourth answer has to be judged by computer algebra."""
    rows: list[dict[str, Any]] = []
    for number, prompt in enumerate(GridRectangles(num_train=24).train_prompts()):
        prompt.images[0].save(folder / f"{number}.png")
        question = prompt.messages[0]["content"][1]["text"].removesuffix(INSTRUCTION).strip()
        rows.append({"question": question, "answer": prompt.answer, "images": [f"{number}.png"]})
        if number % 3 == 2:
            rows.append({"question": question, "answer": rf"\sin({number})+1"})
    file = folder / "questions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)


def _options(folder: Path, vitals_file: Path, phases: int) -> list[str]:
    questions = _questions(folder)
    saver = {"every_n_train_steps": 50, "save_last": True, "filename": "{step}"}
    settings = {
        "trainer.max_epochs": phases,
        "trainer.max_steps": phases,
        "trainer.limit_train_batches": 16,
        "trainer.val_check_interval": 100,
        "trainer.logger.save_dir": str(folder),
        "trainer.logger.name": "log",
        "trainer.callbacks": json.dumps(
            [
                {"class_path": "ModelCheckpoint", "init_args": saver},
                {"class_path": "benchmarks.soak.VitalsLog", "init_args": {"path": str(vitals_file)}},
            ]
        ),
        "model.group_size": 4,
        "model.kl_coef": 0.01,  # so that every group has something to learn from
        "model.sampling.max_completion_tokens": 24,
        "model.evaluation.sampling.max_completion_tokens": 24,
        "model.optimizer.init_args.lr": 1e-6,
        "data": "mapo.data.jsonl.JSONL",
        "data.train": questions,
        "data.evaluation": json.dumps({"questions": questions}),
        "data.instruction": INSTRUCTION,
        "data.batch_size": 2,
        "data.max_eval_samples": 8,
    }
    return ["--config", "configs/mapo_tiny.yaml", *(f"--{name}={value}" for name, value in settings.items())]


if __name__ == "__main__":
    sys.exit(main())
