import pytest
import torch

from mapo.policies.adapters import merged_adapters
from mapo.policies.policy import Lora, Policy


@pytest.fixture
def model(tiny_lm_path):
    model = Policy(path=str(tiny_lm_path), lora=Lora(rank=4)).load_model(reference=True).model.eval()
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero at the start
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.05
    return model


def weights(model):
    return {name: parameter.data for name, parameter in model.named_parameters()}


def logits(model):
    with torch.no_grad():
        return model(input_ids=torch.arange(12)[None]).logits


def test_merged_model_computes_the_same_without_its_adapters(model):
    expected, alone = logits(model), None
    with model.disable_adapter():
        alone = logits(model)
    calls = []
    layer = model.get_base_model().model.layers[0].self_attn.q_proj
    hook = layer.lora_A["default"].register_forward_hook(lambda *_: calls.append(1))
    with merged_adapters(model) as reason:
        assert reason is None
        merged = logits(model)
    hook.remove()
    assert not calls
    torch.testing.assert_close(merged, expected, atol=1e-4, rtol=0)
    assert (expected - alone).abs().max() > 0.1


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_every_weight_is_the_very_tensor_again(model, error):
    before = weights(model)
    copies = {name: data.clone() for name, data in before.items()}
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    for _ in range(3):
        try:
            with merged_adapters(model):
                assert any(weights(model)[name].data_ptr() != data.data_ptr() for name, data in before.items())
                if error is not None:
                    raise error
        except KeyboardInterrupt:
            pass
    after = weights(model)
    assert all(after[name].data_ptr() == data.data_ptr() for name, data in before.items())
    assert all(torch.equal(after[name], copies[name]) for name in before)
    assert trainable == [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert torch.equal(logits(model), logits(model))


def test_half_precision_base_is_summed_in_float32(model):
    layer = model.get_base_model().model.layers[0].mlp.up_proj
    layer.base_layer.weight.data = layer.base_layer.weight.data.to(torch.bfloat16)
    original = layer.base_layer.weight.data.clone()
    with merged_adapters(model):
        merged = layer.base_layer.weight.data
        delta = layer.get_delta_weight("default")
    assert torch.equal(merged, (original.float() + delta).to(torch.bfloat16))
    assert torch.equal(layer.base_layer.weight.data, original)


def test_autocast_does_not_round_the_sum(model):
    layer = model.get_base_model().model.layers[0].mlp.up_proj
    with merged_adapters(model):
        expected = layer.base_layer.weight.data
    with torch.autocast("cpu", dtype=torch.bfloat16), merged_adapters(model):
        assert torch.equal(layer.base_layer.weight.data, expected)


def test_model_without_adapters_stays_as_it_is(tiny_lm_path):
    model = Policy(path=str(tiny_lm_path)).load_model(reference=False).model
    before = weights(model)
    with merged_adapters(model) as reason:
        assert reason is None
        assert all(weights(model)[name].data_ptr() == data.data_ptr() for name, data in before.items())


def test_adapters_of_other_kinds_are_left_alone(tiny_lm_path):
    from peft import LoraConfig, get_peft_model

    base = Policy(path=str(tiny_lm_path)).load_model(reference=False).model
    model = get_peft_model(base, LoraConfig(r=2, target_modules="all-linear", use_dora=True))
    before = {name: data.clone() for name, data in weights(model).items()}
    with merged_adapters(model) as reason:
        assert "not plain LoRA" in reason
        assert all(torch.equal(weights(model)[name], data) for name, data in before.items())
