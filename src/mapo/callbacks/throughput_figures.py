"""Phases as they were measured, and what is said of them: shares, tokens/s, TFLOP/s, utilisation."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mapo.callbacks.phase_work import PhaseWork


@dataclass(frozen=True)
class Measured:
    """One phase or several, on all ranks.

    Attributes:
        seconds: By part (rollout, reward, update, other), mean over ranks; together the time from phase to phase.
        work: Of all ranks.
        phases: How many.
    """

    seconds: Mapping[str, float] = field(default_factory=dict)
    work: PhaseWork = field(default_factory=PhaseWork)
    phases: int = 0

    def __add__(self, other: "Measured") -> "Measured":
        parts = {**self.seconds, **other.seconds}
        seconds = {part: self.seconds.get(part, 0.0) + other.seconds.get(part, 0.0) for part in parts}
        return Measured(seconds, self.work + other.work, self.phases + other.phases)


def figures(measured: Measured, *, devices: int, peak_tflops: float | None) -> dict[str, float]:
    """Return the metrics of measured phases by name; those of FLOPs only where these are counted.

    MFU = model FLOPs / (seconds x devices x peak).

    Source: model FLOPs utilisation, appendix B of PaLM (https://arxiv.org/abs/2204.02311).

    Args:
        measured: Usually one phase.
        devices: That did the work.
        peak_tflops: Of one device; None gives no utilisation.

    Example:
        >>> seconds = {"rollout": 6.0, "reward": 0.5, "update": 3.0, "other": 0.5}
        >>> work = PhaseWork(prompts=4, sampled_tokens=1200, rollout_flops=int(12e12), update_flops=int(18e12))
        >>> found = figures(Measured(seconds, work, 1), devices=1, peak_tflops=20.0)
        >>> found["time/rollout_share"], found["throughput/rollout_tokens_per_s"], found["throughput/prompts_per_s"]
        (0.6, 200.0, 0.4)
        >>> found["throughput/update_tflops"], found["throughput/update_mfu"]
        (6.0, 0.3)
    """
    seconds, work = measured.seconds, measured.work
    whole = sum(seconds.values())
    flops = {
        "rollout": work.rollout_flops,
        "update": work.update_flops,
        "phase": work.rollout_flops + work.update_flops,
    }
    tflops = {
        part: _per_second(number / 1e12 / devices, whole if part == "phase" else seconds[part])
        for part, number in flops.items()
        if work.rollout_flops
    }
    return {
        "time/other_s": seconds["other"],
        "time/phase_s": whole,
        **{f"time/{part}_share": value / whole for part, value in seconds.items()},
        "throughput/prompts_per_s": _per_second(work.prompts, whole),
        "throughput/rollout_tokens_per_s": _per_second(work.sampled_tokens, seconds["rollout"]),
        "throughput/update_tokens_per_s": _per_second(work.trained_tokens, seconds["update"]),
        **{f"throughput/{part}_tflops": value for part, value in tflops.items()},
        **{f"throughput/{part}_mfu": value / peak_tflops for part, value in tflops.items() if peak_tflops},
    }


def closing_line(measured: Measured, *, devices: int, peak_tflops: float | None) -> str:
    """Return in one line where the time of all phases went, and how fast they were.

    Example:
        >>> seconds = {"rollout": 6.0, "reward": 0.5, "update": 3.0, "other": 0.5}
        >>> work = PhaseWork(4, 120_000, 60_000, int(12e12), int(18e12))
        >>> print(closing_line(Measured(seconds, work, 2), devices=1, peak_tflops=20.0))
        of 10 s in phases: rollout 60 %, reward 5 %, update 30 %, other 5 %; 20,000 tokens/s sampled, 20,000 trained;
        3 TFLOP/s per device, 15.0 % of its peak
    """
    found = figures(measured, devices=devices, peak_tflops=peak_tflops)
    shares = ", ".join(f"{part} {100 * found[f'time/{part}_share']:.0f} %" for part in measured.seconds)
    sampled, trained = (found[f"throughput/{part}_tokens_per_s"] for part in ("rollout", "update"))
    words = [
        f"of {found['time/phase_s']:,.0f} s in phases: {shares}",
        f"{sampled:,.0f} tokens/s sampled, {trained:,.0f} trained",
    ]
    if "throughput/phase_tflops" in found:
        share = found.get("throughput/phase_mfu")
        of_peak = "" if share is None else f", {100 * share:.1f} % of its peak"
        words.append(f"{found['throughput/phase_tflops']:.3g} TFLOP/s per device{of_peak}")
    return "; ".join(words)


def _per_second(number: float, seconds: float) -> float:
    return number / seconds if number else 0.0
