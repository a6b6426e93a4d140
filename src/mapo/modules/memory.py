"""How much memory a run takes, by item, from its configuration alone: computed, not measured."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning.pytorch.cli import OptimizerCallable

from mapo.functional.logprobs import rows_per_tile
from mapo.policies.outline import Blocks, Outline, outline
from mapo.rollout.capacity import DRAW_BYTES, SPARE, Capacity
from mapo.rollout.transformers import TransformersEngine

if TYPE_CHECKING:
    from mapo.modules.mapo import MAPOModule

GIB = 2**30
_FLOAT32, _BFLOAT16 = 4, 2
_CONTEXT = 3 * GIB // 2  # assumed: CUDA's context, cuBLAS workspaces and NCCL's buffers

Time = Literal["always", "update", "rollout", "scoring"]


@dataclass(frozen=True)
class Layout:
    """How a run is spread over devices.

    Attributes:
        ranks: Processes, one GPU each.
        per_node: Of them on one machine.
        sharded: Weights, gradients and optimizer states are cut into one part per rank.
        offloaded: These parts are in the host's memory.
        bfloat16: Products are computed in bfloat16.
        cuda: The devices are GPUs.
    """

    ranks: int = 1
    per_node: int = 1
    sharded: bool = False
    offloaded: bool = False
    bfloat16: bool = False
    cuda: bool = False

    @classmethod
    def of(cls, trainer: Mapping[str, Any]) -> "Layout":
        """Read the trainer's configuration; devices of which only the machine knows how many count as one."""
        strategy, devices = trainer["strategy"], trainer["devices"]
        name = strategy["class_path"] if isinstance(strategy, Mapping) else str(strategy)
        arguments = strategy.get("init_args") or {} if isinstance(strategy, Mapping) else {}
        count = len(devices) if isinstance(devices, list) else int(devices) if str(devices).isdigit() else 1
        return cls(
            ranks=max(count, 1) * int(trainer["num_nodes"]),
            per_node=max(count, 1),
            sharded=any(word in name for word in ("FSDP2", "ModelParallel", "DeepSpeed", "deepspeed_stage_3")),
            offloaded=bool(arguments.get("cpu_offload")) or "offload" in name,
            bfloat16="bf16" in str(trainer["precision"]),
            cuda=trainer["accelerator"] in ("gpu", "cuda", "auto"),
        )


@dataclass(frozen=True)
class Item:
    """One thing that takes memory of a device.

    Attributes:
        name: What it is.
        num_bytes: On one device.
        when: All the time, or only in the update, in rollouts, or while a reference scores, which never overlap.
    """

    name: str
    num_bytes: int
    when: Time = "always"


@dataclass(frozen=True)
class MemoryEstimate:
    """What one device and one machine have to hold.

    Attributes:
        items: Of one device.
        row_bytes: Of one more completion in a rollout: keys, values, and what a draw takes.
        rows: Completions of a phase on one rank.
        host_bytes: Of one machine, while the weights are loaded and, with offloading, afterwards.
        published: Whether the model's shape is the package's own record.
        known: Whether rollouts are among the items; other engines plan their own memory.
    """

    items: tuple[Item, ...]
    row_bytes: int
    rows: int
    host_bytes: int
    published: bool
    known: bool

    def at(self, when: Time) -> int:
        """Return the bytes of what is there at that time."""
        return sum(item.num_bytes for item in self.items if item.when in ("always", when))

    @property
    def least(self) -> int:
        """The smallest device memory with which the run can work: rollouts with a single completion at a time."""
        return max(self.at("update"), self.at("rollout") + self.row_bytes, self.at("scoring"))

    def rows_at_once(self, device_bytes: int) -> int:
        """Return how many completions decode at once on a device."""
        free = int((device_bytes - self.at("rollout")) * (1 - SPARE))
        return max(0, min(self.rows, free // self.row_bytes))


def estimate(module: "MAPOModule", batch_size: int, layout: Layout, shape: Outline | None = None) -> MemoryEstimate:
    """Return what a run takes.

    Sources: 16 bytes per trained parameter and their sharding, ZeRO (https://arxiv.org/abs/1910.02054), section 3;
    activations with and without recomputation, Korthikanti et al. (https://arxiv.org/abs/2205.05198), section 4, here
    counted for gated MLPs, grouped keys and attention that never holds its scores.

    Args:
        module: Not loaded.
        batch_size: Prompts of a phase on all ranks.
        layout: Of the run.
        shape: Of the module's policy, if it has been counted already.

    Raises:
        ValueError: The model's configuration cannot be read.
    """
    shape = shape or outline(module.policy)
    sampling, prompts = module.sampling, max(1, batch_size // layout.ranks)
    row = shape.cache_numbers * _compute_bytes(layout)
    cached = sampling.max_completion_tokens + module.policy.max_prompt_tokens / module.group_size
    return MemoryEstimate(
        items=tuple(
            item
            for items in (
                _held(shape, module, layout),
                _update(shape, module, layout, prompts),
                _rollout(shape, module, layout),
            )
            for item in items
            if item.num_bytes
        ),
        row_bytes=int(row * cached) + shape.vocabulary * DRAW_BYTES,
        rows=prompts * module.group_size,
        host_bytes=_host(shape, module, layout),
        published=shape.published,
        known=isinstance(module.rollout, TransformersEngine),
    )


def optimizer_bytes(optimizer: OptimizerCallable) -> float:
    """Return the bytes of an optimizer's states per trained float32 parameter, from one step on a few of them.

    Example:
        >>> optimizer_bytes(torch.optim.AdamW)
        8.0
    """
    parameter = torch.nn.Parameter(torch.zeros(64, 64))
    built = optimizer([parameter])
    parameter.grad = torch.ones_like(parameter)
    built.step()
    states = [value for value in built.state[parameter].values() if isinstance(value, torch.Tensor) and value.ndim]
    return sum(state.nbytes for state in states) / parameter.numel()


def _held(shape: Outline, module: "MAPOModule", layout: Layout) -> Iterator[Item]:
    """Yield what is held from the first phase to the last."""
    part = layout.ranks if layout.sharded else 1
    frozen = _frozen_bytes(module)
    device = 0 if layout.offloaded else 1
    yield Item("trained weights, float32", device * _FLOAT32 * shape.trained // part)
    yield Item("optimizer states", device * int(optimizer_bytes(module.optimizer) * shape.trained) // part)
    yield Item("frozen weights", device * frozen * shape.frozen // part)
    if _has_copy(module):
        away = module.policy.reference_on_host
        yield Item("reference", device * frozen * shape.parameters // part, "scoring" if away else "always")
    if layout.ranks > 1 and not layout.sharded:
        yield Item("DDP's buckets of gradients", _FLOAT32 * shape.trained)
    yield Item("CUDA, cuBLAS, NCCL (assumed)", _CONTEXT if layout.cuda else 0)


def _update(shape: Outline, module: "MAPOModule", layout: Layout, prompts: int) -> Iterator[Item]:
    """Yield what the backward pass of a full micro-batch needs."""
    group = module.policy.max_prompt_tokens + module.group_size * module.sampling.max_completion_tokens
    share = max(1, prompts // module.updates_per_phase) * group
    tokens = min(module.max_tokens_per_micro_batch, share)
    several = share > tokens
    if layout.sharded:
        # Between micro-batches of a step gradients are whole; the ranks exchange them once.
        yield Item("gradients, whole until exchanged", _FLOAT32 * shape.trained if several else 0, "update")
        yield Item("gradients, this rank's part", _FLOAT32 * shape.trained // layout.ranks, "update")
        gathered = shape.outside + 2 * shape.layer  # the next layer is fetched while one is computed
        yield Item("gathered weights and their gradients", gathered * 2 * _compute_bytes(layout), "update")
    else:
        yield Item("gradients", _FLOAT32 * shape.trained, "update")
        copies = shape.trained if layout.bfloat16 else 0
        yield Item("autocast's copies of trained weights", _BFLOAT16 * copies, "update")
    # Residuals follow the embedding: float32 where that is trained and not cast as a whole.
    plain = layout.bfloat16 and not layout.sharded and module.policy.lora is None
    wide = _FLOAT32 if plain or not layout.bfloat16 else _BFLOAT16
    narrow = _BFLOAT16 if layout.bfloat16 or _frozen_bytes(module) == _BFLOAT16 else _FLOAT32
    recomputed = module.policy.gradient_checkpointing
    language = _activations(shape.decoder, tokens, wide, narrow, recomputed=recomputed)
    yield Item(f"activations of {tokens:,} tokens", language, "update")
    if shape.tower is not None:
        images = max(1, tokens // group) * module.policy.max_prompt_tokens
        patches = min(tokens, images) * shape.merge
        tower = _activations(shape.tower, patches, wide, narrow, recomputed=recomputed)
        yield Item(f"activations of {patches:,} patches", tower, "update")
    rows = min(tokens, rows_per_tile(shape.vocabulary))
    yield Item("logits, three tiles", 3 * _FLOAT32 * rows * shape.vocabulary, "update")


def _rollout(shape: Outline, module: "MAPOModule", layout: Layout) -> Iterator[Item]:
    """Yield what a rollout needs beside keys and values."""
    if not isinstance(module.rollout, TransformersEngine):
        return
    size = _compute_bytes(layout)
    if layout.sharded:
        yield Item("all weights, gathered", size * shape.parameters, "rollout")
    elif module.policy.lora is not None:
        yield Item("adapted weights, merged", _frozen_bytes(module) * shape.adapted, "rollout")
    elif layout.bfloat16:
        yield Item("weights cast to bfloat16", _BFLOAT16 * shape.decoder.num * shape.layer, "rollout")
    widest = 3 * shape.decoder.inner + 6 * shape.decoder.hidden
    yield Item("prompts on their way in", Capacity.prefill_tokens * widest * size, "rollout")


def activation_bytes(blocks: Blocks, wide: int, narrow: int) -> int:
    """Return what one block keeps of one token for its backward pass.

    Two norms keep their input in float32 and what they scale; products keep their inputs; attention keeps queries,
    keys, values and its output; the MLP what goes into its activation and its product.

    Args:
        blocks: Of the model.
        wide: Bytes of a number of the residual stream.
        narrow: Bytes of a number that goes into a product.
    """
    norms = 2 * blocks.hidden * (_FLOAT32 + wide)
    # Every product of a wider input makes a narrow copy of its own.
    copies = (3 + 1 + blocks.gated) if wide != narrow else 2
    attention = narrow * (2 * blocks.queries + 2 * blocks.keys)
    mlp = narrow * blocks.inner * (4 if blocks.gated else 2)
    return norms + narrow * copies * blocks.hidden + attention + mlp


def _activations(blocks: Blocks, tokens: int, wide: int, narrow: int, *, recomputed: bool) -> int:
    if not blocks.trained:
        return 0
    each = activation_bytes(blocks, wide, narrow)
    return tokens * (blocks.num * wide * blocks.hidden + each if recomputed else blocks.num * each)


def _host(shape: Outline, module: "MAPOModule", layout: Layout) -> int:
    """Return the memory of a machine whose processes each load the whole model before they share it out."""
    each = _frozen_bytes(module) if module.policy.lora else _FLOAT32
    copies = 2 if _has_copy(module) else 1  # the reference is copied before it is cast
    loading = layout.per_node * shape.parameters * each * copies
    states = (2 * _FLOAT32 + optimizer_bytes(module.optimizer)) * shape.trained + _frozen_bytes(module) * shape.frozen
    kept = int(states) * layout.per_node // layout.ranks if layout.offloaded else 0
    return max(loading, kept)


def _has_copy(module: "MAPOModule") -> bool:
    return module.objective.kl_coef > 0 and module.policy.lora is None


def _frozen_bytes(module: "MAPOModule") -> int:
    return _BFLOAT16 if module.policy.frozen_dtype == "bfloat16" else _FLOAT32


def _compute_bytes(layout: Layout) -> int:
    return _BFLOAT16 if layout.bfloat16 else _FLOAT32
