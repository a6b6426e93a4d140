import pytest
import torch

from mapo.policies.host_copies import copied_to
from mapo.policies.policy import Policy

META = torch.device("meta")  # a device that every machine has


def tensors(module):
    return [*module.parameters(), *module.buffers()]


def test_weights_are_on_the_device_for_a_while_and_the_same_tensors_afterwards():
    network = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 2))
    network[2].weight = network[0].weight
    homes = tensors(network)
    with copied_to(META, network):
        assert {tensor.device.type for tensor in tensors(network)} == {"meta"}
        assert network[2].weight is network[0].weight
    assert all(now is before for now, before in zip(tensors(network), homes, strict=True))


def test_they_come_back_after_an_error():
    network = torch.nn.Linear(2, 2)
    with pytest.raises(RuntimeError, match="meta"), copied_to(META, network):
        network(torch.zeros(1, 2)).item()
    assert network.weight.device.type == "cpu"


def test_a_reference_on_the_host_is_not_moved_with_its_policy_and_scores_where_that_is(tiny_lm_path, make_prompt):
    policies = [
        Policy(path=str(tiny_lm_path), reference_on_host=on_host).load_model(reference=True) for on_host in (0, 1)
    ]
    assert [{weight.device.type for weight in policy.to(META).reference.parameters()} for policy in policies] == [
        {"meta"},
        {"cpu"},
    ]
    with policies[1].as_reference():
        assert {weight.device.type for weight in policies[1].reference.parameters()} == {"meta"}
