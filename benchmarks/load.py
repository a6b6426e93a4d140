"""The memory of runs that are large in one direction: groups, phases, evaluated rows, length of completions.

    OMP_NUM_THREADS=1 python -m benchmarks.load --json load.json
    OMP_NUM_THREADS=1 python -m benchmarks.load --case "100,000 validation rows" --prompts 10000

Every case is a process of its own. It builds the run first, reads its memory, and then counts how far the peak goes
beyond that. The model is the built-in one; where it would only cost time (evaluated rows, the length limit),
completions come from a stand-in at once, and all else is what every run has: data module, loader, rewards, metrics,
callbacks and result files.
"""

import argparse
import contextlib
import io
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from benchmarks.report import quiet, table, write_json
from mapo.callbacks.completions import CompletionsTable
from mapo.callbacks.progress import PhaseProgressBar
from mapo.callbacks.summary import ClosingSummary
from mapo.data.jsonl import JSONL
from mapo.modules.evaluation import Evaluation
from mapo.modules.mapo import MAPOModule
from mapo.policies.model import PolicyModel
from mapo.policies.policy import Policy
from mapo.rewards.math_answer import MathAnswer
from mapo.rewards.think_format import ThinkFormat
from mapo.rollout.base import RolloutEngine
from mapo.rollout.mode import sampling_mode
from mapo.rollout.records import build_rollouts
from mapo.rollout.transformers import TransformersEngine
from mapo.types import EncodedPrompt, Rollouts, Sampling

ANSWERS = ("<think>3*4=12</think>\\boxed{12}", "<think>3*4=13</think>\\boxed{13}")


@dataclass(frozen=True)
class StandIn(RolloutEngine):
    """Gives two written completions in turns, at once, repeated up to a number of tokens."""

    num_tokens: int | None = None
    """Tokens of every completion, none of which ends it; as they are written when None."""

    def generate(
        self,
        policy: PolicyModel,
        prompts: Sequence[EncodedPrompt],
        *,
        group_size: int,
        sampling: Sampling,
        streams: Sequence[int],
    ) -> Rollouts:
        """Return a completion for every place of every group, a right one beside each wrong one."""
        kinds = [self._ids(policy, answer) for answer in ANSWERS]
        scored = [[torch.full((len(ids),), math.nan) for ids in kinds]] * len(prompts)  # an evaluation asks for none
        if self.num_tokens is not None:  # a fit compares with the policy what the engine says of its log-probs
            with sampling_mode(policy):
                scored = [list(policy.score([prompt] * 2, kinds, temperature=1.0).logprobs.cpu()) for prompt in prompts]
        places = [(prompt, place % 2) for prompt in range(len(prompts)) for place in range(group_size)]
        rows, logprobs = [kinds[kind] for _, kind in places], [scored[prompt][kind] for prompt, kind in places]
        return build_rollouts(policy.renderer, prompts, rows, logprobs, group_size=group_size, temperature=1.0)

    def _ids(self, policy: PolicyModel, answer: str) -> Tensor:
        ids = policy.renderer.encode_completion(answer, end=self.num_tokens is None)
        return ids if self.num_tokens is None else ids.repeat(-(-self.num_tokens // len(ids)))[-self.num_tokens :]


class Case(NamedTuple):
    """A run that is large in one direction.

    Attributes:
        stage: ``fit`` for one phase, or ``validate``.
        prompts: Of the phase, or rows of the set.
        group: Completions per prompt.
        tokens: The length limit.
        stand_in: Completions come from the stand-in.
        bound_mb: What the peak may be beyond the memory before the run, in MiB.
    """

    stage: str
    prompts: int
    group: int
    tokens: int
    stand_in: bool
    bound_mb: int


CASES = {
    "a group of 64 completions": Case("fit", 8, 64, 32, False, 600),
    "a phase of 4,096 prompts": Case("fit", 4096, 2, 8, False, 1000),
    "100,000 validation rows": Case("validate", 100_000, 1, 64, True, 600),
    "completions at a limit of 2,048 tokens": Case("fit", 4, 8, 2048, True, 800),
}


def write_rows(path: Path, num: int) -> Path:
    """Write so many questions and return their file."""
    rows = ({"question": f"{i} width 3 height 4 area ?", "answer": str(12 + i % 2), "level": i % 5} for i in range(num))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(case: Case, folder: Path) -> dict[str, float]:
    """Run a case in this process and return its rows, seconds, and peak beyond the memory before it, in MiB."""
    rows = str(write_rows(folder / "rows.jsonl", case.prompts))
    sampling = Sampling(max_completion_tokens=case.tokens)
    module = MAPOModule(
        policy=Policy(),
        rollout=StandIn(case.tokens if case.stage == "fit" else None) if case.stand_in else TransformersEngine(),
        rewards=[MathAnswer(num_workers=1), ThinkFormat()],
        group_size=max(2, case.group),
        sampling=sampling,
        evaluation=Evaluation(greedy=False, num_samples=case.group, sampling=sampling),
        kl_coef=0.0,
    )
    data = JSONL(rows, {"own": rows}, batch_size=case.prompts, eval_batch_size=256, categories=["level"])
    module.configure_model()
    callbacks = [CompletionsTable(), ClosingSummary(), PhaseProgressBar(seconds_per_line=1.0)]
    limits = {"max_epochs": 1, "limit_val_batches": 0} if case.stage == "fit" else {}
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        logger=CSVLogger(folder),
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        **limits,
    )
    before, begun, said = memory("VmRSS"), time.monotonic(), io.StringIO()
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    with contextlib.redirect_stdout(said):
        (trainer.fit if case.stage == "fit" else trainer.validate)(module, data)
    figures = {"rows": case.prompts * case.group, "seconds": time.monotonic() - begun}
    return figures | {"peak_mb": memory("VmHWM") - before, "progress_lines": said.getvalue().count("elapsed")}


def memory(name: str) -> float:
    """Return a figure of this process's memory in MiB, as Linux counts it: VmRSS now, VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def main() -> None:
    """Run all cases, or the one that is named, in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--case", choices=CASES, help="run this one here and print its figures as JSON")
    parser.add_argument("--prompts", type=int, help="prompts or rows of that case, instead of its own number")
    given = parser.parse_args()
    if given.case:
        quiet()
        with tempfile.TemporaryDirectory() as folder:
            case = CASES[given.case]
            print(json.dumps(run(case._replace(prompts=given.prompts or case.prompts), Path(folder))))
        return
    found = {}
    for name in CASES:
        command = [sys.executable, "-m", "benchmarks.load", "--case", name]
        found[name] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    lines = [
        [
            name,
            *(f"{one[key]:,.0f}" for key in ("rows", "peak_mb")),
            f"{CASES[name].bound_mb:,}",
            f"{one['seconds']:,.0f}",
        ]
        for name, one in found.items()
    ]
    print(table(["case", "completions", "peak, MiB more", "bound, MiB", "seconds"], lines, names=1))
    if given.json:
        write_json(given.json, {"cases": {name: {**CASES[name]._asdict(), **one} for name, one in found.items()}})


if __name__ == "__main__":
    main()
