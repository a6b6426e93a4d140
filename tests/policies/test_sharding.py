"""Sharded over one rank, which cuts nothing but goes the whole way; two ranks are in ``modules/test_distributed``."""

import pytest
import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from mapo.policies.decoder_weights import why_not
from mapo.policies.policy import Lora, Policy
from mapo.policies.sharding import full_state_dict, gather, gathered, is_sharded, scatter, shard


@pytest.fixture(scope="module")
def mesh():
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


@pytest.fixture
def load(tiny_vl_path):
    return lambda **settings: Policy(path=str(tiny_vl_path), **settings).load_model(reference=True)


def is_in_parts(policy):
    kinds = {isinstance(weight.data, DTensor) for weight in policy.parameters()}
    assert len(kinds) == 1
    return kinds.pop()


def test_scores_and_gradients_stay_the_same(mesh, load, make_prompt):
    plain, policy = load(), load()
    shard(policy, mesh)
    prompt = plain.renderer.encode(make_prompt("Add.", (56, 56)))
    rows = [prompt] * 2, [torch.tensor([40, 41, 42]), torch.tensor([43])]
    assert policy.shares_prefix
    scores = [model.score(*rows, temperature=1.0, entropy=True) for model in (plain, policy)]
    for before, after in zip(*scores, strict=True):
        torch.testing.assert_close(after, before)
    for score in scores:
        score.logprobs.sum().backward()
    for before, after in zip(plain.parameters(), policy.parameters(), strict=True):
        torch.testing.assert_close(after.grad.full_tensor(), before.grad)
    with policy.as_reference(), plain.as_reference():
        torch.testing.assert_close(policy.score(*rows, temperature=1.0), plain.score(*rows, temperature=1.0))
    assert is_in_parts(policy)
    assert is_in_parts(policy.reference)


def test_weights_are_whole_within_and_in_parts_around(mesh, load):
    policy = load()
    with gathered(policy):  # not sharded: nothing to do
        assert not is_in_parts(policy)
    shard(policy, mesh)
    shard(policy, mesh)  # the second time does nothing
    assert is_sharded(policy)
    assert why_not(policy.model) == "its weights are sharded"
    with gathered(policy), gathered(policy):
        assert not is_in_parts(policy)
        assert why_not(policy.model) is None  # decodes lean
    assert is_in_parts(policy)
    gather(policy)
    with gathered(policy):  # of an evaluation that has gathered them for longer
        pass
    assert not is_in_parts(policy)
    scatter(policy)
    assert is_in_parts(policy)


@pytest.mark.parametrize("lora", [None, Lora(rank=2)])
def test_the_whole_state_has_every_weight(mesh, load, lora):
    policy = load(lora=lora)
    before = {name: weight.detach().clone() for name, weight in policy.named_parameters(remove_duplicate=False)}
    assert full_state_dict(policy).keys() == before.keys()
    shard(policy, mesh)
    after = full_state_dict(policy)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


def test_a_state_dict_with_adapters_holds_them_alone(load):
    policy, other = load(lora=Lora(rank=2)), load(lora=Lora(rank=2))
    state = policy.state_dict()
    assert state.keys() == {name for name, weight in policy.named_parameters() if weight.requires_grad}
    assert other.load_state_dict(state) == ([], [])
    missing = next(iter(state))
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict({name: weight for name, weight in state.items() if name != missing})
    assert len(load().state_dict()) > len(state)


def test_weights_that_deepspeed_has_partitioned_are_refused(load):
    policy = load()
    policy.trainable_parameters()[0].ds_id = 7  # what ZeRO-3 marks its own with
    with pytest.raises(ValueError, match=r"DeepSpeed ZeRO-3 .* train under configs/trainer/fsdp2\.yaml"):
        gather(policy)


def test_other_architectures_are_refused(mesh, load, monkeypatch):
    policy = load()
    monkeypatch.setattr(type(policy._network()), "get_decoder", lambda self: torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match="cannot be sharded: its decoder has no list of layers"):
        shard(policy, mesh)
