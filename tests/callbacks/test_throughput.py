"""The callback in fits of a tiny policy, by a clock that only moves when it is told to."""

import functools
import gzip
import json
from dataclasses import dataclass

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger, Logger

from mapo.callbacks import throughput
from mapo.callbacks.throughput import PhaseThroughput
from mapo.data.base import PromptDataModule
from mapo.modules.evaluation import Evaluation
from mapo.modules.mapo import MAPOModule
from mapo.policies.model_flops import ModelFlops
from mapo.policies.policy import Policy
from mapo.rewards.base import Reward
from mapo.types import Sampling

SHORT = Sampling(max_completion_tokens=4)
PARTS = ("rollout", "reward", "update", "other")
PHASES = 3


class Rows(PromptDataModule):
    def train_prompts(self):
        return [self.prompt(f"row-{i}", f"{i}+{i}=", str(2 * i)) for i in range(2 * PHASES)]

    def eval_prompts(self):
        return {"near": self.train_prompts()[:2]}


@dataclass(frozen=True)
class EvenFirst(Reward):
    """Earned by half of what a random policy says."""

    weight: float = 1.0
    required_for_success: bool = True
    is_accuracy: bool = True

    def __call__(self, completions):
        return [float(int(one.token_ids[0]) % 2 == 0) for one in completions]


class Clock:
    """Every look takes a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


class Memory(Logger):
    """Keeps what is logged, by step."""

    name, version = "memory", 0

    def __init__(self) -> None:
        super().__init__()
        self.steps: dict[int, dict[str, float]] = {}

    def log_metrics(self, metrics, step=None) -> None:
        self.steps.setdefault(step, {}).update(metrics)

    def log_hyperparams(self, *_, **__) -> None: ...


@pytest.fixture
def clock(monkeypatch):
    ticking = Clock()
    monkeypatch.setattr(throughput.time, "perf_counter", ticking)
    return ticking


@pytest.fixture
def fit(make_trainer, tiny_lm_path):
    def run(*callbacks, ckpt_path=None, **arguments):
        module = MAPOModule(
            policy=Policy(path=str(tiny_lm_path)),
            rewards=[EvenFirst()],
            group_size=4,
            sampling=SHORT,
            evaluation=Evaluation(sampling=SHORT),
            kl_coef=0.0,
            optimizer=functools.partial(torch.optim.SGD, lr=1e-3),
            seed=0,
        )
        trainer = make_trainer(*callbacks, **{"limit_val_batches": 0, **arguments})
        trainer.fit(module, datamodule=Rows(batch_size=2, instruction=""), ckpt_path=ckpt_path)
        return module, trainer

    return run


def test_every_phase_is_logged_beside_the_metrics_of_the_module(fit):
    logger, monitor = Memory(), PhaseThroughput(peak_tflops=1e-3)
    fit(monitor, logger=logger)
    assert list(logger.steps) == list(range(PHASES))
    for metrics in logger.steps.values():
        shares = [metrics[f"time/{part}_share"] for part in PARTS]
        assert sum(shares) == pytest.approx(1.0)
        seconds = sum(metrics[f"time/{part}_s"] for part in PARTS)
        assert metrics["time/phase_s"] == pytest.approx(seconds, rel=1e-5)
        sampled = metrics["train/completion_length"] * 8
        assert metrics["throughput/rollout_tokens_per_s"] * metrics["time/rollout_s"] == pytest.approx(
            sampled, rel=1e-4
        )
        assert metrics["throughput/prompts_per_s"] * seconds == pytest.approx(2, rel=1e-4)
        for part in ("rollout", "update", "phase"):
            tflops = metrics[f"throughput/{part}_tflops"]
            assert metrics[f"throughput/{part}_mfu"] == pytest.approx(1e3 * tflops)
        assert metrics["throughput/phase_tflops"] > 0
        assert 0 < metrics["memory/rss_gib"] <= metrics["memory/peak_rss_gib"] + 0.01
    assert monitor.latest.items() <= logger.steps[PHASES - 1].items()


def test_less_is_logged_where_less_is_asked_for(fit):
    logger = Memory()
    fit(PhaseThroughput(), logger=logger, log_every_n_steps=2)
    with_figures = [step for step, metrics in logger.steps.items() if "time/phase_s" in metrics]
    assert with_figures == [1]  # the second phase
    assert not [name for name in logger.steps[1] if name.endswith("mfu")]  # a CPU has no peak of its own


class Sleepy(Callback):
    """Takes its time where it is told to."""

    def __init__(self, clock: Clock, hook: str) -> None:
        setattr(self, hook, self.sleep)
        self.clock = clock

    def sleep(self, *_) -> None:
        self.clock.now += 1000.0


@pytest.mark.parametrize(
    ("hook", "counted"),
    [("on_validation_epoch_end", False), ("on_train_batch_end", True), ("on_train_epoch_start", True)],
)
def test_validations_are_no_time_of_a_phase_and_callbacks_are(fit, clock, hook, counted):
    logger = Memory()
    fit(Sleepy(clock, hook), PhaseThroughput(), logger=logger, limit_val_batches=1, val_check_interval=1)
    for step in (0,) if hook == "on_train_epoch_start" else range(PHASES):
        assert (logger.steps[step]["time/other_s"] > 900) == counted
        assert logger.steps[step]["time/rollout_s"] < 100


def test_a_fit_ends_with_where_its_time_went_and_goes_on_after_a_resume(fit, clock, tmp_path, capsys):
    first = PhaseThroughput()
    _, trainer = fit(first)
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("of ")
    assert " s in phases: rollout " in line
    trainer.save_checkpoint(tmp_path / "end.ckpt")

    resumed = PhaseThroughput()
    fit(resumed, max_epochs=2, ckpt_path=tmp_path / "end.ckpt")
    assert resumed._total.phases == 2 * PHASES
    assert resumed._total.work.prompts == 2 * first._total.work.prompts
    assert resumed._total.seconds["rollout"] == 2 * first._total.seconds["rollout"]


def test_ranks_are_added_up(fit, monkeypatch):
    alone, two_ranks = Memory(), Memory()
    fit(PhaseThroughput(), logger=alone)

    def gather(value):
        seconds, work, memory = value
        return [value, (dict.fromkeys(seconds, 0.0), work, dict.fromkeys(memory, 100.0))]

    monkeypatch.setattr(throughput, "gather", gather)
    monitor = PhaseThroughput()
    fit(monitor, logger=two_ranks)
    for own, both in zip(alone.steps.values(), two_ranks.steps.values(), strict=True):
        assert both["memory/rss_gib"] == 100.0
        assert both["throughput/prompts_per_s"] * both["time/phase_s"] == pytest.approx(4)
        assert own["throughput/prompts_per_s"] * own["time/phase_s"] == pytest.approx(2)
    half = sum(two_ranks.steps[0][f"time/{part}_s"] for part in ("rollout", "reward", "update")) / 2
    assert two_ranks.steps[0]["time/phase_s"] - two_ranks.steps[0]["time/other_s"] == pytest.approx(half, rel=1e-4)


def test_a_model_that_is_not_counted_has_all_but_flops(fit, monkeypatch):
    monkeypatch.setattr(ModelFlops, "of", lambda *_, **__: (_ for _ in ()).throw(ValueError("it has num_experts")))
    logger = Memory()
    fit(PhaseThroughput(peak_tflops=1.0), logger=logger)
    assert logger.steps[0]["throughput/update_tokens_per_s"] >= 0
    assert not [name for name in logger.steps[0] if name.endswith(("tflops", "mfu"))]


def test_other_modules_are_left_alone(module, make_trainer, phases, capsys):
    logger = Memory()
    make_trainer(PhaseThroughput(), logger=logger).fit(module(), phases)
    assert not [name for metrics in logger.steps.values() for name in metrics if name.startswith(("time/", "memory/"))]
    assert "in phases" not in capsys.readouterr().out


# -- the profile -------------------------------------------------------------------------------------------------------


def test_a_phase_is_profiled(fit, tmp_path, capsys):
    module, _ = fit(PhaseThroughput(profile_phase=1), logger=CSVLogger(tmp_path, name="run", version="0"))
    (table,) = tmp_path.rglob("profile_phase_*.txt")
    assert str(table) in capsys.readouterr().out
    text = table.read_text(encoding="utf-8")
    titles = [block.split(" ", 1)[0].rstrip(",") for block in text.split("\n\n")[1:]]
    assert titles == list(PARTS)
    assert "aten::mm" in text
    with gzip.open(table.with_suffix(".json.gz"), "rt", encoding="utf-8") as trace:
        names = [event.get("name") for event in json.load(trace)["traceEvents"]]
    assert {"mapo: rollout", "mapo: update"} <= {*names}
    assert names.count("mapo: rollout") == 1  # one phase
    assert not {"generate", "update"} & vars(module).keys()


def test_a_profiled_phase_that_fails_leaves_the_module_as_it_was(fit, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("out of luck")

    seen = []
    monkeypatch.setattr(MAPOModule, "update", lambda self, *_: (seen.append(self), fail()))
    with pytest.raises(RuntimeError, match="out of luck"):
        fit(PhaseThroughput(profile_phase=0))
    assert not {"generate", "update"} & vars(seen[0]).keys()
    with torch.profiler.profile():  # no recording is left running
        pass


def test_a_profile_that_never_came_is_said(fit):
    with pytest.warns(UserWarning, match="profile_phase=3 never came"):
        fit(PhaseThroughput(profile_phase=PHASES))


@pytest.mark.parametrize(("name", "value"), [("peak_tflops", 0.0), ("peak_tflops", -1.0), ("profile_phase", -1)])
def test_impossible_arguments_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be"):
        PhaseThroughput(**{name: value})
