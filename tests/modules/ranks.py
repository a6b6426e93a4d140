"""The runs of tests on several ranks: `torchrun ranks.py JOB` makes them as one of these, the test itself alone.

JOB is a JSON file: the folder of the results, and per run the name of a function below, its arguments and a strategy.
"""

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import warnings
from datetime import timedelta
from pathlib import Path

import torch
from arithmetic import SHORT, EveryGroup, Sums, make_module
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch.distributed.tensor import DTensor
from typing_extensions import override
from unequal import Early, Faulty, Kinds, Mixed, Reading, Spotty

from mapo.callbacks.certainty import CertaintyDiagnostics
from mapo.callbacks.completions import CompletionsTable
from mapo.callbacks.export import HuggingFaceExport
from mapo.data.grid_rectangles import GridRectangles
from mapo.data.loader import PhaseLoader
from mapo.losses.clipped import ClippedPolicyLoss
from mapo.modules.dynamic_sampling import DynamicSampling
from mapo.modules.evaluation import Draws, Evaluation
from mapo.modules.fsdp2 import FSDP2Strategy
from mapo.modules.rank_failure import RankFailureError
from mapo.policies.policy import Lora, Policy
from mapo.rewards.math_answer import MathAnswer
from mapo.rewards.think_format import ThinkFormat
from mapo.rollout.abandoning import AbandonedError
from mapo.types import Sampling

# Not Adam: it divides by the gradient's own size, which turns rounding of tiny gradients into whole steps.
SGD = functools.partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=0.01)
DECAY = functools.partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.8)


LIMIT = timedelta(seconds=300)
STRATEGIES = {
    "ddp": lambda: DDPStrategy(timeout=LIMIT),
    "fsdp2": lambda: FSDP2Strategy(timeout_minutes=5),
    "fsdp2, one file": lambda: FSDP2Strategy(save_distributed_checkpoint=False, timeout_minutes=5),
    "fsdp2, offloaded": lambda: FSDP2Strategy(cpu_offload=True, timeout_minutes=5),
    "fsdp2, Lightning's own": lambda: ModelParallelStrategy(1, 1, timeout=LIMIT),
}
strategy = "auto"


class Record(Callback):
    """What one rank saw: its groups, the logged means, every validation."""

    def __init__(self, diagnostics: CertaintyDiagnostics) -> None:
        self.groups, self.logs, self.validations, self.diagnostics = {}, [], [], diagnostics

    @override
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        record = module.last_phase
        rows = zip(record.rollouts.completions, record.advantages, strict=True)
        for encoded, (group, advantages) in zip(record.rollouts.prompts, rows, strict=True):
            texts = tuple(tuple(completion.token_ids.tolist()) for completion in group)
            self.groups[record.index, encoded.prompt.sample_id] = texts, tuple(advantages.tolist())
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        logged = {name: value for name, value in figures.items() if name.startswith("train/")}
        self.logs.append(logged | self.diagnostics.latest)

    @override
    def on_validation_end(self, trainer, module) -> None:
        figures = trainer.callback_metrics.items()
        self.validations.append({name: float(value) for name, value in figures if name.startswith("val/")})


class Told(Callback):
    """Sends SIGTERM to the last rank, before its second phase or while it samples there."""

    def __init__(self, while_sampling: bool) -> None:
        self.while_sampling, self.given_up = while_sampling, False

    @override
    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        if batch_idx != 1 or trainer.global_rank != trainer.world_size - 1:
            return
        if self.while_sampling:
            self._sample, module.generate = module.generate, self._told
        else:
            os.kill(os.getpid(), signal.SIGTERM)

    def _told(self, *args, **kwargs):
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            return self._sample(*args, **kwargs)
        except AbandonedError:
            self.given_up = True
            raise


def rank_rows(data, phase: int, rank: int) -> tuple[str, ...]:
    """Sample ids that a rank of two meets in a phase of the first epoch."""
    rows = data.train_prompts()
    loader = PhaseLoader(rows, batch_size=data.batch_size, rank=rank, world_size=2)
    return tuple(prompt.sample_id for prompt in list(loader)[phase])


def text(folder, path, **settings):
    return fit(folder, make_module(path, kl_coef=0.1, **common(settings)), Sums(eval_batch_size=4))


def adapters(folder, path, *, ckpt_path=None, max_steps=-1, precision="32-true", frozen_dtype="float32", **settings):
    """Few trained weights, activations computed twice, and the base as the reference."""
    recipe = Policy(path=path, lora=Lora(rank=2), gradient_checkpointing=True, frozen_dtype=frozen_dtype)
    module = make_module(path, policy=recipe, kl_coef=0.1, **common(settings))
    return fit(folder, module, Sums(), ckpt_path=ckpt_path, max_steps=max_steps, precision=precision)


def pictures(folder, path, *, share_prefix=True, **settings):
    recipe = Policy(path="builtin", share_prefix=share_prefix)
    return fit(folder, vision_module(policy=recipe, **settings), GridRectangles(num_train=12, num_eval=5, batch_size=4))


def silent(folder, path, *, skip=True, **settings):
    """Nothing of rank 0 has a signal in phase 0, nothing at all in 1, nothing of rank 1 in 2."""
    flat = rank_rows(Sums(), 0, 0) + rank_rows(Sums(), 1, 0) + rank_rows(Sums(), 1, 1) + rank_rows(Sums(), 2, 1)
    loss = ClippedPolicyLoss() if skip else EveryGroup()
    # So few tokens that a group takes several micro-batches, which a rank without a signal has to match.
    settings = {"loss": loss, "max_tokens_per_micro_batch": 32} | settings
    return fit(folder, make_module(path, rewards=[Spotty(flat=flat)], **common(settings)), Sums())


def spotty(folder, path, **settings):
    """Nothing of rank 1 can be scored in phase 0; nothing of rank 0 has a signal in phase 1; nothing at all in 2."""
    unscored = rank_rows(Sums(), 0, 1) + rank_rows(Sums(), 2, 0) + rank_rows(Sums(), 2, 1)
    reward = Spotty(unscored=unscored, flat=rank_rows(Sums(), 1, 0))
    return fit(folder, make_module(path, rewards=[reward], **common(settings)), Sums())


def in_waves(folder, path, **settings):
    """One prompt in three tells right from wrong: phases of 3 waves of 4 find about 4, on one rank or the other."""
    flat = tuple(f"sum-{i}" for i in range(24) if i % 3)
    settings = {"dynamic_sampling": DynamicSampling(max_refills=2), "kl_coef": 0.1} | settings
    return fit(folder, make_module(path, rewards=[Spotty(flat=flat)], **common(settings)), Sums(num=24))


def mixed(folder, path, **settings):
    """No picture for rank 1 in phase 0, none for anyone in phase 1, in phase 2 none for rank 0."""
    plain = GridRectangles(num_train=12, num_eval=1, batch_size=4)
    without = [rank_rows(plain, *place) for place in ((0, 1), (1, 0), (1, 1), (2, 0))]
    data = Mixed(sum(without, ()), num_train=12, num_eval=1, batch_size=4)
    return fit(folder, vision_module(**settings), data)


def resumed(folder, path, *, ckpt_path=None, max_steps=-1, **settings):
    module = make_module(path, **common(settings))
    return fit(folder, module, Sums(), ckpt_path=ckpt_path, max_steps=max_steps)


def exported(folder, path, *, lora=False, **settings):
    """Two phases, and an export when they are over."""
    module = make_module(path, policy=Policy(path=path, lora=Lora(rank=2) if lora else None), **common(settings))
    callback = HuggingFaceExport(str(folder / "export"), dtype="float32")
    return fit(folder, module, Sums(), max_steps=2, callbacks=[callback])


def stopped(folder, path, *, while_sampling=False, **settings):
    """The last rank alone is told to end, in the second phase."""
    module, told = make_module(path, **common(settings)), Told(while_sampling)
    seen = fit(folder, module, Sums(), callbacks=[told, OnExceptionCheckpoint(folder, "stopped")])
    return seen | {"given up": told.given_up}


def failing(folder, path, **settings):
    """The reward fails on one rank; the last run, as the ranks cannot go on together after it."""
    try:
        fit(folder, make_module(path, rewards=[Faulty()], **common(settings)), Sums())
    except (ValueError, RankFailureError) as error:
        return f"{type(error).__name__}: {error}"


def figures(folder, path, **settings):
    """A validation alone: an odd set, one with a category that a rank never sees, one with a single row, a bad one."""
    draws = {"lonely": Draws(num_samples=2, greedy=False)}
    module = make_module(
        path,
        rewards=[Reading(), Early()],
        evaluation=Evaluation(num_samples=3, sampling=SHORT, sets=draws),
        **common(settings),
    )
    trainer = make_trainer(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.validate(module, datamodule=Kinds(eval_batch_size=4, on_bad_row="skip"), verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


class Stop(Callback):
    """Ends this rank after some validated batches."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    @override
    def on_validation_batch_end(self, trainer, *_) -> None:
        self.batches -= 1
        if self.batches == 0:
            raise SystemExit


def validated(folder, path, *, batches=-1, in_folder=None):
    """Validate, or only some batches; ``in_folder`` is that of an earlier run."""
    module = make_module(path)
    asked, generate = [], module.generate

    def spied(prompts, *args, split, **kwargs):
        asked.extend((split, prompt.sample_id) for prompt in prompts)
        return generate(prompts, *args, split=split, **kwargs)

    module.generate = spied
    trainer = make_trainer(in_folder or folder, callbacks=[Stop(batches), CompletionsTable()])
    with contextlib.suppress(SystemExit):
        trainer.validate(module, datamodule=Sums(eval_batch_size=2), verbose=False)
    return {"asked": asked, "figures": {name: float(value) for name, value in trainer.callback_metrics.items()}}


def common(settings):
    return {"optimizer": SGD, "lr_scheduler": DECAY, "max_tokens_per_micro_batch": 80} | settings


def vision_module(**settings):
    # Without top-p, rounding would now and then move a draw among the many tokens that are as good as impossible.
    sampling = Sampling(max_completion_tokens=24, temperature=1.3, top_p=0.95)
    return make_module(
        "builtin",
        rewards=[MathAnswer(weight=0.9), ThinkFormat(weight=0.1)],
        sampling=sampling,
        evaluation=Evaluation(sampling=sampling),
        **common({"policy": Policy(path="builtin")} | settings),
    )


def make_trainer(folder, **settings):
    return Trainer(
        accelerator="cpu",
        devices=2 if torch.distributed.is_torchelastic_launched() else 1,
        strategy=STRATEGIES.get(strategy, lambda: strategy)(),
        **{"logger": False, "enable_checkpointing": False} | settings,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )


def fit(folder, module, data, *, ckpt_path=None, max_steps=-1, callbacks=(), **settings):
    diagnostics = CertaintyDiagnostics()
    record = Record(diagnostics)
    monitor = f"val/{'near' if isinstance(data, Sums) else 'grid_rectangles'}/accuracy"
    best = ModelCheckpoint(folder / "kept", monitor=monitor, mode="max", save_last=True)
    trainer = make_trainer(
        folder,
        max_epochs=2,
        max_steps=max_steps,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        callbacks=[diagnostics, record, best, *callbacks],
        enable_checkpointing=True,
        **settings,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with contextlib.suppress(SystemExit):  # as after SIGTERM
            trainer.fit(module, datamodule=data, ckpt_path=ckpt_path)
    return {
        "weights": torch.cat([whole(p.detach()).flatten() for p in module.actor.trainable_parameters()]),
        "groups": record.groups,
        "logs": record.logs,
        "validations": record.validations,
        "steps": trainer.global_step,
        "best": Path(best.best_model_path).name,
        "last": best.last_model_path,
        "warnings": [str(warning.message) for warning in caught],
    }


def whole(tensor):
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def run(folder, runs) -> dict:
    return {name: run_one(Path(folder) / name, *what) for name, what in runs.items()}


def run_one(folder, function, arguments, under="auto"):
    global strategy
    strategy = under
    return globals()[function](folder, **arguments)


def launch(folder: Path, runs) -> list[dict]:
    """Make the runs on two ranks, and return what each rank saw."""
    job = folder / "job.json"
    job.write_text(json.dumps({"folder": str(folder), "runs": runs}))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", __file__, job]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-5000:]
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


if __name__ == "__main__":
    torch.set_num_threads(1)
    job = json.loads(Path(sys.argv[1]).read_text())
    results = run(job["folder"], job["runs"])
    torch.save(results, Path(job["folder"]) / f"{torch.distributed.get_rank()}.pt")
