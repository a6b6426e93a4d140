"""Weights, gradients and optimizer states cut into one part per rank (FSDP2), and whole again for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor

from mapo.functional.device_memory import free_memory
from mapo.policies.model import PolicyModel


def shard(policy: PolicyModel, mesh: DeviceMesh, *, dtype: torch.dtype | None = None, offload: bool = False) -> None:
    """Leave every rank its part of the policy and of its frozen reference; does nothing the second time.

    Each decoder layer is gathered and let go by itself. All other weights, the vision tower's among them, belong to the
    root: a rank whose prompts have no picture never runs the tower, and would wait for nobody if its blocks were
    gathered one by one, while the others wait for it.

    Source: FSDP2 (https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html).

    Args:
        policy: Loaded, on any device; the same weights on every rank.
        mesh: All ranks, in one dimension.
        dtype: That of gathered weights and of products, with gradients summed in float32; None: as the weights are.
        offload: Keep this rank's part, its gradient and its optimizer states in the host's memory.

    Raises:
        ValueError: The architecture has no list of decoder layers, or torch is too old.
    """
    if not hasattr(FSDPModule, "set_reduce_scatter_unused_params"):
        raise ValueError(
            f"sharding needs torch 2.13 or later, got {torch.__version__}; update it, or train under 'ddp'"
        )
    if not is_sharded(policy):
        _shard(policy, mesh, dtype=dtype, offload=offload)
    if policy.reference is not None and not is_sharded(policy.reference):
        _shard(policy.reference, mesh, dtype=dtype, offload=offload or policy.reference_on_host)


def is_sharded(policy: nn.Module) -> bool:
    """Return whether every rank has its part of the weights alone."""
    return isinstance(policy, FSDPModule)


@contextmanager
def gathered(policy: PolicyModel) -> Iterator[None]:
    """Within this context every rank has all weights, as plain tensors, so that none waits for another.

    All ranks must enter it, unless ``gather`` was called before. Weights that are not sharded are left alone.

    Raises:
        ValueError: As ``gather``.
    """
    _refuse_deepspeed(policy)
    if policy.gathered or not is_sharded(policy):
        yield
        return
    gather(policy)
    try:
        yield
    finally:
        scatter(policy)


def gather(policy: PolicyModel) -> None:
    """Give every rank all weights until ``scatter``; every rank must call it.

    Raises:
        ValueError: They do not fit into the memory that is free, or DeepSpeed has partitioned them.
    """
    _refuse_deepspeed(policy)
    if policy.gathered or not is_sharded(policy):
        return
    _check_room(policy)
    # Parameters made in inference mode could not be trained later.
    with torch.inference_mode(False), torch.no_grad():
        for module in _parts(policy):
            module.set_reshard_after_forward(False, recurse=False)
            module.unshard()
    policy.gathered = True


def scatter(policy: PolicyModel) -> None:
    """Let go of the other ranks' parts."""
    if not policy.gathered:
        return
    for module in _parts(policy):
        module.set_reshard_after_forward(True, recurse=False)
        module.reshard()
    policy.gathered = False


def full_state_dict(policy: PolicyModel) -> dict[str, Tensor]:
    """Return all weights in the host's memory, on rank 0 alone where they are sharded; every rank must call it.

    One weight at a time is whole on the device.

    Returns:
        Names as in ``policy.state_dict()``, the frozen base of adapters included; nothing on ranks other than 0.
    """
    assert not policy.gathered
    if not is_sharded(policy) and distributed.is_initialized() and distributed.get_rank() != 0:
        return {}
    weights = policy.state_dict() | dict(policy.named_parameters(remove_duplicate=False))
    kept = {}
    for name, weight in weights.items():
        whole = weight.full_tensor() if isinstance(weight, DTensor) else weight
        if not is_sharded(policy) or distributed.get_rank() == 0:
            kept[name] = whole.detach().cpu()
    return kept


def _shard(policy: PolicyModel, mesh: DeviceMesh, *, dtype: torch.dtype | None, offload: bool) -> None:
    settings: dict[str, Any] = {
        "mesh": mesh,
        # The root's, too: between passes there are the ranks' parts and nothing else.
        "reshard_after_forward": True,
        "mp_policy": MixedPrecisionPolicy(
            param_dtype=dtype, reduce_dtype=None if dtype is None else torch.float32, cast_forward_inputs=False
        ),
        "offload_policy": CPUOffloadPolicy(pin_memory=torch.cuda.is_available()) if offload else OffloadPolicy(),
    }
    for layer in policy.decoder_layers():
        fully_shard(layer, **settings)
    root = fully_shard(policy, **settings)
    register_fsdp_forward_method(policy, "enter")
    policy.gathered_dtype = dtype
    # A rank without pictures has no gradient of the vision tower, and takes part in its sum all the same.
    root.set_reduce_scatter_unused_params(True)


def _parts(policy: PolicyModel) -> list[FSDPModule]:
    return [module for module in policy.modules() if isinstance(module, FSDPModule)]


def _refuse_deepspeed(policy: PolicyModel) -> None:
    if any(hasattr(weight, "ds_id") for weight in policy.parameters()):
        raise ValueError(
            "DeepSpeed ZeRO-3 has partitioned the weights, which are gathered neither for rollouts in this process nor "
            "for validation; train under configs/trainer/fsdp2.yaml, or demonstrations alone, without validation"
        )


def _check_room(policy: PolicyModel) -> None:
    weights = [weight for weight in policy.parameters() if isinstance(weight, DTensor)]
    # Where they are gathered, which is not where they are kept if that is the host.
    free = free_memory(torch.device(weights[0].device_mesh.device_type))
    dtype = policy.gathered_dtype
    needed = sum(weight.numel() * (weight.dtype if dtype is None else dtype).itemsize for weight in weights)
    if free is not None and needed > free:
        raise ValueError(
            f"rollouts and validation gather all weights on every GPU: that takes {needed / 2**30:.1f} GiB, and "
            f"{free / 2**30:.1f} GiB are free. Use more GPUs or larger ones, keep the reference and the optimizer "
            "states on the host, or train adapters (model.policy.lora)"
        )
