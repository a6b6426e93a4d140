"""A benchmark, a reward and a policy small enough to train inside a test."""

import functools
from dataclasses import dataclass
from typing import ClassVar

import torch
from typing_extensions import override

from mapo.data.base import PromptDataModule
from mapo.losses.clipped import ClippedPolicyLoss
from mapo.modules.evaluation import Evaluation
from mapo.modules.mapo import MAPOModule
from mapo.policies.policy import Policy
from mapo.rewards.base import Reward
from mapo.types import Prompt, Sampling


class Sums(PromptDataModule):
    """Rows of a + b, two evaluation sets."""

    def __init__(self, num: int = 12, **kwargs) -> None:
        super().__init__(**{"batch_size": 4, "instruction": "", **kwargs})
        self.num = num

    def _rows(self, start: int, num: int) -> list[Prompt]:
        return [self.prompt(f"sum-{i}", f"{i}+{i + 1}=", str(2 * i + 1)) for i in range(start, start + num)]

    @override
    def train_prompts(self) -> list[Prompt]:
        return self._rows(0, self.num)

    @override
    def eval_prompts(self) -> dict[str, list[Prompt]]:
        return {"near": self._rows(100, 5), "far": self._rows(1000, 3)}


@dataclass(frozen=True)
class EvenLength(Reward):
    """Earned by completions whose first token has an even id: half of what a random policy says."""

    weight: float = 1.0
    required_for_success: bool = True
    is_accuracy: bool = True

    @override
    def __call__(self, completions):
        return [float(len(c.token_ids) > 0 and int(c.token_ids[0]) % 2 == 0) for c in completions]


@dataclass(frozen=True)
class EveryGroup(ClippedPolicyLoss):
    """The same loss, of which nobody says that it is 0 without an advantage, so that no group is skipped."""

    zero_without_advantage: ClassVar[bool] = False


SHORT = Sampling(max_completion_tokens=4)


def norms_in_double_precision(network):
    """Replace the layers' norms, which compute in float32 whatever the weights are."""

    def forward(norm, states):
        return norm.weight * states * torch.rsqrt(states.square().mean(-1, keepdim=True) + norm.variance_epsilon)

    for module in network.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = functools.partial(forward, module)


def make_module(path, **kwargs) -> MAPOModule:
    settings = {
        "policy": Policy(path=str(path)),
        "rewards": [EvenLength()],
        "group_size": 4,
        "sampling": SHORT,
        "evaluation": Evaluation(sampling=SHORT, num_samples=2),
        "kl_coef": 0.0,
        "optimizer": functools.partial(torch.optim.AdamW, lr=1e-3),
        "seed": 0,
    }
    return MAPOModule(**settings | kwargs)
