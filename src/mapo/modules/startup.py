"""Checks of a run before any weight is loaded: each error names the argument, its value and the fix."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.utilities import rank_zero_info

from mapo.data.base import PromptDataModule
from mapo.modules.dynamic_sampling import DynamicSampling
from mapo.modules.evaluation import Evaluation
from mapo.modules.micro_batches import check_row
from mapo.modules.monitors import check_monitors
from mapo.modules.strategies import check_checkpoint
from mapo.policies.policy import Policy
from mapo.policies.renderer import Renderer
from mapo.rollout.base import RolloutEngine
from mapo.types import Prompt, Sampling


def check_arguments(
    group_size: int,
    updates_per_phase: int,
    max_tokens_per_micro_batch: int,
    kl_coef: float,
    gradient_clip_norm: float | None,
    sampling: Sampling,
) -> None:
    """Refuse arguments of the module that cannot train."""
    if group_size < 2:
        raise ValueError(f"group_size must be >= 2, got {group_size}: a group of one has nothing to be compared with")
    if updates_per_phase < 1:
        raise ValueError(f"updates_per_phase must be >= 1, got {updates_per_phase}")
    check_budget(max_tokens_per_micro_batch)
    if not kl_coef >= 0:
        raise ValueError(f"kl_coef must be >= 0 (0 turns the reference off), got {kl_coef}")
    if gradient_clip_norm is not None and not gradient_clip_norm > 0:
        raise ValueError(f"gradient_clip_norm must be > 0, or null for no clipping, got {gradient_clip_norm}")
    if sampling.temperature == 0:
        raise ValueError(
            "sampling.temperature must be > 0 in training, got 0: greedy completions of one prompt are all the same"
        )


def check_budget(max_tokens_per_micro_batch: int) -> None:
    """Refuse micro-batches that hold nothing."""
    if max_tokens_per_micro_batch < 1:
        raise ValueError(f"max_tokens_per_micro_batch must be >= 1, got {max_tokens_per_micro_batch}")


def check_skips(max_skipped_steps: int) -> None:
    """Refuse a limit that no run could keep."""
    if max_skipped_steps < 0:
        raise ValueError(f"max_skipped_steps must be >= 0 (0 stops at the first one), got {max_skipped_steps}")


def check_trainer(trainer: Trainer) -> None:
    """Refuse trainer arguments that a step of its own optimisation would ignore or get wrong."""
    if trainer.gradient_clip_val:
        raise ValueError(
            f"trainer.gradient_clip_val={trainer.gradient_clip_val} has no effect here; "
            "use model.gradient_clip_norm instead"
        )
    if trainer.accumulate_grad_batches != 1:
        raise ValueError(
            f"trainer.accumulate_grad_batches={trainer.accumulate_grad_batches} would change the loss; use "
            "model.max_tokens_per_micro_batch (memory) and model.updates_per_phase (optimizer steps per phase) instead"
        )
    if trainer.val_check_interval == 0:
        raise ValueError(
            "trainer.val_check_interval=0 is no number of phases; for a fit without validation set "
            "trainer.limit_val_batches to 0"
        )
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, ModelCheckpoint) and callback._train_time_interval is not None:
            raise ValueError(
                "ModelCheckpoint(train_time_interval=...) never saves under manual optimisation; "
                "use every_n_train_steps, a multiple of model.updates_per_phase"
            )


def check_precision(trainer: Trainer, policy: Policy) -> None:
    """Refuse precisions in which a small step is lost (trained weights are float32, see ``Policy``)."""
    precision = str(trainer.precision)
    if precision.startswith("16"):
        raise ValueError(
            f"trainer.precision={precision!r} needs loss scaling, which is not supported; use 'bf16-mixed'"
        )
    if precision == "bf16-true":
        raise ValueError(
            "trainer.precision='bf16-true' would hold the trained weights in bfloat16, where a step of 1e-6 is "
            "lost in nearly all of them; use 'bf16-mixed'"
            + ("" if policy.lora else ", with model.policy.lora for large models")
        )


def check_batches(data: PromptDataModule, *, world_size: int, updates_per_phase: int) -> None:
    """Refuse a phase that does not divide into equal mini-batches on every rank."""
    parts = world_size * updates_per_phase
    if data.batch_size % parts:
        raise ValueError(
            f"data.batch_size={data.batch_size} prompts per phase do not divide by {world_size} ranks x "
            f"{updates_per_phase} updates_per_phase; choose a multiple of {parts}"
        )


def provide_waves(module: LightningModule, data: PromptDataModule) -> None:
    """Have training batches hold as many prompts as dynamic sampling may need, before the loader is made."""
    sampling = getattr(module, "dynamic_sampling", None)
    data.waves_per_phase = sampling.max_waves if isinstance(sampling, DynamicSampling) else 1


def check_before_validation(module: LightningModule, data: LightningDataModule, trainer: Trainer) -> None:
    """Refuse now what a fit would refuse only after the validation that opens it: its precision, rows and batches.

    Args:
        module: With a ``policy`` and, where it has several, ``updates_per_phase``; nothing of it is loaded yet.
        data: Set up for the fit here; the fit's own set-up finds it done.
        trainer: Not yet running, so that nothing is launched for a run that cannot work.
    """
    check_precision(trainer, cast(Policy, module.policy))
    if not isinstance(data, PromptDataModule):
        return
    data.setup("fit")
    _check_evaluation(module, data)
    check_monitors(trainer, data, getattr(module, "evaluator", None))
    if isinstance(trainer.strategy, ModelParallelStrategy):
        return  # its device mesh, which tells the data-parallel ranks, is not there yet
    check_batches(data, world_size=_num_ranks(trainer), updates_per_phase=getattr(module, "updates_per_phase", 1))
    provide_waves(module, data)
    data.trainer = trainer  # as Lightning will
    data.train_dataloader()  # refuses too few rows for one phase


def check_prompts(
    data: PromptDataModule, renderer: Renderer, stage: str, check_length: Callable[[str, int], None] | None = None
) -> None:
    """Measure every prompt of the stage: long ones are dropped from training, and refused in evaluation.

    One that cannot be read at all is a bad row in both.

    Args:
        data: Set up.
        renderer: Measures.
        stage: ``fit`` or another.
        check_length: Told sample id and length of every prompt to be trained on; may refuse it.
    """
    if stage == "fit":
        too_long, unreadable = _measure(renderer, data.train_set, check_length)
        data.reject_training_rows(unreadable)
        data.drop_training_rows(too_long)
    for name in data.eval_names:
        too_long, unreadable = _measure(renderer, data.eval_sets[name])
        data.reject_eval_rows(name, too_long | unreadable)


def check_run(module: LightningModule, policy: Policy, stage: str, updates_per_phase: int) -> None:
    """Check a stage's data, precision and prompts; the data module's own checks have run before."""
    trainer = module.trainer
    data = getattr(trainer, "datamodule", None)
    check_checkpoint(trainer.strategy, trainer.ckpt_path)
    if stage == "fit":
        check_precision(trainer, policy)
    if isinstance(data, PromptDataModule):
        if stage != "fit" and not data.eval_names:
            raise ValueError(
                f"there is nothing to evaluate: {type(data).__name__} has no evaluation set; name its evaluation files "
                "or splits, or other sets in out_of_domain"
            )
        _check_evaluation(module, data)
    if policy.path != "builtin" and not Path(policy.path).expanduser().exists():
        # Said first: without a network, looking for what is not there takes half a minute of retries.
        rank_zero_info(f"model.policy.path {policy.path!r} is no folder here; asking the Hugging Face Hub for it")
    renderer = policy.load_renderer()
    _check_engine(module, renderer, data)
    if renderer.processor is not None and not renderer.banned_ids:
        raise ValueError(
            f"the model at {policy.path!r} reads images, but no vision or role token was found to ban from sampling; "
            "a sampled placeholder would break the next step"
        )
    if renderer.prefill:
        rank_zero_info(f"The chat template opens every answer with {renderer.prefill!r}; rewards take it into account.")
    if isinstance(data, PromptDataModule):
        if stage == "fit":
            check_batches(data, world_size=_num_ranks(trainer), updates_per_phase=updates_per_phase)
            provide_waves(module, data)
            check_monitors(trainer, data, getattr(module, "evaluator", None))
        check_prompts(data, renderer, stage, _fits_micro_batch(module))


def evaluation_names(trainer: Trainer) -> list[str]:
    """Return the names of the evaluation sets in the order of their loaders; ``set_0``, ... for bare loaders."""
    data = getattr(trainer, "datamodule", None)
    if isinstance(data, PromptDataModule):
        return data.eval_names
    loaders = (
        trainer.predict_dataloaders
        if trainer.predicting
        else (trainer.test_dataloaders if trainer.testing else trainer.val_dataloaders)
    )
    return [f"set_{index}" for index in range(len(loaders) if isinstance(loaders, list | tuple) else 1)]


def _check_evaluation(module: LightningModule, data: PromptDataModule) -> None:
    evaluation = getattr(module, "evaluation", None)
    if isinstance(evaluation, Evaluation):
        evaluation.check(data.eval_names)


def _check_engine(module: LightningModule, renderer: Renderer, data: object) -> None:
    """Ask the rollout engine whether it can do what the run will ask of it."""
    rollout, sampling, evaluation = (getattr(module, name, None) for name in ("rollout", "sampling", "evaluation"))
    if not isinstance(rollout, RolloutEngine) or not isinstance(sampling, Sampling):
        return
    names = data.eval_names if isinstance(data, PromptDataModule) else []
    sets = [evaluation, *map(evaluation.of, names)] if isinstance(evaluation, Evaluation) else []
    rollout.check(renderer, [sampling, *(of_set.sampling for of_set in sets)])
    corrected = getattr(getattr(module, "objective", None), "sampler_correction", None) is not None
    if corrected and not rollout.reports_logprobs(sampling):
        raise ValueError(
            f"model.sampler_correction needs log-probs that {type(rollout).__name__} cannot report with "
            f"model.sampling.top_p={sampling.top_p:g} and top_k={sampling.top_k}: set top_p to 1 and top_k to 0, or "
            "leave sampler_correction out"
        )


def _num_ranks(trainer: Trainer) -> int:
    return (trainer.distributed_sampler_kwargs or {}).get("num_replicas", 1)


def _measure(
    renderer: Renderer, prompts: Sequence[Prompt], check_length: Callable[[str, int], None] | None = None
) -> tuple[dict[str, str], dict[str, str]]:
    """Return, by sample id, which prompts are too long, and which the model cannot read; each with the reason."""
    too_long: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    for prompt in prompts:
        try:
            length = renderer.prompt_length(prompt)
        except ValueError as error:
            unreadable[prompt.sample_id] = str(error).removeprefix(f"sample {prompt.sample_id!r}").lstrip(": ")
            continue
        if length > renderer.max_prompt_tokens:
            too_long[prompt.sample_id] = _reason(renderer, prompt, length)
        elif check_length is not None:
            check_length(prompt.sample_id, length)
    return too_long, unreadable


def _fits_micro_batch(module: LightningModule) -> Callable[[str, int], None]:
    """Return a check that a prompt leaves room for the longest completion that may be sampled."""
    sampling, max_tokens = getattr(module, "sampling", None), cast(int, module.max_tokens_per_micro_batch)
    completion_tokens = sampling.max_completion_tokens if isinstance(sampling, Sampling) else 0
    return lambda sample_id, length: check_row(sample_id, length, completion_tokens, max_tokens)


def _reason(renderer: Renderer, prompt: Prompt, length: int) -> str:
    limit = renderer.max_prompt_tokens
    pixels = renderer.fitting_pixels(prompt, length - limit)
    advice = "" if pixels is None else f" (model.policy.max_pixels={pixels} would fit)"
    return f"a prompt of {length} tokens is longer than model.policy.max_prompt_tokens={limit}{advice}"
