"""Our side of a comparison: ``MAPOModule`` in Lightning's own fit loop."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from typing_extensions import override

from benchmarks.stopwatch import Seconds, Stopwatch, now
from benchmarks.task import CLIP, STD_EPS, Task, reward
from benchmarks.turns import Turns
from mapo.advantages.z_score import ZScore
from mapo.data.base import PromptDataModule
from mapo.data.loader import PhaseLoader
from mapo.losses.aggregation import SequenceMean
from mapo.losses.clipped import ClippedPolicyLoss
from mapo.modules.experience import Experience
from mapo.modules.mapo import MAPOModule
from mapo.modules.means import Means
from mapo.policies.policy import Policy
from mapo.rewards.base import Reward
from mapo.rollout.scripted import ScriptedEngine
from mapo.types import Completion, Prompt, Rollouts, Sampling


@dataclass(frozen=True)
class OddTokens(Reward):
    """The reward that the other side has, too."""

    weight: float = 1.0
    required_for_success: bool = True
    is_accuracy: bool = False

    @override
    def __call__(self, completions: Sequence[Completion]) -> list[float | None]:
        return [reward(completion.token_ids.tolist()) for completion in completions]


class Phases(PromptDataModule):
    """The prompts of a task, in their order."""

    def __init__(self, task: Task) -> None:
        super().__init__(batch_size=len(task.phases[0]))
        self.task = task

    @override
    def train_prompts(self) -> Sequence[Prompt]:
        return [prompt for phase in self.task.phases for prompt in phase]

    @override
    def eval_prompts(self) -> Mapping[str, Sequence[Prompt]]:
        return {}

    @override
    def train_dataloader(self) -> PhaseLoader:
        return PhaseLoader(self.train_set, batch_size=self.batch_size, shuffle=False)


class TimedModule(MAPOModule):
    """The module with a stopwatch on its two halves; what it does not set is the module's own default."""

    watch: Stopwatch

    @override
    def generate(self, *args: Any, **kwargs: Any) -> Rollouts:
        with self.watch.part("rollout"):
            return super().generate(*args, **kwargs)

    @override
    def update(self, experience: Experience, temperature: float, means: Means) -> None:
        with self.watch.part("update"):
            super().update(experience, temperature, means)


class MapoSide:
    """Trains step by step.

    Attributes:
        completion_tokens: Sampled in the last step.
        num_parameters: Of the model.
        metrics: Of the last step.
        gradient: Of the last step by name of the weight; None unless ``keep_gradient``.
    """

    def __init__(self, task: Task, *, keep_gradient: bool = False) -> None:
        """Load the model and run up to the first step.

        Args:
            task: What is trained.
            keep_gradient: Copy the gradient of every step.
        """
        self.task, self.keep_gradient = task, keep_gradient
        self.gradient: dict[str, Tensor] | None = None
        self._watch = Stopwatch()
        self._module = build_module(task)
        self._module.watch = self._watch
        self._turns = Turns(self._fit)

    def step(self) -> dict[str, Seconds]:
        """Take one step and return its seconds: ``step``, and of these ``rollout`` and ``update``."""
        started = now()
        self._turns.step()
        self._watch.add("step", started)
        return self._watch.take()

    def close(self) -> None:
        """Break the training off."""
        self._turns.close()

    @property
    def completion_tokens(self) -> int:
        record = self._module.last_phase
        return sum(len(c.token_ids) for group in record.rollouts.completions for c in group) if record else 0

    @property
    def num_parameters(self) -> int:
        return sum(weight.numel() for weight in self._module.actor.parameters())

    @property
    def metrics(self) -> dict[str, float]:
        return {name: float(value) for name, value in self._trainer.callback_metrics.items()}

    def _fit(self, pause: Callable[[], None]) -> None:
        self._trainer = Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[_Hooks(self, pause)],
        )
        self._trainer.fit(self._module, datamodule=Phases(self.task))


def build_module(task: Task) -> TimedModule:
    """Return the module that trains a task, its weights loaded."""
    scripted = {} if task.script is None else {"rollout": ScriptedEngine(completions=_by_sample(task))}
    module = TimedModule(
        Policy(path=str(task.folder), max_prompt_tokens=8192),
        [OddTokens()],
        advantage=ZScore(ddof=1, eps=STD_EPS),
        loss=ClippedPolicyLoss(clip_low=CLIP, clip_high=CLIP, dual_clip=None),
        aggregation=SequenceMean(),
        group_size=task.group_size,
        sampling=Sampling(temperature=task.temperature, max_completion_tokens=task.completion_tokens),
        kl_coef=0.0,
        gradient_clip_norm=task.clip_norm,
        log_entropy=True,
        optimizer=functools.partial(torch.optim.AdamW, lr=task.learning_rate, weight_decay=0.0, fused=True),
        seed=0,
        **scripted,
    )
    module.configure_model()
    renderer = module.actor.renderer
    # The other side scores with the full vocabulary, so that a comparison of gradients needs the same here.
    renderer.banned_ids = never_sampled(renderer) if task.script is None else ()
    return module


def never_sampled(renderer: Any) -> tuple[int, ...]:
    """Return the ids that neither side samples: what a policy never samples, and what would end a completion."""
    return tuple(sorted({*renderer.banned_ids, *renderer.eos_ids}))


def _by_sample(task: Task) -> dict[str, list[Any]]:
    script, size = list(task.script or ()), task.group_size
    return {
        prompt.sample_id: [list(ids) for ids in script[row * size : (row + 1) * size]]
        for row, prompt in enumerate(task.phases[0])
    }


class _Hooks(Callback):
    def __init__(self, side: MapoSide, pause: Callable[[], None]) -> None:
        self.side, self.pause = side, pause

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.pause()

    @override
    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        if self.side.keep_gradient:
            weights = pl_module.actor.model.named_parameters()
            self.side.gradient = {name: weight.grad.clone() for name, weight in weights if weight.grad is not None}
