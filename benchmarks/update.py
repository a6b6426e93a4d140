"""Time and memory of one forward and backward pass over a group: a prompt in every row against a prompt run once.

    python -m benchmarks.update --json update.json
    python -m benchmarks.update --cases vl-p300-c64-g8
    python -m benchmarks.update --device cuda --bf16

Both ways score the same rows with the same random weights, and before anything is timed their gradients must agree.
They take turns; time is the median over the pairs, of the CPU time of the process or between CUDA events. Memory is the
peak of a pass above what was there before it, gradients included: of CUDA's allocator, or of a forked process.
"""

import argparse
import ctypes
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from benchmarks.report import quiet, table, write_json
from benchmarks.tiny_models import SIZES, Kind, build_model, build_prompts
from mapo.policies.model import PolicyModel
from mapo.policies.policy import Policy
from mapo.types import EncodedPrompt

CASES = (
    "text-p64-c64-g8",
    "text-p256-c64-g8",
    "text-p512-c64-g8",
    "text-p256-c128-g8",
    "text-p1000-c64-g8",
    "text-p1000-c64-g16",
    "vl-p300-c64-g8",
)
WAYS = ("plain", "shared")


@dataclass(frozen=True)
class Case:
    """One group, named like ``text-p256-c64-g8``.

    Attributes:
        kind: Language model or vision-language model with one picture in the prompt.
        prompt_tokens: P.
        completion_tokens: C of every completion.
        group_size: G.
    """

    kind: Kind
    prompt_tokens: int
    completion_tokens: int
    group_size: int

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read a case from its name."""
        found = re.fullmatch(r"(text|vl)-p(\d+)-c(\d+)-g(\d+)", name)
        if found is None:
            raise ValueError(f"case {name!r} is not like 'text-p256-c64-g8' or 'vl-p300-c64-g8'")
        kind, *numbers = found.groups()
        return cls(kind, *map(int, numbers))  # type: ignore[arg-type]


class Update:
    """One group, scored with gradient in either way."""

    def __init__(self, policy: PolicyModel, case: Case, *, bf16: bool) -> None:
        self.policy, self.bf16 = policy, bf16
        self.prompts, self.completions = _rows(policy, case)

    def run(self, way: str) -> None:
        """Run one forward and backward pass."""
        self.policy.shares_prefix = way == "shared"
        self.policy.zero_grad(set_to_none=True)
        device = self.policy.device.type
        with torch.autocast(device, dtype=torch.bfloat16) if self.bf16 else nullcontext():
            logprobs = self.policy.score(self.prompts, self.completions, temperature=1.0).logprobs
        logprobs.mean().backward()

    def gradient_gap(self) -> float:
        """Return the norm of the two gradients' difference, relative to the plain one's."""
        gradients = []
        for way in WAYS:
            self.run(way)
            gradients.append(torch.cat([p.grad.flatten() for p in self.policy.parameters() if p.grad is not None]))
        plain, shared = gradients
        return float((shared - plain).norm() / plain.norm())


def _rows(policy: PolicyModel, case: Case) -> tuple[list[EncodedPrompt], list[Tensor]]:
    tokenizer = policy.renderer.tokenizer
    (raw,) = build_prompts(case.kind, tokens=case.prompt_tokens, num=1, vocabulary=len(tokenizer))
    allowed = torch.tensor([i for i in range(len(tokenizer)) if i not in policy.renderer.banned_ids])
    generator = torch.Generator().manual_seed(0)
    picked = torch.randint(len(allowed), (case.group_size, case.completion_tokens), generator=generator)
    return [policy.renderer.encode(raw)] * case.group_size, list(allowed[picked])


def cpu_seconds(run: Callable[[], None]) -> float:
    """Return the CPU time that the process takes."""
    started = time.process_time()
    run()
    return time.process_time() - started


def cuda_seconds(run: Callable[[], None]) -> float:
    """Return the time between two events of the stream."""
    started, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    started.record()
    run()
    ended.record()
    torch.cuda.synchronize()
    return started.elapsed_time(ended) / 1e3


def cuda_peak(run: Callable[[], None]) -> float:
    """Return the peak of the allocator above what was there, in MiB."""
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def cpu_peak(run: Callable[[], None]) -> float:
    """Return how far a forked process grows, in MiB; code that it needs must have been run here before."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        ctypes.CDLL(None).malloc_trim(0)  # or it would first use up what was freed here
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the high-water mark starts anew
        before = _high_water_kib()
        run()
        os.write(send, str((_high_water_kib() - before) / 2**10).encode())
        os._exit(0)
    os.close(send)
    with os.fdopen(receive) as pipe:
        grown = pipe.read()
    os.waitpid(child, 0)
    return float(grown)


def _high_water_kib() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def measure(update: Update, *, pairs: int) -> dict[str, Any]:
    """Return the gap of the gradients, and seconds and MiB of both ways."""
    gap = update.gradient_gap()
    if not gap < (0.1 if update.bf16 else 1e-5):
        raise RuntimeError(f"the two gradients differ by {gap:.2g} of their norm")
    update.policy.zero_grad(set_to_none=True)
    seconds, peak = (cuda_seconds, cuda_peak) if update.policy.device.type == "cuda" else (cpu_seconds, cpu_peak)
    peaks = {way: peak(partial(update.run, way)) for way in WAYS}
    readings = [{way: seconds(partial(update.run, way)) for way in WAYS} for _ in range(pairs + 1)][1:]
    return {
        "gradient_gap": gap,
        "seconds": {way: statistics.median(reading[way] for reading in readings) for way in WAYS},
        "speed_ratio": statistics.median(reading["plain"] / reading["shared"] for reading in readings),
        "peak_mib": peaks,
        "memory_ratio": peaks["plain"] / peaks["shared"],
    }


def measure_all(names: Sequence[str], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the readings of all cases."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            sys.stderr.write(f"{name} ...\n")
            case = Case.parse(name)
            update = Update(_load(case.kind, Path(folder) / case.kind, options), case, bf16=options.bf16)
            results.append({"case": name, **measure(update, pairs=options.pairs)})
    return results


def _load(kind: Kind, folder: Path, options: argparse.Namespace) -> PolicyModel:
    if not folder.exists():
        build_model(kind, SIZES[options.size], folder)
    policy = Policy(path=str(folder)).load_model(reference=False).to(options.device)
    reason = policy.share_prefix()
    if reason is not None:
        raise RuntimeError(reason)
    return policy


def as_table(results: Sequence[dict[str, Any]]) -> str:
    """Return the one table."""
    header = ["case", "plain s", "shared s", "faster x", "plain MiB", "shared MiB", "smaller x", "gradient gap"]
    return table(header, [_row(result) for result in results], names=1)


def _row(result: dict[str, Any]) -> list[str]:
    seconds = [f"{result['seconds'][way]:.3f}" for way in WAYS]
    peaks = [f"{result['peak_mib'][way]:.0f}" for way in WAYS]
    ratios = [f"{result[name]:.2f}" for name in ("speed_ratio", "memory_ratio")]
    return [result["case"], *seconds, ratios[0], *peaks, ratios[1], f"{result['gradient_gap']:.1e}"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the cases, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", nargs="+", default=CASES, help="like text-p256-c64-g8 or vl-p300-c64-g8")
    parser.add_argument("--pairs", type=int, default=5, help="that count; one more warms up")
    parser.add_argument("--threads", type=int, default=1, help="of torch, within one operation")
    parser.add_argument("--size", choices=SIZES, default="small", help="of the model")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    parser.add_argument("--json", type=Path, help="file for all readings")
    options = parser.parse_args(arguments)
    quiet()
    torch.set_num_threads(options.threads)
    results = measure_all(options.cases, options)
    print(as_table(results))
    if options.json:
        settings = {"device": options.device, "bf16": options.bf16, "pairs": options.pairs}
        write_json(options.json, {"model": asdict(SIZES[options.size]), **settings, "cases": results})


if __name__ == "__main__":
    main()
