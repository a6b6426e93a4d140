"""What the certainty diagnostics cost: their scalars beside a training step of the demo, a drawing beside a validation.

    python -m benchmarks.diagnostics_cost

CPU seconds of one run of ``configs/mapo_tiny.yaml``. The first phase, which imports and warms up, does not count.
"""

import argparse
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import quiet, table
from benchmarks.stopwatch import now
from mapo.__main__ import main as mapo
from mapo.callbacks.certainty import CertaintyDiagnostics
from mapo.modules.mapo import MAPOModule

PARTS = {
    "a training step": (MAPOModule, "training_step"),
    "scalars after it": (CertaintyDiagnostics, "on_train_batch_end"),
    "three figures": (CertaintyDiagnostics, "on_validation_end"),
}


def measure(phases: int, folder: Path, *options: str) -> dict[str, float]:
    """Return the median CPU seconds of every part, in a run with these further options of ``mapo fit``."""
    seconds: dict[str, list[float]] = defaultdict(list)
    wholes = {part: getattr(owner, name) for part, (owner, name) in PARTS.items()}
    for part, (owner, name) in PARTS.items():
        setattr(owner, name, _timed(wholes[part], seconds[part]))
    try:
        steps = ["--trainer.limit_train_batches", str(phases), "--trainer.val_check_interval", str(phases // 2)]
        logs = ["--trainer.logger.save_dir", str(folder), "--data.num_eval", "8", "--validate_before_fit", "false"]
        mapo(["fit", "--config", "configs/mapo_tiny.yaml", *steps, *logs, *options])
    finally:
        for part, (owner, name) in PARTS.items():
            setattr(owner, name, wholes[part])
    figures = seconds.pop("three figures")  # the first ones import matplotlib
    return {part: statistics.median(found[1:]) for part, found in seconds.items()} | {"three figures": figures[-1]}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.diagnostics_cost", description=__doc__.splitlines()[0])
    parser.add_argument("--phases", type=int, default=20, help="of the run, at least 4; %(default)s")
    given = parser.parse_args(arguments)
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(given.phases, Path(folder))
    step = found["a training step"]
    rows = [[part, f"{1000 * value:.1f}", f"{100 * value / step:.1f} %"] for part, value in found.items()]
    print(table(["part", "CPU ms", "of a step"], rows, names=1))


def _timed(function: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        started = now()
        result = function(*args, **kwargs)
        seconds.append(now().cpu - started.cpu)
        return result

    return timed


if __name__ == "__main__":
    main()
