"""The runs of tests on several ranks: `torchrun ranks.py JOB` makes them as one of these, the test itself alone.

JOB is a JSON file: the folder of the results, and per run the name of a function below with its arguments.
"""

import contextlib
import functools
import json
import os
import signal
import sys
import warnings
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from arithmetic import SHORT, EvenLength, EveryGroup, Sums, make_module
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from lightning.pytorch.strategies import DDPStrategy
from typing_extensions import override

from mapo.callbacks.completions import CompletionsTable
from mapo.data.grid_rectangles import GridRectangles
from mapo.data.loader import PhaseLoader
from mapo.data.plane_figures import PlaneFigures
from mapo.losses.clipped import ClippedPolicyLoss
from mapo.modules.evaluation import Draws, Evaluation
from mapo.policies.policy import Lora, Policy
from mapo.rewards.base import Reward
from mapo.rewards.math_answer import MathAnswer
from mapo.rewards.think_format import ThinkFormat
from mapo.types import Prompt, Sampling

# Not Adam: it divides by the gradient's own size, which turns rounding of tiny gradients into whole steps.
SGD = functools.partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=0.01)
DECAY = functools.partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.8)


class Record(Callback):
    """What one rank saw: its groups, the logged means, every validation."""

    def __init__(self) -> None:
        self.groups, self.logs, self.validations = {}, [], []

    @override
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        record = module.last_phase
        rows = zip(record.rollouts.completions, record.advantages, strict=True)
        for prompt, (group, advantages) in zip(batch, rows, strict=True):
            texts = tuple(tuple(completion.token_ids.tolist()) for completion in group)
            self.groups[record.index, prompt.sample_id] = texts, tuple(advantages.tolist())
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.logs.append({name: value for name, value in figures.items() if name.startswith("train/")})

    @override
    def on_validation_end(self, trainer, module) -> None:
        figures = trainer.callback_metrics.items()
        self.validations.append({name: float(value) for name, value in figures if name.startswith("val/")})


class Told(Callback):
    """Sends SIGTERM to the last rank."""

    @override
    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        if batch_idx == 1 and trainer.global_rank == trainer.world_size - 1:
            os.kill(os.getpid(), signal.SIGTERM)


@dataclass(frozen=True)
class Spotty(EvenLength):
    """Cannot score some samples, and is indifferent to others."""

    unscored: tuple[str, ...] = ()
    flat: tuple[str, ...] = ()

    @override
    def __call__(self, completions):
        earned = zip(completions, super().__call__(completions), strict=True)
        return [self._value(completion.prompt.sample_id, value) for completion, value in earned]

    def _value(self, sample_id, value):
        return None if sample_id in self.unscored else 0.5 if sample_id in self.flat else value


class Mixed(GridRectangles):
    """Rectangles, some of them replaced by questions without a picture."""

    def __init__(self, without_picture: tuple[str, ...], **settings) -> None:
        super().__init__(**settings)
        self.without_picture = without_picture

    @override
    def train_prompts(self) -> list[Prompt]:
        drawn = super().train_prompts()
        text = PlaneFigures(num_train=len(drawn)).train_prompts()
        rows = (t if p.sample_id in self.without_picture else p for p, t in zip(drawn, text, strict=True))
        return [row._replace(sample_id=p.sample_id) for row, p in zip(rows, drawn, strict=True)]


@dataclass(frozen=True)
class Reading(EvenLength):
    """Answers are the first token modulo 6; a fifth of them cannot be judged."""

    @override
    def __call__(self, completions):
        first = [completion.token_ids[:1].tolist() for completion in completions]
        values = super().__call__(completions)
        return [None if token and token[0] % 5 == 0 else value for token, value in zip(first, values, strict=True)]

    @override
    def answer(self, completion):
        return str(int(completion.token_ids[0]) % 6) if len(completion.token_ids) else None


@dataclass(frozen=True)
class Early(Reward):
    """Credit for a small first token; a third of them cannot be scored."""

    weight: float = 0.5

    @override
    def __call__(self, completions):
        first = [int(completion.token_ids[0]) for completion in completions]
        return [None if token % 3 == 0 else 1 / (1 + token % 7) for token in first]


class Kinds(Sums):
    """Sums with a category whose values only one of two ranks sees, and a figure of their own."""

    @override
    def eval_prompts(self):
        sets = {"near": self._rows(100, 9), "far": self._rows(1000, 4), "lonely": self._rows(2000, 1)}
        parity = [{"categories": {"place": ["even", "any"] if i % 2 == 0 else "odd"}} for i in range(9)]
        sets = {
            name: [p._replace(metadata=m) for p, m in zip(rows, parity, strict=False)] for name, rows in sets.items()
        }
        return sets | {"far": [*sets["far"], self.prompt("bad", "1+1=", "")]}

    @property
    @override
    def out_of_domain_names(self):
        return ["far", "lonely"]

    @override
    def figures(self, name, accuracies):
        return {"weighted": sum(value / (1 + i) for i, (_, value) in enumerate(sorted(accuracies.items())))}


def rank_rows(data, phase: int, rank: int) -> tuple[str, ...]:
    """Sample ids that a rank of two meets in a phase of the first epoch."""
    rows = data.train_prompts()
    loader = PhaseLoader(rows, batch_size=data.batch_size, rank=rank, world_size=2)
    return tuple(prompt.sample_id for prompt in list(loader)[phase])


def text(folder, path, **settings):
    return fit(folder, make_module(path, kl_coef=0.1, **common(settings)), Sums(eval_batch_size=4))


def adapters(folder, path, **settings):
    """Few trained weights, activations computed twice, and the base as the reference."""
    recipe = Policy(path=path, lora=Lora(rank=2), gradient_checkpointing=True)
    return fit(folder, make_module(path, policy=recipe, kl_coef=0.1, **common(settings)), Sums())


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


def mixed(folder, path, **settings):
    """No picture for rank 1 in phase 0, none for anyone in phase 1, in phase 2 none for rank 0."""
    plain = GridRectangles(num_train=12, num_eval=1, batch_size=4)
    without = [rank_rows(plain, *place) for place in ((0, 1), (1, 0), (1, 1), (2, 0))]
    data = Mixed(sum(without, ()), num_train=12, num_eval=1, batch_size=4)
    return fit(folder, vision_module(**settings), data)


def resumed(folder, path, *, ckpt_path=None, max_steps=-1, **settings):
    module = make_module(path, **common(settings))
    return fit(folder, module, Sums(), ckpt_path=ckpt_path, max_steps=max_steps)


def stopped(folder, path, **settings):
    """The last rank alone is told to end, in the second phase."""
    module = make_module(path, **common(settings))
    return fit(folder, module, Sums(), callbacks=[Told(), OnExceptionCheckpoint(folder, "stopped")])


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
    several = {"devices": 2, "strategy": DDPStrategy(timeout=timedelta(seconds=60))}
    return Trainer(
        accelerator="cpu",
        **(several if torch.distributed.is_torchelastic_launched() else {"devices": 1}),
        **{"logger": False, "enable_checkpointing": False} | settings,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )


def fit(folder, module, data, *, ckpt_path=None, max_steps=-1, callbacks=()):
    record = Record()
    monitor = f"val/{'near' if isinstance(data, Sums) else 'grid_rectangles'}/accuracy"
    best = ModelCheckpoint(folder / "kept", monitor=monitor, mode="max", save_last=True)
    trainer = make_trainer(
        folder,
        max_epochs=2,
        max_steps=max_steps,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        callbacks=[record, best, *callbacks],
        enable_checkpointing=True,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with contextlib.suppress(SystemExit):  # as after SIGTERM
            trainer.fit(module, datamodule=data, ckpt_path=ckpt_path)
    return {
        "weights": torch.cat([p.detach().flatten() for p in module.actor.trainable_parameters()]),
        "groups": record.groups,
        "logs": record.logs,
        "validations": record.validations,
        "steps": trainer.global_step,
        "best": Path(best.best_model_path).name,
        "last": best.last_model_path,
        "warnings": [str(warning.message) for warning in caught],
    }


def run(folder, runs) -> dict:
    return {name: globals()[function](Path(folder) / name, **arguments) for name, (function, arguments) in runs.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    job = json.loads(Path(sys.argv[1]).read_text())
    results = run(job["folder"], job["runs"])
    torch.save(results, Path(job["folder"]) / f"{torch.distributed.get_rank()}.pt")
