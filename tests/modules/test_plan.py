import functools

import pytest
import torch
from arithmetic import EvenLength, Sums

from mapo.advantages.base import Advantage
from mapo.advantages.z_score import ZScore
from mapo.modules.evaluation import Draws, Evaluation
from mapo.modules.mapo import MAPOModule
from mapo.modules.plan import plan
from mapo.policies.policy import Lora, Policy
from mapo.types import Sampling

TRAINER = {
    "devices": 8,
    "accelerator": "gpu",
    "num_nodes": 2,
    "strategy": "ddp",
    "precision": "bf16-mixed",
    "max_epochs": 20,
    "max_steps": -1,
}


@pytest.fixture(autouse=True)
def without_network(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def lines(trainer=TRAINER, data=None, **arguments) -> dict[str, str]:
    settings = {"policy": Policy(path="somewhere/model"), "rewards": [EvenLength(weight=0.9)], "kl_coef": 0.01}
    text = plan(MAPOModule(**settings | arguments), data or Sums(batch_size=16), trainer)
    rows = [line.partition("  ") for line in text.splitlines()]
    return {name.strip(): words.strip() for name, _, words in rows}


def test_plan_counts_a_phase_without_loading_anything():
    said = lines(group_size=12, updates_per_phase=4, sampling=Sampling(max_completion_tokens=2048))
    assert said["one phase"] == "16 prompts x 12 completions = 192, up to 393,216 tokens; 4 optimizer steps"
    assert said["model"] == "somewhere/model, all weights trained"
    assert said["reference"] == "k3 x 0.01"
    assert said["rewards"] == "even_length 0.9"
    assert said["ends after"] == "20 epochs"
    assert said["devices"] == "8 x gpu on 2 node(s), strategy ddp, precision bf16-mixed"


def test_plan_says_what_is_trained_and_how():
    policy = Policy(path="m", lora=Lora(rank=4), freeze_vision=True)
    said = lines(policy=policy, advantage=ZScore(ddof=1), kl_coef=0.0, data=Sums(out_of_domain=[Sums()]))
    assert said["model"] == "m, LoRA rank 4, vision tower frozen"
    assert said["reference"] == "none"
    assert said["advantage"].startswith("ZScore(ddof=1")
    assert said["data"] == "Sums; out of domain: Sums"
    assert said["one phase"].endswith("1 optimizer step")


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"max_epochs": None, "max_steps": 100}, "100 optimizer steps"),
        ({"max_epochs": 3, "max_steps": 100}, "3 epochs or 100 optimizer steps"),
        ({"max_epochs": -1}, "no limit"),
    ],
)
def test_plan_says_what_ends_the_run(limits, words):
    assert lines(TRAINER | limits)["ends after"] == words


def test_a_strategy_with_arguments_goes_by_its_class():
    strategy = {"class_path": "lightning.pytorch.strategies.DDPStrategy", "init_args": {}}
    assert (
        "strategy DDPStrategy, precision 32-true"
        in lines(TRAINER | {"strategy": strategy, "precision": None})["devices"]
    )


def test_a_component_that_cannot_be_described_goes_by_its_name():
    class Local(Advantage):
        def __call__(self, scores, phase):
            return scores.rewards

    with pytest.warns(UserWarning, match="advantage is not stored"):
        said = lines(advantage=Local(), optimizer=functools.partial(torch.optim.SGD, lr=0.1))
    assert said["advantage"] == "Local()"


def test_plan_says_how_each_set_is_evaluated():
    draws = {"hard": Draws(greedy=False, num_samples=16), "easy_*": Draws(sampling=Sampling(temperature=0.25))}
    said = lines(evaluation=Evaluation(num_samples=4, sets=draws))["evaluation"]
    assert said == (
        "sampled 4 x T=0.5, greedy 1 x T=0; hard: sampled 16 x T=0.5; easy_*: sampled 4 x T=0.25, greedy 1 x T=0"
    )
