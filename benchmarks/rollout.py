"""Time and memory of sampling groups of completions: transformers' ``generate`` against ours, in both of its ways.

    python -m benchmarks.rollout --json rollout.json
    python -m benchmarks.rollout --cases vl-p300-c64-g8
    python -m benchmarks.rollout --device cuda --bf16 --cuda-graphs

``generate`` gets every prompt G times, as trainers call it. ``padded`` runs each prompt once and then decodes with
transformers' forward and a copy of the prompt in every row, as for architectures that we do not know; ``lean`` stores
each prompt once. Before anything is timed, all three must give the same greedy tokens, and our two the same samples (in
half precision: nearly). Completions have exactly C tokens; in ragged cases 1 in C/4 tokens of the vocabulary ends one,
so that most end long before C.

The ways take turns; time is the median over the rounds, of the CPU time of the process or between CUDA events. Memory
is the peak of a rollout above what was there before it: of CUDA's allocator, or of a forked process.
"""

import argparse
import re
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self
from unittest import mock

import torch

from benchmarks.report import quiet, table, write_json
from benchmarks.tiny_models import SIZES, Kind, build_model, build_prompts
from benchmarks.update import cpu_peak, cpu_seconds, cuda_peak, cuda_seconds
from mapo.policies.batching import collate
from mapo.policies.model import PolicyModel
from mapo.policies.policy import Policy
from mapo.rollout import transformers as engine
from mapo.rollout.padded import PaddedDecoder
from mapo.types import Sampling

CASES = (
    "text-p64-c64-g8",
    "text-p256-c64-g8",
    "text-p512-c64-g8",
    "text-p256-c64-g16",
    "text-p256-c256-g8",
    "text-p1000-c64-g8",
    "text-p256-c256-g8-ragged",
    "vl-p300-c64-g8",
)
WAYS = ("generate", "padded", "lean")


@dataclass(frozen=True)
class Case:
    """The shape of a rollout, named like ``text-p256-c64-g8`` or ``text-p256-c64-g8-ragged``.

    Attributes:
        kind: Language model or vision-language model with one picture per prompt.
        prompt_tokens: P.
        completion_tokens: C, the most of a completion.
        group_size: G.
        ragged: Whether most completions end before C.
    """

    kind: Kind
    prompt_tokens: int
    completion_tokens: int
    group_size: int
    ragged: bool

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read a case from its name."""
        found = re.fullmatch(r"(text|vl)-p(\d+)-c(\d+)-g(\d+)(-ragged)?", name)
        if found is None:
            raise ValueError(f"case {name!r} is not like 'text-p256-c64-g8' or 'vl-p300-c64-g8-ragged'")
        kind: Kind = "vl" if found[1] == "vl" else "text"
        return cls(kind, int(found[2]), int(found[3]), int(found[4]), found[5] is not None)


class Rollout:
    """The prompts of a case, sampled in any of the ways."""

    def __init__(
        self, policy: PolicyModel, case: Case, *, num_prompts: int, bf16: bool = False, cuda_graphs: bool = False
    ) -> None:
        self.policy, self.case, self.bf16, self.cuda_graphs = policy, case, bf16, cuda_graphs
        renderer = policy.renderer
        size = len(renderer.tokenizer)
        raw = build_prompts(case.kind, tokens=case.prompt_tokens, num=num_prompts, vocabulary=size)
        self.prompts = [renderer.encode(prompt) for prompt in raw]
        step = max(2, case.completion_tokens // 4)
        ends = tuple(range(3, size, step)) if case.ragged else ()
        renderer.banned_ids = tuple(sorted({*renderer.banned_ids, *renderer.eos_ids} - {*ends}))
        renderer.eos_ids = ends

    def run(self, way: str, *, temperature: float = 1.0) -> list[list[int]]:
        """Return the completions, prompt after prompt."""
        device = self.policy.device.type
        with torch.autocast(device, dtype=torch.bfloat16) if self.bf16 else nullcontext():
            return self._generate(temperature) if way == "generate" else self._ours(way, temperature)

    def _ours(self, way: str, temperature: float) -> list[list[int]]:
        sampling = Sampling(temperature=temperature, max_completion_tokens=self.case.completion_tokens)
        with mock.patch.object(engine, "LeanDecoder", _padded) if way == "padded" else nullcontext():
            rollouts = engine.TransformersEngine(cuda_graphs=self.cuda_graphs).generate(
                self.policy,
                self.prompts,
                group_size=self.case.group_size,
                sampling=sampling,
                streams=range(len(self.prompts)),
            )
        return [completion.token_ids.tolist() for group in rollouts.completions for completion in group]

    @torch.no_grad()
    def _generate(self, temperature: float) -> list[list[int]]:
        renderer = self.policy.renderer
        rows = [prompt for prompt in self.prompts for _ in range(self.case.group_size)]
        nothing = [torch.empty(0, dtype=torch.int64)] * len(rows)
        positions = self.policy.positions(rows)
        pad_id, device = renderer.pad_id, self.policy.device
        batch = collate(rows, nothing, positions, pad_id=pad_id, side="left", device=device)
        del batch["position_ids"]
        self.policy.eval()
        law = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
        output = self.policy.model.generate(
            **batch,
            **law,
            max_new_tokens=self.case.completion_tokens,
            suppress_tokens=list(renderer.banned_ids),
            eos_token_id=list(renderer.eos_ids) or None,
            pad_token_id=renderer.pad_id,
        )
        return [_cut(ids, renderer.eos_ids) for ids in output[:, batch["input_ids"].shape[1] :].tolist()]


def _padded(policy: PolicyModel, prompts: Any, capacity: Any, **_: Any) -> PaddedDecoder:
    return PaddedDecoder(policy, prompts, capacity)


def _cut(ids: list[int], ends: Sequence[int]) -> list[int]:
    return next((ids[: place + 1] for place, token in enumerate(ids) if token in ends), ids)


def same_tokens(rollout: Rollout) -> float:
    """Return the share of completions that are the same: of greedy ones in all ways, of sampled ones in ours.

    Raises:
        RuntimeError: It is not 1, which rounding excuses in half precision alone.
    """
    greedy = [rollout.run(way, temperature=0.0) for way in WAYS]
    sampled = [rollout.run(way) for way in WAYS[1:]]
    same = [len({tuple(ids) for ids in row}) == 1 for ways in (greedy, sampled) for row in zip(*ways, strict=True)]
    share = statistics.mean(same)
    if share < 1 and not rollout.bf16:
        raise RuntimeError(f"the ways agree on {share:.1%} of the completions")
    return share


def measure(rollout: Rollout, *, rounds: int) -> dict[str, Any]:
    """Return what the table shows."""
    share = same_tokens(rollout)
    on_cuda = rollout.policy.device.type == "cuda"
    seconds, peak = (cuda_seconds, cuda_peak) if on_cuda else (cpu_seconds, cpu_peak)
    runs: dict[str, Callable[[], None]] = {way: partial(_run, rollout, way) for way in WAYS}
    peaks = {way: peak(run) for way, run in runs.items()}
    readings = [{way: seconds(run) for way, run in runs.items()} for _ in range(rounds + 1)][1:]
    lengths = list(map(len, rollout.run("lean")))
    return {
        "same_completions": share,
        "mean_tokens": statistics.mean(lengths),
        "seconds": {way: statistics.median(reading[way] for reading in readings) for way in WAYS},
        "ratios": {way: statistics.median(reading[way] / reading["lean"] for reading in readings) for way in WAYS},
        "peak_mib": peaks,
        "rounds": readings,
    }


def _run(rollout: Rollout, way: str) -> None:
    rollout.run(way)


def measure_all(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the readings of all cases."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.cases:
            sys.stderr.write(f"{name} ...\n")
            case = Case.parse(name)
            path = Path(folder) / case.kind
            if not path.exists():
                build_model(case.kind, SIZES[options.size], path)
            policy = Policy(path=str(path)).load_model(reference=False).to(options.device)
            modes = {"bf16": options.bf16, "cuda_graphs": options.cuda_graphs}
            rollout = Rollout(policy, case, num_prompts=options.prompts, **modes)
            results.append({"case": name, **measure(rollout, rounds=options.rounds)})
    return results


def as_table(results: Sequence[dict[str, Any]]) -> str:
    """Return the one table."""
    seconds, ratios = [f"{way} s" for way in WAYS], [f"× {way}" for way in WAYS[:-1]]
    header = ["case", "tokens", *seconds, *ratios, *(f"{way} MiB" for way in WAYS)]
    return table(header, [_row(result) for result in results], names=1)


def _row(result: dict[str, Any]) -> list[str]:
    seconds = [f"{result['seconds'][way]:.2f}" for way in WAYS]
    ratios = [f"{result['ratios'][way]:.2f}" for way in WAYS[:-1]]
    peaks = [f"{result['peak_mib'][way]:.0f}" for way in WAYS]
    return [result["case"], f"{result['mean_tokens']:.0f}", *seconds, *ratios, *peaks]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the cases, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", nargs="+", default=CASES, help="like text-p256-c64-g8 or vl-p300-c64-g8-ragged")
    parser.add_argument("--rounds", type=int, default=5, help="that count; one more warms up")
    parser.add_argument("--prompts", type=int, default=2, help="B")
    parser.add_argument("--threads", type=int, default=1, help="of torch, within one operation")
    parser.add_argument("--size", choices=SIZES, default="small", help="of the model")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    parser.add_argument("--cuda-graphs", action="store_true", help="let the lean way replay recorded steps")
    parser.add_argument("--json", type=Path, help="file for all readings")
    options = parser.parse_args(arguments)
    quiet()
    torch.set_num_threads(options.threads)
    results = measure_all(options)
    print(as_table(results))
    if options.json:
        settings = {name: getattr(options, name) for name in ("device", "bf16", "cuda_graphs", "rounds", "prompts")}
        write_json(options.json, {"model": asdict(SIZES[options.size]), **settings, "cases": results})


if __name__ == "__main__":
    main()
