"""Four phases of a fixed run: a refactor must reproduce every figure of `golden_trace.json`.

After a change that is meant to alter them, write the file again and look at what changed:
`MAPO_GOLDEN=write python -m pytest tests/test_golden_trace.py && git diff tests/golden_trace.json`.
"""

import functools
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from PIL import Image
from typing_extensions import override

from mapo.data.base import PromptDataModule
from mapo.modules.mapo import MAPOModule
from mapo.policies.policy import Policy
from mapo.rewards.base import Reward
from mapo.rewards.length import LengthCredit
from mapo.types import Prompt, Sampling

GOLDEN = Path(__file__).with_name("golden_trace.json")
CLOCK = {"train/tokens_per_s", "train/sampling_gap"}  # the machine's speed, and its rounding


class Waves(PromptDataModule):
    """Eight questions, seven of them about striped pictures of two sizes."""

    @override
    def train_prompts(self) -> list[Prompt]:
        return [self.prompt(f"wave-{i}", f"How many?{i}", str(i), images=stripes(i)) for i in range(8)]

    @override
    def eval_prompts(self) -> dict[str, list[Prompt]]:
        return {}


def stripes(number: int) -> list[Image.Image]:
    if number == 5:
        return []
    height = 28 if number % 2 else 56
    row = (np.arange(56) * (number + 1) * 7 % 256).astype(np.uint8)
    return [Image.fromarray(np.broadcast_to(row[None, :, None], (height, 56, 3)).copy())]


@dataclass(frozen=True)
class Graded(Reward):
    """0, 1/4, ..., 1 by the sum of a completion's token ids: every kind of group turns up."""

    weight: float = 0.8
    required_for_success: bool = True
    is_accuracy: bool = True

    @override
    def __call__(self, completions):
        return [min(int(completion.token_ids.sum()) % 7, 4) / 4 for completion in completions]


class Figures(Callback):
    def __init__(self) -> None:
        self.phases = []

    @override
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        figures = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("train/")}
        groups = module.last_phase.rollouts.completions
        tokens = json.dumps([completion.token_ids.tolist() for group in groups for completion in group])
        self.phases.append(
            {name: value for name, value in sorted(figures.items()) if name not in CLOCK}
            | {"samples": [prompt.sample_id for prompt in batch], "tokens": digest(tokens)}
        )


def digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@torch.no_grad()
def set_weights(network: torch.nn.Module) -> None:
    """Fill in weights that depend on no generator of random numbers, which may change with the version of torch."""
    for index, (name, weight) in enumerate(network.named_parameters()):
        if "norm" not in name:
            wave = torch.arange(1, weight.numel() + 1, dtype=torch.float64).mul(1.0 + index / 97).mul(12.9898).sin()
            weight.copy_((wave * 43758.5453).frac().mul(0.3).view_as(weight))


def run(path: Path, folder: Path) -> list[dict]:
    module = MAPOModule(
        policy=Policy(path=str(path)),
        rewards=[Graded(), LengthCredit(limit=6, buffer=4, weight=0.2)],
        group_size=6,
        sampling=Sampling(top_p=0.9, max_completion_tokens=6),
        updates_per_phase=2,
        max_tokens_per_micro_batch=70,
        kl_coef=0.05,
        log_entropy=True,
        optimizer=functools.partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.01),
        lr_scheduler=functools.partial(torch.optim.lr_scheduler.LinearLR, start_factor=0.25, total_iters=4),
        seed=0,
    )
    module.configure_model()
    set_weights(module.actor.model)
    module.actor.reference.model.load_state_dict(module.actor.model.state_dict())
    figures = Figures()
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=2,
        logger=False,
        callbacks=[figures],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(module, datamodule=Waves(batch_size=4, instruction="", seed=0))
    return figures.phases


def test_a_fixed_run_gives_the_committed_figures(tmp_path, tiny_vl_path):
    phases = run(tiny_vl_path, tmp_path)
    if os.environ.get("MAPO_GOLDEN") == "write":
        GOLDEN.write_text(json.dumps(phases, indent=1) + "\n")
    expected = json.loads(GOLDEN.read_text())
    assert len(phases) == len(expected) == 4
    for phase, golden in zip(phases, expected, strict=True):
        exact = {"samples", "tokens"}
        assert {name: phase[name] for name in exact} == {name: golden[name] for name in exact}
        floats = golden.keys() - exact
        assert phase.keys() - exact == floats
        for name in floats:
            assert phase[name] == pytest.approx(golden[name], rel=1e-4, abs=1e-6), name
