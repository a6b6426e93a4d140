import functools

import pytest
import torch

from mapo.advantages.mixed import MixedAdvantage
from mapo.modules.hyperparameters import NotDescribableError, describe, rebuilding
from mapo.policies.policy import Lora, Policy
from mapo.rewards.think_format import ThinkFormat


class Keeps:
    def __init__(self, scale: float) -> None:
        self.scale = scale


class Forgets:
    def __init__(self, scale: float) -> None:
        pass


def test_records_become_their_fields_and_components_name_their_class():
    assert describe(Policy(path="somewhere", lora=Lora(rank=4)))["lora"]["rank"] == 4
    described = describe([MixedAdvantage(ddof=1), ThinkFormat(weight=0.2)])
    assert described[0]["class_path"] == "mapo.advantages.mixed.MixedAdvantage"
    assert described[0]["init_args"]["ddof"] == 1
    assert described[1]["init_args"]["weight"] == 0.2


def test_a_partial_of_an_optimizer_keeps_its_arguments():
    described = describe(functools.partial(torch.optim.SGD, lr=0.5))
    assert described == {"class_path": "torch.optim.sgd.SGD", "init_args": {"lr": 0.5}}


def test_a_class_of_ones_own_is_described_by_the_attributes_it_keeps():
    assert describe(Keeps(2.0))["init_args"] == {"scale": 2.0}


@pytest.mark.parametrize("value", [lambda parameters: None, Forgets(1.0), type("Local", (), {})()])
def test_what_cannot_be_rebuilt_is_refused(value):
    if type(value).__name__ == "Local":
        type(value).__qualname__ = "test.<locals>.Local"
    with pytest.raises(NotDescribableError):
        describe(value)


def test_a_checkpoint_cannot_ask_for_the_code_of_its_model():
    stored = {"policy": {"path": "some/model", "trust_remote_code": True}}
    with (
        pytest.raises(ValueError, match=r"run the code that the model at 'some/model' brings.*policy=Policy"),
        rebuilding(stored, {}),
    ):
        pass
    with rebuilding(stored, {"policy": Policy(path="some/model", trust_remote_code=True)}) as absent:
        assert absent == []
