"""Accumulating gradients over micro-batches, and exchanging them once."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from mapo.policies.model import PolicyModel


@contextlib.contextmanager
def accumulate(trainer: Trainer, actor: PolicyModel, *, not_last: bool) -> Iterator[None]:
    """Within this context a backward pass only accumulates, unless it is the last of its optimizer step.

    Args:
        trainer: Its strategy holds the wrapper of DistributedDataParallel.
        actor: Exchanges gradients itself where it is sharded.
        not_last: True for every micro-batch of an optimizer step but the last.
    """
    wrapped = trainer.strategy.model
    if not_last and isinstance(wrapped, DistributedDataParallel):
        with wrapped.no_sync():
            yield
    elif isinstance(actor, FSDPModule):
        actor.set_requires_gradient_sync(not not_last)
        yield
    else:
        yield


def awaited_parameters(trainer: Trainer, actor: PolicyModel) -> list[nn.Parameter]:
    """Return the parameters that the strategy expects every last backward pass to visit."""
    return actor.trainable_parameters() if isinstance(trainer.strategy.model, DistributedDataParallel) else []


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


def clip_gradient_norm(parameters: Iterable[nn.Parameter], limit: float) -> Float[Tensor, ""]:
    """Clip the gradient of all parameters together, and return its norm before that, over all ranks' parts of it."""
    norm = nn.utils.clip_grad_norm_(parameters, limit)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


class _Reach(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: Tensor, *parameters: nn.Parameter) -> Tensor:
        ctx.num_parameters = len(parameters)
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (gradient, *[None] * ctx.num_parameters)
