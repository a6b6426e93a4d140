"""Which of Lightning's strategies a run may use, and what each of them needs."""

from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.strategies import (
    DDPStrategy,
    DeepSpeedStrategy,
    ModelParallelStrategy,
    SingleDeviceStrategy,
    Strategy,
)
from lightning.pytorch.utilities import rank_zero_warn


def check_strategy(strategy: Strategy, *, gradient_clip_norm: float | None = None, samples: bool = False) -> None:
    """Refuse strategies under which gradients would be lost or differ between ranks without a word.

    Args:
        strategy: Of the trainer. DeepSpeed clips gradients itself and is told the limit here.
        gradient_clip_norm: Largest gradient norm of an optimizer step; None clips nothing.
        samples: Whether the module has rollouts.

    Raises:
        ValueError: The strategy shards in a way that is not known here, or drops backward passes; the fix is named.
    """
    if isinstance(strategy, DeepSpeedStrategy):
        if samples:
            raise ValueError(
                "trainer.strategy DeepSpeedStrategy partitions the weights, which are not gathered for rollouts; use "
                "configs/trainer/fsdp2.yaml. Demonstrations alone (`mapo supervised fit`) can be trained on under it"
            )
        _check_deepspeed(strategy, gradient_clip_norm or 0.0)
    elif isinstance(strategy, ModelParallelStrategy):
        _check_mesh(strategy)
    elif not isinstance(strategy, SingleDeviceStrategy | DDPStrategy):
        raise ValueError(
            f"trainer.strategy {type(strategy).__name__} is not supported, its gradients would be wrong; use 'ddp', or "
            "'auto' on one device, and for large models configs/trainer/fsdp2.yaml or model.policy.lora"
        )


def check_micro_batches(strategy: Strategy, counts: Sequence[int]) -> None:
    """Refuse what DeepSpeed would train on in part.

    Under manual optimisation ZeRO-3 keeps the gradient of the last backward pass of a step and silently loses those
    before: seen on a CPU with DeepSpeed 0.19.8.

    Args:
        strategy: Of the trainer.
        counts: Micro-batches of every optimizer step, the same numbers on every rank.

    Raises:
        ValueError: DeepSpeed, and a step of several; on every rank.
    """
    if isinstance(strategy, DeepSpeedStrategy) and max(counts, default=1) > 1:
        raise ValueError(
            f"an optimizer step of this phase takes {max(counts)} micro-batches, and DeepSpeed would lose the gradient "
            "of all but its last one; make it one (raise model.max_tokens_per_micro_batch or "
            "model.updates_per_phase, lower data.batch_size), or train under configs/trainer/fsdp2.yaml"
        )


def check_checkpoint(strategy: Strategy, path: str | Path | None) -> None:
    """Refuse a checkpoint that this strategy cannot read.

    Raises:
        ValueError: It is a folder with the parts of several ranks, and the strategy expects a file.
    """
    if path is not None and Path(path).is_dir() and not isinstance(strategy, ModelParallelStrategy | DeepSpeedStrategy):
        raise ValueError(
            f"{path} is a folder with the parts of a sharded run, which {type(strategy).__name__} cannot read; go on "
            "under configs/trainer/fsdp2.yaml on any number of devices, with save_distributed_checkpoint: false if the "
            "next checkpoints are to be single files, which every strategy reads"
        )


def _check_mesh(strategy: ModelParallelStrategy) -> None:
    name = type(strategy).__name__
    if strategy._tensor_parallel_size != 1:
        raise ValueError(
            f"trainer.strategy {name} has tensor_parallel_size={strategy._tensor_parallel_size!r}; tensor parallelism "
            "is not supported: pass tensor_parallel_size=1 and, as data_parallel_size, the number of all devices"
        )


def _check_deepspeed(strategy: DeepSpeedStrategy, limit: float) -> None:
    config = strategy.config or {}
    stage = config.get("zero_optimization", {}).get("stage")
    if stage != 3:
        raise ValueError(
            f"trainer.strategy DeepSpeedStrategy with ZeRO stage {stage} is not supported; use 'ddp', "
            "configs/trainer/fsdp2.yaml, or stage 3 (configs/trainer/deepspeed.yaml), which is experimental"
        )
    if config.setdefault("gradient_clipping", limit) != limit:
        raise ValueError(
            f"the DeepSpeed configuration has gradient_clipping={config['gradient_clipping']}, and "
            f"model.gradient_clip_norm={limit or None}; leave gradient_clipping out"
        )
    rank_zero_warn(
        "training under DeepSpeed ZeRO-3 is experimental and not yet measured on a GPU; configs/trainer/fsdp2.yaml is "
        "the tested way to shard"
    )
