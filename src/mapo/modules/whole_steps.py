"""What modules share that optimise by themselves: one step over any number of micro-batches, exact on any ranks."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from lightning.pytorch import Callback
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import DeepSpeedStrategy
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from typing_extensions import override

from mapo.functional.stages import told
from mapo.modules import startup
from mapo.modules.checkpoints import PhaseCheckpoints
from mapo.modules.micro_batches import Row, even_micro_batches
from mapo.modules.optimizer_names import check_optimizer
from mapo.modules.rank_beats import waiting
from mapo.modules.rank_failure import RankWatch
from mapo.modules.strategies import check_micro_batches, check_strategy
from mapo.modules.synchronisation import (
    accumulate,
    awaited_parameters,
    clip_gradient_norm,
    fill_missing_gradients,
    reach,
)
from mapo.policies.sharding import shard


class WholeSteps(PhaseCheckpoints):
    """A module whose training step takes its optimizer steps itself, each on one sum of losses.

    Attributes:
        optimizer: Builds the optimizer from the trainable parameters.
        lr_scheduler: Builds a learning-rate schedule that advances with every optimizer step.
        gradient_clip_norm: Largest gradient norm of an optimizer step; None clips nothing.
        max_tokens_per_micro_batch: Most tokens that are scored in one forward pass.
        max_skipped_steps: Optimizer steps in a row that may be skipped since their gradient is not finite.
        skipped_in_a_row: Those that were, up to the latest one.
    """

    optimizer: OptimizerCallable
    lr_scheduler: LRSchedulerCallable | None
    gradient_clip_norm: float | None
    max_tokens_per_micro_batch: int
    max_skipped_steps: int = 0
    skipped_in_a_row: int = 0

    def take_step(self, losses: Sequence[Callable[[], Float[Tensor, ""]]]) -> Float[Tensor, ""] | None:
        """Take one optimizer step on the sum of losses.

        A gradient that is not finite changes no weight and no moment; the step counts like any other all the same.

        Args:
            losses: One per micro-batch, computed when its turn comes. Every rank must bring the same number; with none
                the weights stay as they are, and the step counts like any other.

        Returns:
            The gradient's norm before clipping; None without losses, and under DeepSpeed, which clips it in the step.
        """
        optimizer = cast(LightningOptimizer, self.optimizers())
        optimizer.zero_grad()
        norm = None
        if losses:
            self.accumulate_gradient(losses)
            norm = self.clip_gradient()
            if norm is None or torch.isfinite(norm):  # the same on every rank
                self.skipped_in_a_row = 0
            else:
                self.skipped_in_a_row += 1
                optimizer.zero_grad()
        self.half_updated = True
        optimizer.step()
        optimizer.zero_grad()  # frees their memory for what comes before the next step
        if self.lr_scheduler is not None:
            cast(LRScheduler, self.lr_schedulers()).step()
        return norm

    def sum_over_ranks(self, values: Tensor) -> Tensor:
        """Return a tensor summed over all ranks, on the CPU."""
        with waiting():
            return self.trainer.strategy.reduce(values.to(self.device), reduce_op="sum").cpu()

    def max_over_ranks(self, values: Tensor) -> Tensor:
        """Return the largest of each number over all ranks, on the CPU."""
        with waiting():
            return self.trainer.strategy.reduce(values.to(self.device), reduce_op="max").cpu()

    def columns_of_ranks(self, values: Int[Tensor, " B"]) -> Int[Tensor, "B W"]:
        """Return the numbers of all ranks, which have as many each, on the CPU; column r is rank r's."""
        table = torch.zeros(len(values), self.trainer.world_size, dtype=values.dtype)
        table[:, self.global_rank] = values
        return self.sum_over_ranks(table)

    def micro_batches(self, steps: Sequence[Sequence[Row]]) -> list[list[list[int]]]:
        """Return the rows of every micro-batch of every optimizer step; see ``even_micro_batches``."""
        cut = even_micro_batches(
            steps,
            max_tokens=self.max_tokens_per_micro_batch,
            shares_prefix=self.actor.shares_prefix,
            max_over_ranks=self.max_over_ranks,
        )
        check_micro_batches(self.trainer.strategy, [len(parts) for parts in cut])
        return cut

    def distribute(self) -> None:
        """Leave this rank its part of the loaded weights, where the strategy shards them."""
        # What adapters adapt is in no checkpoint, and Lightning would ask for it; ``check_weights`` looks at the rest.
        self.strict_loading = not hasattr(self.actor.model, "disable_adapter")
        if self.device_mesh is not None:
            dtype = torch.bfloat16 if str(self.trainer.precision) == "bf16-mixed" else None
            offload = getattr(self.trainer.strategy, "cpu_offload", False)
            shard(self.actor, self.device_mesh["data_parallel"], dtype=dtype, offload=offload)

    @override
    def configure_callbacks(self) -> Sequence[Callback] | Callback:
        """Refuse trainer arguments that manual optimisation would ignore; called before anything is loaded."""
        startup.check_trainer(self.trainer)
        self.optimizer_of([nn.Parameter(torch.zeros(1))])  # now, not after the validation that opens a fit
        samples = hasattr(self, "rollout")
        check_strategy(self.trainer.strategy, gradient_clip_norm=self.gradient_clip_norm, samples=samples)
        own = super().configure_callbacks()
        own = [own] if isinstance(own, Callback) else list(own)
        present = any(isinstance(callback, RankWatch) for callback in self.trainer.callbacks)  # type: ignore[attr-defined]
        return own if present else [*own, RankWatch()]

    @override
    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimizer and its schedule over the trainable parameters."""
        return self.optimizer_of(self.actor.trainable_parameters())

    def optimizer_of(self, parameters: Sequence[nn.Parameter]) -> OptimizerLRScheduler:
        """Build an optimizer and its schedule.

        Raises:
            ValueError: Their arguments are not possible.
        """
        building = "model.optimizer"
        try:
            optimizer = self.optimizer(parameters)
            if self.lr_scheduler is None:
                return optimizer
            building = "model.lr_scheduler"
            schedule = self.lr_scheduler(optimizer)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{building} cannot be made: {error}") from error
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        # load_from_checkpoint has no trainer; a sharded strategy takes the states of its own parts.
        if self._trainer is not None and self.trainer.state.fn == "fit" and self.device_mesh is None:
            optimizer, states = self.optimizer([nn.Parameter(torch.zeros(1))]), checkpoint.get("optimizer_states", ())
            check_optimizer(optimizer, states, len(self.actor.trainable_parameters()))

    def accumulate_gradient(self, losses: Sequence[Callable[[], Float[Tensor, ""]]]) -> None:
        """Run one backward pass per loss; the ranks exchange gradients in the last one."""
        awaited = awaited_parameters(self.trainer, self.actor)
        torch.clear_autocast_cache()  # weights cast under no_grad must not serve the update
        for position, loss in enumerate(told(losses, "micro-batches trained")):
            with accumulate(self.trainer, self.actor, not_last=position < len(losses) - 1):
                self.manual_backward(reach(loss(), awaited))
        if not isinstance(self.trainer.strategy, DeepSpeedStrategy):
            fill_missing_gradients(self.actor.trainable_parameters())

    def clip_gradient(self) -> Float[Tensor, ""] | None:
        """Clip the gradient and return its norm before clipping; None under DeepSpeed."""
        if isinstance(self.trainer.strategy, DeepSpeedStrategy):
            return None
        limit = float("inf") if self.gradient_clip_norm is None else self.gradient_clip_norm
        return clip_gradient_norm(self.actor.trainable_parameters(), limit)

    def check_skipped(self, advice: str = "") -> None:
        """Refuse to go on where too many steps in a row were skipped; the same on every rank.

        Raises:
            FloatingPointError: More than ``max_skipped_steps``.
        """
        if self.skipped_in_a_row > self.max_skipped_steps:
            raise FloatingPointError(
                f"the gradient was not finite in {self.skipped_in_a_row} optimizer steps in a row, the last of them "
                f"step {self.global_step - 1}; no weight was changed by them. Lower the learning rate, or look at the "
                f"batch{advice}"
            )
