"""Every method of ``configs/algorithm`` on a built-in task with several seeds, and the report of their comparison.

    python -m benchmarks.ablation                          # make ablation
    python -m benchmarks.ablation --methods mapo grpo --seeds 5

Started again, it goes on: finished runs are kept, interrupted ones continue from their last checkpoint, and runs begin
anew where their arguments, their method's file or the sources of the package have changed. Runs are in
``runs/ablation/<method>/seed_<n>``, each with its output in ``output.log``; the report goes to ``docs/ablation.md``.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import mapo
from benchmarks.report import provenance
from mapo.compare.command import write_report
from mapo.compare.comparison import ALGORITHMS, compare
from mapo.compare.methods import read_algorithms

CONFIG = Path("configs/mapo_tiny_emotion.yaml")
PACKAGE = Path(mapo.__file__).parent
# On one core: 39 s of CPU time for 30 phases of grpo.yaml with the defaults below, measured on a busy machine.
SECONDS_PER_START, SECONDS_PER_PHASE = 12.0, 0.9
_REFERENCE = "grpo"
_PROMPTS_PER_PHASE = 24  # dynamic sampling takes up to three batches of 8 for a phase; the others leave two of them


@dataclass(frozen=True)
class Plan:
    """One run: which method, which seed, the arguments of ``mapo fit``, and a digest of the package's sources."""

    method: str
    seed: int
    folder: Path
    arguments: tuple[str, ...]
    package: str

    @property
    def digest(self) -> str:
        """Of the arguments, of the files that they name, and of the package."""
        files = [word.removeprefix("--config=") for word in self.arguments if word.startswith("--config=")]
        texts = [Path(file).read_text(encoding="utf-8") for file in files]
        return hashlib.blake2b(json.dumps([self.arguments, texts, self.package]).encode(), digest_size=16).hexdigest()

    @property
    def finished(self) -> bool:
        """Whether this very run has come to its end."""
        results = self.folder / "results.json"
        return self._is_known() and results.is_file() and json.loads(results.read_text("utf-8"))["finished"] is True

    def prepare(self) -> list[str]:
        """Return the arguments that begin the run or continue it; what is left of another run is removed."""
        checkpoint = self.folder / "checkpoints" / "last.ckpt"
        if self._is_known() and checkpoint.is_file():
            return [*self.arguments, f"--ckpt_path={checkpoint}"]
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        (self.folder / "plan.txt").write_text(self.digest, "utf-8")
        return list(self.arguments)

    def _is_known(self) -> bool:
        written = self.folder / "plan.txt"
        return written.is_file() and written.read_text("utf-8") == self.digest


def plan_runs(given: argparse.Namespace) -> list[Plan]:
    """Return all runs, seed by seed, so that methods are comparable before all seeds are through.

    Files that set the same are one method under both names: their runs would be alike to the last bit.
    """
    algorithms = read_algorithms(ALGORITHMS)
    equal = {
        name: [other for other in given.methods if algorithms[other] == algorithms[name]] for name in given.methods
    }
    package = digest_of_sources(PACKAGE)  # once: what is edited while runs are under way is not what they run
    return [
        Plan(" = ".join(names), seed, given.runs / name / f"seed_{seed}", tuple(_arguments(given, name, seed)), package)
        for seed in range(given.seeds)
        for name, names in equal.items()
        if name == names[0]
    ]


def digest_of_sources(folder: Path) -> str:
    """Return a digest of the Python files below a folder, their names included."""
    found = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.rglob("*.py")):
        found.update(json.dumps([path.relative_to(folder).as_posix(), path.read_text(encoding="utf-8")]).encode())
    return found.hexdigest()


def run_all(plans: Sequence[Plan], jobs: int) -> list[Plan]:
    """Run the plans, some at a time, and say how far it is; return those that failed.

    Each run has a process of its own, forked from one that has imported the package, which would take longer than half
    of the run.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mapo.cli"])
    waiting, failed, started = list(plans), [], time.monotonic()
    running: dict[int, tuple[BaseProcess, Plan, float]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                plan = waiting.pop(0)
                process = context.Process(target=fit, args=(plan.prepare(), plan.folder / "output.log"))
                process.start()
                running[process.sentinel] = process, plan, time.monotonic()
            for sentinel in wait(list(running)):
                process, plan, begun = running.pop(int(sentinel))
                process.join()
                if process.exitcode:
                    failed.append(plan)
                done = len(plans) - len(waiting) - len(running)
                left = (time.monotonic() - started) / done * (len(plans) - done)
                outcome = f"failed, see {plan.folder / 'output.log'}" if process.exitcode else accuracies(plan)
                run = f"{plan.method}, seed {plan.seed}: {outcome} in {time.monotonic() - begun:.0f} s"
                _say(f"{done}/{len(plans)} {run}; {_time(left)} left")
    finally:
        for process, _, _ in running.values():  # only where this is interrupted
            process.terminate()
    return failed


def fit(arguments: Sequence[str], log: Path) -> None:
    """Run ``mapo fit`` in this process, its output in a file."""
    with log.open("a", encoding="utf-8") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    from mapo.__main__ import main

    main(arguments)


def accuracies(plan: Plan) -> str:
    """Return what a run came to."""
    summary = json.loads((plan.folder / "results.json").read_text("utf-8"))["summary"]
    return ", ".join(f"{name} {100 * figure['accuracy']['after']:.1f} %" for name, figure in summary.items())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, and write the report."""
    given = parse(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as many runs at a time as there are cores, with one each
    plans = plan_runs(given)
    missing = [plan for plan in plans if not plan.finished]
    expected = len(missing) * (SECONDS_PER_START + SECONDS_PER_PHASE * given.phases) / given.jobs
    _say(
        f"{len({plan.method for plan in plans})} methods x {given.seeds} seeds, {given.phases} phases each, on "
        f"{given.config.stem}: "
        f"{len(plans) - len(missing)} runs are there, {len(missing)} to go, {given.jobs} at a time, "
        f"about {_time(expected)}"
    )
    failed = run_all(missing, given.jobs)
    done = [plan for plan in plans if plan not in failed]
    if not done:
        raise SystemExit("no run has come to its end, so there is nothing to report")
    report = write(given, done, failed)
    _say(f"report  {report}")
    if failed:
        raise SystemExit(f"{len(failed)} runs failed; make ablation tries them again")


def write(given: argparse.Namespace, done: Sequence[Plan], failed: Sequence[Plan]) -> Path:
    """Write the report next to the runs, and its page and pictures to where they are shown."""
    names = {plan.folder: plan.method for plan in done}
    reference = _REFERENCE if _REFERENCE in names.values() else None
    comparison = compare([], names=names, reference=reference, algorithms=ALGORITHMS)
    page = write_report(
        comparison, given.runs, stem="ablation", title="Ablation", introduction=_introduction(given, failed)
    )
    given.output.mkdir(parents=True, exist_ok=True)
    for file in (page, *sorted(given.runs.glob("ablation_*.png"))):
        shutil.copy(file, given.output)
    return given.output / page.name


def _introduction(given: argparse.Namespace, failed: Sequence[Plan]) -> str:
    lines = [
        f"Written by `make ablation`: every method of `configs/algorithm/` laid over `{given.config}`, "
        f"{given.phases} phases, {given.seeds} {'seed' if given.seeds == 1 else 'seeds'}, the built-in model. "
        "The task is small and easy: it shows what a method does to training here, not what it does to a large model."
    ]
    made = provenance()
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items() if version)
    lines.append(f"{made['date'][:10]}, commit {made['commit']}, {versions}.")
    lines += [f"Left out, since it failed: {plan.method}, seed {plan.seed}." for plan in failed]
    return "\n\n".join(lines)


def _arguments(given: argparse.Namespace, method: str, seed: int) -> list[str]:
    return [
        "fit",
        f"--config={given.config}",
        f"--config={ALGORITHMS / method}.yaml",
        f"--seed_everything={seed}",
        "--trainer.logger=false",  # evaluation.jsonl has all that is compared; figures take as long as training here
        f"--trainer.default_root_dir={given.runs / method / f'seed_{seed}'}",
        "--trainer.max_epochs=1",
        f"--trainer.limit_train_batches={given.phases}",
        f"--trainer.val_check_interval={max(1, given.phases // 2)}",
        f"--data.num_train={given.phases * _PROMPTS_PER_PHASE}",
        f"--data.num_eval={given.questions}",
        f"--data.eval_batch_size={given.questions}",
        "--model.evaluation.greedy=false",
    ]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what is asked for."""
    methods = sorted(path.stem for path in ALGORITHMS.glob("*.yaml"))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=CONFIG, help="the task; %(default)s")
    parser.add_argument(
        "--methods", nargs="+", choices=methods, default=methods, metavar="METHOD", help="all of configs/algorithm"
    )
    parser.add_argument("--seeds", type=int, default=3, help="runs of each method; %(default)s")
    parser.add_argument("--phases", type=int, default=30, help="of training; %(default)s")
    parser.add_argument("--questions", type=int, default=128, help="of each evaluation set; %(default)s")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="at a time; one per core")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"), help="where runs are kept; %(default)s")
    parser.add_argument("--output", type=Path, default=Path("docs"), help="folder of the report; %(default)s")
    return parser.parse_args(arguments)


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} {'minute' if minutes == 1 else 'minutes'}" if minutes else f"{seconds:.0f} s"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
