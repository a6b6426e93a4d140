"""FSDP2 over all devices, with weights and optimizer states on the host where asked."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy, ParallelStrategy
from torch import distributed
from torch.distributed.checkpoint.api import CheckpointException
from typing_extensions import override

from mapo.modules.checkpoint_files import damage, draft_of, hold, known_damage, lock_of, refusal
from mapo.modules.checkpoint_io import not_written
from mapo.modules.replacing import put, remove
from mapo.modules.shard_sums import spoilt_shard, sums_of, write_sums


class FSDP2Strategy(ModelParallelStrategy):
    """Lightning's ``ModelParallelStrategy`` with every device of every node sharing the data and the weights.

    A checkpoint is written beside its place, checked, and then renamed; every byte is checked before it is loaded.

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
        path = Path(self.broadcast(filepath))
        if not self._save_distributed_checkpoint:
            # Not Lightning's own, which begins by removing a folder of that name.
            ParallelStrategy.save_checkpoint(self, checkpoint, path, storage_options)
            return
        try:
            with self._drafted(path) as draft:
                super().save_checkpoint(checkpoint, draft, storage_options)
                sums = self._from_all(sums_of(draft, self.global_rank))
                if self.is_global_zero:
                    write_sums(draft, {name: value for own in sums for name, value in own.items()})
        except (OSError, RuntimeError, CheckpointException) as error:  # as PyTorch reports a full disk
            reason = next(iter(error.failures.values()))[0] if isinstance(error, CheckpointException) else error
            raise ValueError(not_written(path, reason)) from error

    @override
    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Load as Lightning does, if the checkpoint is whole: the ranks share its shards to look at.

        Raises:
            ValueError: It is damaged; on every rank.
        """
        path = Path(self.broadcast(checkpoint_path))
        fault = self.broadcast(known_damage(path) if self.is_global_zero else None)
        if fault is None and path.is_dir():
            faults = self._from_all(spoilt_shard(path, part=self.global_rank, parts=self.world_size))
            fault = next(filter(None, faults), None)
        if fault is not None:
            raise ValueError(refusal(path, fault))
        return super().load_checkpoint(path, weights_only)

    @override
    def remove_checkpoint(self, filepath: Any) -> None:
        """Remove a checkpoint; of a folder that is removed in part nobody is to think that it is whole."""
        path = Path(filepath)
        if self.is_global_zero and path.is_dir():
            trash = draft_of(path)
            remove(trash)
            path.rename(trash)
            remove(trash)
        else:
            super().remove_checkpoint(filepath)

    @override
    def model_to_device(self) -> None:
        if not self.cpu_offload:
            super().model_to_device()

    @contextmanager
    def _drafted(self, path: Path) -> Iterator[Path]:
        """Give all ranks a folder to write to, which has the checkpoint's name when all of them have left."""
        draft = draft_of(path)
        with ExitStack() as stack:
            if self.is_global_zero:
                remove(draft)
                draft.mkdir(parents=True)
                lock = lock_of(draft)
                stack.callback(remove, draft)  # what was not finished
                hold(stack.enter_context(lock.open("wb")))
            self.barrier()
            yield draft
            if self.is_global_zero:
                lock.unlink()
                if (fault := damage(draft)) is not None:
                    raise OSError(None, f"what was written differs from what was meant ({fault})")
                put(draft, path)
            self.barrier()

    def _from_all(self, value: Any) -> list[Any]:
        values: list[Any] = [None] * self.world_size
        distributed.all_gather_object(values, value)
        return values
