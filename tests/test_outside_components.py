"""A reward, an advantage and a benchmark written outside the package are used through YAML alone."""

import json
import sys

import pytest
from command_line import invoke

COMPONENTS = '''
from dataclasses import dataclass

import torch

from mapo.advantages.base import Advantage
from mapo.data.base import PromptDataModule
from mapo.rewards.base import Reward


@dataclass(frozen=True)
class Brevity(Reward):
    """Earned by completions of at most ``limit`` tokens."""

    weight: float = 1.0
    required_for_success: bool = True
    is_accuracy: bool = True
    limit: int = 10
    """Longest completion that earns it."""

    def __call__(self, completions):
        return [float(len(completion.token_ids) <= self.limit) for completion in completions]


@dataclass(frozen=True)
class FromTheBest(Advantage):
    """Reward minus the group's best one."""

    scale: float = 1.0

    def __call__(self, scores, phase):
        return self.scale * (scores.rewards - scores.rewards.max(dim=1, keepdim=True).values)


class Counting(PromptDataModule):
    """What comes next?"""

    def __init__(self, last: int = 9, **settings) -> None:
        super().__init__(**settings)
        self.last = last

    def train_prompts(self):
        return [self.prompt(f"after-{i}", f"What comes after {i}?", str(i + 1)) for i in range(self.last)]

    def eval_prompts(self):
        return {"counting": self.train_prompts()[:2]}
'''

CONFIG = """
trainer:
  max_epochs: 1
  limit_train_batches: 2
  callbacks: [{class_path: ModelCheckpoint, init_args: {monitor: val/counting/accuracy, mode: max}}]
model:
  policy: {path: builtin}
  rewards: [{class_path: my_components.Brevity, init_args: {limit: 12}}]
  advantage: {class_path: my_components.FromTheBest, init_args: {scale: 2.0}}
  group_size: 4
  kl_coef: 0.0
  sampling: {max_completion_tokens: 16}
  evaluation: {sampling: {max_completion_tokens: 16}}
data:
  class_path: my_components.Counting
  init_args: {last: 5, batch_size: 2}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "my_components.py").write_text(COMPONENTS)
    (tmp_path / "mine.yaml").write_text(CONFIG)
    yield tmp_path
    sys.modules.pop("my_components", None)


def test_own_components_train_and_are_written_to_checkpoints(folder):
    outcome = invoke(folder, "fit", "--config", "mine.yaml")
    assert outcome.code == 0, outcome.err
    (results,) = folder.rglob("results.json")
    assert list(json.loads(results.read_text())["sets"]) == ["counting"]
    (log,) = folder.rglob("completions.jsonl")
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(rows) == 2 * 2 * 4
    assert {row["sample_id"] for row in rows} <= {f"after-{i}" for i in range(5)}
    for row in rows:
        assert row["reward"] == float(row["num_tokens"] <= 12)
    assert {row["advantage"] for row in rows} <= {0.0, -2.0}
    (checkpoint,) = folder.rglob("*.ckpt")
    validated = invoke(folder, "validate", "--config", "mine.yaml", "--ckpt_path", str(checkpoint))
    assert validated.code == 0, validated.err
    assert "counting" in validated.out


def test_own_components_have_help_and_one_line_errors(folder):
    help_text = invoke(folder, "fit", "--model.rewards.help", "my_components.Brevity").out
    assert "Longest completion that earns it." in help_text
    line = invoke(folder, "fit", "--config", "mine.yaml", "--model.advantage.scales=1").error
    assert line == "unknown argument --model.advantage.scales; FromTheBest takes scale; did you mean scale?"
