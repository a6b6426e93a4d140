"""The estimate against what tensors really take, counted on the CPU, and against arithmetic by hand."""

import functools

import pytest
import torch

from mapo.data.grid_rectangles import GridRectangles
from mapo.modules.mapo import MAPOModule
from mapo.modules.memory import Layout, activation_bytes, estimate, optimizer_bytes
from mapo.modules.memory_report import memory_table, shortage
from mapo.modules.plan import plan
from mapo.policies.outline import outline
from mapo.policies.policy import Lora, Policy
from mapo.rewards.math_answer import MathAnswer
from mapo.rollout.probe import probe
from mapo.rollout.scripted import ScriptedEngine
from mapo.types import Prompt, Sampling

QWEN = "Qwen/Qwen2.5-VL-7B-Instruct"
GPUS = {"ranks": 8, "per_node": 8, "bfloat16": True, "cuda": True}


def module(path="builtin", *, optimizer=torch.optim.AdamW, kl_coef=0.01, **policy) -> MAPOModule:
    return MAPOModule(
        policy=Policy(path=path, **policy),
        rewards=[MathAnswer()],
        optimizer=optimizer,
        kl_coef=kl_coef,
        sampling=Sampling(max_completion_tokens=2048),
    )


def items(found) -> dict[str, int]:
    return {item.name: item.num_bytes for item in found.items}


def row(renderer, tokens: int):
    prompt = Prompt("0", ({"role": "user", "content": "What is the area? " * 10},), (), "", {})
    encoded = renderer.encode(prompt)
    return encoded, [torch.full((tokens,), 5)] * 4, len(encoded.input_ids) + 4 * (tokens - 1)


# -- measured ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"freeze_vision": True, "frozen_dtype": "bfloat16"},
        {"lora": Lora(rank=4), "frozen_dtype": "bfloat16"},
    ],
)
def test_weights_gradients_and_states_are_exactly_the_bytes_of_their_tensors(policy):
    recipe = module(**policy)
    actor = recipe.policy.load_model(reference=True)
    optimizer = recipe.optimizer(actor.trainable_parameters())
    prompt, completions, _ = row(actor.renderer, 4)
    actor.score([prompt] * 4, completions, temperature=1.0).logprobs.sum().backward()
    trained = actor.trainable_parameters()
    for parameter in trained:  # no picture was in the batch
        parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    optimizer.step()
    found = items(estimate(recipe, 8, Layout()))
    frozen = [parameter for parameter in actor.parameters() if not parameter.requires_grad]
    states = [state for kept in optimizer.state.values() for state in kept.values() if state.ndim]
    assert found["trained weights, float32"] == sum(parameter.nbytes for parameter in trained)
    assert found["gradients"] == sum(parameter.grad.nbytes for parameter in trained)
    assert found["optimizer states"] == sum(state.nbytes for state in states)
    assert found.get("frozen weights", 0) == sum(parameter.nbytes for parameter in frozen)
    reference = 0 if actor.reference is None else sum(parameter.nbytes for parameter in actor.reference.parameters())
    assert found.get("reference", 0) == reference


@pytest.mark.parametrize(
    ("policy", "autocast", "wide", "narrow"),
    [
        ({}, False, 4, 4),
        ({}, True, 4, 2),
        ({"lora": Lora(rank=4), "frozen_dtype": "bfloat16"}, True, 2, 2),
    ],
)
def test_activations_are_within_a_tenth_of_what_the_backward_pass_keeps(
    save_tiny, tiny_text_settings, policy, autocast, wide, narrow
):
    from transformers import Qwen2Config, Qwen2ForCausalLM

    larger = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4, "num_attention_heads": 8}
    recipe = Policy(path=str(save_tiny(Qwen2ForCausalLM(Qwen2Config(**tiny_text_settings | larger)))), **policy)
    actor = recipe.load_model(reference=False)
    weights = {parameter.untyped_storage().data_ptr() for parameter in actor.parameters()}
    shapes = {
        shape for p in actor.parameters() if p.ndim == 2 for shape in (p.shape, p.T.shape)
    }  # of autocast's copies
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights and tensor.shape not in shapes:
            kept[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    prompt, completions, tokens = row(actor.renderer, 80)
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=autocast),
    ):
        actor.score([prompt] * 4, completions, temperature=1.0)
    measured = sum(size for size, _ in kept.values())
    blocks = outline(recipe).decoder
    assert tokens * blocks.num * activation_bytes(blocks, wide, narrow) == pytest.approx(measured, rel=0.1)


def test_keys_and_values_are_those_that_a_rollout_allocates():
    actor = Policy(path="builtin").load_model(reference=False)
    prompt, *_ = row(actor.renderer, 1)
    assert outline(Policy(path="builtin")).cache_numbers * 4 == probe(actor, prompt, reason=None).footprint.cache_bytes


def test_states_of_any_optimizer_are_counted():
    assert optimizer_bytes(torch.optim.AdamW) == 8
    assert optimizer_bytes(torch.optim.SGD) == 0
    assert optimizer_bytes(functools.partial(torch.optim.SGD, momentum=0.9)) == 4


# -- by hand -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("Qwen/Qwen2.5-VL-3B-Instruct", 3_754_622_976),
        (QWEN, 8_292_166_656),
        ("Qwen/Qwen2.5-VL-32B-Instruct", 33_452_718_336),
        ("Qwen/Qwen3-VL-4B-Instruct", 4_437_815_808),
        ("Qwen/Qwen3-VL-8B-Instruct", 8_767_123_696),
    ],
)
def test_recorded_shapes_have_the_published_numbers_of_parameters(name, parameters, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    found = outline(Policy(path=name))
    assert (found.parameters, found.published) == (parameters, True)


def test_sharding_divides_what_it_shards(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    recipe = module(QWEN, gradient_checkpointing=True, frozen_dtype="bfloat16")
    ddp, fsdp2 = (estimate(recipe, 512, Layout(**GPUS, sharded=sharded)) for sharded in (False, True))
    trained = 8_292_166_656
    assert items(ddp)["trained weights, float32"] == 4 * trained
    assert items(fsdp2)["trained weights, float32"] == 4 * trained // 8
    assert items(fsdp2)["optimizer states"] == 8 * trained // 8
    assert items(fsdp2)["reference"] == 2 * trained // 8
    assert items(fsdp2)["all weights, gathered"] == 2 * trained  # in rollouts
    assert items(fsdp2)["gradients, whole until exchanged"] == 4 * trained  # between micro-batches
    offloaded = items(estimate(recipe, 512, Layout(**GPUS, sharded=True, offloaded=True)))
    assert not {"trained weights, float32", "optimizer states", "reference"} & set(offloaded)


def test_adapters_have_no_copy_for_a_reference_and_recomputation_keeps_little(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    settings = {"lora": Lora(rank=16), "frozen_dtype": "bfloat16"}
    layout = Layout(bfloat16=True, cuda=True)
    plain, recomputed = (
        estimate(module(QWEN, gradient_checkpointing=some, **settings), 128, layout) for some in (False, True)
    )
    assert "reference" not in items(plain)
    assert items(plain)["frozen weights"] == 2 * 8_292_166_656
    assert plain.at("update") > 2 * recomputed.at("update")
    assert shortage(recomputed, 79 * 2**30) is None
    assert "model.policy.gradient_checkpointing" in shortage(plain, 79 * 2**30)


def test_what_is_free_decides_how_many_completions_decode_at_once():
    found = estimate(module(), 8, Layout(cuda=True))
    assert found.rows == 8 * 12
    assert found.rows_at_once(found.at("rollout")) == 0
    assert found.rows_at_once(found.at("rollout") + 10 * found.row_bytes) == 9  # a tenth is left alone
    assert found.rows_at_once(1 << 50) == found.rows


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        ({"devices": "auto", "strategy": "auto", "accelerator": "cpu"}, Layout()),
        (
            {"devices": 8, "strategy": "ddp", "precision": "bf16-mixed", "num_nodes": 2},
            Layout(16, 8, bfloat16=True, cuda=True),
        ),
        (
            {"devices": [0, 1], "strategy": {"class_path": "x.FSDP2Strategy", "init_args": {"cpu_offload": True}}},
            Layout(2, 2, sharded=True, offloaded=True, cuda=True),
        ),
    ],
)
def test_layout_is_read_from_the_trainers_configuration(trainer, expected):
    assert Layout.of({"accelerator": "gpu", "precision": None, "num_nodes": 1} | trainer) == expected


# -- in words ----------------------------------------------------------------------------------------------------------


def test_table_adds_up_and_says_what_it_is():
    layout = Layout(ranks=2, per_node=2, cuda=True, bfloat16=True)
    found = estimate(module(), 8, layout)
    table = memory_table(found, layout)
    lines = [line.split() for line in table.splitlines() if line.startswith("  ")]
    for when in ("update", "rollout"):
        assert sum(float(words[-1]) for words in lines if words[0] in ("always", when)) == pytest.approx(
            found.at(when) / 2**30, abs=0.05
        )
    assert "computed from the configuration and not measured" in table
    assert "Fits on GPUs of 24 GB (48 of 48 completions at once)" in table


def test_plan_of_a_model_that_is_not_here_says_where_its_shape_is_from(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    trainer = {"devices": 1, "strategy": "auto", "accelerator": "gpu", "precision": "bf16-mixed", "num_nodes": 1}
    text = plan(module(QWEN), GridRectangles(batch_size=8), trainer | {"max_epochs": 1, "max_steps": -1})
    assert "the package's record of published configurations" in text
    unknown = plan(module("nobody/nothing"), GridRectangles(batch_size=8), trainer | {"max_epochs": 1, "max_steps": -1})
    assert "Memory: not known here, since policy path 'nobody/nothing' cannot be loaded" in unknown


def test_other_engines_plan_their_own_memory(tmp_path):
    (tmp_path / "script.jsonl").write_text("")
    recipe = MAPOModule(
        policy=Policy(), rewards=[MathAnswer()], rollout=ScriptedEngine(path=str(tmp_path / "script.jsonl"))
    )
    assert "not included" in memory_table(estimate(recipe, 8, Layout()), Layout())
