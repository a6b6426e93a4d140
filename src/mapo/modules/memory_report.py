"""The memory estimate in words, and a warning where it will not fit."""

from typing import TYPE_CHECKING

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DeepSpeedStrategy, ModelParallelStrategy
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from mapo.data.base import PromptDataModule
from mapo.modules.memory import GIB, Layout, MemoryEstimate, estimate

if TYPE_CHECKING:
    from mapo.modules.mapo import MAPOModule

# What CUDA reports of GPUs that are sold as so many GB: a little less, and less again with error correction.
_USUAL = {24: 23 * GIB, 40: 39 * GIB, 48: 44 * GIB, 80: 79 * GIB, 141: 139 * GIB, 180: 177 * GIB}
_MIB = 2**20


def memory_table(found: MemoryEstimate, layout: Layout) -> str:
    """Return what a device has to hold, item by item, and on which GPUs that fits.

    Args:
        found: The estimate.
        layout: That it was made for.
    """
    scale, unit = (GIB, "GiB") if found.at("update") >= GIB else (_MIB, "MiB")
    what = f"each of {layout.ranks} {'GPUs' if layout.cuda else 'processes'}" if layout.ranks > 1 else "the run"
    lines: list[tuple[str, str, int]] = [(item.when, item.name, item.num_bytes) for item in found.items]
    lines.append(("", "together in the update", found.at("update")))
    if found.known:
        lines.append(("", "together in rollouts, one completion at a time", found.at("rollout") + found.row_bytes))
        lines.append(("", "each further completion that decodes at once", found.row_bytes))
    lines.append(("", f"host memory of a machine while it is loaded ({layout.per_node} x)", found.host_bytes))
    width = max(len(name) for _, name, _ in lines)
    rows = [f"  {when:<8}{name:<{width}}{size / scale:>10.2f}" for when, name, size in lines]
    title = f"Memory of {what}, computed from the configuration and not measured, {unit}:"
    return "\n".join([title, *rows, *_remarks(found, layout)])


def report_memory(module: "MAPOModule") -> None:
    """Say at the start of a fit on GPUs what it takes, and warn where they have less."""
    trainer, data = module.trainer, getattr(module.trainer, "datamodule", None)
    device = trainer.strategy.root_device
    if device.type != "cuda" or not isinstance(data, PromptDataModule):
        return
    layout = _layout(trainer)
    found = estimate(module, data.batch_size, layout)
    rank_zero_info(memory_table(found, layout))
    if (reason := shortage(found, torch.cuda.mem_get_info(device)[1])) is not None:
        rank_zero_warn(reason)


def shortage(found: MemoryEstimate, device_bytes: int) -> str | None:
    """Return a warning if a device has less memory than the run takes at least, with what would help."""
    if found.least <= device_bytes:
        return None
    return (
        f"this run takes about {found.least / GIB:.0f} GiB of every GPU (computed), and they have "
        f"{device_bytes / GIB:.0f} GiB. What helps: configs/trainer/fsdp2.yaml (or more GPUs under it), "
        "model.policy.lora, model.policy.gradient_checkpointing, a lower model.max_tokens_per_micro_batch; "
        "`--plan true` shows what each of them changes"
    )


def _remarks(found: MemoryEstimate, layout: Layout) -> list[str]:
    remarks = []
    if found.published:
        remarks.append(
            "The model's shape is from the package's record of published configurations; its own is not here."
        )
    if not found.known:
        remarks.append("The memory of the rollout engine is its own and not included.")
    if layout.cuda:
        fitting = {size: room for size, room in _USUAL.items() if found.least <= room}
        sizes = [f"{size} GB ({_at_once(found, room)})" for size, room in fitting.items()]
        remarks.append(f"Fits on GPUs of {', '.join(sizes)}." if sizes else "Fits on no GPU of today.")
    return remarks


def _at_once(found: MemoryEstimate, room: int) -> str:
    if not found.known:
        return f"{(room - found.at('update')) / GIB:.0f} GiB to spare"
    return f"{found.rows_at_once(room)} of {found.rows} completions at once"


def _layout(trainer: Trainer) -> Layout:
    strategy = trainer.strategy
    return Layout(
        ranks=trainer.world_size,
        per_node=trainer.num_devices,
        sharded=isinstance(strategy, ModelParallelStrategy | DeepSpeedStrategy),
        offloaded=bool(getattr(strategy, "cpu_offload", False)),
        bfloat16="bf16" in str(trainer.precision),
        cuda=True,
    )
