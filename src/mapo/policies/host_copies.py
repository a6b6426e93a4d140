"""Weights that live in the host's memory and are on a device only while they are used."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule


@contextmanager
def copied_to(device: torch.device, module: nn.Module | None) -> Iterator[None]:
    """Within this context a frozen module's weights are on a device.

    Its own tensors stay where they are and are put back, so that nothing is copied the other way.

    Args:
        device: Where they are used.
        module: None does nothing; nor does one that is sharded, whose parts FSDP2 copies layer by layer.
    """
    if module is None or isinstance(module, FSDPModule):
        yield
        return
    copies: dict[int, Tensor] = {}  # of a weight that stands in several places there is one
    stores: list[Any] = [store for part in module.modules() for store in (part._parameters, part._buffers)]
    homes = [(store, dict(store)) for store in stores]
    try:
        for store, own in homes:
            for name, tensor in own.items():
                if tensor is not None and id(tensor) not in copies:
                    copies[id(tensor)] = _copy(tensor, device)
                store[name] = None if tensor is None else copies[id(tensor)]
        yield
    finally:
        for store, own in homes:
            store.update(own)


def _copy(tensor: Tensor, device: torch.device) -> Tensor:
    copied = tensor.detach().to(device)
    return nn.Parameter(copied, requires_grad=False) if isinstance(tensor, nn.Parameter) else copied
