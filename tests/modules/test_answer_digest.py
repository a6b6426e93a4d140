import sys
from dataclasses import replace

import pytest
import torch
from arithmetic import EvenLength

from mapo.modules.answer_digest import answer_digest
from mapo.modules.hyperparameters import NotDescribableError
from mapo.policies.policy import Policy
from mapo.rewards.function import FunctionReward
from mapo.rewards.math_answer import MathAnswer
from mapo.rollout.transformers import TransformersEngine
from mapo.types import Prompt


def row(sample_id="row-0", answer="4"):
    return Prompt(sample_id, ({"role": "user", "content": "2+2?"},), (), answer, {})


PARTS = {
    "weights": {"w": torch.arange(3.0)},
    "components": {"policy": Policy(path="builtin"), "rollout": TransformersEngine(), "rewards": (MathAnswer(),)},
    "settings": {"seed": 0, "sampling": {"near": [["greedy", 1, {"temperature": 0.0}]]}},
    "sets": {"near": [row(), row("row-1")]},
}
COMPONENTS = PARTS["components"]


def test_the_same_parts_have_the_same_digest():
    copied = PARTS | {"weights": {"w": torch.arange(3.0)}, "sets": {"near": (row(), row("row-1"))}}
    assert answer_digest(**PARTS) == answer_digest(**copied)


@pytest.mark.parametrize(
    "change",
    [
        {"weights": {"w": torch.tensor([0.0, 1.0, 2.0 + 2**-22])}},
        {"components": COMPONENTS | {"policy": Policy(path="builtin", max_pixels=99999)}},
        {"components": COMPONENTS | {"rollout": TransformersEngine(max_batch_rows=4)}},
        {"components": COMPONENTS | {"rewards": (replace(MathAnswer(), weight=0.5),)}},
        {"components": COMPONENTS | {"rewards": (MathAnswer(), EvenLength())}},
        {"settings": {"seed": 1, "sampling": {"near": [["greedy", 1, {"temperature": 0.0}]]}}},
        {"settings": {"seed": 0, "sampling": {"near": [["greedy", 1, {"temperature": 0.5}]]}}},
        {"sets": {"near": [row(answer="5"), row("row-1")]}},
        {"sets": {"near": [row()]}},
        {"sets": {"far": [row(), row("row-1")]}},
    ],
    ids=["weight", "policy", "engine", "reward", "rewards", "seed", "sampling", "answer", "rows", "name"],
)
def test_a_change_of_anything_that_answers_depend_on_changes_it(change):
    assert answer_digest(**PARTS | change) != answer_digest(**PARTS)


def test_the_code_of_a_reward_counts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    digests = []
    for value in ("1.0", "0.5"):
        (tmp_path / "graded.py").write_text(f"def grade(completions):\n    return [{value}] * len(completions)\n")
        rewards = (MathAnswer(), FunctionReward("graded.grade"))
        digests.append(answer_digest(**PARTS | {"components": COMPONENTS | {"rewards": rewards}}))
    sys.modules.pop("graded")
    assert digests[0] != digests[1]


def test_a_component_that_cannot_be_described_has_none():
    class Local(EvenLength):
        pass

    with pytest.raises(NotDescribableError, match="Local"):
        answer_digest(**PARTS | {"components": COMPONENTS | {"rewards": (Local(),)}})
