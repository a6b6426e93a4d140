"""A module that leaves behind what callbacks read, without a policy: its answers are written down."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from PIL import Image

from mapo.data.loader import EvaluationLoader, PhaseLoader
from mapo.modules.records import EvaluationRecord, PhaseRecord
from mapo.types import Completion, EncodedPrompt, Prompt, Rollouts, Scores

GROUP_SIZE = 2


def make_prompt(sample_id: str = "row-0", question: str = "How much is 1 + 1?", answer: str = "2") -> Prompt:
    content = ({"type": "image"}, {"type": "text", "text": question})
    return Prompt(sample_id, ({"role": "user", "content": content},), (Image.new("RGB", (8, 6)),), answer, {})


def make_rollouts(prompts: Sequence[Prompt], num: int, text: str = "the answer is 2") -> Rollouts:
    def group(prompt: Prompt) -> tuple[Completion, ...]:
        return tuple(Completion(prompt, "", f"{text} ({g})", torch.arange(3 + g), g == 1) for g in range(num))

    encoded = tuple(EncodedPrompt(prompt, torch.arange(4), {}, "") for prompt in prompts)
    logprobs = tuple(tuple(torch.zeros(3 + g) for g in range(num)) for _ in prompts)
    return Rollouts(encoded, tuple(map(group, prompts)), logprobs, 1.0)


def make_scores(num_prompts: int, num: int) -> Scores:
    rewards = (
        torch.linspace(0.1, 1.0, num_prompts * num).reshape(num_prompts, num) if num_prompts else torch.zeros(0, num)
    )
    components = {"math_answer": rewards, "length": torch.full_like(rewards, float("nan"))}
    return Scores(rewards, rewards == 1, rewards, torch.ones_like(rewards, dtype=torch.bool), components)


class WrittenAnswers(LightningModule):
    def __init__(
        self,
        sets: Sequence[str] = ("grid",),
        updates: int = 2,
        stop_in_phase: int | None = None,
        summed_up: bool = False,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.sets, self.updates, self.stop_in_phase, self.summed_up = sets, updates, stop_in_phase, summed_up
        self.last_phase: PhaseRecord | None = None
        self.last_evaluation: tuple[EvaluationRecord, ...] = ()
        self.rows = dict.fromkeys(sets, 0)

    def training_step(self, prompts: list[Prompt], batch_idx: int) -> None:
        index = self.trainer.fit_loop.total_batch_idx
        if index == self.stop_in_phase:
            raise KeyboardInterrupt
        rollouts = make_rollouts(prompts, GROUP_SIZE, text=f"phase {index}")
        for _ in range(self.updates):
            self.optimizers().step()
        scores = make_scores(len(prompts), GROUP_SIZE)
        self.last_phase = PhaseRecord(index, rollouts, scores, scores.rewards - scores.rewards.mean())
        figures = {"reward": 0.25, "accuracy": 0.5, "completion_length": 3.5, "tokens_per_s": 1234.0}
        self.log_dict({f"train/{name}": value for name, value in figures.items()})

    def evaluate(self, stage: str, prompts: list[Prompt], dataloader_idx: int) -> None:
        if not prompts:
            return  # as MAPOModule does: the records of the batch before stay
        name = self.sets[dataloader_idx]
        self.rows[name] += len(prompts)
        self.last_evaluation = tuple(
            EvaluationRecord(stage, name, mode, make_rollouts(prompts, num), make_scores(len(prompts), num))
            for mode, num in (("greedy", 1), ("sampled", 2))
        )

    def finish(self, stage: str) -> None:
        progress = self.trainer.fit_loop.epoch_loop.batch_progress.total.processed / 10
        for name, rows in self.rows.items():
            figures = {
                "accuracy": 0.4 + progress,
                "accuracy_greedy": 0.5 + progress,
                "num_samples_evaluated": float(rows),
            }
            self.log_dict({f"{stage}/{name}/{key}": value for key, value in figures.items()}, rank_zero_only=True)
            self.rows[name] = 0
        if self.summed_up:
            self.log(f"{stage}/A", 0.2 + progress / 2, rank_zero_only=True)

    def validation_step(self, prompts: list[Prompt], batch_idx: int, dataloader_idx: int = 0) -> None:
        self.evaluate("val", prompts, dataloader_idx)

    def test_step(self, prompts: list[Prompt], batch_idx: int, dataloader_idx: int = 0) -> None:
        self.evaluate("test", prompts, dataloader_idx)

    def predict_step(self, prompts: list[Prompt], batch_idx: int, dataloader_idx: int = 0) -> Any:
        self.evaluate("predict", prompts, dataloader_idx)
        return [
            [completion.text for group in record.rollouts.completions for completion in group]
            for record in self.last_evaluation
        ]

    def on_validation_epoch_end(self) -> None:
        self.finish("val")

    def on_test_epoch_end(self) -> None:
        self.finish("test")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def module() -> type[WrittenAnswers]:
    return WrittenAnswers


@pytest.fixture
def phases() -> PhaseLoader:
    """Three phases of two prompts."""
    return PhaseLoader([make_prompt(f"row-{i}") for i in range(6)], batch_size=2, shuffle=False)


@pytest.fixture
def rows() -> EvaluationLoader:
    """Five rows in three batches."""
    return EvaluationLoader([make_prompt(f"row-{i}") for i in range(5)], batch_size=2)


@pytest.fixture
def make_trainer(tmp_path: Any) -> Callable[..., Trainer]:
    def make(*callbacks: Any, logger: Logger | bool = False, **arguments: Any) -> Trainer:
        defaults = {
            "accelerator": "cpu",
            "devices": 1,
            "max_epochs": 1,
            "num_sanity_val_steps": 0,
            "enable_progress_bar": any("Progress" in type(callback).__name__ for callback in callbacks),
            "enable_model_summary": False,
            "enable_checkpointing": False,
            "default_root_dir": tmp_path,
            "log_every_n_steps": 1,
        }
        return Trainer(callbacks=list(callbacks), logger=logger, **(defaults | arguments))

    return make
