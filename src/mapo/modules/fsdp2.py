"""FSDP2 over all devices, with weights and optimizer states on the host where asked."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from typing_extensions import override

from mapo.modules.checkpoint_files import mark_unfinished


class FSDP2Strategy(ModelParallelStrategy):
    """Lightning's ``ModelParallelStrategy`` with every device of every node sharing the data and the weights.

    Args:
        cpu_offload: Keep each rank's part of weights, gradients and optimizer states in the host's memory; one layer's
            weights at a time are copied to the GPU. Much slower, and not yet measured on a GPU.
        save_distributed_checkpoint: Save a folder to which every rank writes its part; false: one file, assembled in
            the memory of the first rank, which any strategy loads.
        timeout_minutes: How long a rank waits for the others.
    """

    def __init__(
        self, cpu_offload: bool = False, save_distributed_checkpoint: bool = True, timeout_minutes: float = 30.0
    ) -> None:
        super().__init__(
            tensor_parallel_size=1,
            save_distributed_checkpoint=save_distributed_checkpoint,
            # Norms of gradients that are on the host are summed there.
            process_group_backend="cpu:gloo,cuda:nccl" if cpu_offload and torch.cuda.is_available() else None,
            timeout=timedelta(minutes=timeout_minutes),
        )
        self.cpu_offload = cpu_offload

    @override
    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Save as Lightning does; a folder that is written over is known for unfinished until it is whole again."""
        path = Path(self.broadcast(filepath))
        if self.is_global_zero:
            mark_unfinished(path)
        self.barrier()
        super().save_checkpoint(checkpoint, path, storage_options)

    @override
    def model_to_device(self) -> None:
        if not self.cpu_offload:
            super().model_to_device()
