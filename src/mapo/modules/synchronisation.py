"""Accumulating gradients without a collective after every micro-batch."""

import contextlib
from collections.abc import Iterator

from lightning.pytorch import Trainer
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel


@contextlib.contextmanager
def accumulate(trainer: Trainer, actor: nn.Module, *, not_last: bool) -> Iterator[None]:
    """Within this context a backward pass only accumulates, unless it is the last of its optimizer step.

    Args:
        trainer: Its strategy holds the distributed wrapper.
        actor: The policy; with FSDP2 it is the sharded module itself.
        not_last: True for every micro-batch of an optimizer step but the last.
    """
    wrapped = trainer.strategy.model
    if not_last and isinstance(wrapped, DistributedDataParallel):
        with wrapped.no_sync():
            yield
    elif not_last and isinstance(actor, FSDPModule):
        actor.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            actor.set_requires_gradient_sync(True)
    else:
        yield
