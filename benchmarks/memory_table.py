"""The memory of one GPU by model, what is trained, and strategy: computed from published shapes, nothing is measured.

    python benchmarks/memory_table.py

prints the table of docs/cluster.md, for the recipe of configs/mapo_qwen.yaml: 512 prompts x 12 completions in 4
updates, prompts and completions of up to 2,048 tokens, 16,384 tokens per micro-batch with recomputed activations,
bfloat16 products.
"""

from collections.abc import Iterator

from mapo.modules.mapo import MAPOModule
from mapo.modules.memory import GIB, Layout, MemoryEstimate, estimate
from mapo.policies.outline import outline
from mapo.policies.policy import Lora, Policy
from mapo.rewards.math_answer import MathAnswer
from mapo.types import Sampling

MODELS = (
    "Qwen/Qwen2.5-VL-3B-Instruct",
    "Qwen/Qwen3-VL-4B-Instruct",
    "Qwen/Qwen2.5-VL-7B-Instruct",
    "Qwen/Qwen3-VL-8B-Instruct",
    "Qwen/Qwen2.5-VL-32B-Instruct",
)
TRAINED = {
    "all weights, KL": {},
    "all weights, no KL": {"kl_coef": 0.0},
    "LoRA 64, KL": {"lora": Lora(rank=64, alpha=128), "freeze_vision": True},
}
LAYOUTS = {
    "1 GPU": Layout(bfloat16=True, cuda=True),
    "DDP, 8 GPUs": Layout(8, 8, bfloat16=True, cuda=True),
    "FSDP2, 8 GPUs": Layout(8, 8, sharded=True, bfloat16=True, cuda=True),
    "FSDP2, 64 GPUs": Layout(64, 8, sharded=True, bfloat16=True, cuda=True),
}


def recipe(path: str, *, kl_coef: float = 0.01, **policy) -> MAPOModule:
    """Return the module of the recipe for another model."""
    return MAPOModule(
        policy=Policy(path=path, gradient_checkpointing=True, frozen_dtype="bfloat16", **policy),
        rewards=[MathAnswer()],
        sampling=Sampling(top_p=0.99, max_completion_tokens=2048),
        updates_per_phase=4,
        kl_coef=kl_coef,
    )


def cell(found: MemoryEstimate) -> str:
    """Return the least memory that a GPU needs: in the update and in rollouts one completion at a time."""
    return f"{found.at('update') / GIB:.0f} / {(found.at('rollout') + found.row_bytes) / GIB:.0f}"


def rows() -> Iterator[list[str]]:
    """Yield the cells of the table."""
    for path in MODELS:
        for trained, settings in TRAINED.items():
            module = recipe(path, **settings)
            shape = outline(module.policy)
            found = [estimate(module, 512, layout, shape) for layout in LAYOUTS.values()]
            host = f"{found[2].host_bytes / GIB:.0f}"
            yield [path.removeprefix("Qwen/").removesuffix("-Instruct"), trained, *map(cell, found), host]


def table() -> str:
    """Return the table as Markdown."""
    head = ["model", "trained", *LAYOUTS, "host, 8 processes"]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows()])


if __name__ == "__main__":
    print(table())
