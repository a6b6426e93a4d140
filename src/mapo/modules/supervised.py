"""Supervised fine-tuning on demonstrations, through the same scoring path as reinforcement learning."""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float, Int
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from typing_extensions import override

from mapo.modules import startup
from mapo.modules.hyperparameters import store_hyperparameters
from mapo.modules.means import Means
from mapo.modules.micro_batches import micro_batches
from mapo.modules.whole_steps import WholeSteps
from mapo.policies.policy import Policy
from mapo.policies.saving import save_policy
from mapo.policies.sharding import full_state_dict, gather, is_sharded, scatter
from mapo.types import EncodedPrompt, Prompt

Row = tuple[EncodedPrompt, Int[Tensor, " T"]]


class SupervisedModule(WholeSteps):
    """Cross-entropy on the completions of demonstrations, averaged over the tokens of the whole batch and all ranks.

    A demonstration is a ``Prompt`` whose ``metadata["completion"]`` is the text to learn; the end-of-sequence token is
    learned with it, the prompt is not.

    Args:
        policy: The model to train: a Hugging Face name, a folder, or ``builtin``.
        from_scratch: Start from random weights of that model's configuration instead of its trained ones.
        max_tokens_per_micro_batch: Most tokens scored in one forward pass; changes memory and speed, never the result.
        max_cached_prompts: Encoded prompts kept in memory by sample id, for data that come back; 0 keeps none.
        gradient_clip_norm: Largest gradient norm of an optimizer step; null clips nothing.
        optimizer: Builds the optimizer from the trainable parameters.
        lr_scheduler: Builds a learning-rate schedule that advances with every optimizer step.
        save_folder: Where the trained model is saved as Hugging Face loads it when fit ends; nowhere when null.
        save_dtype: Precision of the saved weights.
    """

    def __init__(
        self,
        policy: Policy,
        from_scratch: bool = False,
        max_tokens_per_micro_batch: int = 16384,
        max_cached_prompts: int = 0,
        gradient_clip_norm: float | None = 1.0,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
        save_folder: str | None = None,
        save_dtype: Literal["float32", "bfloat16"] = "bfloat16",
    ) -> None:
        arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        super().__init__()
        startup.check_budget(max_tokens_per_micro_batch)
        if from_scratch and policy.lora is not None:
            raise ValueError("from_scratch=True has nothing to adapt: leave policy.lora out, or from_scratch False")
        self.automatic_optimization = False
        self.absent_hyperparameters = store_hyperparameters(self, arguments)
        self.policy, self.from_scratch = policy, from_scratch
        self.max_tokens_per_micro_batch, self.max_cached_prompts = max_tokens_per_micro_batch, max_cached_prompts
        self.gradient_clip_norm, self.optimizer, self.lr_scheduler = gradient_clip_norm, optimizer, lr_scheduler
        self.save_folder, self.save_dtype = save_folder, save_dtype
        self._encoded: dict[str, EncodedPrompt] = {}
        self._validation: dict[int, Means] = {}

    @override
    def training_step(self, demonstrations: Sequence[Prompt], batch_idx: int) -> None:
        self.begin_step()
        rows = [self.encode(demonstration) for demonstration in demonstrations]
        num_tokens = float(self.sum_over_ranks(torch.tensor(sum(len(token_ids) for _, token_ids in rows))))
        means, scale = Means(), self.trainer.world_size / num_tokens
        (parts,) = self.micro_batches([_lengths(rows)])
        norm = self.take_step([partial(self.scaled_loss, rows, part, scale, means) for part in parts])
        self.check_skipped()
        self.log("train/loss", means.compute(self.sum_over_ranks)["loss"], prog_bar=True)
        if norm is not None:
            self.log("train/gradient_norm", norm)
        self.log("train/learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"])

    @override
    def validation_step(self, demonstrations: Sequence[Prompt], batch_idx: int, dataloader_idx: int = 0) -> None:
        means = self._validation.setdefault(dataloader_idx, Means())
        rows = [self.encode(demonstration) for demonstration in demonstrations]
        budget, shares_prefix = self.max_tokens_per_micro_batch, self.actor.shares_prefix
        for part in micro_batches(_lengths(rows), max_tokens=budget, shares_prefix=shares_prefix):
            self.loss([rows[index] for index in part], means)

    @override
    def on_validation_start(self) -> None:
        super().on_validation_start()
        gather(self.actor)  # ranks need not have the same number of micro-batches

    @override
    def on_validation_epoch_end(self) -> None:
        scatter(self.actor)
        for index, name in enumerate(startup.evaluation_names(self.trainer)):
            means = self._validation.pop(index, Means())
            means.add("loss", torch.zeros(0))  # a rank without rows takes part in the reduction as well
            # Equal on every rank; the maximum is exact and keeps Lightning from advising to reduce it.
            self.log(f"val/{name}/loss", means.compute(self.sum_over_ranks)["loss"], sync_dist=True, reduce_fx="max")

    def scaled_loss(self, rows: Sequence[Row], part: Sequence[int], scale: float, means: Means) -> Float[Tensor, ""]:
        """Return a micro-batch's share of the loss; the mean over ranks of the shares' sums is the loss of the step."""
        if not part:  # another rank has one more: this one runs its shortest row without a weight
            return self.loss([min(rows, key=lambda row: len(row[0].input_ids) + len(row[1]))], Means()) * 0.0
        return self.loss([rows[index] for index in part], means) * scale

    def loss(self, rows: Sequence[Row], means: Means) -> Float[Tensor, ""]:
        """Return the cross-entropy of the completions in nats, summed over their tokens."""
        prompts, token_ids = zip(*rows, strict=True)
        logprobs = self.actor.score(prompts, token_ids, temperature=1.0).logprobs
        lengths = torch.tensor([len(ids) for ids in token_ids], device=logprobs.device)
        means.add("loss", -logprobs, torch.arange(logprobs.shape[1], device=logprobs.device) < lengths[:, None])
        return -logprobs.sum()

    def encode(self, demonstration: Prompt) -> Row:
        """Return a demonstration as tokens.

        Raises:
            ValueError: It has no completion.
        """
        text = demonstration.metadata.get("completion")
        if not isinstance(text, str) or not text:
            raise ValueError(
                f"sample {demonstration.sample_id!r} is no demonstration: its metadata must hold 'completion', "
                f"the text to learn, got {text!r}"
            )
        prompt = self._encoded.get(demonstration.sample_id) or self.actor.renderer.encode(demonstration)
        if len(self._encoded) < self.max_cached_prompts:
            self._encoded[demonstration.sample_id] = prompt
        token_ids = self.actor.renderer.encode_completion(text)
        if banned := set(token_ids.tolist()) & set(self.actor.renderer.banned_ids):
            tokens = ", ".join(map(str, self.actor.renderer.tokenizer.convert_ids_to_tokens(sorted(banned))))
            raise ValueError(
                f"sample {demonstration.sample_id!r} has {tokens} in its completion, which are never sampled; "
                "remove them"
            )
        return prompt, token_ids

    @override
    def setup(self, stage: str) -> None:
        startup.check_run(self, self.policy, stage, updates_per_phase=1)

    @override
    def configure_model(self) -> None:
        if not hasattr(self, "actor"):
            self.actor = self.policy.load_model(reference=False)
            if self.from_scratch:
                network = self.actor.model
                network.load_state_dict(type(network)(network.config).state_dict())
        self.distribute()

    @override
    def on_fit_end(self) -> None:
        if self.save_folder is None:
            return
        weights = full_state_dict(self.actor) if is_sharded(self.actor) else None  # every rank has a part
        if self.trainer.is_global_zero:
            folder = save_policy(self.actor, self.save_folder, dtype=self.save_dtype, weights=weights)
            rank_zero_info(f"The trained model is in {folder}")


def _lengths(rows: Sequence[Row]) -> list[tuple[EncodedPrompt, int]]:
    return [(prompt, len(token_ids)) for prompt, token_ids in rows]
