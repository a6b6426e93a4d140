"""Where the time of a run goes: seconds, tokens, memory and FLOPs of every phase."""

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from typing_extensions import override

from mapo.callbacks.log_dir import log_dir
from mapo.callbacks.memory import device_memory, host_memory, reset_peak
from mapo.callbacks.peak_flops import peak_tflops as peak_of
from mapo.callbacks.phase_metrics import log_phase_metrics
from mapo.callbacks.phase_profile import PhaseProfile
from mapo.callbacks.phase_work import PhaseWork, WorkCounter
from mapo.callbacks.phases import phases_finished
from mapo.callbacks.ranks import gather
from mapo.callbacks.throughput_figures import Measured, closing_line, figures
from mapo.modules.mapo import MAPOModule

_TIMED = ("rollout", "reward", "update")  # by the module


class PhaseThroughput(Callback):
    """Logs where the time of every phase goes, how fast it was and how much memory it took; and sums up at the end.

    Seconds and shares of rollout, rewards, update and the rest (waiting for data, callbacks, checkpoints; validations
    are left out), tokens/s, peak memory, and model FLOPs per second and device, as they are and as a share of the
    device's peak (model FLOPs utilisation). ``docs/metrics.md`` says how FLOPs are counted. A module that is no
    ``MAPOModule`` is left alone.

    Args:
        peak_tflops: Dense TFLOP/s of one device in the run's precision; null takes those of known GPUs in bfloat16,
            and logs no utilisation on other devices.
        profile_phase: Phase, counted from 0, of which a trace (for Perfetto or chrome://tracing) and a table of the
            slowest operations are written to the run's folder; rank 0's alone, and slower than the others. Traces grow
            with the tokens of a completion. Null profiles none.

    Attributes:
        latest: The metrics of the latest phase.
    """

    def __init__(self, peak_tflops: float | None = None, profile_phase: int | None = None) -> None:
        if peak_tflops is not None and peak_tflops <= 0:
            raise ValueError(f"peak_tflops must be > 0, got {peak_tflops}; leave it out for that of a known GPU")
        if profile_phase is not None and profile_phase < 0:
            raise ValueError(f"profile_phase must be >= 0 (0 is the first phase), got {profile_phase}")
        self.peak_tflops, self.profile_phase = peak_tflops, profile_phase
        self.latest: dict[str, float] = {}
        self._total = Measured()
        self._peak: float | None = None
        self._counter = WorkCounter()
        self._profile: PhaseProfile | None = None
        self._folder: Path | None = None
        self._fitting, self._since, self._paused = False, 0.0, 0.0

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._folder, self._fitting = log_dir(trainer), stage == "fit"

    # -- the clock -----------------------------------------------------------------------------------------------------

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if isinstance(pl_module, MAPOModule):
            self._counter = WorkCounter.of(pl_module)
        self._peak = self.peak_tflops or peak_of(pl_module.device)
        self._since = time.perf_counter()

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._paused = time.perf_counter()

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since += time.perf_counter() - self._paused

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        reset_peak(pl_module.device)
        is_wanted = phases_finished(trainer) == self.profile_phase and trainer.is_global_zero
        if is_wanted and isinstance(pl_module, MAPOModule):
            self._profile = PhaseProfile.start(pl_module)

    @override
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        now = time.perf_counter()
        if isinstance(pl_module, MAPOModule):
            self._measure(trainer, pl_module, now - self._since)
            self._since = now
            log_phase_metrics(trainer, self.latest)
            self._keep_profile()

    def _measure(self, trainer: Trainer, module: MAPOModule, whole: float) -> None:
        assert module.last_phase is not None
        seconds = {part: float(trainer.callback_metrics[f"time/{part}_s"]) for part in _TIMED}
        seconds["other"] = max(whole - sum(seconds.values()), 0.0)
        memory = host_memory() | device_memory(module.device)
        ranks = gather((seconds, self._counter.count(module, module.last_phase), memory))
        mean = {part: sum(times[part] for times, _, _ in ranks) / len(ranks) for part in seconds}
        phase = Measured(mean, sum((work for _, work, _ in ranks), PhaseWork()), phases=1)
        self._total += phase
        self.latest = figures(phase, devices=len(ranks), peak_tflops=self._peak)
        self.latest |= {f"memory/{name}": max(taken[name] for _, _, taken in ranks) for name in memory}

    # -- the profile ---------------------------------------------------------------------------------------------------

    def _keep_profile(self) -> None:
        if self._profile is None:
            return
        began = time.perf_counter()
        profile, self._profile = self._profile, None
        profile.stop()
        if self._folder is not None:
            path = profile.write(self._folder, f"profile_phase_{self.profile_phase}")
            sys.stdout.write(f"profile of phase {self.profile_phase}  {path}\n")
        self._since += time.perf_counter() - began

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        profile, self._profile = self._profile, None
        if profile is not None:
            profile.stop()

    # -- the whole fit -------------------------------------------------------------------------------------------------

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._total.phases and trainer.is_global_zero:
            line = closing_line(self._total, devices=trainer.world_size, peak_tflops=self._peak)
            sys.stdout.write(line + "\n")
        if self.profile_phase is not None and self.profile_phase >= phases_finished(trainer):
            rank_zero_warn(f"profile_phase={self.profile_phase} never came: phases are counted from 0")

    @override
    def state_dict(self) -> dict[str, Any]:
        return asdict(self._total)

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self._fitting:  # `validate` of a checkpoint restores callbacks, too, but continues nothing
            self._total = Measured(**{**state_dict, "work": PhaseWork(**state_dict["work"])})
