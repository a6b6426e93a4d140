"""The other side of a comparison: TRL's ``GRPOTrainer`` in its own training loop."""

import tempfile
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

from datasets import Dataset, Image, List
from torch import Tensor
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from typing_extensions import override

from benchmarks.mapo_side import never_sampled
from benchmarks.stopwatch import Seconds, Stopwatch, now
from benchmarks.task import CLIP, Task, reward
from benchmarks.turns import Turns
from mapo.policies.policy import Policy
from mapo.types import Prompt


class TimedTrainer(GRPOTrainer):
    """The trainer with a stopwatch on its two halves, and with given completions where a task has a script."""

    watch: Stopwatch
    script: Sequence[Sequence[int]] | None = None
    completion_tokens = 0
    update_started: Seconds

    @override
    def _generate(self, prompts: list[Any]) -> Any:
        with self.watch.part("rollout"):
            return super()._generate(prompts)

    @override
    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        if self.script is not None:
            completion_ids, logprobs = [list(ids) for ids in self.script], None
        else:
            completion_ids, logprobs = super()._generate_single_turn(*args, **kwargs)
        self.completion_tokens = sum(map(len, completion_ids))
        return completion_ids, logprobs

    @override
    def _prepare_inputs(self, generation_batch: Any) -> Any:
        inputs = super()._prepare_inputs(generation_batch)
        self.update_started = now()
        return inputs


class TrlSide:
    """Trains step by step.

    Attributes:
        completion_tokens: Sampled in the last step.
        metrics: Of the last step.
        gradient: Of the last step by name of the weight; None unless ``keep_gradient``.
    """

    def __init__(self, task: Task, *, keep_gradient: bool = False) -> None:
        """Load the model and run up to the first step.

        Args:
            task: What is trained.
            keep_gradient: Copy the gradient of every step.
        """
        self.keep_gradient = keep_gradient
        self.gradient: dict[str, Tensor] | None = None
        self.metrics: dict[str, float] = {}
        self.watch = Stopwatch()
        self._trainer: TimedTrainer | None = None
        self._turns = Turns(lambda pause: self._fit(task, pause))

    def step(self, *, fair_head: bool) -> dict[str, Seconds]:
        """Take one step and return its seconds: ``step``, and of these ``rollout`` and ``update``.

        Args:
            fair_head: Let the head score completion positions alone, as it does on a GPU; on other devices it scores
                the prompts, too.
        """
        started = now()
        with mock.patch("trl.trainer.utils._use_triton", return_value=fair_head):
            self._turns.step()
        self.watch.add("step", started)
        return self.watch.take()

    def close(self) -> None:
        """Break the training off."""
        self._turns.close()

    @property
    def completion_tokens(self) -> int:
        return self._trainer.completion_tokens if self._trainer else 0

    def _fit(self, task: Task, pause: Callable[[], None]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self._trainer = build_trainer(task, folder)
            self._trainer.watch, self._trainer.script = self.watch, task.script
            self._trainer.add_callback(_Hooks(self, pause))
            self._trainer.train()


def build_trainer(task: Task, output_folder: str) -> TimedTrainer:
    """Return the trainer of a task; what is not set is its own default, except for what it would print or save."""
    # TRL would load the tokenizer by the model's type, which gives a hand-made one another splitting of words.
    renderer = Policy(path=str(task.folder)).load_renderer()
    trainer = TimedTrainer(
        model=str(task.folder),
        reward_funcs=_reward,
        args=_config(task, output_folder, never_sampled(renderer)),
        train_dataset=_dataset(task),
        processing_class=renderer.processor or renderer.tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _config(task: Task, output_folder: str, suppressed: Sequence[int]) -> GRPOConfig:
    return GRPOConfig(
        output_dir=output_folder,
        model_init_kwargs={"dtype": "float32"},
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=task.rows,
        steps_per_generation=1,
        num_generations=task.group_size,
        max_completion_length=task.completion_tokens,
        temperature=task.temperature,
        generation_kwargs={"suppress_tokens": list(suppressed)},
        loss_type="grpo",
        beta=0.0,
        epsilon=CLIP,
        scale_rewards="group",
        max_grad_norm=task.clip_norm or 0.0,
        learning_rate=task.learning_rate,
        lr_scheduler_type="constant",
        shuffle_dataset=False,
        max_steps=len(task.phases),
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )


def _reward(completion_ids: Sequence[Sequence[int]], **columns: Any) -> list[float]:
    return [reward(ids) for ids in completion_ids]


def _dataset(task: Task) -> Dataset:
    dataset = Dataset.from_list([_row(prompt) for phase in task.phases for prompt in phase])
    return dataset.cast_column("images", List(Image())) if "images" in dataset.column_names else dataset


def _row(prompt: Prompt) -> dict[str, Any]:
    (message,) = prompt.messages
    text = "".join(part["text"] for part in message["content"] if part["type"] == "text")
    row: dict[str, Any] = {"prompt": [{"role": "user", "content": text}]}
    return row | {"images": list(prompt.images)} if prompt.images else row


class _Hooks(TrainerCallback):
    def __init__(self, side: TrlSide, pause: Callable[[], None]) -> None:
        self.side, self.pause = side, pause

    @override
    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.pause()

    @override
    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if self.side.keep_gradient:
            weights = model.named_parameters()
            self.side.gradient = {name: weight.grad.clone() for name, weight in weights if weight.grad is not None}

    @override
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.side.watch.add("update", self.side._trainer.update_started)

    @override
    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        self.side.metrics |= {name: value for name, value in (logs or {}).items() if isinstance(value, float)}
