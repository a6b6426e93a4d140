"""Accumulating gradients over micro-batches, and exchanging them once."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, SingleDeviceStrategy, Strategy
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def check_strategy(strategy: Strategy) -> None:
    """Refuse strategies under which gradients would be lost or differ between ranks without a word.

    Raises:
        ValueError: The strategy shards what is not sharded here, or drops all backward passes of a step but its last.
    """
    exchanges = isinstance(strategy, SingleDeviceStrategy | DDPStrategy) and not isinstance(strategy, DeepSpeedStrategy)
    if not exchanges:
        raise ValueError(
            f"trainer.strategy {type(strategy).__name__} is not supported, its gradients would be wrong; use 'ddp', or "
            "'auto' on one device, and for large models model.policy.lora"
        )


@contextlib.contextmanager
def accumulate(trainer: Trainer, *, not_last: bool) -> Iterator[None]:
    """Within this context a backward pass only accumulates, unless it is the last of its optimizer step.

    Args:
        trainer: Its strategy holds the distributed wrapper.
        not_last: True for every micro-batch of an optimizer step but the last.
    """
    wrapped = trainer.strategy.model
    if not_last and isinstance(wrapped, DistributedDataParallel):
        with wrapped.no_sync():
            yield
    else:
        yield


def reach(loss: Float[Tensor, ""], parameters: Iterable[nn.Parameter]) -> Float[Tensor, ""]:
    """Return the same loss, whose backward pass visits every parameter.

    DistributedDataParallel waits for all of them; a vision tower takes no part in a rank's text-only micro-batch.
    Visiting one adds nothing to its gradient and takes no memory.
    """
    return _Reach.apply(loss, *parameters)


def fill_missing_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give parameters that took no part in a step the gradient 0, as DistributedDataParallel does.

    An optimizer passes over a missing gradient but decays weights with a zero one: without this, steps without any
    image would depend on the number of ranks.
    """
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)


class _Reach(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: Tensor, *parameters: nn.Parameter) -> Tensor:
        ctx.num_parameters = len(parameters)
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (gradient, *[None] * ctx.num_parameters)
